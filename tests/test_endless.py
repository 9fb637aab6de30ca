"""An attempt ends, whatever the source sends, and what the term serves meanwhile stays."""

import gzip

import pytest
from origin import Endless, interim, trickle

# What a fetcher does is the same in both publish modes.
pytestmark = pytest.mark.builds("plain", "asan", "tsan")

OLD, NEW = b"the last good version\n" * 40, b"the next version\n" * 50
FAILS = ["term=t .*"]

# What the origin sends for ever · the options · the kind of error · what the message says
ENDLESS = {
    "a trickle": (Endless(bytes(1200), 0.9), "stall_timeout = 2s", "", "unreachable", "too slow"),
    "a trickle that is fast enough": (
        Endless(bytes(1200), 0.1),
        "stall_timeout = 2s",
        "attempt_timeout = 3s",
        "unreachable",
        "attempt_timeout of 3.0s",
    ),
    "a flood": (Endless(bytes(4000)), "", "max_size = 1MiB", "bad_data", "max_size"),
    "empty members of gzip": (
        Endless(gzip.compress(b"") * 400, coding="gzip"),
        "",
        "max_size = 1KiB",
        "bad_data",
        "max_received of 8390656 bytes",
    ),
    "zero bytes after gzip": (
        Endless(bytes(4096), coding="gzip", first=gzip.compress(NEW)),
        "",
        "max_received = 64KiB",
        "bad_data",
        "max_received of 65536 bytes",
    ),
    "skippable frames of zstd": (
        Endless(b"\x50\x2a\x4d\x18\0\x10\0\0" + bytes(4096), coding="zstd"),
        "",
        "max_received = 64KiB",
        "bad_data",
        "max_received of 65536 bytes",
    ),
    "extensions of chunks": (
        Endless(b"x", extension=b";" + b"y" * 65_536),
        "",
        "max_received = 1MiB",
        "bad_data",
        "max_received of 1048576 bytes",
    ),
    "interim responses": (interim(*(102, 103) * 5000), "", "", "bad_data", "headers of more"),
}


@pytest.mark.parametrize("what", ENDLESS)
def test_an_attempt_ends(mount, origin, what):
    behaviour, options, term, kind, said = ENDLESS[what]
    origin.put("/t", OLD)
    m = mount(
        f'term "t" {{ refresh_interval = 1h {term} http {{ url = "{origin.url("/t")}" {options} }} }}\n',
        expect=FAILS,
    )
    origin.put("/t", NEW)
    origin.always("/t", behaviour)
    m.refresh("t", ok=False)
    now = m.status("t")
    assert now["state"] == "stale" and m.read("t") == OLD
    assert now["last_error"]["kind"] == kind and said in now["last_error"]["message"]


def test_what_is_not_decoded_is_counted_as_it_arrives(mount, origin):
    """Nothing but what is on its way when the limit is reached is received beyond it."""
    flood = Endless(gzip.compress(b"") * 400, coding="gzip")
    origin.put("/t", OLD)
    origin.always("/t", flood)
    m = mount(
        f'term "t" {{ max_received = 1MiB http {{ url = "{origin.url("/t")}" }} }}\n', expect=FAILS
    )
    assert m.ls() == [] and m.kind("t") == "bad_data"
    assert 1 << 20 <= flood.sent < 32 << 20


def test_a_source_that_is_too_slow_is_passed_over(mount, origin, origins):
    replica = origins()
    origin.put("/t", OLD)
    replica.put("/t", NEW)
    origin.always("/t", Endless(bytes(1200), 0.9))
    m = mount(
        f'term "t" {{ http {{ url = "{origin.url("/t")}" stall_timeout = 2s }} '
        f'http {{ url = "{replica.url("/t")}" }} }}\n',
        expect=FAILS,
    )
    assert m.read("t") == NEW and m.xattr("t", "source") == replica.url("/t")


def test_a_slow_line_is_no_failure_with_another_min_rate(mount, origin):
    origin.put("/t", bytes(12_000))
    origin.always("/t", trickle(1200, 0.8))
    m = mount(
        f'term "t" {{ min_rate = 0 http {{ url = "{origin.url("/t")}" stall_timeout = 5s }} }}\n',
        wait=False,
        expect=FAILS,
    )
    m.wait_content("t", bytes(12_000))


def test_a_body_just_below_the_limit_is_not_too_much(mount, origin):
    """Bytes that wait in the kernel are not counted twice."""
    body = bytes(4 << 20)
    origin.put("/t", body)
    m = mount(
        f'term "t" {{ refresh_interval = 1h max_received = {len(body) + 4096}'
        f' http {{ url = "{origin.url("/t")}" }} }}\n'
    )
    for version in range(20):
        body = version.to_bytes(1, "little") + body[1:]
        origin.put("/t", body)
        m.refresh("t")
        assert m.read("t") == body
