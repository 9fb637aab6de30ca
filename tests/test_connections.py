"""Connections that die without a word: a relay that freezes, or an address that has changed."""

import threading

import pytest
from gate import Gate
from origin import delay

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
