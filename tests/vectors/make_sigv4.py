#!/usr/bin/python3
"""Writes sigv4.txt: botocore's signatures of unusual keys, queries, headers and tokens.

    tests/vectors/make_sigv4.py > tests/vectors/sigv4.txt

A vector is a block of lines "field value", ended by an empty line. The path, and the names and values
of the query, are hexadecimal; "-" is an empty text. target, signed and signature are the expected results.
The first three vectors are AWS's own ("Signature Calculations for the Authorization Header").
"""

import datetime
from unittest import mock

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.utils import percent_encode

ACCESS, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
WHEN = datetime.datetime(2013, 5, 24)
NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
TOKEN = "FwoGZXIvYXdzEBYaDHqa0AP+/==" * 20

KEYS = [
    "plain", "dir/file.txt", "a b", " leading", "trailing ", "a  b", "+", "a+b", "a%b", "%20", "%2F",
    "100%", "%", "%%", "%zz", "//", "/leading", "a//b", "a///b", "trailing/", "a/b/", "/", "///",
    ".", "..", "./a", "../a", "a/./b", "a/../b", "/../b", "a/..", "a/.", "...", "~", "~a", "a~b",
    "?", "a?b", "a?b=c", "?versionId=1", "#", "a#b", "a&b", "a=b", "=", "&", ";", "a;b", ":", "a:b",
    "@", "$", "!", "*", "'", '"', "(a)", "[a]", "{a}", "<a>", "|", "\\", "^", "`", ",", "a,b", "-_.~",
    "\t", "\n", "\r\n", "\x01", "\x7f", "é", "日本語", "🦆/🦆", "e\u0301", "\u00a0", "\u200b", "ß+ü é",
    "S3://bucket/key", "http://example.com/?a=b#c", "a%2Fb+c d", "Ünïcödé/../x y?z=1#+%",
    "x" * 1024, "é" * 512, "/" * 1024, "%" * 200, " " * 100,
    "".join(chr(c) for c in range(1, 128)), "".join(chr(c) for c in range(0x80, 0x200)),
]  # fmt: skip

QUERIES = [
    [("versionId", "null")],
    [("versionId", "3/L4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY+MTRCxf3vjVBH40Nr8X8gdRQBpUMLUo")],
    [("partNumber", "1"), ("versionId", "a b")],
    [("b", "2"), ("a", "1")],
    [("a", "2"), ("a", "1"), ("a", "10")],
    [("a", ""), ("A", ""), ("_", "")],
    [("a-b", "1"), ("a.b", "2"), ("a_b", "3"), ("a~b", "4"), ("ab", "5")],
    [("a b", "+"), ("a+b", " ")],
    [("ä", "ö"), ("日", "本")],
    [("k", "a=b&c=d")],
    [("k", "/../")],
    [("k", "%2F%")],
    [("k?", "?#")],
    [("k", "~*'()!")],
    [("x" * 300, "y" * 700)],
    [("a", "/"), ("a/", "")],
]


class Clock(datetime.datetime):
    @classmethod
    def utcnow(cls):
        return WHEN


def emit(name, service, method, scheme_host, region, path, query, headers, token, body=b""):
    request = AWSRequest(
        method=method,
        url=scheme_host + percent_encode(path, safe="/~"),
        params=query,
        headers=dict(headers),
        data=body,
    )
    signer = botocore.auth.S3SigV4Auth if service == "s3" else botocore.auth.SigV4Auth
    auth = signer(Credentials(ACCESS, SECRET, token), service, region)
    with mock.patch.object(botocore.auth.datetime, "datetime", Clock):
        auth.add_auth(request)
    canonical = auth.canonical_request(request).split("\n")
    got = request.headers["Authorization"]
    target = percent_encode(path, safe="/~") + ("?" + canonical[2] if query else "")
    show(
        name, service, method, scheme_host.split("://")[1], region, path, query, headers, token,
        canonical[-1], target, got.split("SignedHeaders=")[1].split(",")[0], got.split("Signature=")[1],
    )  # fmt: skip


def show(name, service, method, host, region, path, query, headers, token, sha256, target, signed, signature):
    def hexed(text):
        return text.encode().hex() or "-"

    print("name", name)
    print("service", service)
    print("method", method)
    print("host", host)
    print("region", region)
    print("path", hexed(path))
    for pair in query:
        print("query", *map(hexed, pair))
    for pair in headers:
        print("header", *pair)
    if token:
        print("token", token)
    print("sha256", sha256)
    print("target", target)
    print("signed", signed)
    print("signature", signature)
    print()


def published():
    host = "examplebucket.s3.amazonaws.com"
    basic = "host;x-amz-content-sha256;x-amz-date"
    for name, path, query, headers, target, signed, signature in (
        ("AWS: GET object", "/test.txt", [], [("Range", "bytes=0-9")], "/test.txt",
         "host;range;x-amz-content-sha256;x-amz-date",
         "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
        ("AWS: GET bucket lifecycle", "/", [("lifecycle", "")], [], "/?lifecycle=", basic,
         "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        ("AWS: list objects", "/", [("prefix", "J"), ("max-keys", "2")], [], "/?max-keys=2&prefix=J",
         basic, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ):  # fmt: skip
        show(name, "s3", "GET", host, "us-east-1", path, query, headers, None, NOTHING, target,
             signed, signature)  # fmt: skip


def main():
    aws, local = "https://bucket.s3.eu-west-1.amazonaws.com", "http://localhost:8000"
    published()
    for key in KEYS:
        emit(f"key {key[:24]!r}", "s3", "GET", aws, "eu-west-1", "/" + key, [], [], None)
        emit(f"path {key[:24]!r}", "s3", "GET", local, "us-east-1", "/bucket/" + key, [], [], None)
    for query in QUERIES:
        emit(f"query {query!r:.40}", "s3", "HEAD", aws, "eu-west-1", "/a b", query, [], TOKEN)
    for headers in (
        [("x-amz-request-payer", "requester")],
        [("X-Amz-Checksum-Mode", "ENABLED"), ("Range", "bytes=0-0")],
        [("x-amz-meta-blanks", "a   b  c")],
        [("x-amz-server-side-encryption-customer-key", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="),
         ("x-amz-server-side-encryption-customer-algorithm", "AES256")],
    ):  # fmt: skip
        emit(f"headers {headers[0][0]}", "s3", "GET", aws, "eu-west-1", "/k", [], headers, TOKEN)
    sts = "https://sts.eu-west-1.amazonaws.com"
    for path, body in (("/", b"Action=AssumeRole&Version=2011-06-15"), ("/a b/ü+", b""), ("/%2F", b"x")):
        emit(f"sts {path}", "sts", "POST", sts, "eu-west-1", path, [("b", " "), ("a", "")],
             [("content-type", "application/x-www-form-urlencoded; charset=utf-8")], TOKEN, body)  # fmt: skip


main()
