"""An archive at its full width: 16 + 4 shards on 24 Zero-DBs in six farms, and what it outlives.

ZERO_ARCHIVE_FULL=1 takes 1,000 objects of 1 GiB in all; else it is 80 of 24 MiB.
"""
import hashlib
import os
import pathlib
import random
import re
import signal
import subprocess
import tempfile
import time
import urllib.request

import boto3
import botocore.exceptions
import pytest
from botocore.client import Config
from zero_db_server import Server

BIN = pathlib.Path(os.environ.get("ZERO_BIN", pathlib.Path(__file__).parents[2] / "build/debug"))
IS_FULL = os.environ.get("ZERO_ARCHIVE_FULL") == "1"
OBJECTS, BYTES = (1000, 1 << 30) if IS_FULL else (80, 24 << 20)


class Archive:
    def __init__(self, farms, more=()):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="zero-stor-", dir="/tmp"))
        self.backends, self.gateway = [Server() for _ in range(farms * 4)], None
        self.seed = int(os.environ.get("ZERO_SEED", str(time.time_ns() % 1_000_000)))
        self.random = random.Random(self.seed)
        print(f"ZERO_SEED={self.seed}")
        lines = ["data 16", "parity 4", "survive-nodes 4", "survive-farms 1", "grace 0", "lost-after 4", *more]
        lines += [f"backend unix:{b.path}/store farm=f{n // 4} node=n{n}" for n, b in enumerate(self.backends)]
        (self.folder / "store").write_text("\n".join(lines) + "\n")
        (self.folder / "keys").write_text("first first-secret anna owner\n")
        (self.folder / "words").write_bytes(subprocess.run([BIN / "zero-stor", "words"], capture_output=True, check=True).stdout)
        made = subprocess.run(
            [BIN / "zero-stor", "create", "--store", self.folder / "store", "--words", self.folder / "words"], capture_output=True, timeout=60)
        assert made.returncode == 0, made.stderr

    def start(self):
        log = self.folder / "log"
        with open(log, "w") as out:
            self.gateway = subprocess.Popen(
                [BIN / "zero-s3", "--store", self.folder / "store", "--words", self.folder / "words", "--store-state",
                 self.folder / "state", "--port", "0", "--metrics-port", str(self.free_port()), "--keys",
                 self.folder / "keys"], stderr=out)
        until(lambda: "ready port=" in log.read_text() or self.gateway.poll() is not None, 30)
        port = re.search(r"ready port=(\d+)", log.read_text())
        assert port, log.read_text()
        self.s3 = boto3.client(
            "s3", endpoint_url=f"http://127.0.0.1:{port[1]}", aws_access_key_id="first", aws_secret_access_key="first-secret",
            region_name="us-east-1", config=Config(signature_version="s3v4", retries={"max_attempts": 0}, read_timeout=30))
        self.s3.create_bucket(Bucket="bucket")

    def free_port(self):
        import socket
        with socket.socket() as link:
            link.bind(("127.0.0.1", 0))
            self.metrics_port = link.getsockname()[1]
        return self.metrics_port

    def metrics(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics") as answer:
            text = answer.read().decode()
        return dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))

    def repairs(self):
        return int(self.metrics()["zero_stor_repairs"])

    def states(self):
        found = re.findall(r'backend_state{backend="(\d+)",state="(\w+)"}', "\n".join(self.metrics()))
        return {int(number): state for number, state in found}

    def fill(self):
        sizes = [self.random.choice([0, 100, 4096, 70_000, 300_000, 1_000_000]) for _ in range(OBJECTS)]
        scale = BYTES / max(1, sum(sizes))
        data = {f"o/{n}": blob(n, int(size * scale)) for n, size in enumerate(sizes)}
        for key, value in data.items():
            self.s3.put_object(Bucket="bucket", Key=key, Body=value)
        return data

    def lose(self, numbers):
        """Kills nodes and wipes them, for good."""
        for number in numbers:
            self.backends[number].end(signal.SIGKILL)
            subprocess.run(["rm", "-rf", self.backends[number].folder / "data"], check=True)

    def body(self, key):
        return self.s3.get_object(Bucket="bucket", Key=key)["Body"].read()

    def same(self, data):
        assert [key for key, value in data.items() if self.body(key) != value] == []

    def is_whole(self, lost):
        """Everything that is lost is known to be, and nothing waits to be made anew."""
        states = self.states()
        return all(states[number + 1] == "lost" for number in lost) and self.repairs() == 0

    def remove(self):
        if self.gateway and self.gateway.poll() is None:
            self.gateway.kill()
            self.gateway.wait()
        for backend in self.backends:
            backend.remove()
        subprocess.run(["rm", "-rf", self.folder], check=True)


def blob(number, size):
    return hashlib.shake_128(str(number).encode()).digest(size)


def until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.2)


@pytest.fixture
def make():
    made = []

    def of(farms, *more):
        made.append(Archive(farms, more))
        made[-1].start()
        return made[-1]
    yield of
    for archive in made:
        archive.remove()


def test_any_four_nodes_are_lost_for_good(make):
    archive = make(6)
    data = archive.fill()
    gone = archive.random.sample(range(24), 4)
    archive.lose(gone)
    archive.same(data)
    data["later"] = blob("later", 700_000)
    archive.s3.put_object(Bucket="bucket", Key="later", Body=data["later"])
    until(lambda: archive.is_whole(gone), 180)
    archive.same(data)


def test_a_whole_farm_is_lost_for_good(make):
    archive = make(6)
    data = archive.fill()
    farm = archive.random.randrange(6)
    gone = list(range(farm * 4, farm * 4 + 4))
    archive.lose(gone)
    archive.same(data)
    data["later"] = blob("later", 700_000)
    archive.s3.put_object(Bucket="bucket", Key="later", Body=data["later"])
    until(lambda: archive.is_whole(gone), 180)
    # Everything is on the other farms now: four nodes more may go.
    left = [number for number in range(24) if number not in gone]
    for number in archive.random.sample(left, 4):
        archive.backends[number].end(signal.SIGKILL)
    archive.same(data)


def test_a_fifth_loss_is_said_and_harms_nothing(make):
    archive = make(5, "lost-after 600")
    data = archive.fill()
    gone = [farm * 4 + 3 for farm in range(5)]
    for number in gone:
        archive.backends[number].end(signal.SIGKILL)
    failed = 0
    for key, value in data.items():
        begun = time.monotonic()
        try:
            assert archive.body(key) == value
        except botocore.exceptions.ClientError as error:
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500
            failed += 1
        except (botocore.exceptions.IncompleteReadError, botocore.exceptions.ResponseStreamingError,
                botocore.exceptions.ConnectionClosedError, botocore.exceptions.HTTPClientError):
            failed += 1
        assert time.monotonic() - begun < 30
        if failed > 3:
            break
    assert failed > 0
    for number in gone:
        archive.backends[number].start()
    until(lambda: set(archive.states().values()) == {"active"}, 60)
    archive.same(data)


def test_without_spare_nodes_it_is_degraded_and_says_so(make):
    archive = make(5)
    data = archive.fill()
    archive.lose([3, 7])
    until(lambda: all(archive.states()[number] == "lost" for number in (4, 8)), 60)
    data["later"] = blob("later", 500_000)
    archive.s3.put_object(Bucket="bucket", Key="later", Body=data["later"])
    time.sleep(5)
    metrics = archive.metrics()
    # Nothing is where it could be made whole: every stripe is below its promise, and stays listed.
    assert int(metrics["zero_stor_repairs"]) == int(metrics['zero_stor_account{name="stripes"}']) > 0
    archive.same(data)
