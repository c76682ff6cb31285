"""Zero-DB's checkpoint of the index: real processes that are stopped, killed while they write it, and started again."""
import os
import random
import re
import shutil
import signal
import time

import pytest

from test_zero_db_modes import Server


@pytest.fixture
def server():
    server = Server("--sync", "always")
    yield server
    server.process.kill()
    server.process.wait()
    shutil.rmtree(server.folder)


def fill(server, chance, model, count=2000):
    """Writes of all modes; what is acknowledged is in the model."""
    for name, mode in (("default", None), ("sorted", "ordered"), ("counted", "seq")):
        client = server.client()
        if mode and name.encode() not in client.execute_command("NSLIST"):
            client.execute_command("NSNEW", name, "MODE", mode)
        client.execute_command("SELECT", name)
        values = [b"%d" % chance.randrange(10**9) for _ in range(count)]
        names = [b"" if mode == "seq" else b"key:%05d" % chance.randrange(count) for _ in values]
        for key, value in zip(names, values):
            reply = client.execute_command("SET", key, value)
            model.setdefault(name, {})[reply if mode == "seq" else key] = value
        gone = list(model[name])[::7]
        client.execute_command("DEL", *gone)
        for key in gone:
            del model[name][key]


def check(server, model):
    for name, wanted in model.items():
        client = server.client(name)
        keys = list(wanted)
        assert int(client.execute_command("DBSIZE")) == len(keys), name
        for start in range(0, len(keys), 500):
            part = keys[start:start + 500]
            assert client.execute_command("MGET", *part) == [wanted[key] for key in part], name


def opened(server):
    """What the last start said: the checkpoint's sequence number, whether the stop was clean."""
    line = [line for line in (server.folder / "log").read_text().splitlines() if "clean_stop=" in line][-1]
    return int(re.search(r"checkpoint=(\d+)", line)[1]), "clean_stop=true" in line


def test_a_stop_writes_it_and_starts_use_it(server):
    chance, model = random.Random(3), {}
    path = server.folder / "data/checkpoint"
    fill(server, chance, model)
    server.stop()
    assert path.stat().st_size > 4096
    server.start()
    known, clean = opened(server)
    assert known > 6000 and clean
    check(server, model)
    # It goes on, is killed, and starts with what the checkpoint knows and what came after.
    fill(server, chance, model)
    server.stop(signal.SIGKILL)
    server.start()
    assert opened(server) == (known, False)
    check(server, model)
    # Damaged in any place, it costs nothing but time.
    server.stop()
    for part in (9, 60, 5000, 0.5, -1):
        whole = bytearray(path.read_bytes())
        whole[int(len(whole) * part) if part == 0.5 else part] ^= 4
        path.write_bytes(whole)
        server.start()
        assert opened(server)[0] == 0
        check(server, model)
        server.stop()
        assert path.stat().st_size > 4096
    server.start()
    assert opened(server)[0] > known


def test_killed_while_it_stops(server):
    """Whatever is left of the file, the log was closed before, or is as a kill leaves it."""
    chance, model = random.Random(5), {}
    fill(server, chance, model, 5000)
    for number in range(12):
        fill(server, chance, model, 50)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(chance.random() * 0.05)
        server.stop(signal.SIGKILL)
        server.start()
        check(server, model)
    server.stop()
    server.start()
    assert opened(server)[0] > 0
