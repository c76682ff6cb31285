"""The node's surface: who may call what, which sockets listen, where secrets are."""
import json
import os
import pathlib
import re
import subprocess
import sys
import time

import grid as grids
from grid import CONTROL, hello, wait_for

ACCOUNTS = {name: 64101 + i for i, name in enumerate(
    ["identity", "db", "ledger", "storage", "network", "compute", "gateway", "provision", "proxy", "mount", "corex", "dns", "zdb"])}
# Every verb of every service and the accounts that may use it (ARCHITECTURE.md); root may use all.
STARTS = {"shim@": ["compute"], "mount@": ["compute"], "corex@": ["compute"], "dns@": ["network"], "proxy": ["gateway"]}
VERBS = [("identity", "IDENTITY.NODE", {}, list(ACCOUNTS)), ("identity", "IDENTITY.OPEN", {}, ["mount", "storage"])]
VERBS += [("identity", "IDENTITY.SIGN", {"purpose": "checkpoint", "document": {}}, ["ledger"]),
          ("identity", "IDENTITY.SIGN", {"purpose": "record", "document": {}, "ledger": "0" * 64}, ["provision"])]
for service, verbs in {
        "storage": ["ENSURE", "REMOVE", "LIST", "SNAPSHOT", "SEND", "ENSURE-ZDB", "REMOVE-ZDB"],
        "network": ["ENSURE", "REMOVE", "LIST", "OPEN"],
        "compute": ["ENSURE", "REMOVE", "LIST", "ENSURE-ACCESS", "REMOVE-ACCESS"], "gateway": ["ENSURE", "REMOVE", "LIST"]}.items():
    VERBS += [(service, f"{service.upper()}.{verb}", {}, ["provision"]) for verb in verbs]
VERBS += [("storage", "STORAGE.USAGE", {}, ["corex"])]
for service in CONTROL:
    VERBS += [(service, f"{service.upper()}.{verb}", {}, []) for verb in ("STATUS", "METRICS")]
VERBS += [("core", "CORE.STATUS", {}, ["compute", "network", "gateway"]), ("core", "CORE.RELOAD", {}, [])]
VERBS += [("core", f"CORE.{verb}", {"unit": unit}, []) for verb in ("STOP", "RESTART") for unit in CONTROL + ["db", "zdb"]]
# What an account may start it is not made to start here: that would leave an instance behind.
VERBS += [("core", "CORE.START", {"unit": unit, "instance": "nobody"} if "@" in unit else {"unit": unit}, may)
          for unit, may in STARTS.items()]
VERBS += [("core", "CORE.SHUTDOWN", {}, [])]

TRY = """
import sys, json
sys.path.insert(0, %r)
import grid
out = []
for service, verb, body in json.loads(sys.argv[2]):
    try:
        grid.bus(sys.argv[1] + "/" + service + ".sock", verb, body)
        out.append("answered")
    except grid.BusError as error:
        out.append(error.code)
    except OSError as error:
        out.append("unreachable %%s" %% error)
print(json.dumps(out))
"""


def test_accounts(shared):
    """Each daemon's uid tries every verb of every service: only the allowed ones answer."""
    wrong = []
    for account, uid in ACCOUNTS.items():
        tries = [v for v in VERBS if not (v[1] == "CORE.START" and account in v[3])]
        run = subprocess.run(
            ["/usr/bin/python3", "-c", TRY % str(pathlib.Path(__file__).parent), str(shared.run), json.dumps([v[:3] for v in tries])],
            capture_output=True, text=True, user=uid, group=uid, extra_groups=[], cwd="/")
        assert run.returncode == 0, run.stderr
        for (_, verb, body, allowed), code in zip(tries, json.loads(run.stdout)):
            if (code == "DENIED") == (account in allowed) or code.startswith("unreachable"):
                wrong.append((account, verb, body, code))
    assert wrong == []


def test_each_daemon_has_its_account_and_no_more(shared):
    expected = dict(ACCOUNTS)
    capabilities = {"storage": True, "network": True}
    for name in ["identity", "db", "zdb", "ledger", "storage", "network", "compute", "gateway", "provision"]:
        status = pathlib.Path(f"/proc/{shared.pid(name)}/status").read_text()
        uids = re.search(r"Uid:\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)", status).groups()
        assert set(uids) == {str(expected[name])}, (name, uids)
        bounding = int(re.search(r"CapBnd:\s+(\w+)", status)[1], 16)
        effective = int(re.search(r"CapEff:\s+(\w+)", status)[1], 16)
        if not capabilities.get(name):
            assert (bounding, effective) == (0, 0), name
        else:
            assert bounding == effective and bin(bounding).count("1") <= 6, name


def test_listening_sockets(deployed):
    """Exactly the ledger port and the gateway, nothing else that belongs to this grid."""
    text = subprocess.run(["ss", "-H", "-ltunp"], capture_output=True, text=True).stdout
    mine = {pid for pid in deployed.processes()}
    mine |= {u["pid"] for u in deployed.units().values()}
    found = set()
    for line in text.splitlines():
        pids = {int(p) for p in re.findall(r"pid=(\d+)", line)}
        if pids & mine:
            found.add(line.split()[4].rsplit(":", 1)[1])
    assert found == {str(deployed.http_port), str(deployed.ledger_port)}


def test_planted_secrets_are_found_nowhere(shared):
    secrets = {f"token-{i}": f"planted-{os.urandom(12).hex()}" for i in range(20)}
    lines = "".join(f"      T{i}: {{ secret: token-{i} }}\n" for i in range(20)) + "      TWICE: { secret: token-0 }\n"
    # nginx writes over its own environment; sleep does not. Other runs on this machine have other numbers.
    asleep = ["sleep", str(100_000_000 + os.getpid())]
    text = hello("keeper").split("    ready:")[0] + f"    args: [ sleep, \"{asleep[1]}\" ]\n    env:\n{lines}"
    words = []
    for name, value in secrets.items():
        path = shared.folder / name
        path.write_text(value)
        words += ["--secret", f"{name}=@{path}"]
    shared.zero("deploy", shared.contract(text, "keeper.yaml"), "--yes", *words)
    try:
        inside = wait_for("the container's process", lambda: next(
            (e for e in pathlib.Path("/proc").glob("[0-9]*") if grids.command_line(e) == asleep), None))
        seen = (inside / "environ").read_text()
        assert all(f"T{i}={secrets[f'token-{i}']}" in seen for i in range(20)), "the container has them"
        assert f"TWICE={secrets['token-0']}" in seen
        for name in secrets:
            (shared.folder / name).unlink()
        values = [v.encode() for v in secrets.values()]
        patterns = "\n".join(secrets.values())
        hits = subprocess.run(
            ["grep", "-rlF", "--devices=skip", "--exclude-dir=upper", "--exclude=pool.img", "-f", "/dev/stdin", shared.state, shared.run, shared.home],
            input=patterns, capture_output=True, text=True).stdout.split()
        planted = re.compile(b"|".join(values))
        identity = shared.pid("identity")
        for name, unit in shared.units().items():
            if not unit.get("pid") or unit["pid"] == identity:
                continue
            proc = pathlib.Path(f"/proc/{unit['pid']}")
            for part in ("cmdline", "environ"):
                content = (proc / part).read_bytes()
                hits += [(f"{name} {part}", v) for v in values if v in content]
            hits += [(f"{name} memory", v) for v in planted.findall(memory(unit["pid"]))]
        assert hits == []
    finally:
        shared.zero("delete", "keeper", "--yes", check=False)


def memory(pid):
    """What a core file of the process would hold."""
    content = bytearray()
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            area, mode = line.split()[:2]
            if not mode.startswith("rw") or "[v" in line:
                continue
            start, end = (int(x, 16) for x in area.split("-"))
            if end - start > 256 << 20:
                continue
            try:
                mem.seek(start)
                content += mem.read(end - start)
            except (OSError, ValueError):
                continue
    return bytes(content)


def test_resident_memory_and_idle(shared):
    """Bounds are generous here (debug programs); `make bench` prints the figures of optimised ones."""
    total = 0
    for name in grids.CONTROL + ["db"]:
        status = pathlib.Path(f"/proc/{shared.pid(name)}/status").read_text()
        total += int(re.search(r"VmRSS:\s+(\d+)", status)[1])
    assert total < 600_000


def test_what_is_removed_stays_removed(shared):
    """The look that repairs networks comes at any moment, also while one is being removed."""
    for _ in range(6):
        shared.zero("deploy", shared.contract(grids.hello()), "--yes")
        assert shared.get("hello")[0] == 200
        shared.zero("delete", "hello", "--yes")
    time.sleep(4)
    left = [path.name for path in pathlib.Path("/run/netns").iterdir() if path.name.split("-")[1] in shared.tags]
    assert left == []
