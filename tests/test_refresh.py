"""When terms are asked for: intervals, back-off, Retry-After, requests, and who holds up whom."""

import time

import pytest
from origin import delay, http_date, stall, status
from rptmount import wait_for

FAILS = ["term=t"]


def http(url, term="", options="", name="t"):
    return f'term "{name}" {{ {term} http {{ url = "{url}" {options} }} }}\n'


def test_an_update_is_seen_after_the_interval(mount, origin):
    origin.put("/t", b"one")
    m = mount(http(origin.url("/t"), "refresh_interval = 100ms"))
    for content in (b"two", b"three", b"four"):
        origin.put("/t", content)
        m.wait_content("t", content)
    assert m.has_updated("t", 4)


def test_there_is_one_timer_a_term(mount, origin):
    """Requests to refresh, failures and updates do not add up to more frequent checks."""
    origin.put("/t", b"one")
    m = mount(http(origin.url("/t"), "refresh_interval = 500ms"), expect=FAILS)
    for i in range(6):
        m.refresh("t")
        origin.then("/t", status(500))
        m.refresh("t", ok=False)
        origin.put("/t", b"version %d" % i)
    m.refresh("t")
    origin.forget()
    time.sleep(2.2)  # a rate can only be seen over a time
    assert 3 <= origin.count("/t") <= 6


def test_never_means_on_request_only(mount, origin):
    origin.put("/t", b"one")
    m = mount(http(origin.url("/t"), 'refresh_interval = "never"'))
    assert m.read("t") == b"one" and m.next_in("t") is None
    assert m.xattr("t", "next_check_at") is None
    origin.put("/t", b"two")
    time.sleep(0.3)
    assert origin.count("/t") == 1 and m.read("t") == b"one"
    m.refresh("t")
    assert m.read("t") == b"two" and m.next_in("t") is None


def test_without_an_interval_it_is_a_minute(mount, origin):
    origin.put("/t", b"one")
    m = mount(http(origin.url("/t")))
    assert 54 <= m.next_in("t") <= 60


@pytest.mark.parametrize("code", [429, 503])
def test_retry_after_is_obeyed(mount, origin, code):
    origin.put("/t", b"one")
    m = mount(http(origin.url("/t"), "refresh_interval = 100ms"), expect=FAILS)
    origin.then("/t", status(code, {"Retry-After": "2"}))
    wait_for(lambda: m.status("t")["failures"] == 1, "the failure")
    assert 2 <= m.next_in("t") <= 2.3
    failed_at = next(r.at for r in origin.asked("/t") if r.answer == code)
    wait_for(lambda: m.status("t")["failures"] == 0, "the next attempt")
    after = next(r.at for r in origin.asked("/t") if r.at > failed_at)
    assert after - failed_at >= 1.9


def test_retry_after_as_a_date(mount, origin):
    origin.put("/t", b"one")
    m = mount(http(origin.url("/t"), "refresh_interval = 1h"), expect=FAILS)
    origin.then("/t", status(503, {"Retry-After": http_date(time.time() + 60)}))
    m.refresh("t", ok=False)
    assert 58 <= m.next_in("t") <= 67


def test_retry_after_nonsense_is_ignored(mount, origin):
    origin.put("/t", b"one")
    m = mount(http(origin.url("/t"), "refresh_interval = 1h"), expect=FAILS)
    origin.then("/t", status(503, {"Retry-After": "when it suits"}))
    m.refresh("t", ok=False)
    assert 0 <= m.next_in("t") <= 1


def test_back_off_grows_and_ends_with_the_first_success(mount, origin):
    origin.put("/t", b"one")
    m = mount(http(origin.url("/t"), "refresh_interval = 1h"), expect=FAILS)
    origin.always("/t", status(500))
    m.refresh("t", ok=False)
    wait_for(lambda: m.status("t")["failures"] >= 4, "four failures in a row", 20)
    now = m.status("t")
    assert m.next_in("t") <= 2 ** now["failures"]
    origin.always("/t")
    m.refresh("t")
    assert m.status("t")["failures"] == 0 and m.next_in("t") >= 3200


def test_back_off_is_at_most_the_interval(mount, origin):
    mount(http(origin.url("/t"), "refresh_interval = 200ms"), expect=FAILS)
    origin.always("/t", status(500))
    origin.forget()
    wait_for(lambda: origin.count("/t") >= 10, "ten attempts", 10)


def test_a_request_does_not_wait_for_the_back_off(mount, origin):
    m = mount(http(origin.url("/t"), "refresh_interval = 1h"), expect=FAILS)
    origin.put("/t", b"here it is")
    m.refresh("t")
    assert m.read("t") == b"here it is"


def test_a_request_during_an_attempt_gets_one_that_begins_after_it(mount, origin):
    """Who asks after changing the source must not get the answer to an earlier question."""
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


def test_first_attempts(mount, origin):
    """Without a snapshot: at once, lazy or not; with one: an eager term within the interval."""
    for name in "ab":
        origin.put(f"/{name}", b"content of " + name.encode())
    config = http(origin.url("/a"), "refresh_interval = 1s", name="a")
    config += http(origin.url("/b"), "refresh_interval = 1h lazy_init = true", name="b")
    m = mount(config)
    wait_for(lambda: m.ls() == ["a", "b"], "both terms")
    origin.forget()
    m.restart()
    wait_for(lambda: origin.count("/a"), "the eager term to be asked for", 6)
    assert m.status("b")["checked_at"] is None and m.status("b")["state"] == "stale"
    assert m.read("b") == b"content of b"


def test_starting_does_not_wait_for_lazy_terms(mount, origin):
    origin.put("/slow", b"late")
    origin.always("/slow", delay(1.5))
    origin.put("/quick", b"soon")
    m = mount(
        http(origin.url("/slow"), "lazy_init = true", name="slow")
        + http(origin.url("/quick"), name="quick"),
        wait=False,
    )
    m.wait_content("quick", b"soon", 1.4)
    m.wait_content("slow", b"late")


def test_a_black_hole_holds_up_nobody_else(mount, origin, black_hole):
    """300 terms of a dead host beside 10 good ones: the good ones keep their interval."""
    config = "".join(
        http(
            black_hole.url(f"/{i}"),
            "refresh_interval = 1s",
            "connect_timeout = 30s stall_timeout = 30s",
            f"dead/{i:03}",
        )
        for i in range(300)
    )
    for i in range(10):
        origin.put(f"/{i}", b"0")
        config += http(origin.url(f"/{i}"), "refresh_interval = 200ms", name=f"good/{i}")
    m = mount(config, wait=False, expect=["term=dead/"])
    for i in range(10):
        m.wait_content(f"good/{i}", b"0", 3)
    for round_ in (b"1", b"2", b"3"):
        for i in range(10):
            origin.put(f"/{i}", round_)
        for i in range(10):
            m.wait_content(f"good/{i}", round_, 3)
    assert m.ls() == ["dead", "good"] and m.ls("dead") == []
    assert m.metrics()["rptfs_update_threads"] <= 256


def test_stalls_end_and_free_their_place(mount, origin):
    origin.put("/t", b"one")
    m = mount(
        http(origin.url("/t"), "refresh_interval = 100ms", "stall_timeout = 500ms"), expect=FAILS
    )
    origin.then("/t", stall(), stall(1))
    wait_for(lambda: m.status("t")["failed_total"] >= 2, "both to be given up", 10)
    origin.put("/t", b"two")
    m.wait_content("t", b"two")


def test_ten_thousand_terms(mount, build, origin):
    """They all get their content, and their checks are spread."""
    if build.sanitized:
        pytest.skip("a matter of scale, not of memory errors")
    n = 10_000
    config = 'defaults { refresh_interval = 1h }\n'
    for i in range(n):
        config += http(origin.url(f"/{i}"), name=f"d{i % 100:02}/{i}")
        origin.put(f"/{i}", b"content %d" % i)
    m = mount(config, wait=False)
    wait_for(lambda: m.metrics()["rptfs_snapshots"] == n, "all first attempts", 60, 0.25)
    for i in (0, 77, n - 1):
        assert m.read(f"d{i % 100:02}/{i}") == b"content %d" % i
