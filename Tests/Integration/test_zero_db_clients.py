"""Zero-DB as clients meet it: what their libraries and tools ask before the first command of their user."""
import subprocess

import pytest
import redis

from zero_db_server import Server, call


@pytest.fixture(scope="module")
def server():
    made = Server("--sync", "none", "--port", "0")
    info = call(made.connect(), "INFO", "server").decode()
    made.port = int(next(line for line in info.splitlines() if line.startswith("tcp_port:")).split(":")[1])
    yield made
    made.remove()


def pairs(reply):
    return dict(zip(reply[::2], reply[1::2]))


def test_what_a_go_client_says_first(server):
    with server.connect() as link:
        hello = call(link, "HELLO", 2, "SETNAME", "worker-1")
        assert pairs(hello)[b"server"] == b"zero-db" and pairs(hello)[b"role"] == b"master"
        assert call(link, "CLIENT", "SETINFO", "LIB-NAME", "go-redis(,go1.24)") == b"+OK"
        assert call(link, "CLIENT", "SETINFO", "lib-ver", "9.7.0") == b"+OK"
        assert call(link, "CLIENT", "SETINFO", "COLOUR", "red").startswith(b"-ERR")
        assert call(link, "CLIENT", "GETNAME") == b"worker-1"
        assert call(link, "CLIENT", "NO-EVICT", "on") == b"+OK"
        assert call(link, "CLIENT", "NO-EVICT", "maybe").startswith(b"-ERR")
        number = call(link, "CLIENT", "ID")
        line = call(link, "CLIENT", "INFO").decode()
        assert line.startswith(f"id={number[1:].decode()} addr=uid:0 ") and "name=worker-1" in line
        assert line in call(link, "CLIENT", "LIST").decode()
        assert call(link, "SELECT", 0) == b"+OK"
        assert call(link, "SELECT", 7).startswith(b"-NONS")


def test_commands_describe_themselves(server):
    with server.connect() as link:
        count = int(call(link, "COMMAND", "COUNT")[1:])
        names = call(link, "COMMAND", "LIST")
        assert len(names) == len(set(names)) == count == len(call(link, "COMMAND")) and b"get" in names
        docs = pairs(call(link, "COMMAND", "DOCS"))
        assert set(docs) == set(names)
        assert not [name for name, about in docs.items() if not pairs(about)[b"summary"]]
        assert pairs(pairs(call(link, "COMMAND", "DOCS", "Set", "nothing"))[b"set"])[b"summary"].startswith(b"SET key value")
        get, mset, none = call(link, "COMMAND", "INFO", "get", "mset", "nothing")
        assert get[:3] == [b"get", b":-2", [b"+readonly"]] and get[3:6] == [b":1", b":1", b":1"]
        assert mset[3:6] == [b":1", b":-1", b":2"] and none is None
        assert call(link, "COMMAND", "GETKEYS", "MSET", "a", 1, "b", 2) == [b"a", b"b"]
        assert call(link, "COMMAND", "GETKEYS", "GET", "a") == [b"a"]
        for words in (("GETKEYS", "PING"), ("GETKEYS", "MGET"), ("GETKEYS", "NOTHING", "a"), ("FOO",), ("COUNT", "x")):
            assert call(link, "COMMAND", *words).startswith(b"-ERR"), words


def test_sections_of_info(server):
    with server.connect() as link:
        whole = call(link, "INFO").decode()
        titles = [line[2:] for line in whole.splitlines() if line.startswith("#")]
        assert titles[:4] == ["Server", "Clients", "Memory", "Persistence"] and "Keyspace" in titles
        two = call(link, "INFO", "persistence", "CLIENTS").decode()
        assert [line for line in two.splitlines() if line.startswith("#")] == ["# Clients", "# Persistence"]
        assert "loading:0" in two and "maxclients:20000" in two
        assert call(link, "INFO", "nothing") == b""
        assert call(link, "INFO", "everything").decode().startswith("# Server")


def test_redis_py(server):
    client = redis.Redis(port=server.port, client_name="py", decode_responses=True)
    assert client.ping() and client.set("k", "v") and client.get("k") == "v" and client.get("none") is None
    info = client.info()
    assert info["redis_version"] == "7.0.0" and info["loading"] == 0 and info["used_memory_rss"] > 1 << 20
    assert client.info("replication")["role"] == "master"
    assert client.config_get("max*") == {"maxmemory": "0", "maxclients": "20000", "max-clients": "20000"}
    assert client.config_get("data")["data"].endswith("/data")
    assert client.client_getname() == "py" and client.client_list()[0]["name"] is not None
    assert client.command_count() > 60 and client.command()["get"]["arity"] == -2
    with client.pipeline(transaction=True) as pipe:
        assert pipe.set("a", 1).get("a").exists("a", "nothing").execute() == [True, "1", 1]
    with pytest.raises(redis.ResponseError, match="unknown command"):
        client.incr("a")
    other = redis.Redis(port=server.port)
    other.ping()
    assert client.client_kill_filter(_id=other.client_id()) == 1
    client.close()


def test_tools_of_redis(server):
    def run(*words, input=None):
        done = subprocess.run(words, input=input, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    port = str(server.port)
    assert run("redis-cli", "-p", port, "set", "k", "v") == "OK\n"
    assert run("redis-cli", "-3", "-p", port, "--json", "get", "k") == '"v"\n'
    assert run("redis-cli", "-p", port, "--scan", "--pattern", "k*").split() == ["k"]
    assert run("redis-cli", "-p", port, input='set x "a\\x00b"\nlength x\n').split() == ["OK", "3"]
    for options in ([], ["-P", "16"], ["-3"]):
        done = run("redis-benchmark", "-p", port, "-q", "-n", "2000", "-c", "20", "-t", "set,get,mset", *options)
        assert "SET" in done and "GET" in done and "WARNING" not in done
