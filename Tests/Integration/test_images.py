"""Images from folders and layouts: everything that a file system can hold, private ones, and broken ones."""
import gzip
import hashlib
import io
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tarfile

import pytest

import grid as grids

RUNS = """\
contract: {name}
expires: 2027-06-01
workloads:
  - container: main
    image: {image}
    args: [ /bin/sh, -c, "trap 'exit 0' TERM QUIT; sleep 100000 & wait" ]
    cpu: 0.1
    memory: 32 MiB
"""
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def tools(root, *programs):
    """Programs of this machine with the libraries that they need."""
    for program in programs:
        path = os.path.realpath(shutil.which(program))
        linked = subprocess.run(["ldd", path], capture_output=True, text=True).stdout
        for source, target in [(path, f"bin/{program}")] + [(f, f.lstrip("/")) for f in re.findall(r"(/\S+) \(0x", linked)]:
            (root / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, root / target)


@pytest.fixture
def folder(shared, request):
    path = shared.folder / f"image-{request.node.name}"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    yield path
    shutil.rmtree(path)


@pytest.fixture
def imported(shared):
    """Imports images and takes their names away afterwards."""
    names = []

    def run(path, name, *words, **more):
        names.append(name)
        return shared.json("image", "import", path, "--name", name, *words, timeout=120, **more)

    yield run
    for name in names:
        shared.zero("image", "remove", name, "--yes", check=False)


def test_a_folder_arrives_as_it_was(shared, folder, imported):
    tools(folder, "sh", "sleep", "stat", "cat", "getfattr", "readlink", "find")
    odd = folder / "odd"
    odd.mkdir()
    (odd / "one").write_text("one")
    os.utime(odd / "one", ns=(1234567890123456789,) * 2)
    os.link(odd / "one", odd / "two")
    os.setxattr(odd / "one", "user.colour", "blå".encode())
    os.symlink("one", odd / "link")
    os.symlink("/nowhere/" + "x" * 200, odd / "dangling")
    (odd / "setuid").write_text("#!/bin/sh\n")
    os.chown(odd / "setuid", 1234, 5678)
    os.chmod(odd / "setuid", 0o6755)
    os.mkdir(odd / "sticky", 0o700)
    os.chmod(odd / "sticky", 0o1777)
    os.mknod(odd / "null", 0o020640, os.makedev(1, 3))
    os.mknod(odd / "block", 0o060600, os.makedev(7, 99))
    os.mkfifo(odd / "fifo")
    with open(odd / "sparse", "w") as file:
        file.truncate(40_000_000)
    for name in ("ünï 日本", "new\nline", "L" * 255, " ", "-rf", b"bad\xff\xfename", "empty"):
        path = os.path.join(os.fsencode(odd), name if isinstance(name, bytes) else os.fsencode(name))
        with open(path, "wb") as file:
            file.write(b"" if name == "empty" else b"x")
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(odd / "door"))

    result = imported(folder, "odd")
    assert result["public"] is False
    path = shared.contract(RUNS.format(name="odd", image="odd"), "odd.yaml")
    shared.zero("deploy", path, "--yes")
    try:
        # Sizes of folders and times of links are the file system's own affair.
        look = ["find", "odd", "!", "-type", "d", "!", "-name", "door", "-exec", "stat", "-c", "%N|%F|%a|%u:%g|%h|%y|%s|%t,%T", "{}", "+"]
        here = subprocess.run(look, cwd=folder, capture_output=True, check=True, env={"LC_ALL": "C", "PATH": os.environ["PATH"]}).stdout
        there = shared.zero("exec", "odd", "--", *look).stdout.encode(errors="surrogateescape")
        assert sorted(there.split(b"\n")) == sorted(here.split(b"\n"))
        facts = shared.zero("exec", "odd", "--", "getfattr", "--absolute-names", "--only-values", "-n", "user.colour", "/odd/two")
        assert facts.stdout == "blå", "an attribute, by the other name of the file"
        assert shared.zero("exec", "odd", "--", "cat", "odd/link").stdout == "one"
        assert shared.zero("exec", "odd", "--", "stat", "-c", "%a %U", "odd/sticky").stdout.startswith("1777 ")
        missing = shared.zero("exec", "odd", "--", "stat", "odd/door", check=False)
        assert missing.returncode == 1, "a socket is of a process, not of an image"
    finally:
        shared.zero("delete", "odd", "--yes")


def test_nobody_finds_out_what_a_private_image_holds(shared, folder, imported):
    marker = "the-quick-brown-" + os.urandom(16).hex()
    for number in range(20):
        (folder / f"file{number}").write_text(f"{marker}-{number} " * 50)
    private = imported(folder, "secretive")
    again = imported(folder, "secretive")
    assert again["new_chunks"] == 0 and again["changed"] is False
    # Who has the same files cannot tell from ids that somebody stored them: with the public secret all of it is other.
    public = imported(folder, "secretive-public", "--public")
    assert public["new_chunks"] > 0 and public["index"][0]["root"] != private["index"][0]["root"]
    shared.zero("identity", "new", "curious")
    other = imported(folder, "curious/same", "--identity", "curious")
    assert other["new_chunks"] == public["new_chunks"], "another owner's secret is another one"
    shared.zero("image", "remove", "curious/same", "--yes", "--identity", "curious")
    found = subprocess.run(["grep", "-rlF", marker, str(shared.state)], capture_output=True, text=True).stdout
    assert found == "", "stored chunks are compressed and encrypted"
    for words in (["show"], ["verify"]):
        refused = shared.zero("image", *words, "default/secretive", "--identity", "curious", check=False)
        assert words == ["show"] or refused.returncode == 8
    assert marker not in json.dumps(shared.json("image", "show", "secretive"))
    assert "key" not in shared.json("image", "show", "secretive")["image"]["index"][0]
    assert "key" in shared.json("image", "show", "secretive-public")["image"]["index"][0]


def test_verify_list_and_remove(shared, folder, imported):
    (folder / "file").write_text("x" * 100_000)
    imported(folder, "tests/some")
    assert shared.json("image", "verify", "tests/some")["sound"] is True
    assert "tests/some" in [i["name"] for i in shared.json("image", "list")["images"]]
    assert shared.zero("image", "remove", "tests/some", check=False).returncode == 2, "nobody is there to confirm it"
    near = shared.zero("image", "show", "tests/sone", check=False)
    assert near.returncode == 6 and "tests/some" in near.stderr
    shared.zero("image", "remove", "tests/some", "--yes")
    for words in (["show", "tests/some"], ["verify", "tests/some"], ["remove", "tests/some", "--yes"]):
        assert shared.zero("image", *words, check=False).returncode == 6, words
    refused = shared.zero("deploy", shared.contract(RUNS.format(name="gone", image="tests/some"), "gone.yaml"), "--yes", check=False)
    assert refused.returncode == 7 and "gone.yaml:5:12" in refused.stderr


class Layout:
    """An OCI layout of one layer, unlike any other."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        (self.path / "blobs/sha256").mkdir(parents=True)
        (self.path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        self.tar = tar([("bin/data", os.urandom(100_000))])
        self.write(gzip.compress(self.tar))

    def put(self, content):
        name = hashlib.sha256(content).hexdigest()
        (self.path / "blobs/sha256" / name).write_bytes(content)
        return {"digest": "sha256:" + name, "size": len(content)}

    def write(self, blob, tar=None, diff=None, media=LAYER):
        diff = diff or "sha256:" + hashlib.sha256(self.tar if tar is None else tar).hexdigest()
        self.layer = self.put(blob) | {"mediaType": media}
        config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff]}, "config": {}}
        self.manifest = {
            "schemaVersion": 2, "layers": [self.layer],
            "config": self.put(json.dumps(config).encode()) | {"mediaType": "application/vnd.oci.image.config.v1+json"}}
        self.index(self.put(json.dumps(self.manifest).encode()) | {"mediaType": "application/vnd.oci.image.manifest.v1+json"})

    def index(self, *manifests):
        (self.path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": manifests}))

    @property
    def blob(self):
        return self.path / "blobs/sha256" / self.layer["digest"].split(":")[1]


def tar(entries):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in entries:
            entry = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            if entry is content:
                entry.name = name
                archive.addfile(entry)
            else:
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def link(kind, target):
    entry = tarfile.TarInfo()
    entry.type, entry.linkname = kind, target
    return entry


def flipped(layout):
    content = bytearray(layout.blob.read_bytes())
    content[len(content) // 2] ^= 1
    layout.blob.write_bytes(content)


def with_tar(layout, content):
    layout.write(gzip.compress(content), tar=content)


BROKEN = {
    "a flipped byte": (flipped, "sha256:|damaged"),
    "a missing blob": (lambda l: l.blob.unlink(), "No such file"),
    "a blob cut short": (lambda l: l.blob.write_bytes(l.blob.read_bytes()[:5000]), "size|short|early|bytes"),
    "gzip that ends too early": (lambda l: l.write(gzip.compress(l.tar)[:5000]), "gzip|early|damaged|truncated"),
    "not gzip at all": (lambda l: l.write(b"hello, world" * 100), ""),
    "another diff_id": (lambda l: l.write(gzip.compress(l.tar), diff="sha256:" + "0" * 64), "0000000000"),
    "a tar that ends too early": (lambda l: with_tar(l, l.tar[:50_000]), "bin/data.*early"),
    "no tar at all": (lambda l: with_tar(l, os.urandom(20_000)), ""),
    "a path that leaves": (lambda l: with_tar(l, tar([("../../etc/evil", os.urandom(10))])), "evil.*leaves"),
    "a hard link that leaves": (lambda l: with_tar(l, tar([("x", link(tarfile.LNKTYPE, "../../etc/passwd"))])), "leaves"),
    "a hard link to nothing": (lambda l: with_tar(l, tar([("x", link(tarfile.LNKTYPE, "nothing"))])), "nothing"),
    "no manifest": (lambda l: l.index(), "no Linux image"),
    "a digest that is a path": (
        lambda l: l.index({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "sha256:../../../../etc/passwd", "size": 3}), "digest"),
    "an index that is not JSON": (lambda l: (l.path / "index.json").write_text('{"manifests":['), "index.json"),
    "no index": (lambda l: (l.path / "index.json").unlink(), "index.json"),
    "another architecture": (lambda l: None, "arm64"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_layout_is_refused_with_the_reason(shared, folder, what):
    harm, reason = BROKEN[what]
    layout = Layout(folder / "layout")
    harm(layout)
    words = ["--arch", "arm64"] if what == "another architecture" else []
    refused = shared.zero("image", "import", layout.path, "--name", "tests/broken", *words, check=False)
    assert refused.returncode == 7, f"{refused.returncode} {refused.stdout} {refused.stderr}"
    assert re.search(reason, refused.stderr, re.S) and refused.stdout == "", refused.stderr
    assert shared.zero("image", "show", "tests/broken", check=False).returncode == 6, "nothing of it was published"


def test_a_link_on_the_way_is_not_followed_out(shared, folder, imported):
    """A layer may replace a folder by a link; what comes later under that name must not go where the link points."""
    layout = Layout(folder / "layout")
    with_tar(layout, tar([("d", link(tarfile.SYMTYPE, "/etc")), ("d/planted-by-a-test", os.urandom(10))]))
    imported(layout.path, "tests/links")
    assert not os.path.exists("/etc/planted-by-a-test")


def test_names_and_paths_that_make_no_sense(shared, folder):
    assert shared.zero("image", "import", folder / "nothing", "--name", "x", check=False).returncode == 6
    for name in ("Bad Name", "ünï", "a" * 300, "/x", "x/", ""):
        assert shared.zero("image", "import", folder, "--name", name, check=False).returncode == 2, name
    (folder / "text").write_text("contract: x\n" * 100)
    for path in ("/dev/null", folder / "text"):
        assert shared.zero("image", "import", path, "--name", "x", check=False).returncode == 7, path
    assert shared.zero("image", "import", folder, "--name", "x", "--arch", "pdp11", check=False).returncode in (2, 7)
