"""A slow disk under one tenant's large writes: the others do not wait for its syncs, and nobody is told anything too early."""
import subprocess
import time

import pytest

from zero_db_server import Server, call, frame

# Each sync takes a third of a second while a file is there, and fails while another one is.
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
static int flagged(const char *name) {
    const char *path = getenv(name);
    return path && access(path, F_OK) == 0;
}
int fdatasync(int file) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    if (flagged("SYNC_SLOW")) usleep(333000);
    if (flagged("SYNC_FAILS")) { errno = EIO; return -1; }
    return real(file);
}
"""
LARGE = b"x" * (1 << 20)


@pytest.fixture
def server(tmp_path):
    (tmp_path / "shim.c").write_text(SHIM)
    library = tmp_path / "shim.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, tmp_path / "shim.c", "-ldl"], check=True)
    made = Server("--sync", "interval", "--sync-interval", "60000", environment={
        "LD_PRELOAD": str(library), "SYNC_SLOW": str(tmp_path / "slow"), "SYNC_FAILS": str(tmp_path / "fails")})
    made.slow, made.fails = tmp_path / "slow", tmp_path / "fails"
    link = made.connect()
    for words in (["NSNEW", "loud"], ["NSSET", "loud", "sync", "always"], ["NSNEW", "quiet"]):
        assert call(link, *words) == b"+OK"
    link.close()
    yield made
    made.remove()


def inside(server, namespace):
    link = server.connect()
    assert call(link, "SELECT", namespace) == b"+OK"
    return link


def metric(link, name):
    text = call(link, "DB.METRICS").decode()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(f"zero_db_{name} "))


def hears(link, seconds):
    """What comes within a time; nothing is an empty reply."""
    link.settimeout(seconds)
    try:
        return link.recv(1 << 16)
    except TimeoutError:
        return b""
    finally:
        link.settimeout(10)


def test_others_do_not_wait_and_nobody_hears_too_early(server):
    loud, reader, small, quiet = inside(server, "loud"), inside(server, "loud"), inside(server, "loud"), inside(server, "quiet")
    assert call(loud, "SET", "old", "1") == b"+OK" and call(quiet, "SET", "a", "1") == b"+OK"
    server.slow.touch()
    begun = time.monotonic()
    loud.sendall(frame("SET", "large", LARGE) + frame("PING"))
    while metric(quiet, "syncs_deferred_total") == 0:
        assert time.monotonic() < begun + 5
    # Others are served while the disk syncs: reads, writes, and reads of the loud one that do not depend on it.
    assert call(quiet, "GET", "a") == b"1" and call(quiet, "SET", "b", "2") == b"+OK" and call(reader, "GET", "old") == b"1"
    assert time.monotonic() - begun < 0.3, "somebody waited for a sync that is not theirs"
    # What is not on stable storage yet is told to nobody: not that it is there, nor a key's absence, nor a small write.
    small.sendall(frame("SET", "small", "2"))
    reader.sendall(frame("EXISTS", "large"))
    assert hears(loud, 0.05) == b"" and hears(reader, 0.05) == b"" and hears(small, 0.05) == b""
    assert hears(loud, 5) == b"+OK\r\n+PONG\r\n"
    assert hears(reader, 5) == b":1\r\n" and hears(small, 5) == b"+OK\r\n"
    assert time.monotonic() - begun > 0.3
    server.slow.unlink()
    assert call(reader, "GET", "large") == LARGE and call(loud, "SET", "small", "3") == b"+OK"


def test_what_a_segment_s_end_has_synced_is_answered(server):
    """More than a segment of large values: its end syncs what others wait for, and no sync comes after it."""
    quiet, links = inside(server, "quiet"), [inside(server, "loud") for _ in range(4)]
    value = b"y" * (3 << 20)
    for number in range(24):
        for index, link in enumerate(links):
            link.sendall(frame("SET", f"k{index}.{number}", value))
        for link in links:
            assert hears(link, 10) == b"+OK\r\n"
    assert metric(quiet, "syncs_deferred_total") > 0


def test_a_failed_sync_is_told_to_who_waited(server):
    loud, quiet, reader = inside(server, "loud"), inside(server, "quiet"), inside(server, "loud")
    assert call(loud, "SET", "old", "1") == b"+OK" and call(quiet, "SET", "a", "1") == b"+OK"
    server.slow.touch()
    server.fails.touch()
    loud.sendall(frame("SET", "large", LARGE) + frame("SET", "behind", "1"))
    answer = b""
    while part := loud.recv(1 << 16):
        answer += part
    assert answer.startswith(b"-READONLY") and answer.count(b"\r\n") == 1 and b"not known" in answer
    server.slow.unlink()
    server.fails.unlink()
    assert call(quiet, "GET", "a") == b"1" and call(reader, "GET", "old") == b"1"
    assert call(quiet, "SET", "a", "2").startswith(b"-READONLY")


def test_a_stop_answers_who_waits(server):
    loud, quiet = inside(server, "loud"), inside(server, "quiet")
    server.slow.touch()
    loud.sendall(frame("SET", "large", LARGE))
    while metric(quiet, "syncs_deferred_total") == 0:
        pass
    assert server.end() == 0
    assert hears(loud, 1) == b"+OK\r\n"
    server.slow.unlink()
    server.start()
    assert call(inside(server, "loud"), "GET", "large") == LARGE
