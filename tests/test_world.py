"""Troubles from outside: sources that are down, lie or flip, names that do not resolve,
certificates, portals, networks that go and come, clocks that jump. For each: what is served, what
the state is, and when the next attempt is, as rptfs-failures(7) has it."""

import os
import socket
import struct
import subprocess
import time

import pytest
from origin import Origin, http, status
from rptmount import parse_time, wait_for, xattr
from test_http import assert_backs_off, assert_waits_full_interval

FAILS = ["term=t"]
INTERVAL_S = 600
INTERVAL = f"refresh_interval = {INTERVAL_S}s"
OLD_DATE, NEW_DATE = 1_700_000_000, 1_700_000_100
HTML = b"<html><title>Welcome to our guest network</title></html>\n"
DAY_S = 86400
YEARS_S = 10 * 365 * DAY_S


def assert_is(m, content, state, kind):
    """The content (None: there is no such name), the state, and the kind of the last error: all of
    them must last."""
    now = m.status("t")
    assert (now["state"], now["last_error"] and now["last_error"]["kind"]) == (state, kind)
    if content is None:
        assert m.ls() == []
    else:
        assert m.read("t") == content and m.xattr("t", "state") == state


# Sources that are not there


def test_a_source_down_at_the_first_start_is_unreachable(mount, refused):
    m = mount(http(refused.url("/t"), term=INTERVAL), expect=FAILS)
    assert_is(m, None, "absent", "unreachable")
    assert_backs_off(m)


def test_a_source_that_goes_down_leaves_the_last_version(mount, origin):
    origin.put("/t", b"good")
    m = mount(http(origin.url("/t"), term=INTERVAL), expect=FAILS)
    origin.close()
    m.refresh("t", ok=False)
    assert_is(m, b"good", "stale", "unreachable")
    assert_backs_off(m)
    m.restart(wait=False)
    assert m.read("t") == b"good" and m.status("t")["state"] == "stale"
    wait_for(lambda: m.status("t")["failures"], "an attempt of this life")
    assert_is(m, b"good", "stale", "unreachable")
    assert_backs_off(m)


def test_a_source_down_for_long_leaves_the_last_version(mount, origin):
    """However often an update failed, the name stays, and the first success ends the outage."""
    origin.put("/t", b"good")
    m = mount(http(origin.url("/t"), term="refresh_interval = 20ms"), expect=FAILS)
    origin.always("/t", status(503))
    wait_for(lambda: m.status("t")["failures"] >= 100, "a hundred failures in a row")
    assert_is(m, b"good", "stale", "busy")
    origin.put("/t", b"better")
    origin.always("/t")
    m.wait_content("t", b"better")
    now = m.status("t")
    assert now["state"] == "fresh" and now["failures"] == 0


def test_an_unresolvable_name_is_unreachable(mount, origin):
    origin.put("/t", b"good")
    options = "connect_timeout = 2s"
    config = http(origin.url("/t"), options, INTERVAL)
    m = mount(config, expect=FAILS)
    m.stop()
    m.configure(http("http://rptfs-test.invalid/t", options, INTERVAL))
    m.start(wait=False)
    wait_for(lambda: m.status("t")["failures"], "the first attempt")
    assert_is(m, b"good", "stale", "unreachable")
    assert "rptfs-test.invalid" in m.xattr("t", "last_error")
    assert_backs_off(m)


def test_an_untrusted_certificate_is_unreachable(mount, origins, tls_origin, certificates):
    tls_origin.put("/t", b"good")
    trusted = f'ca_file = "{certificates}/ca.pem"'
    m = mount(http(tls_origin.url("/t"), trusted, INTERVAL), expect=FAILS)
    assert m.read("t") == b"good"
    m.stop()
    m.configure(http(tls_origin.url("/t"), term=INTERVAL))
    m.start(wait=False)
    wait_for(lambda: m.status("t")["failures"], "the first attempt")
    assert_is(m, b"good", "stale", "unreachable")
    assert "certificate" in m.xattr("t", "last_error")
    assert_backs_off(m)


# Sources that lie


PORTAL = 'content_type = { "application/json", "text/csv" }'


def test_a_captive_portal_is_refused_by_its_type(mount, origin):
    origin.put("/t", b"{}", headers={"Content-Type": "Application/JSON; charset=utf-8"})
    m = mount(http(origin.url("/t"), PORTAL, INTERVAL), expect=FAILS)
    assert m.read("t") == b"{}"
    origin.put("/t", HTML, headers={"Content-Type": "text/html"})
    m.refresh("t", ok=False)
    assert_is(m, b"{}", "stale", "bad_data")
    error = m.xattr("t", "last_error")
    assert "text/html" in error and "application/json, text/csv" in error
    assert_waits_full_interval(m)
    # Its token is remembered: the answer to the conditional request has no body.
    m.refresh("t", ok=False)
    assert origin.requests[-1].answer == 304 and m.kind("t") == "bad_data"
    origin.put("/t", b"{ }", headers={"Content-Type": "text/csv"})
    m.refresh("t")
    assert_is(m, b"{ }", "fresh", None)


def test_a_portal_without_a_token_is_refused(mount, origin):
    origin.put("/t", b"{}", headers={"Content-Type": "application/json"})
    m = mount(http(origin.url("/t"), 'content_type = "application/*"', INTERVAL), expect=FAILS)
    origin.always("/t", status(200, {"Content-Type": "text/html"}, HTML))
    for _ in range(2):
        m.refresh("t", ok=False)
        assert_is(m, b"{}", "stale", "bad_data")
        assert_waits_full_interval(m)
    # The token of the good body is still remembered.
    origin.always("/t")
    m.refresh("t")
    assert origin.requests[-1].answer == 304
    assert_is(m, b"{}", "fresh", None)


def test_content_without_a_type_is_refused(mount, origin):
    origin.put("/t", b"{}")
    m = mount(http(origin.url("/t"), PORTAL, INTERVAL), expect=FAILS)
    assert_is(m, None, "absent", "bad_data")
    assert "has no content type" in m.message()


def test_a_portal_does_not_fail_over_and_is_refused_after_a_restart(mount, origin, origins):
    replica = origins()
    replica.put("/t", b"{}", headers={"Content-Type": "application/json"})
    origin.put("/t", HTML, headers={"Content-Type": "text/html"})
    sources = "".join(f'http {{ url = "{o.url("/t")}" {PORTAL} }}' for o in (origin, replica))
    m = mount(f'term "t" {{ refresh_interval = 1h {sources} }}\n', expect=FAILS)
    assert_is(m, None, "absent", "bad_data")
    m.restart()
    assert_is(m, None, "absent", "bad_data")
    assert [r.answer for r in origin.requests] == [200, 304] and replica.count() == 0


@pytest.mark.parametrize("framed", [True, False])
def test_a_body_that_is_too_small_is_refused(mount, origin, framed):
    origin.put("/t", b"x" * 100, coding=None if framed else "gzip")
    m = mount(http(origin.url("/t"), term=f"{INTERVAL} min_size = 100"), expect=FAILS)
    origin.put("/t", b"x" * 99, coding=None if framed else "gzip")
    m.refresh("t", ok=False)
    assert_is(m, b"x" * 100, "stale", "bad_data")
    assert "99 bytes, less than min_size (100 bytes)" in m.xattr("t", "last_error")
    assert_waits_full_interval(m)
    m.refresh("t", ok=False)
    assert origin.requests[-1].answer == 304


# A load balancer before an old and a new server


def answer_as(origin, server):
    """The next answers are those of that server, "old" or "new"."""
    origin.put("/t", server, last_modified=NEW_DATE if server == "new" else OLD_DATE)


@pytest.mark.parametrize("backwards", ["refuse", "confirm"])
def test_a_flipping_balancer_does_not_go_backwards(mount, origin, backwards):
    """The newer version stays; the old one, in between, is a failure."""
    answer_as(origin, "new")
    m = mount(
        http(origin.url("/t"), term=f"{INTERVAL} backwards = {backwards}"), expect=FAILS
    )
    for _ in range(3):
        answer_as(origin, "old")
        m.refresh("t", ok=False)
        # In one reply: ten seconds later, another attempt may confirm the old version.
        now = m.status("t")
        answer_as(origin, "new")
        assert (now["state"], now["last_error"]["kind"]) == ("stale", "bad_data")
        next_in_s = parse_time(now["next_check_at"]) - parse_time(now["checked_at"])
        if backwards == "refuse":
            assert 0.9 * INTERVAL_S - 1 <= next_in_s <= INTERVAL_S
        else:
            assert next_in_s <= 10.2
        m.refresh("t")
        assert_is(m, b"new", "fresh", None)
    assert m.status("t")["updated_total"] == 1


def test_a_flipping_balancer_is_followed(mount, origin):
    """The first source decides: whole versions, one after the other."""
    answer_as(origin, "new")
    m = mount(http(origin.url("/t"), term=INTERVAL))
    for server in ("old", "new", "old"):
        answer_as(origin, server)
        m.refresh("t")
        assert_is(m, server.encode(), "fresh", None)


# max_stale


STALE_S = 2.0


def max_stale(origin, on_expire, interval="200ms"):
    more = f"max_stale = 2s on_expire = {on_expire} history = 0"
    return http(origin.url("/t"), "connect_timeout = 1s", f"refresh_interval = {interval} {more}")


def assert_nothing_is_left(m):
    """With history = 0 a hidden snapshot is removed once it is not open any more."""
    wait_for(lambda: m.metrics()["rptfs_snapshots"] == 1, "one snapshot in the store")


def test_an_expired_term_can_be_kept(mount, origin):
    origin.put("/t", b"good")
    m = mount(max_stale(origin, "keep"), expect=FAILS)
    time.sleep(1.5 * STALE_S)  # it does not expire while it is confirmed
    assert_is(m, b"good", "fresh", None)
    assert not m.events("expired")
    origin.always("/t", status(503))
    wait_for(lambda: m.status("t")["state"] == "expired", "the state")
    assert_is(m, b"good", "expired", "busy")
    metrics = m.read(".rpt/metrics").decode()
    assert 'state="expired"' in metrics
    assert m.metrics()['rptfs_term_confirmed_seconds{term="t"}'] >= STALE_S
    line = wait_for(lambda: m.events("expired", term="t"), "the line in the log")[0]
    assert line["level"] == "warning" and float(line["confirmed_ago"].rstrip("s")) >= STALE_S
    assert m.status("t")["next_check_at"]
    origin.always("/t")
    wait_for(lambda: m.status("t")["state"] == "fresh", "the state")
    wait_for(lambda: m.events("unchanged", after="expired"), "the line in the log")
    assert len(m.events("unchanged", after="expired")) == len(m.events("expired")) == 1


def test_an_expired_term_can_be_hidden(mount, origin):
    origin.put("/t", b"good")
    m = mount(max_stale(origin, "hide"), expect=FAILS)
    first = os.stat(m.at("t")).st_ino
    with open(m.at("t"), "rb") as held:
        origin.always("/t", status(503))
        wait_for(lambda: m.ls() == [], "the name to go away")
        assert_is(m, None, "expired", "busy")
        with pytest.raises(FileNotFoundError):
            os.stat(m.at("t"))
        assert held.read() == b"good" and os.fstat(held.fileno()).st_ino == first
        assert xattr(held.fileno(), "state") == "expired"
        origin.forget()
        origin.always("/t")
        m.wait_content("t", b"good")
        assert origin.count("/t", 200) == 0, "unchanged: no download"
        assert os.stat(m.at("t")).st_ino > first and held.seek(0) == 0 and held.read() == b"good"
    assert_is(m, b"good", "fresh", None)
    assert m.status("t")["updated_total"] == 1
    assert_nothing_is_left(m)


def test_a_hidden_term_returns_with_a_new_version(mount, origin):
    origin.put("/t", b"good")
    m = mount(max_stale(origin, "hide"), expect=FAILS)
    origin.always("/t", status(404))
    wait_for(lambda: m.ls() == [], "the name to go away")
    assert_is(m, None, "expired", "not_found")
    origin.put("/t", b"better")
    origin.always("/t")
    m.wait_content("t", b"better")
    assert_is(m, b"better", "fresh", None)
    assert_nothing_is_left(m)


def test_expiry_causes_no_request(mount, origin):
    """refresh_interval = never: it expires after the last success that was requested."""
    origin.put("/t", b"good")
    m = mount(max_stale(origin, "hide", "never"), expect=FAILS)
    wait_for(lambda: m.ls() == [], "the name to go away")
    assert_is(m, None, "expired", None)
    assert origin.count("/t") == 1 and m.status("t")["next_check_at"] is None

    def is_back():
        """It is there for max_stale only."""
        m.refresh("t")
        try:
            return m.read("t") == b"good" and m.xattr("t", "state") == "fresh"
        except FileNotFoundError:
            return False

    wait_for(is_back, "it to be back for a moment")


def test_a_hidden_term_stays_hidden_over_a_restart(mount, origin):
    """With the source down, not a single look-up finds the term."""
    origin.put("/t", b"good")
    m = mount(max_stale(origin, "hide"), expect=FAILS)
    origin.always("/t", status(503))
    m.stop()
    time.sleep(STALE_S)
    origin.forget()
    m.start(wait=False)
    while not origin.count("/t") or m.status("t")["failures"] < 3:
        assert m.ls() == []
        assert not os.path.exists(m.at("t"))
    assert_is(m, None, "expired", "busy")
    origin.always("/t")
    m.wait_content("t", b"good")
    assert origin.count("/t", 200) == 0, "its bytes were there"


def test_a_hidden_term_stays_hidden_over_a_crash(mount, origin):
    """An open descriptor keeps the snapshot, also with the next worker."""
    origin.put("/t", os.urandom(300_000))
    m = mount(max_stale(origin, "hide"), expect=FAILS)
    with open(m.at("t"), "rb") as held:
        good = held.read()
        origin.always("/t", status(503))
        wait_for(lambda: m.ls() == [], "the name to go away")
        before = m.kill_worker()
        m.wait_worker(before)
        assert m.ls() == []
        os.posix_fadvise(held.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        held.seek(0)
        assert held.read() == good
        origin.always("/t")
        m.wait_content("t", good)


# The wall clock


@pytest.fixture
def clock(mount, build, directory):
    """A factory of mounts; its set(seconds ahead) sets their wall clock."""
    if build.sanitized:
        pytest.skip("a preloaded library would be loaded before the sanitizer's")
    library = os.path.join(directory, "clock_shift.so")
    with open(os.path.join(build.dir, "tests", "clock_shift.so"), "rb") as built:
        with open(library, "wb") as copy:
            copy.write(built.read())
    os.chmod(library, 0o755)
    path = os.path.join(directory, "clock")

    def set_clock(ahead_s):
        with open(path, "r+b" if os.path.exists(path) else "w+b") as file:
            file.write(struct.pack("=q", int(ahead_s * 1000)))

    def make(config, **how):
        set_clock(0)
        m = mount(config, start=False, **how)
        m.env.update(LD_PRELOAD=library, RPTFS_CLOCK_SHIFT=path)
        return m.start()

    make.set = set_clock
    return make


def shown_ahead(m, name):
    """By how many seconds a time that the mount shows is ahead of ours."""
    return parse_time(m.status("t")[name]) - time.time()


def test_a_clock_that_jumps_changes_nothing(clock, origin):
    """In both directions nothing expires, nothing is late or early, and new versions arrive."""
    origin.put("/t", b"0")
    m = clock(
        http(origin.url("/t"), term="refresh_interval = 300ms max_stale = 1h on_expire = hide")
    )
    shown = [os.stat(m.at("t")).st_ctime_ns]
    for i, ahead_s in enumerate((YEARS_S, -YEARS_S, 0), 1):
        clock.set(ahead_s)
        origin.forget()
        wait_for(lambda: origin.count("/t") >= 3, "three checks")
        assert_is(m, b"%d" % (i - 1), "fresh", None)
        assert abs(shown_ahead(m, "next_check_at") - ahead_s) < DAY_S
        assert abs(shown_ahead(m, "confirmed_at") - ahead_s) < DAY_S
        origin.put("/t", b"%d" % i)
        m.wait_content("t", b"%d" % i)
        shown.append(os.stat(m.at("t")).st_ctime_ns)
    assert shown == sorted(set(shown)), "the time of publishing rises"
    assert not m.events("expired")


def test_a_wrong_clock_makes_certificates_invalid(clock, tls_origin, certificates):
    tls_origin.put("/t", b"good")
    m = clock(
        http(tls_origin.url("/t"), f'ca_file = "{certificates}/ca.pem"', INTERVAL), expect=FAILS
    )
    clock.set(YEARS_S)
    tls_origin.drop_connections()
    m.refresh("t", ok=False)
    assert_is(m, b"good", "stale", "unreachable")
    assert_backs_off(m)
    clock.set(0)
    m.refresh("t")
    assert_is(m, b"good", "fresh", None)


def test_a_time_in_the_future_counts_as_now(clock, origin):
    """Only the wall clock counts over a restart."""
    origin.put("/t", b"good")
    m = clock(max_stale(origin, "hide"), expect=FAILS)
    origin.always("/t", status(503))
    m.stop()
    clock.set(-YEARS_S)
    m.start()
    assert m.read("t") == b"good"
    wait_for(lambda: m.ls() == [], "the name to go away, max_stale after the start")
    assert_is(m, None, "expired", "busy")


# The network


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def link(servers):
    """A network namespace (.inside, for nsenter) with one link to this one; (.ours, .theirs)."""

    class Link:
        def __init__(self):
            tag = os.urandom(4).hex()
            self.ours, self.theirs = "rptA" + tag, "rptB" + tag
            self.holder = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "sleep", "3600"]
            )
            wait_for(self._is_apart, "a network namespace")
            self.inside = ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net"]
            ip("link", "add", self.ours, "type", "veth", "peer", self.theirs)
            # The number of an interface is its alone: so is the network that is made from it.
            place = 4 * (socket.if_nametoindex(self.ours) % 16384)
            net = f"10.213.{place >> 8}"
            self.our_address = f"{net}.{(place & 255) + 1}"
            self.their_address = f"{net}.{(place & 255) + 2}"
            ip("link", "set", self.theirs, "netns", str(self.holder.pid))
            ip("address", "add", self.our_address + "/30", "dev", self.ours)
            ip("link", "set", self.ours, "up")
            self.run("ip", "link", "set", "lo", "up")
            self.up()

        def _is_apart(self):
            mine, theirs = (os.readlink(f"/proc/{p}/ns/net") for p in ("self", self.holder.pid))
            return mine != theirs

        def run(self, *command):
            subprocess.run([*self.inside, *command], check=True, capture_output=True)

        def up(self):
            self.run("ip", "link", "set", self.theirs, "up")
            self.run("ip", "address", "replace", self.their_address + "/30", "dev", self.theirs)

        def down(self):
            self.run("ip", "address", "flush", "dev", self.theirs)
            self.run("ip", "link", "set", self.theirs, "down")

        def close(self):
            self.holder.kill()
            self.holder.wait()
            subprocess.run(["ip", "link", "del", self.ours], capture_output=True)

    made = Link()
    servers.append(made)
    return made


@pytest.mark.long
def test_terms_are_updated_when_the_network_returns(mount, servers, link):
    origin = Origin(address=link.our_address)
    servers.append(origin)
    origin.put("/t", b"good")
    url = f"http://{link.our_address}:{origin.port}/t"
    m = mount(
        http(url, "connect_timeout = 1s", "refresh_interval = 1h"), prefix=link.inside, expect=FAILS
    )
    assert m.read("t") == b"good"
    link.down()
    origin.drop_connections()
    m.refresh("t", ok=False)
    assert_is(m, b"good", "stale", "unreachable")

    def far():
        """Until the back-off, which is random, waits for a minute."""
        m.run_rpt("refresh", "--wait", "t")
        return m.next_in("t") > 60

    wait_for(far, "a long back-off")
    planned = parse_time(m.status("t")["next_check_at"])
    origin.put("/t", b"better")
    origin.forget()
    link.up()
    m.wait_content("t", b"better")
    assert time.time() < planned and origin.count("/t") == 1
    assert_is(m, b"better", "fresh", None)
    assert m.events("network_has_come", terms_asked=1)
