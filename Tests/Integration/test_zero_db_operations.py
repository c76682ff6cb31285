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
        self.options, self.process = list(options), None
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
        if self.process:
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


# Checking, export and import


def run(*words, data=None, status=0):
    done = subprocess.run([BIN, *map(str, words)], input=data, capture_output=True, timeout=60)
    assert done.returncode == status, (done.returncode, done.stdout[:2000], done.stderr[:2000])
    return done


def filled(server):
    """Namespaces with versions, deletions and large values; returns the client."""
    admin = server.admin()
    admin("NSNEW", "photos")
    admin("NSSET", "photos", "password", "p1")
    admin("NSSET", "photos", "maxsize", 100 << 20)
    admin("SELECT", "photos")
    for n in range(300):
        admin("SET", f"key{n}", b"first" * (n + 1))
    for n in range(0, 300, 3):
        admin("SET", f"key{n}", b"second" * (n + 1))
    for n in range(0, 300, 5):
        admin("DEL", f"key{n}")
    admin("SET", b"large\x00\xff", os.urandom(5 << 20))
    admin("SELECT", "default")
    admin("SET", "a", "1")
    return admin


def content(admin):
    """All keys and values of all namespaces."""
    found = {}
    for name in admin("NSLIST"):
        admin("SELECT", name)
        cursor = b"0"
        while True:
            cursor, keys = admin("SCAN", cursor, "COUNT", 1000)
            for key in keys:
                found[name, key] = hashlib.sha256(admin("GET", key)).hexdigest()
            if cursor == b"0":
                break
    return found


def test_check_names_every_damaged_place():
    import json
    with Server() as server:
        filled(server)
        in_use = json.loads(run("check", server.data, "-o", "json").stdout)
        assert in_use["in_use"] and in_use["problems"] == []
        server.stop()
        report = json.loads(run("check", server.data, "-o", "json").stdout)
        assert report["problems"] == [] and report["values"] == 402 and not report["in_use"]
        before = {p.name: p.read_bytes() for p in server.data.iterdir()}
        segment = server.data / ("0" * 15 + "1.segment")
        log = bytearray(segment.read_bytes())
        value = log.index(b"first" * 200)
        log[value + 7] ^= 1
        head = log.index(b"key123")
        log[head] ^= 0x20
        segment.write_bytes(log)
        report = json.loads(run("check", server.data, "-o", "json", status=1).stdout)
        first, second = sorted(report["problems"], key=lambda p: p["offset"])
        assert first["what"] == "record head" and bytes.fromhex(first["key_hex"]) == b"key123"
        assert first["offset"] <= head < first["offset"] + first["bytes"]
        assert second["what"] == "value" and bytes.fromhex(second["key_hex"]) == b"key199"
        assert second["offset"] == value and second["bytes"] == 1000 and second["namespace"] == "photos"
        text = run("check", server.data, status=1).stdout.decode()
        assert "key key199" in text and "2 bad" in text
        # A whole page of nothing, and a header: the numbers that stood there are reported.
        log[8192:12288] = bytes(4096)
        log[100] ^= 1
        segment.write_bytes(log)
        kinds = {p["what"] for p in json.loads(run("check", server.data, "-o", "json", status=1).stdout)["problems"]}
        assert {"no record", "header copy", "value"} <= kinds
        # An unfinished end is no damage.
        segment.write_bytes(before[segment.name][:-20])
        report = json.loads(run("check", server.data, "-o", "json").stdout)
        assert report["unfinished_bytes"] > 0
        segment.write_bytes(before[segment.name])
        run("check", server.data)
        assert {p.name: p.read_bytes() for p in server.data.iterdir()} == before
    run("check", "/nowhere", status=2)


def test_check_reads_indexes_of_sealed_segments():
    with Server("--segment-size", "32M") as server:
        admin = server.admin()
        for n in range(9):
            admin("SET", f"k{n}", b"x" * (8 << 20))
        server.stop()
        run("check", server.data)
        indexes = sorted(server.data.glob("*.index"))
        assert indexes
        content = bytearray(indexes[0].read_bytes())
        content[4100] ^= 1
        indexes[0].write_bytes(content)
        assert b"index file" in run("check", server.data, status=1).stdout


def test_export_and_import_keep_everything():
    with Server() as server:
        wanted = content(filled(server))
        assert b"is used by a server" in run("export", server.data, status=1).stderr
        live = run("export", server.socket).stdout
        server.stop()
        stream = run("export", server.data, "--with-secrets").stdout
        assert len(run("export", server.data, "photos").stdout) < len(stream)
        run("export", server.data, "missing", status=1)
        for source in [live, stream]:
            with Server(start=False) as copy:
                assert b"imported" in run("import", copy.data, data=source).stdout
                run("check", copy.data)
                copy.start()
                assert content(copy.admin()) == wanted
                info = copy.admin()("NSINFO", "photos")
                assert b"data_limits_bytes: 104857600" in info
                assert (b"password: yes" in info) == (source is stream)
                copy.stop()
                # All versions and times: the same records once more.
                if source is stream:
                    assert sorted(records(run("export", copy.data, "--with-secrets").stdout)) == sorted(records(stream))
        # Over the wire, to a server that runs.
        with Server() as copy:
            run("import", f"127.0.0.1:{copy.port}", data=stream)
            assert content(copy.admin()) == wanted
            assert b"is not empty" in run("import", copy.socket, data=stream, status=1).stderr
        # Not one bit may be wrong, and no end may be missing.
        with Server(start=False) as copy:
            for damaged in [stream[:-1], stream[: len(stream) // 2], stream[:5000] + bytes([stream[5000] ^ 4]) + stream[5001:]]:
                shutil.rmtree(copy.data, ignore_errors=True)
                run("import", copy.data, data=damaged, status=1)
        run("import", "/tmp/operations-none", data=b"rubbish" * 100, status=1)
        assert not os.path.exists("/tmp/operations-none")


def records(stream):
    """Type, key, value and time of the values and deletions of a stream, by its documentation."""
    import struct
    assert stream[:8] == b"ZERODBEX"
    at, found = 32, []
    while at < len(stream):
        _, kind, key, _, _, length, moment, _ = struct.unpack_from("<IBBHIIQQ", stream, at)
        body = stream[at + 32 + key:at + 32 + key + length]
        if kind in (2, 3):
            found.append((kind, stream[at + 32:at + 32 + key], hashlib.sha256(body).hexdigest(), moment))
        at += 32 + key + length
    return found


def castagnoli(data):
    """0-db's CRC: Castagnoli's polynomial, beginning with 0, not inverted."""
    state = 0
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
    return state


class Original:
    """Writes files as the original 0-db does, by the description of its format."""

    def __init__(self, folder, name, mode=0, maxsize=0, password=b"", flags=4):
        self.folder, self.name = folder / name, name
        self.folder.mkdir(parents=True)
        (self.folder / "zdb-namespace").write_bytes(
            self.pack("<IBBQB", 1, len(name), len(password), maxsize, flags) + name.encode() + password)
        self.data = b"DAT0" + self.pack("<IQQI", 3, 0, 0, 0)
        self.index = b"IDX0" + self.pack("<IQQIB", 4, 0, 0, 0, mode)
        self.previous, self.number = 0, 0

    @staticmethod
    def pack(form, *values):
        import struct
        return struct.pack(form, *values)

    def add(self, key, value, moment, deleted=False):
        crc = 0 if deleted else castagnoli(value)
        at = len(self.data)
        self.data += self.pack("<BIIIBI", len(key), len(value), self.previous, crc, int(deleted), moment) + key + value
        if not deleted:
            self.index += self.pack("<BIIIBIIIII", len(key), at, len(value), 0, 0, self.number, moment, crc, 0, 0) + key
        self.previous = at
        return at

    def write(self):
        (self.folder / f"d{self.number}").write_bytes(self.data)
        (self.folder / f"i{self.number}").write_bytes(self.index)

    def jump(self):
        self.write()
        self.number += 1
        self.data = b"DAT0" + self.pack("<IQQI", 3, 0, 0, self.number)
        self.index = b"IDX0" + self.pack("<IQQIB", 4, 0, 0, self.number, 0)
        self.previous = 0


def test_files_of_the_original_are_imported():
    assert castagnoli(b"123456789") != 0xE3069283  # not the standard form
    with Server(start=False) as server:
        files = server.folder / "original"
        user = Original(files, "user", maxsize=1 << 30, password=b"clear", flags=5)
        user.add(b"a", b"one", 1000)
        user.add(b"b", b"two" * 100, 1001)
        user.add(b"a", b"three", 1002)
        user.add(b"b", b"", 1003, deleted=True)
        user.jump()
        user.add(b"b", b"again", 1004)
        user.add(b"empty", b"", 1004)
        user.write()
        counted = Original(files, "counted", mode=1, flags=6)
        for n in [0, 1, 2, 3, 7, 8, 9]:  # ids that an update took are never given
            counted.add(n.to_bytes(8, "little"), b"v%d" % n, 1000 + n)
        counted.write()
        torn = Original(files, "torn")
        torn.add(b"before", b"x" * 50, 1000)
        bad = torn.add(b"bad", b"y" * 50, 1001)
        torn.add(b"behind", b"z" * 50, 1002)
        cut = torn.add(b"cut", b"w" * 50, 1003)
        torn.data = torn.data[:cut + 30] + b""
        torn.previous = cut
        torn.add(b"after the crash", b"v", 1004)
        torn.data = torn.data[:bad + 30] + b"?" + torn.data[bad + 31:]
        torn.write()
        done = run("import", server.data, "--original", files, status=1)
        assert b"imported 15 values, 1 deletions" in done.stdout
        assert done.stderr.count(b"no good record") == 2
        run("check", server.data)
        stream = run("export", server.data).stdout
        times = {(kind, key): moment // 10**9 for kind, key, _, moment in records(stream)}
        assert times[3, b"b"] == 1003 and times[2, b"empty"] == 1004
        assert [r[0] for r in records(stream) if r[1] == b"b"] == [2, 3, 2]
        server.start("--admin-password-file", "@password") if (server.folder / "password").write_text("x") else None
        client = server.tcp()
        assert client("SELECT", "user") == "OK"  # public
        assert [client("GET", k) for k in ["a", "b", "empty"]] == [b"three", b"again", b""]
        assert client.refused("SET", "a", "1").startswith("DENIED")
        assert client("SELECT", "user", "clear") == "OK"
        assert client("SELECT", "counted") == "OK"
        assert client("GET", (7).to_bytes(8, "little")) == b"v7"
        assert client("GET", (5).to_bytes(8, "little")) is None
        assert client.refused("SET", (7).to_bytes(8, "little"), "x").startswith("WORM")
        assert client("SET", "", "next") == (10).to_bytes(8, "little")
        assert client("SELECT", "torn") == "OK"
        assert [client("GET", k) for k in ["before", "bad", "behind", "cut", "after the crash"]] == [
            b"x" * 50, None, b"z" * 50, None, b"v"]


# TLS


def certificates(folder):
    """An authority, a server's certificate and two clients' certificates, one of an unknown authority."""
    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)
    for authority in ["ca", "stranger"]:
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
                "-subj", f"/CN={authority}", "-keyout", f"{authority}.key", "-out", f"{authority}.pem")
    for name, authority in [("server", "ca"), ("server2", "ca"), ("alice", "ca"), ("mallory", "stranger")]:
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}",
                "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl("x509", "-req", "-days", "30", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key",
                "-CAcreateserial", "-copy_extensions", "copyall", "-out", f"{name}.pem")


def tls(server, who=None, port=None, **options):
    import ssl
    context = ssl.create_default_context(cafile=server.folder / "ca.pem")
    for name, value in options.items():
        setattr(context, name, value)
    if who:
        context.load_cert_chain(server.folder / f"{who}.pem", server.folder / f"{who}.key")
    plain = socket.create_connection(("127.0.0.1", port or server.tls_port), 20)
    return Client(context.wrap_socket(plain, server_hostname="localhost"))


def secure(*options):
    server = Server(start=False)
    certificates(server.folder)
    server.tls_port = free_port()
    server.options = ["--tls-port", server.tls_port, "--tls-cert", "@server.pem", "--tls-key", "@server.key", *options]
    return server


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tls_serves_what_plain_does():
    import ssl
    with secure() as server:
        server.start()
        client = tls(server)
        assert client.connection.version() == "TLSv1.3"
        large = os.urandom(3 << 20)
        assert client("SET", "large", large) == "OK"
        assert client("GET", "large") == large
        for n in range(2000):
            client.send("SET", f"k{n}", n)
        assert {client.reply() for _ in range(2000)} == {"OK"}
        assert client("MGET", *[f"k{n}" for n in range(2000)])[1999] == b"1999"
        assert tls(server, maximum_version=ssl.TLSVersion.TLSv1_2)("PING") == "PONG"
        with pytest.raises((ssl.SSLError, ConnectionError)):
            tls(server, minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1_1)
        done = subprocess.run(
            ["redis-cli", "--tls", "--cacert", server.folder / "ca.pem", "-p", str(server.tls_port), "GET", "k7"],
            capture_output=True, timeout=20)
        assert done.stdout == b"7\n"
        # Rubbish and half a handshake harm nobody.
        with socket.create_connection(("127.0.0.1", server.tls_port)) as plain:
            plain.sendall(b"*1\r\n$4\r\nPING\r\n")
            try:
                assert plain.recv(100)[:1] in (b"", b"\x15")
            except ConnectionResetError:
                pass
        half = socket.create_connection(("127.0.0.1", server.tls_port))
        half.sendall(b"\x16\x03\x01")
        assert client("PING") == "PONG"
        # Who does not read gets no more than a buffer, and the rest when it reads on.
        for _ in range(10):
            client.send("GET", "large")
        other = server.admin()
        assert other("PING") == "PONG"
        assert all(client.reply() == large for _ in range(10))
        half.close()
        server.stop()


def test_tls_asks_for_certificates_and_maps_their_names():
    import ssl
    with secure("--tls-client-ca", "@ca.pem", "--tls-allow", "alice=photos") as server:
        server.start()
        for who in [None, "mallory"]:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                tls(server, who)("PING")
        assert "tls_refused" in server.log()
        client = tls(server, "alice")
        assert client("SET", "k", "v") == "OK"
        assert client.refused("SELECT", "default").startswith("DENIED")
        assert client.refused("NSLIST").startswith("DENIED")
        assert tls(server, "server2")("NSLIST")  # no mapping: as on the plain port
        admin = server.admin()
        admin("SELECT", "photos")
        assert admin("GET", "k") == b"v"
    # A namespace that nobody was in yet, with a number behind the tables' first size (for AddressSanitizer).
    others = [word for number in range(30) for word in ("--tls-allow", f"other{number}=n{number}")]
    with secure("--tls-client-ca", "@ca.pem", *others, "--tls-allow", "alice=photos") as server:
        server.start()
        client = tls(server, "alice")
        assert client("SET", "k", "v") == "OK"
        admin = server.admin()
        assert admin("NSSET", "photos", "connections", 1) == "OK"
        assert tls(server, "alice").refused("PING").startswith("MAXCLIENTS")
    with Server(start=False) as server:
        certificates(server.folder)
        for words in [["--tls-port", "1"], ["--tls-port", "1", "--tls-cert", "@ca.pem", "--tls-key", "@server.key"],
                      ["--tls-port", "1", "--tls-cert", "@ca.pem", "--tls-key", "@ca.key", "--tls-allow", "a=b"]]:
            words = [w.replace("@", f"{server.folder}/") for w in words]
            done = subprocess.run([BIN, "--data", server.data, *words], capture_output=True, timeout=10)
            assert done.returncode in (1, 2) and b"tls" in done.stderr.lower()


# Settings, metrics, hooks


def test_settings_change_while_it_runs():
    with secure("--config", "@conf", "--admin-password-file", "@password") as server:
        conf = server.folder / "conf"
        conf.write_text("# limits\nmax-clients = 50\nidle-timeout 1000\nsync-interval 1000\n")
        (server.folder / "password").write_text("one\n")
        server.start()
        admin, client = server.admin(), server.tcp()
        assert admin("CONFIG", "GET", "maxclients") == [b"maxclients", b"50"]
        assert client("AUTH", "one") == "OK"
        serial = tls(server).connection.getpeercert()["subject"]
        # A signal and a command do the same; the password's and the certificate's files are read again.
        conf.write_text("max-clients 60\nidle-timeout 1000\n")
        (server.folder / "password").write_text("two\n")
        shutil.copy(server.folder / "server2.pem", server.folder / "server.pem")
        shutil.copy(server.folder / "server2.key", server.folder / "server.key")
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: admin("CONFIG", "GET", "maxclients") == [b"maxclients", b"60"])
        assert server.tcp().refused("AUTH", "one").startswith("WRONGPASS")
        assert server.tcp()("AUTH", "two") == "OK"
        assert tls(server).connection.getpeercert()["subject"] != serial
        assert client("NSLIST")  # who is in stays in
        # What is wrong changes nothing, and says where.
        for text, why in [("max-clients 70\nnonsense 1\n", "line 2: unknown option --nonsense"),
                          ("max-clients 70\nidle-timeout x\n", "line 2: --idle-timeout is 0 to"),
                          ("max-clients 70\nlonely\n", "line 2: 'name value' is expected"),
                          ("max-clients 70\nsegment-size 64M\n", "--segment-size cannot change while the server runs")]:
            conf.write_text(text)
            assert why in admin.refused("CONFIG", "RELOAD")
            assert admin("CONFIG", "GET", "maxclients") == [b"maxclients", b"60"]
        (server.folder / "server.key").write_text("rubbish")
        conf.write_text("max-clients 80\n")
        assert "--tls-key" in admin.refused("CONFIG", "RELOAD")
        assert tls(server)("PING") == "PONG"
        shutil.copy(server.folder / "server2.key", server.folder / "server.key")
        admin.send("CONFIG", "RELOAD")
        admin.send("CONFIG", "GET", "maxclients")
        assert admin.reply() == "OK" and admin.reply() == [b"maxclients", b"80"]
        server.stop()


def get(port, path):
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        head, _, body = connection.makefile("rb").read().partition(b"\r\n\r\n")
        return int(head.split()[1]), body.decode()


def test_metrics_over_http():
    port = free_port()
    with Server("--metrics-port", port) as server:
        admin = server.admin()
        admin("SET", "a", "1")
        status, text = get(port, "/metrics")
        assert status == 200 and 'zero_db_commands_total{command="SET"} 1' in text
        names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
        assert len(names) == len(set(names)) and all(" " in line for line in text.splitlines())
        assert get(port, "/health")[0] == 200 and get(port, "/other")[0] == 404
        # A loop that stands still is not healthy, and the page says so instead of hanging.
        server.process.send_signal(signal.SIGSTOP)
        server.process.send_signal(signal.SIGCONT)
        assert get(port, "/health")[0] == 200
        server.stop()


HOOK = """#!/bin/sh
echo "$*" >> @events
case "$1 $3" in *slow*) sleep 300 ;; *wrong*) exit 3 ;; esac
"""


def test_hooks_run_beside_the_server():
    with Server("--hook", "@hook", "--hook-timeout", "1", "--hooks-at-once", "2", start=False) as server:
        (server.folder / "hook").write_text(HOOK.replace("@", f"{server.folder}/"))
        (server.folder / "hook").chmod(0o755)
        server.start()
        admin = server.admin()

        def events():
            path = server.folder / "events"
            return [tuple(l.split()[:1] + l.split()[2:]) for l in path.read_text().splitlines()] if path.exists() else []
        wait_for(lambda: ("ready",) in events())
        begun = time.time()
        for name in ["slow1", "slow2", "wrong"]:
            admin("NSNEW", name)
        admin("NSSET", "wrong", "maxsize", 1)
        admin("NSDEL", "wrong")
        assert time.time() - begun < 1
        wait_for(lambda: ("namespace-deleted", "wrong") in events() and ("namespace-updated", "wrong") in events())
        wait_for(lambda: sum(1 for run in admin("HOOKS") if run[5] == 256 + 9) == 2)
        runs = {(run[0], *run[1]): run for run in admin("HOOKS")}
        assert runs[b"namespace-created", b"wrong"][5] == 3 and runs[b"ready",][5] == 0
        assert runs[b"namespace-created", b"slow1"][4] >= runs[b"namespace-created", b"slow1"][3] > 0
        metrics = admin("DB.METRICS").decode()
        assert "zero_db_hooks_killed_total 2" in metrics and "zero_db_hooks_dropped_total 0" in metrics
        # More than can wait are dropped and counted; the server answers all the while.
        for name in ["slow3", "slow4"]:
            admin("NSNEW", name)
        for n in range(300):
            admin.send("NSSET", "slow3", "maxsize", n)
        assert {admin.reply() for _ in range(300)} == {"OK"}
        dropped = [l for l in admin("DB.METRICS").decode().splitlines() if l.startswith("zero_db_hooks_dropped_total")]
        assert int(dropped[0].split()[1]) > 0
        server.stop()
    with Server("--hook", "/nonexistent") as server:
        admin = server.admin()
        assert admin("NSNEW", "a") == "OK"
        assert all(run[5] == -1 for run in admin("HOOKS"))


# Clients that harm


def closes(client, seconds=8):
    """What a client is told before its connection ends, if it ends."""
    client.connection.settimeout(seconds)
    text = b""
    try:
        while piece := client.connection.recv(1 << 20):
            text = (text + piece)[-200:]
    except ConnectionResetError:
        pass
    return text.decode(errors="replace")


def test_limits_of_clients_have_errors_of_their_own():
    with Server("--max-clients", 4, "--idle-timeout", 2, "--slow-timeout", 2, "--query-limit", "64K") as server:
        admin = server.admin()
        idle, slow = server.tcp(), server.tcp()
        admin("SET", "v", b"x" * 60000)
        # One that never reads: held first, and gone after a while; the others do not notice.
        slow.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connection.settimeout(0.5)
        sent = 0
        try:
            while sent < 100 << 20:
                sent += slow.connection.send(b"*2\r\n$3\r\nGET\r\n$1\r\nv\r\n" * 2000)
        except TimeoutError:
            pass
        assert sent < 64 << 20
        large = server.tcp()
        large.connection.sendall(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\n" + b"y" * 1000)
        assert "larger than --query-limit (65536 bytes)" in closes(large)
        fourth = server.tcp()
        assert fourth("PING") == "PONG"
        assert "max number of clients" in closes(server.tcp())
        for _ in range(5):
            time.sleep(0.5)
            assert admin("PING") == "PONG"
            fourth("PING")
        assert "idle for longer than --idle-timeout" in closes(idle)
        wait_for(lambda: "reason=slow" in server.log(), 5)
        metrics = admin("DB.METRICS").decode()
        assert "zero_db_clients_evicted_slow_total 1" in metrics and "zero_db_clients_evicted_idle_total 1" in metrics
        server.stop()


def test_buffers_of_all_clients_have_a_bound():
    with Server("--client-memory", "16M", "--output-limit", "1M") as server:
        admin = server.admin()
        hoarder = server.tcp()
        hoarder.connection.sendall(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$60000000\r\n" + b"y" * 30_000_000)
        assert "--client-memory" in closes(hoarder)
        assert "reason=memory" in server.log()
        admin("SET", "v", b"x" * (5 << 20))
        taker = server.tcp()
        taker.send("MGET", "v", "v", "v", "v")
        wait_for(lambda: "reason=output" in server.log() or "reason=memory waiting" in server.log().split("\n", 3)[-1], 5)
        assert admin("PING") == "PONG"


def test_ten_thousand_idle_connections():
    import resource
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(9990, hard - 200)

    def memory(pid):
        return int(next(l for l in open(f"/proc/{pid}/status") if l.startswith("VmRSS")).split()[1]) << 10
    with Server() as server:
        admin = server.admin()
        before = memory(server.process.pid)
        idle = []
        for _ in range(count):
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(str(server.socket))
            connection.sendall(b"PING\r\n")
            idle.append(connection)
        assert all(connection.recv(10) == b"+PONG\r\n" for connection in idle)
        each = (memory(server.process.pid) - before) / count
        print(f"{each:.0f} bytes a connection")
        assert each < 45_000
        begun = time.time()
        for n in range(500):
            admin("SET", "k", n)
        assert time.time() - begun < 5
        for connection in idle:
            connection.close()
        server.stop()


# Hard disks


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_a_hard_disk_reads_in_order_and_sleeps():
    with Server("--profile", "hdd", "--idle-flush", 1) as server:
        admin = server.admin()
        for n in range(100):
            admin.send("SET", f"k{n}", b"x" * 400_000)
        assert {admin.reply() for _ in range(100)} == {"OK"}
        client = server.tcp()
        trace = server.folder / "trace"
        calls = "fadvise64,pwrite64,pwritev,fdatasync,fsync,ftruncate,fallocate"
        tracer = subprocess.Popen(["strace", "-f", "-qq", "-o", trace, "-e", f"trace={calls}", "-p", str(server.process.pid)])
        wait_for(lambda: "TracerPid:\t0" not in pathlib.Path(f"/proc/{server.process.pid}/status").read_text())
        # Random keys in one turn: the disk is asked in the order of places.
        keys = [f"k{n * 37 % 100}" for n in range(0, 100, 4)]
        client.connection.sendall(b"".join(b"*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n" % (len(k), k.encode()) for k in keys))
        assert all(len(client.reply()) == 400_000 for _ in keys)
        # After the flush nothing touches the disk, reads and connections notwithstanding.
        time.sleep(1.8)
        quiet = len(trace.read_text().splitlines())
        for n in range(50):
            client("GET", f"k{n}")
        time.sleep(1.2)
        tracer.terminate()
        tracer.wait()
        lines = trace.read_text().splitlines()
        offsets = [int(line.split(",")[1]) for line in lines if "fadvise64" in line]
        assert len(offsets) > 10 and sum(a > b for a, b in zip(offsets, offsets[1:])) <= 2
        assert not [line for line in lines[quiet:] if "fadvise64" not in line]
        server.stop()
