"""The order of the tests, and their fixtures: builds, mounts that end cleanly, origins.

Each test that asks for `build` (all that mount do) runs once for each build of tests/run --build.
"""

import contextlib
import fcntl
import os
import random
import shutil
import stat
import subprocess
import sys
import tempfile

import pytest

sys.path.insert(0, os.path.dirname(__file__))

import radosgw as ceph  # noqa: E402
from awslike import AwsLike  # noqa: E402
from builds import Build  # noqa: E402
from gate import Gate  # noqa: E402
from origin import BlackHole, Origin, Port, server_context  # noqa: E402
from rptmount import Mount, mounts  # noqa: E402
from s3config import environment  # noqa: E402
from servers import Nginx, make_certificates  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--build", default="plain,notify,asan,tsan", help="builds to test")
    parser.addoption("--seed", type=int, help="order of the tests (default: another each time)")


def pytest_generate_tests(metafunc):
    if "build" in metafunc.fixturenames:
        names = metafunc.config.getoption("--build").split(",")
        marker = metafunc.definition.get_closest_marker("builds")
        builds = [Build(name) for name in names if not marker or name in marker.args]
        metafunc.parametrize("build", builds, ids=lambda build: build.name, scope="session")


def is_worker(config):
    """Is this a process that xdist started to run tests?"""
    return hasattr(config, "workerinput")


def pytest_configure(config):
    if is_worker(config):
        config.option.seed = config.workerinput["seed"]
    elif config.option.seed is None:
        config.option.seed = random.randrange(1_000_000)
    config.addinivalue_line("markers", "builds(*names): the only builds in which this test runs")
    config.addinivalue_line("markers", "long: begins before the others, so as not to end after them")
    if not is_worker(config):
        config.tmpfs = Tmpfs()
        if os.path.exists("/dev/fuse"):
            config.opened_device = OpenedDevice()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """xdist's hook: all workers need the same order, and the tmpfs."""
    node.workerinput["seed"] = node.config.option.seed
    node.workerinput["tmpfs"] = node.config.tmpfs.path


def pytest_unconfigure(config):
    if hasattr(config, "opened_device"):
        config.opened_device.close()
    if hasattr(config, "tmpfs"):
        config.tmpfs.close()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Shuffles the tests. Groups, whose tests run one after the other, and long tests come first, or
    they would end long after the rest."""
    random.Random(config.option.seed).shuffle(items)

    def rank(item):
        group = item.get_closest_marker("xdist_group")
        return (0, group.args[0]) if group else (1 if item.get_closest_marker("long") else 2, "")

    items.sort(key=rank)


def pytest_sessionstart(session):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter and not is_worker(session.config):
        reporter.write_line(f"order of the tests: --seed {session.config.option.seed}")


def pytest_terminal_summary(terminalreporter, config):
    if any(terminalreporter.stats.get(kind) for kind in ("failed", "error")):
        terminalreporter.write_line(f"the same order again: --seed {config.option.seed}")


class OpenedDevice:
    """Lets every user open /dev/fuse, for the tests of users' mounts. udev does so on most systems.

    Several sessions may run at a time: each holds a shared lock, and the last one to end restores
    the mode that the first one found, which is in the locked file.
    """

    PATH = "/run/lock/rptfs-tests.fuse"

    def __init__(self):
        os.makedirs(os.path.dirname(self.PATH), exist_ok=True)
        self.lock = open(self.PATH, "a+", encoding="ascii")
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.lock.truncate(0)
            self.lock.write(f"{stat.S_IMODE(os.stat('/dev/fuse').st_mode):o}")
            self.lock.flush()
        os.chmod("/dev/fuse", 0o666)
        fcntl.flock(self.lock, fcntl.LOCK_SH)

    def close(self):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.lock.seek(0)
            os.chmod("/dev/fuse", int(self.lock.read(), 8))
        self.lock.close()


class Tmpfs:
    """The tests of all builds but the plain one have their directories here, where fsync(2) costs
    nothing: whether data reach the disk does not depend on sanitizers or on the publish mode.
    """

    def __init__(self):
        self.path = tempfile.mkdtemp(prefix="rptfs-tests-")
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", self.path], check=True)

    def close(self):
        subprocess.run(["umount", "-l", self.path], check=True)
        os.rmdir(self.path)


@pytest.fixture
def directory(request):
    """A directory that other users may enter; it is removed at the end."""
    config = request.config
    tmpfs = config.workerinput["tmpfs"] if is_worker(config) else config.tmpfs.path
    is_plain = "build" not in request.fixturenames or request.getfixturevalue("build").name == "plain"
    # /tmp may be in memory.
    path = tempfile.mkdtemp(prefix="rptfs-test-", dir="/var/tmp" if is_plain else tmpfs)
    os.chmod(path, 0o755)
    yield path
    for mounted in reversed(mounts()):
        if mounted == path or mounted.startswith(path + "/"):
            subprocess.run(["umount", "-l", mounted], capture_output=True)
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def servers():
    """A list of servers: closed after the mounts that use them have ended."""
    made = []
    yield made
    for server in made:
        server.close()
        if hasattr(server, "release"):
            server.release()


def kept(servers, server):
    servers.append(server)
    return server


@pytest.fixture
def mount(build, directory, servers):
    """A factory: mount(config, …) gives a started Mount (see rptmount.py for its arguments)."""
    made = []

    def make(config="", *, name=None, start=True, wait=True, **how):
        place = os.path.join(directory, name or f"mount{len(made)}")
        os.makedirs(place, exist_ok=True)
        mounted = Mount(build, place, config, **how)
        made.append(mounted)
        return mounted.start(wait=wait) if start else mounted

    try:
        yield make
        for mounted in made:
            mounted.stop()
    finally:
        for mounted in made:
            mounted.clear()


@pytest.fixture
def origin(servers):
    return kept(servers, Origin())


@pytest.fixture
def origins(servers):
    """A factory for more origins: origins(tls=…)."""
    return lambda **how: kept(servers, Origin(**how))


@pytest.fixture
def black_hole(servers):
    return kept(servers, BlackHole())


@pytest.fixture
def refused(servers):
    """A Port on which no server listens: connections are refused."""
    return kept(servers, Port())


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """A directory with ca.pem, server.pem and client.pem (each with its .key)."""
    return make_certificates(str(tmp_path_factory.mktemp("certificates")))


@pytest.fixture
def tls_origin(servers, certificates):
    return kept(servers, Origin(tls=server_context(certificates)))


@pytest.fixture
def nginx(servers, directory, certificates):
    """nginx with HTTP/2 over TLS."""
    place = os.path.join(directory, "nginx")
    os.makedirs(place)
    return kept(servers, Nginx(place, tls=certificates))


@pytest.fixture(scope="session")
def radosgw(tmp_path_factory):
    """The S3 service of this run, started by the first test that uses it."""
    place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent
    service = ceph.share(str(place / "radosgw"))
    yield service
    service.release()


@pytest.fixture
def gates(servers):
    """A factory: gates(port) puts a Gate in front of a server."""
    return lambda port: kept(servers, Gate(port))


@pytest.fixture
def aws(servers):
    return kept(servers, AwsLike())


@pytest.fixture
def s3_mount(mount):
    """Like mount, with an environment: env, or one that has keys."""

    def make(config="", env=None, wait=True, **how):
        made = mount(config, start=False, **how)
        made.env.update(environment() if env is None else env)
        return made.start(wait=wait)

    return make
