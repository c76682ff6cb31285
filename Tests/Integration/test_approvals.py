"""Contracts that others have to approve: who is asked, what they see, and that nobody gets round them."""
import json
import subprocess
import time

import pytest

import grid as grids

BODY = """\
contract: {name}
expires: 2027-06-01
network: {{ range: 10.46.0.0/16 }}
workloads:
  - container: main
    image: examples/nginx
    args: [ sh, -c, "trap 'exit 0' TERM QUIT; sleep 100000 & wait" ]
    cpu: {cpu}
    memory: 32 MiB
{rule}
"""
BOTH = "approvals: { need: 2, of: { vera: 1, walt: 1 }, on: [deploy, update, cancel] }"


@pytest.fixture(scope="module")
def grid(shared):
    for name in ("vera", "walt", "xena"):
        shared.zero("identity", "new", name)
    return shared


@pytest.fixture
def body(grid):
    """Writes a version of a contract and takes it away afterwards, whatever approvals that needs."""
    names = set()

    def write(name, rule, cpu=0.1):
        names.add(name)
        return grid.contract(BODY.format(name=name, cpu=cpu, rule=rule), f"{name}.yaml")

    yield write
    for name in names:
        if grid.zero("delete", name, "--yes", "--detach", check=False).returncode == 4:
            for who in ("vera", "walt"):
                approve(grid, name, who, check=False)


def approve(grid, name, who, **more):
    return grid.zero("approve", f"default/{name}", "--identity", who, **more)


def state(grid, name):
    return {c["name"]: c["state"] for c in grid.json("list")["contracts"]}.get(name)


def test_it_waits_says_for_whom_and_deploys(grid, body):
    path = body("asked", BOTH)
    waiting = grid.zero("deploy", path, "-o", "json", check=False)
    error = json.loads(waiting.stderr.splitlines()[-1])
    assert waiting.returncode == 4 == error["exit"] and waiting.stdout == ""
    assert "vera, walt" in error["why"] and "zero approve" in error["next"]
    assert state(grid, "asked") == "proposed"
    assert "vera, walt" in grid.zero("describe", "asked").stdout
    for words in (["logs", "asked"], ["exec", "asked", "--", "true"]):
        assert grid.zero(*words, check=False).returncode == 6, "nothing runs before it is approved"
    outsider = approve(grid, "asked", "xena", check=False)
    assert outsider.returncode == 3 and "no say" in outsider.stderr

    shown = approve(grid, "asked", "vera")
    assert "examples/nginx" in shown.stderr and "0.1 CPU" in shown.stderr, "who signs sees what"
    assert "walt" in shown.stdout and "vera" not in shown.stdout.split("from")[-1]
    assert approve(grid, "asked", "vera", check=False).returncode == 9
    assert grid.zero("deploy", path, check=False).returncode == 4
    assert "enough" in approve(grid, "asked", "walt").stdout
    assert "approved but not placed" in grid.zero("describe", "asked").stdout
    assert grid.json("deploy", path)["state"] == "deployed"
    assert grid.zero("exec", "asked", "--", "echo", "hi").stdout == "hi\n"


def test_a_deploy_can_wait_for_them(grid, body):
    path = body("patient", BOTH)
    words = [str(grids.BIN / "zero"), "deploy", str(path), "--yes", "--wait-approvals", "--timeout", "40", "-o", "json"]
    deploy = subprocess.Popen(words, env=grid.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    grids.wait_for("it is proposed", lambda: state(grid, "patient") == "proposed")
    for who in ("vera", "walt"):
        time.sleep(0.2)
        assert deploy.poll() is None, deploy.communicate()
        approve(grid, "patient", who)
    output, errors = deploy.communicate(timeout=40)
    assert deploy.returncode == 0, errors
    assert json.loads(output)["state"] == "deployed"


def test_a_version_without_the_rule_needs_the_old_rule(grid, body):
    path = body("guard", BOTH)
    grid.zero("deploy", path, check=False)
    for who in ("vera", "walt"):
        approve(grid, "guard", who)
    grid.zero("deploy", path)

    free = body("guard", "", cpu=0.2)
    assert "vera" in grid.zero("plan", free).stdout, "the plan names those who are dropped"
    waiting = grid.zero("deploy", free, check=False)
    assert waiting.returncode == 4 and waiting.stderr.split("error:")[1].count("vera") == 1, waiting.stderr
    described = grid.json("describe", "guard")
    assert described["contract"]["version"] == 1 and described["pending"]["approvals"] == []

    # A rule that only the author's friend has to satisfy is no way round either.
    friend = body("guard", "approvals: { need: 1, of: { xena: 1 }, on: [update] }", cpu=0.2)
    assert grid.zero("deploy", friend, check=False).returncode == 4
    approve(grid, "guard", "xena")
    still = grid.zero("deploy", friend, check=False)
    assert still.returncode == 4 and "vera" in still.stderr and "xena" not in still.stderr

    free = body("guard", "", cpu=0.2)
    assert grid.zero("deploy", free, check=False).returncode == 4
    for who in ("vera", "walt"):
        approve(grid, "guard", who)
    grid.zero("deploy", free)
    assert grid.json("describe", "guard")["contract"]["version"] == 2
    grid.zero("delete", "guard", "--yes")
    assert state(grid, "guard") is None


def test_the_end_needs_them_too(grid, body):
    path = body("lasting", BOTH)
    grid.zero("deploy", path, check=False)
    for who in ("vera", "walt"):
        approve(grid, "lasting", who)
    grid.zero("deploy", path)
    for _ in range(2):
        waiting = grid.zero("delete", "lasting", "--yes", check=False)
        assert waiting.returncode == 4 and "vera, walt" in waiting.stderr
    assert state(grid, "lasting") == "deployed"
    shown = approve(grid, "lasting", "walt")
    assert "whole contract ends" in shown.stderr
    assert grid.zero("exec", "lasting", "--", "true").returncode == 0
    approve(grid, "lasting", "vera")
    grid.zero("delete", "lasting", "--yes")
    assert state(grid, "lasting") is None


def test_weights_count_and_rules_that_cannot_be_met_are_refused(grid, body):
    bad = body("weighty", "approvals: { need: 3, of: { vera: 1, walt: 1 }, on: [deploy] }")
    refused = grid.zero("deploy", bad, check=False)
    assert refused.returncode == 7 and "weighty.yaml:10:20" in refused.stderr
    unknown = body("weighty", "approvals: { need: 1, of: { nobody: 1 }, on: [deploy] }")
    refused = grid.zero("deploy", unknown, check=False)
    assert refused.returncode == 7 and "nobody" in refused.stderr

    path = body("weighty", "approvals: { need: 2, of: { vera: 2, walt: 1, xena: 1 }, on: [deploy] }")
    assert grid.zero("deploy", path, check=False).returncode == 4
    assert "enough" in approve(grid, "weighty", "vera").stdout, "one voice of weight 2"
    grid.zero("deploy", path)
