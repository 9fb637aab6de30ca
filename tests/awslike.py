"""An S3 service that behaves like AWS where Ceph does not. It refuses requests for the
same reasons (signatures, regions, clocks, tokens, conditions, SSE-C keys), has checksums and archived
objects, and fails on demand.

    aws = AwsLike()
    bucket = aws.bucket("data", region="eu-west-1")
    bucket.put("flags.json", b"{}", checksum="crc64nvme")
    aws.then("/data/flags.json", slow_down(), cut(100))     # the next two requests, as with Origin
    aws.keys[ACCESS_KEY].expires = 0

The bucket comes from the path or from the host: BUCKET.s3.REGION.amazonaws.com,
BUCKET.s3.REGION.localhost or BUCKET.localhost. After a CONNECT, as to a proxy, it plays the
requested host.
"""

import base64
import hashlib
import re
import time
import zlib
from dataclasses import dataclass, field
from urllib.parse import unquote
from xml.sax.saxutils import escape

from awssign import Key, Refused, check, decoded_query
from origin import Exchange, Origin, Request, http_date
from s3config import ACCESS_KEY, SECRET_KEY

REGION = "eu-west-1"
HOST = re.compile(
    r"(?:(.+)\.)?s3(?:-fips)?(?:\.dualstack)?[.-]([a-z0-9-]+)\.(?:amazonaws\.com|localhost)"
)


# Checksums


def crc_table(polynomial):
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (polynomial if value & 1 else 0)
        table.append(value)
    return table


def crc(table, bits, data):
    value = ones = (1 << bits) - 1
    for byte in data:
        value = value >> 8 ^ table[(value ^ byte) & 0xFF]
    return (value ^ ones).to_bytes(bits // 8, "big")


CRC32C, CRC64NVME = crc_table(0x82F63B78), crc_table(0x9A6C9329AC4BC9B5)
CHECKSUMS = {
    "crc32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
    "crc32c": lambda data: crc(CRC32C, 32, data),
    "crc64nvme": lambda data: crc(CRC64NVME, 64, data),
    "sha1": lambda data: hashlib.sha1(data).digest(),
    "sha256": lambda data: hashlib.sha256(data).digest(),
}


def checksum_of(name, parts, composite):
    """The value of x-amz-checksum-NAME."""
    compute = CHECKSUMS[name]
    if not composite:
        return base64.b64encode(compute(b"".join(parts))).decode()
    digest = compute(b"".join(compute(part) for part in parts))
    return f"{base64.b64encode(digest).decode()}-{len(parts)}"


def etag_of(parts, multipart):
    if not multipart:
        return '"%s"' % hashlib.md5(b"".join(parts)).hexdigest()
    digest = hashlib.md5(b"".join(hashlib.md5(part).digest() for part in parts)).hexdigest()
    return f'"{digest}-{len(parts)}"'


# Buckets and objects


@dataclass
class Object:
    """One version of a key."""

    body: bytes
    etag: str | None
    version_id: str
    last_modified: float
    headers: dict = field(default_factory=dict)
    checksums: dict = field(default_factory=dict)  # headers; sent if x-amz-checksum-mode is ENABLED
    part_sizes: list = field(default_factory=list)  # of a multipart upload
    sse_key: bytes | None = None
    archived: bool = False
    is_marker: bool = False  # a delete marker


@dataclass
class Bucket:
    name: str
    region: str
    elsewhere: tuple = (301, "header")  # for a wrong region: status, and what names the right one
    public: bool = False
    listable: bool = True  # if not, a missing key is denied
    requester_pays: bool = False
    ignores_conditions: bool = False  # as some compatible services do
    objects: dict = field(default_factory=dict)  # key to versions, the latest last

    def put(self, key, body, parts=None, checksum=None, composite=False, etag=True, age=0, **more):
        """parts: of a multipart upload. etag: True computes one, None omits it.
        checksum: the algorithm, or (algorithm, value) for a wrong one."""
        pieces = parts or [body]
        if etag is True:
            etag = etag_of(pieces, parts is not None)
        checksums = {}
        if checksum:
            name, value = checksum if isinstance(checksum, tuple) else (checksum, None)
            checksums[f"x-amz-checksum-{name}"] = value or checksum_of(name, pieces, composite)
            checksums["x-amz-checksum-type"] = "COMPOSITE" if composite else "FULL_OBJECT"
        made = Object(
            b"".join(pieces), etag, "", time.time() - age, checksums=checksums,
            part_sizes=[len(part) for part in parts or []], **more,
        )  # fmt: skip
        return self._add(key, made)

    def delete(self, key):
        """Adds a delete marker, as in a versioned bucket."""
        return self._add(key, Object(b"", None, "", time.time(), is_marker=True))

    def _add(self, key, made):
        versions = self.objects.setdefault(key, [])
        made.version_id = f"v{len(versions) + 1}.{hashlib.sha256(key.encode()).hexdigest()[:16]}"
        versions.append(made)
        return made


# Requests and responses


@dataclass
class ServiceRequest(Request):
    body: bytes = b""
    code: str | None = None  # of the error
    name: str = ""  # what was requested, as for then() and always()


class ServiceExchange(Exchange):
    """.limit: how many bytes of the body are sent before the connection is closed; None: all."""

    limit = None

    def answer(self, status, headers=None, body=b""):
        now = time.time() + self.origin.clock_ahead_s
        headers = {"Date": http_date(now), "Content-Length": len(body), **(headers or {})}
        self.head(status, headers)
        if self.request.method == "HEAD" or status == 304:
            return
        if self.limit is None:
            self.send(body)
        else:
            self.send(memoryview(body)[: self.limit])
            self.keep = False


class Service(Origin):
    """The common part of AWS's services: bodies, keys, errors. Subclasses implement serve()."""

    def __init__(self):
        self.keys = {ACCESS_KEY: Key(SECRET_KEY)}
        self.clock_ahead_s = 0
        super().__init__()

    def now(self):
        return time.time() + self.clock_ahead_s

    def serve(self, x):
        raise NotImplementedError

    def refuse(self, x, refused):
        raise NotImplementedError

    def name_of(self, request):
        return request.path.partition("?")[0]

    @staticmethod
    def _read_request(connection, peer):
        """Reads a request with its body."""
        read = b""
        while b"\r\n\r\n" not in read:
            piece = connection.recv(65536)
            if not piece:
                return None
            read += piece
        head, _, body = read.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        method, path, _ = lines[0].split(" ")
        fields = (line.split(":", 1) for line in lines[1:])
        headers = {name.lower(): value.strip() for name, value in fields}
        while len(body) < int(headers.get("content-length", 0)):
            body += connection.recv(65536)
        return ServiceRequest(method, path, headers, time.monotonic(), peer, body=body)

    def _answer(self, connection, request):
        request.name = self.name_of(request)
        with self.lock:
            self.requests.append(request)
            script = self.scripts.get(request.name)
            behaviour = script.pop(0) if script else self.standing.get(request.name)
        x = ServiceExchange(self, connection, request, None)
        try:
            (behaviour or self.serve)(x)
        except Refused as refused:
            request.code = refused.code
            self.refuse(x, refused)
        return x.keep

    def always(self, name, behaviour=None):
        """None: serve() again."""
        with self.lock:
            self.standing[name] = behaviour

    def asked(self, name):
        with self.lock:
            return [request for request in self.requests if request.name == name]

    def count(self, name=None, answer=None, code=None):
        with self.lock:
            return sum(
                name in (None, request.name)
                and answer in (None, request.answer)
                and code in (None, request.code)
                for request in self.requests
            )


class AwsLike(Service):
    """host_context: the ssl.SSLContext for hosts behind CONNECT."""

    def __init__(self, host_context=None):
        self.buckets = {}
        self.host_context = host_context
        super().__init__()

    def bucket(self, name, region=REGION, **how):
        self.buckets[name] = Bucket(name, region, **how)
        return self.buckets[name]

    def place(self, request):
        """Bucket, key, and the region in the host's name (None: there is none)."""
        host = request.headers.get("host", "").partition(":")[0]
        path = unquote(request.path.partition("?")[0]).removeprefix("/")
        match = HOST.fullmatch(host)
        bucket, region = match.groups() if match else (None, None)
        if not match and host.endswith(".localhost"):
            bucket = host.removesuffix(".localhost")
        if bucket:
            return bucket, path, region
        bucket, _, key = path.partition("/")
        return bucket, key, region

    def name_of(self, request):
        return "CONNECT" if request.method == "CONNECT" else "/%s/%s" % self.place(request)[:2]

    def refuse(self, x, refused):
        elements = {"Code": refused.code, "Message": refused.message, **refused.elements}
        inner = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in elements.items())
        body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inner}<RequestId>R</RequestId></Error>'
        headers = {"x-amz-request-id": "R", "Content-Type": "application/xml", **refused.headers}
        x.answer(refused.status, headers, body.encode())

    def serve(self, x):
        request = x.request
        if request.method == "CONNECT":
            return self._connect(x)
        if request.method not in ("GET", "HEAD"):
            raise Refused(405, "MethodNotAllowed", "The method is not allowed")
        signed = check(request, "s3", self.keys, self.now())
        name, key, host_region = self.place(request)
        bucket = self.buckets.get(name)
        if not bucket:
            raise Refused(404, "NoSuchBucket", "The specified bucket does not exist")
        self._check_region(bucket, host_region, signed)
        self._check_rights(bucket, request, signed)
        self._send(x, bucket, self._find(bucket, key, request))

    def _connect(self, x):
        """Plays the requested host."""
        x.head(200, {})
        name = x.request.path.partition(":")[0]
        tls = self.host_context.wrap_socket(x.connection, server_side=True)
        with self.lock:
            self.connections.add(tls)
        x.keep = False
        try:
            while not self.closing.is_set() and (request := self._read_request(tls, x.request.peer)):
                if request.headers.get("host") != name or not self._answer(tls, request):
                    return
        finally:
            with self.lock:
                self.connections.discard(tls)
            tls.close()

    def _check_region(self, bucket, host_region, signed):
        wrong_host = host_region not in (None, bucket.region)
        if not wrong_host and (not signed or signed.region == bucket.region):
            return
        status, hint = bucket.elsewhere
        endpoint = f"{bucket.name}.s3.{bucket.region}.amazonaws.com"
        code, elements, headers = "PermanentRedirect", {}, {}
        if status == 307:
            code = "TemporaryRedirect"
        elif status == 400:
            code = "AuthorizationHeaderMalformed"
        if hint == "Endpoint":
            elements["Endpoint"] = endpoint
        elif hint == "Region":
            elements["Region"] = bucket.region
        elif hint == "Location":
            headers["Location"] = f"https://{endpoint}/"
        else:
            headers["x-amz-bucket-region"] = bucket.region
        raise Refused(status, code, "The bucket is in another region", elements, headers)

    def _check_rights(self, bucket, request, signed):
        if not signed and not bucket.public:
            raise Refused(403, "AccessDenied", "Access Denied")
        if bucket.requester_pays and request.headers.get("x-amz-request-payer") != "requester":
            raise Refused(403, "AccessDenied", "Access Denied")

    def _find(self, bucket, key, request):
        versions = bucket.objects.get(key, [])
        wanted = dict(decoded_query(request.path)).get(b"versionId", b"").decode()
        if wanted:
            found = [version for version in versions if version.version_id == wanted]
            if not found:
                raise Refused(404, "NoSuchVersion", "The specified version does not exist")
            if found[0].is_marker:
                raise Refused(405, "MethodNotAllowed", "It is a delete marker", {},
                              {"x-amz-delete-marker": "true", "Allow": "DELETE"})  # fmt: skip
            return found[0]
        if versions and versions[-1].is_marker:
            raise Refused(404, "NoSuchKey", "The specified key does not exist.", {"Key": key},
                          {"x-amz-delete-marker": "true"})  # fmt: skip
        if not versions and not bucket.listable:
            raise Refused(403, "AccessDenied", "Access Denied")
        if not versions:
            raise Refused(404, "NoSuchKey", "The specified key does not exist.", {"Key": key})
        if versions[-1].archived:
            raise Refused(403, "InvalidObjectState", "Not valid for the object's storage class",
                          {"StorageClass": "GLACIER"})  # fmt: skip
        return versions[-1]

    def _send(self, x, bucket, found):
        request = x.request
        self._check_sse(found, request)
        headers = {
            "ETag": found.etag,
            "Last-Modified": http_date(found.last_modified),
            "x-amz-version-id": found.version_id,
            "Accept-Ranges": "bytes",
            **found.headers,
        }
        if not bucket.ignores_conditions:
            if request.headers.get("if-match", found.etag) != found.etag:
                raise Refused(412, "PreconditionFailed", "A precondition did not hold")
            if found.etag and request.headers.get("if-none-match") == found.etag:
                return x.answer(304, headers)
        first, last = self._range(found, request, headers)
        is_whole = first is None and "x-amz-mp-parts-count" not in headers
        if is_whole and request.headers.get("x-amz-checksum-mode") == "ENABLED":
            headers.update(found.checksums)
        if first is None:
            return x.answer(200, headers, found.body)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(found.body)}"
        return x.answer(206, headers, memoryview(found.body)[first : last + 1])

    @staticmethod
    def _range(found, request, headers):
        """First and last byte; None, None: all."""
        number = dict(decoded_query(request.path)).get(b"partNumber")
        if number:
            sizes = found.part_sizes or [len(found.body)]
            if not 1 <= int(number) <= len(sizes):
                raise Refused(416, "InvalidPartNumber", "The part number is not satisfiable")
            first = sum(sizes[: int(number) - 1])
            headers["x-amz-mp-parts-count"] = len(sizes)
            return first, first + sizes[int(number) - 1] - 1
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
        if not match:
            return None, None
        first, end = int(match[1]), len(found.body)
        last = min(int(match[2] or end - 1), end - 1)
        if first >= end or last < first:
            raise Refused(416, "InvalidRange", "The requested range is not satisfiable")
        return first, last

    @staticmethod
    def _check_sse(found, request):
        prefix = "x-amz-server-side-encryption-customer-"
        given = request.headers.get(prefix + "key")
        if not found.sse_key:
            if given:
                raise Refused(400, "InvalidRequest", "The encryption parameters are not applicable")
            return
        digest = base64.b64encode(hashlib.md5(found.sse_key).digest()).decode()
        if not given or request.headers.get(prefix + "algorithm") != "AES256":
            raise Refused(400, "InvalidRequest", "The object was stored using a form of "
                          "Server Side Encryption. The correct parameters must be provided")  # fmt: skip
        if base64.b64decode(given) != found.sse_key or request.headers.get(prefix + "key-md5") != digest:
            raise Refused(403, "AccessDenied", "Access Denied")


# Behaviours, for then() and always(). Only serve() checks signatures and the rest.


def serve(x):
    x.origin.serve(x)


def refuse(status, code, message="On demand", elements=None, **headers):
    def behave(x):
        raise Refused(status, code, message, elements, headers)

    return behave


def slow_down(retry_after=None):
    headers = {"Retry-After": retry_after} if retry_after else {}
    return refuse(503, "SlowDown", "Please reduce your request rate.", **headers)


def error_page(status, body, **headers):
    """An error response that is not from S3."""

    def behave(x):
        x.answer(status, headers, body)

    return behave


def cut(after):
    """Closes the connection in the middle of the body."""

    def behave(x):
        x.limit = after
        x.origin.serve(x)

    return behave


def stall(after):
    def behave(x):
        cut(after)(x)
        x.wait(3600)

    return behave


def drip(after, piece, pause):
    """The beginning of the body, and then a piece now and then."""

    def behave(x):
        cut(after)(x)
        while x.wait(pause):
            x.send(bytes(piece))

    return behave


def before(action):
    """Calls action() first, for example to put a new version or to withdraw a key."""

    def behave(x):
        action()
        serve(x)

    return behave
