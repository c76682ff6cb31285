"""OCI layouts made by tests: the example image with one layer more."""
import hashlib
import io
import json
import os
import pathlib
import shutil
import tarfile

import grid as grids


def share(source, target):
    try:
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)


def put(folder, content):
    digest = hashlib.sha256(content).hexdigest()
    (folder / "blobs/sha256" / digest).write_bytes(content)
    return {"digest": "sha256:" + digest, "size": len(content)}


def layered(folder, files, base="nginx"):
    """The layout of an example image with these files, {path: bytes}, on top. Blobs of the example are shared with it."""
    folder, source = pathlib.Path(folder), grids.IMAGES / base
    (folder / "blobs/sha256").mkdir(parents=True)
    shutil.copy(source / "oci-layout", folder)
    index = json.loads((source / "index.json").read_text())
    blob = lambda descriptor: source / "blobs/sha256" / descriptor["digest"].split(":")[1]
    manifest = json.loads(blob(index["manifests"][0]).read_text())
    for layer in manifest["layers"]:
        share(blob(layer), folder / "blobs/sha256" / blob(layer).name)
    config = json.loads(blob(manifest["config"]).read_text())
    layer = archive(files)
    manifest["layers"].append({"mediaType": "application/vnd.oci.image.layer.v1.tar"} | put(folder, layer))
    config["rootfs"]["diff_ids"].append("sha256:" + hashlib.sha256(layer).hexdigest())
    config.pop("history", None)
    manifest["config"] |= put(folder, json.dumps(config).encode())
    index["manifests"] = [index["manifests"][0] | put(folder, json.dumps(manifest).encode())]
    (folder / "index.json").write_text(json.dumps(index))
    return folder


def archive(files):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            (entry.size, entry.mode, entry.mtime) = (len(content), 0o644, 1_700_000_000)
            tar.addfile(entry, io.BytesIO(content))
    return stream.getvalue()
