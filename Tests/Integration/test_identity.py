"""Identities and keys as their owner uses them: files, words, agent keys of several machines, secrets."""
import shutil
import subprocess

import pytest

import grid as grids
from grid import hello

QUIET = """\
contract: {name}
expires: 2027-06-01
workloads:
  - container: main
    image: examples/nginx
    args: [ sh, -c, "echo value=$TOKEN; trap 'exit 0' TERM QUIT; sleep 100000 & wait" ]
    env: {{ TOKEN: {{ secret: api-token }} }}
    cpu: {cpu}
    memory: 32 MiB
"""


class Machine:
    """Another machine of a user: a folder of keys of its own, the same grid."""

    def __init__(self, shared, name):
        self.shared, self.home = shared, shared.folder / f"home-{name}"
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir(mode=0o700)
        shutil.copy(shared.home / "grid.json", self.home)
        self.env = {"ZERO_HOME": str(self.home)}

    def zero(self, *words, **more):
        return self.shared.zero(*words, env=self.env | more.pop("env", {}), **more)

    def json(self, *words, **more):
        return self.shared.json(*words, env=self.env | more.pop("env", {}), **more)

    def file(self, name, text, mode=0o600):
        path = self.home / name
        path.write_text(text)
        path.chmod(mode)
        return path


@pytest.fixture
def machine(shared):
    machines = []

    def make(name):
        machines.append(Machine(shared, name))
        return machines[-1]

    yield make
    for one in machines:
        shutil.rmtree(one.home, ignore_errors=True)


def test_files_that_others_can_read_are_refused(machine):
    mine = machine("files")
    made = mine.json("identity", "new", "eva")
    assert len(made["words"]) == 24 and made["address"] != made["agent"]
    folder = mine.home / "identities"
    for name in ("eva.json", "eva.owner.json"):
        assert folder.joinpath(name).stat().st_mode & 0o777 == 0o600
        text = folder.joinpath(name).read_text()
        # A word or two may be a key of the file by chance: `memory` is in both lists.
        assert sum(word in text.split('"') for word in made["words"]) < 4, "words lie sealed"
    words, passphrase = mine.file("words", " ".join(made["words"])), mine.file("passphrase", "correct horse\n")
    assert mine.json("identity", "export", "eva", "--passphrase-file", passphrase, env={"ZERO_PASSPHRASE": ""})["words"] == made["words"]
    for path, command in [
            (folder / "eva.json", ["identity", "show", "eva"]), (folder / "eva.json", ["identity", "list"]),
            (folder / "eva.owner.json", ["identity", "export", "eva"]), (words, ["identity", "recover", "eva", "--words-file", words]),
            (passphrase, ["identity", "export", "eva", "--passphrase-file", passphrase])]:
        for mode in (0o640, 0o604, 0o644):
            path.chmod(mode)
            refused = mine.zero(*command, check=False)
            assert refused.returncode == 8 and f"{mode:o}" in refused.stderr and str(path) in refused.stderr, command
        path.chmod(0o600)
        mine.zero(*command)


def test_passphrases_and_words_are_checked(machine):
    mine = machine("words")
    assert mine.zero("identity", "new", "eva", env={"ZERO_PASSPHRASE": "short"}, check=False).returncode == 8
    assert not (mine.home / "identities").exists() or not list((mine.home / "identities").iterdir())
    for name in ("Eva", "", "../eva", "e" * 41, "ünï"):
        assert mine.zero("identity", "new", name, check=False).returncode == 2, name
    words = mine.json("identity", "new", "eva")["words"]
    assert mine.zero("identity", "new", "eva", check=False).returncode == 9
    assert mine.json("identity", "export")["words"] == words
    for text, why in [("zoo " * 3, "24"), (" ".join(["zoo"] * 24), "checksum"), (" ".join(words[:23] + ["zooo"]), "24")]:
        refused = mine.zero("identity", "recover", "new", "--words-file", mine.file("bad", text), check=False)
        assert refused.returncode == 8 and why in refused.stderr, refused.stderr
    with open("/dev/full", "w") as full:
        lost = subprocess.run(
            [str(grids.BIN / "zero"), "identity", "export"], env=mine.shared.env | mine.env, stdout=full, stderr=subprocess.PIPE, text=True)
    assert lost.returncode == 1 and "No space left" in lost.stderr, "words that were not written are not a success"
    other = machine("other").json("identity", "new", "eva")["words"]
    taken = mine.zero("identity", "recover", "eva", "--words-file", mine.file("other", " ".join(other)), check=False)
    assert taken.returncode == 9, "the words of somebody else do not overwrite an identity"
    assert mine.json("identity", "export")["words"] == words


def test_daily_work_needs_no_owner_key_and_a_revoked_key_is_told_so(shared, machine):
    first, second = machine("first"), machine("second")
    made = first.json("identity", "new", "olga")
    path = shared.contract(hello("olgas", range="10.45.0.0/16"), "olgas.yaml")
    first.zero("deploy", path, "--yes")
    try:
        # The owner key leaves the machine.
        owner = first.home / "identities/olga.owner.json"
        elsewhere = owner.rename(first.home / "elsewhere")
        assert first.json("identity", "show")["owner_key_here"] is False
        first.zero("deploy", shared.contract(hello("olgas", range="10.45.0.0/16").replace("0.5", "0.4"), "olgas.yaml"), "--yes")
        assert first.zero("exec", "olgas", "--", "echo", "hi").stdout == "hi\n"
        locked = first.zero("identity", "key", "rotate", check=False)
        assert locked.returncode == 8 and "owner key" in locked.stderr
        elsewhere.rename(owner)

        # The words bring a second machine; each has its own key. Doing it twice leaves no key that nobody has.
        words = second.file("words", " ".join(made["words"]))
        again = [second.json("identity", "recover", "olga", "--words-file", words) for _ in range(2)][1]
        assert again["address"] == made["address"] and again["added"] is True
        keys = {k["key"] for k in second.json("identity", "key", "list")["keys"]}
        assert keys == {made["address"], made["agent"], again["agent"]}
        assert "no changes" in second.zero("deploy", path, "--yes").stdout
        assert second.zero("exec", "olgas", "--", "echo", "hi").stdout == "hi\n"

        # The second revokes the first.
        left = second.json("identity", "key", "revoke", made["agent"])["keys"]
        assert {k["key"] for k in left} == {made["address"], again["agent"]}
        changed = shared.contract(hello("olgas", range="10.45.0.0/16").replace("0.5", "0.3"), "olgas.yaml")
        refused = first.zero("deploy", changed, "--yes", check=False)
        assert refused.returncode == 3 and "was revoked" in refused.stderr and made["agent"] in refused.stderr
        grids.wait_for("the node refuses the key too", lambda: first.zero("exec", "olgas", "--", "true", check=False).returncode == 3)
        first.zero("identity", "key", "rotate")
        first.zero("deploy", changed, "--yes")
    finally:
        second.zero("delete", "olgas", "--yes", check=False)


def test_keys_of_others_get_the_roles_that_are_said(machine):
    mine = machine("roles")
    mine.zero("identity", "new", "rita")
    helper = machine("helper").json("identity", "new", "bot")["address"]
    assert mine.json("identity", "key", "list")["registered"] is False
    for words, status in [
            (["--roles", "rule"], 2), (["--roles", "owner"], 2), (["--until", "soon"], 2), (["--until", "2020-01-01"], 3)]:
        assert mine.zero("identity", "key", "add", helper, *words, check=False).returncode == status, words
    assert mine.zero("identity", "key", "add", "GABC", check=False).returncode == 2
    keys = mine.json("identity", "key", "add", helper, "--roles", "plan", "--until", "2028-01-01", "--scope", "shop-*")["keys"]
    added = next(k for k in keys if k["key"] == helper)
    assert added["roles"] == ["plan"] and added["scope"] == "shop-*"
    assert keys == mine.json("identity", "key", "list")["keys"]
    mine.zero("identity", "key", "revoke", helper)
    assert mine.zero("identity", "key", "revoke", helper, check=False).returncode == 6
    owner = mine.json("identity", "show")["address"]
    assert mine.zero("identity", "key", "revoke", owner, check=False).returncode == 3


def test_several_identities_and_none_chosen_is_an_error(machine):
    mine = machine("several")
    assert mine.json("list") == {"contracts": []}, "nobody has no contracts"
    for name in ("one", "two"):
        mine.zero("identity", "new", name)
    for words in (["list"], ["describe", "x"], ["image", "show", "x"]):
        refused = mine.zero(*words, check=False)
        assert refused.returncode in (2, 6), words
    assert mine.zero("list", check=False).returncode == 2
    assert mine.json("list", "--identity", "one") == {"contracts": []} == mine.json("list", env={"ZERO_IDENTITY": "two"})


def test_a_secret_is_asked_for_kept_and_rotated(shared):
    path = shared.contract(QUIET.format(name="keeper", cpu=0.1), "keeper.yaml")
    missing = shared.zero("deploy", path, "--yes", check=False)
    assert missing.returncode == 8 and "api-token" in missing.stderr
    assert shared.zero("deploy", path, "--yes", "--secret", "api-token=plain", check=False).returncode == 2
    assert shared.zero("deploy", path, "--yes", "--secret", "other=-", check=False).returncode == 2

    def printed():
        return [line for line in shared.zero("logs", "keeper").stdout.splitlines() if line.startswith("value=")]

    try:
        shared.zero("deploy", path, "--yes", "--secret", "api-token=-", input="first-value")
        grids.wait_for("the first value", lambda: printed() == ["value=first-value"])
        assert "no changes" in shared.zero("deploy", path, "--yes").stdout, "what was sealed is kept"
        path = shared.contract(QUIET.format(name="keeper", cpu=0.2), "keeper.yaml")
        shared.zero("deploy", path, "--yes")
        grids.wait_for("the same value again", lambda: printed() == ["value=first-value"])
        shared.zero("deploy", path, "--yes", env={"ZERO_SECRET_API_TOKEN": "second-value"})
        grids.wait_for("the new value", lambda: printed()[-1:] == ["value=second-value"])
        described = shared.zero("describe", "keeper", "-o", "json").stdout + shared.zero("events", "keeper", "-o", "json").stdout
        assert "first-value" not in described and "second-value" not in described
    finally:
        shared.zero("delete", "keeper", "--yes", check=False)
