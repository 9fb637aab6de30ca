"""The file fetcher: changes are noticed at once, and the last good version stays whatever happens to
the file."""

import contextlib
import os
import signal
import time

import pytest
from readers import static
from rptmount import NOBODY, replace, session_processes, suspend, wait_for

OLD, NEW = b"the last good version\n", b"the next version, which is longer\n"
INTERVAL_S = 600


@pytest.fixture
def source(directory):
    path = os.path.join(directory, "source")
    replace(path, OLD)
    return path


def config(path, term=f"refresh_interval = {INTERVAL_S}s"):
    return f'term "t" {{ {term} file {{ path = "{path}" }} }}\n'


def test_a_rename_is_noticed_at_once(mount, source):
    m = mount(config(source))
    assert m.read("t") == OLD
    replace(source, NEW)
    m.wait_content("t", NEW)
    assert m.has_updated("t", 2)


@pytest.fixture
def frozen(mount):
    """A mount whose processes do not run: its files answer nothing."""
    m = mount(static("a"))
    pids = session_processes(m.process.pid)
    for pid in pids:
        suspend(pid)
    yield m
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def test_a_file_system_that_does_not_answer_delays_no_other_term(mount, source, frozen):
    """Neither its directory, which is to be watched, nor the file."""
    text = config(source) + f'term "u" {{ file {{ path = "{frozen.at("never")}" }} }}\n'
    m = mount(text, start=False).start(wait=False)
    m.wait_content("t", OLD)
    m.stop()


@pytest.mark.parametrize("path", ["/proc/cmdline", "/sys/kernel/mm/transparent_hugepage/enabled"])
def test_a_file_without_a_true_size_is_read_to_its_end(mount, path):
    m = mount(config(path))
    with open(path, "rb") as file:
        assert m.read("t") == file.read()


@pytest.mark.parametrize("put", ["rename", "link", "symlink"])
def test_what_is_put_in_place_is_not_waited_for(mount, source, directory, put):
    """It is complete; only what is written in place has to come to rest, for 12 ms. The best of
    several is a bound for the time that a file is left alone on purpose."""
    path = os.path.join(directory, "place")
    m = mount(config(path), expect=["kind=not_found"])
    turn = 0

    def is_there_soon():
        nonlocal turn
        turn += 1
        new = os.path.join(directory, "new")
        content = b"content %d" % turn
        replace(source + str(turn), content)
        if put == "symlink":
            os.symlink(source + str(turn), new)
        else:
            os.link(source + str(turn), new)
        if put == "link":
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            m.refresh("t", ok=False)
        began = time.monotonic()
        if put == "link":
            os.link(new, path)
            os.unlink(new)
        else:
            os.rename(new, path)
        wait_for(lambda: os.path.exists(m.at("t")) and m.read("t") == content, "it", pause=0)
        return time.monotonic() - began < 0.012

    wait_for(is_there_soon, "a version that is visible before a file comes to rest", pause=0)


def test_writing_in_place_is_noticed(mount, source):
    m = mount(config(source))
    with open(source, "wb") as file:
        file.write(NEW)
    m.wait_content("t", NEW)


def test_a_file_that_appears_is_noticed(mount, directory):
    path = os.path.join(directory, "later")
    m = mount(config(path), expect=["term=t .*"])
    assert m.ls() == [] and m.kind("t") == "not_found"
    replace(path, NEW)
    m.wait_content("t", NEW)


def test_a_switched_symlink_is_noticed(mount, directory):
    """Kubernetes does this. It is noticed at the next interval at the latest."""
    for name, content in (("v1", OLD), ("v2", NEW)):
        os.mkdir(os.path.join(directory, name))
        replace(os.path.join(directory, name, "data"), content)
    current = os.path.join(directory, "current")
    os.symlink("v1", current)
    m = mount(config(os.path.join(current, "data"), "refresh_interval = 200ms"))
    assert m.read("t") == OLD
    os.symlink("v2", current + ".new")
    os.rename(current + ".new", current)
    m.wait_content("t", NEW)


def removed(path):
    os.unlink(path)


def directory_instead(path):
    os.unlink(path)
    os.mkdir(path)


def fifo_instead(path):
    os.unlink(path)
    os.mkfifo(path)


def dangling_link(path):
    os.unlink(path)
    os.symlink("nowhere", path)


def too_large(path):
    replace(path, bytes(5000))


def within_a_file(path):
    parent = os.path.dirname(path)
    os.rename(parent, parent + ".away")
    replace(parent, b"not a directory")


# What happens to the file · the kind of error · the state that follows
FAILURES = {
    "removed": (removed, "not_found", "gone"),
    "a directory": (directory_instead, "bad_data", "stale"),
    "a FIFO": (fifo_instead, "bad_data", "stale"),
    "a dangling link": (dangling_link, "not_found", "gone"),
    "over max_size": (too_large, "bad_data", "stale"),
    "its directory became a file": (within_a_file, "not_found", "gone"),
}


@pytest.mark.parametrize("row", FAILURES)
def test_a_failure_keeps_the_last_good_version(mount, directory, row):
    happens, kind, state = FAILURES[row]
    place = os.path.join(directory, "place")
    os.mkdir(place)
    path = os.path.join(place, "data")
    replace(path, OLD)
    m = mount(config(path, f"refresh_interval = {INTERVAL_S}s max_size = 4KiB"), expect=["term=t .*"])
    with open(m.at("t"), "rb") as held:
        happens(path)
        m.refresh("t", ok=False)
        assert m.kind("t") == kind and m.status("t")["state"] == state
        # The change is noticed as well, so another attempt may follow.
        wait_for(lambda: 0.9 * INTERVAL_S - 1 <= m.next_in("t") <= INTERVAL_S, "the full interval")
        assert m.kind("t") == kind and m.read("t") == OLD and held.read() == OLD


def test_an_empty_file_is_content(mount, source):
    m = mount(config(source))
    replace(source, b"")
    m.wait_content("t", b"")


def test_a_file_that_grows_while_it_is_read_is_served_whole(mount, source):
    """Version and bytes belong together; a version read in the middle of writing is soon replaced."""
    m = mount(config(source), expect=["term=t .*"])
    with open(source, "wb", buffering=0) as file:
        for _ in range(50):
            file.write(bytes(4096))
            time.sleep(0.002)
    m.wait_content("t", bytes(50 * 4096))


def test_the_version_is_the_digest_of_the_bytes(mount, source):
    m = mount(config(source))
    version = m.xattr("t", "version")
    os.utime(source, (1, 1))
    m.refresh("t")
    assert m.xattr("t", "version") == version, "the same bytes are the same version"
    assert m.xattr("t", "source_version") != version
    replace(source, NEW)
    m.wait_content("t", NEW)
    assert m.xattr("t", "version") != version


def test_the_mtime_is_that_of_the_file(mount, source):
    os.utime(source, (1_500_000_000, 1_500_000_000))
    m = mount(config(source))
    assert os.stat(m.at("t")).st_mtime == 1_500_000_000


def test_many_changes_end_with_the_last_one(mount, source):
    m = mount(config(source), expect=["term=t .*"])
    for i in range(200):
        replace(source, b"change %d" % i)
    m.wait_content("t", b"change 199")


def test_a_file_that_the_user_may_not_read_is_denied(mount, source):
    """Root may read everything; another user may not."""
    os.chmod(source, 0)
    m = mount(config(source), user=NOBODY, expect=["term=t .*"])
    wait_for(lambda: "denied" in str(m.events(term="t")), "the attempt's line")
