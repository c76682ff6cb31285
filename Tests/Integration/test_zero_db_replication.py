"""Zero-DB's replication with real processes: copies, breaks, SIGKILL of either side, promotion, required replicas."""
import hashlib
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import pytest
import redis

BIN = pathlib.Path(os.environ.get("ZERO_BIN", pathlib.Path(__file__).parents[2] / "build/debug")) / "zero-db"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A zero-db with a folder of its own."""

    def __init__(self, folder, name, *options):
        self.folder = pathlib.Path(folder) / name
        self.folder.mkdir()
        self.data, self.socket, self.port = self.folder / "data", self.folder / "s", free_port()
        self.options, self.process = list(options), None
        self.start()

    def start(self, *more):
        self.log = open(self.folder / "log", "ab")
        command = [BIN, "--data", self.data, "--socket", self.socket, "--port", str(self.port), *self.options, *more]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log)
        assert self.process.stdout.readline().startswith(b"ready"), self.text()
        return self

    def text(self):
        return (self.folder / "log").read_text()

    def kill(self, how=signal.SIGKILL):
        self.process.send_signal(how)
        self.process.wait(20)
        self.process.stdout.close()
        self.log.close()

    def client(self):
        return redis.Redis(unix_socket_path=str(self.socket), socket_timeout=20)

    def call(self, *words):
        with self.client() as client:
            return client.execute_command(*words)

    def info(self):
        with self.client() as client:
            return client.info("replication")

    def segments(self):
        while True:
            try:
                return {path.name: path.read_bytes() for path in sorted(self.data.glob("*.segment"))}
            except FileNotFoundError:
                # Compaction removed one between its listing and its reading.
                continue


@pytest.fixture
def folder():
    path = tempfile.mkdtemp(prefix="replication-", dir="/tmp")
    servers = []

    def make(name, *options):
        servers.append(Server(path, name, *options))
        return servers[-1]

    yield make
    for server in servers:
        if server.process.poll() is None:
            server.kill()
    shutil.rmtree(path)


def until(condition, what, seconds=15):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")


def caught_up(master, replica):
    return replica.call("NEXT") == master.call("NEXT") and replica.info()["master_link_status"] == "up"


def fill(server, count, prefix="key", size=100):
    with server.client() as client, client.pipeline(transaction=False) as pipe:
        for number in range(count):
            pipe.set(f"{prefix}-{number}", random.Random(number).randbytes(size))
        pipe.execute()


def test_a_copy_is_byte_identical_and_serves_reads(folder):
    master = folder("master", "--segment-size", "32M")
    fill(master, 3000, size=20_000)
    replica = folder("replica", "--segment-size", "32M", "--replica-of", f"127.0.0.1:{master.port}", "--replica-name", "x")
    until(lambda: caught_up(master, replica), "the copy")
    master.call("NSNEW", "other")
    master.call("SET", "after", "1")
    until(lambda: replica.call("GET", "after") == b"1", "what is written later")
    assert b"other" in replica.call("NSLIST")
    for words in (["SET", "a", "1"], ["DEL", "after"], ["NSNEW", "x"], ["MSET", "a", "1"]):
        with pytest.raises(redis.exceptions.ReadOnlyError, match="replica"):
            replica.call(*words)
    assert replica.call("GET", "key-7") == random.Random(7).randbytes(20_000)
    assert master.info()["slave0"]["name"] == "x" and master.info()["role"] == "master"
    status = replica.info()
    assert status["role"] == "slave" and status["behind_sequences"] == 0 and status["behind_milliseconds"] < 1000
    assert replica.call("DBSIZE") == master.call("DBSIZE")
    # A stop in order takes the replicas along to the last record.
    master.kill(signal.SIGTERM)
    replica.kill(signal.SIGTERM)
    assert len(master.segments()) > 1 and master.segments() == replica.segments()


def test_sigkill_of_either_side_under_load(folder):
    master = folder("master", "--segment-size", "32M")
    replica = folder("replica", "--segment-size", "32M", "--replica-of", f"unix:{master.socket}")
    stop, written = threading.Event(), [0]

    def load():
        number = 0
        while not stop.is_set():
            try:
                with master.client() as client:
                    while not stop.is_set():
                        client.set(f"load-{number % 500}", b"%d" % number + bytes(random.randrange(3000)))
                        number += 1
                        written[0] = number
            except (redis.exceptions.ConnectionError, ConnectionError):
                time.sleep(0.02)

    thread = threading.Thread(target=load)
    thread.start()
    for turn in range(6):
        time.sleep(0.25)
        victim = replica if turn % 3 else master
        victim.kill()
        victim.start()
    stop.set()
    thread.join()
    assert written[0] > 100
    until(lambda: caught_up(master, replica), "the replica has everything")
    with master.client() as ours, replica.client() as theirs:
        keys = [f"load-{number}" for number in range(500)]
        assert ours.mget(keys) == theirs.mget(keys)
    master.kill(signal.SIGTERM)
    replica.kill(signal.SIGTERM)
    assert master.segments() == replica.segments()


def test_promotion_fences_the_former_master(folder):
    one = folder("one")
    two = folder("two", "--replica-of", f"unix:{one.socket}")
    one.call("SET", "a", "1")
    assert one.call("WAITREPLICAS", "1", "5000") == 1
    two.kill(signal.SIGTERM)
    one.call("SET", "lost", "1")
    one.call("NSNEW", "lost")
    two.options = []
    two.start()
    # Without --replica-of it is still a copy until somebody promotes it.
    with pytest.raises(redis.exceptions.ReadOnlyError):
        two.call("SET", "b", "1")
    assert two.call("PROMOTE") == 2
    two.call("SET", "b", "2")
    with pytest.raises(redis.exceptions.ResponseError, match="is the master"):
        two.call("PROMOTE")
    assert one.call("DEMOTE", "2") in (b"OK", "OK", True)
    for _ in range(2):
        with pytest.raises(redis.exceptions.ReadOnlyError, match="epoch 2"):
            one.call("SET", "c", "1")
        assert one.info()["role"] == "superseded"
        one.kill()
        one.start()
    # It holds a write that the new master never saw: it says so, and gives it up only when told to.
    one.call("REPLICAOF", f"unix:{two.socket}", "-")
    until(lambda: "diverged" in one.text(), "the fork is found")
    assert one.call("GET", "lost") == b"1"
    one.call("REPLICAOF", f"unix:{two.socket}", "-", "DISCARD")
    until(lambda: caught_up(two, one), "it follows")
    assert one.call("GET", "lost") is None and one.call("GET", "b") == b"2"
    assert b"lost" not in one.call("NSLIST")
    two.call("SET", "d", "4")
    until(lambda: one.call("GET", "d") == b"4", "it follows on")
    two.kill(signal.SIGTERM)
    one.kill(signal.SIGTERM)
    assert one.segments() == two.segments()


def test_a_replica_of_a_higher_epoch_ends_the_lower_one(folder):
    one = folder("one")
    two = folder("two", "--replica-of", f"unix:{one.socket}")
    one.call("SET", "a", "1")
    assert one.call("WAITREPLICAS", "1", "5000") == 1
    two.call("PROMOTE", "7")
    two.call("SET", "b", "2")
    # A supervisor starts it again with its former flags: it stays the master, and the other one learns of it.
    two.kill(signal.SIGTERM)
    two.start()
    until(lambda: one.info()["role"] == "superseded", "the lower epoch ends")
    until(lambda: two.info()["role"] == "master", "the higher one goes on")
    assert two.call("SET", "c", "3") in (b"OK", True) and two.info()["epoch"] == 7
    # Only notes of the process stand behind the fork, so it follows without being asked.
    one.kill(signal.SIGTERM)
    one.options = ["--replica-of", f"unix:{two.socket}"]
    one.start()
    until(lambda: caught_up(two, one), "it follows")
    assert one.call("GET", "c") == b"3"


def test_required_replicas(folder):
    master = folder("master", "--replicas-required", "1", "--replicas-timeout", "300")
    with pytest.raises(redis.exceptions.ResponseError, match="NOREPLICAS"):
        master.call("SET", "a", "1")
    assert master.call("GET", "a") is None
    replica = folder("replica", "--replica-of", f"unix:{master.socket}")
    until(lambda: master.info()["connected_slaves"] == 1, "a replica")
    until(lambda: caught_up(master, replica), "the copy")
    assert master.call("SET", "a", "1") in (b"OK", True)
    assert replica.call("GET", "a") == b"1"
    assert master.call("NSNEW", "one") in (b"OK", "OK", True)
    assert b"one" in replica.call("NSLIST")
    # Stopped, not gone: the write waits, and then says that it is not safe. Readers wait for it too.
    replica.process.send_signal(signal.SIGSTOP)
    begun = time.monotonic()
    with pytest.raises(redis.exceptions.ResponseError, match="NOREPLICAS"):
        master.call("SET", "a", "2")
    assert 0.25 < time.monotonic() - begun < 5
    with pytest.raises(redis.exceptions.ResponseError, match="NOREPLICAS"):
        master.call("GET", "a")
    assert master.call("WAITREPLICAS", "1", "100") == 0
    replica.process.send_signal(signal.SIGCONT)
    until(lambda: caught_up(master, replica), "the copy")
    assert master.call("GET", "a") == b"2" and master.call("SET", "a", "3") in (b"OK", True)


def test_nothing_acknowledged_is_lost_with_the_master(folder):
    """The master dies under load; what it answered is on the promoted replica."""
    master = folder("master", "--replicas-required", "1")
    replica = folder("replica", "--replica-of", f"unix:{master.socket}")
    until(lambda: master.info()["connected_slaves"] == 1, "a replica")
    acknowledged, asked = [{} for _ in range(4)], [{} for _ in range(4)]

    def load(index):
        with master.client() as client:
            for number in range(100_000):
                asked[index][f"{index}-{number % 50}"] = number
                try:
                    client.set(f"{index}-{number % 50}", number)
                except redis.exceptions.RedisError:
                    return
                acknowledged[index][f"{index}-{number % 50}"] = number

    threads = [threading.Thread(target=load, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(1.5)
    master.kill()
    for thread in threads:
        thread.join()
    assert replica.call("PROMOTE") == 2
    assert sum(map(len, acknowledged)) > 100
    with replica.client() as client:
        for index in range(4):
            for key, number in acknowledged[index].items():
                assert int(client.get(key)) in (number, asked[index][key]), key


def test_waiting_and_roles(folder):
    master = folder("master")
    assert master.call("WAITREPLICAS", "0", "0") == 0
    begun = time.monotonic()
    assert master.call("WAITREPLICAS", "1", "200") == 0
    assert time.monotonic() - begun > 0.19
    with pytest.raises(redis.exceptions.ResponseError):
        master.call("WAITREPLICAS", "x", "1")
    with pytest.raises(redis.exceptions.ResponseError, match="ZSYNC"):
        master.call("ZSYNC", "?", "0", "0", "2", "x", "yyy")
    for version in ("1", "9"):
        with pytest.raises(redis.exceptions.ResponseError, match=f"protocol 2, not {version}"):
            master.call("ZSYNC", "?", "0", "0", version, "x", "")
    replicas = [folder(f"r{number}", "--replica-of", f"127.0.0.1:{master.port}") for number in range(2)]
    with master.client() as client, client.pipeline(transaction=False) as pipe:
        pipe.set("a", "1").execute_command("WAITREPLICAS", "2", "9000").get("a")
        assert pipe.execute() == [True, 2, b"1"]
    assert [replica.call("GET", "a") for replica in replicas] == [b"1", b"1"]
    assert master.call("ROLE")[0] == b"master" and replicas[0].call("ROLE")[0] == b"slave"
    # A copy of a copy.
    third = folder("third", "--replica-of", f"unix:{replicas[0].socket}")
    until(lambda: caught_up(replicas[0], third), "a copy of a copy")
    assert third.call("GET", "a") == b"1"
    # Another device is never overwritten.
    stranger = folder("stranger")
    stranger.call("REPLICAOF", "127.0.0.1", str(master.port))
    until(lambda: "another device" in str(stranger.info()["master_last_error"]), "the refusal")
    assert stranger.call("REPLICAOF", "NO", "ONE") == 2


def test_compaction_of_the_master(folder):
    """Overwrites and COMPACT on the master; the replica is killed in between; the files are the same, and it goes on."""
    options = ["--segment-size", "1M", "--history", "none"]
    master = folder("master", *options)
    replica = folder("replica", *options, "--replica-of", f"unix:{master.socket}")

    def same():
        return caught_up(master, replica) and replica.info()["slave_complete"] == 1 and hashes(master) == hashes(replica)

    def hashes(server):
        result = {}
        for path in sorted(server.data.glob("*.segment")):
            try:
                result[path.name] = hashlib.sha256(path.read_bytes().rstrip(b"\0")).digest()
            except FileNotFoundError:
                return {}
        return result

    for turn in range(5):
        for number in range(8):
            fill(master, 1500, prefix="key", size=300 + number)
            fill(master, 20, prefix=f"turn-{turn}-{number}", size=3000)
        if turn % 2:
            replica.kill()
        # Some of it may have gone by itself before it is asked for.
        master.call("COMPACT")
        until(lambda: master.call("INFO")["compaction_dead_bytes"] == master.call("INFO")["compaction_running"] == 0, "what is dead goes")
        fill(master, 200, prefix="later")
        if turn % 2:
            replica.start()
        until(same, "the same files", 30)
    assert replica.info()["slave_replacements"] > 0 or "tail_discarded" in replica.text()
    keys = [f"key-{number}" for number in range(1500)] + [f"later-{number}" for number in range(200)]
    with master.client() as ours, replica.client() as theirs:
        values = ours.mget(keys)
        assert None not in values and values == theirs.mget(keys)
    # Another copy is made of what is left, and the first one becomes the master.
    third = folder("third", *options, "--replica-of", f"unix:{replica.socket}")
    until(lambda: caught_up(replica, third) and third.info()["slave_complete"] == 1, "a copy of the copy")
    master.kill()
    assert replica.call("PROMOTE") == 2
    fill(replica, 1500, prefix="key", size=100)
    replica.call("COMPACT")
    until(lambda: caught_up(replica, third) and hashes(replica) == hashes(third), "the copy follows the promoted one", 30)
    assert third.call("GET", "key-7") == random.Random(7).randbytes(100)
