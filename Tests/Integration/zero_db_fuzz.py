"""A seeded generator of requests that are nearly right, for a running zero-db.

    zero_db_fuzz.py SECONDS [SEED]      with ZERO_BIN; prints the seed first
"""
import random
import socket
import sys
import time

from zero_db_server import Server, call, frame

NAMES = (
    "PING TIME AUTH SELECT SET SETX GET MGET MSET DEL EXISTS CHECK LENGTH KEYTIME SCAN SCANX RSCAN KSCAN KEYCUR HISTORY INFO "
    "DBSIZE NSNEW NSDEL NSLIST NSSET NSINFO NSJUMP RELOAD FLUSH WAIT MIRROR MASTER INDEX DATA HOOKS HELLO COMMAND CONFIG "
    "CLIENT BATCH NSFENCE PROOF GETSEQ KEYSEQ EPOCH NEXT ECHO RESET RANGE PREFIX COMPACT MULTI EXEC DISCARD WATCH UNWATCH "
    "DB.STATUS DB.METRICS ZSYNC WAITREPLICAS PROMOTE ROLE LISTEN UNLISTEN DOORS PSYNC REPLCONF SUBSCRIBE"
).split()
WORDS = [
    b"", b"0", b"-1", b"1", b"18446744073709551615", b"18446744073709551616", b"9223372036854775808", b"*", b"default",
    b"space", b"key", b"key-1", b"IFSEQ", b"IFABSENT", b"EPOCH", b"RETURN", b"SEQ", b"COUNT", b"MATCH", b"FROM", b"to",
    b"NX", b"XX", b"maxsize", b"worm", b"mode", b"seq", b"ordered", b"password", b"history", b"last:1", b"SECURE",
    b"CHALLENGE", b"\x00" * 8, b"\xff" * 17, b"\r\n", b"a" * 255, b"a" * 256, b"[a-", b"**********b", b"*1\r\n$4\r\nPING\r\n",
    b"GET", b"SETNAME", b"3", b"AUTH", b"WIPE", b"RESET", b"SET", b"DEL", b"LIST", b"KILL", b"ID", b"GETKEYS", b"DOCS",
    b"AT", b"ROOT", b"REVERSE", b"AFTER", b"VALUES", b"LIMIT", b"MODE", b"sync", b"interval:10", b"ops", b"bandwidth",
    b"connections", b"freeze", b"lock", b"public", b"reservation", b"S" + b"f" * 16, b"\\x4", b"\"", b"'", b"+", b"-",
]
# Commands as they are meant, whose arguments are then mutated like all others: deeper than chance gets.
SHAPES = [
    b"GET key FROM 0 TO 16352", b"GET key FROM 9 TO 18446744073709551615", b"GET key AT 1", b"GET key AT 18446744073709551615",
    b"BATCH 2 SET a b DEL key", b"BATCH 3 SET key 1 IFABSENT SET key 2 DEL key IFSEQ 7", b"HISTORY key \0\0\0\0\0\0\0\1",
    b"HISTORY key \xff\xff\xff\xff\xff\xff\xff\xff", b"SCANX S0000000000000001", b"RSCAN Sffffffffffffffff",
    b"PROOF key ROOT", b"PROOF key 0 1 2 3", b"PROOF key 4294967296", b"RANGE - + REVERSE VALUES LIMIT 1000", b"PREFIX k AFTER key VALUES",
    b"KSCAN k COUNT 1000 18446744073709551615", b"SCAN 18446744073709551615 MATCH *k*[a-z]* COUNT 1000", b"SCAN 4611686018427387904",
    b"NSNEW space MODE seq", b"NSNEW sorted MODE ordered", b"SELECT space", b"SELECT sorted", b"SELECT default", b"NSDEL space",
    b"NSSET space sync interval:60000", b"NSSET space ops 3", b"NSSET space bandwidth 18446744073709551615", b"NSSET sorted worm 1",
    b"NSSET space maxsize 1", b"NSSET space connections 1", b"NSFENCE space 18446744073709551615", b"CLIENT KILL ID 3",
    b"COMMAND GETKEYS MSET a 1 b 2", b"COMMAND GETKEYS GET", b"AUTH SECURE CHALLENGE space", b"AUTH SECURE " + b"0" * 64,
    b"HELLO 3 AUTH space secret SETNAME me", b"NSSET space password secret", b"NSSET space password *", b"WATCH key a b",
    b"WAITREPLICAS 1 0", b"WAITREPLICAS 0 18446744073709551615", b"LISTEN space door", b"SET key value IFSEQ 1 RETURN SEQ EPOCH 9",
]

# What would end the test or make it wait: they have tests of their own.
LEFT_OUT = {"STOP", "SHUTDOWN", "QUIT"}


def command(choose):
    if choose.random() < 0.35:
        words = choose.choice(SHAPES).split(b" ")
        if choose.random() < 0.3:
            words[choose.randrange(len(words))] = choose.choice(WORDS)
        return words
    if choose.random() < 0.1:
        # Lengths about the sizes of buffers.
        size = (1 << choose.randrange(6, 18)) - choose.randrange(80)
        return [b"SET", b"key", choose.randbytes(8) * (size // 8 + 1)]
    words = [choose.choice(NAMES).encode()]
    if choose.random() < 0.1:
        words[0] = words[0].lower()
    for _ in range(choose.choice([0, 1, 1, 2, 2, 2, 3, 3, 4, 5, 8, 40])):
        kind = choose.random()
        if kind < 0.7:
            words.append(choose.choice(WORDS))
        elif kind < 0.9:
            words.append(str(choose.getrandbits(choose.choice([4, 16, 33, 64, 65]))).encode())
        else:
            words.append(choose.randbytes(choose.choice([1, 8, 17, 300, 5000])))
    if words[0].upper() == b"WAIT":
        words = words[:1] + [b"ping", b"100"]
    if words[0].upper() == b"NSSET" and words[1:2] == [b"default"]:
        # The questions in between come there.
        words[1] = b"space"
    return words


def request(choose):
    """A command, as an array or a line, mutated one time in three where its structure is."""
    words = command(choose)
    data = bytearray(b" ".join(words[:6]) + b"\r\n" if choose.random() < 0.1 else frame(*words))
    while choose.random() < 0.33:
        kind = choose.randrange(7)
        at = choose.randrange(len(data) + 1)
        if kind == 0:
            data[at:at + 1] = choose.randbytes(1)
        elif kind == 1:
            del data[at:at + choose.randrange(1, 9)]
        elif kind == 2:
            data[at:at] = choose.choice(WORDS)
        elif kind == 3:
            data = data[:at]
        elif kind == 4:
            # A length that does not fit what follows.
            at = data.find(b"$", at)
            if at >= 0:
                data[at + 1:at + 2] = str(choose.choice([-1, 0, 7, 99, 1 << 31, 1 << 63])).encode()
        elif kind == 5:
            data[0:2] = b"*%d" % choose.choice([-1, 0, 2, 17000, 1 << 40])
        else:
            data += data[at:]
        if not data:
            return b"\r\n"
    return bytes(data)


def run(server, seed, seconds):
    """Feeds a server for some seconds; it must answer a good request in between, and still run at the end."""
    print(f"ZERO_SEED={seed}", flush=True)
    choose = random.Random(seed)
    end = time.monotonic() + seconds
    rounds = 0
    while time.monotonic() < end:
        with server.connect(0.02) as link:
            for _ in range(choose.randrange(1, 30)):
                data = b"".join(request(choose) for _ in range(choose.randrange(1, 6)))
                pieces = [data]
                if choose.random() < 0.3:
                    at = choose.randrange(len(data) + 1)
                    pieces = [data[:at], data[at:]]
                try:
                    for piece in pieces:
                        link.sendall(piece)
                    link.recv(1 << 16)
                except socket.timeout:
                    pass
                except OSError:
                    break
        rounds += 1
        if rounds % 20 == 0:
            assert server.process.poll() is None, f"ZERO_SEED={seed}: {server.log()[-3000:]}"
            with server.connect(20) as link:
                assert call(link, "PING") == b"+PONG", f"ZERO_SEED={seed}"
    assert server.process.poll() is None, f"ZERO_SEED={seed}: {server.log()[-3000:]}"
    return rounds


def main():
    seconds = float(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns()
    # Hard disks look at what connections have sent before it is received.
    server = Server("--sync", "none", "--profile", "hdd" if seed % 2 else "ssd")
    try:
        rounds = run(server, seed, seconds)
        status = server.end()
        assert status == 0 and "ERROR: AddressSanitizer" not in server.log(), server.log()[-5000:]
        print(f"{rounds} connections, seed {seed}: nothing wrong")
    finally:
        server.remove()


if __name__ == "__main__":
    main()
