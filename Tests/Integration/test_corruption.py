"""A flipped byte, wherever bytes are kept: detected at read, reported with its place, never served; the rest keeps working."""
import hashlib
import os
import pathlib
import time

import pytest

import grid as grids
import layouts
import segments
from conftest import folder
from grid import hello, wait_for

FILES = {f"data/{name}.bin": os.urandom(size) for name, size in
         [("good", 30_001), ("chunk", 30_011), ("cached", 30_021), ("head", 30_031)]}
# Names that do not compress: the folder's chunk is larger than any other new one.
FILES |= {f"data/many/{os.urandom(32).hex()}": b"" for _ in range(200)}
HOLDER = """\
contract: {name}
expires: 2027-06-01
workloads:
  - container: box
    image: tests/files
    args: [ sh, -c, "trap exit QUIT; while :; do sleep 1000 & wait $!; done" ]
    cpu: 0.1
    memory: 64 MiB
"""
# Stored bytes that do not compress are 28 longer: header and tag.
OVERHEAD = 28


class World:
    def __init__(self, grid):
        self.grid = grid
        self.layout = layouts.layered(grid.folder / "layout", FILES)
        before = {r.key for r in segments.records(grid, "images")}
        self.load()
        self.new = [r for r in segments.records(grid, "images") if r.key not in before]

    def load(self):
        return self.grid.zero("image", "import", self.layout, "--name", "tests/files", "--public", timeout=300)

    def chunk(self, name):
        """The record of a file's only chunk."""
        size = len(FILES[f"data/{name}.bin"]) + OVERHEAD
        found = [r for r in self.new if r.length == size]
        assert len(found) == 1
        return found[0]

    def metadata(self, kind):
        return max((r for r in self.new if r.kind == kind), key=lambda r: r.length)

    def cat(self, name, contract="holder"):
        """What the container reads of a file: status, SHA-256 of what came, what it said."""
        result = self.grid.zero(
            "exec", contract, "--", "sh", "-c", f"cat /data/{name}.bin > /tmp/copy; s=$?; sha256sum < /tmp/copy; exit $s", check=False)
        return result.returncode, result.stdout.split(" ")[0], result.stderr

    def serves(self, name, contract="holder"):
        return self.cat(name, contract)[:2] == (0, hashlib.sha256(FILES[f"data/{name}.bin"]).hexdigest())

    def refuses(self, name):
        """Not one byte of it is served, at once and not after a wait for a store that is there."""
        started = time.monotonic()
        status, digest, said = self.cat(name)
        return (status != 0 and digest == hashlib.sha256(b"").hexdigest() and "Input/output error" in said
                and time.monotonic() - started < 8)

    def verify(self, image="tests/files"):
        return self.grid.zero("image", "verify", image, check=False, timeout=120)

    @property
    def mount(self):
        """The mount of the container of `holder`."""
        return next(name for name in self.grid.units() if name.startswith("mount@" + self.holder))

    @property
    def holder(self):
        return self.grid.json("describe", "holder")["id"][:16]

    def log(self, unit):
        return (self.grid.state / f"log/{unit}.log").read_text(errors="replace")

    def restart(self, unit):
        name, _, instance = unit.partition("@")
        body = {"unit": name + "@", "instance": instance} if instance else {"unit": name}
        old = self.grid.pid(unit)
        grids.bus(self.grid.run / "core.sock", "CORE.RESTART", body, timeout=30)
        wait_for(f"{unit} runs again", lambda: self.grid.is_back(unit, old))

    def forget(self, *paths):
        """Nothing of what the container sees at these paths stays in the kernel's memory."""
        root = pathlib.Path(f"/proc/{self.inside()}/root")
        for path in paths:
            with open(str(root) + path, "rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def inside(self):
        group = grids.control_group(self.mount.split("@")[1])
        return int((group / "cgroup.procs").read_text().split()[0])

    def goes_on(self):
        """What must not mind: another contract, another file of the same image, another image."""
        assert self.grid.get("hello")[0] == 200
        assert self.serves("good")


@pytest.fixture(scope="module")
def world(images):
    grid = grids.Grid(folder())
    try:
        grid.up()
        grid.image("examples/nginx", "nginx")
        found = World(grid)
        grid.zero("deploy", grid.contract(hello()), "--yes")
        grid.zero("deploy", grid.contract(HOLDER.format(name="holder"), "holder.yaml"), "--yes")
        yield found
    finally:
        grids.remove(grid)


def test_a_chunk_in_the_store(world):
    record = world.chunk("chunk")
    record.flip()
    assert world.refuses("chunk")
    assert f"corrupt_record {record.place}" in world.log("db")
    said = [line for line in world.log(world.mount).splitlines() if "refused to serve" in line]
    assert any(record.key.hex() in line and "/data/chunk.bin" in line for line in said), said
    found = world.verify()
    assert found.returncode == 7 and "/data/chunk.bin" in found.stderr and record.key.hex() in found.stderr, found.stderr
    assert "good.bin" not in found.stderr
    world.goes_on()
    world.restart("db")
    world.restart(world.mount)
    assert world.refuses("chunk")
    world.goes_on()
    # Importing it again heals it, and nobody has to be restarted.
    world.load()
    assert world.serves("chunk")
    assert world.verify().returncode == 0


def test_a_directory_in_the_store(world):
    record = world.metadata(segments.DIRECTORY)
    record.flip()
    listing = world.grid.zero("exec", "holder", "--", "ls", "/data/many", check=False)
    assert listing.returncode != 0 and listing.stdout == "" and "Input/output error" in listing.stderr
    assert f"corrupt_record {record.place}" in world.log("db")
    assert record.key.hex() in world.log(world.mount)
    found = world.verify()
    assert found.returncode == 7 and "/data/many" in found.stderr and record.key.hex() in found.stderr
    world.goes_on()
    # What nobody has read yet is found damaged by the next process too.
    world.restart("db")
    world.restart(world.mount)
    assert world.grid.zero("exec", "holder", "--", "ls", "/data/many", check=False).returncode != 0
    record.flip()
    world.restart("db")
    listing = world.grid.zero("exec", "holder", "--", "ls", "/data/many")
    assert len(listing.stdout.split()) == 200


def test_the_root_of_an_image(world):
    """A container that cannot begin says why, and begins by itself once its image is whole again."""
    record = world.metadata(segments.ROOT)
    cached = world.grid.state / "mount/cache" / record.key.hex()[:2] / record.key.hex()
    cached.unlink(missing_ok=True)
    record.flip()
    late = world.grid.contract(HOLDER.format(name="late"), "late.yaml")
    result = world.grid.zero("deploy", late, "--yes", "--timeout", "10 s", check=False)
    assert result.returncode in (1, 4), result.stderr
    assert record.key.hex() in result.stdout + result.stderr, result.stdout + result.stderr
    found = world.verify()
    assert found.returncode == 7 and record.key.hex() in found.stderr
    world.goes_on()
    world.load()
    wait_for("it runs", lambda: world.grid.zero("exec", "late", "--", "true", check=False).returncode == 0, 30, 0.5)
    assert world.serves("chunk", "late")
    world.grid.zero("delete", "late", "--yes")


def test_the_cache_of_mounts(world):
    assert world.serves("cached")
    key = world.chunk("cached").key.hex()
    cached = world.grid.state / "mount/cache" / key[:2] / key
    wait_for("it is cached", cached.exists)
    segments.flip(cached, 1000)
    world.forget("/data/cached.bin")
    world.restart(world.mount)
    assert world.serves("cached"), "the store has the right bytes"
    assert f'"cached chunk is damaged" chunk={key}' in world.log(world.mount)
    wait_for("it is cached anew", lambda: cached.exists() and hashlib.sha256(cached.read_bytes()).hexdigest() == key)
    # Damage in both places.
    segments.flip(cached, 1000)
    record = world.chunk("cached")
    record.flip()
    world.forget("/data/cached.bin")
    world.restart(world.mount)
    assert world.refuses("cached")
    assert f"corrupt_record {record.place}" in world.log("db")
    world.goes_on()
    world.load()
    assert world.serves("cached")


def test_heads_of_the_log(world):
    """A record's head, and the first copy of a segment's: found when the log is opened, with segment and offset."""
    record = world.chunk("head")
    segments.flip(record.path, record.offset + 33)
    segments.flip(record.path, 70)
    world.restart("db")
    assert f"damage {record.place}" in world.log("db") and "keys_known=true" in world.log("db")
    assert world.refuses("head")
    world.goes_on()
    world.load()
    assert world.serves("head")
    assert world.verify().returncode == 0
    segments.flip(record.path, 70)


def test_a_block_of_the_ledger(world):
    """It says which block is damaged and goes on. Started on top of damage it serves nothing, and says why."""
    grid = world.grid
    status = lambda: grids.bus(grid.run / "ledger.sock", "LEDGER.STATUS")
    blocks = [r for r in segments.records(grid, "ledger") if r.key.startswith(b"b/")]
    record = blocks[len(blocks) // 2]
    height = int(record.key[2:], 16)
    record.flip()
    grid.zero("deploy", grid.contract(hello("more"), "more.yaml"), "--yes")
    assert grid.get("more")[0] == 200
    world.restart("ledger")
    wait_for("the ledger names it", lambda: f"block {height}" in str(status()), 20)
    assert record.key.decode() in world.log("ledger") and f"corrupt_record {record.place}" in world.log("db")
    refused = grid.zero("list", check=False)
    assert refused.returncode == 5 and f"block {height}" in refused.stderr, refused.stderr
    world.restart("provision")
    assert grid.get("hello")[0] == 200 and grid.get("more")[0] == 200
    record.flip()
    world.restart("db")
    world.restart("ledger")
    wait_for("the ledger is back", lambda: grid.zero("list", check=False).returncode == 0, 20)
    grid.zero("delete", "more", "--yes")
    world.goes_on()
