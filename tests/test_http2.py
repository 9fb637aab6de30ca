"""HTTP/2: a body whose end nothing shows is not taken."""

import gzip

import pytest
from http2_origin import DATA, END_STREAM, NO_ERROR, RST_STREAM, Http2Origin, answer, frame
from origin import chunked, cut, http

# What a fetcher does is the same in both publish modes.
pytestmark = pytest.mark.builds("plain", "asan", "tsan")

BODY = b"the whole body\n" * 100
RESET = (RST_STREAM, 0, NO_ERROR.to_bytes(4, "big"))
END = (DATA, END_STREAM, b"")
FAILS = ["term=t .*"]


@pytest.fixture
def http2(servers, certificates):
    """A factory: http2(body, end, headers) gives an origin whose HTTP/2 answers are like that, and
    whose HTTP/1.1 answers are BODY."""

    def make(body, end, headers=None):
        kind, flags, payload = end
        served = {"etag": '"2"', **(headers or {})}
        origin = Http2Origin(
            certificates,
            lambda stream: answer(stream, body, served),
            lambda stream: frame(kind, flags, stream, payload),
        )
        servers.append(origin)
        servers[-1].put("/t", BODY)
        servers[-1].always("/t", chunked())
        return servers[-1]

    return make


def config(origin, certificates, more=""):
    return http(origin.url("/t"), f'ca_file = "{certificates}/ca.pem" {more}')


def test_a_body_of_unknown_length_is_asked_for_with_http1(mount, http2, certificates):
    """A server that resets the stream without an error cuts the body, and libcurl does not see it."""
    origin = http2(BODY[:500], RESET)
    m = mount(config(origin, certificates))
    assert m.read("t") == BODY and origin.count("/t") == 1


def test_a_body_that_is_cut_with_http1_too_is_refused(mount, http2, certificates):
    origin = http2(BODY[:500], RESET)
    origin.always("/t", chunked(end=False))
    m = mount(config(origin, certificates), expect=FAILS)
    assert m.ls() == [] and m.kind("t") == "unreachable"
    assert f"{origin.url('/t')} with HTTP/1.1: " in m.message("t")


@pytest.mark.parametrize("size", [0, 20, -4])
def test_a_coding_shows_that_a_body_is_cut(mount, http2, certificates, size):
    """Not a defect of the version: it is fetched again."""
    origin = http2(gzip.compress(BODY)[:size], RESET, {"content-encoding": "gzip"})
    m = mount(config(origin, certificates), expect=FAILS)
    assert m.ls() == [] and m.kind("t") == "unreachable"


@pytest.mark.parametrize(
    "body, headers",
    [
        (BODY, {"content-length": str(len(BODY))}),
        (gzip.compress(BODY), {"content-encoding": "gzip"}),
    ],
    ids=["length", "gzip"],
)
def test_a_body_whose_end_shows_is_taken(mount, http2, certificates, body, headers):
    origin = http2(body, END, headers)
    m = mount(config(origin, certificates))
    assert m.read("t") == BODY
    assert origin.count() == 0 and origin.n_http2 == 1


def test_accept_unframed_takes_any_body(mount, http2, certificates):
    origin = http2(BODY, END)
    origin.always("/t", cut(0))
    m = mount(config(origin, certificates, "accept_unframed = true"))
    assert m.read("t") == BODY and origin.count() == 0
