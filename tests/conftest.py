"""Builds, mounts that end cleanly, origins: what the tests are made of.

Each test that asks for `build` (all that mount do) runs once for each build of tests/run --build.
"""

import os
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
from origin import BlackHole, Origin, server_context  # noqa: E402
from rptmount import Mount, mounts  # noqa: E402
from s3config import environment  # noqa: E402
from servers import Nginx, make_certificates  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--build", default="plain,notify,asan,tsan", help="builds to test")


def pytest_generate_tests(metafunc):
    if "build" in metafunc.fixturenames:
        builds = [Build(name) for name in metafunc.config.getoption("--build").split(",")]
        metafunc.parametrize("build", builds, ids=lambda build: build.name, scope="session")


def pytest_configure(config):
    """udev gives everybody the device; where there is no udev, the tests of users' mounts do."""
    if os.path.exists("/dev/fuse") and not hasattr(config, "workerinput"):
        config.fuse_mode = stat.S_IMODE(os.stat("/dev/fuse").st_mode)
        os.chmod("/dev/fuse", 0o666)


def pytest_unconfigure(config):
    if hasattr(config, "fuse_mode"):
        os.chmod("/dev/fuse", config.fuse_mode)


@pytest.fixture
def directory():
    """A directory that others may enter, and that is removed at the end."""
    path = tempfile.mkdtemp(prefix="rptfs-test-")
    os.chmod(path, 0o755)
    yield path
    for mounted in reversed(mounts()):
        if mounted == path or mounted.startswith(path + "/"):
            subprocess.run(["umount", "-l", mounted], capture_output=True)
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def servers():
    """What has close(): closed after the mounts that use it have ended."""
    made = []
    yield made
    for server in made:
        server.close()


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
    """The one S3 service of this run: started by the first test that wants it."""
    place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent
    service = ceph.share(str(place / "radosgw"))
    yield service
    service.release()


@pytest.fixture
def gates(servers):
    """A factory: gates(port) puts a Gate before a server."""
    return lambda port: kept(servers, Gate(port))


@pytest.fixture
def aws(servers):
    return kept(servers, AwsLike())


@pytest.fixture
def s3_mount(mount):
    """As mount, with an environment: env, or one with keys."""

    def make(config="", env=None, wait=True, **how):
        made = mount(config, start=False, **how)
        made.env.update(environment() if env is None else env)
        return made.start(wait=wait)

    return make
