"""A disk that is full, read-only or broken, no descriptors, no memory: the update fails, the mount
continues to serve, and it recovers by itself when the trouble is over.

Most tests run with a library that lets single system calls of the worker fail (tests/faults/): one
mount goes through every call that an attempt makes, with every error that the call may give.
unit-store_faults does the same with the calls of the store alone, and of its opening.
"""

import contextlib
import errno
import json
import os
import re
import resource
import socket
import subprocess

import pytest
from faults import ALWAYS, CALLS, ERRORS, HALF, Faults, cause
from origin import status
from rptmount import HANGS_S, drop_pages, read, user_line, wait_for
from test_store import forget_that_it_was_verified_this_boot

FILES = CALLS[: CALLS.index("memory")]
LIMITS = ("open", "create", "map", "socket", "accept", "thread")
TRANSIENT = (errno.EINTR, HALF)  # the call is repeated until it works


def body(version):
    """Several pages, of another length for each version."""
    return b"version %08d " % version * (300 + version % 500)


def cold(path):
    """The file's bytes from rptfs itself, not from the page cache."""
    fd = os.open(path, os.O_RDONLY)
    try:
        drop_pages(fd)
        size = os.fstat(fd).st_size
        found = os.pread(fd, size + 1, 0)
        assert len(found) == size, "a short read"
        return found
    finally:
        os.close(fd)


def ask(m, command, *terms, **more):
    """Sends a command over the control socket. Returns the last line of the answer, or None."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(HANGS_S)
        try:
            asking.connect(m.control)
            request = {"command": command, "terms": list(terms), **more}
            asking.sendall(json.dumps(request).encode() + b"\n")
            with asking.makefile() as answer:
                return json.loads((answer.readlines() or ["null"])[-1])
        except ConnectionError:
            return None


def term_of(m, name):
    return ask(m, "status", name)["terms"][0]


def attempt(m, name):
    """One attempt of the term, to its end: "updated", "unchanged", "failed"; None: not known."""
    answer = ask(m, "refresh", name, wait=True)
    return answer and answer.get("outcome")


def number_inside(pid):
    """The number of a process in its own PID namespace."""
    numbers = re.search(r"^NSpid:.*\t(\d+)$", read(f"/proc/{pid}/status").decode(), re.M)
    return int(numbers[1])


class Campaign:
    """One mount, one worker, many faults. Terms: "t" changes, "calm" never does."""

    def __init__(self, mount, build, directory, origin, more=""):
        self.origin, self.build = origin, build
        self.version = 0
        self.points = self.survived = 0
        origin.put("/calm", body(0))
        self.change()
        self.faults = Faults(build, directory)
        self.m = mount(origin.term() + origin.term("calm") + more, start=False)
        self.faults.prepare(self.m.env)
        self.m.start()
        self.m.expect("level=(warning|error)")
        self.worker = self.m.worker
        assert self.faults.pid == number_inside(self.worker), "the faults apply to the worker"

    def change(self):
        self.version += 1
        self.origin.put("/t", body(self.version))

    def calls_of(self, act):
        """Returns the calls of an act without faults."""
        self.faults.count()
        act()
        return self.faults.counted()

    def check_calm(self):
        assert cold(self.m.at("calm")) == body(0)

    def update_under(self, **fault):
        """Makes an attempt with a new version under a fault."""
        before = term_of(self.m, "t")
        self.change()
        self.faults.fail(**fault)
        outcome = attempt(self.m, "t")
        self.points += 1
        shown = cold(self.m.at("t"))
        self.check_calm()
        after = term_of(self.m, "t")
        hit = self.faults.failed
        self.faults.off()
        # A failed attempt is repeated soon, and may have succeeded before we looked.
        if outcome == "failed" and after["state"] != "fresh":
            assert after["updated_total"] == before["updated_total"]
            assert hit, f"failed without a fault: {after['last_error']}"
            assert shown == body(self.version - 1)
            assert after["state"] == "stale" and after["next_check_at"]
            assert after["last_error"]["kind"] == "internal", after["last_error"]
            assert cause(fault["error"]) in after["last_error"]["message"], after["last_error"]
        else:
            self.survived += 1
            assert shown in (body(self.version), body(self.version - 1))
        if self.points % 25 == 0:
            self.m.wait_content("t", body(self.version))
        else:
            assert attempt(self.m, "t") in ("updated", "unchanged")
        self.check_new()

    def check_new(self):
        assert cold(self.m.at("t")) == body(self.version)
        status = term_of(self.m, "t")
        assert status["state"] == "fresh" and not status["last_error"]

    def end(self):
        """The worker never died; files and catalog agree, also after a restart."""
        assert self.m.worker == self.worker
        self.check_calm()
        self.origin.always("*", status(503))
        self.m.env.pop("LD_PRELOAD")
        self.m.restart()
        assert cold(self.m.at("t")) == body(self.version)
        self.check_calm()
        assert len(self.m.snapshot_files()) == self.m.metrics()["rptfs_snapshots"]
        assert not self.m.events("files_removed") and not self.m.events("snapshot_dropped")


def sample(build, points, plain, sanitized=40):
    """Some of the points, spread evenly, if there are too many."""
    limit = sanitized if build.sanitized else plain
    return points[:: 1 + (len(points) - 1) // limit] if points else []


def test_any_call_of_an_update_may_fail(mount, build, directory, origin):
    """Each call fails once, and then permanently."""
    c = Campaign(mount, build, directory, origin)
    c.faults.aim(*FILES, thread="update", below=c.m.store)
    c.change()
    calls = c.calls_of(lambda: attempt(c.m, "t"))
    assert {"create", "write", "sync", "link"} <= set(calls), calls
    points = [
        {"first": i, "error": error, "count": count}
        for i, call in enumerate(calls)
        for error in ERRORS[call]
        for count in (1, ALWAYS)
        if count == 1 or error not in TRANSIENT
    ]
    for point in sample(build, points, 400):
        c.update_under(**point)
    assert c.points >= (25 if build.sanitized else 80) and c.survived < c.points
    c.end()


def test_random_faults_do_no_harm(mount, build, directory, origin):
    """Any call may fail for a while; afterwards none does."""
    c = Campaign(mount, build, directory, origin)
    c.faults.aim(*FILES, thread="update", below=c.m.store)
    for seed in range(10 if build.sanitized else 60):
        c.update_under(error=errno.EIO, count=ALWAYS, odds=4 + seed % 12, seed=seed)
    assert 0 < c.survived < c.points
    c.end()


def test_a_short_failure_of_the_disk_loses_no_snapshot(mount, build, directory, origin):
    """Unreadable bytes of an earlier boot are kept while their source is down."""
    c = Campaign(mount, build, directory, origin)
    c.m.stop()
    forget_that_it_was_verified_this_boot(c.m.store)
    origin.always("*", status(503))
    c.m.expect("event=not_verified")
    c.faults.aim("read", thread="verify", below=c.m.store)
    c.faults.fail(error=errno.EIO, count=ALWAYS)
    c.m.start()
    for _ in range(3):
        with pytest.raises(OSError):
            cold(c.m.at("t"))
    assert c.faults.failed and term_of(c.m, "t")["version"]
    c.faults.off()
    assert cold(c.m.at("t")) == body(c.version)
    c.check_calm()


def test_updates_recover_from_a_lack_of_resources(mount, build, directory, origin):
    """Any thread of the worker meets a limit during an update."""
    c = Campaign(mount, build, directory, origin)
    c.faults.aim(*LIMITS)
    c.change()
    calls = c.calls_of(lambda: attempt(c.m, "t"))
    assert {"open", "create", "accept"} <= set(calls), calls
    points = [
        (i, error)
        for i, call in enumerate(calls)
        for error in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)
        if call != "thread" or error == errno.EAGAIN
    ]
    for first, error in sample(build, points, 100, 20):
        c.change()
        c.faults.fail(error, first=first)
        attempt(c.m, "t")  # the request itself may fail
        c.faults.off()
        c.check_calm()
        c.points += 1
        if attempt(c.m, "t") == "failed":
            raise AssertionError(term_of(c.m, "t")["last_error"])
        c.check_new()
    assert c.points >= 10
    c.end()


def test_an_update_without_memory_fails_and_recovers(mount, build, directory, origin):
    if build.sanitized:
        pytest.skip("the sanitizer replaces the allocator")
    c = Campaign(mount, build, directory, origin)
    c.faults.aim("memory", thread="update")
    c.change()
    n = len(c.calls_of(lambda: attempt(c.m, "t")))
    assert n > 20
    for first in sample(build, range(n), 100):
        c.change()
        c.faults.fail(errno.ENOMEM, first=first, count=ALWAYS if first % 2 else 1)
        attempt(c.m, "t")
        c.faults.off()
        c.check_calm()
        assert cold(c.m.at("t")) in (body(c.version), body(c.version - 1))
        assert attempt(c.m, "t") in ("updated", "unchanged")
        c.check_new()
        c.points += 1
    assert c.points >= 20
    c.end()


def test_a_cold_read_is_complete_or_fails(mount, build, directory, origin):
    c = Campaign(mount, build, directory, origin)
    c.faults.aim("open", "read", "stat", below=c.m.store)
    calls = c.calls_of(c.check_calm)
    assert {"open", "read"} <= set(calls), calls
    for first, call in enumerate(calls):
        for error in ERRORS[call]:
            for count in (1, ALWAYS):
                with c.faults.failing(error, first=first, count=count if error not in TRANSIENT else 1):
                    try:
                        c.check_calm()
                    except OSError as seen:
                        assert seen.errno == errno.EIO and error not in TRANSIENT
                    else:  # the kernel reads again after a failed read-ahead
                        assert count == 1 or error in TRANSIENT
                    assert c.faults.failed
                c.check_calm()
                c.points += 1
    c.change()
    assert attempt(c.m, "t") == "updated"
    c.end()


def test_names_can_go_and_come_under_faults(mount, build, directory, origin):
    """Removal, and the first version of a term, while calls fail."""
    config = origin.term("f", "refresh_interval = 1h on_delete = remove")
    c = Campaign(mount, build, directory, origin, config)
    origin.put("/f", b"first")
    assert attempt(c.m, "f") == "updated"
    c.faults.aim(*FILES, thread="update", below=c.m.store)

    def go(n):
        origin.remove("/f")
        attempt(c.m, "f")
        return n

    def come(n):
        origin.put("/f", b"version %d" % n)
        attempt(c.m, "f")
        return n

    going = c.calls_of(lambda: go(0))
    coming = c.calls_of(lambda: come(0))
    assert "sync" in going and {"create", "link"} <= set(coming)
    points = [
        (i, error, act)
        for act, calls in ((go, going), (come, coming))
        for i, call in enumerate(calls)
        for error in ERRORS[call]
    ]
    for n, (first, error, act) in enumerate(sample(build, points, 150, 20), 1):
        (come if act is go else go)(n)
        with c.faults.failing(error, first=first):
            act(n)
        names = c.m.ls()
        assert "f" not in names or cold(c.m.at("f")) == b"version %d" % n
        c.check_calm()
        act(n)
        assert ("f" in c.m.ls()) == (act is come), cause(error)
        c.points += 1
    assert c.points >= 15
    come(0)
    c.m.wait_content("f", b"version 0")
    c.end()


def test_a_body_is_refused_under_faults(mount, build, directory, origin):
    """It is refused even if the refusal cannot be noted, and it changes nothing else."""
    config = origin.term("r", "refresh_interval = 1h max_size = 1KiB")
    c = Campaign(mount, build, directory, origin, config)
    origin.put("/r", b"good")
    assert attempt(c.m, "r") == "updated"
    c.faults.aim(*FILES, thread="update", below=c.m.store)

    def offer(n):
        origin.put("/r", b"%d" % n * 2000)
        return attempt(c.m, "r")

    calls = c.calls_of(lambda: offer(10))
    points = [(i, error) for i, call in enumerate(calls) for error in ERRORS[call]]
    for n, (first, error) in enumerate(sample(build, points, 60, 15), 11):
        with c.faults.failing(error, first=first):
            assert offer(n) == "failed"
        assert cold(c.m.at("r")) == b"good"
        assert attempt(c.m, "r") == "failed"
        assert term_of(c.m, "r")["last_error"]["kind"] == "bad_data"
        c.check_calm()
        c.points += 1
    assert c.points >= 8
    origin.put("/r", b"good")
    assert attempt(c.m, "r") in ("updated", "unchanged")
    c.end()


def test_equal_bytes_with_a_new_token_are_unchanged_under_faults(mount, build, directory, origin):
    c = Campaign(mount, build, directory, origin)
    c.faults.aim(*FILES, thread="update", below=c.m.store)

    def rename(n):
        origin.put("/t", body(c.version), etag=f'"{n}"')
        return attempt(c.m, "t")

    calls = c.calls_of(lambda: rename(0))
    points = [(i, error) for i, call in enumerate(calls) for error in ERRORS[call]]
    for n, (first, error) in enumerate(sample(build, points, 60, 15), 1):
        with c.faults.failing(error, first=first):
            rename(n)
        c.check_calm()
        assert attempt(c.m, "t") == "unchanged"
        c.check_new()
        c.points += 1
    assert c.points >= 8
    c.end()


# Starting


def test_a_start_under_faults_succeeds_or_names_the_reason(mount, build, directory, origin):
    """The start fails with a reason or succeeds; the next start serves everything."""
    origin.put("/t", body(1))
    origin.put("/calm", body(0))
    m = mount(origin.term() + origin.term("calm"))
    m.expect("level=(warning|error)")
    m.stop()
    origin.always("*", status(503))
    faults = Faults(build, directory)
    faults.prepare(m.env)
    faults.aim(*FILES, below=m.store)
    faults.count()
    m.start()
    calls = faults.counted()
    m.stop()
    assert {"open", "read", "write", "lock"} <= set(calls) and len(calls) > 40, calls
    points = [(i, e) for i, call in enumerate(calls) for e in ERRORS[call] if e not in TRANSIENT]
    failed = 0
    for first, error in sample(build, points, 40, 6):
        faults.fail(error, first=first)
        said = len(m.log())
        try:
            m.start()
        except AssertionError:
            failed += 1
            log = m.log()[said:]
            # If SQLite cannot open a file, it tries another way, and reports the error of that.
            assert cause(error) in log or "unable to open database" in log, f"{calls[first]}: {log}"
            m.clear()
        faults.off()
        if not m.process:
            m.start()
        assert cold(m.at("t")) == body(1) and cold(m.at("calm")) == body(0)
        m.stop()
    assert failed


# Without a preloaded library


@pytest.fixture
def small_disk(directory):
    """A small tmpfs."""
    place = os.path.join(directory, "disk")
    os.makedirs(place)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=0755", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def fill_up(place):
    """Leaves no free space. Returns the file that fills the disk."""
    path = os.path.join(place, "filler")
    with open(path, "wb", buffering=0) as file:
        for piece in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(b"x" * piece)
            except OSError as error:
                assert error.errno == errno.ENOSPC
    return path


def test_a_full_disk_fails_updates_but_not_readers(mount, build, origin, small_disk):
    origin.put("/t", body(1))
    origin.put("/calm", body(0))
    m = mount(
        origin.term() + origin.term("calm"), store=os.path.join(small_disk, "store"),
        expect=["No space left"],
    )  # fmt: skip
    worker = m.worker
    for version in range(2, 6):
        filler = fill_up(small_disk)
        origin.put("/t", body(version))
        assert attempt(m, "t") == "failed"
        assert "No space left" in term_of(m, "t")["last_error"]["message"]
        assert cold(m.at("t")) == body(version - 1) and cold(m.at("calm")) == body(0)
        os.unlink(filler)
        m.wait_content("t", body(version))  # without a request
    fill_up(small_disk)
    assert m.worker == worker
    m.restart()  # serves even with a full disk
    assert cold(m.at("t")) == body(5) and cold(m.at("calm")) == body(0)


@contextlib.contextmanager
def limited(pid, resource, value):
    """Changes a soft limit of a process as its own user, which needs no capability."""

    def change(*limit):
        st = os.stat(f"/proc/{pid}")
        ids = user_line(st.st_uid, st.st_gid)
        line = [*ids, "prlimit", f"--pid={pid}", f"--{resource}", *limit]
        return subprocess.run(line, check=True, capture_output=True, text=True).stdout

    soft = change("--raw", "--noheadings", "--output=SOFT").strip()
    change(f"--{resource}={value}:")
    try:
        yield
    finally:
        change(f"--{resource}={soft}:")


@pytest.fixture
def failing_disk(directory):
    """A small ext4 that turns read-only at its first error: its device, its place."""
    place, image = os.path.join(directory, "disk"), os.path.join(directory, "image")
    os.makedirs(place)
    with open(image, "wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    line = ["mount", "-o", "loop,errors=remount-ro", image, place]
    if subprocess.run(line, capture_output=True).returncode:
        pytest.skip("no loop device")
    found = subprocess.run(["findmnt", "-no", "SOURCE", place], capture_output=True, text=True, check=True)
    yield os.path.basename(found.stdout.strip()), place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_read_only_disk_fails_updates_but_not_readers(mount, build, origin, failing_disk):
    device, place = failing_disk
    origin.put("/t", body(1))
    origin.put("/calm", body(0))
    m = mount(
        origin.term() + origin.term("calm"), store=os.path.join(place, "store"),
        expect=["Read-only file system"],
    )  # fmt: skip
    worker = m.worker
    with open(f"/sys/fs/ext4/{device}/trigger_fs_error", "w", encoding="ascii") as file:
        file.write("as if the disk had failed")
    for version in range(2, 6):
        origin.put("/t", body(version))
        assert attempt(m, "t") == "failed"
        status = term_of(m, "t")
        assert status["state"] == "stale" and "Read-only" in status["last_error"]["message"]
        assert cold(m.at("t")) == body(1) and cold(m.at("calm")) == body(0)
    assert m.worker == worker


def descriptors(pid):
    return [int(number) for number in os.listdir(f"/proc/{pid}/fd")]


def test_reads_continue_when_no_descriptor_is_left(mount, build, origin):
    """Idle connections take all descriptors that a limit leaves."""
    origin.put("/t", body(1))
    origin.put("/calm", body(0))
    m = mount(origin.term() + origin.term("calm"), expect=["level=(warning|error)"])
    worker = m.worker
    limit = max(descriptors(worker)) + 1
    with limited(worker, "nofile", limit), contextlib.ExitStack() as crowd:
        for _ in range(limit):
            crowd.enter_context(socket.socket(socket.AF_UNIX)).connect(m.control)
        wait_for(lambda: len(descriptors(worker)) == limit, "no descriptor left")
        origin.put("/t", body(2))
        for _ in range(20):
            assert cold(m.at("t")) == body(1) and cold(m.at("calm")) == body(0)
    assert attempt(m, "t") == "updated"
    assert cold(m.at("t")) == body(2)
    assert m.worker == worker


def test_control_connections_do_not_exhaust_the_descriptors(mount, build, origin):
    """Connections to the control socket cannot use up the descriptors of updates and readers."""
    origin.put("/t", body(1))
    m = mount(
        f'term "t" {{ refresh_interval = 100ms http {{ url = "{origin.url("/t")}" }} }}',
        expect=["level=(warning|error)"],
    )  # fmt: skip
    worker = m.worker
    with contextlib.ExitStack() as crowd:
        for _ in range(300):
            asking = crowd.enter_context(socket.socket(socket.AF_UNIX))
            asking.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                asking.connect(m.control)
        for version in range(2, 5):
            origin.put("/t", body(version))
            m.wait_content("t", body(version))
            assert cold(m.at("t")) == body(version)
    wait_for(lambda: m.status("t")["state"] == "fresh", "an attempt without the crowd")
    assert m.worker == worker


def address_space(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def test_the_mount_survives_a_lack_of_memory(mount, build, origin):
    if build.sanitized:
        pytest.skip("a sanitizer needs terabytes of addresses")
    origin.put("/t", body(1))
    origin.put("/calm", body(0))
    m = mount(origin.term() + origin.term("calm"), expect=["level=(warning|error)"])
    worker = m.worker
    for version in range(2, 5):
        origin.put("/t", os.urandom(8) * (4 << 20))
        with limited(worker, "as", address_space(worker)):
            attempt(m, "t")
            for _ in range(10):
                assert cold(m.at("calm")) == body(0)
        origin.put("/t", body(version))
        wait_for(lambda: attempt(m, "t") in ("updated", "unchanged"), "an update")
        assert cold(m.at("t")) == body(version)
    assert m.worker == worker
