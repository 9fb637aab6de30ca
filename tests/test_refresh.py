"""When the sources of terms are asked: intervals, back-off, Retry-After, requests to refresh, and
that slow terms do not hold up others."""

import subprocess
import threading
import time

import pytest
from origin import BlackHole, hold, http, http_date, stall, status
from rptmount import HANGS_S, parse_time, wait_for
from test_http import assert_backs_off

FAILS = ["term=t"]


def test_an_update_is_seen_after_the_interval(mount, origin):
    origin.put("/t", b"one")
    m = mount(http(origin.url("/t"), term="refresh_interval = 100ms"))
    for content in (b"two", b"three", b"four"):
        origin.put("/t", content)
        m.wait_content("t", content)
    assert m.has_updated("t", 4)


def test_there_is_one_timer_per_term(mount, origin):
    """Requests to refresh, failures and updates do not add up to more frequent checks: each begins
    an interval, less a tenth, after the end of the one before."""
    origin.put("/t", b"one")
    m = mount(http(origin.url("/t"), term="refresh_interval = 500ms"), expect=FAILS)
    for i in range(6):
        m.refresh("t")
        origin.always("/t", status(500))
        m.refresh("t", ok=False)
        origin.put("/t", b"version %d" % i)
        origin.always("/t")
    m.refresh("t")
    origin.forget()
    wait_for(lambda: origin.count("/t") >= 5, "five checks")
    asked = [request.at for request in origin.asked("/t")]
    assert all(later - earlier > 0.44 for earlier, later in zip(asked, asked[1:]))


def test_interval_never_means_only_on_request(mount, origin):
    origin.put("/t", b"one")
    m = mount(http(origin.url("/t"), term='refresh_interval = "never"'))
    assert m.read("t") == b"one" and m.next_in("t") is None
    assert m.xattr("t", "next_check_at") is None
    origin.put("/t", b"two")
    time.sleep(0.3)
    assert origin.count("/t") == 1 and m.read("t") == b"one"
    m.refresh("t")
    assert m.read("t") == b"two" and m.next_in("t") is None


def test_the_default_interval_is_a_minute(mount, origin):
    origin.put("/t", b"one")
    m = mount(http(origin.url("/t")))
    assert 53 <= m.next_in("t") <= 60


@pytest.mark.parametrize("code", [302, 400, 403, 404, 429, 503])
def test_retry_after_is_obeyed(mount, origin, code):
    origin.put("/t", b"one")
    m = mount(http(origin.url("/t"), term="refresh_interval = 100ms"), expect=FAILS)
    origin.always("/t", status(code, {"Retry-After": "2"}))
    wait_for(lambda: m.status("t")["failures"] >= 1, "the failure")
    assert 1.5 <= m.next_in("t") <= 2.3
    wait_for(lambda: origin.count("/t", code) >= 2, "the next attempt")
    first, second = [r.at for r in origin.asked("/t") if r.answer == code][:2]
    assert second - first >= 1.9


def test_retry_after_may_be_a_date(mount, origin):
    origin.put("/t", b"one")
    m = mount(http(origin.url("/t"), term="refresh_interval = 1h"), expect=FAILS)
    at = time.time() + 600
    origin.always("/t", status(503, {"Retry-After": http_date(at)}))
    m.refresh("t", ok=False)
    # Whole seconds; and up to a tenth more, so that not all terms come at once.
    assert at - time.time() - 2 <= m.next_in("t") <= 661


def test_an_invalid_retry_after_is_ignored(mount, origin):
    origin.put("/t", b"one")
    m = mount(http(origin.url("/t"), term="refresh_interval = 1h"), expect=FAILS)
    origin.always("/t", status(503, {"Retry-After": "when it suits"}))
    m.refresh("t", ok=False)
    assert_backs_off(m)


def test_back_off_grows_and_ends_with_the_first_success(mount, origin):
    origin.put("/t", b"one")
    m = mount(http(origin.url("/t"), term="refresh_interval = 1h"), expect=FAILS)
    origin.always("/t", status(500))
    m.refresh("t", ok=False)
    wait_for(lambda: m.status("t")["failures"] >= 4, "four failures in a row")
    assert_backs_off(m)
    origin.always("/t")
    m.refresh("t")
    assert m.status("t")["failures"] == 0 and m.next_in("t") >= 3200


def test_back_off_is_at_most_the_interval(mount, origin):
    mount(http(origin.url("/t"), term="refresh_interval = 200ms"), expect=FAILS)
    origin.always("/t", status(500))
    origin.forget()
    wait_for(lambda: origin.count("/t") >= 10, "ten attempts")


def test_a_request_does_not_wait_for_the_back_off(mount, origin):
    m = mount(http(origin.url("/t"), term="refresh_interval = 1h"), expect=FAILS)
    origin.put("/t", b"here it is")
    m.refresh("t")
    assert m.read("t") == b"here it is"


def test_a_request_during_an_attempt_gets_a_later_attempt(mount, origin):
    """A request after a change of the source must not get the answer to an earlier request."""
    origin.put("/t", b"one")
    m = mount(http(origin.url("/t")))

    def slow(x):
        page = x.page
        x.wait(0.5)
        x.head(200, {"ETag": page.etag, "Content-Length": len(page.body)})
        x.send(page.body)

    origin.then("/t", slow)
    origin.forget()
    m.rpt("refresh", "t")
    wait_for(lambda: origin.count("/t"), "the first attempt to begin")
    origin.put("/t", b"two")
    m.refresh("t")
    assert m.read("t") == b"two"


@pytest.mark.parametrize("interrupt", ["restart", "upgrade", "death"])
@pytest.mark.parametrize("state", ["fresh", "stale"])
def test_the_state_survives(mount, origin, interrupt, state):
    """A term that is fresh stays so until its next check fails or is late, and a stale one stale."""
    origin.put("/t", b"one")
    m = mount(http(origin.url("/t"), term="refresh_interval = 1h"))
    if state == "stale":
        m.expect(*FAILS)
        origin.always("/t", status(500))
        m.refresh("t", ok=False)
    assert m.status("t")["state"] == state
    began = time.time()
    origin.always("/t", hold(threading.Event()))
    if interrupt == "restart":
        m.restart()
    elif interrupt == "upgrade":
        m.rpt("upgrade")
    else:
        m.wait_worker(after=m.kill_worker())
    wait_for(lambda: m.status("t")["next_check_at"], "a plan")
    after = m.status("t")
    assert after["state"] == state
    if state == "fresh":
        assert parse_time(after["checked_at"]) <= began
    origin.always("/t", status(500))
    m.expect(*FAILS)
    m.refresh("t", ok=False)
    assert m.status("t")["state"] == "stale"


def test_another_source_makes_a_term_stale(mount, origin):
    """What the new one has is not known yet."""
    origin.put("/t", b"one")
    m = mount(http(origin.url("/t"), term="refresh_interval = 1h"))
    origin.always("/other", hold(threading.Event()))
    m.configure(http(origin.url("/other"), term="refresh_interval = 1h"))
    m.restart(wait=False)
    wait_for(lambda: origin.count("/other"), "a request")
    assert m.status("t")["state"] == "stale" and m.read("t") == b"one"


def test_first_attempts_depend_on_the_snapshot(mount, origin):
    """Without a snapshot: at once, lazy or not; with one: an eager term within the interval."""
    for name in "ab":
        origin.put(f"/{name}", b"content of " + name.encode())
    config = http(origin.url("/a"), term="refresh_interval = 1s", name="a")
    config += http(origin.url("/b"), term="refresh_interval = never lazy_init = true", name="b")
    m = mount(config)
    wait_for(lambda: m.ls() == ["a", "b"], "both terms")
    origin.forget()
    m.restart()
    wait_for(lambda: origin.count("/a"), "the eager term's attempt")
    assert not origin.count("/b") and m.status("b")["state"] == "fresh"
    assert m.read("b") == b"content of b"


def test_starting_does_not_wait_for_lazy_terms(mount, origin):
    answer = threading.Event()
    origin.put("/slow", b"late")
    origin.always("/slow", hold(answer))
    origin.put("/quick", b"soon")
    m = mount(
        "start_timeout = 1h\n"
        + http(origin.url("/slow"), "stall_timeout = 1h", term="lazy_init = true", name="slow")
        + http(origin.url("/quick"), name="quick"),
        start=False,
    )
    started = subprocess.run(m.command("-c", m.conf), env=m.env, cwd=m.dir, timeout=HANGS_S)
    try:
        assert started.returncode == 0
        assert m.read("quick") == b"soon" and m.ls() == ["quick"]
        answer.set()
        m.wait_content("slow", b"late")
    finally:
        wait_for(lambda: subprocess.run(["umount", m.path]).returncode == 0, "umount")


@pytest.mark.parametrize("n_holes", [1, 6, 40])
def test_black_holes_do_not_delay_other_terms(mount, origin, servers, n_holes):
    """400 terms of dead hosts beside 10 good ones, which do not wait until the others give up."""
    holes = [BlackHole() for _ in range(n_holes)]
    servers += holes
    config = "".join(
        http(
            holes[i % n_holes].url(f"/{i}"),
            "connect_timeout = 1h stall_timeout = 1h",
            "refresh_interval = 1s",
            f"dead/{i:03}",
        )
        for i in range(400)
    )
    for i in range(10):
        origin.put(f"/{i}", b"0")
        config += http(origin.url(f"/{i}"), term="refresh_interval = 200ms", name=f"good/{i}")
    m = mount(config, wait=False, expect=["term=dead/"])
    for i in range(10):
        m.wait_content(f"good/{i}", b"0")
    for round_ in (b"1", b"2", b"3"):
        for i in range(10):
            origin.put(f"/{i}", round_)
        for i in range(10):
            m.wait_content(f"good/{i}", round_)
    assert m.ls() == ["dead", "good"] and m.ls("dead") == []
    assert m.metrics()["rptfs_update_threads"] <= 256


def test_stalled_attempts_end(mount, origin):
    origin.put("/t", b"one")
    m = mount(
        http(origin.url("/t"), "stall_timeout = 500ms", term="refresh_interval = 100ms"), expect=FAILS
    )
    origin.then("/t", stall(), stall(1))
    wait_for(lambda: m.status("t")["failed_total"] >= 2, "both to be given up")
    origin.put("/t", b"two")
    m.wait_content("t", b"two")


@pytest.mark.builds("plain")  # about scale, not about memory errors
def test_the_checks_of_ten_thousand_terms_are_spread(mount, origin):
    """They all get their content, and their checks are spread."""
    n = 10_000
    config = 'defaults { refresh_interval = 1h }\n'
    for i in range(n):
        config += http(origin.url(f"/{i}"), name=f"d{i % 100:02}/{i}")
        origin.put(f"/{i}", b"content %d" % i)
    m = mount(config, wait=False)
    wait_for(lambda: m.metrics()["rptfs_snapshots"] == n, "all first attempts", pause=0.25)
    for i in (0, 77, n - 1):
        assert m.read(f"d{i % 100:02}/{i}") == b"content %d" % i
