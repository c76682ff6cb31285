"""What people rely on at the command line: approvals, private images, keys, exit statuses, machine-readable output."""
import json
import os
import pathlib

import grid as grids
from grid import hello

RULE = "approvals: {{ need: 2, of: {{ {} }}, on: [deploy, update, cancel] }}\n"


def new_identity(grid, name):
    """The identity and its recovery words; made once for each name."""
    made = grid.json("identity", "new", name, check=False) if not (grid.home / "identities" / f"{name}.json").exists() else None
    return made or grid.json("identity", "show", name)


def test_a_contract_waits_for_its_approvals_and_says_whose(shared):
    for name in ("alice", "bob"):
        new_identity(shared, name)
    text = hello("guarded") + RULE.format("alice: 1, bob: 1, default: 1")
    path = shared.contract(text, "guarded.yaml")
    waiting = shared.zero("deploy", path, "--yes", check=False)
    assert waiting.returncode == 4 and "alice" in waiting.stderr and "bob" in waiting.stderr
    try:
        assert shared.zero("deploy", path, "--yes", check=False).returncode == 4, "still waiting"
        shared.zero("approve", "default/guarded", "--identity", "alice")
        assert shared.zero("approve", "default/guarded", "--identity", "alice", check=False).returncode == 9
        assert shared.zero("deploy", path, "--yes", check=False).returncode == 4, "one of two is not enough"
        shared.zero("approve", "default/guarded", "--identity", "bob")
        shared.zero("deploy", path, "--yes")
        assert shared.get("guarded")[0] == 200
        # A version without the rule still needs the approvers that it drops.
        dropped = shared.contract(hello("guarded"), "guarded.yaml")
        refused = shared.zero("deploy", dropped, "--yes", check=False)
        assert refused.returncode == 4 and "alice" in refused.stderr
    finally:
        assert shared.zero("delete", "guarded", "--yes", check=False).returncode == 4
        for name in ("alice", "bob"):
            shared.zero("approve", "default/guarded", "--identity", name)
    assert "guarded" not in [c["name"] for c in shared.json("list")["contracts"] if c["state"] not in ("cancelling",)]


def test_who_has_no_say_cannot_approve(shared):
    new_identity(shared, "carol")
    new_identity(shared, "alice")
    path = shared.contract(hello("waits") + RULE.format("alice: 1, default: 1"), "waits.yaml")
    assert shared.zero("deploy", path, "--yes", check=False).returncode == 4
    refused = shared.zero("approve", "default/waits", "--identity", "carol", check=False)
    assert refused.returncode == 3 and "no say" in refused.stderr
    shared.zero("delete", "waits", "--yes", check=False)


def test_a_private_image_runs_and_its_key_is_in_no_record(shared):
    shared.zero("image", "import", grids.IMAGES / "nginx", "--name", "mine", timeout=300)
    assert shared.json("image", "verify", "mine")["sound"] is True
    stranger = shared.json("identity", "new", "stranger")["name"]
    unread = shared.zero("image", "verify", "default/mine", "--identity", stranger, check=False)
    assert unread.returncode == 8, unread.stderr
    path = shared.contract(hello("private").replace("examples/nginx", "mine"), "private.yaml")
    shared.zero("deploy", path, "--yes")
    try:
        assert shared.get("private")[0] == 200
        assert "key" not in shared.json("image", "show", "mine")["image"]["index"][0]
        again = shared.zero("deploy", path, "--yes")
        assert "no changes" in again.stdout
    finally:
        shared.zero("delete", "private", "--yes")
    shared.zero("image", "remove", "mine", "--yes")
    assert shared.zero("image", "show", "mine", check=False).returncode == 6


def test_keys_rotate_and_words_bring_an_identity_back(shared):
    made = shared.json("identity", "new", "dora")
    words = shared.folder / "words"
    words.write_text(" ".join(made["words"]))
    words.chmod(0o600)
    shared.zero("image", "import", grids.IMAGES / "nginx", "--name", "dora/nginx", "--public", "--identity", "dora", timeout=300)
    shared.zero("identity", "key", "rotate", "--identity", "dora")
    keys = shared.json("identity", "key", "list", "--identity", "dora")["keys"]
    assert made["agent"] not in [k["key"] for k in keys] and len(keys) == 2
    shared.zero("image", "remove", "dora/nginx", "--yes", "--identity", "dora")
    for path in (shared.home / "identities").glob("dora*"):
        path.unlink()
    back = shared.json("identity", "recover", "dora", "--words-file", words, "--revoke-others")
    assert back["address"] == made["address"] and back["added"] is True
    keys = shared.json("identity", "key", "list", "--identity", "dora")["keys"]
    assert [k["key"] for k in keys if "deploy" in k["roles"]] == [back["agent"]]


def test_exit_statuses_and_errors_for_programs(deployed):
    shared = deployed

    def status(*words, **more):
        return shared.zero(*words, check=False, **more).returncode

    assert status("deploi") == 2
    assert status("delete", "hello") == 2, "wants --yes where nobody answers"
    assert status("describe", "nothing") == 6
    assert status("deploy", "/nonexistent.yaml") == 6
    assert status("list", env={"ZERO_HOME": "/nonexistent"}) == 5
    assert status("identity", "export", "default", env={"ZERO_PASSPHRASE": "another one"}) == 8
    assert status("identity", "new", "default") == 9
    shown = shared.zero("describe", "nothing", "-o", "json", check=False)
    assert shown.stdout == "" and json.loads(shown.stderr.splitlines()[-1])["exit"] == 6
    key = shared.home / "identities/default.json"
    key.chmod(0o644)
    try:
        assert status("identity", "show", "default") == 8
    finally:
        key.chmod(0o600)


def test_every_result_is_json_when_asked(shared):
    for words in (["status"], ["list"], ["identity", "list"], ["identity", "show", "default"], ["image", "list"], ["image", "show", "examples/nginx"],
                  ["plan", shared.contract(hello("planned"), "planned.yaml")], ["version"], ["identity", "key", "list"]):
        assert isinstance(shared.json(*words), dict), words
    schema = json.loads(shared.zero("schema", "contract").stdout)
    assert schema["properties"]["workloads"]["items"]["oneOf"]
    assert os.path.exists(pathlib.Path(shared.home) / "grid.json")
