"""A zdb of a contract: reached by name, with its password, by its own contract only; back after every harm; gone with its data."""
import os
import shutil
import signal
import subprocess
import time

import pytest

import grid as grids
from grid import bus, wait_for

PASSWORD = "open sesame 7"
FILE = """\
contract: counter
expires: 2027-12-31
network: {{ range: 10.44.0.0/16 }}
workloads:
  - zdb: index
    size: {size}
    password: {{ secret: index-password }}
  - container: client
    image: examples/redis
    args: [ sh, -c, 'trap "exit 0" TERM; while :; do sleep 3600 & wait; done' ]
    cpu: 0.1
    memory: 64 MiB
{more}"""


def file(size="64 MiB", more=""):
    return FILE.format(size=size, more=more)


def secret(grid, value=PASSWORD):
    path = grid.folder / "index-password"
    path.write_text(value)
    return ["--secret", f"index-password=@{path}"]


def ask(grid, *words, password=PASSWORD, contract="counter", host="index"):
    """What redis-cli in the contract's container prints."""
    known = ["--no-auth-warning", "-a", password] if password else []
    done = grid.zero(
        "exec", "-w", "client", contract, "--", "timeout", "3", "redis-cli", "-h", host, "-p", "9900", *known, *words, check=False)
    return (done.stdout + done.stderr).strip()


# Gone with the first version that leaves them out.
MODES = """\
  - { zdb: sorted, size: 16 MiB, mode: ordered }
  - { zdb: numbered, size: 16 MiB, mode: sequential }
"""


def zdbs(grid):
    return {z["id"].split("-", 1)[1]: z for z in bus(grid.run / "storage.sock", "STORAGE.STATUS")["zdbs"]}


def store(grid, *words):
    """What the administrator is told by the store."""
    return subprocess.run(
        ["redis-cli", "-s", str(grid.run / "zdb.sock"), *words], capture_output=True, text=True, check=True).stdout.strip()


def usage(grid):
    return grid.json("describe", "counter")["workloads"]["index"]["usage"]


@pytest.fixture
def counter(grid):
    grid.image("examples/redis", "redis")
    grid.zero("deploy", grid.contract(file(more=MODES)), "--yes", *secret(grid))
    yield grid


def test_the_example(shared):
    shared.image("examples/redis", "redis")
    path = shared.contract((grids.ROOT / "Examples/zdb.yaml").read_text(), "zdb.yaml")
    # Nobody gives a password: it derives from the identity's words.
    shared.zero("deploy", path, "--yes")
    try:
        wait_for("it counts", lambda: "2" in shared.zero("logs", "-w", "client", "counter").stdout.split(), 10)
        assert usage(shared)["entries"] == 1
        assert "64 MiB, user" in shared.zero("describe", "counter").stdout
        assert "no changes" in shared.zero("plan", path).stdout
        rows = [line.split()[:3] for line in shared.zero("list").stdout.splitlines()]
        assert any("counter" in row for row in rows)
        password = shared.zero("identity", "password", "counter", "index-password").stdout.strip()
        assert len(password) == 40 and "PONG" in ask(shared, "ping", password=password)
        assert "WRONGPASS" in ask(shared, "ping", password=password[::-1])
        # The password is sealed in the contract, and in clear in no file of the node.
        found = subprocess.run(["grep", "-rl", password, str(shared.state)], capture_output=True, text=True).stdout
        assert found == ""
    finally:
        assert shared.zero("delete", "counter", "--yes").returncode == 0
    assert zdbs(shared) == {}


def test_who_comes_in_and_what_survives(counter):
    assert "OK" in ask(counter, "set", "greeting", "hello")
    assert ask(counter, "get", "greeting") == "hello"
    assert "NOAUTH" in ask(counter, "get", "greeting", password=None)
    assert "WRONGPASS" in ask(counter, "get", "greeting", password="guess")
    for words in (["select", "default"], ["nslist"], ["nsnew", "mine"], ["doors"], ["nsset", "x", "maxsize", "0"]):
        assert any(code in ask(counter, *words) for code in ("DENIED", "ERR")), words
    assert usage(counter) == {"size": 64 << 20, "used": len("greeting" "hello"), "entries": 1}
    address = counter.json("describe", "counter")["placement"]["workloads"]["index"]["address"]
    for word in ("pear", "apple", "fig"):
        assert "OK" in ask(counter, "set", word, "x", host="sorted", password=None)
    assert ask(counter, "range", "-", "+", host="sorted", password=None).split() == ["apple", "fig", "pear"]
    modes = {name: store(counter, "nsinfo", zdbs(counter)[name]["id"]) for name in ("index", "sorted", "numbered")}
    assert all(f"mode: {mode}" in modes[name] for name, mode in
               [("index", "user"), ("sorted", "ordered"), ("numbered", "sequential")]), modes
    stranger(counter, address)
    killed(counter)
    replaced(counter)
    power_loss(counter)
    counter.zero("deploy", counter.contract(file().replace("container: client", "container: other").replace(
        "  - zdb: index\n    size: 64 MiB\n    password: { secret: index-password }\n", "")), "--yes")
    assert zdbs(counter) == {}, "a version without it removes it"
    counter.zero("delete", "counter", "--yes")
    assert grids.bus(counter.run / "storage.sock", "STORAGE.STATUS")["volumes"] == []


def stranger(grid, address):
    """Another contract knows no such name, and its packets to the address lead nowhere."""
    text = file().split("  - zdb")[0] + "  - container" + file().split("  - container")[1]
    text = text.replace("contract: counter", "contract: stranger").replace("10.44.", "10.45.")
    grid.zero("deploy", grid.contract(text, "stranger.yaml"), "--yes")
    for host in ("index", address):
        answer = ask(grid, "get", "greeting", contract="stranger", host=host)
        # Whoever else may have that address in the world outside is no zdb.
        assert "hello" not in answer and "WRONGPASS" not in answer, answer
    grid.zero("delete", "stranger", "--yes")


def killed(grid):
    """The store's process dies: it comes back, its doors with it, and nobody is told of a failure."""
    old = grid.pid("zdb")
    os.kill(old, signal.SIGKILL)
    started = time.monotonic()
    wait_for("the zdb answers", lambda: ask(grid, "get", "greeting") == "hello", 10)
    assert time.monotonic() - started < 6
    assert grid.is_back("zdb", old)
    # Its door is closed by somebody: it is opened again.
    assert store(grid, "unlisten", store(grid, "doors").split()[0]) == "1"
    wait_for("the zdb answers", lambda: ask(grid, "get", "greeting") == "hello", 10)
    # Everybody else dies, too.
    for name in grids.CONTROL + ["zdb"]:
        os.kill(grid.pid(name), signal.SIGKILL)
    wait_for("the zdb answers", lambda: ask(grid, "get", "greeting") == "hello", 15)


def replaced(grid):
    """A new version: another password, more space; what is in it stays."""
    path = grid.contract(file(size="96 MiB"))
    plan = grid.zero("plan", path, *secret(grid, "another one")).stdout
    assert "zdb index, in place" in plan and "size: 64 MiB -> 96 MiB" in plan and "secret index-password" in plan
    grid.zero("deploy", path, "--yes", *secret(grid, "another one"))
    wait_for("the new password", lambda: ask(grid, "get", "greeting", password="another one") == "hello", 10)
    assert "WRONGPASS" in ask(grid, "get", "greeting")
    assert usage(grid)["size"] == 96 << 20
    wait_for("the others are gone", lambda: set(zdbs(grid)) == {"index"}, 10)
    refused = grid.zero("plan", grid.contract(file(more="").replace("size: 64 MiB", "size: 96 MiB\n    mode: ordered")), check=False)
    assert refused.returncode != 0 and "contract.yaml:7:11" in refused.stderr and "keeps its mode" in refused.stderr
    large = grid.zero("plan", grid.contract(file(size="40 TiB")), check=False)
    assert large.returncode != 0 and "contract.yaml:6:11" in large.stderr and "storage" in large.stderr


def power_loss(grid):
    spaces = grid.spaces() + grid.spaces("zw")
    grid.kill_everything()
    subprocess.run(
        f"grep ' {grid.root}\\| {grid.run.parent}' /proc/mounts | cut -d' ' -f2 | sort -r | xargs -r -n1 umount -l", shell=True)
    shutil.rmtree(grid.run.parent, ignore_errors=True)
    for space in spaces:
        subprocess.run(["ip", "netns", "delete", space.name])
    grid.up()
    wait_for("the zdb answers", lambda: ask(grid, "get", "greeting", password="another one") == "hello", 20)
