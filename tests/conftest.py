"""Builds, mounts that end cleanly, origins: what the tests are made of.

Each test that asks for `build` (all that mount do) runs once for each build of tests/run --build.
"""

import os
import shutil
import subprocess
import sys
import tempfile

import pytest

sys.path.insert(0, os.path.dirname(__file__))

from builds import Build  # noqa: E402
from rptmount import Mount, mounts  # noqa: E402
from origin import BlackHole, Origin, server_context  # noqa: E402
from servers import Nginx, make_certificates  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--build", default="plain,asan,tsan", help="builds to test")


def pytest_generate_tests(metafunc):
    if "build" in metafunc.fixturenames:
        builds = [Build(name) for name in metafunc.config.getoption("--build").split(",")]
        metafunc.parametrize("build", builds, ids=lambda build: build.name, scope="session")


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
def mount(build, directory):
    """A factory: mount(config, …) gives a started Mount (see rptmount.py for its arguments)."""
    made = []

    def make(config="", *, name=None, start=True, wait=True, **how):
        place = os.path.join(directory, name or f"mount{len(made)}")
        os.makedirs(place, exist_ok=True)
        mounted = Mount(build, place, config, **how)
        made.append(mounted)
        return mounted.start(wait=wait) if start else mounted

    make.build, make.directory = build, directory
    try:
        yield make
        for mounted in made:
            mounted.stop()
    finally:
        for mounted in made:
            mounted.clear()


@pytest.fixture
def origin():
    server = Origin()
    yield server
    server.close()


@pytest.fixture
def origins():
    """A factory for more origins: origins(tls=…)."""
    made = []

    def make(**how):
        made.append(Origin(**how))
        return made[-1]

    yield make
    for server in made:
        server.close()


@pytest.fixture
def black_hole():
    server = BlackHole()
    yield server
    server.close()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """A directory with ca.pem, server.pem and client.pem (each with its .key)."""
    return make_certificates(str(tmp_path_factory.mktemp("certificates")))


@pytest.fixture
def tls_origin(certificates):
    server = Origin(tls=server_context(certificates))
    yield server
    server.close()


@pytest.fixture
def nginx(directory, certificates):
    """nginx with HTTP/2 over TLS."""
    place = os.path.join(directory, "nginx")
    os.makedirs(place)
    server = Nginx(place, tls=certificates)
    yield server
    server.close()
