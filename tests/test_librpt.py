"""librpt on real mounts: a C program and a Python one that hold a term."""

import contextlib
import ctypes
import errno
import importlib.util
import json
import os
import signal
import subprocess
import threading
import time

import pytest
from builds import TOP
from origin import status
from rptmount import HANGS_S, drop_pages, session_processes, suspend, wait_for

UNCHANGED, CHANGED, DETACHED = 0, 1, 2
NEVER = "refresh_interval = never"


class Probe:
    """A program that has opened a term: tests/librpt_probe.c."""

    def __init__(self, build, path, env):
        program = os.path.join(build.dir, "tests", "librpt_probe")
        self.process = subprocess.Popen(
            [program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        )
        self.first = self._answer()

    def _answer(self):
        return self.process.stdout.readline().rstrip("\n")

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self._answer()

    def get(self, n=1):
        """(body, serial, detached), or the number of the error."""
        return self._value(self.ask(f"get {n}"))

    def held(self):
        return self._value(self.ask("held"))

    def _value(self, answer):
        kind, _, rest = answer.partition(" ")
        if kind == "error":
            return int(rest)
        assert kind == "value", answer
        serial, detached, self.version, body = rest.split(" ", 3)
        return body, int(serial), bool(int(detached))

    def body(self):
        """None instead of an error."""
        got = self.get()
        return got[0] if isinstance(got, tuple) else None

    def check(self):
        return int(self.ask("check").removeprefix("check "))

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(HANGS_S) == (1 if self.first.startswith("error") else 0)
        self.process.stdout.close()


@pytest.fixture
def probe(build, directory):
    made = []

    def make(path):
        made.append(Probe(build, path, build.environment(directory)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_the_next_get_returns_the_update(mount, origin, probe):
    origin.put("/d/t", b"one", etag='"v1"')
    m = mount(origin.term("d/t", NEVER))
    p = probe(m.at("d/t"))
    assert p.get() == ("one", 1, False) and p.version == "v1"
    for i in range(2, 20):
        origin.put("/d/t", b"body %d" % i, etag=f'"v{i}"')
        m.refresh("d/t")
        assert p.check() == CHANGED
        assert p.held()[1] == i - 1, "check leaves what is held"
        assert p.get() == (f"body {i}", i, False) and p.version == f"v{i}"
        assert p.check() == UNCHANGED
    m.refresh("d/t")  # the same bytes
    assert p.get() == ("body 19", 19, False)


def test_the_held_value_stays_until_the_next_get(mount, origin, probe):
    origin.put("/t", b"held " * 5000)
    m = mount(origin.term("t", NEVER))
    p = probe(m.at("t"))
    origin.put("/t", b"next")
    m.refresh("t")
    dead = m.kill_worker()
    m.wait_worker(after=dead)
    assert p.held()[:2] == ("held " * 5000, 1)
    assert p.get()[:2] == ("next", 2)


def test_gets_without_an_update_cause_no_request(mount, origin, probe):
    origin.put("/t", b"one")
    origin.put("/u", b"another")
    m = mount(origin.term("t", NEVER) + origin.term("u", NEVER))
    p = probe(m.at("t"))
    with m.counting() as requests:
        until = time.time() + 2.2  # the name is checked when a second begins
        while time.time() < until:
            assert p.get(100_000) == ("one", 1, False)
    assert requests == {}
    suspend(m.worker)
    try:
        assert p.get(1000) == ("one", 1, False)
    finally:
        os.kill(m.worker, signal.SIGCONT)
    origin.put("/u", b"is no business of t")
    m.refresh("u")
    with m.counting() as requests:
        assert p.get(1000) == ("one", 1, False)
    assert requests == {}


def test_an_update_costs_few_requests(mount, origin, probe):
    origin.put("/t", b"one")
    m = mount(origin.term("t", NEVER))
    p = probe(m.at("t"))
    origin.put("/t", b"two")
    m.refresh("t")
    m.read("t")
    with m.counting() as requests:
        assert p.get()[0] == "two"
    assert set(requests) == {"getxattr"} and requests["getxattr"] <= 2, requests


def test_get_reports_a_term_that_goes_away(mount, origin, probe):
    origin.put("/t", b"one")
    m = mount(origin.term("t", "on_delete = remove refresh_interval = never"))
    p = probe(m.at("t"))
    origin.remove("/t")
    m.refresh("t", ok=False)
    assert p.get() == errno.ENOENT
    began, before = time.monotonic(), m.counts()
    assert p.get(1000) == errno.ENOENT == -p.check()
    lookups = m.counts().get("lookup", 0) - before.get("lookup", 0)
    assert lookups <= 2 + time.monotonic() - began, "one look-up a second, at most"
    assert p.held()[0] == "one"
    assert probe(m.at("t")).first == f"error {errno.ENOENT}"
    origin.put("/t", b"back")
    m.refresh("t")
    assert p.get()[:2] == ("back", 2)


def test_get_reports_a_term_that_is_hidden(mount, origin, probe):
    origin.put("/t", b"good")
    hide = "refresh_interval = 200ms max_stale = 2s on_expire = hide"
    m = mount(origin.term("t", hide), expect=["term=t"])
    p = probe(m.at("t"))
    origin.always("/t", status(503))
    wait_for(lambda: p.get() == errno.ENOENT, "the term to be hidden")
    assert p.held()[:2] == ("good", 1) and p.get(1000) == errno.ENOENT
    origin.always("/t")
    wait_for(lambda: p.body() == "good", "it to be back")
    assert p.get() == ("good", 2, False)


def test_a_large_value_outlives_its_mount(mount, origin, probe):
    """More than librpt copies."""
    body = "x" * (3 << 20)
    origin.put("/t", body.encode())
    m = mount(origin.term("t", NEVER))
    p = probe(m.at("t"))
    m.stop()
    assert p.get() == (body, 1, True) and p.held() == (body, 1, True)
    m.start()
    assert p.get() == (body, 2, False)


def test_deaths_of_the_worker_are_not_noticed(mount, origin, probe):
    origin.put("/t", b"body 0")
    m = mount(origin.term("t", NEVER))
    p = probe(m.at("t"))
    for i in range(1, 6):
        dead = m.kill_worker()
        assert p.get(1000)[0] == f"body {i - 1}"
        m.wait_worker(after=dead)
        origin.put("/t", b"body %d" % i)
        m.refresh("t")
        assert p.get() == (f"body {i}", i + 1, False)


def test_get_follows_a_new_mount_after_an_orderly_end(mount, origin, probe):
    origin.put("/t", b"one " * 3000)
    m = mount(origin.term("t", NEVER))
    p = probe(m.at("t"))
    m.stop()
    assert p.get() == ("one " * 3000, 1, True)
    assert p.check() == DETACHED
    m.start()
    assert p.get() == ("one " * 3000, 2, False), "the same snapshot, of another mount"
    origin.put("/t", b"two")
    m.refresh("t")
    assert p.get() == ("two", 3, False)
    with m.counting() as requests:
        assert p.get(1000) == ("two", 3, False)
    assert requests == {}, "its words are watched"


def test_get_follows_a_restart_between_two_calls(mount, origin, probe):
    origin.put("/t", b"one")
    m = mount(origin.term("t", NEVER))
    p = probe(m.at("t"))
    for i in range(3):
        m.stop()
        origin.put("/t", b"body %d" % i)
        m.start()
        m.refresh("t")
        assert p.get() == (f"body {i}", i + 2, False)


def test_get_follows_a_new_mount_after_everything_is_killed(mount, origin, probe):
    """The dead mount stays, then it is removed, then another one is mounted."""
    origin.put("/t", b"one")
    m = mount(origin.term("t", NEVER))
    p = probe(m.at("t"))
    m.expect("event=keeper_died")
    os.kill(m.keeper, signal.SIGKILL)
    for pid in session_processes(m.process.pid):
        with contextlib.suppress(ProcessLookupError):  # some end with another one
            os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not session_processes(m.process.pid), "their end")
    assert p.get()[0] == "one"
    time.sleep(1.1)  # a second later the next get checks the name
    assert p.get()[0] == "one"
    m.kill()
    wait_for(lambda: p.get() == ("one", 1, True), "the end of the mount to be noticed")
    m.start()
    assert p.get() == ("one", 2, False)


def test_get_follows_a_mount_that_is_replaced_at_once(mount, origin, probe):
    """The old mount does not show its end, but a check of the name finds it after a second."""
    origin.put("/t", b"one")
    m = mount(origin.term("t", NEVER))
    p = probe(m.at("t"))
    m.kill()
    origin.put("/t", b"two")
    m.start()
    m.refresh("t")
    p.get()
    time.sleep(1.1)  # now the name is checked
    assert p.get()[0] == "two" and p.get()[2] is False


def test_values_are_never_torn_and_never_go_backwards(mount, origin, probe):
    """There are updates without pause, kills of the worker, and dropped pages."""

    def body(i):
        return b"%08d" % i * (1 + i % 3 * 1000)

    origin.put("/t", body(1))
    m = mount(origin.term("t", NEVER))
    m.expect("event=worker_died", "event=update_failed", "event=http")
    probes = [probe(m.at("t")) for _ in range(2)]
    answers = []
    chasing = [
        threading.Thread(target=lambda p=p: answers.append(p.ask("chase 60"))) for p in probes
    ]
    for thread in chasing:
        thread.start()
    i = 1
    while any(thread.is_alive() for thread in chasing):
        i += 1
        origin.put("/t", body(i))
        asked = m.run_rpt("refresh", "--wait", "t")
        if i % 20 == 0 or asked.returncode:
            m.kill_worker()
            wait_for(lambda: m.run_rpt("refresh", "--wait", "t").returncode == 0, "an update")
        if i % 7 == 0:
            with open(m.at("t"), "rb") as file:
                drop_pages(file.fileno())
    for thread in chasing:
        thread.join()
    assert len(answers) == 2
    for answer in answers:
        kind, gets, changes, wrong = answer.split()
        assert kind == "chased" and int(wrong) == 0, answer
        assert int(changes) == 60 and int(gets) >= int(changes), answer
    for p in probes:
        assert p.body() == body(i).decode()


# What is installed


def unless_sanitized(build):
    if build.sanitized:
        pytest.skip("a sanitizer has to be there from the start")


def test_only_the_interface_is_exported(build):
    unless_sanitized(build)
    library = os.path.join(build.dir, "src", "librpt", "librpt.so.0")
    listed = subprocess.run(
        ["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True
    )
    names = {line.split()[-1] for line in listed.stdout.splitlines()} - {"RPT_0"}
    assert names == {f"rpt_term_{name}@@RPT_0" for name in ("open", "get", "check", "close")}
    dynamic = subprocess.run(["readelf", "-d", library], check=True, capture_output=True, text=True)
    assert dynamic.stdout.count("(NEEDED)") == 1 and "[libc.so.6]" in dynamic.stdout


def find(directory, name):
    found = [os.path.join(at, name) for at, _, names in os.walk(directory) if name in names]
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize("link", ["shared", "static"])
def test_the_example_is_built_from_what_is_installed(build, directory, link):
    unless_sanitized(build)
    install = ["meson", "install", "-C", build.dir, "--no-rebuild", "--quiet"]
    subprocess.run(
        install, env={**os.environ, "DESTDIR": directory}, check=True, stdout=subprocess.DEVNULL
    )
    env = {
        **os.environ,
        "PKG_CONFIG_PATH": os.path.dirname(find(directory, "rpt.pc")),
        "PKG_CONFIG_SYSROOT_DIR": directory,
    }
    flags = "$(pkg-config --cflags --libs rpt)"
    if link == "static":
        flags = f"$(pkg-config --cflags rpt) {find(directory, 'librpt.a')}"
    else:
        env["LD_LIBRARY_PATH"] = os.path.dirname(find(directory, "librpt.so.0"))
    line = f"cc -Wall -Werror -o {directory}/example {find(directory, 'example.c')} {flags}"
    subprocess.run(line, shell=True, env=env, check=True)
    with open(os.path.join(directory, "file"), "wb") as file:
        file.write(b"content")
    with subprocess.Popen(
        [directory + "/example", directory + "/file"], env=env, stdout=subprocess.PIPE, text=True
    ) as running:
        said = running.stdout.readline()
        running.kill()
    assert said.startswith("version 7-") and said.endswith(", 7 bytes\n")


# Python


@pytest.fixture
def rpt(build):
    """The module, with this build's library; not a sanitizer's, which Python would have to have."""
    unless_sanitized(build)
    ctypes.CDLL(os.path.join(build.dir, "src", "librpt", "librpt.so.0"))  # found by its name now
    path = os.path.join(TOP, "src", "librpt", "rpt.py")
    spec = importlib.util.spec_from_file_location("rpt", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def mappings(path):
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
        return sum(path in line for line in file)


def test_python_can_hold_a_term(mount, origin, rpt):
    origin.put("/t", b'{"a": 1}', etag='"v1"')
    m = mount(origin.term("t", NEVER))
    with rpt.Term(m.at("t")) as term:
        value = term.get()
        assert term.get() is value
        assert json.loads(bytes(value.data)) == {"a": 1} and value.version == "v1"
        assert value.serial == 1 and not value.detached and value.data.readonly
        origin.put("/t", b"", etag='"v2"')
        m.refresh("t")
        empty = term.get()
        assert (bytes(empty.data), empty.version, empty.serial) == (b"", "v2", 2)
        assert bytes(value.data[:4]) == b'{"a"', "a value stays as long as it is referred to"
        origin.remove("/t")
    with pytest.raises(ValueError):
        term.get()
    with pytest.raises(FileNotFoundError) as caught:
        rpt.Term(m.at("missing"))
    assert caught.value.filename == m.at("missing")


def test_python_unmaps_unused_values(mount, origin, rpt):
    origin.put("/t", b"body")
    m = mount(origin.term("t", NEVER))
    term = rpt.Term(m.at("t"))
    first = term.get().data[1:3]
    for i in range(10):
        origin.put("/t", b"body %d" % i)
        m.refresh("t")
        assert bytes(term.get().data) == b"body %d" % i
    assert mappings(m.at("t")) == 2
    assert bytes(first) == b"od"
    del first
    assert mappings(m.at("t")) == 1
    term.close()
    assert mappings(m.path) == 0


def test_a_value_in_python_outlives_its_mount(mount, origin, rpt):
    origin.put("/t", b"body")
    m = mount(origin.term("t", NEVER))
    with rpt.Term(m.at("t")) as term:
        before = term.get()
        m.stop()
        value = term.get()
        assert (bytes(value.data), value.serial, value.detached) == (b"body", 1, True)
        m.start()
        value = wait_for(lambda: (got := term.get()) and not got.detached and got, "the new mount")
        assert (bytes(value.data), value.serial) == (b"body", 2)
        assert bytes(before.data) == b"body"
