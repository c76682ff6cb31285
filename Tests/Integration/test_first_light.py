"""From a signed contract to a page, and back: what a user does."""
import hashlib
import json
import pathlib
import subprocess

import grid as grids
from grid import hello, wait_for


def digest(folder):
    sums = {}
    for path in sorted(pathlib.Path(folder).rglob("*")):
        if path.is_file():
            sums[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return sums


def height(grid):
    return grids.bus(grid.run / "ledger.sock", "LEDGER.STATUS")["checkpoint"]["height"]


def test_page(deployed):
    status, text = deployed.get("hello")
    assert status == 200 and "<" in text
    assert deployed.get("nobody")[0] == 404


def test_deploying_again_changes_nothing(deployed):
    before = height(deployed)
    result = deployed.zero("deploy", deployed.contract(hello()), "--yes")
    assert "no changes" in (result.stdout + result.stderr).lower()
    assert height(deployed) == before


def test_plan_changes_nothing_byte_for_byte(deployed):
    path = deployed.contract(hello().replace("0.5", "0.25"), "changed.yaml")
    before, ledger = digest(deployed.home), height(deployed)
    result = deployed.zero("plan", path)
    assert "web" in result.stdout
    after = digest(deployed.home)
    # A verified copy of the ledger may be kept; identities, keys and settings may not change by a byte.
    assert {k: v for k, v in before.items() if "/ledger" not in k and "/cache" not in k} == {
        k: v for k, v in after.items() if "/ledger" not in k and "/cache" not in k}
    assert height(deployed) == ledger


def test_logs_and_exec(deployed):
    out = deployed.zero("exec", "hello", "--", "sh", "-c", "echo to-out; echo to-err >&2; exit 7", check=False)
    assert (out.stdout, out.returncode) == ("to-out\n", 7)
    assert "to-err" in out.stderr
    echoed = deployed.zero("exec", "hello", "--", "cat", input="through stdin\n")
    assert echoed.stdout == "through stdin\n"
    deployed.zero("exec", "hello", "--", "sh", "-c", "echo a line from inside > /proc/1/fd/1")
    wait_for("the line in the log", lambda: "a line from inside" in deployed.zero("logs", "hello").stdout)


def test_lists(deployed):
    assert "hello" in deployed.zero("list").stdout
    assert any(c["name"] == "hello" for c in deployed.json("list")["contracts"])
    described = deployed.json("describe", "hello")
    assert described["name"] == "hello"
    assert "web" in json.dumps(described)
    events = deployed.zero("events", "hello").stdout
    assert "contract" in events and "result" in events
    assert "web" in deployed.zero("status").stdout or "hello" in deployed.zero("status").stdout


def test_limits_and_isolation(deployed):
    inside = lambda *words: deployed.zero("exec", "hello", "--", *words, check=False)
    assert inside("sh", "-c", "grep NoNewPrivs /proc/self/status").stdout.split()[1] == "1"
    assert inside("sh", "-c", "grep Seccomp: /proc/self/status").stdout.split()[1] == "2"
    assert int(inside("sh", "-c", "grep CapBnd /proc/self/status").stdout.split()[1], 16) == 0xA80425FB, "Docker's set"
    assert inside("sh", "-c", "cat /proc/kcore | head -c1 | wc -c").stdout.strip() == "0"
    limit = inside("sh", "-c", "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null").stdout.split()
    assert str(128 << 20) in limit


def test_two_contracts_with_the_same_range(deployed):
    deployed.zero("deploy", deployed.contract(hello("other"), "other.yaml"), "--yes")
    try:
        assert deployed.get("other")[0] == 200
        spaces = [p.name for p in deployed.spaces()]
        assert len(spaces) == 2
        links = {}
        for space in spaces:
            text = subprocess.run(["ip", "-n", space, "-j", "addr", "show", "link0"], capture_output=True, text=True).stdout
            links[space] = json.loads(text)[0]["addr_info"][0]["local"]
        inside = deployed.spaces("zw")
        assert len(inside) == 2
        for member in inside:
            own = "zc-" + member.name.split("-")[1]
            for space, link in links.items():
                if space != own:
                    ping = subprocess.run(["ip", "netns", "exec", member.name, "ping", "-c1", "-W1", link], capture_output=True)
                    assert ping.returncode != 0, f"{member.name} reaches {space}"
                    web = subprocess.run(["ip", "netns", "exec", member.name, "curl", "-s", "-m1", f"http://{link}:10000/"], capture_output=True)
                    assert web.returncode != 0
    finally:
        deployed.zero("delete", "other", "--yes")
    assert deployed.get("hello")[0] == 200


def test_a_name_belongs_to_who_took_it(deployed):
    result = deployed.zero("identity", "new", "mallory", check=False)
    assert result.returncode == 0
    taken = deployed.zero(
        "deploy", deployed.contract(hello("mine", gateway="hello"), "taken.yaml"), "--yes", "--identity", "mallory", check=False)
    assert taken.returncode not in (0, 1) or "hello" in taken.stderr
    assert taken.returncode != 0
    assert "hello" in taken.stderr


def test_delete_leaves_nothing_on_the_node(shared):
    shared.zero("deploy", shared.contract(hello("short")), "--yes")
    assert shared.get("short")[0] == 200
    shared.zero("delete", "short", "--yes")
    assert not [t for t in grids.traces(shared) if t[3:11] not in {p.name[3:11] for p in shared.spaces()}]
    assert shared.spaces() == []
    assert not [u for u in shared.units() if u.startswith(("shim", "mount", "corex", "dns"))]
    assert shared.get("short")[0] in (404, 503)
