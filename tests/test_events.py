"""The events that programs see when they watch a term or its directory."""

import contextlib
import itertools
import os
import threading
import time

import pytest
from rptmount import HANGS_S, wait_for
from watchers import inotifywait, node


@pytest.fixture
def renames(build):
    """Do names move by a rename? If not, only watchers of the file itself see an event."""
    return build.publish_mode == "auto"


def update(m, origin, name, body):
    origin.put("/" + name, body)
    m.refresh(name)
    assert m.read(name) == body


def test_the_publish_mode_is_shown(mount, origin, renames):
    origin.put("/t", b"x")
    m = mount(origin.term())
    mode = "rename" if renames else "notify"
    assert os.getxattr(m.path, "user.rpt.publish_mode").decode() == mode
    assert m.events("mounted", publish_mode=mode)
    update(m, origin, "t", b"y")
    assert m.metrics()[f'rptfs_moves_total{{mode="{mode}"}}'] == 2


def test_watchers_of_a_directory_see_each_update(mount, origin, renames):
    origin.put("/d/t", b"first")
    origin.put("/d/u", b"not changed")
    m = mount(origin.term("d/t") + origin.term("d/u"))
    with inotifywait(m.at("d")) as watcher, inotifywait(m.path) as other:
        for i in range(50):
            update(m, origin, "d/t", b"version %d" % i)
            if renames:
                assert watcher.wait(i + 1) == ["MOVED_TO t"] * (i + 1)
        # No event without an update, and none elsewhere.
        m.refresh()
        for _ in range(20):
            m.read("d/t")
            os.stat(m.at("d/u"))
            os.listdir(m.at("d"))
        update(m, origin, "d/t", b"the last")
        if renames:
            assert watcher.wait(51) == ["MOVED_TO t"] * 51
        assert other.lines == []


def test_watchers_of_a_file_see_each_update(mount, origin, renames):
    origin.put("/t", b"first")
    m = mount(origin.term())
    for i in range(10):
        with inotifywait(m.at("t")) as watcher:
            m.refresh("t")  # unchanged
            assert watcher.lines == []
            update(m, origin, "t", b"version %d" % i)
            said = [line.strip() for line in watcher.wait(2 if renames else 1)]
            assert said == (["ATTRIB", "DELETE_SELF"] if renames else ["DELETE_SELF"])


def test_watchers_see_names_that_come_and_go(mount, origin, renames):
    term = "on_delete = remove refresh_interval = 1h"
    origin.put("/d/a", b"there from the beginning")
    m = mount(origin.term("d/a", term) + origin.term("d/b", term), expect=["event=failed"])
    with inotifywait(m.at("d")) as watcher:
        update(m, origin, "d/b", b"new")
        origin.remove("/d/a")
        m.refresh("d/a", ok=False)
        assert m.ls("d") == ["b"]
        update(m, origin, "d/a", b"back again")
        if renames:
            assert watcher.wait(3) == ["MOVED_TO b", "DELETE a", "MOVED_TO a"]
        else:
            assert watcher.lines == []
        assert m.ls("d") == ["a", "b"]


@pytest.mark.parametrize("kind", ["fs.watch", "chokidar"])
def test_node_programs_notice_updates(mount, origin, renames, kind):
    """Both watch a directory, like programs that reload its files."""
    if not renames:
        pytest.skip("a notification causes no event in the directory")
    origin.put("/d/t", b"first")
    m = mount(origin.term("d/t"))
    with node(kind, m.at("d")) as watcher:
        versions = itertools.count()

        def notices():
            """Also of a local file, chokidar misses a change that comes before it watches the new
            file, or 50 ms after the last one: then it has to see a later one."""
            before = len(watcher.lines)
            update(m, origin, "d/t", b"version %d" % next(versions))
            until = time.monotonic() + (HANGS_S if kind == "fs.watch" else 0.5)
            while len(watcher.lines) == before and time.monotonic() < until:
                time.sleep(0.01)
            return watcher.lines[before:]

        for _ in range(5):
            said = wait_for(notices, "the event")
            assert said[0] == ("rename t" if kind == "fs.watch" else f"change {m.at('d/t')}")


def test_a_node_program_can_watch_one_file(mount, origin, build):
    """In both modes: chokidar watches the file, and looks again when the file is deleted."""
    origin.put("/t", b"first")
    m = mount(origin.term())
    with node("chokidar", m.at("t")) as watcher:
        watcher.wait_watch(m.at("t"))
        update(m, origin, "t", b"another")
        assert watcher.wait(1)[0].split()[0] in ("change", "unlink", "add")


class Follower(threading.Thread):
    """Reads the file after each event of its directory, and at no other time."""

    def __init__(self, m, watcher, name):
        super().__init__(daemon=True)
        self.m, self.watcher, self.name = m, watcher, name
        self.seen, self.ending = [m.read(name)], False

    def run(self):
        read = 0
        while not self.ending:
            if len(self.watcher.lines) > read:
                read = len(self.watcher.lines)
                self.seen.append(self.m.read(self.name))
            else:
                time.sleep(0.001)


@pytest.mark.long
def test_no_death_hides_an_update_from_watchers(mount, origin, renames):
    """Worker and visitor are killed in the middle of updates; a program that reads after each event
    never stays with an old version."""
    if not renames:
        pytest.skip("a notification causes no event in the directory")
    origin.put("/d/t", b"version 0")
    m = mount(origin.term("d/t"), expect=["event=worker_died", "event=visitor_lost"])
    with inotifywait(m.at("d"), events="moved_to") as watcher:
        follower = Follower(m, watcher, "d/t")
        follower.start()
        for i in range(1, 25):
            body = b"version %d" % i
            origin.put("/d/t", body)
            m.run_rpt("refresh", "d/t")  # not waited for
            if i % 3 == 0:
                m.kill_worker()
            elif i % 3 == 1 and (visitor := m.child("visitor")):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(visitor, 9)
            wait_for(lambda: m.run_rpt("refresh", "--wait", "d/t").returncode == 0, "an update")
            m.wait_content("d/t", body)
            wait_for(lambda body=body: follower.seen[-1] == body, "the event")
        follower.ending = True
        follower.join(HANGS_S)
    versions = [int(body.split()[1]) for body in follower.seen]
    assert versions == sorted(versions)


@pytest.mark.parametrize("look", [False, True])
def test_watchers_of_a_file_that_somebody_has_open(mount, origin, renames, look):
    """As on a local disk the file loses its name, and goes when it is closed. Where names move by
    notifications, its watchers are told so at once."""
    origin.put("/t", b"first")
    m = mount(origin.term())
    for i in range(5):
        with open(m.at("t"), "rb") as held, inotifywait(m.at("t")) as watcher:
            before = held.read()
            update(m, origin, "t", b"version %d" % i)
            assert watcher.wait(1) == ["ATTRIB" if renames else "DELETE_SELF"]
            if look:
                assert os.fstat(held.fileno()).st_nlink == 0
            assert os.pread(held.fileno(), 100, 0) == before
            held.close()
            if renames:
                assert watcher.wait(2) == ["ATTRIB", "DELETE_SELF"]
    wait_for(lambda: m.metrics()["rptfs_snapshots"] <= 4, "superseded snapshots to be let go")


def test_a_removed_file_that_somebody_has_open(mount, origin, renames):
    origin.put("/t", b"first")
    m = mount(origin.term("t", "refresh_interval = 1h on_delete = remove"), expect=["event=failed"])
    with open(m.at("t"), "rb") as held, inotifywait(m.at("t")) as watcher:
        origin.remove("/t")
        m.refresh("t", ok=False)
        assert watcher.wait(1) == ["ATTRIB" if renames else "DELETE_SELF"]
        assert os.fstat(held.fileno()).st_nlink == 0 and held.read() == b"first"
