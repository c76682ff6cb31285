"""s3cmd, rclone, restic, awscli and s3fs do their usual work against zero-s3 over a store, with one backend away."""
import os
import shutil
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


def test_awscli(archive):
    # Parts of 5 MB: the large file goes in four.
    (archive.folder / "aws").write_text(
        "[default]\nregion = us-east-1\ns3 =\n    multipart_threshold = 5MB\n    multipart_chunksize = 5MB\n    addressing_style = path\n")

    def aws(*words):
        # Debian's own, whatever else is called so; it asks no cloud who it is.
        return run(
            archive, "/usr/bin/aws", "--endpoint-url", archive.s3.meta.endpoint_url, *words, AWS_ACCESS_KEY_ID="first",
            AWS_SECRET_ACCESS_KEY="first-secret", AWS_CONFIG_FILE=str(archive.folder / "aws"), AWS_EC2_METADATA_DISABLED="true")

    aws("s3", "mb", "s3://awscli")
    aws("s3", "sync", archive.tree, "s3://awscli/tree")
    assert "-" in archive.s3.head_object(Bucket="awscli", Key="tree/a/b/ü large")["ETag"]
    assert aws("s3", "sync", archive.tree, "s3://awscli/tree") == ""
    assert "tree/a/middle" in aws("s3", "ls", "--recursive", "s3://awscli")
    aws("s3", "mv", "s3://awscli/tree/small", "s3://awscli/moved")
    aws("s3", "mv", "s3://awscli/moved", "s3://awscli/tree/small")
    back = archive.folder / "awscli-back"
    aws("s3", "sync", "s3://awscli/tree", back)
    same(archive.tree, back)
    # What is gone here goes there.
    (back / "small").unlink()
    aws("s3", "sync", "--delete", back, "s3://awscli/tree")
    assert "tree/small" not in aws("s3", "ls", "--recursive", "s3://awscli")
    aws("s3", "rm", "--recursive", "s3://awscli")
    aws("s3", "rb", "s3://awscli")


def test_s3fs(archive):
    place, secret = archive.folder / "mount", archive.folder / "s3fs"
    place.mkdir()
    secret.write_text("first:first-secret\n")
    secret.chmod(0o600)
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        pytest.skip(f"FUSE is not usable: {error}")
    archive.s3.create_bucket(Bucket="s3fs")

    def mount():
        run(archive, "s3fs", "s3fs", place, "-o",
            f"url={archive.s3.meta.endpoint_url},use_path_request_style,passwd_file={secret},multipart_size=5,enable_noobj_cache")

    mount()
    try:
        shutil.copytree(archive.tree, place / "tree")
        same(archive.tree, place / "tree")
        (place / "tree/a/middle").rename(place / "tree/renamed")
        (place / "tree/a").rename(place / "tree/c")
        assert sorted(os.listdir(place / "tree")) == sorted({*os.listdir(archive.tree), "renamed", "c"} - {"a"})
        with open(place / "tree/small", "r+b") as file:
            file.seek(10)
            file.write(b"other")
        with open(place / "tree/c/b/ü large", "ab") as file:
            file.write(b"more")
        (place / "tree/empty").unlink()
    finally:
        run(archive, "umount", place)
    # Nothing was only in its memory.
    mount()
    try:
        small = (archive.tree / "small").read_bytes()
        assert (place / "tree/small").read_bytes() == small[:10] + b"other" + small[15:]
        assert (place / "tree/c/b/ü large").read_bytes() == (archive.tree / "a/b/ü large").read_bytes() + b"more"
        assert (place / "tree/renamed").read_bytes() == (archive.tree / "a/middle").read_bytes()
        assert not (place / "tree/empty").exists()
        shutil.rmtree(place / "tree")
        assert os.listdir(place) == []
    finally:
        run(archive, "umount", place)
    assert archive.s3.list_objects_v2(Bucket="s3fs")["KeyCount"] == 0
