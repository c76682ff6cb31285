"""What must be refused, put past the ledger: a member that checks nothing signs it into a block, and the node refuses that."""
import copy
import hashlib
import http.client
import http.server
import json
import ssl
import threading
import urllib.parse

import pytest

import grid as grids
from conftest import folder
from grid import bus, hello, wait_for


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sha(data):
    return hashlib.sha256(data).digest()


def identity(record):
    return sha(canonical({k: v for k, v in record.items() if k != "signatures"}))


def log_root(entries):
    """The tree of RFC 6962."""
    if len(entries) == 1:
        return sha(b"\0" + entries[0])
    middle = 1 << (len(entries) - 1).bit_length() - 1
    return sha(b"\1" + log_root(entries[:middle]) + log_root(entries[middle:]))


class Liar:
    """Serves the true blocks and one more, with the ledger's own certificate and a checkpoint that the member signed."""

    def __init__(self, grid, truth):
        self.grid, self.truth, self.lie = grid, truth, None
        liar = self

        class Door(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                status, body = liar.answer(urllib.parse.urlsplit(self.path))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", grid.ledger_port), Door)
        self.server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(grid.state / "ledger/tls.pem", grid.state / "ledger/tls.key")
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def tell(self, record):
        """From now on the last block holds this record."""
        blocks, last = [b["block"] for b in self.truth], self.truth[-1]
        entries = [identity(r) for b in blocks for r in b["records"]] + [identity(record)]
        block = {
            "height": last["block"]["height"] + 1, "time": last["block"]["time"] + 5, "parent": last["checkpoint"]["block"],
            "records": [record], "log_root": log_root(entries).hex(), "state_root": last["block"]["state_root"]}
        unsigned = {k: v for k, v in last["checkpoint"].items() if k != "signatures"}
        unsigned |= {k: block[k] for k in ("height", "time", "log_root", "state_root")}
        unsigned |= {"size": len(entries), "block": sha(canonical(block)).hex()}
        signature = bus(self.grid.run / "identity.sock", "IDENTITY.SIGN", {"purpose": "checkpoint", "document": unsigned})
        self.lie = {"block": block, "checkpoint": unsigned | {"signatures": [signature]}}

    def answer(self, request):
        if request.path == "/v1/genesis":
            return 200, (self.grid.state / "ledger/genesis.json").read_bytes()
        if request.path == "/v1/checkpoint":
            return 200, canonical((self.lie or self.truth[-1])["checkpoint"])
        if request.path == "/v1/blocks":
            start = int(urllib.parse.parse_qs(request.query)["from"][0])
            lines = [b for b in self.truth + [self.lie] if b["block"]["height"] >= start]
            return 200, b"".join(canonical(line) + b"\n" for line in lines)
        return 404, b'{"code":"not-found","message":"a liar","subject":"liar"}'


def true_blocks(grid):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", grid.ledger_port, context=context)
    connection.request("GET", "/v1/blocks?from=1&wait=0")
    return [json.loads(line) for line in connection.getresponse().read().splitlines()]


@pytest.fixture
def placed(images):
    grid = grids.Grid(folder())
    try:
        grid.up()
        grid.image("examples/nginx", "nginx")
        grid.zero("deploy", grid.contract(hello()), "--yes")
        yield grid
    finally:
        grids.remove(grid)


def test_what_was_put_past_the_ledger_is_refused_by_the_node(placed):
    grid = placed
    # The record of the node's results comes soon after; then nothing more is written by itself.
    wait_for("results", lambda: any(r["kind"] == "result" for b in true_blocks(grid) for r in b["block"]["records"]))
    truth = true_blocks(grid)
    records = [r for b in truth for r in b["block"]["records"]]
    contract = next(r for r in records if r["kind"] == "contract")
    placement = next(r for r in records if r["kind"] == "placement")
    changed = copy.deepcopy(contract)
    changed["body"]["workloads"][0]["cpu"] += 1
    unsigned = copy.deepcopy(contract)
    unsigned["signatures"] = []
    seen = lambda: (grid.state / "log/provision.log").read_text()
    bus(grid.run / "core.sock", "CORE.STOP", {"unit": "ledger"}, timeout=20)
    liar = Liar(grid, truth)
    try:
        for record, code in [(changed, "bad-signature"), (placement, "replayed"), (unsigned, "unsigned")]:
            liar.tell(record)
            said = f"({identity(record).hex()}) that must be refused: {code}"
            wait_for(f"the node refuses what is {code}", lambda: said in seen(), 20)
            # Nobody believes it, and what runs goes on.
            refused = grid.zero("list", check=False)
            assert refused.returncode == 3 and code in refused.stderr and identity(record).hex() in refused.stderr, refused.stderr
            assert grid.get("hello")[0] == 200
    finally:
        liar.close()
    bus(grid.run / "core.sock", "CORE.START", {"unit": "ledger"}, timeout=20)
    wait_for("the true ledger is believed", lambda: grid.zero("list", check=False).returncode == 0)
    grid.zero("deploy", grid.contract(hello().replace("cpu: 0.5", "cpu: 0.4")), "--yes")
    assert grid.get("hello")[0] == 200
