"""The s3 fetcher against a service that does what AWS does and radosgw does not: regions, clocks,
tokens, errors and their messages, conditions, checksums, faults."""

import base64
import os
import ssl
import subprocess

import pytest
from awslike import CHECKSUMS, AwsLike, before, cut, drip, error_page, refuse, slow_down, stall
from origin import redirect, status
from rptmount import wait_for
from s3config import SECRET_KEY, environment, profile, source, term
from servers import make_certificates
from test_http import BACK_OFF, FULL, INTERVAL_S, assert_backs_off

# What a fetcher does is the same in both publish modes.
pytestmark = pytest.mark.builds("plain", "asan", "tsan")

OLD, NEW = b"the last good version\n" * 400, b"the next version\n" * 500
REGION = "eu-west-1"
FAILS = ["term=t"]


@pytest.fixture
def bucket(aws):
    return aws.bucket("data", REGION)


def where(aws, key="t", **options):
    return source("data", key, aws.url(""), **{"region": REGION, **options})


# Failures: what the service does · the kind of error · when the next attempt is · a word of the
# message

TORN_XML = b"<Error><Code>SlowDown</Code><Mess"
BOMB = b"<!DOCTYPE e [" + b"".join(
    b'<!ENTITY e%d "%s">' % (i, b"&e%d;" % (i - 1) * 10 if i else b"boom") for i in range(9)
) + b"]><Error><Code>&e8;</Code></Error>"  # fmt: skip

FAILURES = {
    "AccessDenied": (refuse(403, "AccessDenied"), "denied", FULL, "s3:GetObject"),
    "InvalidObjectState": (refuse(403, "InvalidObjectState"), "denied", FULL, "restore"),
    "AllAccessDisabled": (refuse(403, "AllAccessDisabled"), "denied", FULL, ""),
    "KMS": (refuse(400, "KMS.DisabledException"), "denied", FULL, "KMS"),
    "NoSuchBucket": (refuse(404, "NoSuchBucket"), "not_found", FULL, "bucket"),
    "SlowDown": (slow_down(), "busy", BACK_OFF, "refresh_interval"),
    "RequestLimitExceeded": (refuse(503, "RequestLimitExceeded"), "busy", BACK_OFF, ""),
    "RequestTimeout": (refuse(400, "RequestTimeout"), "busy", BACK_OFF, ""),
    "InternalError": (refuse(500, "InternalError"), "busy", BACK_OFF, ""),
    "ServiceUnavailable": (refuse(503, "ServiceUnavailable"), "busy", BACK_OFF, ""),
    "429": (refuse(429, "TooManyRequests"), "busy", BACK_OFF, ""),
    "PermanentRedirect": (refuse(301, "PermanentRedirect"), "denied", FULL, "region"),
    "an unknown code": (refuse(403, "SomethingNew"), "denied", FULL, "SomethingNew"),
    "a page of a proxy": (error_page(502, b"<html><h1>Bad Gateway"), "busy", BACK_OFF, "502"),
    "403 without a body": (error_page(403, b""), "denied", FULL, "403"),
    "XML that is torn": (error_page(503, TORN_XML), "busy", BACK_OFF, "SlowDown"),
    "XML that grows": (error_page(403, BOMB), "denied", FULL, "403"),
    "a very long error": (error_page(500, b"<Error>" + b" " * 2_000_000), "busy", BACK_OFF, "500"),
    "cut in the body": (cut(1000), "unreachable", BACK_OFF, ""),
    "stalls in the body": (stall(1000), "unreachable", BACK_OFF, ""),
    "slower than min_rate": (drip(1000, 600, 0.5), "unreachable", BACK_OFF, "too slow"),
    "204": (error_page(204, b""), "bad_data", FULL, "204"),
}


@pytest.mark.parametrize("row", FAILURES)
def test_a_failure_keeps_the_last_good_version(s3_mount, aws, bucket, row):
    behaviour, kind, next_attempt, word = FAILURES[row]
    bucket.put("t", OLD)
    stall_timeout = "3s" if row.startswith(("stalls", "slower")) else None
    m = s3_mount(
        term(where(aws, stall_timeout=stall_timeout), options=f"refresh_interval = {INTERVAL_S}s"),
        expect=FAILS,
    )
    assert m.read("t") == OLD
    bucket.put("t", NEW)
    aws.always("/data/t", behaviour)
    m.refresh("t", ok=False)
    assert m.kind("t") == kind
    assert word in m.message() and "/data/t: " in m.message() and len(m.message()) < 512
    next_attempt(m)
    assert m.read("t") == OLD and m.status("t")["state"] == ("gone" if kind == "not_found" else "stale")
    aws.always("/data/t")
    m.refresh("t")
    assert m.read("t") == NEW


def test_retry_after_is_obeyed(s3_mount, aws, bucket):
    bucket.put("t", OLD)
    m = s3_mount(term(where(aws)), expect=FAILS)
    aws.always("/data/t", slow_down(retry_after="100"))
    m.refresh("t", ok=False)
    assert m.kind("t") == "busy" and 99 <= m.next_in("t") <= 130


def test_a_deleted_object_is_gone(s3_mount, aws, bucket):
    """A delete marker, a missing key without the right to list, a removed version."""
    fixed = bucket.put("t", OLD).version_id
    m = s3_mount(term(where(aws)) + term(where(aws, version_id=fixed), name="fixed"), expect=["term="])
    bucket.delete("t")
    m.refresh("t", ok=False)
    assert m.kind("t") == "not_found" and "delete marker" in m.message()
    assert m.read("t") == m.read("fixed") == OLD
    del bucket.objects["t"][0]
    m.refresh("fixed", ok=False)
    assert m.kind("fixed") == "not_found"
    bucket.listable = False
    del bucket.objects["t"]
    m.refresh("t", ok=False)
    assert m.kind("t") == "denied" and "s3:ListBucket" in m.message()


def test_an_archived_object_is_denied(s3_mount, aws, bucket):
    bucket.put("t", OLD, archived=True)
    m = s3_mount(term(where(aws)), expect=FAILS)
    assert m.kind("t") == "denied" and "restore" in m.message()


# Versions and conditions


def test_a_304_with_the_etag_of_another_version_is_news(s3_mount, aws, bucket):
    bucket.put("t", OLD)
    m = s3_mount(term(where(aws)))
    bucket.put("t", NEW)
    aws.forget()
    aws.then("/data/t", status(304, {"ETag": '"another"'}, body=b""))
    m.refresh("t")
    assert m.read("t") == NEW
    assert [request.answer for request in aws.asked("/data/t")] == [304, 200]


def test_a_304_counts_as_unchanged(s3_mount, aws, bucket):
    etag = bucket.put("t", OLD).etag
    m = s3_mount(term(where(aws)))
    m.refresh("t")
    assert aws.asked("/data/t")[-1].headers["if-none-match"] == etag
    assert [request.answer for request in aws.asked("/data/t")] == [200, 304]
    assert m.status("t")["unchanged_total"] == 1


def test_a_service_that_ignores_conditions_causes_a_warning(s3_mount, aws, bucket):
    """The digest decides, and there is one warning."""
    bucket.put("t", OLD)
    bucket.ignores_conditions = True
    m = s3_mount(term(where(aws)), expect=["if_none_match_ignored"])
    inode = os.stat(m.at("t")).st_ino
    for _ in range(3):
        m.refresh("t")
    assert len(m.events("if_none_match_ignored")) == 1
    assert os.stat(m.at("t")).st_ino == inode and m.status("t")["unchanged_total"] == 3


def test_without_an_etag_the_digest_decides(s3_mount, aws, bucket):
    bucket.put("t", OLD, etag=None)
    m = s3_mount(term(where(aws)))
    m.refresh("t")
    assert m.status("t")["unchanged_total"] == 1
    bucket.put("t", NEW, etag=None)
    m.refresh("t")
    assert m.read("t") == NEW


def test_an_object_with_a_date_alone_is_transferred_once(s3_mount, aws, bucket):
    """HEAD shows that it has not changed, after a restart too. Nothing is warned of."""
    body = bytes(8 << 20)
    bucket.put("t", body, etag=None, age=1000)
    m = s3_mount(term(where(aws)))
    for _ in range(3):
        m.refresh("t")
    m.restart()
    m.refresh("t")
    first, *others = [request.method for request in aws.asked("/data/t")]
    assert first == "GET" and len(others) >= 4 and set(others) == {"HEAD"}
    bucket.put("t", NEW, etag=None, age=500)
    m.refresh("t")
    assert m.read("t") == NEW


def test_an_object_without_a_version_causes_one_warning(s3_mount, aws, bucket):
    bucket.put("t", OLD, etag=None, headers={"Last-Modified": None})
    m = s3_mount(term(where(aws)), expect=["no_version"])
    for _ in range(3):
        m.refresh("t")
    assert len(m.events("no_version")) == 1
    assert m.status("t")["unchanged_total"] == 3


def test_requester_pays_is_sent(s3_mount, aws, bucket):
    bucket.put("t", NEW)
    bucket.requester_pays = True
    m = s3_mount(term(where(aws, requester_pays=True)) + term(where(aws), name="u"), expect=["term=u"])
    assert m.read("t") == NEW and m.kind("u") == "denied"


def test_only_the_right_sse_c_key_is_accepted(s3_mount, aws, bucket, directory):
    """The key may be 32 bytes or base64; a wrong one is refused."""
    key = os.urandom(32)
    bucket.put("t", NEW, sse_key=key)
    config = ""
    for name, text in {"raw": key, "text": base64.b64encode(key) + b"\n", "wrong": bytes(32)}.items():
        path = os.path.join(directory, f"key.{name}")
        with open(path, "wb") as file:
            file.write(text)
        config += term(where(aws, sse_c_key_file=path), name=name)
    m = s3_mount(config, expect=["term=wrong"])
    assert m.read("raw") == m.read("text") == NEW
    assert m.kind("wrong") == "denied"
    assert base64.b64encode(key).decode() not in m.log() + m.rpt("status", "--json")


# Regions and clocks


@pytest.mark.parametrize(
    "status, hint",
    [
        (301, "header"),
        (301, "Endpoint"),
        (307, "Location"),
        (307, "Endpoint"),
        (400, "Region"),
        (400, "header"),
    ],
)
def test_a_wrong_region_is_corrected_and_remembered(s3_mount, aws, bucket, status, hint):
    bucket.elsewhere = (status, hint)
    bucket.put("t", OLD)
    m = s3_mount(term(where(aws, region="us-east-1")))
    assert m.read("t") == OLD
    assert [request.answer for request in aws.requests] == [status, 200]
    bucket.put("t", NEW)
    m.refresh("t")
    assert m.read("t") == NEW and len(aws.requests) == 3


def test_a_bucket_that_moved_is_found(s3_mount, aws, bucket):
    bucket.put("t", OLD)
    m = s3_mount(term(where(aws)))
    bucket.region = "ap-southeast-2"
    m.refresh("t")
    assert [request.answer for request in aws.requests] == [200, 301, 304]


def test_contradicting_regions_cause_no_loop(s3_mount, aws, bucket):
    bucket.put("t", OLD)
    regions = iter(["eu-north-1", "eu-west-3", "eu-south-1", "eu-north-1"] * 10)

    def elsewhere(x):
        refuse(301, "PermanentRedirect", **{"x-amz-bucket-region": next(regions)})(x)

    aws.always("/data/t", elsewhere)
    m = s3_mount(term(where(aws)), expect=FAILS)
    assert m.kind("t") == "denied" and aws.count("/data/t") == 2


@pytest.mark.parametrize("hint", ["", "eu west", "x" * 200, "../..", "evil.example.com/"])
def test_an_invalid_region_is_ignored(s3_mount, aws, bucket, hint):
    bucket.put("t", OLD)
    aws.always("/data/t", refuse(301, "PermanentRedirect", **{"x-amz-bucket-region": hint}))
    m = s3_mount(term(where(aws)), expect=FAILS)
    assert m.kind("t") == "denied" and aws.count() == 1


def test_redirects_are_never_followed(s3_mount, aws, bucket, origin):
    """Session tokens would be sent along."""
    origin.put("/t", NEW)
    for code in (301, 302, 307, 308):
        aws.then("/data/t", redirect(origin.url("/t"), code))
    m = s3_mount(term(where(aws)), env=environment(token="the-token"), expect=FAILS)
    for _ in range(3):
        m.refresh("t", ok=False)
    assert m.kind("t") == "denied" and m.ls() == [] and origin.count() == 0


@pytest.mark.parametrize("ahead_s", [3600, -3600, 86400 * 400])
def test_a_wrong_clock_is_corrected(s3_mount, aws, bucket, ahead_s):
    bucket.put("t", OLD)
    aws.clock_ahead_s = ahead_s
    m = s3_mount(term(where(aws)))
    assert m.read("t") == OLD
    assert [request.code for request in aws.requests] == ["RequestTimeTooSkewed", None]
    bucket.put("t", NEW)
    m.refresh("t")
    assert m.read("t") == NEW and len(aws.requests) == 3
    aws.clock_ahead_s = 0  # the clock was corrected
    m.refresh("t")
    assert m.status("t")["failed_total"] == 0 and len(aws.requests) == 5


def test_the_region_comes_from_the_first_place_that_has_one(s3_mount, aws, bucket, directory):
    """Option, AWS_REGION, AWS_DEFAULT_REGION, profile."""
    bucket.put("t", NEW)
    home = os.path.join(directory, "home")
    os.makedirs(os.path.join(home, ".aws"))
    with open(os.path.join(home, ".aws", "config"), "w", encoding="ascii") as file:
        file.write(f"[default]\nregion = us-west-1\n[profile here]\nregion = {REGION}\n")
    bucket.elsewhere = (400, "nothing")
    others = {"AWS_REGION": "us-east-2", "AWS_DEFAULT_REGION": "us-west-2", "HOME": home}
    for options, env in (
        ({"region": REGION}, others),
        ({"region": None}, {**others, "AWS_REGION": REGION}),
        ({"region": None}, {"AWS_DEFAULT_REGION": REGION, "HOME": home}),
        ({"region": None}, {"AWS_PROFILE": "here", "HOME": home}),
    ):
        before_it = len(aws.requests)
        m = s3_mount(term(where(aws, **options)), env={**environment(), **env})
        assert m.read("t") == NEW
        assert f"/{REGION}/s3/" in aws.requests[before_it].headers["authorization"]


# AWS's own hosts, played by a proxy


@pytest.fixture(scope="session")
def amazon(tmp_path_factory):
    """Certificates for the hosts of AWS."""
    services = ["s3.eu-west-1", "s3.us-east-1", "s3-fips.eu-west-1", "s3-fips.dualstack.eu-west-1"]
    names = [f"*.{service}.amazonaws.com" for service in services] + ["s3.eu-west-1.amazonaws.com"]
    return make_certificates(str(tmp_path_factory.mktemp("amazon")), names)


@pytest.fixture
def amazon_proxy(servers, amazon):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{amazon}/server.pem", f"{amazon}/server.key")
    servers.append(AwsLike(host_context=context))
    return servers[-1]


def test_the_hosts_of_aws_are_addressed_by_region(s3_mount, amazon, amazon_proxy):
    """Virtual addressing at the region's endpoint, and from a wrong region to the right host."""
    aws = amazon_proxy
    aws.bucket("data", REGION).put("a b/t", NEW)
    aws.bucket("dotted.name", REGION).put("t", OLD)
    how = {"proxy": aws.url(""), "ca_file": f"{amazon}/ca.pem"}
    m = s3_mount(
        term(source("data", "a b/t", region=REGION, **how))
        + term(source("data", "a b/t", region="us-east-1", **how), name="elsewhere")
        + term(source("dotted.name", "t", region=REGION, **how), name="path")
    )
    assert m.read("t") == m.read("elsewhere") == NEW and m.read("path") == OLD
    hosts = {request.headers["host"] for request in aws.requests if request.method == "GET"}
    assert hosts == {
        "data.s3.eu-west-1.amazonaws.com",
        "data.s3.us-east-1.amazonaws.com",
        "s3.eu-west-1.amazonaws.com",
    }
    m.refresh("elsewhere")
    assert aws.requests[-1].headers["host"] == "data.s3.eu-west-1.amazonaws.com"


def test_fips_and_dual_stack_hosts_have_the_same_objects(s3_mount, amazon, amazon_proxy):
    """Another way to the same source: nothing is fetched again."""
    aws = amazon_proxy
    aws.bucket("data", REGION).put("t", NEW)
    how = {"proxy": aws.url(""), "ca_file": f"{amazon}/ca.pem", "region": REGION}
    m = s3_mount(term(source("data", "t", **how)), env={**environment(), "AWS_USE_FIPS_ENDPOINT": "true"})
    assert m.read("t") == NEW
    m.configure(term(source("data", "t", use_dualstack_endpoint=True, **how)))
    m.restart()
    m.refresh("t")
    del m.env["AWS_USE_FIPS_ENDPOINT"]
    m.configure(term(source("data", "t", **how)))
    m.restart()
    m.refresh("t")
    asked = [(r.headers["host"], r.answer) for r in aws.requests if r.method == "GET"]
    assert asked[0] == ("data.s3-fips.eu-west-1.amazonaws.com", 200)
    assert set(asked[1:]) == {
        ("data.s3-fips.dualstack.eu-west-1.amazonaws.com", 304),
        ("data.s3.eu-west-1.amazonaws.com", 304),
    }


def test_only_aws_needs_a_region(build, aws, directory):
    """AWS needs a region; another service does not."""
    conf = os.path.join(directory, "rptfs.conf")

    def check(*arguments):
        with open(conf, "w", encoding="utf-8") as file:
            file.write(f'mountpoint = "{directory}"\n{term(source("data", "t", *arguments))}')
        return subprocess.run(
            [build.rptfs, "--check-config", "-c", conf],
            capture_output=True, text=True, env=build.environment(directory),
        )  # fmt: skip

    done = check()
    assert done.returncode == 1 and 'term "t"' in done.stderr and "region" in done.stderr
    assert check(aws.url("")).returncode == 0


# Expired keys


def test_expired_keys_are_read_again_at_once(s3_mount, aws, bucket, directory):
    file = os.path.join(directory, "aws")

    def write(token):
        with open(file, "w", encoding="ascii") as text:
            text.write(profile(token=token))
        aws.keys["AKIAIOSFODNN7EXAMPLE"].token = token

    bucket.put("t", OLD)
    write("first")
    m = s3_mount(term(where(aws, credentials_file=file)), env={})
    bucket.put("t", NEW)
    write("second")
    m.refresh("t")
    assert m.read("t") == NEW and m.status("t")["failed_total"] == 0


def test_keys_that_stay_expired_cause_no_loop(s3_mount, aws, bucket):
    bucket.put("t", OLD)
    aws.keys["AKIAIOSFODNN7EXAMPLE"].expires = 0
    m = s3_mount(term(where(aws)), expect=FAILS)
    assert m.kind("t") == "denied" and "ExpiredToken" in m.message() and aws.count() <= 2
    FULL(m)


def test_no_secret_is_shown(s3_mount, aws, bucket):
    bucket.put("t", OLD)
    aws.keys["AKIAIOSFODNN7EXAMPLE"].token = "s3cret-token"
    m = s3_mount(term(where(aws)), env=environment(token="s3cret-token"), options=["-d"], expect=["."])
    aws.keys["AKIAIOSFODNN7EXAMPLE"].secret = "other"
    m.refresh("t", ok=False)  # AWS quotes the canonical request, including the token
    assert "SignatureDoesNotMatch" in m.message()
    shown = m.log() + m.rpt("status", "--json") + str(m.metrics()) + m.xattr("t", "source")
    shown += m.xattr("t", "last_error")
    for name in os.listdir(m.store):
        path = os.path.join(m.store, name)
        if os.path.isfile(path):
            with open(path, "rb") as file:
                shown += file.read().decode("latin-1")
    for secret in ("s3cret-token", SECRET_KEY, "Signature=", "AWS4-HMAC"):
        assert secret not in shown


# Checksums


@pytest.mark.parametrize("name", CHECKSUMS)
def test_checksums_are_verified(s3_mount, aws, bucket, name):
    """Whole and composite checksums, right and wrong."""
    body = os.urandom(29_999)
    parts = [body[:10_000], body[10_000:20_000], body[20_000:]]
    bucket.put("whole", body, checksum=name)
    bucket.put("parts", b"", parts=parts, checksum=name, composite=True)
    wrong = bucket.put("other", body + b"!", checksum=name).checksums[f"x-amz-checksum-{name}"]
    bucket.put("wrong", body, checksum=(name, wrong))
    bucket.put("wrong-parts", b"", parts=parts, composite=True, checksum=(name, f"{wrong}-3"))
    m = s3_mount(
        "".join(term(where(aws, key, checksum="require"), name=key) for key in bucket.objects),
        expect=["term=wrong", "term=wrong-parts"],
    )
    assert m.ls() == ["other", "parts", "whole"]
    assert m.read("whole") == m.read("parts") == body
    for key in ("wrong", "wrong-parts"):
        assert m.kind(key) == "bad_data" and name in m.message(key)


def test_each_checksum_mode_does_what_it_says(s3_mount, aws, bucket):
    bucket.put("none", OLD)
    bucket.put("wrong", NEW, checksum=("crc32", "AAAAAA=="))
    bucket.put("strange", NEW, checksum=("crc32", "not base64!"))
    m = s3_mount(
        term(where(aws, "none", checksum="require"), name="none, required")
        + term(where(aws, "none"), name="none")
        + term(where(aws, "wrong", checksum="off"), name="wrong, off")
        + term(where(aws, "wrong"), name="wrong")
        + term(where(aws, "strange"), name="strange"),
        expect=["term=", "warning"],
    )
    assert set(m.ls()) - {"strange"} == {"none", "wrong, off"}
    assert m.kind("none, required") == m.kind("wrong") == "bad_data"
    off = [r for r in aws.asked("/data/wrong") if "x-amz-checksum-mode" not in r.headers]
    assert len(off) == 1


def test_a_refused_body_is_not_fetched_again_until_its_token_changes(s3_mount, aws, bucket):
    bucket.put("t", OLD, checksum="sha256")
    m = s3_mount(term(where(aws)), expect=FAILS)
    bucket.put("t", NEW, checksum=("sha256", base64.b64encode(bytes(32)).decode()))
    m.refresh("t", ok=False)
    assert m.kind("t") == "bad_data" and m.read("t") == OLD
    sent = aws.count("/data/t", answer=200)
    m.refresh("t", ok=False)
    assert aws.count("/data/t", answer=200) == sent
    bucket.put("t", NEW + b"fixed", checksum="sha256")
    m.refresh("t")
    assert m.read("t") == NEW + b"fixed"


# Several sources


def test_failover_works_between_regions(s3_mount, aws, bucket):
    """Replicas of a bucket in order, each with its region."""
    replica = aws.bucket("replica", "us-east-1")
    bucket.put("t", OLD, headers={"x-amz-meta-version": "1"})
    replica.put("t", NEW, headers={"x-amz-meta-version": "2"})
    by = {"version_header": "x-amz-meta-version"}
    m = s3_mount(
        term(where(aws, **by), source("replica", "t", aws.url(""), region="us-east-1", **by)),
        expect=FAILS,
    )
    assert m.read("t") == OLD and aws.count("/replica/t") == 0
    aws.always("/data/t", slow_down())
    m.refresh("t")
    assert m.read("t") == NEW and m.xattr("t", "source").startswith("s3://replica/t")
    aws.always("/data/t")
    bucket.put("t", OLD + b"again", headers={"x-amz-meta-version": "1"})
    m.refresh("t")
    assert m.read("t") == OLD + b"again", "the first source is the authority"


def test_an_older_replica_is_not_used(s3_mount, aws, bucket):
    replica = aws.bucket("replica", REGION)
    bucket.put("t", NEW)
    replica.put("t", OLD, age=3600)
    m = s3_mount(term(where(aws), source("replica", "t", aws.url(""), region=REGION)), expect=FAILS)
    aws.always("/data/t", slow_down())
    m.refresh("t", ok=False)
    assert m.read("t") == NEW and m.status("t")["state"] == "stale"
    assert_backs_off(m)


def test_the_version_is_that_of_the_received_bytes(s3_mount, aws, bucket):
    """The version comes from the response that carried the bytes."""
    bucket.put("t", OLD)
    later = []
    aws.then("/data/t", before(lambda: later.append(bucket.put("t", NEW))))
    m = s3_mount(term(where(aws)))
    assert m.read("t") == NEW and m.xattr("t", "version") == later[0].etag.strip('"')


def test_sigterm_ends_a_stalled_transfer(s3_mount, aws, bucket):
    bucket.put("t", bytes(100_000))
    aws.always("/data/t", stall(10_000))
    m = s3_mount(term(where(aws)), wait=False)
    wait_for(lambda: aws.count("/data/t"), "the download to begin")
    m.stop()  # asserts that it ends by itself and leaves nothing
