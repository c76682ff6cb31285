"""Zero-DB's commands as redis-py sees them: their shapes, their errors, properties of namespaces."""

import os
import pathlib
import signal
import subprocess
import tempfile
import threading
import time

import pytest
import redis

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("ZERO_BIN", ROOT / "build/debug")) / "zero-db"


class Server:
    def __init__(self, *options):
        self.folder = tempfile.mkdtemp(prefix="zero-db-commands-")
        self.options = options
        self.start()

    def start(self):
        self.socket = self.folder + "/s"
        command = [str(BINARY), "--data", self.folder + "/data", "--socket", self.socket, *self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=open(self.folder + "/log", "ab"))
        assert self.process.stdout.readline().startswith(b"ready"), open(self.folder + "/log").read()

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.process.wait(10)

    def client(self, **options):
        return redis.Redis(connection_pool=redis.ConnectionPool(
            connection_class=redis.UnixDomainSocketConnection, path=self.socket, socket_timeout=10, **options))


@pytest.fixture
def server():
    made = Server()
    yield made
    made.stop(signal.SIGKILL)
    subprocess.run(["rm", "-rf", made.folder])


def one(server):
    """A connection that stays the same between commands."""
    return server.client().client()


def refused(code, call, *arguments):
    with pytest.raises(redis.ResponseError) as caught:
        call(*arguments)
    assert str(caught.value).startswith(code), caught.value


def test_history_survives_deletion(server):
    client = one(server)
    run = client.execute_command
    for value in ["1", "2"]:
        client.set("k", value)
    client.delete("k")
    client.set("k", "3")
    seen, cursor = [], None
    while True:
        parent, when, value = run("HISTORY", "k", *([cursor] if cursor else []))
        assert abs(int(when) - time.time()) < 60
        seen.append(value)
        if parent is None:
            break
        assert len(parent) == 8
        cursor = parent
    assert seen == [b"3", None, b"2", b"1"]
    refused("", run, "HISTORY", "none")
    refused("", run, "HISTORY", "k", "bad")
    client.delete("k")
    assert run("HISTORY", "k")[2] is None


def test_as_it_was(server):
    client = one(server)
    run = client.execute_command
    client.set("k", "1")
    time.sleep(0.05)
    middle = time.time_ns()
    time.sleep(0.05)
    client.set("k", "2")
    assert run("GET", "k", "AT", middle) == b"1"
    assert run("GET", "k", "AT", middle // 1000) == b"1"
    assert run("GET", "k", "AT", int(time.time()) + 5) == b"2"
    assert run("GET", "k", "AT", 1) is None
    refused("", run, "GET", "k", "AT", "noon")


def test_keys_of_the_original(server):
    client = one(server)
    run = client.execute_command
    assert run("SETX", "a", "1") == b"OK"
    assert run("CHECK", "a") == 1
    assert run("CHECK", "b") is None
    assert abs(run("KEYTIME", "a") - time.time()) < 60
    assert run("KEYTIME", "b") is None
    assert run("LENGTH", "a") == 1
    assert len(run("KEYCUR", "a")) == 17
    refused("", run, "KEYCUR", "b")


def test_scans_in_the_order_of_writes(server):
    client = one(server)
    run = client.execute_command
    for number in range(1200):
        client.set(f"k{number}", "v" * (number % 7))
    client.set("k0", "again")
    client.delete("k1")

    def all_of(command):
        keys, cursor = [], []
        while True:
            try:
                cursor, found = run(command, *cursor)
            except redis.ResponseError as error:
                assert "No more data" in str(error)
                return keys
            assert len(cursor) == 17
            cursor = [cursor]
            keys += [(key, length) for key, length, when in found]

    forward = all_of("SCANX")
    expected = [(f"k{n}".encode(), n % 7) for n in range(2, 1200)] + [(b"k0", 5)]
    assert forward == expected
    assert all_of("RSCAN") == expected[::-1]
    cursor = run("KEYCUR", "k1198")
    assert [key for key, _, _ in run("SCANX", cursor)[1]] == [b"k1199", b"k0"]
    refused("", run, "SCANX", "rubbish")
    # Redis' own SCAN is by number.
    assert len(set(client.scan_iter(count=100))) == 1199


def test_waits_and_mirrors(server):
    client, other = one(server), one(server)
    # redis-py takes WAIT for Redis' own, whose reply is a number.
    client.response_callbacks.clear()
    run = client.execute_command
    replies = []
    thread = threading.Thread(target=lambda: replies.append(run("WAIT", "SET", 5000)))
    thread.start()
    time.sleep(0.3)
    other.get("k")
    time.sleep(0.1)
    assert not replies
    other.set("k", "1")
    thread.join(5)
    assert replies == [b"SET"]
    refused("", run, "WAIT", "NOSUCH", 500)
    refused("", run, "WAIT", "*", 1)
    begun = time.monotonic()
    refused("", run, "WAIT", "*", 200)
    assert 0.15 < time.monotonic() - begun < 3
    mirror = server.client().connection_pool.get_connection("_")
    mirror.send_command("MIRROR")
    assert mirror.read_response() == b"Starting mirroring"
    other.set("m", "2")
    when, namespace, owner, *arguments = mirror.read_response()
    assert namespace == b"default" and arguments == [b"SET", b"m", b"2"] and owner > 0


def test_properties_last(server):
    client = one(server)
    run = client.execute_command
    run("NSNEW", "n")
    for name, value, line in [
        ("sync", "interval:50", "sync: interval:50"), ("sync", "none", "sync: none"), ("sync", "always", "sync: always"),
        ("ops", "5000", "ops_per_second: 5000"), ("bandwidth", "1000000", "bandwidth_bytes_per_second: 1000000"),
        ("connections", "3", "connections_max: 3"), ("lock", "1", "locked: yes"), ("maxsize", "77", "data_limits_bytes: 77"),
    ]:
        assert run("NSSET", "n", name, value) == b"OK"
        assert line in run("NSINFO", "n").decode()
    for name, value in [("sync", "sometimes"), ("sync", "interval:1"), ("ops", "-1"), ("nothing", "1"), ("connections", "999999")]:
        refused("", run, "NSSET", "n", name, value)
    server.stop(signal.SIGKILL)
    server.start()
    text = one(server).execute_command("NSINFO", "n").decode()
    for line in ["sync: always", "ops_per_second: 5000", "connections_max: 3", "locked: yes", "data_limits_bytes: 77"]:
        assert line in text


def test_limits_of_a_namespace(server):
    admin = one(server)
    admin.execute_command("NSNEW", "n")
    admin.execute_command("NSSET", "n", "connections", "2")
    clients = [one(server) for _ in range(3)]
    for client in clients[:2]:
        assert client.execute_command("SELECT", "n") in (b"OK", True)
    refused("MAXCLIENTS", clients[2].execute_command, "SELECT", "n")
    admin.execute_command("NSSET", "n", "ops", "200")
    time.sleep(0.1)
    begun = time.monotonic()
    for number in range(400):
        clients[0].get("k")
    assert 0.7 < time.monotonic() - begun < 6
    # Others do not feel it.
    begun = time.monotonic()
    for number in range(400):
        admin.get("k")
    assert time.monotonic() - begun < 0.7


def test_syncs_are_each_namespaces_own(server):
    admin = one(server)
    run = admin.execute_command
    run("NSNEW", "fast")
    run("NSSET", "fast", "sync", "none")

    def syncs():
        return int(admin.info()["syncs"])

    run("SELECT", "fast")
    before = syncs()
    for number in range(50):
        admin.set("k", number)
    assert syncs() - before < 10
    run("SELECT", "default")
    before = syncs()
    for number in range(50):
        admin.set("k", number)
    assert syncs() - before >= 50


def test_clients_of_every_kind(server):
    client = one(server)
    assert client.ping()
    assert client.command_count() > 40
    assert client.client_id() > 0
    client.client_setname("me")
    assert client.client_getname() in ("me", b"me")
    assert any(row["name"] == "me" for row in client.client_list())
    other = one(server)
    other.ping()
    assert client.execute_command("CLIENT", "KILL", "ID", other.client_id()) == 1
    assert client.config_resetstat()
    assert client.execute_command("NSJUMP") == b"OK"
    assert client.execute_command("INDEX", "DIRTY") == []
    refused("", client.execute_command, "G", "a")
    for tail in [["PING"], ["-3", "PING"]]:
        result = subprocess.run(["redis-cli", "-s", server.socket, *tail], capture_output=True, timeout=10)
        assert result.stdout.strip() == b"PONG"


def test_one_tenant_does_not_starve_another(server):
    admin = one(server)
    for name in ["loud", "quiet"]:
        admin.execute_command("NSNEW", name)
    stop = threading.Event()

    def shout():
        client = one(server)
        client.execute_command("SELECT", "loud")
        client.set("big", b"x" * (4 << 20))
        while not stop.is_set():
            pipe = client.pipeline(transaction=False)
            for _ in range(8):
                pipe.get("big")
            pipe.execute()

    threads = [threading.Thread(target=shout) for _ in range(4)]
    for thread in threads:
        thread.start()
    quiet = one(server)
    quiet.execute_command("SELECT", "quiet")
    took = []
    for _ in range(100):
        begun = time.monotonic()
        quiet.get("k")
        took.append(time.monotonic() - begun)
    stop.set()
    for thread in threads:
        thread.join()
    assert sorted(took)[50] < 0.5
