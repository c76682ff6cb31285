"""zero-s3 over a store on eight Zero-DBs in four farms: what clients see while backends and gateways die."""
import hashlib
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import threading
import time

import boto3
import pytest
from botocore.client import Config
from zero_db_server import Server

BIN = pathlib.Path(os.environ.get("ZERO_BIN", pathlib.Path(__file__).parents[2] / "build/debug"))


class Archive:
    """Backends, a gateway, and what it takes to make another one."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="zero-stor-", dir="/tmp"))
        self.backends = [Server() for _ in range(8)]
        lines = ["store test", "data 4", "parity 2", "survive-nodes 2", "survive-farms 1", "grace 0", "lost-after 3"]
        for number, backend in enumerate(self.backends):
            lines.append(f"backend unix:{backend.path}/store farm=f{number // 2} node=n{number}")
        (self.folder / "store").write_text("\n".join(lines) + "\n")
        (self.folder / "keys").write_text("first first-secret anna owner\n")
        words = subprocess.run([BIN / "zero-stor", "words"], capture_output=True, check=True)
        (self.folder / "words").write_bytes(words.stdout)
        self.stor("create")
        self.gateway = None
        self.start()

    def stor(self, *arguments):
        found = subprocess.run(
            [BIN / "zero-stor", *arguments, "--store", self.folder / "store", "--words", self.folder / "words"],
            capture_output=True, text=True, timeout=60)
        assert found.returncode == 0, found.stderr
        return found.stdout

    def start(self, state="state"):
        log = self.folder / f"log-{time.monotonic_ns()}"
        with open(log, "w") as out:
            self.gateway = subprocess.Popen(
                [BIN / "zero-s3", "--store", self.folder / "store", "--words", self.folder / "words",
                 "--store-state", self.folder / state, "--port", "0", "--keys", self.folder / "keys"], stderr=out)
        for _ in range(200):
            if found := re.search(r"ready port=(\d+)", log.read_text()):
                self.log = log
                return self.connect(found[1])
            assert self.gateway.poll() is None, log.read_text()
            time.sleep(0.05)
        raise AssertionError(log.read_text())

    def connect(self, port):
        self.s3 = boto3.client(
            "s3", endpoint_url=f"http://127.0.0.1:{port}", aws_access_key_id="first",
            aws_secret_access_key="first-secret", region_name="us-east-1",
            config=Config(signature_version="s3v4", retries={"max_attempts": 0}, read_timeout=60))

    def end(self, number=signal.SIGKILL):
        self.gateway.send_signal(number)
        self.gateway.wait(20)

    def body(self, key):
        return self.s3.get_object(Bucket="bucket", Key=key)["Body"].read()


@pytest.fixture
def archive():
    found = Archive()
    found.s3.create_bucket(Bucket="bucket")
    try:
        yield found
    finally:
        if found.gateway.poll() is None:
            found.end()
        for backend in found.backends:
            backend.remove()
        subprocess.run(["rm", "-rf", found.folder], check=True)


def blob(number, size):
    return hashlib.shake_128(str(number).encode()).digest(size)


def fill(archive, count):
    data = {f"o/{n}": blob(n, [10, 5000, 300_000, 2_500_000][n % 4]) for n in range(count)}
    for key, value in data.items():
        archive.s3.put_object(Bucket="bucket", Key=key, Body=value)
    return data


def same(archive, data):
    assert [key for key, value in data.items() if archive.body(key) != value] == []


def test_objects_outlive_backends_and_are_made_whole_again(archive):
    data = fill(archive, 16)
    # All of one farm, for good.
    for backend in archive.backends[:2]:
        backend.end(signal.SIGKILL)
    same(archive, data)
    archive.s3.put_object(Bucket="bucket", Key="later", Body=blob("later", 700_000))
    data["later"] = blob("later", 700_000)
    # Nobody is asked: what was lost is made anew on the other three farms.
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and "repaired" not in archive.log.read_text():
        time.sleep(0.3)
    time.sleep(4)
    for backend in archive.backends[2:4]:
        backend.end(signal.SIGKILL)
    same(archive, data)


def test_a_gateway_is_killed_under_load_and_another_one_goes_on(archive):
    acknowledged, stop = {}, threading.Event()

    def write(worker):
        number = 0
        while not stop.is_set():
            number += 1
            key, value = f"w{worker}/{number}", blob(f"{worker}-{number}", 4096 if number % 5 else 600_000)
            try:
                archive.s3.put_object(Bucket="bucket", Key=key, Body=value)
            except Exception:
                return
            acknowledged[key] = value

    threads = [threading.Thread(target=write, args=[worker]) for worker in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(1.5)
    archive.end()
    stop.set()
    for thread in threads:
        thread.join()
    assert len(acknowledged) > 20
    # On an empty machine: words and addresses are enough.
    archive.start(state="elsewhere")
    same(archive, acknowledged)
    listed = []
    for page in archive.s3.get_paginator("list_objects_v2").paginate(Bucket="bucket"):
        listed += [entry["Key"] for entry in page.get("Contents", [])]
    assert set(acknowledged) <= set(listed)
    # What was not acknowledged is there whole or not at all.
    for key in set(listed) - set(acknowledged):
        worker, number = key[1:].split("/")
        assert archive.body(key) == blob(f"{worker}-{number}", 4096 if int(number) % 5 else 600_000)


def test_what_is_deleted_gives_its_space_back(archive):
    data = fill(archive, 12)
    again = archive.s3.put_object(Bucket="bucket", Key="copy", Body=data["o/3"])
    assert again["ETag"]
    for key in data:
        archive.s3.delete_object(Bucket="bucket", Key=key)
    assert archive.body("copy") == data["o/3"]
    archive.s3.delete_object(Bucket="bucket", Key="copy")
    time.sleep(4)
    archive.end(signal.SIGTERM)
    import json
    accounts = json.loads(archive.stor("status", "-o", "json"))["accounts"]
    assert {name: accounts[name] for name in ["objects", "chunks", "stripes", "liveBytes", "rawBytes"]} == {
        "objects": 0, "chunks": 0, "stripes": 0, "liveBytes": 0, "rawBytes": 0}


def test_too_many_losses_are_said_and_harm_nothing(archive):
    data = fill(archive, 4)
    gone = archive.backends[:2] + archive.backends[4:6]
    for backend in gone:
        backend.end(signal.SIGKILL)
    failed = 0
    for key in data:
        try:
            assert archive.body(key) == data[key]
        except Exception:
            failed += 1
    assert failed > 0
    for backend in gone:
        backend.start()
    time.sleep(7)
    same(archive, data)
