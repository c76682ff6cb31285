"""A zero-db process for tests that kill it, feed it rubbish or make its disk fail."""
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile

BIN = pathlib.Path(os.environ.get("ZERO_BIN", pathlib.Path(__file__).parents[2] / "build/debug")) / "zero-db"


class Server:
    def __init__(self, *options, environment=None):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="zero-db-", dir="/tmp"))
        self.options, self.environment, self.process = options, environment, None
        self.start()

    @property
    def path(self):
        return str(self.folder / "s")

    def start(self):
        arguments = [BIN, "--data", self.folder / "data", "--socket", self.path, *self.options]
        with open(self.folder / "log", "a") as log:
            self.process = subprocess.Popen(
                arguments, stdout=subprocess.PIPE, stderr=log, env={**os.environ, **(self.environment or {})})
        line = self.process.stdout.readline()
        assert line.startswith(b"ready"), self.log()

    def log(self):
        return (self.folder / "log").read_text(errors="replace")

    def end(self, number=signal.SIGTERM):
        """Ends the process; its exit status."""
        self.process.send_signal(number)
        status = self.process.wait(60)
        self.process.stdout.close()
        return status

    def remove(self):
        if self.process.poll() is None:
            self.end(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def connect(self, timeout=10):
        link = socket.socket(socket.AF_UNIX)
        link.settimeout(timeout)
        link.connect(self.path)
        return link

    def resident(self):
        """Bytes of memory that the process holds."""
        for line in open(f"/proc/{self.process.pid}/status"):
            if line.startswith("VmRSS"):
                return int(line.split()[1]) * 1024
        return 0


def frame(*words):
    """A command as clients send it."""
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


class Replies:
    """Reads RESP2 replies out of bytes that arrive in pieces."""

    def __init__(self):
        self.buffer = bytearray()

    def feed(self, data):
        self.buffer += data
        found, at = [], 0
        while True:
            reply, end = self.one(at)
            if end is None:
                break
            found.append(reply)
            at = end
        del self.buffer[:at]
        return found

    def one(self, at):
        line = self.buffer.find(b"\r\n", at)
        if line < 0:
            return None, None
        kind, text = self.buffer[at:at + 1], bytes(self.buffer[at + 1:line])
        if kind in b"+-:":
            return bytes(kind) + text, line + 2
        count = int(text)
        if kind == b"$":
            if count < 0:
                return None, line + 2
            end = line + 2 + count
            return (bytes(self.buffer[line + 2:end]), end + 2) if len(self.buffer) >= end + 2 else (None, None)
        items, position = [], line + 2
        for _ in range(max(count, 0)):
            item, position = self.one(position)
            if position is None:
                return None, None
            items.append(item)
        return items, position


def call(link, *words):
    """One command and its reply."""
    link.sendall(frame(*words))
    replies = Replies()
    while True:
        data = link.recv(1 << 20)
        if not data:
            raise ConnectionError("closed")
        found = replies.feed(data)
        if found:
            return found[0]
