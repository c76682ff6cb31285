"""zero-s3 in memory and requests that mean harm: each gets its own error, the gateway serves on, and its memory stays bounded."""
import base64
import datetime
import hashlib
import hmac
import json
import os
import pathlib
import re
import resource
import selectors
import socket
import subprocess
import tempfile
import time
import urllib.parse

import pytest

BIN = pathlib.Path(os.environ.get("ZERO_BIN", pathlib.Path(__file__).parents[2] / "build/debug")) / "zero-s3"
CONNECTIONS = 1000
MIB = 1 << 20


class Gateway:
    """A gateway in memory with a bucket `mine` of anna's; bert has none and no rights."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="zero-s3-")
        keys, log = pathlib.Path(self.folder.name) / "keys", pathlib.Path(self.folder.name) / "log"
        keys.write_text("first first-secret anna\nsecond second-secret bert\n")
        with open(log, "w") as out:
            self.process = subprocess.Popen([BIN, "--memory", "--port", "0", "--keys", keys], stderr=out)
        for _ in range(200):
            if found := re.search(r"ready port=(\d+)", log.read_text()):
                break
            assert self.process.poll() is None, log.read_text()
            time.sleep(0.05)
        self.port = int(found[1])
        assert self.ask("PUT", "/mine") == (200, "")
        assert self.ask("PUT", "/mine/a", body=b"0123456789") == (200, "")

    def end(self):
        self.process.terminate()
        self.process.wait(20)
        self.folder.cleanup()

    def connect(self, timeout=20):
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def send(self, request, ends=False):
        """The whole answer to these bytes, after which the client `ends`; empty where the connection is only closed."""
        answer = b""
        with self.connect() as link:
            try:
                link.sendall(request)
                if ends:
                    link.shutdown(socket.SHUT_WR)
                while piece := link.recv(65536):
                    answer += piece
            except ConnectionError:
                pass
        return answer

    def ask(self, *words, **settings):
        return outcome(self.send(Request(*words, **settings).bytes))

    def memory(self, name="VmRSS"):
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"{name}:\s+(\d+) kB", text)[1]) << 10


def outcome(answer):
    code = re.search(rb"<Code>(\w+)</Code>", answer)
    return int(answer.split()[1]) if answer else 0, code[1].decode() if code else ""


def digest(data):
    return hashlib.sha256(data).hexdigest()


def mac(key, text):
    return hmac.new(key, text.encode(), "sha256").digest()


class Request:
    """A signed request as bytes. `adds` is sent but not signed; `payload` is what it says of its body."""

    def __init__(self, method, target, headers=None, body=b"", *, key="first", secret=None, payload=None, at=None, adds=(), length=None,
                 presigned=None):
        now = at or datetime.datetime.now(datetime.timezone.utc)
        self.stamp = now.strftime("%Y%m%dT%H%M%SZ")
        self.scope = f"{self.stamp[:8]}/us-east-1/s3/aws4_request"
        payload = payload or digest(body)
        signed = {"host": "h", **(headers or {})}
        if presigned is None:
            signed["x-amz-date"] = self.stamp
            if payload != "none":
                signed["x-amz-content-sha256"] = payload
        names = ";".join(sorted(signed))
        if presigned is not None:
            payload = "UNSIGNED-PAYLOAD"
            target += ("&" if "?" in target else "?") + urllib.parse.urlencode({
                "X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Credential": f"{key}/{self.scope}", "X-Amz-Date": self.stamp,
                "X-Amz-Expires": presigned, "X-Amz-SignedHeaders": names})
        path, _, query = target.partition("?")
        pairs = sorted("=".join(urllib.parse.quote(urllib.parse.unquote_plus(part), safe="-._~") for part in (pair + "=").split("=")[:2])
                       for pair in query.split("&") if pair)
        canonical = "\n".join([
            method, urllib.parse.quote(urllib.parse.unquote_to_bytes(path), safe="/-._~"), "&".join(pairs),
            *(f"{name}:{signed[name]}" for name in sorted(signed)), "", names, digest(b"") if payload == "none" else payload])
        self.key = f"AWS4{secret or key + '-secret'}".encode()
        for part in self.scope.split("/"):
            self.key = mac(self.key, part)
        text = "\n".join(["AWS4-HMAC-SHA256", self.stamp, self.scope, digest(canonical.encode())])
        self.signature = mac(self.key, text).hex()
        if presigned is None:
            signed["Authorization"] = (
                f"AWS4-HMAC-SHA256 Credential={key}/{self.scope},SignedHeaders={names},Signature={self.signature}")
        else:
            target += f"&X-Amz-Signature={self.signature}"
        self.target = target
        if length is None and (body or method in ("PUT", "POST")):
            length = len(body)
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in signed.items()), *adds, "Connection: close"]
        if length is not None:
            lines.append(f"Content-Length: {length}")
        self.head = "\r\n".join(lines).encode() + b"\r\n\r\n"
        self.bytes = self.head + body


@pytest.fixture(scope="module")
def limit():
    """How many files may be open, here and in the gateway."""
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(before, 4096), max(hard, 4096)))
    except (ValueError, OSError):
        pass
    yield resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard if hard > before else before))


@pytest.fixture(scope="module")
def shared(limit):
    made = Gateway()
    yield made
    made.end()


@pytest.fixture
def gateway(shared):
    """The gateway of all tests here, which must serve on after each, from memory that is bounded."""
    yield shared
    assert shared.process.poll() is None
    begun = time.monotonic()
    assert shared.ask("GET", "/mine/a") == (200, "")
    assert time.monotonic() - begun < 2
    assert shared.memory() < 400 * MIB


@pytest.fixture
def fresh(limit):
    """A gateway of its own, for a test that may end it."""
    made = Gateway()
    yield made
    made.end()


def begun(gateway, key="part"):
    answer = gateway.send(Request("POST", f"/mine/{key}?uploads").bytes)
    return re.search(rb"<UploadId>([^<]+)<", answer)[1].decode()


def wrap(root, inner, count=1):
    return f"<{root}>".encode() + inner * count + f"</{root}>".encode()


BOMB = (b'<!DOCTYPE a [<!ENTITY l0 "lol">' + b"".join(b'<!ENTITY l%d "%s">' % (n, b"&l%d;" % (n - 1) * 10) for n in range(1, 10))
        + b"]><%s>&l9;</%s>")
DOCUMENTS = {
    "CompleteMultipartUpload": ("POST", "/mine/part?uploadId="), "Delete": ("POST", "/mine?delete"),
    "Tagging": ("PUT", "/mine/a?tagging"), "VersioningConfiguration": ("PUT", "/mine?versioning"),
}


@pytest.mark.parametrize("root", DOCUMENTS)
def test_documents_that_are_none(gateway, root):
    method, target = DOCUMENTS[root]
    if target.endswith("uploadId="):
        target += begun(gateway)
    name = root.encode()
    bad = [
        b"", b" ", b"<", b"\xff\xfe<\0a\0", b"{}", b"\0" * 1000, b"<a>" * 100_000, b"<" * MIB, b"<a " + b"b='c' " * 100_000,
        b"<" + name + b">", b"</" + name + b">", wrap(root, b"")[:-1], wrap(root, b"") * 2, wrap("Other", b"<a/>"),
        wrap(root, b"<a>" * 17 + b"</a>" * 17), wrap(root, b"<a/>", 100_000), wrap(root, b"\xff\xfe"), wrap(root, b"&lol;"),
        wrap(root, b"&#0;"), BOMB % (name, name), b'<!DOCTYPE a SYSTEM "file:///etc/passwd">' + wrap(root, b""),
        b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>' + wrap(root, b"&b;"),
    ]
    for body in bad:
        assert gateway.ask(method, target, body=body) == (400, "MalformedXML"), body[:60]
    # More than 4 MiB are not kept.
    assert gateway.ask(method, target, body=wrap(root, b" " * (4 * MIB))) == (400, "EntityTooLarge")
    good = wrap(root, b"<a/>")
    for header, value, code in [
        ("content-md5", base64.b64encode(b"0" * 16).decode(), "BadDigest"), ("content-md5", "AA==", "InvalidDigest"),
        ("content-md5", "?", "InvalidDigest"),
    ]:
        assert gateway.ask(method, target, {header: value}, good) == (400, code)
    assert gateway.ask(method, target, body=good, payload=digest(b"other")) == (400, "XAmzContentSHA256Mismatch")


def test_documents_with_too_much(gateway):
    def complete(*parts):
        inner = b"".join(b"<Part><PartNumber>%s</PartNumber><ETag>%s</ETag></Part>" % part for part in parts)
        return gateway.ask("POST", f"/mine/part?uploadId={upload}", body=wrap("CompleteMultipartUpload", inner))

    upload = begun(gateway)
    assert gateway.ask("PUT", f"/mine/part?uploadId={upload}&partNumber=1", body=b"x")[0] == 200
    tag = hashlib.md5(b"x").hexdigest().encode()
    assert complete((b"1", b"0" * 32)) == (400, "InvalidPart")
    for number in (b"-1", b"0", b"2", b"9223372036854775807"):
        assert complete((number, tag)) == (400, "InvalidPart")
    for number in (b"9223372036854775808", b"1.0", b"", b"0x1", b"\xd9\xa1"):
        assert complete((number, tag)) == (400, "MalformedXML")
    assert complete((b"1", tag), (b"1", tag)) == (400, "InvalidPartOrder")
    assert complete(*[(b"%d" % n, tag) for n in range(1, 10_002)]) == (400, "MalformedXML")
    for number in ("0", "-1", "10001", "99999999999999999999", "a", ""):
        assert gateway.ask("PUT", f"/mine/part?uploadId={upload}&partNumber={number}", body=b"x") == (400, "InvalidArgument")
    for identity in ("", "..", "0", "A" * 5000, "%00", "%ff"):
        assert gateway.ask("PUT", f"/mine/part?uploadId={identity}&partNumber=1", body=b"x") == (404, "NoSuchUpload")
    assert gateway.ask("DELETE", f"/mine/part?uploadId={upload}") == (204, "")
    keys = wrap("Delete", b"<Object><Key>a</Key></Object>", 1001)
    assert gateway.ask("POST", "/mine?delete", body=keys) == (400, "MalformedXML")
    tag = b"<Tag><Key>%s</Key><Value>%s</Value></Tag>"
    for tags in (tag % (b"k" * 129, b""), tag % (b"k", b"v" * 257), tag % (b"", b"v"), tag % (b"k", b"v") * 2,
                 b"".join(tag % (b"%d" % n, b"") for n in range(11))):
        assert gateway.ask("PUT", "/mine/a?tagging", body=wrap("Tagging", wrap("TagSet", tags))) == (400, "InvalidTag")
    for name in ("max-keys", "list-type=2&max-keys", "versions&max-keys", "uploads&max-uploads"):
        for number in ("-1", "99999999999999999999", "a", "1.5"):
            assert gateway.ask("GET", f"/mine?{name}={number}") == (400, "InvalidArgument")
    assert gateway.ask("GET", "/mine?list-type=2&continuation-token=%ff%00") == (400, "InvalidArgument")
    assert gateway.ask("GET", f"/mine?list-type=2&prefix={'%ff' * 5000}&delimiter={'%00' * 5000}&start-after=%ff")[0] == 200


def test_policies_that_are_none(gateway):
    rule = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::mine/*"}
    bad = [
        b"", b"{", b"[]", b"1e400", b"\xff", b"[" * 1_000_000, b'{"a":' * 500_000, b'{"Statement":' + b"[" * 63 + b"]" * 63 + b"}",
        b'{"Statement":[{"Effect":"Allow","Effect":"Deny"}]}', b'{"Statement":' + b"9" * 100_000 + b"}", b'"\\ud800"',
        *(json.dumps({"Statement": {**rule, **change}}).encode() for change in [
            {"Effect": "Maybe"}, {"Resource": {"a": "b"}}, {"NotAction": "s3:*"}, {"Action": "iam:*"},
            {"Resource": "arn:aws:iam:::a"}, {"Condition": {"NumericLess": {}}}, {"Condition": {"Bool": {"aws:other": "true"}}}]),
    ]
    for body in bad:
        assert gateway.ask("PUT", "/mine?policy", body=body) == (400, "MalformedPolicy"), body[:60]
    assert gateway.ask("PUT", "/mine?policy", body=b" " * (4 * MIB + 1)) == (400, "EntityTooLarge")
    assert gateway.ask("GET", "/mine?policy") == (404, "NoSuchBucketPolicy")


def test_signatures_in_headers(gateway):
    wrong = (403, "SignatureDoesNotMatch")
    assert gateway.ask("GET", "/mine/a", secret="other") == wrong
    assert gateway.ask("GET", "/mine/a", key="nobody") == (403, "InvalidAccessKeyId")
    meta = {"x-amz-meta-a": "b"}
    good = Request("PUT", "/mine/b", meta, b"body").bytes
    for old, new in [(b"meta-a: b", b"meta-a: c"), (b"/mine/b ", b"/mine/c "), (b"/mine/b ", b"/mine/b?x=y "), (b"PUT", b"DELETE"),
                     (b"host: h", b"host: i"), (b"x-amz-meta-a: b\r\n", b""), (b"Connection", b"x-amz-acl: public-read\r\nConnection")]:
        assert old in good and outcome(gateway.send(good.replace(old, new, 1))) == wrong, new
    assert outcome(gateway.send(good.replace(b"body", b"ydob"))) == (400, "XAmzContentSHA256Mismatch")
    assert gateway.ask("GET", "/mine/b") == (404, "NoSuchKey")
    for minutes in (-16, 16, -525_600):
        moment = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)
        assert gateway.ask("GET", "/mine/a", at=moment) == (403, "RequestTimeTooSkewed")
    for text in ("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 " + "a=b," * 9000, "AWS4-HMAC-SHA256 Credential=" + "/" * 9000, "Bearer x", "AWS a:b",
                 "AWS4-HMAC-SHA256 Credential=first/20200101/us-east-1/s3/aws4_request,SignedHeaders=x-amz-date,Signature=0"):
        for date in ("20200101T000000Z", "99999999T999999Z", "-0000101T000000Z", "20200101", "\u0662" * 8, ""):
            request = f"GET /mine/a HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX-Amz-Date: {date}\r\nAuthorization: {text}\r\n\r\n"
            status, code = outcome(gateway.send(request.encode()))
            assert status in (400, 403) and code in (
                "AuthorizationHeaderMalformed", "AccessDenied", "RequestTimeTooSkewed", "InvalidArgument", "InvalidRequest")


def test_signatures_in_queries(gateway):
    good = Request("GET", "/mine/a", presigned=60).bytes
    assert outcome(gateway.send(good)) == (200, "")
    for old, new in [(b"/mine/a", b"/mine/b"), (b"GET", b"DELETE"), (b"Expires=60", b"Expires=61"), (b"&X-Amz-Sig", b"&versionId=null&X-Amz-Sig"),
                     (b"Signature=", b"Signature=0"), (b"host: h", b"host: i"), (b"Connection", b"x-amz-acl: private\r\nConnection")]:
        assert old in good and outcome(gateway.send(good.replace(old, new, 1))) == (403, "SignatureDoesNotMatch"), new
    for name in (b"Credential", b"Date", b"Expires", b"SignedHeaders", b"Signature"):
        assert outcome(gateway.send(good.replace(b"X-Amz-" + name, b"X-Amz-Other", 1))) == (400, "AuthorizationQueryParametersError")
    past = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=120)
    later = past + datetime.timedelta(hours=1)
    for moment, seconds in [(past, 60), (later, 60), (None, 604_801), (None, -1), (None, 0)]:
        assert gateway.ask("GET", "/mine/a", at=moment, presigned=seconds) == (403, "AccessDenied")
    assert gateway.ask("GET", "/mine/a", presigned="9" * 30) == (400, "AuthorizationQueryParametersError")


def chunked(target, pieces, *, declared=None, change=lambda n, chunk: chunk, last=True, tail=b"", ends=True):
    """An upload in signed chunks, changed on its way."""
    total = declared if declared is not None else sum(map(len, pieces))
    request = Request("PUT", target, {"x-amz-decoded-content-length": str(total)}, payload="STREAMING-AWS4-HMAC-SHA256-PAYLOAD", length="LENGTH")
    body, previous = b"", request.signature
    for number, piece in enumerate([*pieces, b""] if last else pieces):
        text = "\n".join(["AWS4-HMAC-SHA256-PAYLOAD", request.stamp, request.scope, previous, digest(b""), digest(piece)])
        previous = mac(request.key, text).hex()
        body += change(number, b"%x;chunk-signature=%s\r\n%s\r\n" % (len(piece), previous.encode(), piece))
    body += tail
    return request.head.replace(b"LENGTH", b"%d" % (len(body) if ends else len(body) + 1)) + body


def test_signatures_in_chunks(gateway):
    def send(*words, **settings):
        return outcome(gateway.send(chunked("/mine/chunks", *words, **settings)))

    pieces, wrong, incomplete = [b"x" * 70_000, b"y" * 10], (403, "SignatureDoesNotMatch"), (400, "IncompleteBody")
    assert send(pieces) == (200, "")
    assert gateway.ask("DELETE", "/mine/chunks")[0] == 204
    for old, new, result in [
        (b"y", b"z", wrong), (b"signature=", b"signature=0", wrong), (b"chunk-signature=", b"other=", incomplete),
        (b";", b";" + b"a" * 20_000, incomplete), (b"a;", b"b;", incomplete), (b"a;", b"9;", wrong), (b"a;", b"-a;", incomplete),
        (b"a;", b"fffffffffffff;", incomplete), (b"a;", b"g;", incomplete), (b"a;", b";", incomplete), (b"\r\n", b"\r\r\n", wrong),
    ]:
        assert send(pieces, change=lambda n, chunk: chunk.replace(old, new, 1) if n == 1 else chunk) == result, new
    # The signature of one chunk cut short, chunks in another order, one left out, one twice.
    assert send(pieces, change=lambda n, chunk: re.sub(rb"(signature=\w{32})\w+", rb"\1", chunk)) == wrong
    assert send([b"a", b"b"], change=lambda n, chunk: chunk if n == 2 else chunk.replace(b"ba"[n:n + 1], b"ab"[n:n + 1])) == wrong
    assert send(pieces, change=lambda n, chunk: b"" if n == 0 else chunk) == wrong
    assert send(pieces, change=lambda n, chunk: chunk * 2 if n == 1 else chunk) == incomplete
    assert send(pieces, last=False) == incomplete
    for declared in (70_009, 70_011, 0, -1):
        assert send(pieces, declared=declared) == incomplete
    assert send(pieces, declared=6 << 30) == (400, "EntityTooLarge")
    assert send(pieces, declared="a") == (411, "MissingContentLength")
    assert send(pieces, tail=b"more\r\n") == incomplete
    assert gateway.ask("GET", "/mine/chunks") == (404, "NoSuchKey")


def test_paths(gateway):
    # Names are only names: nothing is taken out of them, and none leads to another bucket.
    for key in ("..", "../a", "%2e%2e/%2e%2e/etc/passwd", ".", "/", "//", "/a", "a//b", "a%00b", "%00", "%25%32%65", "a%0d%0aX:%20b", "k" * 1024,
                "%F0%9F%9A%80"):
        assert gateway.ask("PUT", f"/mine/{key}", body=key.encode()) == (200, ""), key
        assert gateway.send(Request("GET", f"/mine/{key}").bytes).endswith(b"\r\n\r\n" + key.encode())
    assert gateway.ask("GET", "/mine/a") == (200, "")
    assert gateway.send(Request("GET", "/mine?list-type=2&encoding-type=url").bytes).count(b"<Contents>") == 15
    for key in ("..", "../a", "%2e%2e/%2e%2e/etc/passwd", "%00"):
        assert gateway.ask("DELETE", f"/mine/{key}")[0] == 204
    for key in ("k" * 1025, "k" * 20_000, "%C3%A9" * 513):
        for method in ("PUT", "GET", "DELETE"):
            assert gateway.ask(method, f"/mine/{key}") == (400, "KeyTooLongError")
    for key in ("%ff", "a%c0%af", "%ed%a0%80", "%f8%88%80%80%80"):
        for method in ("PUT", "GET", "DELETE"):
            assert gateway.ask(method, f"/mine/{key}") == (400, "InvalidURI")
    for name in ("..", ".", "a..b", "%2e%2e", "a%2fb", "mine%2fa", "%00", "mine%00", "%ff", "Mine", "a", "a" * 64, "-ab", "1.2.3.4", "a_b", "a%20b"):
        assert gateway.ask("PUT", f"/{name}") == (400, "InvalidBucketName"), name
        status, code = gateway.ask("GET", f"/{name}")
        assert (status, code) in [(404, "NoSuchBucket"), (400, "InvalidBucketName")], name
    # Unsigned, and not what any library would send.
    for target in ("/mine/../mine/a", "//mine/a", "/mine//a", "/./mine/a", "mine/a", "http://other/mine/a", "*", "/%", "/mine/a%", "/mine/a%0", "?",
                   "/\\mine", "/mine/a;x", "/mine/a\t", "/mine/\u00e9", "/mine/a?" + "&" * 10_000, "/mine/a?" + "versionId=&" * 3000):
        status, _ = outcome(gateway.send(f"GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode()))
        assert status in (0, 400, 403, 404), target
    for line in (b"GET", b"GET /mine/a", b"GET /mine/a HTTP/9.9", b"\0" * 100, b"GET /\0mine/a HTTP/1.1", b"\r\n" * 1000, b"\x16\x03\x01" * 50,
                 b"A" * 70_000 + b" / HTTP/1.1", b"GET /" + b"a" * 700_000 + b" HTTP/1.1", b"FOO /mine/a HTTP/1.1"):
        status, _ = outcome(gateway.send(line + b"\r\nHost: h\r\nConnection: close\r\n\r\n"))
        assert status in (0, 400, 403, 404, 405, 413, 414, 431, 505), line[:40]


def test_heads(gateway):
    def send(*lines, body=b"", method="GET"):
        return outcome(gateway.send("\r\n".join([f"{method} /mine/a HTTP/1.1", "Host: h", "Connection: close", *lines, "", ""]).encode() + body))

    for lines in (["X-Large: " + "a" * (64 << 10)], ["X" * (64 << 10) + ": a"], [f"X-{n}: {'a' * 140}" for n in range(500)]):
        assert send(*lines) == (400, "")
    assert send("X-Large: " + "a" * (1 << 20))[0] in (0, 400, 413, 431)
    assert send(*(f"X-{n}: a" for n in range(20_000)))[0] in (0, 400, 413, 431)
    assert send(*(f"X-{n}: a" for n in range(500))) == (403, "AccessDenied")
    for lines in (["Authorization: a"] * 100, ["X-Amz-Date: a"] * 100, ["Range: bytes=0-0"] * 100):
        assert send(*lines)[0] in (400, 403)
    for length in ("-1", "-0", "99999999999999999999", "9223372036854775808", "18446744073709551616", "0x3", "3a", "a", "3 3", "+3"):
        assert send(f"Content-Length: {length}", body=b"abc", method="PUT")[0] in (400, 403, 413), length
    for coding in ("chunked, chunked", "gzip", "gzip, chunked", "x"):
        assert send(f"Transfer-Encoding: {coding}", body=b"3\r\nabc\r\n0\r\n\r\n", method="PUT")[0] in (400, 403, 411, 501), coding
    # The library's own chunks, signed for, broken.
    for body in (b"z\r\n", b"-1\r\nabc\r\n", b"ffffffffffffffff\r\nabc", b"3\r\nabcd\r\n0\r\n\r\n", b"3" * 100_000):
        request = Request("PUT", "/mine/b", payload="UNSIGNED-PAYLOAD", adds=["Transfer-Encoding: chunked"], length="L").head
        assert outcome(gateway.send(request.replace(b"Content-Length: L\r\n", b"") + body, ends=True))[0] in (0, 400, 413), body[:20]
    assert gateway.ask("PUT", "/mine/b", length=6 << 30) == (400, "EntityTooLarge")
    assert gateway.ask("GET", "/mine/b") == (404, "NoSuchKey")


def test_ranges(gateway):
    def read(text):
        answer = gateway.send(Request("GET", "/mine/a", adds=[f"Range: {text}"]).bytes)
        return outcome(answer)[0], answer.partition(b"\r\n\r\n")[2]

    whole = (200, b"0123456789")
    for text in ("bytes=" + ",".join(["0-0"] * 1000), "bytes=" + "0-0," * 10_000, "bytes=5-4", "bytes=-", "bytes=a-b", "bytes=--5", "lines=0-1",
                 "bytes", "bytes=1-2-3", "bytes=99999999999999999999-", "bytes=-5-", "bytes= 0-1", "bytes=0x1-2"):
        assert read(text) == whole, text
    assert read("bytes=0-9223372036854775807") == (206, b"0123456789") == read("bytes=-9223372036854775807")
    assert read("bytes=9-9") == (206, b"9")
    for text in ("bytes=10-", "bytes=9223372036854775807-", "bytes=9223372036854775807-9223372036854775807", "bytes=-0"):
        assert gateway.ask("GET", "/mine/a", adds=[f"Range: {text}"]) == (416, "InvalidRange")
    for number in ("0", "-1", "10001", "9223372036854775808", "a"):
        assert gateway.ask("GET", f"/mine/a?partNumber={number}") == (400, "InvalidArgument")


def test_heads_that_trickle(gateway):
    links = [gateway.connect() for _ in range(200)]
    try:
        text = b"GET /mine/a HTTP/1.1"
        for turn in range(6):
            for link in links:
                link.send(text[turn:turn + 1])
            until = time.monotonic() + 1
            while (begun := time.monotonic()) < until:
                assert gateway.ask("GET", "/mine/a") == (200, "")
                assert gateway.ask("PUT", "/mine/b", body=b"x" * 10_000) == (200, "")
                assert time.monotonic() - begun < 2
                time.sleep(0.1)
    finally:
        for link in links:
            link.close()


def test_uploads_that_stop_half_way(gateway):
    upload, most = begun(gateway), 0
    for _ in range(6):
        links = []
        for number in range(40):
            target = f"/mine/half{number}" if number % 2 else f"/mine/part?uploadId={upload}&partNumber={number + 1}"
            links.append(gateway.connect())
            links[-1].sendall(Request("PUT", target, payload="UNSIGNED-PAYLOAD", length=8 * MIB).head + b"x" * 2 * MIB)
        for link in links:
            link.close()
        time.sleep(0.5)
        most = max(most, gateway.memory())
    # 480 MiB came.
    assert most < 250 * MIB
    assert b"<KeyCount>0<" in gateway.send(Request("GET", "/mine?list-type=2&prefix=half").bytes)
    assert b"<Part>" not in gateway.send(Request("GET", f"/mine/part?uploadId={upload}").bytes)


def test_many_connections_at_once(gateway, limit):
    if limit < CONNECTIONS + 200:
        pytest.skip(f"only {limit} files may be open, and that cannot be raised")
    request, answers, left = Request("GET", "/mine/a").bytes, [], {}
    with selectors.DefaultSelector() as selector:
        for _ in range(CONNECTIONS):
            link = gateway.connect()
            left[link] = b""
        for link in left:
            link.sendall(request)
            selector.register(link, selectors.EVENT_READ)
        until = time.monotonic() + 20
        while left and time.monotonic() < until:
            for event, _ in selector.select(1):
                link = event.fileobj
                try:
                    piece = link.recv(65536)
                except ConnectionError:
                    piece = b""
                if piece:
                    left[link] += piece
                    continue
                selector.unregister(link)
                answers.append(outcome(left.pop(link)))
                link.close()
    assert not left and len(answers) == CONNECTIONS
    assert set(answers) <= {(200, ""), (503, "SlowDown")}


def test_answers_that_are_not_taken(gateway):
    size = 32 * MIB
    assert gateway.ask("PUT", "/mine/large", body=bytes(size)) == (200, "")
    request, links, sizes = Request("GET", "/mine/large").bytes, [], []
    try:
        for _ in range(100):
            link = socket.socket()
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            link.connect(("127.0.0.1", gateway.port))
            link.sendall(request)
            links.append(link)
        for _ in range(4):
            time.sleep(1)
            sizes.append(gateway.memory())
            assert gateway.ask("GET", "/mine/a") == (200, "")
        # A buffer for each, and no more however long it takes.
        assert sizes[-1] < sizes[0] + 8 * MIB and sizes[-1] < 300 * MIB
    finally:
        for link in links:
            link.close()
    assert gateway.ask("DELETE", "/mine/large")[0] == 204


def test_who_has_no_rights_reaches_nothing(gateway):
    upload = begun(gateway)
    assert gateway.ask("PUT", "/berts", key="second") == (200, "")
    complete = wrap("CompleteMultipartUpload", b"<Part><PartNumber>1</PartNumber><ETag>a</ETag></Part>")
    requests = [
        *(("GET", f"/mine{query}") for query in (
            "", "?list-type=2", "?versions", "?uploads", "?policy", "?policyStatus", "?acl", "?tagging", "?versioning", "?location", "?encryption")),
        *(("GET", f"/mine/{key}") for key in ("a", "nothing", "a?tagging", "a?acl", "a?attributes", f"part?uploadId={upload}")),
        ("PUT", "/mine/a"), ("PUT", "/mine/new"), ("DELETE", "/mine/a"), ("DELETE", "/mine/nothing"), ("DELETE", "/mine"),
        ("PUT", "/mine?policy"), ("DELETE", "/mine?policy"), ("PUT", "/mine?acl"), ("PUT", "/mine/a?acl"), ("PUT", "/mine?versioning"),
        ("PUT", "/mine?tagging"), ("PUT", "/mine/a?retention"), ("PUT", "/mine/a?legal-hold"), ("POST", "/mine/new?uploads"),
        ("PUT", f"/mine/part?uploadId={upload}&partNumber=1"), ("DELETE", f"/mine/part?uploadId={upload}"),
    ]
    refused = (403, "AccessDenied")
    for method, target in requests:
        assert gateway.ask(method, target, key="second") == refused, target
        # Nor anybody.
        anonymous = f"{method} {target} HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        assert outcome(gateway.send(anonymous.encode())) == refused, target
    assert gateway.ask("POST", f"/mine/part?uploadId={upload}", body=complete, key="second") == refused
    assert gateway.ask("POST", "/mine?delete", body=wrap("Delete", b"<Object><Key>a</Key></Object>"), key="second") == refused
    assert gateway.ask("PUT", "/mine", key="second") == (409, "BucketAlreadyExists")
    # Not by a copy, not through one's own bucket.
    for source in ("mine/a", "/mine/a", "mine/a?versionId=null", "berts/../mine/a", "mine%2Fa"):
        assert gateway.ask("PUT", "/berts/x", {"x-amz-copy-source": source}, key="second") in (refused, (404, "NoSuchKey")), source
    assert gateway.ask("GET", "/berts/x", key="second") == (404, "NoSuchKey")
    for method, query in (("GET", ""), ("PUT", "&partNumber=1"), ("POST", ""), ("DELETE", "")):
        assert gateway.ask(method, f"/berts/part?uploadId={upload}{query}", key="second") == (404, "NoSuchUpload")
    assert b"mine" not in gateway.send(Request("GET", "/", key="second").bytes)
    assert gateway.ask("GET", f"/mine/part?uploadId={upload}") == (200, "")


# What was answered wrongly once. Each has a gateway of its own: some ended it.

def once(reason, *words):
    return pytest.param(*words, id=reason)


def trailing(body):
    headers = {"x-amz-decoded-content-length": "1", "x-amz-trailer": "x-amz-checksum-crc32"}
    return Request("PUT", "/mine/b", headers, payload="STREAMING-UNSIGNED-PAYLOAD-TRAILER", length=len(body)).head + body


def framed(body, *lines):
    return Request("PUT", "/mine/b", payload="UNSIGNED-PAYLOAD", adds=lines, length="L").head.replace(b"Content-Length: L\r\n", b"") + body


def policy(**change):
    rule = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::mine/*", **change}
    return Request("PUT", "/mine?policy", body=json.dumps({"Statement": rule}).encode()).bytes


PARTS = wrap("CompleteMultipartUpload", b"".join(
    b"<Part><PartNumber>%d</PartNumber><ETag>a</ETag><ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part>" % n for n in range(1, 10_001)))
LIFECYCLE = wrap("LifecycleConfiguration", (
    b"<Rule><ID>a</ID><Status>Enabled</Status><Filter/><Expiration><Days>2000000000000</Days></Expiration></Rule>"))


@pytest.mark.parametrize("make, codes", [
    once("days that overflow as milliseconds end the gateway at the next write", lambda _: Request("PUT", "/mine?lifecycle", body=LIFECYCLE).bytes, [
        "InvalidArgument", "MalformedXML"]),
    once("ten thousand parts with a checksum each are more elements than are read", lambda gateway: Request(
        "POST", f"/mine/part?uploadId={begun(gateway)}", body=PARTS).bytes, ["InvalidPart"]),
    once("a body may be added to a request that was signed without one", lambda _: Request(
        "PUT", "/mine/b", payload="none", length=3).head + b"abc", ["InvalidRequest", "XAmzContentSHA256Mismatch"]),
    once("a checksum that was announced may be missing behind the body", lambda _: trailing(b"1\r\nx\r\n0\r\n\r\n"), [
        "MalformedTrailerError", "InvalidRequest", "IncompleteBody"]),
    once("bytes behind the last chunk are let through where no line ends", lambda _: trailing(
        b"1\r\nx\r\n0\r\nx-amz-checksum-crc32:jNwWgw==\r\n\r\nmore"), ["IncompleteBody"]),
    once("of two lengths the first counts", lambda _: framed(b"abcdef", "Content-Length: 3", "Content-Length: 6"), None),
    once("a length beside a coding is let through", lambda _: framed(
        b"1\r\nZ\r\n0\r\n\r\n", "Content-Length: 1", "Transfer-Encoding: chunked"), None),
    once("a coding that is not known is waited for until the connection is idle", lambda _: framed(
        b"1\r\nZ\r\n0\r\n\r\n", "Transfer-Encoding: gzip, chunked"), None),
    once("the names that are signed are not counted; they cost time for each header", lambda _: Request("GET", "/mine/a").bytes.replace(
        b"SignedHeaders=", b"SignedHeaders=" + b"b;" * 8000), ["AuthorizationHeaderMalformed"]),
    once("a header that cannot be sent makes it 500 without a document", lambda _: Request(
        "GET", "/mine/a?response-content-type=a%0d%0aX-Evil:%20b").bytes, ["InvalidArgument"]),
    once("a policy may have 4 MiB and is read for each request", lambda _: policy(Resource=["arn:aws:s3:::mine/" + "a" * 1000] * 1000), None),
    once("a denial of nothing is taken", lambda _: policy(Resource=[]), ["MalformedPolicy"]),
])
def test_wrongly_answered(fresh, make, codes):
    request = make(fresh)
    with fresh.connect(5) as link:
        link.sendall(request)
        status, code = outcome(link.recv(65536))
    assert status == 400 and (codes is None or code in codes)


def test_a_marker_of_parts(fresh):
    upload, tag = begun(fresh), hashlib.md5(b"x").hexdigest().encode()
    assert fresh.ask("PUT", f"/mine/part?uploadId={upload}&partNumber=1", body=b"x")[0] == 200
    made = wrap("CompleteMultipartUpload", b"<Part><PartNumber>1</PartNumber><ETag>%s</ETag></Part>" % tag)
    assert fresh.ask("POST", f"/mine/part?uploadId={upload}", body=made)[0] == 200
    headers = {"x-amz-object-attributes": "ObjectParts", "x-amz-max-parts": "0", "x-amz-part-number-marker": "-9223372036854775808"}
    assert fresh.ask("GET", "/mine/part?attributes", headers) == (400, "InvalidArgument")


def test_a_lock_for_thousands_of_years(fresh):
    assert fresh.ask("PUT", "/lock", {"x-amz-bucket-object-lock-enabled": "true"})[0] == 200
    rule = b"<Mode>COMPLIANCE</Mode><Years>9000</Years>"
    rule = wrap("ObjectLockConfiguration", b"<ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule>" + wrap("DefaultRetention", rule) + b"</Rule>")
    if fresh.ask("PUT", "/lock?object-lock", body=rule) == (200, ""):
        version = re.search(rb"x-amz-version-id: (\w+)", fresh.send(Request("PUT", "/lock/a", body=b"x").bytes))[1].decode()
        assert fresh.ask("DELETE", f"/lock/a?versionId={version}") == (403, "AccessDenied")


@pytest.mark.parametrize("key", [b"k" * 5000, b""], ids=["long", "empty"])
def test_markers_with_keys_that_are_none(fresh, key):
    assert fresh.ask("PUT", "/mine?versioning", body=wrap("VersioningConfiguration", b"<Status>Enabled</Status>"))[0] == 200
    fresh.ask("POST", "/mine?delete", body=wrap("Delete", b"<Object><Key>" + key + b"</Key></Object>"))
    assert b"<DeleteMarker>" not in fresh.send(Request("GET", "/mine?versions").bytes)


def test_a_copy_does_not_tell_what_there_is(fresh):
    assert fresh.ask("PUT", "/berts", key="second")[0] == 200
    for name in ("a", "nothing"):
        assert fresh.ask("PUT", "/berts/x", {"x-amz-copy-source": f"mine/{name}"}, key="second") == (403, "AccessDenied")


def test_a_form_with_a_line_end_in_a_field(fresh):
    assert fresh.ask("PUT", "/open", {"x-amz-acl": "public-read-write"})[0] == 200
    fields = {b"key": b"f", b"x-amz-meta-a": b"b\r\nX-Evil: c", b"file": b"data"}
    body = b"".join(b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % field for field in fields.items()) + b"--b--\r\n"
    head = b"POST /open HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: %d\r\n\r\n"
    assert outcome(fresh.send(head % len(body) + body))[0] == 400
    assert fresh.ask("GET", "/open/f") == (404, "NoSuchKey")


@pytest.mark.parametrize("head, count, sent", [
    once("forms of anybody are held whole, each 16 MiB", lambda: b"POST /mine HTTP/1.1\r\nHost: h\r\nContent-Length: 16000000\r\n\r\n", 60, 15),
    once("documents of anybody are held whole, each 4 MiB",
         lambda: b"PUT /mine?policy HTTP/1.1\r\nHost: h\r\nContent-Length: 4000000\r\n\r\n", 200, 3),
    once("what is more than was declared is kept until the end", lambda: Request(
        "PUT", "/mine/b", {"x-amz-decoded-content-length": "10"}, payload="STREAMING-UNSIGNED-PAYLOAD-TRAILER", length=200 * MIB).head
        + b"9600000\r\n", 1, 100),
])
def test_memory_that_strangers_take(fresh, head, count, sent):
    before, body = fresh.memory(), bytes(sent * MIB)
    links = [fresh.connect() for _ in range(count)]
    try:
        for link in links:
            try:
                link.sendall(head() + body)
            except ConnectionError:
                pass  # It was refused in time.
        time.sleep(0.5)
        # What the allocator keeps for its threads beside the 48 MiB that documents may have.
        assert fresh.memory() < before + 160 * MIB
    finally:
        for link in links:
            link.close()
