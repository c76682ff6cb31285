#!/usr/bin/env python3
"""Writes zero-stor-log.txt beside it: test vectors of zero-stor-log.md, by a second implementation.

A line each: a name, a blank, the bytes of an entry in hexadecimal.
"""
import hashlib, os


def sha(text): return hashlib.sha256(text.encode()).digest()


def n(value):
    out = b""
    while value >= 0x80:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def b(value): return n(len(value)) + value
def t(value): return b(value.encode())
def u8(value): return bytes([value])
def u16(value): return value.to_bytes(2, "little")
def some(value): return u8(0) if value is None else u8(1) + value
def many(items): return n(len(items)) + b"".join(items)
def table(values): return many([t(k) + v for k, v in sorted(values.items(), key=lambda pair: pair[0].encode())])
def attributes(values): return table({k: t(v) for k, v in values.items()})
def identity(name): return n(name[0]) + n(name[1])


def follow(names):
    """Ids, each as its distance from the one before."""
    out, last = [], None
    for name in names:
        near = last is not None and last[0] == name[0] and last[1] < name[1]
        out.append(n(name[1] - last[1]) if near else n(0) + identity(name))
        last = name
    return out


def ids(names): return many(follow(names))
def segment(manifest, size, key, generation): return n(manifest) + n(size) + b(key) + n(generation)


def stripe(name, k, m, length, shard, created, shards, chunks):
    out = identity(name) + n(k) + n(m) + n(length) + n(shard) + n(created)
    out += b"".join(u16(s) for s in shards) + b"".join(sha(f"root {i}") for i in range(k + m))
    near = follow([c[0] for c in chunks])
    return out + many([near[i] + n(c[1]) + n(c[2]) + n(c[3]) + u8(c[4]) + some(c[5]) for i, c in enumerate(chunks)])


def version(bucket, key, number): return t(bucket) + b(key) + n(number)


shared = sha("fingerprint") + sha("key")
CHUNKS = [((3, 10), 0, 4124, 5000, 1, None), ((3, 11), 4124, 300, 272, 0, shared), ((3, 20), 4424, 29, 1, 0, None),
          ((2, 500), 4453, 40, 12, 2, None)]
STRIPE = stripe((3, 12), 4, 2, 4493, 1152, 1700000000000, [0, 1, 2, 3, 4, 0xFFFF], CHUNKS)
SEGMENTS = [segment(7, 5272, b"\x01" * 40, 2), segment(300, 0, b"", 0)]
PARTS = [n(1) + n(5272) + t("e1") + n(1700000000001) + attributes({"checksum-crc32c": "AAAAAA=="}),
         n(10000) + n(0) + t("") + n(0) + attributes({})]

OPERATIONS = {
    "bucketCreate": n(1) + t("photos") + t("GOWNER") + n(1700000000000) + u8(1)
        + table({"cors": b(b"\x00\xff"), "a": b(b"")}),
    "bucketDelete": n(2) + t("photos"),
    "bucketVersioning": n(3) + t("photos") + u8(2),
    "bucketSetting": n(4) + t("photos") + t("policy") + some(b(b"{}")),
    "bucketSetting-removed": n(4) + t("photos") + t("policy") + some(None),
    "stripeAdd": n(5) + STRIPE,
    "manifestAdd": n(6) + n(5273) + many([c + n(l) for c, l in zip(
        follow([(3, 10), (3, 11), (3, 10), (3, 20)]), [5000, 272, 0, 1])]) + b(b"\x05" * 33),
    "objectPut": n(7) + t("photos") + b("été/1".encode()) + u8(0) + t("0" * 32 + "-2") + n(1700000000002)
        + attributes({"content-type": "image/png", "é": "ü", "z": ""}) + many(PARTS) + many(SEGMENTS) + t("GOWNER"),
    "objectPut-marker": n(7) + t("photos") + b(b"\xff\x00") + u8(1) + t("") + n(1) + n(0) + n(0) + n(0) + t("GOWNER"),
    "objectRemove": n(8) + version("photos", b"a", 0x123456789A),
    "objectRemove-null": n(8) + version("photos", b"a", 0),
    "objectAttributes": n(9) + version("photos", b"a", 0) + table({"gone": some(None), "tag": some(t("x"))}),
    "uploadCreate": n(10) + t("photos") + b(b"a") + attributes({"x": "y"}) + n(5) + t("GOWNER") + b(b"\x09"),
    "partPut": n(11) + n(128) + n(3) + many(SEGMENTS) + t("e3") + n(6) + attributes({}),
    "uploadComplete": n(12) + n(128) + many([n(1), n(3), n(200)]) + t("e-3") + attributes({"x": "y"}) + n(7),
    "uploadAbort": n(13) + n(128),
    "accessKeySet": n(14) + t("AK") + t("secret") + t("GUSER") + u8(0) + attributes({"*": "read", "photos": "full"}),
    "accessKeyRemove": n(15) + t("AK"),
    "stripesDying": n(16) + ids([(3, 12), (3, 13), (4, 1), (3, 14)]) + n(1700000000003),
    "stripesGone": n(17) + ids([(3, 12)]),
    "shardsMoved": n(18) + identity((3, 12)) + many([n(0) + u16(7), n(5) + u16(0xFFFF)]),
    "chunksMoved": n(19) + stripe((4, 1), 1, 0, 340, 384, 8, [2], []) + many(
        [c + n(o) + n(l) for c, o, l in zip(follow([(3, 11), (2, 500)]), [0, 300], [300, 40])]),
    "backendSet": n(20) + u16(0x1234) + t("[::1]:9900") + t("farm") + t("node") + n(100) + n(1 << 40) + u8(1) + b(b""),
    "policySet": n(21) + n(16) + n(4) + n(1) + n(4) + n(1) + n(86400000) + u8(2) + u8(1) + n(262144) + n(1048576)
        + n(4194304) + n(16777216) + u8(1) + b(b"\x01\x02"),
    "keyGeneration": n(22) + n(4294967295) + b(b"\x03" * 48),
    "writer": n(23) + n(9) + t("http://[::1]:9000") + n(1700000000004),
    "snapshot": n(24) + n((1 << 63) - 1) + many(SEGMENTS),
    "objectRewrap": n(25) + version("photos", b"a", 1) + n(3) + many([b(b"\x01"), b(b"\x02\x03")]),
    "partRewrap": n(26) + n(128) + n(3) + n(3) + many([]),
    "release": n(27) + many([n(5), n(300)]) + ids([(3, 10), (3, 18446744073709551615 - (1 << 40))]),
}


def entry(operations): return u8(1) + many(operations)


with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "zero-stor-log.txt"), "w") as out:
    for name, operation in OPERATIONS.items(): out.write(f"{name} {entry([operation]).hex()}\n")
    out.write(f"none {entry([]).hex()}\n")
    out.write(f"all {entry(list(OPERATIONS.values())).hex()}\n")
