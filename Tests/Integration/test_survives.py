"""What must not matter: a daemon killed, everything killed, power lost, drift."""
import http.client
import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest

import grid as grids
from grid import CONTROL, Hammer, hello, wait_for


def container_pid(grid):
    """nginx's master process in this grid's first container."""
    inode = grid.spaces("zw")[0].stat().st_ino
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        words = grids.command_line(entry)
        try:
            if words and words[0].startswith("nginx: master") and (entry / "ns/net").stat().st_ino == inode:
                return int(entry.name)
        except OSError:
            continue
    return None


@pytest.fixture
def page(grid):
    grid.zero("deploy", grid.contract(hello()), "--yes")
    assert grid.get("hello")[0] == 200
    yield grid


def test_killing_control_daemons_harms_nobody(page):
    before = container_pid(page)
    with Hammer(page, "hello") as hammer:
        for name in CONTROL + ["db"]:
            old = page.pid(name)
            os.kill(old, signal.SIGKILL)
            wait_for(f"{name} is back", lambda: page.is_back(name, old), 10)
        core = [p for p, words in page.processes().items() if words[0].endswith("zero-core")]
        for pid in core:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.2)
        wait_for("core is back", lambda: attempt(page.units), 10)
        for pid in [page.pid(n) for n in CONTROL + ["db"]] + [p for p, w in page.processes().items() if w[0].endswith("zero-core")]:
            os.kill(pid, signal.SIGKILL)
        started = time.monotonic()
        wait_for("all are back", lambda: all_running(page), 10)
        took = time.monotonic() - started
        time.sleep(1)
    assert hammer.failures == [] and hammer.count > 50
    assert container_pid(page) == before, "the container was started again"
    assert took < 5
    assert page.zero("list").stdout
    page.zero("exec", "hello", "--", "true")


def attempt(body):
    try:
        return body()
    except (OSError, http.client.HTTPException, grids.BusError, KeyError):
        return None


def all_running(grid):
    units = attempt(grid.units)
    return units and all(units[n]["state"] == "running" for n in CONTROL + ["db"])


def test_power_loss(page):
    spaces = page.spaces() + page.spaces("zw")
    page.kill_everything()
    subprocess.run(f"grep ' {page.root}\\| {page.run.parent}' /proc/mounts | cut -d' ' -f2 | sort -r | xargs -r -n1 umount -l", shell=True)
    shutil.rmtree(page.run.parent, ignore_errors=True)
    for space in spaces:
        subprocess.run(["ip", "netns", "delete", space.name])
    page.up()
    wait_for("the page is back", lambda: attempt(lambda: page.get("hello")[0] == 200), 20)
    assert "no changes" in page.zero("deploy", page.contract(hello()), "--yes").stdout


def test_a_killed_container_comes_back(page):
    before = container_pid(page)
    os.kill(before, signal.SIGKILL)
    wait_for("another container", lambda: container_pid(page) not in (None, before), 10)
    wait_for("the page", lambda: attempt(lambda: page.get("hello")[0] == 200), 10)


def test_killing_data_planes_is_repaired(page):
    units = page.units()
    shim = next(u for u in units if u.startswith("shim@"))
    mount = next(u for u in units if u.startswith("mount@"))
    before = container_pid(page)
    with Hammer(page, "hello") as hammer:
        for unit in (shim, mount):
            old = page.pid(unit)
            os.kill(old, signal.SIGKILL)
            wait_for(f"{unit} is back", lambda: page.is_back(unit, old), 10)
            time.sleep(0.5)
    assert hammer.failures == []
    assert container_pid(page) == before
    page.zero("exec", "hello", "--", "ls", "/usr")
    os.kill(page.pid("proxy"), signal.SIGKILL)
    wait_for("the page", lambda: attempt(lambda: page.get("hello")[0] == 200), 10)


def test_drift_is_repaired(page):
    space = page.spaces()[0].name
    subprocess.run(["ip", "netns", "exec", space, "nft", "flush", "ruleset"], check=True)
    wait_for("the rules are back", lambda: attempt(lambda: page.get("hello", timeout=2)[0] == 200), 20)
    member = page.spaces("zw")[0].name
    subprocess.run(["ip", "-n", member, "addr", "flush", "dev", "eth0", "scope", "global"], check=True)
    wait_for("the address is back", lambda: attempt(lambda: page.get("hello", timeout=2)[0] == 200), 25)
