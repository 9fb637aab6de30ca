"""The http fetcher: its requests, the answers that it accepts, and what follows from failures."""

import contextlib
import gzip
import os
import random
import socket
import ssl
import subprocess
import sys
import threading
import time

import pytest
from origin import (
    chunked,
    coded,
    cut,
    delay,
    digest_etag,
    encode,
    http,
    http_date,
    interim,
    longer,
    raw,
    redirect,
    reset,
    server_context,
    stall,
    status,
    trickle,
    unframed,
)
from rptmount import HANGS_S, seconds_between, wait_for

# What a fetcher does is the same in both publish modes.
pytestmark = pytest.mark.builds("plain", "asan", "tsan")

OLD, NEW = b"the last good version\n" * 400, b"the next version\n" * 500
INTERVAL_S = 600


def assert_backs_off(m):
    """Exponential with full jitter, from one second up to five minutes."""
    now = m.status("t")
    assert now["failures"] >= 1
    delay_s = seconds_between(now["checked_at"], now["next_check_at"])
    # The next attempt is planned a moment before the end of this one is noted.
    assert -1 <= delay_s <= min(300, 2 ** (now["failures"] - 1)) + 0.1


def assert_waits_full_interval(m):
    assert 0.9 * INTERVAL_S - 1 <= m.next_in("t") <= INTERVAL_S


BACK_OFF, FULL = assert_backs_off, assert_waits_full_interval

# What the origin does · the kind of error · when the next attempt is
FAILURES = {
    "reset at once": (reset(), "unreachable", BACK_OFF),
    "reset in the body": (reset(100), "unreachable", BACK_OFF),
    "cut before the body": (cut(0), "unreachable", BACK_OFF),
    "cut in the body": (cut(1000), "unreachable", BACK_OFF),
    "chunked and cut": (chunked(end=False), "unreachable", BACK_OFF),
    "closed without an answer": (raw(b""), "unreachable", BACK_OFF),
    "stalls before the headers": (stall(), "unreachable", BACK_OFF),
    "stalls in the body": (stall(1000), "unreachable", BACK_OFF),
    "400": (status(400), "bad_data", FULL),
    "401": (status(401), "denied", FULL),
    "403": (status(403), "denied", FULL),
    "404": (status(404), "not_found", FULL),
    "410": (status(410), "not_found", FULL),
    "429": (status(429), "busy", BACK_OFF),
    "500": (status(500), "busy", BACK_OFF),
    "503": (status(503), "busy", BACK_OFF),
    "204 is not content": (status(204, body=b""), "bad_data", FULL),
    "unsolicited 206": (status(206), "bad_data", FULL),
    "too many redirects": (redirect("/t"), "bad_data", FULL),
    "redirect to nowhere": (status(302), "bad_data", FULL),
    "redirect to a file": (redirect("file:///etc/passwd"), "bad_data", FULL),
    "101 and a body": (raw(b"HTTP/1.1 101 Switching\r\n\r\nother bytes"), "unreachable", BACK_OFF),
    "101 and a length": (
        raw(b"HTTP/1.1 101 S\r\nContent-Length: 5\r\nConnection: upgrade\r\n\r\nother"),
        "unreachable",
        BACK_OFF,
    ),
    "103 and no more": (raw(b"HTTP/1.1 103 Hints\r\nETag: x\r\n\r\n"), "unreachable", BACK_OFF),
    "a status below 100": (raw(b"HTTP/1.1 099 X\r\n\r\nother bytes"), "bad_data", FULL),
    "HTTP/2 on HTTP/1": (raw(b"HTTP/2 200\r\nETag: 1\r\n\r\ncut"), "bad_data", FULL),
    "not HTTP at all": (raw(b"\x16\x03\x01 hello\r\n\r\n"), "bad_data", FULL),
    "a folded first header": (raw(b"HTTP/1.1 200 OK\r\n folded\r\nContent-Length: 5\r\n\r\nother"), "bad_data", FULL),
    "broken gzip": (coded(lambda body: b"\0\1" + body[2:]), "bad_data", FULL),
    "truncated gzip": (coded(lambda body: body[:-20]), "bad_data", FULL),
    "garbage behind gzip": (coded(lambda body: body + b"garbage"), "bad_data", FULL),
    "flipped bit in gzip": (
        coded(lambda body: body[:-6] + bytes([body[-6] ^ 1]) + body[-5:]),
        "bad_data",
        FULL,
    ),
    "an end that is not marked": (unframed(), "bad_data", FULL),
    "unknown coding": (coded(lambda body: body, coding="deflate"), "bad_data", FULL),
}


@pytest.mark.parametrize("row", FAILURES)
def test_a_failure_keeps_the_last_good_version(mount, origin, row):
    """The kind of error, what is still served, and when the next attempt is."""
    behaviour, kind, next_attempt = FAILURES[row]
    page = origin.put("/t", OLD)
    options = "stall_timeout = 3s" if row.startswith("stalls") else ""
    m = mount(
        http(origin.url("/t"), options, f"refresh_interval = {INTERVAL_S}s"), expect=["term=t .*"]
    )
    assert m.read("t") == OLD
    with open(m.at("t"), "rb") as held:
        origin.put("/t", NEW)
        origin.always("/t", behaviour)
        m.refresh("t", ok=False)
        assert m.kind("t") == kind
        next_attempt(m)
        assert m.read("t") == OLD and held.read() == OLD
    now = m.status("t")
    assert now["state"] == ("gone" if kind == "not_found" else "stale")
    assert now["version"] == page.etag.strip('"')

    def seen_at_once():
        """The message of another attempt may be another one."""
        before, shown = m.status("t"), m.xattr("t", "last_error")
        return before == m.status("t") and (before["last_error"]["message"], shown)

    said, shown = wait_for(seen_at_once, "a moment without an attempt")
    assert said == shown
    failed = [line for line in m.events(term="t") if line["level"] == "warning"]
    assert failed, "the failed attempt is in the log"

    origin.always("/t")
    origin.put("/t", NEW + b"mended")  # a new token: the refused body is remembered by its own
    m.refresh("t")
    assert m.read("t") == NEW + b"mended"
    assert m.status("t")["failures"] == 0 and m.status("t")["state"] == "fresh"
    assert m.xattr("t", "last_error") is None


def test_a_refused_connection_backs_off(mount, origin):
    origin.put("/t", OLD)
    m = mount(
        http(origin.url("/t"), term=f"refresh_interval = {INTERVAL_S}s"), expect=["term=t .*"]
    )
    origin.close()
    m.refresh("t", ok=False)
    assert m.kind("t") == "unreachable"
    assert_backs_off(m)
    assert m.read("t") == OLD and m.status("t")["state"] == "stale"


def test_an_unknown_host_is_unreachable(mount):
    m = mount(http("http://no-such-host.invalid/t"), expect=["term=t .*"])
    assert m.kind("t") == "unreachable" and "t" not in m.ls()


def test_a_term_without_a_snapshot_does_not_exist(mount, origin):
    m = mount(http(origin.url("/t"), term="refresh_interval = 100ms"), expect=["term=t .*"])
    assert m.ls() == [] and m.kind("t") == "not_found" and m.status("t")["state"] == "absent"
    with pytest.raises(FileNotFoundError):
        m.read("t")
    origin.put("/t", NEW)
    m.wait_content("t", NEW)
    assert m.ls() == ["t"]


# Good answers


BODIES = {
    "length": (None, None),
    "gzip": ("gzip", None),
    "chunked": (None, chunked()),
    "chunked gzip": (None, chunked(coding="gzip")),
}


@pytest.mark.parametrize("how", BODIES)
def test_complete_bodies_are_accepted(mount, origin, how):
    coding, behaviour = BODIES[how]
    body = os.urandom(300_000) + bytes(300_000)
    origin.put("/t", body, coding=coding)
    if behaviour:
        origin.always("/t", behaviour)
    assert mount(http(origin.url("/t"))).read("t") == body


def test_an_unframed_body_is_accepted_only_if_configured(mount, origin):
    """HTTP/1.0: a cut body looks the same as a whole one."""
    origin.put("/t", OLD)
    origin.always("/t", unframed())
    m = mount(http(origin.url("/t"), "accept_unframed = true"))
    assert m.read("t") == OLD
    m = mount(http(origin.url("/t")), expect=["term=t .*"])
    assert m.ls() == [] and m.kind("t") == "bad_data"


@pytest.mark.parametrize("codes", [(100,), (102, 103), (103,) * 20, (150, 199)], ids=str)
def test_interim_responses_are_skipped(mount, origin, codes):
    page = origin.put("/t", OLD)
    origin.always("/t", interim(*codes))
    m = mount(http(origin.url("/t")))
    assert m.read("t") == OLD and m.xattr("t", "version") == page.etag.strip('"')


@pytest.mark.parametrize("rest", [b"0\r\n\r\n", b"the rest of a body", b"HTTP/8 x y\r\n\r\n"], ids=str)
def test_late_bytes_of_a_response_only_break_its_connection(mount, origin, rest):
    """They arrive when the next request is on its way, which is then sent on a new connection."""
    origin.put("/t", OLD)
    m = mount(http(origin.url("/t")))
    origin.put("/t", NEW)
    origin.then("/t", raw(rest))
    m.refresh("t")
    assert m.read("t") == NEW
    first, broken, last = (request.peer for request in origin.asked("/t"))
    assert first == broken != last


def test_bytes_after_the_end_are_ignored(mount, origin):
    origin.put("/t", OLD)
    origin.always("/t", longer(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"))
    m = mount(http(origin.url("/t")), expect=["term=t .*"])
    assert m.ls() == [] or m.read("t") == OLD
    origin.always("/t")
    origin.put("/t", NEW)
    m.refresh("t")
    assert m.read("t") == NEW


def test_an_empty_body_is_content(mount, origin):
    origin.put("/t", b"")
    m = mount(http(origin.url("/t")))
    assert m.read("t") == b"" and os.stat(m.at("t")).st_size == 0


def test_more_than_max_size_is_refused_while_it_arrives(mount, origin):
    origin.put("/t", OLD)
    m = mount(
        http(origin.url("/t"), term=f"max_size = 64KiB refresh_interval = {INTERVAL_S}s"),
        expect=["term=t .*"],
    )
    origin.put("/t", bytes(65_537))
    for behaviour in (None, chunked(), coded(lambda body: body)):
        if behaviour:
            origin.always("/t", behaviour)
        m.refresh("t", ok=False)
        assert m.kind("t") == "bad_data"
        assert_waits_full_interval(m)
        assert m.read("t") == OLD
    origin.always("/t")
    origin.put("/t", bytes(65_536))
    m.refresh("t")
    assert m.read("t") == bytes(65_536)


def test_a_refused_body_is_not_fetched_again_until_its_token_changes(mount, origin):
    origin.put("/t", OLD)
    m = mount(http(origin.url("/t"), term="max_size = 64KiB"), expect=["term=t .*"])
    origin.put("/t", bytes(100_000), etag='"too large"')
    m.refresh("t", ok=False)
    sent = origin.count("/t", answer=200)
    m.refresh("t", ok=False)
    assert m.kind("t") == "bad_data" and m.read("t") == OLD
    assert origin.asked("/t")[-1].answer != 200 or origin.count("/t", answer=200) == sent
    origin.put("/t", NEW)
    m.refresh("t")
    assert m.read("t") == NEW


# Conditional requests and versions


@pytest.mark.parametrize("etag", ['"v1"', 'W/"v1"'])
def test_an_etag_is_sent_back_unchanged(mount, origin, etag):
    origin.put("/t", OLD, etag=etag)
    m = mount(http(origin.url("/t")))
    m.refresh("t")
    assert origin.asked("/t")[-1].headers["if-none-match"] == etag
    assert origin.asked("/t")[-1].answer == 304
    assert m.xattr("t", "version") == "v1"
    assert m.status("t")["unchanged_total"] == 1 and m.status("t")["updated_total"] == 1


def test_without_an_etag_requests_use_last_modified(mount, origin):
    origin.put("/t", OLD, etag=None, last_modified=1_700_000_000)
    m = mount(http(origin.url("/t")))
    m.refresh("t")
    asked = origin.asked("/t")[-1]
    assert asked.headers["if-modified-since"] == "Tue, 14 Nov 2023 22:13:20 GMT"
    assert asked.answer == 304
    assert os.stat(m.at("t")).st_mtime == 1_700_000_000


def test_both_validators_are_sent(mount, origin):
    modified = "Tue, 14 Nov 2023 22:13:20 GMT"
    origin.put("/t", OLD, etag='"v1"', last_modified=1_700_000_000)
    m = mount(http(origin.url("/t")))
    for _ in range(2):
        m.restart()
        m.refresh("t")
        asked = origin.asked("/t")[-1]
        assert asked.headers["if-none-match"] == '"v1"', "exactly as sent"
        assert asked.headers["if-modified-since"] == modified
        assert asked.answer == 304
        assert m.xattr("t", "source_version") == "v1"


@pytest.mark.parametrize("restarts", [False, True])
def test_two_versions_in_one_second(mount, origin, restarts):
    """A Last-Modified as young as the answer proves nothing: the next version may have it too."""
    second = 1_700_000_000
    dated = lambda at: {"Date": http_date(at)}  # noqa: E731
    origin.put("/t", OLD, etag=None, last_modified=second, headers=dated(second + 1))
    m = mount(http(origin.url("/t"), term="refresh_interval = never"))
    assert m.read("t") == OLD
    if restarts:
        m.restart()
    origin.put("/t", NEW, etag=None, last_modified=second, headers=dated(second + 2))
    m.refresh("t")
    assert m.read("t") == NEW
    m.refresh("t")
    assert origin.asked("/t")[-1].answer == 304, "by now it is proven"


def test_the_clock_says_when_an_answer_without_a_date_came(mount, origin):
    origin.put("/t", OLD, etag=None, last_modified=time.time() + 60)
    m = mount(http(origin.url("/t"), term="refresh_interval = never"))
    m.refresh("t")
    assert origin.count("/t", answer=200) == 2 and origin.count("/t", answer=304) == 0


def test_force_asks_without_condition(mount, origin):
    """Other bytes of equal size and time: their ETag is the same with some servers."""
    origin.put("/t", OLD, etag='"same"')
    m = mount(http(origin.url("/t"), term="refresh_interval = never"))
    origin.put("/t", NEW, etag='"same"')
    m.refresh("t")
    assert m.read("t") == OLD, "the source says that nothing has changed"
    assert m.rpt("refresh", "--wait", "--force", "t") == "t: updated to same\n"
    assert m.read("t") == NEW
    assert "if-none-match" not in origin.asked("/t")[-1].headers
    refused = m.run_rpt("status", "--force")
    assert refused.returncode == 1 and "--force" in refused.stderr


def test_revalidate_asks_without_condition_now_and_then(mount, origin):
    origin.put("/t", OLD, etag='"same"')
    m = mount(http(origin.url("/t"), term="refresh_interval = 50ms revalidate = 200ms"))
    origin.put("/t", NEW, etag='"same"')
    m.wait_content("t", NEW)
    origin.forget()
    wait_for(lambda: origin.count("/t", answer=200) >= 3, "unconditional checks")
    assert origin.count("/t", answer=304) > 0, "the others are conditional"


def test_a_304_that_announces_another_length_is_news(mount, origin):
    origin.put("/t", OLD, etag='"same"')
    m = mount(http(origin.url("/t"), term="refresh_interval = never"))
    origin.put("/t", NEW, etag='"same"')
    origin.then("/t", status(304, {"Content-Length": len(NEW)}, body=b""))
    m.refresh("t")
    assert m.read("t") == NEW
    # A length that is never right costs one download.
    origin.forget()
    for restarts in (False, True):
        if restarts:
            m.restart()
        origin.then("/t", status(304, {"Content-Length": 7}, body=b""))
        m.refresh("t")
        assert origin.count("/t", answer=200) == 1
    origin.then("/t", status(304, {"Content-Length": 0}, body=b""))
    m.refresh("t")
    assert origin.count("/t", answer=200) == 1, "many servers announce 0"


@pytest.mark.parametrize(
    "known, other, requests",
    [
        ('"one"', '"two"', [304, 200]),
        ('"one"', 'W/"one"', [304]),
        ('"one-gzip"', '"one"', [304]),
        ('W/"one;gzip"', '"one"', [304]),
        ("one", "two", [304, 200]),
    ],
)
def test_a_304_with_the_etag_of_another_version_is_news(mount, origin, known, other, requests):
    origin.put("/t", OLD, etag=known)
    m = mount(origin.term(term="refresh_interval = never"))
    origin.put("/t", NEW if len(requests) > 1 else OLD, etag=known)
    origin.forget()
    origin.then("/t", status(304, {"ETag": other}, body=b""))
    m.refresh("t")
    assert [request.answer for request in origin.asked("/t")] == requests
    assert m.read("t") == (NEW if len(requests) > 1 else OLD)


@pytest.mark.parametrize("etag", ["*", '""', 'W/""'])
def test_an_etag_that_fits_every_version_is_none(mount, origin, etag):
    origin.put("/t", OLD, etag=etag)
    m = mount(origin.term(term="refresh_interval = never"))
    origin.put("/t", NEW, etag=etag)
    m.refresh("t")
    assert m.read("t") == NEW and "if-none-match" not in origin.asked("/t")[-1].headers


def test_bytes_of_an_etag_are_shown_in_ascii(mount, origin):
    origin.put("/t", OLD, etag='"caf\xe9\x9b"')
    m = mount(http(origin.url("/t")))
    m.refresh("t")
    assert origin.asked("/t")[-1].headers["if-none-match"] == '"caf\xe9\x9b"'
    assert m.xattr("t", "version") == r"caf\xe9\x9b"
    assert m.log().isascii()


def test_without_validators_the_digest_decides(mount, origin):
    origin.put("/t", OLD, etag=None)
    m = mount(http(origin.url("/t")))
    inode = os.stat(m.at("t")).st_ino
    m.refresh("t")
    assert os.stat(m.at("t")).st_ino == inode and m.status("t")["unchanged_total"] == 1
    origin.put("/t", NEW, etag=None)
    m.refresh("t")
    assert m.read("t") == NEW and os.stat(m.at("t")).st_ino > inode


def test_same_bytes_under_a_new_token_are_no_new_version(mount, origin):
    origin.put("/t", OLD, etag='"one"')
    m = mount(http(origin.url("/t")))
    inode = os.stat(m.at("t")).st_ino
    origin.put("/t", OLD, etag='"two"')
    m.refresh("t")
    assert os.stat(m.at("t")).st_ino == inode
    assert m.xattr("t", "version") == "one" and m.xattr("t", "source_version") == "two"
    m.refresh("t")
    assert origin.asked("/t")[-1].headers["if-none-match"] == '"two"'


def test_an_unsolicited_304_is_an_error(mount, origin):
    origin.put("/t", OLD)
    origin.always("/t", status(304, body=b""))
    m = mount(http(origin.url("/t")), expect=["term=t .*"])
    assert m.ls() == [] and m.kind("t") == "bad_data"


# Redirects


def test_redirects_are_followed_to_their_end(mount, origin, origins):
    other = origins()
    other.put("/content", NEW, etag='"of the last response"')
    origin.always("/t", redirect("/next", 301))
    origin.always("/next", redirect(other.url("/content"), 307))
    m = mount(http(origin.url("/t")))
    assert m.read("t") == NEW and m.xattr("t", "version") == "of the last response"


def test_credentials_are_not_sent_to_another_host(mount, origin, origins, directory):
    other = origins()
    other.put("/t", NEW)
    origin.always("/t", redirect(other.url("/t")))
    token = os.path.join(directory, "token")
    with open(token, "w", encoding="ascii") as file:
        file.write("s3cret-token\n")
    m = mount(
        http(
            origin.url("/t"),
            f'bearer_token_file = "{token}" headers = {{ "X-Api-Key: s3cret-key" }}',
        )
    )
    assert m.read("t") == NEW
    assert origin.asked("/t")[0].headers["authorization"] == "Bearer s3cret-token"
    assert origin.asked("/t")[0].headers["x-api-key"] == "s3cret-key"
    assert "authorization" not in other.asked("/t")[0].headers
    assert "x-api-key" not in other.asked("/t")[0].headers
    assert "s3cret" not in m.log() and "s3cret" not in m.rpt("status", "--json")


def test_international_host_names(mount, origins):
    """In the configuration and in Location: DNS and servers know them in ASCII."""
    proxy = origins()
    to = "http://stra\xc3\x9fe.example/b"  # UTF-8, as Latin-1
    proxy.always("http://xn--bcher-kva.example/t", redirect(to))
    proxy.always("http://xn--strae-oqa.example/b", status(200, body=NEW))
    m = mount(http("http://bücher.example/t", f'proxy = "{proxy.url("")}"'))
    assert m.read("t") == NEW
    assert proxy.requests[0].headers["host"] == "xn--bcher-kva.example"


def test_a_redirect_to_itself_with_a_cookie_says_so(mount, origin):
    cookie = {"Set-Cookie": "seen=1"}
    origin.always("/t", status(302, {"Location": "/t", **cookie}))
    origin.always("/a", status(302, {"Location": "/b", **cookie}))
    origin.always("/b", redirect("/a"))
    config = http(origin.url("/t")) + http(origin.url("/a")).replace('"t"', '"a"', 1)
    m = mount(config, expect=["term=(t|a) .*"])
    for term in ("t", "a"):
        assert m.kind(term) == "bad_data"
        assert "cookie" in m.message(term)
    assert origin.count("/t") == 1


# In a network of its own: a host with a public address redirects to this machine.
PUBLIC_HOST = """
import subprocess, sys
from origin import Origin, redirect
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
subprocess.run(["ip", "address", "add", "203.0.113.1/32", "dev", "lo"], check=True)
inside, public = Origin(), Origin(address="203.0.113.1")
for origin in (inside, public):
    origin.put("/t", b"content")
    origin.always("/in", redirect(inside.url("/t")))
    origin.always("/out", redirect(public.url("/t", host="203.0.113.1")))
    origin.always("/name", redirect(inside.url("/t", host="localhost")))
for first, path, *options in (
    ("203.0.113.1", "/in"),
    ("203.0.113.1", "/name"),
    ("203.0.113.1", "/in", "redirects=any"),
    ("203.0.113.1", "/out"),
    ("127.0.0.1", "/in"),
):
    host = public if first != "127.0.0.1" else inside
    url = host.url(path, host=first)
    done = subprocess.run([sys.argv[1], "http", f"url={url}", *options], capture_output=True, text=True)
    print(done.stdout.splitlines()[0], len(inside.asked("/t")))
"""


def test_a_public_host_does_not_lead_inside(build, directory):
    probe = os.path.join(build.dir, "tests", "fetch_probe")
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", PUBLIC_HOST, probe],
        capture_output=True,
        text=True,
        check=True,
        cwd=os.path.dirname(__file__),
        env={**build.environment(directory), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.stdout.splitlines() == [
        "result=failed 0",
        "result=failed 0",
        "result=updated 1",
        "result=updated 1",
        "result=updated 2",
    ]


def test_a_redirect_behind_a_proxy_is_judged_by_its_text(mount, origins):
    proxy = origins()
    proxy.always("http://public.example/t", redirect("http://169.254.169.254/secret"))
    m = mount(
        http("http://public.example/t", f'proxy = "{proxy.url("")}"'), expect=["term=t .*"]
    )
    assert m.kind("t") == "bad_data" and len(proxy.requests) == 1
    assert "redirects = any" in m.message()


@pytest.mark.parametrize("scheme", ["https", "HTTPS"])
def test_https_never_leads_to_http(mount, origin, tls_origin, certificates, scheme):
    origin.put("/t", NEW)
    tls_origin.always("/t", redirect(origin.url("/t")))
    url = tls_origin.url("/t").replace("https", scheme)
    m = mount(http(url, f'ca_file = "{certificates}/ca.pem"'), expect=["term=t .*"])
    assert m.ls() == [] and m.kind("t") == "bad_data"
    assert origin.count("/t") == 0


# Servers and credentials


def test_request_headers_and_basic_auth_are_sent(mount, origin, directory):
    origin.put("/t", NEW)
    m = mount(
        http(
            origin.url("/t"),
            'headers = { "X-One: 1", "X-Two: 2" } user_agent = "tests/1" '
            'user = "joe" password = "s3cret"',
        )
    )
    headers = origin.asked("/t")[0].headers
    assert headers["x-one"] == "1" and headers["x-two"] == "2"
    assert headers["user-agent"] == "tests/1"
    assert headers["authorization"] == "Basic am9lOnMzY3JldA=="
    assert "s3cret" not in m.log()


def test_a_token_file_is_read_again_when_it_changes(mount, origin, directory):
    token = os.path.join(directory, "token")
    origin.put("/t", NEW)
    with open(token, "w", encoding="ascii") as file:
        file.write("first")
    m = mount(http(origin.url("/t"), f'bearer_token_file = "{token}"'))
    with open(token, "w", encoding="ascii") as file:
        file.write("the second")
    m.refresh("t")
    assert [r.headers["authorization"] for r in origin.asked("/t")] == [
        "Bearer first",
        "Bearer the second",
    ]


def test_tls_is_checked(mount, tls_origin, certificates):
    tls_origin.put("/t", NEW)
    trusted = f'ca_file = "{certificates}/ca.pem"'
    m = mount(http(tls_origin.url("/t"), trusted))
    assert m.read("t") == NEW
    m = mount(http(tls_origin.url("/t")), expect=["term=t .*"])
    assert m.ls() == [] and m.kind("t") == "unreachable"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tls_before_1_2_is_refused(mount, origins, certificates, directory):
    """Even if the machine's configuration allows it."""
    context = server_context(certificates)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    old = origins(tls=context)
    old.put("/t", NEW)
    lax = os.path.join(directory, "openssl.cnf")
    with open(lax, "w", encoding="ascii") as file:
        file.write(
            "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n"
            "[c]\nMinProtocol = TLSv1\nCipherString = ALL:@SECLEVEL=0\n"
        )
    os.chmod(directory, 0o755)
    os.chmod(lax, 0o644)
    config = http(old.url("/t"), f'ca_file = "{certificates}/ca.pem"')
    m = mount(config, start=False, expect=["term=t .*"])
    m.env["OPENSSL_CONF"] = lax
    m.start()
    assert m.ls() == [] and m.kind("t") == "unreachable" and old.count("/t") == 0
    assert m.message().endswith("(rptfs speaks TLS 1.2 and later)")


def test_client_certificates_are_sent(mount, origins, certificates):
    picky = origins(tls=server_context(certificates, client_ca=True))
    picky.put("/t", NEW)
    ca = f'ca_file = "{certificates}/ca.pem"'
    mine = f'client_cert = "{certificates}/client.pem" client_key = "{certificates}/client.key"'
    assert mount(http(picky.url("/t"), f"{ca} {mine}")).read("t") == NEW
    m = mount(http(picky.url("/t"), ca), expect=["term=t .*"])
    assert m.kind("t") == "unreachable"


def test_requests_can_use_a_unix_socket(mount, origins, directory):
    path = os.path.join(directory, "http.socket")
    local = origins(unix=path)
    local.put("/t", NEW)
    os.chmod(path, 0o666)
    assert mount(http("http://localhost/t", f'unix_socket = "{path}"')).read("t") == NEW


def test_requests_can_use_a_proxy(mount, origins):
    proxy = origins()
    proxy.put("http://example.invalid/t", NEW)
    m = mount(http("http://example.invalid/t", f'proxy = "{proxy.url("")}"'))
    assert m.read("t") == NEW


def test_http2_shares_one_connection(mount, nginx, certificates):
    """Many terms of one host share a connection, and updates arrive."""
    for i in range(20):
        nginx.put(f"/{i}", b"term %d" % i)
    config = "".join(
        f'term "{i}" {{ http {{ url = "{nginx.url(f"/{i}")}" ca_file = "{certificates}/ca.pem" }} }}\n'
        for i in range(20)
    )
    m = mount(config)
    for i in range(20):
        assert m.read(str(i)) == b"term %d" % i
    nginx.put("/7", b"seven, longer than before")
    m.refresh()
    assert m.read("7") == b"seven, longer than before"
    lines = wait_for(lambda: len(nginx.requests()) >= 40 and nginx.requests(), "nginx's log")
    assert len(lines) == 40 and all(line.startswith("HTTP/2.0 ") for line in lines)
    assert sum(" 304 " in line for line in lines) == 19


# Large bodies


def test_an_interrupted_download_is_resumed(mount, origin):
    body = random.Random(1).randbytes(5_000_000)
    origin.put("/t", body)
    origin.then("/t", cut(3_000_000), cut(1_000_000))
    m = mount(http(origin.url("/t"), term="refresh_interval = 1s"), expect=["term=t .*"], wait=False)
    m.wait_content("t", body)
    first, second, third = origin.asked("/t")[:3]
    assert "range" not in first.headers
    assert second.headers["range"] == "bytes=3000000-"
    assert second.headers["if-range"] == digest_etag(body)
    assert third.headers["range"] == "bytes=4000000-" and third.answer == 206


def test_a_download_is_not_resumed_with_another_version(mount, origin):
    body, after = (random.Random(seed).randbytes(2_000_000) for seed in (1, 2))
    origin.put("/t", body)

    def change(x):
        cut(1_000_000)(x)
        origin.put("/t", after)

    origin.then("/t", change)
    m = mount(http(origin.url("/t"), term="refresh_interval = 1s"), expect=["term=t .*"], wait=False)
    m.wait_content("t", after)
    assert m.has_updated("t", 1)
    assert origin.asked("/t")[1].answer == 200


def test_a_download_with_a_weak_etag_is_not_resumed(mount, origin):
    body = random.Random(1).randbytes(2_000_000)
    origin.put("/t", body, etag='W/"weak"')
    origin.then("/t", cut(1_000_000))
    m = mount(http(origin.url("/t"), term="refresh_interval = 1s"), expect=["term=t .*"], wait=False)
    m.wait_content("t", body)
    assert all("range" not in r.headers for r in origin.asked("/t"))


def test_a_range_that_was_not_requested_is_not_appended(mount, origin):
    """A 206 with another start than requested must never reach a file."""
    body = random.Random(1).randbytes(2_000_000)
    origin.put("/t", body)

    def elsewhere(x):
        part = body[500_000:]
        x.head(
            206,
            {
                **x.page_headers(),
                "Content-Range": f"bytes 500000-{len(body) - 1}/{len(body)}",
                "Content-Length": len(part),
            },
        )
        x.send(part)

    origin.then("/t", cut(1_000_000), elsewhere)
    m = mount(http(origin.url("/t"), term="refresh_interval = 1s"), expect=["term=t .*"], wait=False)
    m.wait_content("t", body)


def test_sigterm_ends_a_download(mount, origin):
    origin.put("/t", bytes(50_000_000))
    origin.always("/t", trickle(10_000, 0.01))
    origin.put("/u", OLD)
    origin.always("/u", stall())
    m = mount(
        http(origin.url("/t"))
        + f'term "u" {{ http {{ url = "{origin.url("/u")}" stall_timeout = 1h }} }}\n',
        wait=False,
    )
    wait_for(lambda: origin.count("/t") and origin.count("/u"), "both downloads to begin")
    m.stop()  # asserts that it ends by itself and leaves nothing


# http_cache


def test_http_cache_schedules_by_max_age(mount, origin):
    origin.put("/t", OLD, headers={"Cache-Control": "public, max-age=120", "Age": "20"})
    m = mount(http(origin.url("/t"), "http_cache = true", "refresh_interval = 1h"))
    assert 60 < m.next_in("t") <= 100.1  # less by the time that the answer took


def test_http_cache_schedules_by_expires(mount, origin):
    now = time.time()
    origin.put("/t", OLD, headers={"Date": http_date(now), "Expires": http_date(now + 200)})
    m = mount(http(origin.url("/t"), "http_cache = true", "refresh_interval = 1h"))
    assert 120 < m.next_in("t") <= 202


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Cache-Control": "s-maxage=5"},
        {"Cache-Control": ",,,=;max-ages"},
        {"Age": "very old", "Cache-Control": "public"},
    ],
    ids=str,
)
def test_http_cache_without_such_headers_uses_the_interval(mount, origin, headers):
    origin.put("/t", OLD, headers=headers)
    m = mount(http(origin.url("/t"), "http_cache = true", "refresh_interval = 50s"))
    assert m.read("t") == OLD
    assert 40 <= m.next_in("t") <= 50


@pytest.mark.parametrize(
    "headers",
    [
        {"Cache-Control": "max-age=soon"},
        {"Cache-Control": "max-age=-3600"},
        {"Expires": "0"},
        {"Expires": "half past nine"},
        {"Cache-Control": "max-age=3600", "Age": "7200, 0"},
        {"Cache-Control": "max-age=3600", "Vary": "*"},
        {"Cache-Control": "max-age=3600", "Date": http_date(1_700_000_000)},
    ],
    ids=str,
)
def test_http_cache_asks_soon_about_what_is_stale(mount, origin, headers):
    """A bad header does not cause a refusal of a good body, and refreshing continues."""
    origin.put("/t", OLD, headers=headers)
    m = mount(http(origin.url("/t"), "http_cache = true", "refresh_interval = 1h"))
    assert m.read("t") == OLD
    assert 29 <= m.next_in("t") <= 30.1


def test_http_cache_a_304_keeps_what_it_does_not_carry(mount, origin):
    origin.put("/t", OLD, headers={"Cache-Control": "max-age=300"})
    m = mount(http(origin.url("/t"), "http_cache = true", "refresh_interval = 1h"))
    origin.always("/t", status(304, body=b""))
    m.refresh("t")
    assert 200 < m.next_in("t") <= 300
    m.restart()
    m.refresh("t")
    assert 200 < m.next_in("t") <= 300 and origin.count("/t", answer=200) == 1
    origin.always("/t", status(304, {"Cache-Control": "max-age=1200"}, body=b""))
    m.refresh("t")
    assert 1100 < m.next_in("t") <= 1200
    origin.always("/t", status(304, body=b""))
    m.restart()
    m.refresh("t")
    assert 1100 < m.next_in("t") <= 1200


def test_http_cache_never_asks_more_often_than_min_refresh_interval(mount, origin):
    origin.put("/t", OLD, headers={"Cache-Control": "no-cache, max-age=0"})
    m = mount(http(origin.url("/t"), "http_cache = true", "refresh_interval = 1h"))
    assert 29 <= m.next_in("t") <= 30.1
    m = mount(
        http(
            origin.url("/t"), "http_cache = true min_refresh_interval = 200ms", "refresh_interval = 1h"
        )
    )
    wait_for(lambda: m.status("t")["unchanged_total"] >= 3, "three checks")


def test_a_slow_answer_is_not_a_failure(mount, origin):
    origin.put("/t", OLD)
    origin.always("/t", delay(0.7))
    m = mount(http(origin.url("/t"), f"stall_timeout = {HANGS_S}s"))
    assert m.read("t") == OLD


def test_connect_timeout_ends_an_attempt(mount, black_hole):
    m = mount(
        http(black_hole.url("/t"), "connect_timeout = 300ms stall_timeout = 300ms"),
        expect=["term=t .*"],
    )
    assert m.kind("t") == "unreachable"


def with_coding(coding, body=None):
    """The body as it is, or these bytes, with this Content-Encoding."""

    def behave(x):
        sent = x.page.body if body is None else body
        x.head(200, {**x.page_headers(), "Content-Encoding": coding, "Content-Length": len(sent)})
        x.send(sent)

    return behave


@pytest.mark.parametrize(
    "coding", ["", "identity", "none", "aws-chunked", "aws-chunked, identity", "utf-8", "UTF-8"]
)
def test_left_over_codings_of_an_intact_body(mount, origin, coding):
    origin.put("/t", OLD)
    origin.always("/t", with_coding(coding))
    assert mount(http(origin.url("/t"))).read("t") == OLD


@pytest.mark.parametrize("coding", ["", "identity"])
def test_a_transfer_encoding_without_a_coding(mount, origin, coding):
    """The connection stays open: the body ends where Content-Length says."""
    origin.put("/t", OLD)
    origin.always("/t", status(200, {"Transfer-Encoding": coding}, OLD))
    assert mount(http(origin.url("/t"))).read("t") == OLD


def test_a_second_transfer_encoding_is_named(mount, origin):
    data = b"HTTP/1.1 200 OK\r\n" + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n"
    origin.always("/t", raw(data))
    m = mount(http(origin.url("/t")), expect=["term=t .*"])
    assert m.kind("t") == "bad_data"
    assert "2 headers Transfer-Encoding" in m.message()


def test_a_list_of_codings(mount, origin):
    origin.put("/t", OLD)
    origin.always("/t", with_coding("aws-chunked,gzip", gzip.compress(OLD)))
    m = mount(http(origin.url("/t")), expect=["term=t .*"])
    assert m.read("t") == OLD
    origin.always("/t", with_coding("gzip, br", gzip.compress(OLD)))
    m.refresh("t", ok=False)
    assert "content_coding = as-sent" in m.xattr("t", "last_error")


def test_an_empty_body_with_a_coding_is_an_empty_file(mount, origin):
    origin.put("/t", b"")
    origin.always("/t", with_coding("gzip"))
    assert mount(http(origin.url("/t"))).read("t") == b""


def test_zero_bytes_after_gzip_are_ignored(mount, origin):
    """They fill a block of the tape that the body comes from."""
    origin.put("/t", OLD)
    origin.always("/t", with_coding("gzip", gzip.compress(OLD) + bytes(10_240)))
    assert mount(http(origin.url("/t"))).read("t") == OLD


def test_content_coding_as_sent(mount, origin):
    """The bytes are those that a published checksum is about."""
    packed = gzip.compress(NEW)
    origin.put("/t", NEW)
    origin.always("/t", with_coding("x-gzip", packed))
    m = mount(http(origin.url("/t"), "content_coding = as-sent"))
    assert m.read("t") == packed
    assert origin.asked("/t")[0].headers["accept-encoding"] == "identity"
    m.configure(http(origin.url("/t")))
    m.restart()
    m.wait_content("t", NEW)


def test_content_is_decoded_once(mount, origin):
    """A .gz file is content; only a content coding is decoded."""
    packed = gzip.compress(NEW)
    origin.put("/t", packed)
    assert mount(http(origin.url("/t"))).read("t") == packed
    origin.put("/t", packed, coding="gzip")
    assert encode(packed, "gzip") != packed
    assert mount(http(origin.url("/t"))).read("t") == packed


def test_the_query_of_a_url_is_not_shown(mount, origin):
    origin.put("/t", OLD)
    m = mount(http(origin.url("/t?sig=s3cret")), expect=["term=t .*"])
    assert m.read("t") == OLD
    origin.always("/t?sig=s3cret", status(500))
    m.refresh("t", ok=False)
    shown = m.log() + m.rpt("status", "--json") + str(m.metrics()) + m.xattr("t", "source")
    assert "s3cret" not in shown


# Messages


def test_a_malformed_proxy_of_the_environment_is_not_shown(mount, origin):
    m = mount(http("http://h.example/t"), start=False)
    m.env["http_proxy"] = "http://u:hunter2@h:99999"
    m.expect("level=warning .*term=t ")
    m.start()
    assert "proxy" in m.message() and "hunter2" not in m.log() + m.rpt("status", "--json")


@pytest.mark.parametrize("code", [300, 305])
def test_a_status_that_is_no_redirect_is_not_called_one(mount, origin, code):
    origin.always("/t", status(code, {"Location": "/other"}))
    m = mount(origin.term(), expect=["term=t .*"])
    assert m.message().endswith(f": {code}") and origin.count("/other") == 0


@pytest.mark.parametrize(
    "option, says",
    [
        ('unix_socket = "/nowhere.sock"', "(by way of unix_socket /nowhere.sock)"),
        ('proxy = "http://u:hunter2@127.0.0.1:{port}"', "(by way of the proxy http://127.0.0.1:"),
    ],
)
def test_a_dead_way_to_the_server_is_named(mount, refused, option, says):
    m = mount(http("http://localhost/t", option.replace("{port}", str(refused.number))), start=False)
    m.expect("level=warning .*term=t ")
    m.start()
    assert says in m.message() and "hunter2" not in m.log()


def test_the_wrong_scheme_is_recognised(mount, refused):
    def answer_in_http():
        with contextlib.suppress(OSError):
            while True:
                with listening.accept()[0] as connection:
                    connection.recv(1)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with refused.listen(5) as listening:
        threading.Thread(target=answer_in_http, daemon=True).start()
        m = mount(http(refused.url("/t").replace("http://", "https://")), start=False)
        m.expect("level=warning .*term=t ")
        m.start()
        assert "does the server speak http instead of https on this port?" in m.message()
        listening.shutdown(socket.SHUT_RDWR)


def test_a_refused_user_is_named(mount, origin):
    origin.always("/t", status(401))
    m = mount(http(origin.url("/t"), 'user = "anna" password = "hunter2"'), start=False)
    m.expect("level=warning .*term=t ")
    m.start()
    assert '401 for the user "anna"' in m.message() and "hunter2" not in m.log()
