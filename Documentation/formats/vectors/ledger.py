#!/usr/bin/env python3
"""Writes ledger.json beside it: test vectors of records.md and ledger.md, by a second implementation.

Needs the package `cryptography` for Ed25519; everything else is the standard library.
"""
import base64, hashlib, json, os
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def sha(data): return hashlib.sha256(data).digest()
def canonical(value): return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def crc16(data):
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


class Key:
    def __init__(self, name):
        self.seed = sha(f"key of {name}".encode())
        self.private = Ed25519PrivateKey.from_private_bytes(self.seed)
        body = bytes([6 << 3]) + self.private.public_key().public_bytes_raw()
        self.address = base64.b32encode(body + crc16(body).to_bytes(2, "little")).decode()

    def sign(self, kind, ledger, value):
        message = f"zero/1\n{kind}\n{ledger.hex()}\n".encode() + canonical(value)
        return message, {"by": self.address, "sig": base64.b64encode(self.private.sign(message)).decode()}


# The log of RFC 6962.
def log_root(entries):
    if not entries: return sha(b"")
    if len(entries) == 1: return sha(b"\0" + entries[0])
    k = 1
    while k * 2 < len(entries): k *= 2
    return sha(b"\1" + log_root(entries[:k]) + log_root(entries[k:]))


# The sparse tree over SHA-256 of keys.
def bit(path, depth): return path[depth >> 3] >> 7 - (depth & 7) & 1


def state_root(leaves, depth=0):
    if not leaves: return bytes(32)
    if len(leaves) == 1: return sha(b"\0" + leaves[0][0] + leaves[0][1])
    return sha(b"\1" + b"".join(state_root([l for l in leaves if bit(l[0], depth) == side], depth + 1) for side in (0, 1)))


def state_proof(leaves, path):
    present, siblings, depth = [], [], 0
    while len(leaves) > 1:
        sibling = state_root([l for l in leaves if bit(l[0], depth) != bit(path, depth)], depth + 1)
        present.append(sibling != bytes(32))
        if present[-1]: siblings.append(sibling.hex())
        leaves = [l for l in leaves if bit(l[0], depth) == bit(path, depth)]
        depth += 1
    bitmap = bytearray((depth + 7) // 8)
    for step, there in enumerate(present): bitmap[step >> 3] |= there << 7 - (step & 7)
    proof = {"bitmap": bitmap.hex(), "depth": depth, "siblings": siblings}
    if leaves: proof["leaf"] = {"path": leaves[0][0].hex(), "value": leaves[0][1].hex()}
    return proof


member, alice, laptop = Key("member"), Key("alice"), Key("alice's laptop")
rules = {
    "admission": "open", "block_bytes": 1 << 20, "block_records": 256, "horizon_ms": 5 * 366 * 86400000,
    "identities_per_block": 16, "identity_block_bytes": 256 << 10, "identity_block_records": 64, "images": 1024,
    "name_grace_ms": 30 * 86400000, "names": 64, "open_contracts": 256, "record_bytes": 64 << 10, "reveal_blocks": 100,
}
genesis = {"format": "zero-ledger/1", "members": [member.address], "nonce": sha(b"nonce").hex(), "rules": rules}
ledger = sha(canonical(genesis))

vectors = {
    "keys": {name: {"seed": key.seed.hex(), "address": key.address}
             for name, key in (("member", member), ("alice", alice), ("laptop", laptop))},
    "genesis": {"document": canonical(genesis).decode(), "ledger": ledger.hex()}, "records": [], "blocks": [],
}


def record(key, seq, kind, body):
    unsigned = {"author": alice.address, "body": body, "key": key.address, "kind": kind, "seq": seq, "v": 1}
    message, signature = key.sign(kind, ledger, unsigned)
    signed = dict(unsigned, signatures=[signature])
    identity = sha(canonical(unsigned))
    vectors["records"].append({
        "id": identity.hex(), "message": message.decode(), "canonical": canonical(signed).decode()})
    return signed, identity


roles = [{"key": alice.address, "roles": ["owner"]},
         {"key": laptop.address, "roles": ["approve", "deploy", "plan"], "scope": "blog-*"}]
commitment = sha(f"zero/1\nname\n{alice.address}\nblog-1\n{'07' * 16}".encode())
plan = [
    [record(alice, 1, "identity", {"keys": roles, "name": "alice"}), record(alice, 2, "farm", {"name": "attic", "country": "BE"})],
    [record(alice, 3, "identity", {"keys": [{"key": alice.address, "roles": ["deploy", "owner"]}], "name": "Ælice ☂"}),
     record(alice, 4, "name", {"action": "commit", "hash": commitment.hex()})],
    [record(alice, 5, "name", {"action": "reveal", "name": "blog-1", "nonce": "07" * 16, "expires": 1830000000000})],
]
states = {f"member/{member.address}": 1}
changes = [
    lambda r: {f"identity/{alice.address}": {"body": r[0][0]["body"], "former": [], "record": r[0][1].hex()},
               f"farm/{alice.address}": {"body": r[1][0]["body"], "record": r[1][1].hex()}, f"seq/{alice.address}": 2},
    lambda r: {f"identity/{alice.address}": {"body": r[0][0]["body"], "former": [laptop.address], "record": r[0][1].hex()},
               f"commit/{commitment.hex()}": {"author": alice.address, "height": 2}, f"seq/{alice.address}": 4},
    lambda r: {f"commit/{commitment.hex()}": None, f"name/blog-1": {"expires": 1830000000000, "holder": alice.address},
               f"seq/{alice.address}": 5},
]
parent, entries = ledger, []
for height, (records, change) in enumerate(zip(plan, changes), 1):
    time = 1800000000000 + height * 1000
    entries += [identity for _, identity in records]
    for key, value in change(records).items():
        if value is None: del states[key]
        else: states[key] = value
    leaves = sorted((sha(key.encode()), sha(canonical(value))) for key, value in states.items())
    block = {"height": height, "log_root": log_root(entries).hex(), "parent": parent.hex(),
             "records": [signed for signed, _ in records], "state_root": state_root(leaves).hex(), "time": time}
    parent = sha(canonical(block))
    checkpoint = {"block": parent.hex(), "height": height, "ledger": ledger.hex(), "log_root": block["log_root"],
                  "members": [member.address], "size": len(entries), "state_root": block["state_root"], "time": time}
    _, signature = member.sign("checkpoint", ledger, checkpoint)
    vectors["blocks"].append({
        "canonical": canonical(block).decode(), "hash": parent.hex(),
        "checkpoint": canonical(dict(checkpoint, signatures=[signature])).decode()})
vectors["state"] = [
    {"key": key, "value": canonical(states[key]).decode() if key in states else "",
     "proof": canonical(state_proof(leaves, sha(key.encode()))).decode()}
    for key in ["name/blog-1", f"identity/{alice.address}", "name/nobody-holds-this", f"commit/{commitment.hex()}"]]
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "ledger.json"), "w") as file:
    json.dump(vectors, file, indent=1, ensure_ascii=False)
    file.write("\n")
