"""Values that must not grow with the number of terms: descriptors, the bytes that a round of checks
writes, and the directories that a new version affects. The benchmark measures 100,000 terms."""

import os

import pytest
from conftest import kept
from rptmount import files_below, replace, wait_for
from servers import Nginx

pytestmark = pytest.mark.builds("plain")  # about scale, not about memory errors

FEW, MANY = 100, 5000
DIRECTORIES = 20


def name(i):
    return f"d{i % DIRECTORIES:02}/{i}"


def static(n):
    return "".join(f'term "{name(i)}" {{ static {{ data = "{i}" }} }}\n' for i in range(n))


def served(m, n):
    """Waits until all terms are published."""
    wait_for(lambda: m.metrics()["rptfs_publish_seconds_count"] == n, f"{n} terms", pause=0.25)
    return m


def descriptors(m):
    return len(os.listdir(f"/proc/{m.worker}/fd")) + len(os.listdir(f"/proc/{m.keeper}/fd"))


@pytest.mark.xdist_group("heavy")
def test_descriptors_do_not_grow_with_terms(mount):
    most = None
    for n in (FEW, MANY):
        m = served(mount(static(n), wait=False), n)
        for i in range(0, n, n // FEW):
            assert m.read(name(i)) == b"%d" % i
        # Some are open for a moment: the number has to come down.
        if most:
            wait_for(lambda m=m: descriptors(m) <= most, f"{most} descriptors at most", pause=0.1)
        most = descriptors(m) + 4
        m.stop()


@pytest.mark.xdist_group("heavy")
def test_a_round_in_which_nothing_changed_writes_nothing(mount, servers, directory):
    """All answers are 304: neither the catalog nor its log is written to."""
    place = os.path.join(directory, "origin")
    os.makedirs(place)
    origin, n = kept(servers, Nginx(place, log=False)), 2000
    config = 'defaults { refresh_interval = "never" }\n'
    for i in range(n):
        os.makedirs(os.path.dirname(f"{origin.root}/{name(i)}"), exist_ok=True)
        origin.put("/" + name(i), b"%d" % i)
        config += f'term "{name(i)}" {{ http {{ url = "{origin.url("/" + name(i))}" }} }}\n'
    m = served(mount(config, wait=False), n)

    def store():
        found = files_below(m.store)
        return {path: (stat.st_size, stat.st_mtime_ns) for path, stat in found.items()}

    def is_settled():
        """A round finds and leaves the store the same: the first versions are written by then."""
        before, requests = store(), m.metrics()["rptfs_http_requests_total"]
        m.rpt("refresh", "--wait")
        assert m.metrics()["rptfs_http_requests_total"] == requests + n, "all were asked"
        return store() == before

    assert f"{m.store}/catalog.db-wal" in store()
    wait_for(is_settled, "a round that writes nothing")


@pytest.mark.xdist_group("heavy")
def test_a_change_concerns_its_own_directory_only(mount, directory):
    """The kernel continues to list the others and to look up all other names without a request."""
    source = os.path.join(directory, "source")
    replace(source, b"one")
    changing = f'term "d00/0" {{ refresh_interval = "never" file {{ path = "{source}" }} }}\n'
    m = served(mount(changing + static(MANY).split("\n", 1)[1], wait=False), MANY)

    def look_around(directories):
        for i in directories:
            listed = os.listdir(m.at(f"d{i:02}"))
            assert len(listed) == MANY // DIRECTORIES
            for j in range(i, MANY, DIRECTORIES * 10):
                os.stat(m.at(name(j)))

    def asked(directories):
        with m.counting() as requests:
            look_around(directories)
        return requests

    everywhere = range(DIRECTORIES)
    wait_for(lambda: not asked(everywhere), "the kernel to know everything")
    replace(source, b"another")
    m.rpt("refresh", "--wait", "d00/0")
    assert m.read("d00/0") == b"another"
    assert not asked(everywhere[1:]), "of the others"
    before = sum(m.counts().values())
    again = asked(everywhere[:1])
    assert 0 < sum(m.counts().values()) - before < 50, again
    assert set(again) <= {"readdir", "readdirplus", "getattr", "lookup"}, again
