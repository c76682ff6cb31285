"""Zero-DB and clients that mean harm, or are only odd: each limit has its own error, and nobody gets what is not theirs."""
import os
import socket
import subprocess
import time

import pytest

from zero_db_server import BIN, Replies, Server, call, frame


@pytest.fixture
def server():
    made = Server("--sync", "none")
    yield made
    made.remove()


def replies(link, count):
    reader, found = Replies(), []
    while len(found) < count:
        data = link.recv(1 << 20)
        if not data:
            raise ConnectionError(found)
        found += reader.feed(data)
    return found


def closes(link, data):
    """What is answered before the connection is closed."""
    link.sendall(data)
    answer = b""
    try:
        while part := link.recv(1 << 16):
            answer += part
    except ConnectionResetError:
        pass
    return answer


# Lengths at which the value and what is said of it just fit a buffer, which must not grow between the two.
@pytest.mark.parametrize("length", [*range(16300, 16390, 3), 32730, 65480, 131000])
def test_a_part_of_a_value_is_that_value(server, length):
    value = os.urandom(length)
    with server.connect() as link:
        call(link, "SET", "k", value)
    with server.connect() as link:
        assert call(link, "GET", "k", "FROM", 0, "TO", length) == value
    with server.connect() as link:
        # Behind other replies of the same turn.
        link.sendall(frame("ECHO", "x" * 90) * 3 + frame("GET", "k", "FROM", 7, "TO", length - 9))
        assert replies(link, 4)[3] == value[7:length - 9]


def test_who_always_lags_a_little_keeps_a_small_buffer(server):
    """600 MB pass through a connection that never catches up; it is neither closed nor grows."""
    size = 100_000
    with server.connect(60) as link:
        call(link, "SET", "big", b"x" * size)
        request, got, asked = frame("GET", "big"), 0, 0
        while got < 600_000_000:
            while asked * size - got < 8_000_000:
                link.sendall(request * 10)
                asked += 10
            got += len(link.recv(1 << 18))
        time.sleep(1.2)
        with server.connect() as other:
            memory = call(other, "INFO", "memory").decode()
        assert link.recv(1 << 16)
    assert int(memory.split("client_memory_bytes:")[1].split()[0]) < 16 << 20
    assert "client_closed" not in server.log()


@pytest.mark.parametrize("data, why", [
    (b"*16385\r\n", b"-ERR Protocol error: a command has at most 16384 arguments"),
    (b"*2\r\n$4\r\nECHO\r\n$67108865\r\n", b"-ERR Protocol error: a command has at most 67108864 bytes"),
    (b"*2\r\n$4\r\nECHO\r\n$-1\r\n", b"-ERR Protocol error: invalid bulk length"),
    (b"*2\r\n$4\r\nECHO\r\n:1\r\n", b"-ERR Protocol error: expected '$'"),
    (b"*x\r\n", b"-ERR Protocol error: invalid length"),
    (b"x" * 65537 + b"\r\n", b"-ERR Protocol error: a line without a count has at most 65536 bytes"),
    (b"x" * 70000, b"-ERR Protocol error: a line without a count has at most 65536 bytes"),
    (b"ECHO \"a\r\n", b"-ERR Protocol error: unbalanced quotes in request"),
    (b"ECHO \"a\"b\r\n", b"-ERR Protocol error: unbalanced quotes in request"),
])
def test_each_limit_of_the_protocol_says_itself(server, data, why):
    with server.connect() as link:
        assert closes(link, data) == why + b"\r\n"


def test_typed_lines_know_quotes_and_escapes(server):
    with server.connect() as link:
        link.sendall(b"SET k \"a\\n\\x41\\\"\\\\ b\"\r\nGET k\r\nECHO 'it\\'s \\n'\r\n\r\n  PING  \r\n")
        assert replies(link, 4) == [b"+OK", b"a\nA\"\\ b", b"it's \\n", b"+PONG"]


def test_a_name_of_a_client_is_short_wherever_it_is_given(server):
    with server.connect() as link:
        for words in (("HELLO", 2, "SETNAME", "x" * 129), ("CLIENT", "SETNAME", "x" * 129), ("HELLO", 2, "SETNAME", "a b")):
            assert call(link, *words).startswith(b"-ERR a client's name has at most 128 printable characters"), words


def test_a_transaction_is_bounded_by_its_arguments_too(server):
    """Empty arguments have no bytes, but each takes memory."""
    empty = frame("MGET", *[""] * 16000)
    with server.connect(60) as link:
        assert call(link, "MULTI") == b"+OK"
        for _ in range(4):
            link.sendall(empty)
            assert replies(link, 1) == [b"+QUEUED"]
        link.sendall(empty)
        assert b"65536 arguments" in replies(link, 1)[0]
        assert call(link, "EXEC").startswith(b"-EXECABORT")
        assert call(link, "WATCH", "x" * 256).startswith(b"-ERR too large")
    assert server.resident() < 200 << 20


def test_what_a_client_only_promises_takes_no_memory(server):
    """A thousand clients that say they send 60 MiB each, and do not."""
    def virtual():
        return int(open(f"/proc/{server.process.pid}/statm").read().split()[0]) * 4096

    before, links = virtual(), []
    for _ in range(300):
        link = server.connect()
        link.sendall(b"*2\r\n$4\r\nECHO\r\n$60000000\r\nabc")
        links.append(link)
    with server.connect() as link:
        assert call(link, "PING") == b"+PONG"
    assert virtual() - before < 1 << 30
    for link in links:
        link.close()


def test_a_large_command_in_pieces_is_whole(server):
    value = os.urandom(8 << 20)
    with server.connect(60) as link:
        data = frame("SET", "k", value)
        for at in range(0, len(data), 777_777):
            link.sendall(data[at:at + 777_777])
        assert replies(link, 1) == [b"+OK"]
        assert call(link, "GET", "k") == value
        assert call(link, "SET", "k", value + b"x").startswith(b"-ERR too large")


def test_a_mirror_that_is_not_read_is_closed(server):
    small = Server("--sync", "none", "--output-limit", "4M")
    try:
        mirror, link = small.connect(), small.connect(30)
        assert call(mirror, "MIRROR") == b"+Starting mirroring"
        for _ in range(64):
            assert call(link, "ECHO", "x" * 1_000_000)
        line = next(line for line in small.log().splitlines() if "reason=output" in line)
        assert int(line.split("waiting_output=")[1].split()[0]) < 6 << 20
        mirror.close(), link.close()
    finally:
        small.remove()


def test_reset_ends_what_was_begun(server):
    with server.connect() as link, server.connect() as other:
        call(link, "CLIENT", "SETNAME", "me")
        call(link, "MIRROR")
        assert call(link, "RESET") == b"+RESET"
        call(other, "GET", "k")
        assert call(link, "CLIENT", "GETNAME") is None
        assert call(link, "PING") == b"+PONG"


def test_what_refuses_all_keys_is_one_error(server):
    with server.connect() as link:
        for words in (("NSNEW", "cold"), ("NSSET", "cold", "freeze", 1), ("SELECT", "cold")):
            assert call(link, *words) == b"+OK"
        assert call(link, "MGET", "a", "b").startswith(b"-FROZEN")


def test_a_namespace_is_full_for_everybody(server):
    """The number of connections of a namespace holds for who comes by SELECT, with a password or without."""
    folder = server.folder
    (folder / "password").write_text("administrator")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    guarded = Server("--sync", "none", "--port", str(port), "--admin-password-file", str(folder / "password"))
    try:
        with guarded.connect() as admin:
            for words in (("NSNEW", "small"), ("NSSET", "small", "connections", 1), ("NSNEW", "locked"),
                          ("NSSET", "locked", "connections", 1), ("NSSET", "locked", "password", "secret")):
                assert call(admin, *words) == b"+OK"
        links = [socket.create_connection(("127.0.0.1", port)) for _ in range(2)]
        assert call(links[0], "SELECT", "small") == b"+OK"
        assert call(links[1], "SELECT", "small").startswith(b"-MAXCLIENTS")
        assert call(links[0], "SELECT", "locked", "secret") == b"+OK"
        assert call(links[1], "SELECT", "locked", "secret").startswith(b"-MAXCLIENTS")
        assert call(links[1], "AUTH", "locked", "secret").startswith(b"-MAXCLIENTS")
        assert call(links[1], "SELECT", "small") == b"+OK"
        for link in links:
            link.close()
    finally:
        guarded.remove()


def test_an_answer_that_waits_for_replicas_is_not_a_slow_client(server):
    late = Server("--replicas-required", "1", "--replicas-timeout", "6000", "--replicas-missing", "refuse", "--slow-timeout", "1")
    replica = None
    try:
        replica = subprocess.Popen(
            [BIN, "--data", late.folder / "copy", "--socket", str(late.folder / "copy.sock"), "--replica-of",
             f"unix:{late.path}"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        replica.stdout.readline()
        with late.connect(20) as link:
            for _ in range(100):
                if call(link, "SET", "k", "1") == b"+OK":
                    break
                time.sleep(0.1)
            time.sleep(2.5)
            replica.send_signal(19)
            link.sendall(frame("SET", "k", "2"))
            time.sleep(3.5)
            replica.send_signal(18)
            assert replies(link, 1) == [b"+OK"]
        assert "reason=slow" not in late.log()
    finally:
        if replica:
            replica.kill(), replica.wait(), replica.stdout.close()
        late.remove()


def test_who_waits_and_leaves_is_gone(server):
    """A wait can be for ever; its connection ends when its peer does."""
    for words in (("WAITREPLICAS", 5, 0), ("WAIT", "GET", 1_800_000)):
        for _ in range(20):
            with server.connect() as link:
                link.sendall(frame(*words))
                time.sleep(0.005)
    with server.connect() as link:
        for _ in range(50):
            if b"connected_clients:1\r\n" in call(link, "INFO", "clients"):
                return
            time.sleep(0.1)
        raise AssertionError(call(link, "INFO", "clients"))


def test_a_log_that_nobody_reads_stops_nothing(server):
    folder = server.folder / "quiet"
    folder.mkdir()
    settings = folder / "settings"
    settings.write_text("max-clients 100\n")
    process = subprocess.Popen(
        [BIN, "--data", folder / "data", "--socket", folder / "s", "--config", settings], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE)
    try:
        process.stdout.readline()
        settings.write_text("max-clients " + "9" * 200 + "\n")
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(10)
            link.connect(str(folder / "s"))
            for _ in range(400):
                assert call(link, "CONFIG", "RELOAD").startswith(b"-ERR nothing was changed")
            assert call(link, "PING") == b"+PONG"
    finally:
        process.kill(), process.wait(), process.stdout.close(), process.stderr.close()


@pytest.mark.parametrize("arguments, why", [
    (["--hlep"], "unknown option --hlep (did you mean --help?)"),
    (["serve"], "unknown option serve"),
    (["--data"], "--data needs a value"),
    (["--data", "--port", "5"], "--data needs a value"),
    (["--data", "/tmp", "--listen", "localhost"], "--listen is an IPv4 or IPv6 address, not 'localhost'"),
    (["--data", "/tmp", "--prot", "1"], "unknown option --prot (did you mean --port?)"),
])
def test_the_command_line_says_what_is_wrong(arguments, why):
    run = subprocess.run([BIN, *arguments], capture_output=True, text=True, timeout=10)
    assert run.returncode == 2 and run.stderr.startswith(f"zero-db: {why}"), run.stderr


def test_port_0_is_any_port_and_said(server):
    process = subprocess.Popen(
        [BIN, "--data", server.folder / "other", "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        words = dict(word.split("=", 1) for word in process.stdout.readline().decode().split()[1:])
        with socket.create_connection(("127.0.0.1", int(words["port"]))) as link:
            assert call(link, "PING") == b"+PONG"
            assert f"tcp_port:{words['port']}\r\n".encode() in call(link, "INFO", "server")
    finally:
        process.kill(), process.wait(), process.stdout.close()
