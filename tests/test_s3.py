"""The s3 fetcher against a real S3 service (Ceph radosgw)."""

import contextlib
import hashlib
import json
import os
import struct
import threading
from urllib.parse import quote

import pytest
from radosgw import REGION, TLS_BUCKET
from s3config import NOTHING, environment, profile, source, term
from test_http import assert_backs_off, assert_waits_full_interval

# What a fetcher does is the same in both publish modes.
pytestmark = pytest.mark.builds("plain", "asan", "tsan")

OLD, NEW = b"the last good version\n" * 400, b"the next version\n" * 500
FAILS = ["term=t"]


@pytest.fixture
def bucket(radosgw):
    return radosgw.bucket()


@pytest.fixture
def gate(radosgw, gates):
    return gates(radosgw.port)


def test_the_first_version_and_its_update_are_served(s3_mount, radosgw, bucket):
    etag = bucket.put("dir/t", OLD)
    m = s3_mount(term(source(bucket.name, "dir/t", radosgw.url())))
    assert m.read("t") == OLD
    assert m.xattr("t", "version") == etag and m.xattr("t", "state") == "fresh"
    assert m.xattr("t", "source").startswith(f"s3://{bucket.name}/dir/t")
    modified = bucket.head("dir/t")["LastModified"].timestamp()
    assert int(os.stat(m.at("t")).st_mtime) == int(modified)
    etag = bucket.put("dir/t", NEW)
    m.refresh("t")
    assert m.read("t") == NEW and m.xattr("t", "version") == etag


def test_an_unchanged_object_costs_one_request(s3_mount, bucket, gate):
    etag = bucket.put("t", OLD)
    m = s3_mount(term(source(bucket.name, "t", gate.url())))
    inode = os.stat(m.at("t")).st_ino
    gate.forget()
    for n in range(1, 4):
        m.refresh("t")
        assert gate.count() == n
    assert all(request.headers["if-none-match"] == f'"{etag}"' for request in gate.requests)
    assert m.status("t")["unchanged_total"] == 3 and m.xattr("t", "version") == etag
    assert os.stat(m.at("t")).st_ino == inode


def test_a_term_may_be_given_on_the_command_line(s3_mount, radosgw, bucket):
    bucket.put("a b?/t", NEW)
    where = quote(f"{bucket.name}/a b?/t")
    m = s3_mount(options=[f"u=s3://{where}?region={REGION}&endpoint={radosgw.url()}"])
    assert m.read("u") == NEW


# Versions


def test_version_id_fixes_the_version(s3_mount, radosgw):
    bucket = radosgw.bucket(versioned=True)
    bucket.put("t", OLD)
    fixed = bucket.head("t")["VersionId"]
    bucket.put("t", NEW)
    m = s3_mount(
        term(source(bucket.name, "t", radosgw.url(), version_id=fixed))
        + term(source(bucket.name, "t", radosgw.url()), name="latest")
    )
    assert m.read("t") == OLD and m.read("latest") == NEW
    bucket.put("t", NEW + b"more")
    m.refresh("t", "latest")
    assert m.read("t") == OLD and m.read("latest") == NEW + b"more"


def test_a_delete_marker_means_gone(s3_mount, radosgw):
    bucket = radosgw.bucket(versioned=True)
    bucket.put("t", OLD)
    m = s3_mount(term(source(bucket.name, "t", radosgw.url())), expect=FAILS)
    bucket.delete("t")
    m.refresh("t", ok=False)
    assert m.kind("t") == "not_found" and m.status("t")["state"] == "gone"
    assert m.read("t") == OLD
    bucket.put("t", NEW)
    m.refresh("t")
    assert m.read("t") == NEW and m.status("t")["state"] == "fresh"


def test_version_header_names_the_version(s3_mount, radosgw, bucket):
    """The header is shown as the version; requests are made with the ETag."""
    where = source(bucket.name, "t", radosgw.url(), version_header="x-amz-meta-version")
    etag = bucket.put("t", OLD, Metadata={"version": "2026-11-22.7"})
    m = s3_mount(term(where))
    assert m.xattr("t", "version") == "2026-11-22.7" and m.xattr("t", "source_version") == etag
    m.refresh("t")
    assert m.status("t")["unchanged_total"] == 1
    bucket.put("t", NEW, Metadata={"version": "2026-11-23.1"})
    m.refresh("t")
    assert m.read("t") == NEW and m.xattr("t", "version") == "2026-11-23.1"


def test_a_multipart_upload_is_read_like_any_object(s3_mount, radosgw, bucket):
    parts = os.urandom(5 << 20), os.urandom(100_000)
    etag = bucket.put_parts("t", *parts)
    m = s3_mount(term(source(bucket.name, "t", radosgw.url(), part_size="1MiB")))
    assert m.read("t") == b"".join(parts)
    assert m.xattr("t", "version") == etag and etag.endswith("-2")
    m.refresh("t")
    assert m.status("t")["unchanged_total"] == 1


# The wrong option or environment · the kind of error · a word of the message

WRONG = {
    "key": ({"key": "other"}, {}, "not_found", "NoSuchKey"),
    "bucket": ({"bucket": "no-such-bucket"}, {}, "not_found", "NoSuchBucket"),
    "access key": ({}, {"access_key": "AKIAOTHER"}, "denied", "403"),
    "secret": ({}, {"secret_key": "wrong"}, "denied", "403"),
    "token": ({}, {"token": "OFSOMEBODYELSE"}, "denied", "403"),
    "version": ({"version_id": "0123456789abcdef"}, {}, "not_found", "404"),
    "anonymous": ({"anonymous": True}, {}, "denied", "AccessDenied"),
}


@pytest.mark.parametrize("row", WRONG)
def test_the_message_names_what_is_wrong(s3_mount, radosgw, bucket, row):
    wrong, keys, kind, word = WRONG[row]
    bucket.put("t", OLD)
    where = {"bucket": bucket.name, "key": "t", "endpoint": radosgw.url(), **wrong}
    m = s3_mount(term(source(**where)), env=environment(**keys), expect=FAILS)
    assert m.ls() == [] and m.kind("t") == kind
    message = m.message()
    assert word in message and f"s3://{where['bucket']}/{where['key']}" in message
    assert_waits_full_interval(m)


def test_keys_without_the_right_to_read_are_denied(s3_mount, radosgw, bucket):
    _, *keys = radosgw.user()
    bucket.put("t", OLD)
    m = s3_mount(
        term(source(bucket.name, "t", radosgw.url())), env=environment(*keys), expect=FAILS
    )
    assert m.kind("t") == "denied" and "s3:GetObject" in m.message()


def test_without_keys_access_is_denied(s3_mount, radosgw, bucket):
    bucket.put("t", OLD)
    m = s3_mount(term(source(bucket.name, "t", radosgw.url())), env=NOTHING, expect=FAILS)
    assert m.ls() == [] and m.kind("t") == "denied"


def test_an_anonymous_source_signs_nothing(s3_mount, radosgw, bucket, gate):
    """Nothing is signed, and the keys of the environment are not used."""
    bucket.put("t", NEW, ACL="public-read")
    m = s3_mount(term(source(bucket.name, "t", gate.url(), anonymous=True)))
    assert m.read("t") == NEW
    assert "authorization" not in gate.requests[0].headers


# Keys


def test_session_tokens_are_sent(s3_mount, radosgw, bucket):
    bucket.put("t", NEW)
    radosgw.client("iam").put_user_policy(
        UserName="owner", PolicyName="all", PolicyDocument=policy("Allow", "s3:*", "sts:*")
    )
    made = radosgw.client("sts").get_session_token(DurationSeconds=900)["Credentials"]
    keys = [made[name] for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")]
    m = s3_mount(term(source(bucket.name, "t", radosgw.url())), env=environment(*keys))
    assert m.read("t") == NEW


def policy(effect, *actions, **more):
    """Without spaces, which radosgw would read as plus signs."""
    statement = {"Effect": effect, "Action": actions, **(more or {"Resource": ["*"]})}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]}, separators=(",", ":"))


def test_a_role_can_be_assumed(s3_mount, radosgw, bucket, directory):
    """AssumeRole with a real STS."""
    iam, name = radosgw.client("iam"), radosgw.unique("role")
    trust = policy("Allow", "sts:AssumeRole", Principal={"AWS": ["arn:aws:iam:::user/owner"]})
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    iam.put_role_policy(RoleName=name, PolicyName="read", PolicyDocument=policy("Allow", "s3:GetObject"))
    bucket.put("t", NEW)
    file = os.path.join(directory, "aws")
    with open(file, "w", encoding="ascii") as text:
        text.write(profile(name="base"))
        text.write(f"[reader]\nrole_arn = {arn}\nsource_profile = base\nregion = {REGION}\n")
    m = s3_mount(
        term(source(bucket.name, "t", radosgw.url(), profile="reader", credentials_file=file)),
        env={**NOTHING, "AWS_ENDPOINT_URL_STS": radosgw.url()},
    )
    assert m.read("t") == NEW


def test_keys_can_be_rotated_under_a_running_mount(s3_mount, radosgw, bucket, directory):
    """The old key is deleted when the file has the new one: no attempt fails."""
    user, *old = radosgw.user()
    new = [f"{key}-2" for key in old]
    bucket.put("t", OLD)
    radosgw.client().put_bucket_policy(
        Bucket=bucket.name,
        Policy=policy(
            "Allow", "s3:GetObject", Principal={"AWS": [f"arn:aws:iam:::user/{user}"]},
            Resource=[f"arn:aws:s3:::{bucket.name}/*"],
        ),
    )  # fmt: skip
    file = os.path.join(directory, "aws")

    def write(*keys):
        with open(file + ".new", "w", encoding="ascii") as text:
            text.write(profile(*keys))
        os.rename(file + ".new", file)

    write(*old)
    m = s3_mount(term(source(bucket.name, "t", radosgw.url(), credentials_file=file)), env=NOTHING)
    assert m.read("t") == OLD
    radosgw.admin("key", "create", f"--uid={user}", f"--access-key={new[0]}", f"--secret-key={new[1]}")
    write(*new)
    radosgw.admin("key", "rm", f"--uid={user}", f"--access-key={old[0]}")
    bucket.put("t", NEW)
    m.refresh("t")
    assert m.read("t") == NEW and m.status("t")["failed_total"] == 0


def test_an_object_encrypted_with_sse_c_is_read(s3_mount, radosgw, bucket, directory):
    key = os.urandom(32)
    bucket.put("t", NEW, SSECustomerAlgorithm="AES256", SSECustomerKey=key)
    file = os.path.join(directory, "key")
    with open(file, "wb") as out:
        out.write(key)
    m = s3_mount(
        term(source(bucket.name, "t", radosgw.url(), sse_c_key_file=file))
        + term(source(bucket.name, "t", radosgw.url()), name="without"),
        expect=["term=without"],
    )
    assert m.read("t") == NEW and m.ls() == ["t"]


# Addresses


def test_path_and_virtual_addressing_work(s3_mount, radosgw, gates):
    bucket = radosgw.bucket()
    bucket.put("t", NEW)
    endpoint = radosgw.url("localhost")
    m = s3_mount(
        term(source(bucket.name, "t", endpoint, addressing="path"), name="path")
        + term(source(bucket.name, "t", endpoint, addressing="virtual"), name="virtual")
        + term(source(bucket.name, "t", endpoint, addressing="auto"), name="auto")
    )
    assert m.read("path") == m.read("virtual") == m.read("auto") == NEW


def test_tls_is_checked(s3_mount, radosgw):
    """With a private CA; without it the server is not trusted."""
    with contextlib.suppress(radosgw.client().exceptions.BucketAlreadyOwnedByYou):
        radosgw.bucket(TLS_BUCKET)
    key = radosgw.unique("key")
    radosgw.client().put_object(Bucket=TLS_BUCKET, Key=key, Body=NEW)
    by_name, by_address = radosgw.url("localhost", tls=True), radosgw.url(tls=True)
    ca = {"ca_file": radosgw.ca_file}
    m = s3_mount(
        term(source(TLS_BUCKET, key, by_address, **ca), name="path")
        + term(source(TLS_BUCKET, key, by_name, addressing="virtual", **ca), name="virtual")
        + term(source(TLS_BUCKET, key, by_name), name="untrusted"),
        expect=["term=untrusted"],
    )
    assert m.read("path") == m.read("virtual") == NEW
    assert m.ls() == ["path", "virtual"] and m.kind("untrusted") == "unreachable"


ODD_KEYS = dict.fromkeys([
    *(f"with{c}in" for c in " !\"#$%&'()*+,-.:;<=>?@[\\]^_`{|}~"),
    *(c for c in "!$'()*+,;:@&=~_-"),
    " ", "  two  spaces  ", "+", "a+b c", "%", "%41", "%2F", "%25", "100%", "%%", "a%zz",
    "trailing/", "/", "//", "/leading", "a//b", "a///b//", "a/./b", "a/../b", "../up", "./here", "..",
    "a/..", ".", "~", "~user/file", "?", "a?b=c&d", "#", "a#b", "a&b=c", "=", "key=value",
    "ü", "ünïcödé/日本語/файл", "e\u0301 is not \u00e9", "🎉/🎊", "\u00a0", "tab\there",
    "C:\\dir\\file", "${HOME}", "$(id)", "`id`", "'quoted'", '"double"', "a b/c d/e+f.txt",
    "versionId=1", "?versionId=1", "a:b@c", "x" * 1024, "ü" * 512, "d/" * 512, "a b" * 341,
])  # fmt: skip


@pytest.fixture(scope="session")
def odd_bucket(radosgw):
    """A bucket with all odd keys, filled once."""
    bucket = radosgw.bucket()
    for n, key in enumerate(ODD_KEYS):
        bucket.put(key, b"odd key %d" % n)
    return bucket


@pytest.mark.parametrize("addressing", ["path", "virtual"])
def test_odd_keys_are_encoded_correctly(s3_mount, radosgw, odd_bucket, addressing):
    endpoint = radosgw.url("localhost")
    allowed = [(n, key) for n, key in enumerate(ODD_KEYS) if "\t" not in key]
    m = s3_mount(
        "".join(
            term(source(odd_bucket.name, key, endpoint, addressing=addressing), name=f"t{n}")
            for n, key in allowed
        )
    )
    wrong = [key for n, key in allowed if m.read(f"t{n}") != b"odd key %d" % n]
    assert not wrong and len(allowed) >= 60


# Large objects

LARGE = 64 << 20


@pytest.fixture(scope="session")
def large(radosgw):
    """A bucket with two versions of a large object, uploaded once, and their digests."""
    bucket, digests = radosgw.bucket(), []
    for version in ("one", "two"):
        noise = os.urandom((1 << 20) - 8)
        body = b"".join(struct.pack("<Q", i) + noise for i in range(LARGE >> 20))
        digests.append(hashlib.sha256(body).hexdigest())
        bucket.put(version, body)
    return bucket, digests


def digest_of(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@pytest.mark.xdist_group("large")
def test_an_overwritten_object_is_never_mixed(build, s3_mount, radosgw, gate, large):
    """The published content is one version, never a mix of two."""
    bucket, digests = large
    key = radosgw.unique("key")
    bucket.copy(key, "one")
    versions = iter(["two"])

    def overwrite(request):
        """Overwrites the object in the middle of the ranges."""
        if request.number > 6 and (version := next(versions, None)):
            bucket.copy(key, version)

    gate.before = overwrite
    m = s3_mount(term(source(bucket.name, key, gate.url(), parallel_parts=4, part_size="2MiB")))
    assert digest_of(m.at("t")) == digests[1] and m.status("t")["updated_total"] == 1
    begun = [request for request in gate.requests if "range" not in request.headers]
    assert len(begun) == 2, "it was started over for the new version"
    bucket.copy(key, "one")
    m.refresh("t")
    assert digest_of(m.at("t")) == digests[0]
    parts = [request.headers for request in gate.requests if "range" in request.headers]
    assert len(parts) >= 30 and all("if-match" in part for part in parts)


# Several sources


def test_a_fallback_serves_until_the_first_source_is_back(s3_mount, radosgw, gates):
    """From a stopped service to another and back; a fallback never goes back to an older version."""
    main, replica = gates(radosgw.port), gates(radosgw.port)
    mine, theirs = radosgw.bucket(), radosgw.bucket()
    by_version = {"version_header": "x-amz-meta-version"}

    def put(bucket, body, version):
        bucket.put("t", body, Metadata={"version": str(version)})

    put(theirs, OLD, 1)
    put(mine, NEW, 2)
    m = s3_mount(
        term(
            source(mine.name, "t", main.url(), **by_version),
            source(theirs.name, "t", replica.url(), **by_version),
        ),
        expect=FAILS,
    )
    assert m.read("t") == NEW and replica.count() == 0
    main.close()
    m.refresh("t", ok=False)
    assert m.read("t") == NEW and m.status("t")["state"] == "stale" and replica.count() > 0
    assert_backs_off(m)
    put(theirs, OLD + b"newer", 3)
    m.refresh("t")
    assert m.read("t") == OLD + b"newer" and theirs.name in m.xattr("t", "source")
    assert m.xattr("t", "version") == "3"
    main.open()
    put(mine, NEW + b"of the authority", 4)
    m.refresh("t")
    assert m.read("t") == NEW + b"of the authority" and mine.name in m.xattr("t", "source")
    assert m.status("t")["state"] == "fresh"


def test_a_stopped_service_backs_off(s3_mount, radosgw, bucket, gate):
    bucket.put("t", OLD)
    m = s3_mount(term(source(bucket.name, "t", gate.url())), expect=FAILS)
    gate.close()
    m.refresh("t", ok=False)
    assert m.kind("t") == "unreachable" and m.read("t") == OLD
    assert_backs_off(m)
    gate.open()
    bucket.put("t", NEW)
    m.refresh("t")
    assert m.read("t") == NEW


def test_a_missing_server_is_unreachable(s3_mount, refused):
    m = s3_mount(term(source("bucket", "t", refused.url(""))), expect=FAILS)
    assert m.kind("t") == "unreachable"


# Many terms


def test_many_terms_check_with_one_request_each(s3_mount, radosgw, bucket, gate):
    n = 50
    for i in range(n):
        bucket.put(f"{i}", b"term %d" % i)
    m = s3_mount(
        "".join(term(source(bucket.name, f"{i}", gate.url()), name=f"d/{i}") for i in range(n))
    )
    assert all(m.read(f"d/{i}") == b"term %d" % i for i in range(n))
    gate.forget()
    m.refresh()
    assert gate.count() == n


def test_readers_see_complete_versions_during_updates(s3_mount, radosgw, bucket):
    """Each read returns one complete version."""
    bodies = [b"%04d" % i * 50_000 for i in range(20)]
    bucket.put("t", bodies[0])
    m = s3_mount(term(source(bucket.name, "t", radosgw.url()), options="refresh_interval = 100ms"))
    seen, ended = [], threading.Event()

    def look():
        while not ended.is_set():
            seen.append(m.read("t"))

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for body in bodies[1:]:
            bucket.put("t", body)
            m.refresh("t")
    finally:
        ended.set()
        reader.join()
    assert set(seen) <= set(bodies) and seen == sorted(seen)
    assert m.read("t") == bodies[-1]
