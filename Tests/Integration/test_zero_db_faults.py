"""Zero-DB when its disk or its clients misbehave: failing syncs, rubbish, silence, greed."""
import os
import pathlib
import random
import resource
import select
import socket
import subprocess
import time

import pytest

import zero_db_fuzz
from zero_db_server import Server, call, frame

# Fails every sync while a file is there, and counts the attempts.
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
static int failing(const char *name) {
    char *count = getenv("SYNC_COUNT"), *flag = getenv("SYNC_FAILS");
    int file = count ? open(count, O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;
    if (file >= 0) { if (write(file, "x", 1) != 1) abort(); close(file); }
    (void)name;
    return flag && access(flag, F_OK) == 0;
}
int fdatasync(int file) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    if (failing("fdatasync")) { errno = EIO; return -1; }
    return real(file);
}
int fsync(int file) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    if (failing("fsync")) { errno = EIO; return -1; }
    return real(file);
}
"""


@pytest.fixture
def shim(tmp_path):
    (tmp_path / "shim.c").write_text(SHIM)
    library = tmp_path / "shim.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, tmp_path / "shim.c", "-ldl"], check=True)
    return library


def until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.02)


@pytest.mark.parametrize("sync", ["always", "interval"])
def test_a_failed_sync_ends_writing(shim, tmp_path, sync):
    flag, count = tmp_path / "flag", tmp_path / "count"
    server = Server("--sync", sync, "--sync-interval", "50", environment={
        "LD_PRELOAD": str(shim), "SYNC_FAILS": str(flag), "SYNC_COUNT": str(count)})
    try:
        with server.connect() as link:
            assert call(link, "SET", "a", "1") == b"+OK"
            assert call(link, "SET", "b", "1") == b"+OK"
            until(lambda: sync == "always" or count.stat().st_size >= 3)
            flag.touch()
            if sync == "always":
                # The write is not acknowledged, whatever the medium holds of it.
                assert call(link, "SET", "a", "2").startswith(b"-READONLY")
            else:
                assert call(link, "SET", "c", "2") == b"+OK"
        until(lambda: "read_only" in server.log())
        flag.unlink()
        attempts = count.stat().st_size
        with server.connect() as link:
            for words in (["SET", "a", "3"], ["DEL", "b"], ["MSET", "a", "4", "d", "4"], ["NSNEW", "other"]):
                assert call(link, *words).startswith(b"-READONLY"), words
            assert call(link, "GET", "a") == b"1" and call(link, "GET", "b") == b"1"
            assert b"read_only:1" in call(link, "INFO")
        time.sleep(0.3)
        assert count.stat().st_size == attempts, "a failed sync was tried again"
        server.end()
        assert count.stat().st_size == attempts, "a failed sync was tried again at the end"
        server.start()
        with server.connect() as link:
            assert call(link, "GET", "a") in (b"1", b"2") and call(link, "GET", "b") == b"1"
            assert call(link, "SET", "a", "5") == b"+OK"
    finally:
        server.remove()


def test_rubbish():
    """Mutated requests, cut at any byte. `script/check` does this for a minute under AddressSanitizer."""
    server = Server("--sync", "none")
    try:
        seed = int(os.environ.get("ZERO_SEED", str(time.time_ns())))
        zero_db_fuzz.run(server, seed, float(os.environ.get("ZERO_FUZZ_SECONDS", "3")))
        assert server.end() == 0, server.log()[-3000:]
    finally:
        server.remove()


def test_limits_have_their_own_errors():
    server = Server("--sync", "none")
    cases = [
        (b"*99999999\r\n", b"at most 16384 arguments"),
        (b"*1\r\n$99999999999\r\n", b"at most 67108864 bytes"),
        (b"*1\r\nPING\r\n", b"expected '$'"),
        (b"*x\r\n", b"invalid"),
        (b"*1\r\n$4\r\nPINGxx", b"does not end with CR LF"),
        (b"a" * 70_000, b"at most 65536 bytes"),
        (b'SET "a\r\n', b"unbalanced quotes"),
    ]
    try:
        for sent, wanted in cases:
            with server.connect() as link:
                link.sendall(sent)
                answer = link.recv(1000)
                assert answer.startswith(b"-") and wanted in answer, (sent[:40], answer)
                assert link.recv(1000) == b"", "the connection goes on behind a request that is none"
        with server.connect() as link:
            assert b"key" in call(link, "SET", "k" * 256, "v").lower()
            assert call(link, "SET", "k", b"v" * ((8 << 20) + 1)).startswith(b"-")
            assert call(link, "NOSUCH").startswith(b"-ERR unknown command")
            assert call(link, "GET").startswith(b"-ERR wrong number of arguments")
            assert call(link, "PING") == b"+PONG"
    finally:
        server.remove()


def test_a_client_that_never_reads():
    """It sends for ever and takes no reply: it is held or dropped, and costs little; others do not feel it."""
    server = Server("--sync", "none")
    try:
        with server.connect() as link:
            call(link, "SET", "big", b"v" * 100_000)
        before = server.resident()
        greedy = server.connect()
        greedy.setblocking(False)
        request = frame("GET", "big") * 2000
        sent, end = 0, time.monotonic() + 3
        while time.monotonic() < end:
            if not select.select([], [greedy], [], 0.1)[1]:
                continue
            try:
                sent += greedy.send(request)
            except (BlockingIOError, InterruptedError):
                continue
            except OSError:
                break
        with server.connect(2) as link:
            begun = time.monotonic()
            for _ in range(200):
                assert call(link, "PING") == b"+PONG"
            assert time.monotonic() - begun < 2
        assert server.resident() - before < 64 << 20, "replies that nobody takes fill the memory"
        greedy.close()
        with server.connect() as link:
            assert call(link, "PING") == b"+PONG"
    finally:
        server.remove()


def test_ten_thousand_idle_connections():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 10_500:
        pytest.skip("needs 10,500 descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server = Server("--sync", "none")
    links = []
    try:
        before = server.resident()
        for _ in range(9_990):
            link = socket.socket(socket.AF_UNIX)
            link.connect(server.path)
            links.append(link)
        with server.connect(20) as link:
            assert call(link, "PING") == b"+PONG"
            assert call(link, "SET", "a", "1") == b"+OK"
        used = (server.resident() - before) / len(links)
        assert used < 40_000, f"{used:.0f} bytes a connection that only waits"
        refused = []
        for _ in range(20):
            link = socket.socket(socket.AF_UNIX)
            link.settimeout(10)
            link.connect(server.path)
            links.append(link)
        for link in links[-5:]:
            answer = link.recv(200)
            refused.append(answer)
        assert all(answer.startswith(b"-MAXCLIENTS") for answer in refused), refused
        assert call(links[0], "PING") == b"+PONG"
    finally:
        for link in links:
            link.close()
        server.remove()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
