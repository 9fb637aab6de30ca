"""Large S3 objects in parts: versions are never mixed, only a failed part is fetched again, memory is
bounded, and an interrupted download is resumed."""

import contextlib
import os
import random
import re
import threading

import pytest
from awsiam import Container
from awslike import before, cut, error_page, refuse, serve, slow_down, stall
from rptmount import session_processes, wait_for
from s3config import NOTHING, environment, source, term

# What a fetcher does is the same in both publish modes.
pytestmark = pytest.mark.builds("plain", "asan", "tsan")

REGION = "eu-west-1"
FAILS = ["term=t"]
PART = 64 << 10
SIZE = 20 * PART + 1000
BODY, OTHER = (random.Random(seed).randbytes(SIZE) for seed in (1, 2))


@pytest.fixture
def bucket(aws):
    return aws.bucket("data", REGION)


def config(aws, options="refresh_interval = 1s", **more):
    how = {"region": REGION, "part_size": "64KiB", "parallel_parts": 4, **more}
    return term(source("data", "t", aws.url(""), **how), options=options)


def parts(aws):
    """The requests for ranges."""
    return [request for request in aws.asked("/data/t") if "range" in request.headers]


def first_byte(request):
    return int(re.fullmatch(r"bytes=(\d+)-\d*", request.headers["range"])[1])


def in_parts(behaviour, n=1, where=lambda request: True):
    """Applies the behaviour to the first n ranges for which where() is true."""
    lock, left = threading.Lock(), [n]

    def behave(x):
        with lock:
            chosen = "range" in x.request.headers and left[0] > 0 and where(x.request)
            left[0] -= chosen
        (behaviour if chosen else serve)(x)

    return behave


def test_a_large_object_is_fetched_in_parts(s3_mount, aws, bucket):
    """Each byte is fetched once, and each part is bound to the version of the first answer."""
    etag = bucket.put("t", BODY).etag
    m = s3_mount(config(aws, parallel_parts=4, options="refresh_interval = 1h"))
    assert m.read("t") == BODY
    asked = parts(aws)
    assert len(asked) >= 10 and all(request.headers["if-match"] == etag for request in asked)
    assert len({request.headers["range"] for request in asked}) == len(asked)
    assert len(aws.asked("/data/t")) == len(asked) + 1
    m.refresh("t")
    assert aws.asked("/data/t")[-1].answer == 304


def test_small_objects_cost_one_request(s3_mount, aws, bucket):
    bucket.put("t", BODY[:PART])
    assert s3_mount(config(aws)).read("t") == BODY[:PART]
    assert aws.count("/data/t", answer=206) == 0 and aws.count("/data/t", answer=200) == 1


def length_lies(by):
    """Fewer or more bytes than requested, correctly announced."""

    def behave(x):
        answer = x.answer
        x.answer = lambda status, headers, body: answer(
            status, headers, bytes(body)[:by] if by < 0 else bytes(body) + b"x" * by
        )
        x.origin.serve(x)

    return behave


FAULTS = {
    "cut": cut(1000),
    "too short": length_lies(-10),
    "nothing": cut(0),
    "500": refuse(500, "InternalError"),
    "SlowDown": slow_down(),
}


@pytest.mark.parametrize("row", FAULTS)
def test_only_a_failed_part_is_fetched_again(s3_mount, aws, bucket, row):
    bucket.put("t", BODY)
    aws.always("/data/t", in_parts(FAULTS[row], 2, lambda r: 3 * PART < first_byte(r) < 15 * PART))
    m = s3_mount(config(aws, options="refresh_interval = 1h"))
    assert m.read("t") == BODY and m.status("t")["failed_total"] == 0
    assert aws.count("/data/t", answer=200) == 1
    bytes_asked = sorted(first_byte(request) for request in parts(aws))
    assert len(set(bytes_asked)) >= len(bytes_asked) - 2, "only the failed parts are requested again"


def test_a_part_that_always_fails_fails_the_download(s3_mount, aws, bucket):
    bucket.put("t", BODY)
    m = s3_mount(config(aws, options="refresh_interval = 1h"), expect=FAILS)
    bucket.put("t", OTHER)
    aws.always("/data/t", in_parts(refuse(403, "AccessDenied"), 1000))
    m.refresh("t", ok=False)
    assert m.kind("t") == "denied" and m.read("t") == BODY
    aws.always("/data/t")
    m.refresh("t")
    assert m.read("t") == OTHER


def test_a_new_version_in_the_middle_starts_over(s3_mount, aws, bucket):
    bucket.put("t", BODY)
    changed = lambda: bucket.put("t", OTHER)  # noqa: E731
    aws.always("/data/t", in_parts(before(changed), 1, lambda r: first_byte(r) > 6 * PART))
    m = s3_mount(config(aws, options="refresh_interval = 1h"))
    assert m.read("t") == OTHER and aws.count("/data/t", answer=412) >= 1
    assert m.xattr("t", "version") == bucket.objects["t"][-1].etag.strip('"')
    assert m.status("t")["updated_total"] == 1


def test_an_object_that_always_changes_is_fetched_in_one_piece(s3_mount, aws, bucket):
    """A new version cannot disturb a single transfer."""
    bodies = [BODY[i:] + BODY[:i] for i in range(30)]
    bucket.put("t", bodies[0])
    versions = iter(bodies[1:])

    def change():
        if (body := next(versions, None)) is not None:
            bucket.put("t", body)

    aws.always("/data/t", in_parts(before(change), 1000))
    m = s3_mount(config(aws, options="refresh_interval = 1h"))
    assert m.read("t") in bodies


def lying(change):
    """A changed answer to a range, with wrong bytes."""

    def behave(x):
        answer = x.answer

        def lie(status, headers=None, body=b""):
            status, headers, size = change(status, dict(headers), len(body))
            answer(status, headers, OTHER[:size])

        x.answer = lie
        x.origin.serve(x)

    return behave


def other_range(status, headers, size):
    first, last, whole = (int(n) for n in re.findall(r"\d+", headers["Content-Range"]))
    return status, {**headers, "Content-Range": f"bytes {first + 1}-{last + 1}/{whole}"}, size


def without_size(status, headers, size):
    return status, {**headers, "Content-Range": headers["Content-Range"].split("/")[0] + "/*"}, size


LIES = {
    "another range": other_range,
    "no size": without_size,
    "no range": lambda status, headers, size: (status, {**headers, "Content-Range": None}, size),
    "another ETag": lambda status, headers, size: (status, {**headers, "ETag": '"other"'}, size),
    "no ETag": lambda status, headers, size: (status, {**headers, "ETag": None}, size),
    "another whole object": lambda status, headers, size: (200, {**headers, "Content-Range": None}, SIZE),
    "nothing": lambda status, headers, size: (204, headers, 0),
    "304": lambda status, headers, size: (304, headers, 0),
}


@pytest.mark.parametrize("row", LIES)
def test_a_wrong_answer_to_a_range_never_reaches_the_content(s3_mount, aws, bucket, row):
    """The content is right in the end."""
    bucket.put("t", BODY)
    aws.always("/data/t", in_parts(lying(LIES[row]), 3))
    m = s3_mount(config(aws), expect=FAILS, wait=False)
    m.wait_content("t", BODY)
    assert m.has_updated("t", 1)


def test_a_service_without_ranges_sends_the_whole_object(s3_mount, aws, bucket):
    bucket.put("t", BODY)

    def whole(x):
        for name in ("range", "if-match"):
            x.request.headers.pop(name, None)
        serve(x)

    aws.always("/data/t", whole)
    assert s3_mount(config(aws)).read("t") == BODY


def test_without_an_etag_there_are_no_ranges(s3_mount, aws, bucket):
    bucket.put("t", BODY, etag=None)
    assert s3_mount(config(aws)).read("t") == BODY
    assert not parts(aws)


def test_with_a_weak_etag_there_are_no_ranges(s3_mount, aws, bucket):
    bucket.put("t", BODY, etag='W/"weak"')
    assert s3_mount(config(aws)).read("t") == BODY
    assert not parts(aws)


def test_an_interrupted_download_is_resumed(s3_mount, aws, bucket):
    """It continues after the bytes that have arrived, with the state of the checksum."""
    bucket.put("t", BODY, checksum="crc32")
    late = lambda r: first_byte(r) >= 10 * PART  # noqa: E731
    aws.always("/data/t", in_parts(cut(0), 1000, late))
    m = s3_mount(config(aws, checksum="require", parallel_parts=2), expect=FAILS, wait=False)
    wait_for(lambda: m.status("t")["failures"] >= 1, "the first attempt to fail")
    aws.forget()
    aws.always("/data/t")
    m.wait_content("t", BODY)
    assert not aws.count("/data/t", answer=200)
    assert min(first_byte(request) for request in parts(aws)) >= 8 * PART


@pytest.mark.parametrize("honest", [True, False])
def test_another_version_is_not_resumed(s3_mount, aws, bucket, honest):
    """This holds even if If-Match is ignored and only the ETag differs."""
    bucket.ignores_conditions = not honest
    bucket.put("t", BODY)
    aws.always("/data/t", in_parts(cut(0), 1000, lambda r: first_byte(r) >= 20 * PART))
    m = s3_mount(config(aws), expect=[*FAILS, "if_none_match_ignored"], wait=False)
    wait_for(lambda: m.status("t")["failures"] >= 1, "the first attempt to fail")
    bucket.put("t", OTHER)
    aws.always("/data/t")
    m.wait_content("t", OTHER)
    assert m.has_updated("t", 1)


def test_keys_that_expire_in_the_middle_are_renewed(s3_mount, aws, bucket, servers):
    """The download does not fail."""
    bucket.put("t", BODY)
    servers.append(container := Container(aws))

    def expire():
        aws.keys[container.made[0]].expires = 0

    aws.always("/data/t", in_parts(before(expire), 1, lambda r: first_byte(r) > 10 * PART))
    env = {**NOTHING, "AWS_CONTAINER_CREDENTIALS_FULL_URI": container.url("/v2/credentials")}
    m = s3_mount(config(aws, options="refresh_interval = 1h"), env={**env, "HOME": "/nonexistent"})
    assert m.read("t") == BODY and m.status("t")["failed_total"] == 0
    assert len(container.made) == 2 and aws.count("/data/t", answer=200) == 1


def test_more_than_max_size_is_refused_before_it_arrives(s3_mount, aws, bucket):
    bucket.put("t", BODY)
    m = s3_mount(config(aws, options="refresh_interval = 1h max_size = 1MiB"), expect=FAILS)
    assert m.kind("t") == "bad_data" and m.ls() == [] and not parts(aws)


def test_checksums_of_parts_are_verified(s3_mount, aws, bucket):
    """A multipart upload whose parts differ from the ranges of the download."""
    pieces = [BODY[i : i + 100_000] for i in range(0, SIZE, 100_000)]
    bucket.put("t", b"", parts=pieces, checksum="sha256", composite=True)
    m = s3_mount(config(aws, checksum="require", options="refresh_interval = 1h"), expect=FAILS)
    assert m.read("t") == BODY
    bucket.put("t", b"", parts=pieces[:-1] + [bytes(len(pieces[-1]))], composite=True,
               checksum=("sha256", bucket.objects["t"][0].checksums["x-amz-checksum-sha256"]))  # fmt: skip
    m.refresh("t", ok=False)
    assert m.kind("t") == "bad_data" and m.read("t") == BODY


@pytest.mark.parametrize("answer", [refuse(400, "InvalidArgument"), error_page(204, b"")], ids=["400", "204"])
def test_a_checksum_whose_part_sizes_are_unknown_is_not_verified(s3_mount, aws, bucket, answer):
    """A body that cannot be checked is accepted unless a checksum is required."""
    bucket.put("t", b"", parts=[BODY[:PART], BODY[PART:]], checksum="sha256", composite=True)
    aws.always("/data/t", lambda x: (answer if x.request.method == "HEAD" else serve)(x))
    m = s3_mount(config(aws, options="refresh_interval = 1h"))
    assert m.read("t") == BODY
    m = s3_mount(config(aws, checksum="require", options="refresh_interval = 1h"), expect=FAILS)
    assert m.kind("t") == "bad_data" and m.ls() == []


def test_sigterm_ends_a_download_in_parts(s3_mount, aws, bucket):
    bucket.put("t", BODY)
    aws.always("/data/t", in_parts(stall(100), 1000))
    m = s3_mount(config(aws), wait=False)
    wait_for(lambda: len(parts(aws)) >= 2, "some parts to stall")
    m.stop()  # asserts that it ends by itself and leaves nothing


def peak_kib(m):
    """The peak of all its processes so far, without mapped files."""
    total = 0
    for pid in session_processes(m.process.pid):
        with contextlib.suppress(OSError, KeyError):  # it may have ended
            with open(f"/proc/{pid}/status", encoding="utf-8") as file:
                fields = dict(line.split(":", 1) for line in file)
            total += int(fields["VmHWM"].split()[0]) - int(fields["RssFile"].split()[0])
    return total


@pytest.mark.xdist_group("large")
def test_memory_is_bounded(build, s3_mount, aws, bucket):
    """Many large objects at once need no more memory than a few."""
    if build.sanitized:
        pytest.skip("sanitizers need memory of their own")
    body = os.urandom(32 << 20)
    for i in range(8):
        bucket.put(f"{i}", body)
    m = s3_mount(
        "".join(
            term(source("data", f"{i}", aws.url(""), region=REGION, parallel_parts=8), name=f"{i}")
            for i in range(8)
        ),
        wait=False,
        env=environment(),
    )
    wait_for(lambda: m.metrics()["rptfs_snapshots"] == 8, "all of them", pause=0.05)
    assert peak_kib(m) < 200 << 10
