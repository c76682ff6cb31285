"""Two grids on one machine do not meet, whatever their folders are called."""
import hashlib
import os
import pathlib
import shutil

import grid as grids


def folder_that_wants(number, seed):
    """A folder whose grid asks for this range of link addresses first."""
    for attempt in range(100_000):
        path = f"/var/tmp/zero-test-{os.getpid()}-{seed}-{attempt}"
        if hashlib.sha256(f"{path}/grid".encode()).digest()[0] == number:
            os.mkdir(path, 0o755)
            return path


def link_range(grid):
    lines = (grid.state / "core/settings.conf").read_text().splitlines()
    return next(line.split(" = ")[1] for line in lines if line.startswith("link_range"))


def claims(grid):
    folder = pathlib.Path("/run/zero/links")
    return [p.name for p in folder.iterdir() if os.readlink(p) == str(grid.run.parent)] if folder.exists() else []


def test_two_grids_have_addresses_of_their_own(images):
    wanted = os.urandom(1)[0]
    both = [grids.Grid(folder_that_wants(wanted, seed)) for seed in ("a", "b")]
    try:
        for grid in both:
            grid.up()
        first, second = map(link_range, both)
        assert first != second
        assert [len(claims(grid)) for grid in both] == [1, 1]
        # Who comes back while the other is there keeps what he has; what is given back can be had again.
        both[1].down()
        assert claims(both[1]) == []
        both[1].up()
        assert link_range(both[1]) == second
    finally:
        for grid in both:
            grids.remove(grid)
            shutil.rmtree(grid.folder, ignore_errors=True)
    assert [claims(grid) for grid in both] == [[], []]
