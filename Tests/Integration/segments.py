"""Zero-DB's log as its format page describes it: where records lie on the disk, so that tests can damage them."""
import os
import pathlib
import struct

VALUE, NAMESPACE = 1, 3
CONTENT, DIRECTORY, ROOT = 1, 2, 4


class Record:
    """One record: `offset` is where its head begins in `path`, `value` where its value does."""

    def __init__(self, path, offset, head):
        self.path, self.offset = path, offset
        self.type, key_length, _, extra = struct.unpack_from("<BBHH", head, 10)
        self.sequence, = struct.unpack_from("<Q", head, 16)
        self.namespace, = struct.unpack_from("<I", head, 48)
        self.length, = struct.unpack_from("<I", head, 56)
        self.key = head[64:64 + key_length]
        self.value = offset + 64 + key_length + extra
        self.end = (self.value + self.length + 7) & ~7

    @property
    def segment(self):
        return int(self.path.name.split(".")[0], 16)

    @property
    def place(self):
        return f"segment={self.segment} offset={self.offset}"

    def read(self, count=None):
        with open(self.path, "rb") as file:
            file.seek(self.value)
            return file.read(self.length if count is None else min(count, self.length))

    @property
    def kind(self):
        """Of a stored chunk; see Documentation/formats/flist.md."""
        return self.read(5)[4]

    def flip(self, at=None):
        """Changes one byte of the value on the disk; again, it is as it was."""
        flip(self.path, self.value + (self.length // 2 if at is None else at))


def flip(path, position):
    """Changes one bit where everybody will see it: written to the medium, and nothing of it kept in memory."""
    with open(path, "r+b", buffering=0) as file:
        byte = os.pread(file.fileno(), 1, position)[0]
        os.pwrite(file.fileno(), bytes([byte ^ 0x10]), position)
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def records(grid, namespace):
    """Every value of a namespace of the grid's Zero-DB, in order of writing."""
    number, found = None, []
    for path in sorted(pathlib.Path(grid.state / "db").glob("*.segment")):
        content = path.read_bytes()
        offset = 4096
        while offset + 64 <= len(content) and content[offset + 8:offset + 10] == b"ZR":
            record = Record(path, offset, content[offset:offset + 64 + 255])
            if record.type == NAMESPACE and record.key == namespace.encode():
                number = record.namespace
            if record.type == VALUE and record.namespace == number:
                found.append(record)
            offset = record.end
    return found
