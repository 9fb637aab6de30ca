"""Publishing: the first reader after an update causes no request, and the name is always there."""

import contextlib
import errno
import mmap
import os
import signal
import subprocess
import threading
import time

import pytest
from rptmount import (
    HANGS_S,
    comm,
    drop_pages,
    refaulted_pages,
    session_processes,
    suspend,
    wait_for,
    xattr,
)


def first_reader(path, size):
    """Acts like a program that has never seen the file."""
    fd = os.open(path, os.O_RDONLY)
    try:
        assert os.fstat(fd).st_size == size
        data = b""
        while chunk := os.pread(fd, 1 << 20, len(data)):
            data += chunk
        if size:
            with mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ) as mapping:
                assert mapping[size - 1] == data[-1]
        os.stat(path)
        return data
    finally:
        os.close(fd)


@pytest.mark.parametrize("size", [0, 1, 4096, 5000, 3_000_001])
def test_the_first_reader_sends_no_request(mount, origin, size):
    origin.put("/d/t", b"before")
    m = mount(origin.term("d/t"))
    m.read("d/t")
    for i in range(3):
        body = os.urandom(size) if size else (b"", b"x", b"")[i]
        origin.put("/d/t", body, etag=f'"{i}"')
        m.refresh("d/t")
        with m.counting() as requests:
            assert first_reader(m.at("d/t"), len(body)) == body
        assert requests == {}


def test_the_first_reader_of_a_new_name_sends_no_request(mount, origin):
    m = mount(origin.term("d/t"), expect=["event=failed"])
    assert m.ls("d") == []
    m.metrics()  # the first open() of the mount: the kernel learns that OPEN needs no request
    origin.put("/d/t", b"there now")
    m.refresh("d/t")
    with m.counting() as requests:
        assert first_reader(m.at("d/t"), 9) == b"there now"
    assert requests == {}


def assert_one_read(m, action):
    """One request to read; more only where the kernel had to read an evicted page again."""
    before, refaults = m.counts().get("read", 0), refaulted_pages()
    action()
    reads = m.counts().get("read", 0) - before
    assert 1 <= reads <= 1 + refaulted_pages() - refaults


def test_prewarm_limit_bounds_each_version(mount, origin):
    """Only the beginning of a larger file is ready; 0 turns prewarming off."""
    m = mount(
        origin.term("off", "prewarm_limit = 0 refresh_interval = 1h")
        + origin.term("head", "prewarm_limit = 1MiB refresh_interval = 1h"),
        expect=["event=failed"],
    )
    body = os.urandom(6 << 20)
    for name in ("off", "head"):
        origin.put("/" + name, body)
        m.refresh(name)
    assert m.metrics()["rptfs_prewarmed_bytes_total"] == 1 << 20
    fd = os.open(m.at("head"), os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)  # no reading ahead
    with m.counting() as requests:
        os.pread(fd, 1 << 20, 0)
    assert requests == {}
    assert_one_read(m, lambda: os.pread(fd, 4096, 1 << 20))
    os.close(fd)
    fd = os.open(m.at("off"), os.O_RDONLY)
    assert_one_read(m, lambda: os.pread(fd, 4096, 0))
    os.close(fd)
    assert m.read("head") == m.read("off") == body


def test_prewarm_total_bounds_the_mount(mount, origin):
    """The share of a superseded version is returned once the kernel has forgotten it."""
    config = "".join(origin.term(f"t{i}") for i in range(4))
    m = mount("prewarm_total = 3MiB\n" + config, expect=["event=failed"])
    for i in range(4):
        origin.put(f"/t{i}", os.urandom(1 << 20))
        m.refresh(f"t{i}")
    assert m.metrics()["rptfs_prewarmed_bytes_total"] == 3 << 20
    before = m.counts().get("read", 0)
    m.read("t3")
    assert m.counts().get("read", 0) > before
    for _ in range(5):
        origin.put("/t0", os.urandom(1 << 20))
        m.refresh("t0")
        with m.counting() as requests:
            first_reader(m.at("t0"), 1 << 20)
        assert requests == {}


def cached_pages(path):
    """Of the file, in the page cache."""
    done = subprocess.run(
        ["fincore", "--bytes", "--noheadings", "--output", "RES", path],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(done.stdout)


@pytest.mark.builds("plain")  # the only one whose store is on a disk
def test_the_bytes_are_in_memory_once(mount, origin):
    origin.put("/t", os.urandom(8 << 20))
    m = mount(origin.term())
    (file,) = m.snapshot_files()
    assert cached_pages(file) <= 1 << 20, "the store's file is out of memory"
    cached, refaults = cached_pages(m.at("t")), refaulted_pages()
    m.read("t")
    assert cached + (refaulted_pages() - refaults) * mmap.PAGESIZE >= 8 << 20


def test_only_open_old_versions_stay(mount, origin):
    """The kernel forgets all others."""
    origin.put("/t", b"version 0")
    m = mount(origin.term("t", "history = 0 refresh_interval = 1h"))
    fd = os.open(m.at("t"), os.O_RDONLY)
    for i in range(1, 20):
        origin.put("/t", b"version %d" % i)
        m.refresh("t")
    drop_pages(fd)
    assert os.pread(fd, 100, 0) == b"version 0"
    assert xattr(fd, "sha256") != m.xattr("t", "sha256")
    wait_for(lambda: m.metrics()["rptfs_snapshots"] == 2, "two snapshots in the store")
    os.close(fd)
    wait_for(lambda: m.metrics()["rptfs_snapshots"] == 1, "one snapshot in the store")


class Changer(threading.Thread):
    """Gives the origin new content all the time."""

    def __init__(self, origin, names):
        super().__init__(daemon=True)
        self.origin, self.names, self.ending = origin, names, False

    def run(self):
        while not self.ending:
            for name in self.names:
                self.origin.put("/" + name, os.urandom(8))
            time.sleep(0.003)


class Opener(threading.Thread):
    """Opens the name without pause."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path, self.ending = path, False
        self.opened, self.missing = 0, 0

    def run(self):
        while not self.ending:
            try:
                os.close(os.open(self.path, os.O_RDONLY))
                self.opened += 1
            except OSError as error:
                assert error.errno == errno.ENOENT
                self.missing += 1


def test_the_name_always_exists(mount, origin, build):
    """10,000 swaps; fewer where everything is slower."""
    swaps = 10_000 if build.name == "plain" else 1500
    names = [f"d/t{i}" for i in range(16)]
    changer = Changer(origin, names)
    changer.start()
    wait_for(lambda: len(origin.pages) == len(names), "the first versions")
    m = mount(
        "".join(origin.term(name, "history = 0 refresh_interval = 10ms") for name in names),
        store="memory", expect=["event=failed"],
    )  # fmt: skip
    openers = [Opener(m.at(name)) for name in ("d/t0", "d/t9")]
    for opener in openers:
        opener.start()

    def moved():
        metrics = m.metrics()
        return sum(metrics[f'rptfs_moves_total{{mode="{mode}"}}'] for mode in ("rename", "notify"))

    wait_for(lambda: moved() >= swaps, f"{swaps} swaps", 3 * HANGS_S, 0.2)
    wait_for(lambda: all(opener.opened > swaps / 10 for opener in openers), "as many readers")
    changer.ending = True
    for opener in openers:
        opener.ending = True
        opener.join()
        assert opener.missing == 0


# The mount itself


def test_nobody_can_write(mount, origin):
    """Not even root: the mount is read-only, and names move only for the publisher."""
    origin.put("/t", b"x")
    m = mount(origin.term())
    for attempt in (
        lambda: os.rename(m.at("t"), m.at("u")),
        lambda: os.unlink(m.at("t")),
        lambda: os.mkdir(m.at("d")),
        lambda: os.open(m.at("new"), os.O_CREAT | os.O_WRONLY),
        lambda: os.open(m.at("t"), os.O_WRONLY),
        lambda: os.chmod(m.at("t"), 0o777),
        lambda: os.setxattr(m.at("t"), "user.x", b"y"),
        lambda: os.utime(m.at("t")),
        lambda: os.symlink("/etc", m.at("etc")),
    ):
        with pytest.raises(OSError) as refused:
            attempt()
        assert refused.value.errno == errno.EROFS
    assert os.listdir(m.at(".rpt/stage")) == []
    assert m.read("t") == b"x"


def test_the_writable_handle_is_useless_to_others(mount, origin, build):
    """Other processes cannot rename even through the keeper's own handle, which is writable."""
    if build.publish_mode != "auto":
        pytest.skip("nothing is writable")
    origin.put("/a", b"a")
    origin.put("/b", b"b")
    m = mount(origin.term("a") + origin.term("b"))
    root = m.path_of_handle()
    for attempt in (
        lambda: os.rename(f"{root}/a", f"{root}/b"),
        lambda: os.rename(f"{root}/.rpt/stage/1", f"{root}/b"),
        lambda: os.unlink(f"{root}/a"),
        lambda: os.mkdir(f"{root}/d"),
        lambda: os.close(os.open(f"{root}/new", os.O_CREAT | os.O_WRONLY)),
        lambda: os.unlink(f"{root}/.rpt/generations"),
    ):
        with pytest.raises(OSError):
            attempt()
    assert (m.read("a"), m.read("b")) == (b"a", b"b")
    assert m.ls() == ["a", "b"]


def test_umount_ends_the_mount(mount, origin, build):
    """The keeper's handle does not prevent this."""
    origin.put("/t", b"x")
    m = mount(origin.term())
    m.read("t")
    assert m.child("visitor") or build.sanitized
    # Busy while the visitor looks at the new version.
    wait_for(lambda: os.system(f"umount {m.path}") == 0, "umount")
    assert not m.is_mounted()
    assert m.process.wait(HANGS_S) == 0
    m.stop()


def test_open_files_are_served_after_a_lazy_umount(mount, origin):
    origin.put("/t", b"x" * 10_000)
    m = mount(origin.term())
    fd = os.open(m.at("t"), os.O_RDONLY)
    os.system(f"umount -l {m.path}")
    drop_pages(fd)
    assert os.pread(fd, 100, 5000) == b"x" * 100

    def names():
        return [comm(pid) for pid in session_processes(m.process.pid)]

    wait_for(lambda: "rptfs-visitor" not in names(), "the visitor to end")
    drop_pages(fd)
    assert os.pread(fd, 100, 0) == b"x" * 100
    assert m.process.poll() is None
    os.close(fd)
    assert m.process.wait(HANGS_S) == 0
    m.stop()


def kill(pid, number):
    with contextlib.suppress(ProcessLookupError):  # it has just died of the signal before
        os.kill(pid, number)


def test_no_update_is_lost_if_the_visitor_hangs_or_dies(mount, origin):
    origin.put("/t", b"version 0")
    m = mount(origin.term(), expect=["event=visitor_lost"])
    for i in range(1, 4):
        kill(wait_for(lambda: m.child("visitor"), "the visitor"), signal.SIGKILL)
        origin.put("/t", b"version %d" % i)
        m.refresh("t")
        assert m.read("t") == b"version %d" % i
    suspend(wait_for(lambda: m.child("visitor"), "the visitor"))
    origin.put("/t", b"while it is stopped")
    m.refresh("t")
    assert m.read("t") == b"while it is stopped"
