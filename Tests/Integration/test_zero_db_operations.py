"""Zero-DB's operations: passwords, TLS, metrics, settings, hooks, checking, export and import, clients that harm."""
import ctypes
import hashlib
import hmac
import os
import pathlib
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest

BIN = pathlib.Path(os.environ.get("ZERO_BIN", pathlib.Path(__file__).parents[2] / "build/debug")) / "zero-db"


class Error(Exception):
    pass


class Client:
    """RESP2 over any socket, so that every byte is ours."""

    def __init__(self, connection):
        self.connection = connection
        self.file = connection.makefile("rb")

    def send(self, *words):
        words = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        self.connection.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))

    def reply(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("closed")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            raise Error(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind in b"*%":
            return [self.reply() for _ in range(int(rest) * (2 if kind == b"%" else 1))]
        raise Error(f"what is {line}?")

    def __call__(self, *words):
        self.send(*words)
        return self.reply()

    def refused(self, *words):
        with pytest.raises(Error) as caught:
            self(*words)
        return str(caught.value)

    def close(self):
        self.file.close()
        self.connection.close()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A zero-db with a folder of its own."""

    def __init__(self, *options, files=(), start=True):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="operations-", dir="/tmp"))
        self.data, self.socket, self.port = self.folder / "data", self.folder / "s", free_port()
        self.options = list(options)
        for name, text in files:
            (self.folder / name).write_text(text)
        if start:
            self.start()

    def start(self, *more):
        words = [BIN, "--data", self.data, "--socket", self.socket, "--port", self.port, *self.options, *more]
        words = [str(w).replace("@", str(self.folder) + "/") for w in words]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=open(self.folder / "log", "a"))
        line = self.process.stdout.readline().decode()
        assert line.startswith("ready "), self.log()
        return line

    def log(self):
        return (self.folder / "log").read_text()

    def tcp(self):
        return Client(socket.create_connection(("127.0.0.1", self.port), 20))

    def admin(self):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(20)
        connection.connect(str(self.socket))
        return Client(connection)

    def stop(self):
        self.process.terminate()
        assert self.process.wait(20) == 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def wait_for(condition, seconds=10):
    end = time.time() + seconds
    while not condition():
        assert time.time() < end, "it did not happen"
        time.sleep(0.02)


# Passwords

sodium = ctypes.CDLL("libsodium.so.23")


def argon2id(password, salt, kibibytes, passes):
    out = ctypes.create_string_buffer(32)
    code = sodium.crypto_pwhash(out, ctypes.c_ulonglong(32), password, ctypes.c_ulonglong(len(password)), salt,
                                ctypes.c_ulonglong(passes), ctypes.c_size_t(kibibytes << 10), 2)
    assert code == 0
    return out.raw


def mac(key, message):
    return hmac.new(key, message, hashlib.sha256).digest()


def prove(user, password, challenge, nonce=""):
    """What a client answers to a challenge, and what the server then shows. This is the documented computation."""
    _, salt, kibibytes, passes = challenge.split(":")
    key = argon2id(password.encode(), bytes.fromhex(salt), int(kibibytes), int(passes))
    client = mac(key, b"Client Key")
    message = f"{user},{challenge},{nonce}".encode()
    signature = mac(hashlib.sha256(client).digest(), message)
    proof = bytes(a ^ b for a, b in zip(client, signature)).hex()
    return proof, mac(mac(key, b"Server Key"), message).hex()


@pytest.fixture(scope="module")
def guarded():
    """A server with an administrator's password and namespaces of each kind."""
    with Server("--admin-password-file", "@password", files=[("password", "sesame\n")]) as server:
        admin = server.admin()
        for name in ["photos", "public", "free"]:
            admin("NSNEW", name)
        admin("NSSET", "photos", "password", "p1")
        admin("NSSET", "public", "password", "p2")
        admin("NSSET", "public", "public", 1)
        yield server


def test_who_may_do_what_with_which_password(guarded):
    client = guarded.tcp()
    # The namespace `default` is open, its administration is not.
    assert client("SET", "a", "1") == "OK"
    assert client.refused("NSNEW", "x").startswith("DENIED")
    assert client.refused("SELECT", "photos").startswith("DENIED")
    assert client.refused("SELECT", "missing") == client.refused("SELECT", "photos")
    assert client.refused("SELECT", "photos", "wrong") == "WRONGPASS access denied"
    assert client.refused("SELECT", "missing", "wrong") == "WRONGPASS access denied"
    assert client("SELECT", "photos", "p1") == "OK"
    assert client("SET", "k", "v") == "OK"
    # Public with a password: readable without it.
    assert client("SELECT", "public") == "OK"
    assert client("GET", "k") is None
    assert client.refused("SET", "k", "v").startswith("DENIED")
    assert client("AUTH", "public", "p2") == "OK"
    assert client("SET", "k", "v") == "OK"
    assert client("SELECT", "free") == "OK"
    assert client("SET", "k", "v") == "OK"
    assert client.refused("AUTH", "wrong") == "WRONGPASS access denied"
    assert client.refused("AUTH", "nobody", "p1") == "WRONGPASS access denied"
    assert client.refused("AUTH", "free", "p1") == "WRONGPASS access denied"
    assert client("AUTH", "sesame") == "OK"
    assert "photos" in [n.decode() for n in client("NSLIST")]
    assert client("RESET") == "RESET"
    assert client.refused("NSLIST").startswith("DENIED")
    assert client("AUTH", "admin", "sesame") == "OK"
    assert client("HELLO", "2", "AUTH", "photos", "p1")[0] == b"server"
    assert client("GET", "k") == b"v"
    assert client.refused("NSLIST").startswith("DENIED")
    client.close()


def test_a_password_in_a_pipeline_keeps_its_order(guarded):
    client = guarded.tcp()
    for words in [("SET", "o", "default"), ("SELECT", "photos", "p1"), ("SET", "o", "photos"), ("GET", "o"),
                  ("HELLO", "2", "AUTH", "default", "sesame"), ("NSINFO", "photos"), ("AUTH", "x"), ("PING",)]:
        client.send(*words)
    assert [client.reply() for _ in range(4)] == ["OK", "OK", "OK", b"photos"]
    assert client.reply()[0] == b"server"
    assert b"password: yes" in client.reply()
    with pytest.raises(Error, match="WRONGPASS"):
        client.reply()
    assert client.reply() == "PONG"
    # Who goes while its password is derived takes nobody along.
    for _ in range(3):
        leaver = guarded.tcp()
        leaver.send("AUTH", "photos", "nonsense")
        leaver.close()
    assert client("PING") == "PONG"
    client.close()


def test_a_challenge_proves_both_sides(guarded):
    client = guarded.tcp()
    challenge = client("AUTH", "SECURE", "CHALLENGE")
    proof, server = prove("admin", "sesame", challenge, "c1")
    assert client("AUTH", "SECURE", proof, "c1").decode() == server
    assert client("NSLIST")
    # Of one use; bound to its user, its nonce and its connection.
    assert client.refused("AUTH", "SECURE", proof, "c1") == "WRONGPASS access denied"
    challenge = client("AUTH", "SECURE", "CHALLENGE", "photos")
    proof, _ = prove("photos", "p1", challenge)
    assert client("RESET") == "RESET"
    assert client("SELECT", "photos", "SECURE", proof) == "OK"
    assert client("SET", "proved", "1") == "OK"
    challenge = client("AUTH", "SECURE", "CHALLENGE", "photos")
    assert client.refused("AUTH", "SECURE", prove("photos", "p2", challenge)[0]) == "WRONGPASS access denied"
    challenge = client("AUTH", "SECURE", "CHALLENGE", "photos")
    other = guarded.tcp()
    assert other.refused("AUTH", "SECURE", prove("photos", "p1", challenge)[0]) == "WRONGPASS access denied"
    # Who does not exist has a challenge too, always with the same salt.
    first, second = (other("AUTH", "SECURE", "CHALLENGE", "nobody").split(":") for _ in range(2))
    assert first[1:] == second[1:] and first[0] != second[0]
    assert other.refused("AUTH", "SECURE", prove("nobody", "", ":".join(second))[0]) == "WRONGPASS access denied"
    other.close()
    client.close()


def test_passwords_are_not_on_the_disk_and_survive_a_restart():
    with Server("--admin-password-file", "@password", files=[("password", "Xyzzy-Plugh-42\n")]) as server:
        admin = server.admin()
        admin("NSNEW", "photos")
        admin("NSSET", "photos", "password", "Hunter-Two-77")
        server.process.kill()
        server.process.wait()
        for path in server.data.iterdir():
            content = path.read_bytes()
            assert b"Hunter-Two-77" not in content and b"Xyzzy-Plugh-42" not in content
        # A file may hold what `zero-db password` makes of it instead.
        line = subprocess.run([BIN, "password"], input=b"other\n", capture_output=True, check=True).stdout.decode()
        (server.folder / "password").write_text(line)
        server.start()
        client = server.tcp()
        assert client("SELECT", "photos", "Hunter-Two-77") == "OK"
        assert client("AUTH", "other") == "OK"
        assert client("NSSET", "photos", "password", "*") == "OK"
        assert client("RESET") == "RESET"
        assert client("SELECT", "photos") == "OK"
        # The verifier itself is no password.
        assert client.refused("AUTH", line.strip()).startswith("WRONGPASS")


def test_guessing_is_slow(guarded):
    with Server("--admin-password-file", "@password", files=[("password", "sesame\n")]) as server:
        client = server.tcp()
        answers = [client.refused("AUTH", f"guess{n}") for n in range(25)]
        assert answers[0] == "WRONGPASS access denied"
        assert answers[-1].startswith("RATE too many wrong passwords")
        # The loop goes on all the while, and other ways in are not concerned.
        assert server.admin()("PING") == "PONG"
