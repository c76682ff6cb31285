"""s3cmd, rclone and restic do their usual work against zero-s3 over a store, with one backend away."""
import os
import signal
import subprocess

import pytest
from test_s3_store import Archive, blob


@pytest.fixture(scope="module")
def archive():
    found = Archive()
    (found.folder / "s3cfg").write_text(
        f"[default]\naccess_key = first\nsecret_key = first-secret\nhost_base = {host(found)}\nhost_bucket = {host(found)}\n"
        "use_https = False\n")
    found.tree = found.folder / "tree"
    (found.tree / "a/b").mkdir(parents=True)
    for name, size in {"empty": 0, "small": 100, "a/middle": 70_000, "a/b/ü large": 20_000_000}.items():
        (found.tree / name).write_bytes(blob(name, size))
    found.backends[3].end(signal.SIGKILL)
    yield found
    found.end()
    for backend in found.backends:
        backend.remove()
    subprocess.run(["rm", "-rf", found.folder], check=True)


def host(archive):
    return archive.s3.meta.endpoint_url.removeprefix("http://")


def run(archive, *words, **environment):
    # What the machine has set for another cloud is not for this one.
    own = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RCLONE_", "RESTIC_"))}
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, timeout=120,
        env={**own, "HOME": str(archive.folder), **environment})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def same(left, right):
    assert subprocess.run(["diff", "-r", str(left), str(right)]).returncode == 0


def test_s3cmd(archive):
    def s3cmd(*words):
        return run(archive, "s3cmd", "-c", archive.folder / "s3cfg", *words)

    s3cmd("mb", "s3://s3cmd")
    # Parts of 5 MB: the large file comes in four.
    s3cmd("sync", "--multipart-chunk-size-mb=5", f"{archive.tree}/", "s3://s3cmd/tree/")
    assert "s3://s3cmd/tree/a/middle" in s3cmd("ls", "-r", "s3://s3cmd")
    back = archive.folder / "s3cmd-back"
    back.mkdir()
    s3cmd("sync", "s3://s3cmd/tree/", f"{back}/")
    same(archive.tree, back)
    s3cmd("cp", "s3://s3cmd/tree/small", "s3://s3cmd/copy")
    s3cmd("del", "-r", "--force", "s3://s3cmd")
    s3cmd("rb", "s3://s3cmd")


def test_rclone(archive):
    def rclone(*words):
        return run(
            archive, "rclone", *words, RCLONE_CONFIG_Z_TYPE="s3", RCLONE_CONFIG_Z_PROVIDER="Other",
            RCLONE_CONFIG_Z_ACCESS_KEY_ID="first", RCLONE_CONFIG_Z_SECRET_ACCESS_KEY="first-secret",
            RCLONE_CONFIG_Z_ENDPOINT=archive.s3.meta.endpoint_url)

    rclone("mkdir", "z:rclone")
    rclone("sync", "--s3-upload-cutoff=5M", "--s3-chunk-size=5M", archive.tree, "z:rclone/tree")
    rclone("check", archive.tree, "z:rclone/tree")
    rclone("move", "z:rclone/tree/a/middle", "z:rclone/moved")
    back = archive.folder / "rclone-back"
    rclone("copy", "z:rclone/tree", back)
    assert (back / "a/b/ü large").read_bytes() == blob("a/b/ü large", 20_000_000)
    rclone("purge", "z:rclone")


def test_restic(archive):
    def restic(*words):
        return run(
            archive, "restic", "-r", f"s3:{archive.s3.meta.endpoint_url}/restic/repository", *words, RESTIC_PASSWORD="p",
            AWS_ACCESS_KEY_ID="first", AWS_SECRET_ACCESS_KEY="first-secret")

    restic("init")
    restic("backup", archive.tree)
    (archive.tree / "later").write_bytes(blob("later", 300_000))
    restic("backup", archive.tree)
    restic("check", "--read-data")
    restic("restore", "latest", "--target", archive.folder / "restic-back")
    same(archive.tree, archive.folder / "restic-back" / str(archive.tree).lstrip("/"))
    restic("forget", "--keep-last", "1", "--prune")
    restic("check")
