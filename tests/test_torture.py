"""Readers only ever see one complete version: see torture.c."""

import contextlib
import os
import re
import signal
import subprocess
import threading
import time

import pytest
from rptmount import HANGS_S, suspend, wait_for
from torture_chaos import Chaos
from watchers import inotifywait

SECONDS = 4
# Swapping has precedence over reading: many versions in little time. How many there are a second
# depends on the machine, and is measured by the benchmark.
FIRST, LAST = ["nice", "-n", "-10"], ["nice", "-n", "15"]
AT_LEAST = 100  # opened, verified, and new versions
pytestmark = pytest.mark.xdist_group("heavy")


def run(build, *arguments, prefix=(), **how):
    return subprocess.run(
        [*prefix, build.torture, *map(str, arguments)], capture_output=True, timeout=HANGS_S, **how
    )


def make(build, name, version, size):
    return run(build, "make", name, version, size, check=True).stdout


def counts(done):
    return {key: int(value) for key, value in re.findall(rb"(\w+)=(\d+)", done.stdout)}


def assert_flawless(done):
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    said = counts(done)
    assert min(said[b"opens"], said[b"verified"], said[b"versions"]) >= AT_LEAST, said
    assert not any(said[key] for key in (b"torn", b"failed", b"short", b"backward", b"mismatch", b"hung"))


class Readers:
    """torture in the background."""

    def __init__(self, build, path, *arguments):
        command = [*LAST, build.torture, "-p", "3", "-t", "3", *map(str, arguments), path]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def finish(self):
        out, err = self.process.communicate(timeout=HANGS_S)
        return subprocess.CompletedProcess([], self.process.returncode, out, err)

    def finish_after_complaint(self):
        assert self.process.stderr.readline().startswith(b"torture: ")
        self.process.terminate()
        return self.finish()


@contextlib.contextmanager
def swapping(build, directory):
    """New versions of the files as long as the block lasts."""
    command = [*FIRST, build.torture, "swap", "-r", "80" if build.sanitized else "400", "-s", "3600"]
    with subprocess.Popen([*command, directory]) as process:
        try:
            yield
            assert process.poll() is None, "it swaps to the end"
        finally:
            process.kill()


@pytest.mark.parametrize("store", ["disk", "memory"])
def test_no_reader_sees_a_torn_file(mount, build, directory, store):
    """Files of 4 KiB to 8 MiB are replaced by rename without pause."""
    source = os.path.join(directory, "source")
    os.mkdir(source)
    config = "defaults { refresh_interval = 1h }\n"
    for i in range(48):
        size = 4096 << i % 12
        with open(os.path.join(source, f"f{i}"), "wb") as file:
            file.write(make(build, f"f{i}", 1, size))
        config += f'term "f{i}" {{ file {{ path = "{source}/f{i}" }} }}\n'
    m = mount(config, store="memory" if store == "memory" else None, prefix=FIRST)
    with swapping(build, source):
        done = Readers(build, m.path, "-s", SECONDS, "-m", AT_LEAST).finish()
    assert_flawless(done)
    m.wait_content("f0", open(os.path.join(source, "f0"), "rb").read())


def test_no_reader_sees_a_torn_response(mount, build, origin):
    """The version that an xattr names is the number in the bytes behind the same descriptor."""
    names = [f"f{i}" for i in range(12)]
    bodies = {}

    def put(version):
        for i, name in enumerate(names):
            bodies[name] = make(build, name, version, 4096 + 8 * 100 * i * (version % 30))
            origin.put("/" + name, bodies[name], etag=f'"{version}"')

    put(1)
    config = "defaults { refresh_interval = 10ms }\n" + "".join(
        f'term "{name}" {{ http {{ url = "{origin.url("/" + name)}" }} }}\n' for name in names
    )
    m = mount(config)
    over = threading.Event()

    def swap():
        version = 1
        while not over.wait(SECONDS / 30):
            version += 1
            put(version)

    swapper = threading.Thread(target=swap)
    readers = Readers(build, m.path, "-s", SECONDS, "-m", AT_LEAST)
    swapper.start()
    try:
        done = readers.finish()
    finally:
        over.set()
        swapper.join()
    assert_flawless(done)
    for name in names:
        m.wait_content(name, bodies[name])


# Everything at once: (store, seconds)

CHAOS = {"plain": [("disk", 15), ("memory", 10)]}  # other builds: disk only


def test_readers_survive_everything_at_once(build, directory):
    """See torture_chaos.py, which can run for longer by itself."""
    for store, seconds in CHAOS.get(build.name, [("disk", 15)]):
        place = os.path.join(directory, store)
        os.makedirs(place)
        chaos = Chaos(build, place, seconds, store, seed=time.time_ns() % 1_000_000)
        problems = chaos.go()
        assert not problems, "\n".join([f"seed {chaos.seed}", *problems, chaos.report()])
        tried = chaos.did["upgrades"] + chaos.did["upgrades that a death prevented"]
        assert chaos.deaths() >= 1 and tried >= 1, chaos.report()
        assert chaos.counts["superseded"] > 100 and chaos.counts["cold"] > 100, chaos.report()


# The program itself, on an ordinary file system


@pytest.fixture
def proven(build, directory):
    """A directory with one self-proving file, and what it takes to replace it."""
    path = os.path.join(directory, "files")
    os.mkdir(path)

    def put(version, size=100_000, name="f", change=lambda body: body):
        with open(os.path.join(path, ".new"), "wb") as file:
            file.write(change(make(build, name, version, size)))
        os.rename(os.path.join(path, ".new"), os.path.join(path, "f"))

    put(7)
    return path, put


def test_intact_files_pass(build, proven):
    done = run(build, "-p", 1, "-t", 2, "-n", 200, "-s", 20, proven[0])
    assert done.returncode == 0 and counts(done)[b"verified"] > 50, done


@pytest.mark.parametrize("size", [64, 4096, 4096 + 8, 8192 - 8, 1_000_000])
def test_every_size_proves_itself(build, proven, size):
    path, put = proven
    put(8, size)
    assert run(build, "-p", 1, "-t", 1, "-n", 50, path).returncode == 0


def flip(body):
    return body[:50_000] + bytes([body[50_000] ^ 1]) + body[50_001:]


@pytest.mark.parametrize(
    "change, found",
    [
        (flip, b"torn"),
        (lambda body: body[:-8], b"short"),
        (lambda body: body + bytes(8), b"short"),
        (lambda body: b"", b"short"),
        (lambda body: bytes(8192) + body[8192:], b"torn"),
    ],
    ids=["a flipped bit", "cut", "too long", "empty", "zeros"],
)
def test_damage_is_found(build, proven, change, found):
    path, put = proven
    put(8, change=change)
    done = run(build, "-p", 1, "-t", 1, "-n", 100, path)
    assert done.returncode == 1 and counts(done)[found] > 0, done


def test_a_mix_of_versions_is_found(build, proven):
    path, put = proven
    other = make(build, "f", 9, 100_000)
    put(8, change=lambda body: body[:40_960] + other[40_960:])
    assert counts(run(build, "-p", 1, "-t", 1, "-n", 100, path))[b"torn"] > 0


def found_after(build, path, change):
    """The counts of readers that had opened the file before a change, and complained after it."""
    with inotifywait(path, events="open") as opens:
        readers = Readers(build, path, "-s", 3600)
        opens.wait(20, "readers")
    change()
    return counts(readers.finish_after_complaint())


def test_going_backwards_is_found(build, proven):
    path, put = proven
    assert found_after(build, path, lambda: put(6))[b"backward"] > 0


def test_writing_in_place_is_found(build, proven):
    path, _ = proven

    def write():
        with open(os.path.join(path, "f"), "r+b") as file:
            file.write(make(build, "f", 8, 100_000))

    assert found_after(build, path, write)[b"torn"] > 0


def test_a_file_that_disappears_is_found(build, proven):
    path, _ = proven
    assert found_after(build, path, lambda: os.unlink(os.path.join(path, "f")))[b"failed"] > 0


def test_a_reader_that_hangs_is_found(mount, build):
    """Worker and keeper are stopped for a while; then they continue."""
    # If it takes long, the keeper finds that its worker was silent for too long.
    m = mount('term "f" { static { data = "not looked at" } }\n', expect=["event=worker_(hangs|died)"])

    def is_known():
        before = m.counts()
        return m.ls() == ["f"] and os.stat(m.at("f")).st_size == 13 and m.counts() == before

    wait_for(is_known, "name and size to be known without asking")  # and no more than that
    processes = [m.worker, m.keeper]
    assert all([suspend(pid) for pid in reversed(processes)])  # no thread takes one more request
    try:
        done = run(build, "-p", 1, "-t", 1, "-n", 10, "-w", 1, m.path)
    finally:
        for pid in processes:
            os.kill(pid, signal.SIGCONT)
    assert done.returncode == 1 and counts(done)[b"hung"] > 0, done
    assert m.read("f") == b"not looked at"


def test_pauses_are_measured(build, proven):
    """An empty file is a failed read; the longest time is printed."""
    path, put = proven
    name = os.path.join(path, "f")
    done = run(build, "pause", "-s", 1, "-r", 100, "-o", 0, name)
    assert done.returncode == 0 and counts(done)[b"reads"] > 0 and counts(done)[b"longest_us"] > 0
    os.truncate(name, 0)
    done = run(build, "pause", "-c", "-s", 1, "-r", 100, name)
    assert done.returncode == 1 and counts(done)[b"failed"] == counts(done)[b"reads"] > 0


def test_another_version_in_the_xattr_is_found(build, proven):
    path, put = proven
    try:
        os.setxattr(os.path.join(path, "f"), "user.rpt.version", b"8")
    except OSError:
        pytest.skip("this file system has no user xattrs")
    done = run(build, "-p", 1, "-t", 1, "-n", 10, path)
    assert counts(done)[b"mismatch"] > 0
