"""Checks the signatures of requests (SigV4) as AWS does. botocore computes them, so that our own
code does not judge our own signer."""

import hashlib
import hmac
import re
from calendar import timegm
from dataclasses import dataclass
from time import strptime
from urllib.parse import quote, unquote_to_bytes

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/, ]+)/(\d{8})/([a-z0-9-]+)/([a-z0-9]+)/aws4_request, ?"
    r"SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})"
)
SKEW_S = {"s3": 15 * 60, "sts": 5 * 60}


class Refused(Exception):
    """An error response: status, code, message, further elements and headers."""

    def __init__(self, status, code, message, elements=None, headers=None):
        super().__init__(f"{status} {code}: {message}")
        self.status, self.code, self.message = status, code, message
        self.elements, self.headers = elements or {}, headers or {}


@dataclass
class Key:
    """A service's record of an access key. token: of temporary keys; expires: as time.time()."""

    secret: str
    token: str | None = None
    expires: float | None = None


@dataclass
class Signed:
    access_key: str
    region: str


def decoded_query(target):
    """Names and values after the "?", as S3 parses them."""
    query = target.partition("?")[2]
    pairs = [part.partition("=") for part in query.split("&") if part]
    return [
        tuple(unquote_to_bytes(text.replace("+", " ")) for text in (name, value))
        for name, _, value in pairs
    ]


def signature(request, service, region, access_key, key, names):
    """botocore's signature of the request with only these headers, and the text that it signed."""
    # A service decodes the path and encodes it again by its own rules.
    path = quote(unquote_to_bytes(request.path.partition("?")[0]), safe="/-._~")
    query = "&".join(
        f"{quote(name, safe='-._~')}={quote(value, safe='-._~')}"
        for name, value in decoded_query(request.path)
    )
    made = AWSRequest(
        method=request.method,
        url=f"http://{request.headers['host']}{path}?{query}",
        headers={name: request.headers[name] for name in names},
        data=request.body,
    )
    made.context["timestamp"] = request.headers["x-amz-date"]
    signer = {"s3": S3SigV4Auth}.get(service, SigV4Auth)(
        Credentials(access_key, key.secret), service, region
    )
    canonical = signer.canonical_request(made)
    return signer.signature(signer.string_to_sign(made, canonical), made), canonical


def check(request, service, keys, now):
    """The access key and region of the signature; None: not signed. Raises Refused."""
    headers = request.headers
    if "authorization" not in headers:
        return None
    match = AUTHORIZATION.fullmatch(headers["authorization"])
    if not match:
        raise Refused(400, "AuthorizationHeaderMalformed", "The authorization header is malformed")
    access_key, date, region, scope, signed_headers, theirs = match.groups()
    if not re.fullmatch(r"\d{8}T\d{6}Z", headers.get("x-amz-date", "")):
        raise Refused(403, "AccessDenied", "AWS authentication requires a valid x-amz-date header")
    if scope != service or not headers["x-amz-date"].startswith(date):
        raise Refused(400, "AuthorizationHeaderMalformed", "The credential's scope is wrong")
    if service == "s3" and "x-amz-content-sha256" not in headers:
        raise Refused(400, "InvalidRequest", "Missing required header: x-amz-content-sha256")
    if access_key not in keys:
        code = "InvalidAccessKeyId" if service == "s3" else "InvalidClientTokenId"
        raise Refused(403, code, "The access key does not exist in our records")
    signed_at = timegm(strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ"))
    if abs(now - signed_at) > SKEW_S[service]:
        code = "RequestTimeTooSkewed" if service == "s3" else "SignatureDoesNotMatch"
        raise Refused(403, code, "The difference between request time and our time is too large")
    names = signed_headers.split(";")
    must = ["host"] + [name for name in headers if name.startswith("x-amz-")]
    if names != sorted(set(names)) or not set(must) <= set(names) or not set(names) <= set(headers):
        raise Refused(403, "AccessDenied", "There were headers present which were not signed",
                      {"HeadersNotSigned": ", ".join(set(must) - set(names))})  # fmt: skip
    key = keys[access_key]
    ours, canonical = signature(request, service, region, access_key, key, names)
    if not hmac.compare_digest(ours, theirs):
        raise Refused(403, "SignatureDoesNotMatch", "The signature does not match",
                      {"AWSAccessKeyId": access_key, "CanonicalRequest": canonical})  # fmt: skip
    _check_payload(request, service)
    _check_token(headers.get("x-amz-security-token"), key, now)
    return Signed(access_key, region)


def _check_payload(request, service):
    said = request.headers.get("x-amz-content-sha256")
    if service == "s3" and said not in (hashlib.sha256(request.body).hexdigest(), "UNSIGNED-PAYLOAD"):
        raise Refused(400, "XAmzContentSHA256Mismatch", "The provided header does not match")


def _check_token(token, key, now):
    if key.token and not token:
        raise Refused(403, "InvalidAccessKeyId", "The access key does not exist in our records")
    if token != key.token:
        raise Refused(400, "InvalidToken", "The provided token is malformed or otherwise invalid")
    if key.expires is not None and now >= key.expires:
        raise Refused(400, "ExpiredToken", "The provided token has expired")
