"""`zero up` and `zero down` by themselves: what is in the way is said before anything starts, and twice is harmless."""
import os
import socket
import subprocess

import pytest

import grid as grids
from grid import hello


@pytest.fixture
def fresh(place, images):
    grid = grids.Grid(place)
    yield grid
    grids.remove(grid)


def test_what_is_in_the_way_is_said_first(fresh):
    fresh.zero("identity", "new", "default")
    nothing = fresh.down()
    assert "no grid" in nothing.stdout

    def up(*more, **options):
        refused = fresh.zero("up", "--grid", fresh.root, *more, check=False, **options)
        assert not fresh.processes() and not (fresh.root / "node-1").exists(), "nothing was started"
        return refused

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for words in (["--http-port", port, "--ledger-port", fresh.ledger_port], ["--http-port", fresh.http_port, "--ledger-port", port]):
            refused = up(*words)
            assert refused.returncode == 1 and f"port {port} is in use" in refused.stderr and "-port PORT" in refused.stderr
    for words in (["--http-port", "0"], ["--http-port", "x"], ["--ledger-port", "65536"], ["--http-port", "77", "--ledger-port", "77"],
                  ["--pool-size", "tiny"], ["--http-address", "here"], ["--domain", "a..b"], ["--timeout", "soon"]):
        assert up(*words).returncode == 2, words
    os.chmod(fresh.folder, 0o700)
    closed = up()
    assert closed.returncode == 1 and f"{fresh.folder} is closed" in closed.stderr
    os.chmod(fresh.folder, 0o755)
    nobody = subprocess.run(
        ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", str(grids.BIN / "zero"), "up"], env=fresh.env | {"ZERO_HOME": "/tmp/x"},
        capture_output=True, text=True)
    assert nobody.returncode == 1 and "needs root" in nobody.stderr


def test_twice_is_harmless_and_what_ran_is_back(fresh):
    fresh.up()
    fresh.image("examples/nginx", "nginx")
    fresh.zero("deploy", fresh.contract(hello()), "--yes")
    first = fresh.json("up")
    assert first["started"] is False
    other = fresh.zero("up", "--http-port", fresh.http_port + 1, check=False)
    assert other.returncode == 9 and str(fresh.http_port) in other.stderr

    assert fresh.json("down")["was_up"] is True
    assert not grids.leftovers(fresh)
    assert fresh.json("down")["was_up"] is False
    down = fresh.zero("list", check=False)
    assert down.returncode == 5 and "zero up" in down.stderr

    again = fresh.json("up")
    assert again["started"] is True and again["node"] == first["node"]
    assert fresh.get("hello")[0] == 200, "at once: it waited for what ran before"


def test_a_user_without_root_works_with_a_grid_that_was_started_with_sudo(fresh):
    uid = 54321
    home = fresh.folder / "user"
    home.mkdir()
    os.chown(home, uid, uid)
    environment = {name: value for name, value in fresh.env.items() if name != "ZERO_HOME"} | {"HOME": str(home)}
    words = ["up", "--grid", fresh.root, "--http-port", fresh.http_port, "--ledger-port", fresh.ledger_port]
    sudo = dict(environment, SUDO_UID=str(uid), SUDO_GID=str(uid))
    up = subprocess.run([str(grids.BIN / "zero"), *map(str, words)], env=sudo, capture_output=True, text=True)
    assert up.returncode == 0, up.stderr
    assert not [path for path in home.rglob("*") if path.lstat().st_uid != uid]

    def user(*words):
        start = ["setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups", str(grids.BIN / "zero")]
        done = subprocess.run(start + [str(w) for w in words], env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    folder = home / "empty"
    folder.mkdir()
    (folder / "file").write_text("x")
    user("image", "import", folder, "--name", "some")
    assert "some" in user("image", "list") and "sound" in user("image", "verify", "some")
    user("status")
