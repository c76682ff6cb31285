"""Compaction, reservations, history policies and the overwriting of what a namespace held, with real processes and files."""
import re
import signal
import subprocess
import time

import pytest
import redis

from zero_db_server import BIN, Server


def client(server, namespace=None):
    link = redis.Redis(unix_socket_path=server.path, single_connection_client=True, socket_timeout=30)
    if namespace:
        link.execute_command("SELECT", namespace)
    return link


@pytest.fixture
def start():
    servers = []

    def begin(*options):
        servers.append(Server("--segment-size", "1M", *options))
        return servers[-1]

    yield begin
    for server in servers:
        server.remove()


def bytes_on_disk(server):
    return sum(file.stat().st_size for file in (server.folder / "data").glob("*.segment"))


def settle(link, seconds=30):
    """Waits until no compaction runs and nothing is left to remove."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        info = link.info("compaction")
        if info["compaction_running"] == 0 and info["files_to_remove"] == 0 and info["wipes_pending"] == 0:
            return info
        time.sleep(0.02)
    raise AssertionError(link.info("compaction"))


def compact(link):
    assert link.execute_command("COMPACT") in (True, b"OK", "OK")
    return settle(link)


def check(server):
    result = subprocess.run([BIN, "check", server.folder / "data"], capture_output=True, text=True)
    return result.returncode, result.stdout + result.stderr


def test_overwritten_values_give_their_space_back(start):
    server = start("--sync", "none", "--history", "none")
    link = client(server)
    for turn in range(40):
        link.mset({f"k{number}": b"%d:%d:" % (turn, number) + b"x" * 1000 for number in range(200)})
    compact(link)
    assert bytes_on_disk(server) < 3 << 20
    assert link.dbsize() == 200
    for number in range(200):
        assert link.get(f"k{number}") == b"39:%d:" % number + b"x" * 1000
    assert check(server)[0] == 0, check(server)[1]
    assert server.end() == 0
    assert check(server)[0] == 0, check(server)[1]
    server.start()
    link = client(server)
    assert [link.get(f"k{number}")[:3] for number in range(200)] == [b"39:"] * 200
    assert link.info("space")["space_free_bytes"] > 0


def test_by_itself_and_beside_requests(start):
    server = start("--sync", "none", "--history", "none", "--compaction-rate", "1G")
    link = client(server)
    for turn in range(60):
        link.mset({f"k{number}": b"%d" % turn + b"y" * 2000 for number in range(100)})
        assert link.get("k7")[:2] == b"%d" % turn if turn > 9 else True
    deadline = time.monotonic() + 20
    while bytes_on_disk(server) > 4 << 20 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert bytes_on_disk(server) <= 4 << 20, link.info("compaction")
    assert int(link.info("compaction")["compaction_runs"]) > 0


def test_history_policies(start):
    server = start("--sync", "none")
    link = client(server)
    for name, policy in [("everything", "all"), ("three", "last:3"), ("nothing", "none")]:
        link.execute_command("NSNEW", name)
        link.execute_command("NSSET", name, "history", policy)
        other = client(server, name)
        for number in range(50):
            other.set("key", b"%d" % number + b"z" * 100)
    compact(link)

    def versions(name):
        other, cursor, found = client(server, name), None, []
        while True:
            try:
                reply = other.execute_command("HISTORY", "key", *([cursor] if cursor else []))
            except redis.ResponseError as error:
                # The one before was let go.
                assert "No more history" in str(error)
                return found
            found.append(reply[2][:2])
            cursor = reply[0]
            if cursor is None:
                return found

    assert len(versions("everything")) == 50
    assert versions("three") == [b"49", b"48", b"47"]
    assert versions("nothing") == [b"49"]


def test_a_deleted_namespace_gives_its_space_back_and_wipe_leaves_no_byte(start):
    server = start("--sync", "none")
    link = client(server)
    secret = b"a-value-that-nobody-may-find-again"
    for name in ("one", "two"):
        link.execute_command("NSNEW", name)
        other = client(server, name)
        for number in range(300):
            other.set(f"k{number}", secret + name.encode() + b"w" * 9000)
        other.close()
    before = bytes_on_disk(server)
    descriptors = [open(file, "rb") for file in (server.folder / "data").glob("*.segment")]
    link.execute_command("NSDEL", "one", "WIPE")
    settle(link)
    # Also the files that have no name any more.
    for file in descriptors:
        assert secret + b"one" not in file.read()
        file.close()
    link.execute_command("NSDEL", "two")
    compact(link)
    assert bytes_on_disk(server) < before / 10
    with pytest.raises(redis.ResponseError):
        client(server, "two")


def test_a_worm_namespace_is_not_touched(start):
    server = start("--sync", "none", "--history", "none")
    link = client(server)
    link.execute_command("NSNEW", "kept")
    other = client(server, "kept")
    for number in range(20):
        other.set("key", b"%d" % number)
    link.execute_command("NSSET", "kept", "worm", "1")
    compact(link)
    count, cursor = 0, None
    while True:
        reply = other.execute_command("HISTORY", "key", *([cursor] if cursor else []))
        count, cursor = count + 1, reply[0]
        if cursor is None:
            break
    assert count == 20


def test_reservations_are_kept_for_who_has_them(start):
    server = start("--sync", "none", "--capacity", "64M")
    link = client(server)
    for name in ("tenant", "other"):
        link.execute_command("NSNEW", name)
    link.execute_command("NSSET", "tenant", "reservation", str(30 << 20))
    with pytest.raises(redis.ResponseError, match="^NOSPACE"):
        link.execute_command("NSSET", "other", "reservation", str(60 << 20))
    other, count = client(server, "other"), 0
    with pytest.raises(redis.ResponseError, match="^NOSPACE"):
        while True:
            other.set(f"k{count}", b"v" * 50_000)
            count += 1
    assert 100 < count < 900
    # Others are refused; who reserved is not, up to what was reserved.
    tenant, written = client(server, "tenant"), 0
    while written < 28 << 20:
        tenant.set(f"k{written}", b"v" * 50_000)
        written += 50_000 + 64 + 16
    info = dict(line.split(": ") for line in link.execute_command("NSINFO", "tenant").decode().splitlines() if ": " in line)
    assert int(info["disk_bytes"]) >= 28 << 20 and int(info["reservation_bytes"]) == 30 << 20
    # Deleting gives back at once what nobody else was given, and the disk soon.
    other.close()
    link.execute_command("NSDEL", "other")
    compact(link)
    link.execute_command("NSNEW", "third")
    client(server, "third").set("k", b"v" * 1_000_000)


def test_a_tenant_that_writes_over_itself_stays_within_what_it_reserved(start):
    server = start("--sync", "none", "--capacity", "64M", "--compaction-rate", "1G")
    link = client(server)
    link.execute_command("NSNEW", "tenant")
    for word in (("history", "none"), ("reservation", str(24 << 20))):
        link.execute_command("NSSET", "tenant", *word)
    tenant = client(server, "tenant")
    for number in range(4000):
        for attempt in range(400):
            try:
                tenant.set(f"k{number % 100}", b"%d" % number + b"v" * 60_000)
                break
            except redis.ResponseError as error:
                # It writes faster than compaction: told so, and nothing is lost.
                assert str(error).startswith("NOSPACE")
                time.sleep(0.01)
        else:
            raise AssertionError(link.info("compaction"))
    for number in range(3900, 4000):
        assert tenant.get(f"k{number % 100}").startswith(b"%dv" % number)
    assert bytes_on_disk(server) < 64 << 20


def test_check_knows_which_segments_count(start):
    server = start("--sync", "none", "--history", "none")
    link = client(server)
    for turn in range(30):
        link.mset({f"k{number}": b"%d" % turn + b"x" * 3000 for number in range(100)})
    compact(link)
    for turn in range(5):
        link.mset({f"l{number}": b"%d" % turn + b"x" * 3000 for number in range(100)})
    assert check(server)[0] == 0, check(server)[1]
    assert server.end() == 0
    data = server.folder / "data"
    manifests = list(data.glob("manifest-*"))
    assert len(manifests) == 1
    # One copy of a change is enough, and said to be alone.
    original = manifests[0].read_bytes()
    manifests[0].write_bytes(original[:4096] + bytes([original[4096] ^ 1]) + original[4097:])
    status, text = check(server)
    assert status == 1 and "manifest copy" in text, text
    manifests[0].write_bytes(original)
    # A segment that counts and is not there.
    gone = sorted(data.glob("*.segment"), key=lambda file: file.stat().st_size)[-1]
    content = gone.read_bytes()
    gone.unlink()
    status, text = check(server)
    assert status == 1 and "missing records" in text, text
    gone.write_bytes(content[:9000] + bytes([content[9000] ^ 4]) + content[9001:])
    status, text = check(server)
    assert status == 1 and re.search(r"bad: segment \d+ offset", text), text
    gone.write_bytes(content)
    assert check(server)[0] == 0
    server.start()
    assert client(server).get("k99")[:2] == b"29"


def test_export_of_a_compacted_device(start, tmp_path):
    server = start("--sync", "none", "--history", "none")
    link = client(server)
    for turn in range(20):
        link.mset({f"k{number}": b"%d" % turn + b"x" * 3000 for number in range(100)})
    compact(link)
    assert server.end() == 0
    stream = tmp_path / "stream"
    with open(stream, "wb") as out:
        subprocess.run([BIN, "export", server.folder / "data"], stdout=out, check=True)
    second = start("--sync", "none")
    assert second.end() == 0
    with open(stream, "rb") as source:
        subprocess.run([BIN, "import", second.folder / "imported"], stdin=source, check=True)
    assert b"19x" in stream.read_bytes()
