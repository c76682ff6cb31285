"""Zero-DB's namespace modes, batches, transactions, proofs and parts of values, through redis-py."""
import hashlib
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile

import pytest
import redis

BIN = pathlib.Path(os.environ.get("ZERO_BIN", pathlib.Path(__file__).parents[2] / "build/debug")) / "zero-db"


class Server:
    def __init__(self, *options):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="modes-", dir="/tmp"))
        self.options, self.process = options, None
        self.start()

    def start(self):
        arguments = [BIN, "--data", self.folder / "data", "--socket", self.folder / "s", *self.options]
        with open(self.folder / "log", "a") as log:
            self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=log)
        line = self.process.stdout.readline()
        assert line.startswith(b"ready"), (self.folder / "log").read_text()

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.process.wait(20)
        self.process.stdout.close()

    def client(self, namespace=None):
        client = redis.Redis(unix_socket_path=str(self.folder / "s"), single_connection_client=True)
        # As it was sent: redis-py would make True or False of it.
        client.set_response_callback("SET", lambda reply, **_: reply)
        if namespace:
            client.execute_command("SELECT", namespace)
        return client


@pytest.fixture
def server():
    server = Server("--sync", "none")
    yield server
    server.stop(signal.SIGKILL)
    shutil.rmtree(server.folder)


def pages(client, *words):
    """All that a range command gives, page by page, and how many pages it took."""
    after, count, items = (), 0, []
    while True:
        cursor, page = client.execute_command(*words, *after)
        items += page
        count += 1
        if cursor is None:
            return items, count
        after = ("AFTER", cursor)


def test_ordered_ranges_both_ways_and_across_writes(server):
    admin = server.client()
    admin.execute_command("NSNEW", "o", "MODE", "ordered")
    client = server.client("o")
    chance = random.Random(7)
    model = {b"k:%06d" % chance.randrange(10**6): b"%d" % n for n in range(2000)}
    for start in range(0, len(model), 500):
        part = list(model.items())[start:start + 500]
        client.execute_command("MSET", *[w for item in part for w in item])
    for key in list(model)[::3]:
        assert client.delete(key) == 1
        del model[key]
    keys = sorted(model)
    assert pages(client, "RANGE", "-", "+", "LIMIT", 77)[0] == keys
    assert pages(client, "RANGE", "-", "+", "LIMIT", 77, "REVERSE")[0] == keys[::-1]
    low, high = keys[100], keys[900]
    assert pages(client, "RANGE", low, high)[0] == keys[100:900]
    assert pages(client, "RANGE", low, high, "REVERSE")[0] == keys[100:900][::-1]
    assert pages(client, "PREFIX", "k:12")[0] == [k for k in keys if k.startswith(b"k:12")]
    flat, _ = pages(client, "PREFIX", "k:3", "VALUES", "LIMIT", 9)
    assert dict(zip(flat[::2], flat[1::2])) == {k: v for k, v in model.items() if k.startswith(b"k:3")}
    assert client.execute_command("RANGE", "x", "y") == [None, []]
    assert client.execute_command("RANGE", high, low) == [None, []]
    # Keys come and go between pages; those that stay are seen exactly once.
    for words, wanted in (((), keys), (("REVERSE",), keys[::-1])):
        seen, after = [], ()
        while True:
            cursor, page = client.execute_command("RANGE", "-", "+", "LIMIT", 50, *words, *after)
            seen += [k for k in page if k in model]
            if cursor is None:
                break
            after = ("AFTER", cursor)
            extra = b"k:%06d+" % chance.randrange(10**6)
            client.set(extra, "x")
            client.delete(extra) if chance.random() < .5 else client.set(cursor, model.get(cursor, b"y"))
        assert seen == wanted
    found = list(client.scan_iter(count=33))
    assert len(found) == len(set(found)) and set(keys) <= set(found)
    assert set(client.scan_iter(match="k:12*")) >= {k for k in keys if k.startswith(b"k:12")}
    cursor, found = b"0", []
    while True:
        cursor, page = client.execute_command("KSCAN", "k:4", "COUNT", 10, cursor)
        found += page
        if cursor == b"0":
            break
    assert [k for k in found if k in model] == [k for k in keys if k.startswith(b"k:4")]
    with pytest.raises(redis.ResponseError, match="cursor"):
        client.scan(999999)
    with pytest.raises(redis.ResponseError, match="ordered"):
        admin.execute_command("RANGE", "-", "+")


def test_large_values_make_short_pages(server):
    server.client().execute_command("NSNEW", "o", "MODE", "ordered")
    client = server.client("o")
    for n in range(10):
        client.set(b"%d" % n, bytes([n]) * 300_000)
    items, count = pages(client, "RANGE", "-", "+", "VALUES")
    assert count >= 3 and items[::2] == [b"%d" % n for n in range(10)]
    assert all(value == bytes([n]) * 300_000 for n, value in enumerate(items[1::2]))


def test_sequential_ids_survive_a_kill_and_the_loss_of_the_table(server):
    server.client().execute_command("NSNEW", "s")
    assert server.client().execute_command("NSSET", "s", "mode", "seq")
    client = server.client("s")
    ids = [client.execute_command("SET", "", f"value {n}") for n in range(1000)]
    assert ids == [n.to_bytes(8, "little") for n in range(1000)]
    assert client.execute_command("SET", ids[3], "changed")
    for wrong in (b"12345678", b"abc", (1000).to_bytes(8, "little")):
        with pytest.raises(redis.ResponseError, match="ids"):
            client.execute_command("SET", wrong, "x")
    assert client.delete(ids[4]) == 1 and client.delete(ids[4]) == 0
    with pytest.raises(redis.ResponseError, match="ids"):
        client.execute_command("SET", ids[4], "x")
    assert client.get(ids[3]) == b"changed" and client.get(ids[4]) is None and client.exists(ids[5]) == 1
    assert client.execute_command("LENGTH", ids[5]) == len("value 5") and client.dbsize() == 999
    assert list(client.scan_iter(count=100)) == ids[:4] + ids[5:]
    with pytest.raises(redis.ResponseError, match="mode"):
        client.execute_command("NSSET", "s", "mode", "user")
    for words in (("MULTI",), ("SET", "", "in a transaction"), ("GET", ids[0])):
        assert client.execute_command(*words)
    assert client.execute_command("EXEC") == [(1000).to_bytes(8, "little"), b"value 0"]
    for number, loses in ((signal.SIGKILL, False), (signal.SIGTERM, True), (signal.SIGTERM, False)):
        client.close()
        server.stop(number)
        table, = (server.folder / "data").glob("*.ids")
        if loses:
            table.unlink()
        server.start()
        client = server.client("s")
        assert client.get(ids[3]) == b"changed" and client.get(ids[4]) is None and client.get(ids[999]) == b"value 999"
        assert client.dbsize() == 1000
    assert client.execute_command("SET", "", "next") == (1001).to_bytes(8, "little")


def test_batch_is_all_or_nothing(server):
    client = server.client()
    first, second = client.execute_command("BATCH", 2, "SET", "a", "1", "SET", "b", "2", "IFABSENT")
    assert second == first + 1
    assert client.execute_command("BATCH", 3, "SET", "a", "3", "IFSEQ", first, "DEL", "b", "DEL", "none")[2] == 0
    assert client.mget("a", "b") == [b"3", None]
    for words, why in (
        (("BATCH", 2, "SET", "c", "1", "SET", "a", "9", "IFABSENT"), "EXISTS write 2"),
        (("BATCH", 2, "SET", "c", "1", "SET", "a", "9", "IFSEQ", first), "CONFLICT write 2"),
        (("BATCH", 2, "SET", "c", "1", "SET", "", "9"), "write 2"),
        (("BATCH", 3, "SET", "c", "1", "SET", "d", "9"), "syntax"),
        (("BATCH", 1, "SET", "c"), "syntax|arguments"),
    ):
        with pytest.raises(redis.ResponseError, match=why):
            client.execute_command(*words)
        assert client.mget("a", "c", "d") == [b"3", None, None]
    client.execute_command("NSNEW", "small")
    client.execute_command("NSSET", "small", "maxsize", 10)
    small = server.client("small")
    with pytest.raises(redis.ResponseError):
        small.execute_command("BATCH", 2, "SET", "a", "1234", "SET", "b", "12345678")
    assert small.dbsize() == 0


def test_transactions_of_redis_py(server):
    client, other = server.client(), server.client()
    with client.pipeline(transaction=True) as pipe:
        pipe.set("a", 1)
        pipe.get("a")
        pipe.mset({"b": 2, "c": 3})
        pipe.delete("b", "none")
        pipe.mget("a", "b", "c")
        assert pipe.execute() == [b"OK", b"1", True, 1, [b"1", None, b"3"]]
    with client.pipeline(transaction=True) as pipe:
        pipe.set("a", 5)
        pipe.set("c", 5, nx=True)
        with pytest.raises(redis.ResponseError, match="nothing happened"):
            pipe.execute()
    assert client.get("a") == b"1"
    with client.pipeline() as pipe:
        pipe.set("a", 6)
        pipe.incr("a")
        with pytest.raises(redis.RedisError):
            pipe.execute()
    assert client.get("a") == b"1"
    with client.pipeline() as pipe:
        pipe.watch("a")
        other.set("a", 7)
        pipe.multi()
        pipe.set("a", 8)
        with pytest.raises(redis.WatchError):
            pipe.execute()
        pipe.watch("a")
        pipe.multi()
        pipe.set("a", 8)
        assert pipe.execute() == [b"OK"]
    assert client.get("a") == b"8"
    assert client.execute_command("MULTI") and client.execute_command("SET", "a", "9") == b"QUEUED"
    assert client.execute_command("DISCARD") and client.get("a") == b"8"
    for word in ("EXEC", "DISCARD"):
        with pytest.raises(redis.ResponseError, match="without MULTI"):
            client.execute_command(word)


def node(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


def is_in(root, count, length, leaf, data, path):
    """Whether data is the leaf of a value of which only the root is known: RFC 9162, 2.1.3.2."""
    if leaf >= count or len(data) != min(4096, length - leaf * 4096):
        return False
    number, last, hashed = leaf, count - 1, hashlib.sha256(b"\0" + data).digest()
    for other in path:
        if last == 0:
            return False
        if number & 1 or number == last:
            hashed = node(other, hashed)
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            hashed = node(hashed, other)
        number, last = number >> 1, last >> 1
    sizes = count.to_bytes(8, "little") + length.to_bytes(8, "little")
    return last == 0 and hashlib.sha256(b"\2" + sizes + hashed).digest() == root


def test_proofs_can_be_checked_by_who_keeps_the_root(server):
    client = server.client()
    chance = random.Random(3)
    for length in (1, 4096, 4097, 12288, 20000, 4096 * 13 + 5, 300_000):
        value = chance.randbytes(length)
        client.set("v", value)
        root, count, size = client.execute_command("PROOF", "v", "ROOT")
        assert (count, size) == ((length + 4095) // 4096, length)
        leaves = sorted({0, count - 1, count // 2, chance.randrange(count)})
        again, _, _, proofs = client.execute_command("PROOF", "v", *leaves)
        assert again == root and [p[0] for p in proofs] == leaves
        for leaf, data, path in proofs:
            assert data == value[leaf * 4096:(leaf + 1) * 4096]
            assert is_in(root, count, size, leaf, data, path)
            assert not is_in(root, count, size, leaf, bytes([data[0] ^ 1]) + data[1:], path)
            assert not is_in(root, count + 1, size, leaf, data, path)
            assert not is_in(root, count, size - 1, leaf, data, path)
            for index in range(len(path)):
                assert not is_in(root, count, size, leaf, data, path[:index] + [bytes(32)] + path[index + 1:])
    # The guide's vector: bytes 0, 1, … 250, 0, … 10000 of them.
    client.set("v", bytes(n % 251 for n in range(10000)))
    root, count, size = client.execute_command("PROOF", "v", "ROOT")
    assert (root.hex(), count, size) == (VECTOR, 3, 10000)
    assert client.execute_command("PROOF", "none", "ROOT") is None
    client.set("empty", "")
    assert client.execute_command("PROOF", "empty", "ROOT")[1:] == [0, 0]
    for wrong in (("v", 3), ("v", "x"), ("empty", 0)):
        with pytest.raises(redis.ResponseError):
            client.execute_command("PROOF", *wrong)


VECTOR = "de2ab49326a58e1b058e30df8006439a668bc6e4eca80c1377ef1ca6fe53d161"


def test_parts_of_values(server):
    client = server.client()
    value = bytes(range(256)) * 100
    client.set("v", value)
    for low, high in ((0, 10), (100, 100), (5, 25600), (25590, 99999), (30000, 40000), (0, 2**63)):
        assert client.execute_command("GET", "v", "FROM", low, "TO", high) == value[low:high]
    assert client.execute_command("GET", "none", "FROM", 0, "TO", 1) is None
    for wrong in (("FROM", 2, "TO", 1), ("FROM", -1, "TO", 1), ("FROM", 2), ("TO", 1, "FROM", 0)):
        with pytest.raises(redis.ResponseError):
            client.execute_command("GET", "v", *wrong)
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(server.folder / "s"))
        raw.sendall(b"HELLO 3\r\nGET v FROM 65 TO 70\r\nGET none FROM 0 TO 1\r\nGET v FROM 9 TO 9\r\n")
        text = b""
        while not text.endswith(b"$0\r\n\r\n"):
            text += raw.recv(65536)
        assert text.endswith(b"\r\n$5\r\nABCDE\r\n_\r\n$0\r\n\r\n")


def test_damage_is_found_by_parts_and_proofs(server):
    client = server.client()
    client.set("v", b"\xab" * 50_000)
    segment, = (server.folder / "data").glob("*.segment")
    with open(segment, "r+b") as file:
        at = file.read().index(b"\xab" * 100) + 40_000
        file.seek(at)
        file.write(b"\0")
    for words in (("GET", "v", "FROM", 0, "TO", 10), ("PROOF", "v", 0)):
        with pytest.raises(redis.ResponseError, match="CORRUPT|segment"):
            client.execute_command(*words)


def test_a_transaction_has_a_bounded_reply(server):
    client = server.client()
    client.set("v", b"\0" * (8 << 20))
    with client.pipeline() as pipe:
        for _ in range(10):
            pipe.get("v")
        pipe.set("w", 1)
        with pytest.raises(redis.ResponseError, match="larger"):
            pipe.execute()
    assert client.get("w") is None and client.ping()


def test_modes_survive_export_and_import(server):
    admin = server.client()
    for name, mode in (("o", "ordered"), ("s", "seq")):
        admin.execute_command("NSNEW", name, "MODE", mode)
    ordered, sequential = server.client("o"), server.client("s")
    for n in range(50):
        ordered.set(f"key {n % 37}", n)
        sequential.execute_command("SET", "", f"value {n}")
    for n in (0, 1, 20, 49):
        sequential.delete(n.to_bytes(8, "little"))
    wanted = [(n.to_bytes(8, "little"), b"value %d" % n) for n in range(50) if n not in (0, 1, 20, 49)]
    stream = subprocess.run([BIN, "export", server.folder / "s"], stdout=subprocess.PIPE, check=True).stdout
    other = Server()
    subprocess.run([BIN, "import", other.folder / "s"], input=stream, check=True)
    server.stop()
    whole = subprocess.run([BIN, "export", server.folder / "data"], stdout=subprocess.PIPE, check=True).stdout
    shutil.rmtree(server.folder / "data")
    subprocess.run([BIN, "import", server.folder / "data"], input=whole, check=True)
    server.start()
    try:
        for where, following in ((other, 49), (server, 50)):
            ids = where.client("s")
            assert [(key, ids.get(key)) for key in ids.scan_iter(count=7)] == wanted
            assert ids.execute_command("SET", "", "x") == following.to_bytes(8, "little")
            keys = pages(where.client("o"), "RANGE", "-", "+")[0]
            assert keys == sorted(f"key {n}".encode() for n in range(37))
    finally:
        other.stop(signal.SIGKILL)
        shutil.rmtree(other.folder)
