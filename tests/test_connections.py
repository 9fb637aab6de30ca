"""Connections that die without a word: a relay that freezes, or an address that has changed.
Connections that are kept for too long."""

import os
import subprocess
import threading

import pytest
from gate import Gate
from origin import delay
from rptmount import HANGS_S
from servers import Nginx

# What a fetcher does is the same in both publish modes.
pytestmark = pytest.mark.builds("plain", "asan", "tsan")

TERMS = 4


class Relay(Gate):
    """Forwards any bytes. After freeze() the connections that exist stay open and carry nothing
    more; new ones work."""

    def __init__(self, to_port):
        self.frozen = threading.Event()
        super().__init__(to_port)

    def freeze(self):
        self.frozen.set()
        self.frozen = threading.Event()

    def _pump(self, source, sink):
        frozen = self.frozen
        while data := source.recv(65536):
            if not frozen.is_set():
                sink.sendall(data)
        # The other end must not notice that this one has closed a frozen connection.
        while frozen.is_set() and sink.recv(65536):
            pass

    _requests = _answers = _pump


@pytest.fixture
def relays(servers):
    def make(to_port):
        servers.append(Relay(to_port))
        return servers[-1]

    return make


def config(url, options):
    return "".join(
        f'term "{i}" {{ http {{ url = "{url}/{i}" stall_timeout = 3s {options} }} }}\n'
        for i in range(TERMS)
    )


def test_a_dead_http2_connection_is_given_up_after_one_stall(mount, nginx, relays, certificates):
    relay = relays(nginx.port)
    for i in range(TERMS):
        nginx.put(f"/{i}", b"one")
    m = mount(
        config(f"https://127.0.0.1:{relay.port}", f'ca_file = "{certificates}/ca.pem"'),
        expect=["term=. .*"],
    )
    for i in range(TERMS):
        nginx.put(f"/{i}", b"two, longer")
    relay.freeze()
    m.refresh("0", ok=False)
    m.refresh()
    assert [m.read(str(i)) for i in range(TERMS)] == [b"two, longer"] * TERMS


def test_a_stall_closes_the_other_kept_connections(mount, origin, relays):
    relay = relays(origin.port)
    for i in range(TERMS):
        origin.put(f"/{i}", b"one")
        origin.always(f"/{i}", delay(0.5))  # so that each has a connection of its own
    m = mount(config(f"http://127.0.0.1:{relay.port}", ""), expect=["term=. .*"])
    assert len({request.peer for request in origin.requests}) > 1
    for i in range(TERMS):
        origin.put(f"/{i}", b"two")
        origin.always(f"/{i}")
    relay.freeze()
    m.refresh("0", ok=False)
    m.refresh("0")
    m.refresh()
    assert [m.read(str(i)) for i in range(TERMS)] == [b"two"] * TERMS


def test_an_http2_connection_that_is_never_idle_is_replaced(build, directory, servers, certificates):
    """Once it is too old, further requests share a new one, and those on the old one go on."""
    more = "add_header X-Connection $connection; location = /slow { limit_rate 1000; }"
    place = os.path.join(directory, "nginx")
    nginx = Nginx(place, tls=certificates, more=more)
    servers.append(nginx)
    nginx.put("/slow", bytes(1_000_000))
    nginx.put("/fast", b"fast")
    done = subprocess.run(
        [
            os.path.join(build.dir, "tests", "http2_probe"),
            f"{certificates}/ca.pem",
            nginx.url("/slow"),
            nginx.url("/fast"),
        ],
        capture_output=True,
        text=True,
        timeout=HANGS_S,
    )
    assert done.returncode == 0, done.stderr
    first, *rounds = [line.split() for line in done.stdout.splitlines()]
    assert [line[-1] for line in rounds] == ["+"] * 4, "the slow response goes on"
    used = [set(line[:-1]) for line in rounds]
    assert [len(connections) for connections in used] == [1] * 4
    assert used[0] == set(first) and len(set.union(*used)) == 4
    assert all(line.startswith("HTTP/2.0 ") for line in nginx.requests())
