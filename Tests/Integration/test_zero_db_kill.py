"""SIGKILL under load: what was acknowledged is there, and nothing is wrong.

`ZERO_KILLS=500` kills so often (default 8); `ZERO_SEED` repeats a run's choices.
"""
import collections
import os
import random
import select
import signal
import time

import pytest

from zero_db_server import Replies, Server, call, frame

KILLS = int(os.environ.get("ZERO_KILLS", "8"))
KEYS = 150


class Writer:
    """A pipelining client that knows, for each of its keys, what was acknowledged and what may have happened since."""

    def __init__(self, number, seed):
        self.number, self.random = number, random.Random(seed)
        self.count = 0
        self.acknowledged = {}
        self.maybe = collections.defaultdict(list)
        self.waiting = collections.deque()

    def attach(self, link):
        self.link, self.replies = link, Replies()
        link.setblocking(False)
        self.out = b""

    def more(self):
        """Asks for some writes: single ones, deletions, and several at once."""
        commands = []
        for _ in range(self.random.randrange(1, 40)):
            key, self.count = f"{self.number}-{self.random.randrange(KEYS)}", self.count + 1
            size = self.random.choice([20, 100, 100, 1000, 4000, 60000 if self.random.random() < 0.1 else 100])
            value = b"%s:%d:" % (key.encode(), self.count)
            value += b"x" * size
            choice = self.random.random()
            if choice < 0.1:
                commands.append(frame("DEL", key))
                self.expect([(key, None)])
            elif choice < 0.2:
                other = f"{self.number}-{self.random.randrange(KEYS)}"
                commands.append(frame("MSET", key, value, other, value))
                self.expect([(key, value), (other, value)])
            else:
                commands.append(frame("SET", key, value))
                self.expect([(key, value)])
        self.out += b"".join(commands)

    def expect(self, changes):
        for key, value in changes:
            self.maybe[key].append(value)
        self.waiting.append(changes)

    def turn(self, readable, writable):
        if writable:
            if not self.out and len(self.waiting) < 60:
                self.more()
            if self.out:
                self.out = self.out[self.link.send(self.out):]
        if readable:
            data = self.link.recv(1 << 20)
            if not data:
                raise ConnectionError
            for reply in self.replies.feed(data):
                assert reply in (b"+OK", b":0", b":1"), reply
                for key, value in self.waiting.popleft():
                    self.acknowledged[key] = value
                    del self.maybe[key][:self.maybe[key].index(value) + 1]

    def check(self, link):
        """Each key holds what was acknowledged or what was asked for after that; that is what it holds from now on."""
        wrong = []
        for key in sorted({*self.acknowledged, *self.maybe}):
            allowed = [self.acknowledged.get(key), *self.maybe[key]]
            found = call(link, "GET", key)
            if found not in allowed:
                wrong.append((key, found and found[:40], [value and value[:40] for value in allowed]))
            self.acknowledged[key] = found
        self.maybe.clear()
        self.waiting.clear()
        return wrong


COMPACTING = ["--history", "none", "--segment-size", "1M", "--compaction-rate", "1G"]


@pytest.mark.parametrize("sync, options", [
    ("always", ["--segment-size", "32M"]), ("interval", ["--segment-size", "32M"]), ("always", COMPACTING)])
def test_killed_under_load(sync, options):
    seed = int(os.environ.get("ZERO_SEED", str(time.time_ns())))
    print(f"ZERO_SEED={seed}")
    choose = random.Random(seed)
    server = Server("--sync", sync, *options)
    writers = [Writer(number, seed + number) for number in range(4)]
    written = 0
    try:
        for _ in range(max(1, KILLS // 2)):
            for writer in writers:
                writer.attach(server.connect())
            links = {writer.link: writer for writer in writers}
            until = time.monotonic() + choose.uniform(0.02, 0.6)
            while time.monotonic() < until:
                readable, writable, _ = select.select(links, links, [], 0.05)
                for link in {*readable, *writable}:
                    links[link].turn(link in readable, link in writable)
            server.end(signal.SIGKILL)
            for writer in writers:
                writer.link.close()
            server.start()
            with server.connect() as link:
                for writer in writers:
                    assert writer.check(link) == [], f"ZERO_SEED={seed}"
            written = sum(writer.count for writer in writers)
        assert written > 200
        assert "damage " not in server.log()
        assert server.end() == 0
    finally:
        server.remove()
