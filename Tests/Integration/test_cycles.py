"""Up, deploy, delete, down, again and again: nothing leaks. `make check` raises ZERO_CYCLES to 50."""
import os

import grid as grids
from grid import hello, leftovers, wait_for


def test_cycles(place, images):
    grid = grids.Grid(place)
    rounds = int(os.environ.get("ZERO_CYCLES", "5"))
    memory = []
    try:
        for _ in range(rounds):
            grid.up()
            if not memory:
                grid.image("examples/nginx", "nginx")
            grid.zero("deploy", grid.contract(hello()), "--yes")
            assert grid.get("hello")[0] == 200
            grid.zero("delete", "hello", "--yes")
            memory.append(sum(u.get("rss", 0) for u in grid.units().values()))
            grid.down()
            # The kernel lets go of a loop device a moment after its file system is unmounted.
            wait_for("nothing is left", lambda: leftovers(grid) == {}, 5)
        assert memory[-1] < memory[0] * 1.3 + (20 << 20), memory
        grid.down("--purge", "--yes")
        assert not grid.state.exists() or not any(grid.state.iterdir())
    finally:
        grids.remove(grid)
