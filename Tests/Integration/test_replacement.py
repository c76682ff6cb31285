"""Data planes are replaced by new processes under load, and wait for a store that is away."""
import ctypes
import hashlib
import json
import os
import pathlib
import threading
import time

import pytest

import grid as grids
import layouts
from conftest import folder
from grid import Hammer, hello, wait_for

# Some small files, some of many chunks: 24 MiB that no memory of the mount holds for long.
FILES = {f"data/{number:02}.bin": os.urandom(size) for number, size in enumerate([100, 70_000, 400_000, 3_000_000] * 7)}
TEXT = hello().replace("examples/nginx", "tests/files")


@pytest.fixture(scope="module")
def busy(images):
    grid = grids.Grid(folder())
    try:
        grid.up()
        layout = layouts.layered(grid.folder / "layout", FILES)
        grid.zero("image", "import", layout, "--name", "tests/files", "--public", timeout=300)
        grid.zero("deploy", grid.contract(TEXT), "--yes")
        grid.id = next(name.split("@")[1] for name in grid.units() if name.startswith("shim@"))
        yield grid
    finally:
        grids.remove(grid)


def inside(grid):
    """A process of the container."""
    group = grids.control_group(grid.id)
    return int((group / "cgroup.procs").read_text().split()[0])


def replace(grid, unit, timeout=20):
    name, _, instance = unit.partition("@")
    body = {"unit": name + "@", "instance": instance} if instance else {"unit": name}
    old = grid.pid(unit)
    grids.bus(grid.run / "core.sock", "CORE.RESTART", body, timeout=timeout)
    wait_for(f"another {unit}", lambda: grid.is_back(unit, old), timeout)


class Reader:
    """Reads files inside the container's mount namespace again and again, never from the kernel's memory, and compares."""

    def __init__(self, grid):
        self.pid, self.count, self.bytes, self.failures = inside(grid), 0, 0, []
        self.longest = 0.0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(3)]

    def _run(self, turn):
        # Only this thread looks at the container's files; what it opened it may not open through /proc.
        if ctypes.CDLL(None, use_errno=True).unshare(0x200) != 0:
            return self.failures.append("unshare")
        space = os.open(f"/proc/{self.pid}/ns/mnt", os.O_RDONLY)
        if ctypes.CDLL(None, use_errno=True).setns(space, 0x20000) != 0:
            return self.failures.append("setns")
        names = list(FILES)[turn:] + list(FILES)[:turn]
        while not self._stop.is_set():
            for name in names:
                started = time.monotonic()
                try:
                    found = read(f"/{name}")
                    if found != FILES[name]:
                        self.failures.append((name, "other bytes", len(found)))
                    # Names are asked for too: a new process has to know every inode that the kernel remembers.
                    os.stat(f"/{name}")
                    os.listdir("/data")
                except OSError as error:
                    self.failures.append((name, repr(error)))
                self.longest = max(self.longest, time.monotonic() - started)
                self.count += 1
                self.bytes += len(FILES[name])
                if self._stop.is_set():
                    return

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(40)


def read(path):
    """All of a file, from the mount and not from what the kernel kept of it."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        content = b""
        while piece := os.read(file, 1 << 20):
            content += piece
        return content
    finally:
        os.close(file)


def test_a_mount_is_replaced_under_load(busy):
    grid = busy
    mount = "mount@" + grid.id
    container = inside(grid)
    # A shell inside compares too, as a workload would: what it prints is read at the end.
    script = "cd /data; sha256sum *.bin > /tmp/sums; while [ ! -e /tmp/stop ]; do sha256sum --quiet -c /tmp/sums || exit 1; done"
    with Reader(grid) as reader, Hammer(grid, "hello") as hammer:
        shell = threading.Thread(target=lambda: results.append(grid.zero("exec", "hello", "--", "sh", "-c", script, check=False)))
        results = []
        shell.start()
        wait_for("some reads", lambda: reader.count > 50)
        for _ in range(5):
            before = reader.count
            replace(grid, mount)
            wait_for("reads go on", lambda: reader.count > before + 20)
        before = reader.count
        for _ in range(3):
            old = grid.pid(mount)
            os.kill(old, 9)
            wait_for("another after a kill", lambda: grid.is_back(mount, old))
            wait_for("reads go on", lambda: reader.count > before + 20)
        grid.zero("exec", "hello", "--", "touch", "/tmp/stop")
        shell.join(60)
    assert reader.failures == [] and hammer.failures == []
    assert results[0].returncode == 0, results[0].stderr + results[0].stdout
    assert inside(grid) == container, "the container was not started again"
    log = (grid.state / f"log/{mount}.log").read_text()
    assert log.count("unanswered=0") == 5 and log.count("took over") == 8, log
    assert reader.longest < 10


def test_the_store_is_away(busy):
    """A cold read waits as long as `store-wait` says, then fails; when the store is back, it succeeds."""
    grid = busy
    mount, cache = "mount@" + grid.id, grid.state / "mount/cache"
    order = grid.state / f"compute/containers/{grid.id}/mount.json"
    told = json.loads(order.read_text())
    order.write_text(json.dumps(told | {"store_wait_ms": 3000}))
    core = grid.run / "core.sock"
    try:
        # Cold: neither the mount's memory, nor its folder, nor the kernel has it.
        replace(grid, mount)
        cat = lambda name: grid.zero("exec", "hello", "--", "sh", "-c", f"sha256sum < /data/{name}", check=False)
        digest = lambda name: hashlib.sha256(FILES[f"data/{name}"]).hexdigest()
        names = ["03.bin", "07.bin"]
        forget(grid, cache)
        grids.bus(core, "CORE.STOP", {"unit": "db"}, timeout=20)
        started = time.monotonic()
        failed = cat(names[0])
        took = time.monotonic() - started
        assert failed.returncode != 0 and "Input/output error" in failed.stderr, failed
        assert 2.5 < took < 12, took
        # What waits when the store returns does not fail.
        waiting = []
        thread = threading.Thread(target=lambda: waiting.append(cat(names[1])))
        thread.start()
        time.sleep(1)
        assert grid.get("hello")[0] == 200, "what is running goes on"
        grids.bus(core, "CORE.START", {"unit": "db"}, timeout=20)
        thread.join(30)
        assert waiting[0].returncode == 0 and waiting[0].stdout.split()[0] == digest(names[1]), waiting[0]
        again = cat(names[0])
        assert again.returncode == 0 and again.stdout.split()[0] == digest(names[0]), again
        log = (grid.state / f"log/{mount}.log").read_text()
        assert '"store is absent"' in log and '"store is back"' in log
    finally:
        grids.bus(core, "CORE.START", {"unit": "db"}, timeout=20)
        order.write_text(json.dumps(told))


def forget(grid, cache):
    root = pathlib.Path(f"/proc/{inside(grid)}/root")
    for name in FILES:
        file = os.open(f"{root}/{name}", os.O_RDONLY)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)
    for path in cache.rglob("*"):
        # Directories stay: they are in the mount's memory in any case once they were read.
        if path.is_file() and path.read_bytes()[4:5] == b"\x01":
            path.unlink(missing_ok=True)


def test_a_shim_is_replaced(busy):
    """By CORE.RESTART, as for a newer version, or after a crash: the container does not notice. Only stopping a shim stops it."""
    grid = busy
    shim = "shim@" + grid.id
    container = inside(grid)
    with Hammer(grid, "hello") as hammer:
        for _ in range(3):
            replace(grid, shim)
            assert grid.zero("exec", "hello", "--", "echo", "here").stdout == "here\n"
    assert hammer.failures == [] and inside(grid) == container
