"""Nobody ever reads anything but one complete version: see torture.c."""

import os
import re
import signal
import subprocess
import threading
import time

import pytest
from rptmount import wait_for
from torture_chaos import Chaos
from worker_look import stop

SECONDS = 4
# A rate can only be had from a machine that has time for it: those who swap go before those who
# read and before the other tests, and may try again. What readers see has to be right each time.
FIRST, LAST = ["nice", "-n", "-10"], ["nice", "-n", "15"]
ATTEMPTS = 3
pytestmark = pytest.mark.xdist_group("heavy")


def run(build, *arguments, prefix=(), **how):
    return subprocess.run(
        [*prefix, build.torture, *map(str, arguments)], capture_output=True, timeout=60, **how
    )


def make(build, name, version, size):
    return run(build, "make", name, version, size, check=True).stdout


def counts(done):
    return {key: int(value) for key, value in re.findall(rb"(\w+)=(\d+)", done.stdout)}


def assert_flawless(done):
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    said = counts(done)
    assert said[b"opens"] > 100 and said[b"verified"] > 100 and said[b"versions"] > 50, said
    assert not any(said[key] for key in (b"torn", b"failed", b"short", b"backward", b"mismatch", b"hung"))


class Readers:
    """torture in the background."""

    def __init__(self, build, path, seconds):
        command = [*LAST, build.torture, "-p", "3", "-t", "3", "-s", str(seconds), path]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def finish(self):
        out, err = self.process.communicate(timeout=60)
        return subprocess.CompletedProcess([], self.process.returncode, out, err)


def updated(m):
    return sum(term["updated_total"] for term in m.status()["terms"])


def enough(build):
    """Swaps a second over all terms: what is promised; sanitizers cost a multiple."""
    return 40 if build.sanitized else 200


@pytest.mark.parametrize("store", ["disk", "memory"])
def test_swaps_of_files(mount, build, directory, store):
    """Terms of 4 KiB to 8 MiB whose files are replaced by rename, all the time."""
    source = os.path.join(directory, "source")
    os.mkdir(source)
    config = "defaults { refresh_interval = 1h }\n"
    for i in range(48):
        size = 4096 << i % 12
        with open(os.path.join(source, f"f{i}"), "wb") as file:
            file.write(make(build, f"f{i}", 1, size))
        config += f'term "f{i}" {{ file {{ path = "{source}/f{i}" }} }}\n'
    m = mount(config, store="memory" if store == "memory" else None, prefix=FIRST)
    for _ in range(ATTEMPTS):
        readers = Readers(build, m.path, SECONDS)
        before, start = updated(m), time.monotonic()
        swapped = run(build, "swap", "-r", 2 * enough(build), "-s", SECONDS, source, prefix=FIRST)
        rate = (updated(m) - before) / (time.monotonic() - start)
        assert_flawless(readers.finish())
        assert swapped.returncode == 0, swapped
        if rate >= enough(build):
            break
    assert rate >= enough(build), f"{rate:.0f} swaps a second; {swapped.stdout}"
    m.wait_content("f0", open(os.path.join(source, "f0"), "rb").read())


def test_swaps_over_http(mount, build, origin):
    """The version that an xattr names is the number in the bytes behind the same descriptor."""
    names = [f"f{i}" for i in range(12)]
    versions = {
        name: [make(build, name, version, 4096 + 8 * 100 * i * version) for version in range(1, 31)]
        for i, name in enumerate(names)
    }
    for name in names:
        origin.put("/" + name, versions[name][0], etag='"1"')
    config = "defaults { refresh_interval = 10ms }\n" + "".join(
        f'term "{name}" {{ http {{ url = "{origin.url("/" + name)}" }} }}\n' for name in names
    )
    m = mount(config)
    over = threading.Event()

    def swap():
        for version in range(2, 31):
            for name in names:
                origin.put("/" + name, versions[name][version - 1], etag=f'"{version}"')
            if over.wait(SECONDS / 30):
                return

    swapping = threading.Thread(target=swap)
    readers = Readers(build, m.path, SECONDS)
    swapping.start()
    done = readers.finish()
    over.set()
    swapping.join()
    assert_flawless(done)
    for name in names:
        m.wait_content(name, versions[name][29])


# Everything at once: (store, seconds) for each build

CHAOS = {"asan": [("disk", 15)], "tsan": [("disk", 15)]}


@pytest.mark.timeout(400)
def test_everything_at_once(build, directory):
    """See torture_chaos.py, which goes on for longer by itself."""
    for store, seconds in CHAOS.get(build.name, [("disk", 20), ("memory", 10)]):
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


def test_going_backwards_is_found(build, proven):
    path, put = proven
    readers = Readers(build, path, 1)
    time.sleep(0.5)
    put(6)
    assert counts(readers.finish())[b"backward"] > 0


def test_writing_in_place_is_found(build, proven):
    path, _ = proven
    readers = Readers(build, path, 1)
    time.sleep(0.3)
    body = make(build, "f", 8, 100_000)
    with open(os.path.join(path, "f"), "r+b") as file:
        file.write(body)
    assert counts(readers.finish())[b"torn"] > 0


def test_a_file_that_goes_away_is_found(build, proven):
    path, _ = proven
    readers = Readers(build, path, 1)
    time.sleep(0.3)
    os.unlink(os.path.join(path, "f"))
    assert counts(readers.finish())[b"failed"] > 0


def test_a_reader_that_hangs_is_found(mount, build):
    """Neither worker nor keeper do anything for a while; then all is well again."""
    m = mount('term "f" { static { data = "not looked at" } }\n')

    def is_known():
        before = m.counts()
        return m.ls() == ["f"] and os.stat(m.at("f")).st_size == 13 and m.counts() == before

    wait_for(is_known, "name and size to be known without asking")  # and no more than that
    processes = [m.worker, m.keeper]
    assert all([stop(pid) for pid in reversed(processes)])  # no thread takes one more request
    try:
        done = run(build, "-p", 1, "-t", 1, "-n", 10, "-w", 1, m.path)
    finally:
        for pid in processes:
            os.kill(pid, signal.SIGCONT)
    assert done.returncode == 1 and counts(done)[b"hung"] > 0, done
    assert m.read("f") == b"not looked at"


def test_pauses_are_measured(build, proven):
    """A file that is not there for a moment is a failed read; the longest one is told."""
    path, put = proven
    name = os.path.join(path, "f")
    done = run(build, "pause", "-s", 1, "-r", 100, "-o", 0, name)
    assert done.returncode == 0 and counts(done)[b"reads"] > 10 and counts(done)[b"longest_us"] > 0
    os.truncate(name, 0)
    done = run(build, "pause", "-c", "-s", 1, "-r", 100, name)
    assert done.returncode == 1 and counts(done)[b"failed"] > 10


def test_another_version_in_the_xattr_is_found(build, proven):
    path, put = proven
    try:
        os.setxattr(os.path.join(path, "f"), "user.rpt.version", b"8")
    except OSError:
        pytest.skip("this file system has no user xattrs")
    done = run(build, "-p", 1, "-t", 1, "-n", 10, path)
    assert counts(done)[b"mismatch"] > 0
