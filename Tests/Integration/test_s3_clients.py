"""zero-s3 in memory: what boto3 does with it, and what strangers try."""
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

import boto3
import botocore.exceptions
import pytest
from botocore.client import Config

BIN = pathlib.Path(os.environ.get("ZERO_BIN", pathlib.Path(__file__).parents[2] / "build/debug")) / "zero-s3"


@pytest.fixture(scope="module")
def port():
    with tempfile.TemporaryDirectory(prefix="zero-s3-") as folder:
        keys, log = pathlib.Path(folder) / "keys", pathlib.Path(folder) / "log"
        keys.write_text("first first-secret anna\nsecond second-secret bert\n")
        with open(log, "w") as out:
            process = subprocess.Popen([BIN, "--memory", "--port", "0", "--keys", keys, "--domain", "s3.test"], stderr=out)
        try:
            found = None
            for _ in range(100):
                found = re.search(r"ready port=(\d+)", log.read_text())
                if found:
                    break
                assert process.poll() is None, log.read_text()
                try:
                    process.wait(0.1)
                except subprocess.TimeoutExpired:
                    pass
            yield int(found[1])
            assert process.poll() is None
        finally:
            process.terminate()
            process.wait(20)


def client(port, name="first"):
    return boto3.client(
        "s3", endpoint_url=f"http://127.0.0.1:{port}", aws_access_key_id=name, aws_secret_access_key=f"{name}-secret",
        region_name="us-east-1", config=Config(signature_version="s3v4", retries={"max_attempts": 0}))


def refused(call, **arguments):
    with pytest.raises(botocore.exceptions.ClientError) as raised:
        call(**arguments)
    return raised.value.response["Error"]["Code"]


def until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.1)


def raw(port, request, body=b""):
    """Sends bytes as they are; the answer's status and the rest."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request + body)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
            if b"\r\n\r\n" in answer and b"Connection: close" not in request:
                break
    return int(answer.split()[1]), answer


def test_large_objects_come_back(port):
    s3 = client(port)
    s3.create_bucket(Bucket="large")
    body = os.urandom(1 << 20) * 64
    tag = s3.put_object(Bucket="large", Key="a", Body=body)["ETag"]
    assert tag == f'"{hashlib.md5(body).hexdigest()}"'
    assert s3.get_object(Bucket="large", Key="a")["Body"].read() == body
    part = s3.get_object(Bucket="large", Key="a", Range="bytes=1048570-1048590")
    assert part["Body"].read() == body[1048570:1048591] and part["ContentRange"] == "bytes 1048570-1048590/67108864"
    assert s3.head_object(Bucket="large", Key="a")["ContentLength"] == len(body)


def test_parts_make_an_object(port):
    s3 = client(port)
    s3.create_bucket(Bucket="parts")
    upload = s3.create_multipart_upload(Bucket="parts", Key="a")["UploadId"]
    bodies = [os.urandom(5 << 20), os.urandom(5 << 20), b"end"]
    parts = [
        {"PartNumber": n, "ETag": s3.upload_part(Bucket="parts", Key="a", UploadId=upload, PartNumber=n, Body=body)["ETag"]}
        for n, body in enumerate(bodies, 1)]
    for _ in range(2):  # the second time is the client that did not get the first answer
        made = s3.complete_multipart_upload(Bucket="parts", Key="a", UploadId=upload, MultipartUpload={"Parts": parts})
        digest = hashlib.md5(b"".join(hashlib.md5(body).digest() for body in bodies)).hexdigest()
        assert made["ETag"] == f'"{digest}-3"'
    assert s3.get_object(Bucket="parts", Key="a")["Body"].read() == b"".join(bodies)
    assert s3.get_object(Bucket="parts", Key="a", PartNumber=3)["Body"].read() == b"end"


def test_listings_and_versions(port):
    s3 = client(port)
    s3.create_bucket(Bucket="lists")
    s3.put_bucket_versioning(Bucket="lists", VersioningConfiguration={"Status": "Enabled"})
    names = [f"d{n % 3}/{n:02}" for n in range(30)]
    for name in names:
        s3.put_object(Bucket="lists", Key=name, Body=b"x")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket="lists", PaginationConfig={"PageSize": 7})
    assert [entry["Key"] for page in pages for entry in page["Contents"]] == sorted(names)
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket="lists", Delimiter="/", PaginationConfig={"PageSize": 1})
    assert [entry["Prefix"] for page in pages for entry in page["CommonPrefixes"]] == ["d0/", "d1/", "d2/"]
    marker = s3.delete_object(Bucket="lists", Key=names[0])
    assert marker["DeleteMarker"]
    assert refused(s3.get_object, Bucket="lists", Key=names[0]) == "NoSuchKey"
    s3.delete_object(Bucket="lists", Key=names[0], VersionId=marker["VersionId"])
    assert s3.get_object(Bucket="lists", Key=names[0])["Body"].read() == b"x"
    pages = s3.get_paginator("list_object_versions").paginate(Bucket="lists", PaginationConfig={"PageSize": 7})
    assert len([entry for page in pages for entry in page["Versions"]]) == 30


def test_only_who_may_reads(port):
    s3, other = client(port), client(port, "second")
    s3.create_bucket(Bucket="mine")
    s3.put_object(Bucket="mine", Key="a", Body=b"x")
    for call in (other.get_object, other.delete_object, other.head_object):
        assert refused(call, Bucket="mine", Key="a") in ("AccessDenied", "403")
    assert refused(other.put_object, Bucket="mine", Key="a", Body=b"y") == "AccessDenied"
    assert refused(other.list_objects_v2, Bucket="mine") == "AccessDenied"
    for path in ("/mine/a", "/mine/../mine/a", "//mine/a", "/mine//a", "/mine/%2e%2e/mine/a", "/mine?list-type=2"):
        assert raw(port, f"GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())[0] in (400, 403, 404)
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "mine", "Key": "a"}, ExpiresIn=60)
    assert urllib.request.urlopen(url).read() == b"x"
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(url.replace("/mine/a", "/mine/b"))
    assert raised.value.code == 403 and b"SignatureDoesNotMatch" in raised.value.read()


def test_refused_before_the_body(port):
    head = b"PUT /nowhere/a HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n"
    status, answer = raw(port, head)
    assert status == 404 and b"100 Continue" not in answer and b"NoSuchBucket" in answer


def test_hostile_requests(port):
    s3 = client(port)
    s3.create_bucket(Bucket="hostile")
    large = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX-Large: " + b"a" * 100_000 + b"\r\n\r\n"
    assert raw(port, large)[0] in (400, 431)
    for authorization in ("AWS a:b", "AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256 Credential=a,SignedHeaders=b,Signature=c", "Bearer x"):
        request = f"GET /hostile HTTP/1.1\r\nHost: h\r\nAuthorization: {authorization}\r\nConnection: close\r\n\r\n"
        assert raw(port, request.encode())[0] in (400, 403)
    for text in (b"", b"<Delete>", b"<!DOCTYPE a [<!ENTITY b 'c'>]><Delete>&b;</Delete>", b"<a>" * 10_000):
        url = s3.generate_presigned_url("list_objects_v2", Params={"Bucket": "hostile"}, HttpMethod="POST")
        with pytest.raises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(urllib.request.Request(url, data=text, method="POST"))
        assert raised.value.code in (400, 412)


def test_many_connections(port):
    s3 = client(port)
    s3.create_bucket(Bucket="many")
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(400)]
    try:
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            list(pool.map(lambda n: s3.put_object(Bucket="many", Key=f"{n}", Body=b"x" * 4096), range(200)))
        assert s3.list_objects_v2(Bucket="many")["KeyCount"] == 200
    finally:
        for connection in idle:
            connection.close()


def test_a_policy_is_asked_for_each_key_of_many(port):
    owner, other = client(port), client(port, "second")
    owner.create_bucket(Bucket="many")
    for key in ("kept", "gone/1", "gone/2"):
        owner.put_object(Bucket="many", Key=key, Body=b"x")
    statement = {"Effect": "Allow", "Principal": {"AWS": "bert"}, "Action": "s3:DeleteObject", "Resource": "arn:aws:s3:::many/gone/*"}
    owner.put_bucket_policy(Bucket="many", Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    names = {"Objects": [{"Key": key} for key in ("kept", "gone/1")]}
    answer = other.delete_objects(Bucket="many", Delete=names)
    assert [entry["Key"] for entry in answer["Deleted"]] == ["gone/1"]
    assert [(entry["Key"], entry["Code"]) for entry in answer["Errors"]] == [("kept", "AccessDenied")]
    # A denial binds the owner too.
    deny = {**statement, "Effect": "Deny", "Principal": "*"}
    owner.put_bucket_policy(Bucket="many", Policy=json.dumps({"Version": "2012-10-17", "Statement": [deny]}))
    answer = owner.delete_objects(Bucket="many", Delete={"Objects": [{"Key": "kept"}, {"Key": "gone/2"}]})
    assert [entry["Key"] for entry in answer["Deleted"]] == ["kept"]
    assert [entry["Key"] for entry in answer["Errors"]] == ["gone/2"]


def test_lifecycle_rules_are_carried_out():
    """A day is a second here."""
    with tempfile.TemporaryDirectory(prefix="zero-s3-") as folder:
        keys, log = pathlib.Path(folder) / "keys", pathlib.Path(folder) / "log"
        keys.write_text("first first-secret anna\n")
        with open(log, "w") as out:
            process = subprocess.Popen([BIN, "--memory", "--port", "0", "--keys", keys, "--lifecycle-day", "1"], stderr=out)
        try:
            until(lambda: "ready port=" in log.read_text())
            s3 = client(int(re.search(r"ready port=(\d+)", log.read_text())[1]))
            s3.create_bucket(Bucket="rules")
            s3.put_bucket_versioning(Bucket="rules", VersioningConfiguration={"Status": "Enabled"})
            for key in ("logs/a", "logs/b", "kept/a"):
                for number in range(3):
                    s3.put_object(Bucket="rules", Key=key, Body=str(number), Tagging="kind=log")
            s3.create_multipart_upload(Bucket="rules", Key="logs/upload")
            s3.put_bucket_lifecycle_configuration(Bucket="rules", LifecycleConfiguration={"Rules": [
                {"ID": "go", "Status": "Enabled", "Expiration": {"Days": 2},
                 "Filter": {"And": {"Prefix": "logs/", "Tags": [{"Key": "kind", "Value": "log"}]}}},
                {"ID": "former", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
                 "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}, "Expiration": {"ExpiredObjectDeleteMarker": True}}]})
            assert [rule["ID"] for rule in s3.get_bucket_lifecycle_configuration(Bucket="rules")["Rules"]] == ["go", "former"]

            def left():
                page = s3.list_object_versions(Bucket="rules")
                return {entry["Key"] for entry in page.get("Versions", []) + page.get("DeleteMarkers", [])}
            until(lambda: left() == {"kept/a"}, 30)
            assert "Uploads" not in s3.list_multipart_uploads(Bucket="rules")
            assert len(s3.list_object_versions(Bucket="rules")["Versions"]) == 3
            s3.delete_bucket_lifecycle(Bucket="rules")
            assert refused(s3.get_bucket_lifecycle_configuration, Bucket="rules") == "NoSuchLifecycleConfiguration"
        finally:
            process.terminate()
            process.wait(20)


def test_pages_of_other_origins(port):
    s3 = client(port)
    s3.create_bucket(Bucket="pages")
    s3.put_object(Bucket="pages", Key="o", Body=b"1")
    s3.put_bucket_cors(Bucket="pages", CORSConfiguration={"CORSRules": [
        {"AllowedOrigins": ["https://*.example"], "AllowedMethods": ["GET", "PUT"], "AllowedHeaders": ["x-amz-*"],
         "ExposeHeaders": ["ETag"], "MaxAgeSeconds": 60}]})

    def ask(method, path, headers):
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method, headers=headers)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, answer.headers
        except urllib.error.HTTPError as error:
            return error.code, error.headers
    page = {"Origin": "https://a.example", "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "x-amz-date"}
    status, headers = ask("OPTIONS", "/pages/o", page)
    assert (status, headers["Access-Control-Allow-Origin"], headers["Access-Control-Allow-Methods"]) == (200, "https://a.example", "GET, PUT")
    assert headers["Access-Control-Max-Age"] == "60" and "Origin" in headers["Vary"]
    for change in ({"Origin": "https://a.example.evil"}, {"Access-Control-Request-Method": "DELETE"}, {"Access-Control-Request-Headers": "x-other"}):
        status, headers = ask("OPTIONS", "/pages/o", page | change)
        assert status == 403 and "Access-Control-Allow-Origin" not in headers
    # An answer that is an error is for the page to see, too.
    status, headers = ask("GET", "/pages/o", {"Origin": "https://a.example"})
    assert (status, headers["Access-Control-Allow-Origin"], headers["Access-Control-Expose-Headers"]) == (403, "https://a.example", "ETag")
    s3.delete_bucket_cors(Bucket="pages")
    assert refused(s3.get_bucket_cors, Bucket="pages") == "NoSuchCORSConfiguration"
    assert "Access-Control-Allow-Origin" not in ask("GET", "/pages/o", {"Origin": "https://a.example"})[1]


def test_what_keeps_a_bucket_closed(port):
    s3, other = client(port), client(port, "second")
    s3.create_bucket(Bucket="closed")
    s3.put_bucket_acl(Bucket="closed", ACL="public-read")
    s3.put_object(Bucket="closed", Key="o", Body=b"1", ACL="public-read")
    assert other.get_object(Bucket="closed", Key="o")["Body"].read() == b"1"
    s3.put_public_access_block(Bucket="closed", PublicAccessBlockConfiguration={
        "BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": True, "RestrictPublicBuckets": True})
    assert refused(other.get_object, Bucket="closed", Key="o") == refused(other.list_objects_v2, Bucket="closed") == "AccessDenied"
    calls = [(s3.put_bucket_acl, {}), (s3.put_object, {"Key": "p"}), (s3.put_object_acl, {"Key": "o"}), (s3.create_multipart_upload, {"Key": "p"})]
    for call, more in calls:
        assert refused(call, Bucket="closed", ACL="public-read", **more) == "AccessDenied"
    policy = {"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::closed/*"}]}
    assert refused(s3.put_bucket_policy, Bucket="closed", Policy=json.dumps(policy)) == "AccessDenied"
    s3.delete_public_access_block(Bucket="closed")
    s3.put_bucket_policy(Bucket="closed", Policy=json.dumps(policy))
    assert other.get_object(Bucket="closed", Key="o")["Body"].read() == b"1"
    s3.put_bucket_acl(Bucket="closed", ACL="private")
    s3.put_bucket_ownership_controls(Bucket="closed", OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]})
    assert refused(s3.put_object, Bucket="closed", Key="p", ACL="public-read") == "AccessControlListNotSupported"
