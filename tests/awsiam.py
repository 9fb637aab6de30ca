"""The AWS services that hand out keys: the metadata service of a machine (IMDSv2), that of a
container, and the security token service (STS). Each returns temporary keys, registers them with
an S3 service, and refuses the same requests as the real service.

    aws, imds = AwsLike(), Imds(aws)
    imds.lifetime_s = 1000                # of the keys that it returns
    assert imds.count("/latest/api/token") == 1
"""

import itertools
import json
import re
import time
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from awslike import Service
from awssign import Key, Refused, check

ROLE_ARN = "arn:aws:iam::123456789012:role/reader"
XMLNS = "https://sts.amazonaws.com/doc/2011-06-15/"


def rfc3339(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


class KeyService(Service):
    """services: the services that accept its keys."""

    numbers = itertools.count(1)

    def __init__(self, *services):
        self.services = services
        self.lifetime_s = 3600
        self.made = []  # access keys, in order
        super().__init__()

    def make_keys(self):
        """New keys: access key, secret key, token, expiration."""
        number = next(self.numbers)
        expires = time.time() + self.lifetime_s
        access_key, secret, token = (f"{kind}{number:08}" for kind in ("ASIATEST", "secret+/", "token/=+"))
        for service in self.services:
            service.keys[access_key] = Key(secret, token, expires)
        self.made.append(access_key)
        return access_key, secret, token, expires

    def refuse(self, x, refused):
        x.answer(refused.status, {"Content-Type": "text/plain"}, refused.code.encode())

    def json(self, x, **fields):
        x.answer(200, {"Content-Type": "application/json"}, json.dumps(fields).encode())


class Imds(KeyService):
    """Version 2 only: every request needs a token, and only a PUT gets one."""

    role = "the-role"  # None: no role
    tokens = ()
    prefix = "/latest/meta-data/iam/security-credentials/"

    def serve(self, x):
        request = x.request
        if request.name == "/latest/api/token":
            return self._token(x)
        if request.method != "GET":
            raise Refused(405, "MethodNotAllowed", "")
        if request.headers.get("x-aws-ec2-metadata-token") not in self.tokens:
            raise Refused(401, "Unauthorized", "")
        if self.role and request.name == self.prefix:
            return x.answer(200, {"Content-Type": "text/plain"}, self.role.encode())
        if self.role and request.name == self.prefix + self.role:
            access_key, secret, token, expires = self.make_keys()
            return self.json(
                x, Code="Success", Type="AWS-HMAC", LastUpdated=rfc3339(time.time()),
                AccessKeyId=access_key, SecretAccessKey=secret, Token=token,
                Expiration=rfc3339(expires),
            )  # fmt: skip
        raise Refused(404, "NotFound", "")

    def _token(self, x):
        request = x.request
        if request.method != "PUT":
            raise Refused(405, "MethodNotAllowed", "")
        if "x-forwarded-for" in request.headers:
            raise Refused(403, "Forbidden", "")
        ttl = request.headers.get("x-aws-ec2-metadata-token-ttl-seconds", "")
        if not ttl.isdigit() or not 1 <= int(ttl) <= 21600:
            raise Refused(400, "BadRequest", "")
        token = f"imds-token-{len(self.tokens)}=="
        self.tokens += (token,)
        x.answer(200, {"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": ttl}, token.encode())


class Container(KeyService):
    """The endpoint of ECS and EKS. .token: the expected Authorization; None: no such header."""

    token = None

    def serve(self, x):
        if x.request.name != "/v2/credentials":
            raise Refused(404, "NotFound", "")
        if x.request.headers.get("authorization") != self.token:
            raise Refused(403, "AccessDenied", "")
        access_key, secret, token, expires = self.make_keys()
        self.json(x, RoleArn=ROLE_ARN, AccessKeyId=access_key, SecretAccessKey=secret, Token=token,
                  Expiration=rfc3339(expires))  # fmt: skip


class Sts(KeyService):
    """AssumeRole and AssumeRoleWithWebIdentity. .identity_token: the accepted token;
    .external_id: required by the role's trust policy."""

    identity_token, external_id, region = "the.identity.token", None, "eu-west-1"

    def refuse(self, x, refused):
        error = f"<Type>Sender</Type><Code>{refused.code}</Code><Message>{escape(refused.message)}</Message>"
        self._xml(x, refused.status, f'<ErrorResponse xmlns="{XMLNS}"><Error>{error}</Error></ErrorResponse>')

    @staticmethod
    def _xml(x, status, text):
        x.answer(status, {"Content-Type": "text/xml"}, text.encode())

    def serve(self, x):
        request = x.request
        form = self._form(request)
        if form.get("Version") != "2011-06-15":
            raise Refused(400, "InvalidAction", "Could not find the operation for this version")
        action = form.get("Action")
        if action == "AssumeRole":
            signed = check(request, "sts", self.keys, self.now())
            if not signed:
                raise Refused(403, "MissingAuthenticationToken", "The request is not signed")
            if signed.region != self.region:
                raise Refused(403, "SignatureDoesNotMatch", "Credential should be scoped to a valid region")
        elif action != "AssumeRoleWithWebIdentity":
            raise Refused(400, "InvalidAction", "Could not find the operation")
        self._check_form(form)
        if action == "AssumeRoleWithWebIdentity" and form.get("WebIdentityToken") != self.identity_token:
            raise Refused(400, "InvalidIdentityToken", "The token could not be verified")
        if form.get("ExternalId") != self.external_id or form["RoleArn"] != ROLE_ARN:
            raise Refused(403, "AccessDenied", f"Not authorized to perform: sts:{action}")
        self._hand_out(x, action, form)

    @staticmethod
    def _form(request):
        if request.method != "POST":
            return dict(parse_qsl(request.path.partition("?")[2], keep_blank_values=True))
        if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            raise Refused(400, "InvalidAction", "The body is not a form")
        return dict(parse_qsl(request.body.decode(), keep_blank_values=True))

    @staticmethod
    def _check_form(form):
        if not re.fullmatch(r"[\w+=,.@-]{2,64}", form.get("RoleSessionName", "")):
            raise Refused(400, "ValidationError", "roleSessionName failed to satisfy constraint")
        if not form.get("RoleArn", "").startswith("arn:"):
            raise Refused(400, "ValidationError", "roleArn failed to satisfy constraint")
        duration = form.get("DurationSeconds", "3600")
        if not duration.isdigit() or not 900 <= int(duration) <= 43200:
            raise Refused(400, "ValidationError", "durationSeconds failed to satisfy constraint")

    def _hand_out(self, x, action, form):
        access_key, secret, token, expires = self.make_keys()
        fields = {
            "AccessKeyId": access_key,
            "SecretAccessKey": secret,
            "SessionToken": token,
            "Expiration": rfc3339(expires),
        }
        inner = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in fields.items())
        arn = f"{ROLE_ARN.replace(':role/', ':assumed-role/')}/{form['RoleSessionName']}"
        user = f"<AssumedRoleUser><Arn>{arn}</Arn><AssumedRoleId>AROA:x</AssumedRoleId></AssumedRoleUser>"
        self._xml(
            x, 200,
            f'<{action}Response xmlns="{XMLNS}"><{action}Result>{user}<Credentials>{inner}</Credentials>'
            f"</{action}Result></{action}Response>",
        )  # fmt: skip
