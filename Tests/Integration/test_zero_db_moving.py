"""Zero-DB's namespaces move between servers: every version with its time, through breaks, SIGKILL and cut links, over TLS."""
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

from test_zero_db_replication import Server, free_port, until

BIN = pathlib.Path(os.environ.get("ZERO_BIN", pathlib.Path(__file__).parents[2] / "build/debug")) / "zero-db"


@pytest.fixture
def folder():
    path = tempfile.mkdtemp(prefix="moving-", dir="/tmp")
    servers = []

    def make(name, *options):
        servers.append(Server(path, name, *options))
        return servers[-1]

    make.path = pathlib.Path(path)
    yield make
    for server in servers:
        if server.process.poll() is None:
            server.kill()
    shutil.rmtree(path)


class In:
    """A client inside a namespace."""

    def __init__(self, server, namespace, *words):
        self.client = server.client()
        self.link = self.client.connection_pool.get_connection("_")
        self("SELECT", namespace, *words)

    def __call__(self, *words):
        self.link.send_command(*words)
        return self.link.read_response()


def state(server, namespace):
    text = server.call("NSINFO", namespace).decode()
    return dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)


def keys(inside):
    found, cursor = [], b"0"
    while True:
        cursor, page = inside("SCAN", cursor, "COUNT", 500)
        found += page
        if cursor == b"0":
            return sorted(found)


def exact_history(server, namespace, key):
    """Every version, newest first, with its time in nanoseconds, found by asking for the key as of times."""
    inside = In(server, namespace)
    versions, cursor = [], None
    while True:
        try:
            cursor, seconds, value = inside("HISTORY", key, *([cursor] if cursor else []))
        except redis.ResponseError as error:
            assert "No more history" in str(error)
            return versions
        versions.append((int(seconds), value))
        if cursor is None:
            return versions


def exported(server, namespace):
    """All records of a namespace of a stopped server, in order, with exact times and without sequence numbers."""
    stream = subprocess.run([BIN, "export", server.data, namespace], stdout=subprocess.PIPE, check=True).stdout
    records, at = [], 32
    while at < len(stream):
        kind, key_length = stream[at + 4], stream[at + 5]
        length = int.from_bytes(stream[at + 12:at + 16], "little")
        when = int.from_bytes(stream[at + 16:at + 24], "little")
        key = stream[at + 32:at + 32 + key_length]
        value = stream[at + 32 + key_length:at + 32 + key_length + length]
        at += 32 + key_length + length
        if kind in (2, 3):
            records.append((kind, when, key, value))
    return records


def caught_up(source, target, namespace, target_name=None):
    status = state(target, target_name or namespace)
    return status.get("follow_link") == "up" and status["follow_behind_records"] == "0" and (
        int(status["follow_sequence"]) >= source.call("NEXT") - 1)


@pytest.mark.parametrize("mode", ["user", "ordered", "seq"])
def test_everything_moves_with_its_times(folder, mode):
    source, target = folder("source"), folder("target")
    source.call("NSNEW", "tenant", "MODE", mode)
    source.call("NSSET", "tenant", "maxsize", "100000000")
    other, writer = In(source, "default"), In(source, "tenant")
    dice, ids = random.Random(mode), []
    for number in range(400):
        other("SET", f"noise-{number % 20}", dice.randbytes(50))
        if mode == "seq":
            if not ids or dice.random() < 0.3:
                ids.append(writer("SET", "", b"%d" % number))
            elif dice.random() < 0.2:
                writer("DEL", ids[-1 if dice.random() < 0.1 else dice.randrange(len(ids))])
                ids = [key for key in ids if writer("EXISTS", key)]
            else:
                writer("SET", dice.choice(ids), dice.randbytes(dice.randrange(3000)))
        elif dice.random() < 0.2:
            writer("DEL", f"key-{dice.randrange(40)}")
        elif dice.random() < 0.2:
            writer("BATCH", "2", "SET", f"key-{dice.randrange(40)}", "b", "SET", f"b-{number}", "b")
        else:
            writer("SET", f"key-{dice.randrange(40)}", dice.randbytes(dice.randrange(3000)))
    if mode != "seq":
        writer("SET", "large", dice.randbytes(5 << 20))
    target.call("NSFOLLOW", "moved", "127.0.0.1", source.port, "tenant")
    until(lambda: caught_up(source, target, "tenant", "moved"), "the copy")
    time.sleep(1.1)
    writer("SET", "" if mode == "seq" else "late", "1")
    writer("NSFENCE", "tenant", "7")
    with pytest.raises(redis.ResponseError, match="follow"):
        In(target, "moved")("SET", "" if mode == "seq" else "x", "1")
    with pytest.raises(redis.ResponseError, match="follow"):
        target.call("NSSET", "moved", "worm", "1")
    assert target.call("NSPROMOTE", "moved", "7") == b"OK"
    status = state(target, "moved")
    assert "follow_link" not in status and status["fence_epoch"] == "7" and status["data_limits_bytes"] == "100000000"
    assert status["entries"] == state(source, "tenant")["entries"]
    one, two = In(source, "tenant"), In(target, "moved")
    assert keys(one) == keys(two)
    for key in keys(one):
        assert one("GET", key) == two("GET", key)
        assert exact_history(source, "tenant", key) == exact_history(target, "moved", key)
        assert two("KEYSEQ", key) > one("KEYSEQ", key)
    with pytest.raises(redis.ResponseError, match="FENCED"):
        two("SET", "" if mode == "seq" else "x", "1")
    two("EPOCH", "7")
    new = two("SET", "" if mode == "seq" else "x", "after")
    if mode == "seq":
        assert int.from_bytes(new, "little") == int.from_bytes(max(
            (key for key in ids), key=lambda key: int.from_bytes(key, "little")), "little") + 2 or new not in keys(one)
    source.kill(signal.SIGTERM)
    target.kill(signal.SIGTERM)
    before, after = exported(source, "tenant"), exported(target, "moved")
    assert after[:-1] == before and len(after) == len(before) + 1 and len(before) > 300


class Proxy:
    """A link that can be cut."""

    def __init__(self, port):
        self.target, self.pairs, self.isOpen = port, [], True
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                one, _ = self.listener.accept()
            except OSError:
                return
            try:
                assert self.isOpen
                two = socket.create_connection(("127.0.0.1", self.target), 5)
            except (OSError, AssertionError):
                one.close()
                continue
            self.pairs.append((one, two))
            for a, b in ((one, two), (two, one)):
                threading.Thread(target=self.copy, args=(a, b), daemon=True).start()

    def copy(self, a, b):
        try:
            while data := a.recv(random.choice([100, 5000, 65536])):
                b.sendall(data)
        except OSError:
            pass
        for end in (a, b):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        for pair in self.pairs:
            for end in pair:
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
        self.pairs = []


def test_a_move_under_load_survives_kills_and_cuts(folder):
    source, target = folder("source", "--segment-size", "32M"), folder("target", "--segment-size", "32M")
    source.call("NSNEW", "tenant")
    acknowledged, stop = {}, threading.Event()

    def load(worker):
        number = 0
        while not stop.is_set():
            try:
                inside = In(source, "tenant")
                while not stop.is_set():
                    key, value = f"{worker}-{number % 50}", b"%d" % number + bytes(random.randrange(4000))
                    if number % 3 == 0:
                        inside("BATCH", "2", "SET", key, value, "SET", key + "-twin", value)
                    else:
                        inside("SET", key, value)
                    acknowledged[key] = value
                    number += 1
            except redis.ResponseError as error:
                assert "FENCED" in str(error), error
                return
            except (redis.exceptions.ConnectionError, ConnectionError, OSError):
                time.sleep(0.02)

    workers = [threading.Thread(target=load, args=(index,)) for index in range(3)]
    for worker in workers:
        worker.start()
    time.sleep(0.5)
    proxy = Proxy(source.port)
    target.call("NSFOLLOW", "tenant", "127.0.0.1", proxy.port)
    for number in range(9):
        time.sleep(0.3)
        if number % 3 == 0:
            proxy.cut()
        elif number % 3 == 1:
            target.kill()
            target.start()
        else:
            source.kill()
            source.start()
    until(lambda: state(target, "tenant")["follow_link"] == "up", "the link", 30)
    source.call("NSFENCE", "tenant", "1")
    stop.set()
    for worker in workers:
        worker.join(20)
    assert target.call("NSPROMOTE", "tenant", "1", "30000") == b"OK"
    inside = In(target, "tenant")
    missing = [key for key, value in acknowledged.items() if inside("GET", key) != value]
    assert acknowledged and not missing, missing[:5]
    for index in range(3):
        assert [inside("GET", f"{index}-{number}-twin") is not None for number in range(0, 30, 3)].count(False) == 0
    source.kill(signal.SIGTERM)
    target.kill(signal.SIGTERM)
    before, after = exported(source, "tenant"), exported(target, "tenant")
    assert before == after and len(before) > 200
    check = subprocess.run([BIN, "check", target.data], stdout=subprocess.PIPE)
    assert check.returncode == 0, check.stdout


def test_a_lock_at_the_source_is_a_cut_over_too(folder):
    source, target = folder("source"), folder("target")
    source.call("NSNEW", "tenant")
    In(source, "tenant")("SET", "a", "1")
    target.call("NSFOLLOW", "tenant", f"unix:{source.socket}", "-")
    with pytest.raises(redis.ResponseError, match="still takes writes"):
        target.call("NSPROMOTE", "tenant", "-", "1500")
    source.call("NSSET", "tenant", "lock", "1")
    assert target.call("NSPROMOTE", "tenant") == b"OK"
    inside = In(target, "tenant")
    assert inside("GET", "a") == b"1" and inside("SET", "b", "2") == b"OK"
    assert state(target, "tenant")["locked"] == "no"
    # What was written here cannot follow any more.
    with pytest.raises(redis.ResponseError, match="written to here"):
        target.call("NSFOLLOW", "tenant", "127.0.0.1", source.port)
    # A source that is lost: what there is is taken.
    target.call("NSFOLLOW", "other", "127.0.0.1", source.port, "tenant")
    until(lambda: state(target, "other")["entries"] == "1", "the copy")
    source.kill()
    until(lambda: state(target, "other")["follow_link"] == "down", "the break")
    with pytest.raises(redis.ResponseError, match="not connected"):
        target.call("NSPROMOTE", "other", "-", "200")
    target.call("NSFOLLOW", "other", "NO", "ONE")
    assert In(target, "other")("SET", "c", "1") == b"OK"


def test_who_may_follow(folder):
    (folder.path / "admin").write_text("root secret\n")
    source = folder("source", "--admin-password-file", folder.path / "admin")
    target = folder("target")
    source.call("NSNEW", "tenant")
    source.call("NSNEW", "other")
    In(source, "tenant")("SET", "a", "1")
    source.call("NSSET", "tenant", "password", "of the tenant")
    source.call("NSSET", "tenant", "public", "1")
    target.call("NSFOLLOW", "tenant", "127.0.0.1", source.port)
    until(lambda: "DENIED" in state(target, "tenant")["follow_error"], "a refusal")
    target.call("NSFOLLOW", "tenant", "127.0.0.1", source.port, "AUTH", "other", "of the tenant")
    until(lambda: "WRONGPASS" in state(target, "tenant")["follow_error"], "a refusal")
    target.call("NSFOLLOW", "tenant", "127.0.0.1", source.port, "AUTH", "tenant", "of the tenant")
    until(lambda: state(target, "tenant")["entries"] == "1", "the copy")
    # The password comes along.
    assert state(target, "tenant")["password"] == "yes"
    target.call("NSFOLLOW", "second", "127.0.0.1", source.port, "tenant", "AUTH", "admin", "root secret")
    until(lambda: state(target, "second")["entries"] == "1", "the copy")
    assert source.info()["followers"] == 2 and source.info()["follower0"]["namespace"] == "tenant"
    # A namespace that was ended and made again is another one.
    source.call("NSDEL", "tenant")
    until(lambda: "ended" in state(target, "tenant")["follow_error"], "the end")
    source.call("NSNEW", "tenant")
    target.call("NSFOLLOW", "second", "127.0.0.1", source.port, "tenant", "AUTH", "admin", "root secret")
    until(lambda: "DIVERGED" in state(target, "second")["follow_error"], "a refusal")
    target.call("NSDEL", "second")
    assert target.info()["following"] == 1


def test_servers_meet_over_tls(folder):
    from test_zero_db_operations import certificates

    certificates(folder.path)
    port = free_port()
    where = folder.path
    source = folder(
        "source", "--tls-port", str(port), "--tls-cert", where / "server.pem", "--tls-key", where / "server.key",
        "--tls-client-ca", where / "ca.pem")
    source.call("NSNEW", "tenant")
    inside = In(source, "tenant")
    for number in range(300):
        inside("SET", f"k{number}", random.Random(number).randbytes(20_000))
    own = ["--replica-tls-cert", where / "alice.pem", "--replica-tls-key", where / "alice.key"]
    trusting = folder("trusting", "--replica-tls-ca", where / "ca.pem", *own)
    trusting.call("NSFOLLOW", "tenant", "tls:127.0.0.1", port)
    until(lambda: caught_up(source, trusting, "tenant"), "the copy over TLS")
    assert In(trusting, "tenant")("GET", "k7") == random.Random(7).randbytes(20_000)
    copy = folder("copy", "--replica-tls-ca", where / "ca.pem", *own, "--replica-of", f"tls:127.0.0.1:{port}")
    until(lambda: copy.info()["master_link_status"] == "up" and copy.call("NEXT") == source.call("NEXT"), "the replica")
    inside("SET", "later", "1")
    until(lambda: In(copy, "tenant")("GET", "later") == b"1", "what is written later")
    until(lambda: In(trusting, "tenant")("GET", "later") == b"1", "what is written later")
    stranger = folder("stranger", "--replica-tls-ca", where / "stranger.pem", *own)
    stranger.call("NSFOLLOW", "tenant", "tls:127.0.0.1", port)
    until(lambda: "TLS" in state(stranger, "tenant")["follow_error"], "a source that nobody vouches for")
    renamed = folder("renamed", "--replica-tls-ca", where / "ca.pem", "--replica-tls-name", "elsewhere", *own)
    renamed.call("NSFOLLOW", "tenant", "tls:127.0.0.1", port)
    until(lambda: "TLS" in state(renamed, "tenant")["follow_error"], "a certificate of another name")
    nobody = folder("nobody", "--replica-tls-ca", where / "ca.pem")
    nobody.call("NSFOLLOW", "tenant", "tls:127.0.0.1", port)
    until(lambda: state(nobody, "tenant")["follow_error"], "a source that wants a certificate")
    for server in (stranger, renamed, nobody):
        assert state(server, "tenant")["entries"] == "0"
    with pytest.raises(redis.ResponseError, match="replica-tls-ca"):
        source.call("NSFOLLOW", "x", "tls:127.0.0.1", port)


def test_commands_of_the_original(folder):
    server = folder("server")
    server.call("NSNEW", "tenant")
    master, mirror, reader = In(server, "tenant"), In(server, "tenant"), In(server, "tenant")
    assert mirror("MIRROR") == b"Starting mirroring"
    assert master("MASTER") == b"Hello, master"
    assert master("SET", "a", "one", "4711") == b"OK"
    frame = mirror.link.read_response()
    assert frame[1:] == [b"tenant", 4711, b"SET", b"a", b"one"]
    with pytest.raises(redis.ResponseError, match="owner"):
        master("SET", "a", "two")
    mirror.link.read_response()
    assert master("DEL", "a", "4711") == 1 and reader("GET", "a") is None
    with pytest.raises(redis.ResponseError, match="BATCH"):
        master("MULTI", "1")
    # Every record by its place, deletions too.
    found, place = [], [0, 0]
    while True:
        try:
            place = reader("DATA", "NEXT", *place)
        except redis.ResponseError as error:
            assert "EOF" in str(error)
            break
        try:
            found.append(reader("DATA", "RAW", *place))
        except redis.ResponseError as error:
            assert "Invalid Request" in str(error)
    (key, previous, checksum, flags, when, value), end = found
    assert (key, previous, flags, value) == (b"a", 0, 0, b"one") and abs(when - time.time()) < 60
    assert checksum.startswith(b"0x") and len(checksum) == 10
    assert end[0] == b"a" and end[1] > 0 and end[3:4] == [1] and end[5] == b""
    with pytest.raises(redis.ResponseError, match="EOF"):
        reader("DATA", "RAW", place[0] + 5, 4096)
    with pytest.raises(redis.ResponseError, match="Invalid"):
        reader("DATA", "RAW", place[0], 4100)
    assert reader("STOP") == b"Stopping"
    assert server.process.wait(20) == 0 and "stopped" in server.text()
