"""A node whose disk is full: clean errors, nothing damaged, nothing ends for ever; with space again, all works by itself."""
import os
import pathlib
import shutil
import socket
import subprocess
import time

import pytest

import grid as grids
from conftest import folder
from grid import CONTROL, Hammer, hello, wait_for
from test_survives import all_running, attempt


def call(path, *words):
    """One command of a Redis client; the first line of the reply."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
        return connection.makefile("rb").readline().decode().rstrip()


PAGE = hello().replace("    ready:", "    volumes: [ { name: data, at: /data } ]\n    ready:") + "  - volume: data\n    size: 32 MiB\n"


class Disk:
    """A small file system of its own."""

    def __init__(self, place, size):
        self.file, self.at = place / "disk.img", place / "disk"
        self.at.mkdir()
        with open(self.file, "wb") as file:
            file.truncate(size)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", self.file], check=True)
        subprocess.run(["mount", "-o", "loop", self.file, self.at], check=True)
        os.chmod(self.at, 0o755)

    def fill(self):
        """To the last block, whatever else writes meanwhile."""
        with open(self.at / "ballast", "ab", buffering=0) as file:
            for step in (64 << 20, 1 << 20, 4096):
                while True:
                    end = file.seek(0, os.SEEK_END)
                    try:
                        os.posix_fallocate(file.fileno(), end, step)
                    except OSError:
                        os.truncate(file.fileno(), end)
                        break

    def free(self):
        (self.at / "ballast").unlink()

    def remove(self):
        subprocess.run(["umount", "-l", self.at])


@pytest.fixture(scope="module")
def full(images):
    """A grid on a small disk with the contract `hello`; users' things lie elsewhere."""
    place = pathlib.Path(folder())
    disk = Disk(place, 700 << 20)
    grid = grids.Grid(disk.at)
    (grid.folder, grid.home) = (place, place / "home")
    grid.env["ZERO_HOME"] = str(grid.home)
    try:
        grid.up()
        grid.image("examples/nginx", "nginx")
        grid.zero("deploy", grid.contract(PAGE), "--yes")
        yield grid, disk
    finally:
        disk.at.joinpath("ballast").unlink(missing_ok=True)
        grid.down("--purge", "--yes", check=False)
        if grid.processes():
            grid.kill_everything()
        disk.remove()
        shutil.rmtree(place, ignore_errors=True)


def fill_store(grid):
    """Until not even a small value has room."""
    for size in (1 << 20, 64 << 10, 4 << 10, 64):
        for number in range(1000):
            reply = call(grid.run / "images.sock", b"SET", b"ballast-%d-%d" % (size, number), os.urandom(size))
            if reply != "+OK":
                assert reply.startswith("-NOSPACE"), reply
                break


def inside(grid, command):
    return grid.zero("exec", "hello", "--", "sh", "-c", command, check=False)


def test_a_full_disk(full):
    grid, disk = full
    big = grid.folder / "big"
    big.mkdir()
    (big / "random").write_bytes(os.urandom(48 << 20))
    with Hammer(grid, "hello") as hammer:
        disk.fill()
        refused = grid.zero("image", "import", big, "--name", "tests/big", check=False)
        assert refused.returncode == 1 and "full" in refused.stderr and "NOSPACE" in refused.stderr, refused.stderr
        assert "No space left" in inside(grid, "head -c 100000 /dev/zero > /var/tmp/more").stderr
        assert inside(grid, "head -c 8000000 /dev/urandom > /data/during && sync /data/during").returncode != 0
        fill_store(grid)
        disk.fill()
        refused = grid.zero("deploy", grid.contract(hello("second"), "second.yaml"), "--yes", check=False)
        assert refused.returncode == 5 and "NOSPACE" in refused.stderr, refused.stderr
        # Every daemon begins again on a disk without space, zero-core too.
        for name in CONTROL + ["db"]:
            old = grid.pid(name)
            os.kill(old, 9)
            wait_for(f"{name} is back", lambda: attempt(lambda: grid.is_back(name, old)), 15)
        for pid in [p for p, w in grid.processes().items() if w[0].endswith("zero-core")]:
            os.kill(pid, 9)
        wait_for("all run", lambda: all_running(grid), 15)
        refused = grid.zero("list", check=False)
        assert refused.returncode == 0 or "NOSPACE" in refused.stderr, refused.stderr
        disk.free()
        wait_for("the ledger serves", lambda: grid.zero("list", check=False).returncode == 0, 40, 0.3)
        assert hammer.failures == [] and hammer.count > 100
        grid.zero("deploy", grid.contract(hello("second"), "second.yaml"), "--yes")
        assert grid.get("second")[0] == 200
    assert hammer.failures == []
    # The container's own files, its volume, which never stopped, and the image store take bytes again.
    assert inside(grid, "head -c 100000 /dev/zero > /var/tmp/more").returncode == 0
    written = inside(grid, "head -c 8000000 /dev/urandom > /data/after && sync /data/after")
    assert written.returncode == 0, written.stderr
    grid.zero("image", "import", big, "--name", "tests/big")
    for image in ("tests/big", "examples/nginx"):
        grid.zero("image", "verify", image)
    assert " damage " not in (grid.state / "log/db.log").read_text()
    assert "no changes" in grid.zero("deploy", grid.contract(PAGE), "--yes").stdout


def test_down_and_up_on_a_full_disk(full):
    """It starts, or says what it lacks; with space again it starts and everything comes back."""
    grid, disk = full
    third = grid.contract(hello("third"), "third.yaml")
    disk.fill()
    grid.down()
    disk.fill()
    started = grid.zero(
        "up", "--grid", grid.root, "--http-port", grid.http_port, "--ledger-port", grid.ledger_port, "--timeout", "10 s", check=False)
    assert "Fatal error" not in started.stderr
    if started.returncode != 0:
        assert "NOSPACE" in started.stderr or "No space left" in started.stderr, started.stderr
    disk.free()
    grid.up()
    wait_for("the page", lambda: attempt(lambda: grid.get("hello")[0] == 200), 40)
    grid.zero("deploy", third, "--yes")
    assert grid.get("third")[0] == 200
