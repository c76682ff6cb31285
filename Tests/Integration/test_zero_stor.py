"""zero-stor on six Zero-DBs in three farms: what its commands say, and what survives what."""
import hashlib
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time

import pytest
from zero_db_server import Server, call

BIN = pathlib.Path(os.environ.get("ZERO_BIN", pathlib.Path(__file__).parents[2] / "build/debug"))


class Store:
    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="zero-stor-", dir="/tmp"))
        self.backends = [Server() for _ in range(6)]
        self.settings("data 4", "parity 2", "survive-nodes 2", "survive-farms 1")
        self.environment = {
            **os.environ, "ZERO_STOR_STORE": str(self.folder / "store"), "ZERO_STOR_WORDS": str(self.folder / "words"),
            "ZERO_STOR_STATE": str(self.folder / "state")}
        (self.folder / "words").write_text(self("words"))

    def settings(self, *lines):
        backends = [f"backend unix:{b.path}/store farm=f{n // 2} node=n{n}" for n, b in enumerate(self.backends)]
        (self.folder / "store").write_text("\n".join([*lines, *backends]) + "\n")

    def run(self, *arguments, **more):
        return subprocess.run(
            [BIN / "zero-stor", *map(str, arguments)], capture_output=True, env=self.environment, timeout=60, **more)

    def __call__(self, *arguments, **more):
        done = self.run(*arguments, **more)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    def status(self):
        return json.loads(self("status", "-o", "json"))

    def remove(self):
        for backend in self.backends:
            backend.remove()
        subprocess.run(["rm", "-rf", self.folder], check=True)


@pytest.fixture
def store():
    found = Store()
    try:
        yield found
    finally:
        found.remove()


def blob(number, size):
    return hashlib.shake_128(str(number).encode()).digest(size)


def fill(store):
    values = {f"b/o{size}": blob(size, size) for size in (0, 7, 5000, 400_000, 3_000_000)}
    for name, value in values.items():
        store("put", name, "-", input=value)
    return values


def same(store, values):
    for name, value in values.items():
        assert store.run("get", name, "-").stdout == value, name


def test_commands_say_what_they_did_and_what_was_wrong(store):
    assert "any 4 of 6 shards suffice" in store("create")
    values = fill(store)
    same(store, values)
    assert [entry["key"] for entry in json.loads(store("list", "b", "-o", "json"))] == ["o0", "o3000000", "o400000", "o5000", "o7"]
    assert json.loads(store("stat", "b/o5000", "-o", "json"))["size"] == 5000
    store("delete", "b/o7")
    gone = store.run("get", "b/o7", "-")
    assert gone.returncode == 1 and b"there is no object o7" in gone.stderr
    assert "0 bad" in store("check", "b") and "0 bad" in store("scrub")
    for words, message in [
        (["put", "nothing", "-"], b"is not bucket/key"), (["nonsense"], b"nonsense"), (["drain", "x"], b"number"),
        (["get", "b/o5000"], b"file")]:
        wrong = store.run(*words)
        assert wrong.returncode == 2 and message in wrong.stderr, wrong.stderr
    key = json.loads(store("key", "add", "anna", "--right", "b=read", "-o", "json"))
    assert key["id"] in store("key", "list")
    store("key", "revoke", key["id"])
    assert key["id"] not in store("key", "list")


def test_a_promise_that_cannot_be_kept_is_refused(store):
    store.settings("data 4", "parity 2", "survive-nodes 2", "survive-farms 2")
    refused = store.run("create")
    assert refused.returncode == 1
    assert b"farms: 3 farms with at most 1 shards each hold 3, 6 are needed" in refused.stderr
    store.settings("data 4", "parity 2", "surive-nodes 2")
    assert b"line 3: \xe2\x80\x9csurive-nodes\xe2\x80\x9d is not a setting" in store.run("create").stderr


def test_any_two_nodes_or_a_farm_may_go(store):
    store("create")
    values = fill(store)
    for pair in [(0, 1), (0, 3), (2, 5), (4, 5)]:
        for number in pair:
            store.backends[number].end(signal.SIGKILL)
        same(store, values)
        # Without spare nodes a write would begin its life with less than was asked for: it is refused, and says so.
        refused = store.run("put", "b/meanwhile", "-", input=b"x")
        assert refused.returncode == 1 and b"4 of 5 shards could be placed" in refused.stderr
        for number in pair:
            store.backends[number].start()
    store.backends[5].end(signal.SIGKILL)
    store("put", "b/meanwhile", "-", input=b"written with one away")
    values["b/meanwhile"] = b"written with one away"
    assert store.status()["state"] == "degraded"
    store.backends[5].start()
    for number in (1, 2, 4):
        store.backends[number].end(signal.SIGKILL)
    failed = store.run("get", "b/o3000000", "-")
    assert failed.returncode == 1 and b"too few" in failed.stderr
    for number in (1, 2, 4):
        store.backends[number].start()
    same(store, values)


def test_a_folder_and_a_backend_are_lost_and_everything_is_whole_again(store):
    store("create")
    values = fill(store)
    subprocess.run(["rm", "-rf", store.folder / "state"], check=True)
    same(store, values)
    # One is wiped for good and comes back empty: its shards are missing, until they are made anew.
    old = store.backends[2]
    old.end(signal.SIGKILL)
    subprocess.run(["rm", "-rf", old.folder / "data"], check=True)
    old.start()
    store("create")
    scrub = store.run("scrub", "-o", "json")
    assert scrub.returncode == 1 and json.loads(scrub.stdout)["bad"] > 0
    assert store.status()["state"] == "degraded"
    assert json.loads(store("repair", "-o", "json"))["repaired"] > 0
    assert store.status()["state"] == "whole"
    for number in (0, 1):
        store.backends[number].end(signal.SIGKILL)
    same(store, values)


def test_flipped_bytes_are_found_and_healed(store):
    store("create")
    values = fill(store)
    bad = store.backends[3]
    bad.end()
    segment = max((bad.folder / "data").rglob("*.segment"))
    with open(segment, "r+b") as file:
        content = file.read(2_000_000)
        # Zeros at the end are space that is reserved, nothing lies there.
        for at in range(8192, len(content.rstrip(b"\0")), 50_000):
            file.seek(at)
            file.write(bytes([content[at] ^ 0x55]))
    bad.start()
    same(store, values)
    found = 0
    for _ in range(5):
        found += json.loads(store.run("scrub", "-o", "json").stdout)["bad"]
    assert found > 0
    store("repair")
    assert store.status()["state"] == "whole"
    same(store, values)


def test_a_put_that_is_killed_leaves_nothing_half(store):
    store("create")
    values = fill(store)
    for wait in (0.02, 0.05, 0.1, 0.2):
        process = subprocess.Popen([BIN / "zero-stor", "put", "b/o400000", "-"], stdin=subprocess.PIPE, env=store.environment)
        try:
            process.stdin.write(blob("another", 6_000_000))
            time.sleep(wait)
        finally:
            process.kill()
            process.wait()
            process.stdin.close()
        same(store, values)


def test_an_empty_machine_begins_with_a_snapshot(store):
    store("create")
    values = fill(store)
    first = json.loads(store("snapshot", "-o", "json"))
    assert first["trimmed"] == 0 and first["height"] > 5
    later = {"b/later": blob(9, 9000)}
    store("put", "b/later", "-", input=later["b/later"])
    second = json.loads(store("snapshot", "-o", "json"))
    assert second["trimmed"] == first["height"]

    # The beginning of the log is gone from the backends that keep it, and nobody needs it: not who has an index, and not who has none.
    kept = []
    for backend in store.backends:
        link = backend.connect()
        call(link, "SELECT", "store")
        kept.append([call(link, "EXISTS", b"L" + height.to_bytes(8, "big")) for height in range(1, second["height"] + 1)])
    assert all(row[: first["height"]] == [b":0"] * first["height"] for row in kept)
    assert sum(b":1" in row for row in kept) >= 4
    same(store, values | later)
    subprocess.run(["rm", "-rf", store.folder / "state"], check=True)
    store.backends[5].end(signal.SIGKILL)
    same(store, values | later)
    store("put", "b/last", "-", input=b"1")
    assert store("get", "b/last", "-") == "1"
