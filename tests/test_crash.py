"""What readers see when the worker dies, hangs or cannot continue, and when the keeper dies."""

import contextlib
import json
import mmap
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest
from origin import status
from readers import Readers, static
from rptmount import (
    HANGS_S,
    NOBODY,
    comm,
    drop_pages,
    locked_in_memory,
    mounts,
    open_paths,
    parse_time,
    session_processes,
    state,
    suspend,
    wait_for,
    xattr,
)

BIG = os.urandom(1 << 20)


def http(origin, *names):
    return "defaults { refresh_interval = never }\n" + "".join(
        f'term "{name}" {{ http {{ url = "{origin.url("/" + name)}" }} }}\n' for name in names
    )


def is_dead(pid):
    return state(pid) in ("", "Z", "X")


def close_dead(fd):
    """Closes a descriptor of a mount that is gone: close(2) closes it and reports an error."""
    with contextlib.suppress(OSError):
        os.close(fd)


def shows_in_the_end(m, name, content):
    """Waits for the content; requests to the old mount fail until then."""

    def shows():
        with contextlib.suppress(OSError):
            return m.read(name) == content

    wait_for(shows, f"{name} to be there again")


def test_readers_do_not_notice_a_death_of_the_worker(mount, origin):
    """Descriptors, mappings and names from before, and names that were not looked up yet."""
    origin.put("/big", BIG, etag='"1"')
    m = mount(http(origin, "big") + static("seen", "dir/unseen"))
    fd = os.open(m.at("big"), os.O_RDONLY)
    mapped = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
    before = os.stat(m.at("big"))
    m.read("seen")
    drop_pages(fd)
    dead = m.kill_worker()
    assert mapped[:] == BIG
    assert m.read("dir/unseen") == b"this is dir/unseen"
    assert m.read("seen") == b"this is seen"
    after = os.stat(m.at("big"))
    assert (after.st_ino, after.st_dev) == (before.st_ino, before.st_dev)
    assert os.pread(fd, len(BIG), 0) == BIG
    os.close(fd)
    assert m.wait_worker(after=dead) != dead
    assert m.status()["restarts"] == 1
    assert m.metrics()["rptfs_worker_restarts_total"] == 1
    origin.put("/big", b"two", etag='"2"')
    m.refresh("big")
    assert m.read("big") == b"two"


def test_warm_readers_need_no_worker(mount, origin):
    """This holds while there is no worker, and after another one has taken over."""
    origin.put("/dir/t", b"content", etag='"1"')
    m = mount(http(origin, "dir/t"))
    m.end_start()
    origin.put("/dir/t", b"content 2", etag='"2"')
    m.refresh("dir/t")
    look = f'cat "{m.path}/dir/t"; stat -c %s "{m.path}/dir/t"'
    expected = "content 29\n"
    assert subprocess.run(look, shell=True, capture_output=True, text=True).stdout == expected
    with locked_in_memory(m.at("dir/t")):
        for _ in range(3):
            suspend(m.keeper)
            dead = m.kill_worker()
            wait_for(lambda: is_dead(dead), "its death")
            done = subprocess.run(look, shell=True, capture_output=True, text=True, timeout=HANGS_S)
            assert done.stdout == expected
            os.kill(m.keeper, signal.SIGCONT)
            m.wait_worker(after=dead)
            wait_for(lambda: m.xattr("dir/t", "state") == "fresh", "its first attempts")


def test_superseded_snapshots_stay_readable(mount, origin):
    """Only descriptors refer to the old versions, through several deaths, cold."""
    m = mount(http(origin, "t"), start=False)
    open_fds = []
    for version in range(1, 6):
        origin.put("/t", b"%d" % version * 5000, etag=f'"{version}"')
        if version == 1:
            m.start()
        else:
            m.refresh("t")
        open_fds.append(os.open(m.at("t"), os.O_RDONLY))
        m.wait_worker(after=m.kill_worker())
    for version, fd in enumerate(open_fds, 1):
        drop_pages(fd)
        assert os.pread(fd, 100_000, 0) == b"%d" % version * 5000
        assert xattr(fd, "version") == str(version)
        assert os.fstat(fd).st_nlink == (version == 5)
        os.close(fd)

    # The current one and history = 3: the others are removed when the kernel has forgotten them.
    wait_for(lambda: len(m.snapshot_files()) == 4, "the store to hold four snapshots")


def test_a_successor_announces_what_its_predecessor_committed(mount, origin):
    """The worker dies after a commit and before it is announced: its successor announces it."""
    origin.put("/t", b"one", etag='"1"')
    m = mount(http(origin, "t"))
    for version in range(2, 6):
        assert m.read("t")
        origin.put("/t", b"v%d" % version, etag=f'"{version}"')
        dead = m.worker
        asked = subprocess.Popen(
            [m.build.rpt, "-m", m.path, "refresh", "--wait", "t"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=m.env,
        )  # fmt: skip
        # Sometimes before the commit, sometimes after it, sometimes after the name has moved.
        wait_for(lambda: len(origin.requests) >= version, "the request")
        m.kill_worker()
        asked.wait(HANGS_S)
        m.wait_worker(after=dead)

        def seen():
            """A successor makes an attempt soon: a view is valid only between two equal counts."""
            before = m.status("t")["version"]
            found = before, m.xattr("t", "version"), m.read("t")
            return m.status("t")["version"] == before and found

        committed, shown, content = wait_for(seen, "a version that stays for a moment")
        assert shown == committed
        assert content == (b"v" + committed.encode() if committed != "1" else b"one")
        m.refresh("t")
        assert m.read("t") == b"v%d" % version


def test_a_worker_that_gets_sigterm_is_replaced(mount):
    """Only the keeper may end a worker."""
    m = mount(static("a", "b"))
    ended = m.kill_worker(signal.SIGTERM)
    assert m.read("b") == b"this is b"
    assert m.wait_worker(after=ended) != ended


def test_a_worker_that_hangs_is_replaced(mount):
    m = mount(static("a", "b"), expect=["event=worker_hangs"])
    m.read("a")
    hung = m.worker
    suspend(hung)
    m.expect("event=worker_died")
    assert m.read("a") == b"this is a"  # warm: needs no worker
    assert m.read("b") == b"this is b"  # cold: waits for the next worker
    assert m.wait_worker(after=hung) != hung
    assert m.events("worker_hangs", pid=hung)


def turns_of(pid):
    """How often the process has waited for something."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        return int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)$", file.read(), re.M)[1])


@pytest.mark.builds("plain")  # the keeper's work, which is the same in all builds; it takes 11 s
def test_a_keeper_that_was_stopped_kills_no_healthy_worker(mount):
    """It was not there to hear the signs of life, or the worker was stopped as well."""
    alone, both = mount(static("a")), mount(static("b"))
    workers = {m: m.worker for m in (alone, both)}
    stopped = [alone.keeper, both.keeper, both.worker]
    for pid in stopped:
        suspend(pid)
    time.sleep(11)  # more than the silence for which the keeper kills a worker
    turns = {m: turns_of(m.keeper) for m in (alone, both)}
    for pid in stopped[:2]:
        os.kill(pid, signal.SIGCONT)
    for m in (alone, both):
        wait_for(lambda m=m: turns_of(m.keeper) >= turns[m] + 3, "the keeper to look at its worker")
    os.kill(both.worker, signal.SIGCONT)
    for m, worker in workers.items():
        assert m.status()["pid"] == worker and not m.events("worker_hangs")


def test_the_mount_survives_a_crash_loop(mount, build):
    """Workers die one after the other. Each one is started later than the last."""
    m = mount(static("a", "b"))
    m.read("a")
    dead = []
    while len(dead) < 6:
        pid = wait_for(lambda: m.child("worker"), "the next worker")
        if pid not in dead:
            m.kill_worker()
            dead.append(pid)
            assert m.read("a") == b"this is a"
    assert m.read("b") == b"this is b"
    m.wait_worker(after=dead[-1])
    deaths = m.events("worker_died")
    waits = [int(event["next_in_ms"]) for event in deaths]
    # A worker that served for a second is replaced at once, and the waits begin again. How long
    # each lived depends on the machine: it was started when the wait after the death before was
    # over.
    expected = 0
    for i, wait_ms in enumerate(waits):
        began = parse_time(deaths[i - 1]["time"]) + waits[i - 1] / 1000 if i else 0
        may_have_settled = parse_time(deaths[i]["time"]) - began > 0.9
        if wait_ms == 0 and may_have_settled:
            expected = 0
        else:
            expected = min(2 * expected or 100, 5000)
            assert wait_ms == expected, waits
    # In the end: the keeper counts from when it hears that the worker serves.
    lived_s = 1.2
    while m.events("worker_died")[-1]["next_in_ms"] != "0":
        assert lived_s < HANGS_S
        time.sleep(lived_s)
        m.wait_worker(after=m.kill_worker())
        lived_s *= 2


def test_a_store_that_crashes_workers_is_set_aside(mount, origin):
    """Three crashes at start: the store is kept for inspection, and a new one is filled."""
    origin.put("/t", b"content", etag='"1"')
    m = mount(http(origin, "t"), expect=["event=mounted_anew", "event=store_set_aside"])
    fd = os.open(m.at("t"), os.O_RDONLY)
    assert os.read(fd, 100) == b"content"
    dead = set()
    # Counts what the keeper logs: a process that a worker has just forked has its name for a moment.
    # A worker that served for a second does not count; on a busy machine it takes more than three.
    while not m.events("mounted_anew"):
        pid = wait_for(lambda: m.events("mounted_anew") or m.child("worker"), "the next worker")
        if m.events("mounted_anew"):
            break
        if pid not in dead:
            m.kill_worker(signal.SIGABRT)
            dead.add(pid)
            wait_for(lambda pid=pid: is_dead(pid), "its death")
    shows_in_the_end(m, "t", b"content")
    wait_for(lambda: [name for name in os.listdir(m.store) if name.startswith("aside-")], "the old one")
    close_dead(fd)


def lose_store(m):
    """The catalog is deleted between one worker and the next."""
    suspend(m.keeper)
    dead = m.kill_worker()
    wait_for(lambda: is_dead(dead), "its death")
    for name in os.listdir(m.store):
        if name.startswith("catalog.db"):
            os.unlink(os.path.join(m.store, name))
    os.kill(m.keeper, signal.SIGCONT)


def test_a_mount_that_was_unmounted_is_not_made_anew(mount, origin):
    """The store is gone, and only an open file holds the mount."""
    origin.put("/t", BIG, etag='"1"')
    m = mount(http(origin, "t"), expect=["event=worker_died"])
    m.end_start()
    fd = os.open(m.at("t"), os.O_RDONLY)
    subprocess.run(["umount", "-l", m.path], check=True)
    wait_for(lambda: not m.child("visitor"), "the worker to hear of it")
    lose_store(m)
    assert m.process.wait(HANGS_S) == 0
    close_dead(fd)
    m.stop()


def test_a_mount_that_cannot_be_taken_over_is_replaced(mount, origin):
    """The store is gone: reads of an open cold file fail, and a new mount works."""
    origin.put("/t", BIG, etag='"1"')
    m = mount(http(origin, "t"), expect=["event=mounted_anew", "event=worker_died"])
    fd = os.open(m.at("t"), os.O_RDONLY)
    os.read(fd, 10)
    drop_pages(fd)
    m.end_start()
    lose_store(m)
    shows_in_the_end(m, "t", BIG)
    assert mounts().count(m.path) == 1
    with pytest.raises(OSError):
        os.pread(fd, len(BIG), 0)
    close_dead(fd)
    reasons = [event.get("reason", "") for event in m.events("worker_died")]
    assert len(reasons) == 2 and "is not the one that this mount was served from" in reasons[1]


def test_a_death_does_not_read_the_configuration_again(mount):
    """A changed file takes effect at the next upgrade."""
    m = mount(static("a"))
    with open(m.conf, "a", encoding="utf-8") as file:
        file.write("this is nonsense {\n")
    m.wait_worker(after=m.kill_worker())
    assert m.ls() == ["a"] and m.read("a") == b"this is a"


def test_state_in_memory_outlives_the_worker(mount, origin):
    """store = "memory": the keeper holds it."""
    origin.put("/t", b"content", etag='"1"')
    m = mount(http(origin, "t"), store="memory")
    origin.always("/t", status(503))
    m.expect("event=update_failed")
    before = os.stat(m.at("t")).st_ino
    m.wait_worker(after=m.kill_worker())
    assert m.read("t") == b"content" and os.stat(m.at("t")).st_ino == before


def test_the_mount_of_a_user_survives_a_death(mount, build):
    m = mount(static("a", "b"), user=NOBODY)
    wait_for(lambda: m.ls() == ["a", "b"], "the first versions")
    dead = m.kill_worker()
    wait_for(lambda: m.child("worker") not in (None, dead), "the next worker")
    assert m.ls() == ["a", "b"]


def test_everything_ends_when_the_keeper_is_killed(mount):
    """All processes end, nothing hangs, and the next start replaces the dead mount."""
    m = mount(static("a"))
    fd = os.open(m.at("a"), os.O_RDONLY)
    os.read(fd, 1)
    session = m.process.pid
    m.expect("event=keeper_died", "event=dead_mount_replaced")
    m.process.kill()
    m.process.wait(HANGS_S)
    wait_for(lambda: not session_processes(session), "the others to end")
    with pytest.raises(OSError):
        m.ls()
    close_dead(fd)
    m.start()
    assert m.read("a") == b"this is a"
    assert m.events("dead_mount_replaced")


def test_a_second_start_is_refused(mount, build):
    """It does not disturb the first one."""
    m = mount(static("a"))
    second = subprocess.run(
        m.command("-f", "-c", m.conf), capture_output=True, text=True, env=m.env, timeout=HANGS_S
    )
    assert second.returncode == 32, second
    who = f"process {m.keeper} (rptfs-keeper)"
    assert f"an rptfs is already mounted at {m.path} by {who};" in second.stderr
    assert f"rpt -m {m.path} upgrade" in second.stderr and f"umount {m.path}" in second.stderr
    assert m.read("a") == b"this is a" and m.status()["restarts"] == 0
    assert mounts().count(m.path) == 1


def test_started_while_open_files_hold_the_mount(mount, build):
    """It was unmounted, but its processes serve who has its files open."""
    m = mount(static("a"))
    fd = os.open(m.at("a"), os.O_RDONLY)
    subprocess.run(["umount", "-l", m.path], check=True)
    second = subprocess.run(
        m.command("-f", "-c", m.conf), capture_output=True, text=True, env=m.env, timeout=HANGS_S
    )
    assert second.returncode == 32, second
    assert f"{m.path} is in use by another rptfs, process {m.keeper} (rptfs-keeper)" in second.stderr
    assert "still open" in second.stderr and f"kill {m.keeper}" in second.stderr
    os.close(fd)
    assert m.process.wait(HANGS_S) == 0
    m.stop()


def test_one_of_several_simultaneous_starts_wins(mount, build, directory):
    """This is so even if their stores differ."""
    place = os.path.join(directory, "place")
    os.makedirs(place)
    processes = []
    for i in range(4):
        arguments = ["-f", "-o", f"store={directory}/store{i}", place, f"a={build_url(directory)}"]
        processes.append(
            subprocess.Popen(
                [build.rptfs, *arguments], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
                env=build.environment(directory), text=True,
            )  # fmt: skip
        )
    try:
        wait_for(lambda: sum(p.poll() is None for p in processes) == 1, "one to be left")
        (winner,) = [p for p in processes if p.poll() is None]
        wait_for(lambda: place in mounts(), "the mount")
        assert mounts().count(place) == 1
        for loser in processes:
            if loser is not winner:
                assert loser.returncode == 32
                assert "mounted at " + place in loser.stderr.read()
        winner.terminate()
        assert winner.wait(HANGS_S) == 0
        assert place not in mounts()
    finally:
        for process in processes:
            process.kill()
            process.wait()
            process.stderr.close()
        subprocess.run(["umount", "-l", place], capture_output=True)


def build_url(directory):
    source = os.path.join(directory, "source")
    with open(source, "w", encoding="utf-8") as file:
        file.write("content")
    return "file://" + source


def test_rpt_waits_for_the_next_worker(mount):
    """A request that comes while there is no worker is answered by the next one."""
    m = mount(static("a"))
    m.end_start()
    suspend(m.keeper)
    dead = m.kill_worker()
    wait_for(lambda: is_dead(dead), "its death")
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(m.control)
        asking.sendall(b'{"command":"status","terms":[]}\n')
        os.kill(m.keeper, signal.SIGCONT)
        asking.settimeout(HANGS_S)
        with asking.makefile() as answer:
            assert json.loads(answer.readline())["restarts"] == 1


def test_no_read_fails_during_many_deaths(mount, build):
    """No read fails or is cut short while one worker after the other is killed."""
    names = [f"t{i}" for i in range(8)]
    m = mount(static(*names))
    with Readers(m, names, 3) as readers:
        for _ in range(5):
            m.wait_worker(after=m.kill_worker())
        wait_for(lambda: readers.failures or readers.reads > 20, "some reads")
    assert not readers.failures


# Executes the program of the arguments as a careless parent does.
CARELESS = """
import os, signal, sys
numbers = signal.SIGCHLD, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2
for number in numbers:
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
os.umask(0o777)
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_signals_and_umask_of_the_parent_do_no_harm(mount):
    m = mount(static("a"), prefix=[sys.executable, "-c", CARELESS])
    m.wait_worker(after=m.kill_worker())
    assert m.read("a") == b"this is a"
    m.process.terminate()
    assert m.process.wait(HANGS_S) == 0


def test_the_command_may_be_killed_while_it_waits_for_the_start(mount, build, black_hole):
    """The mount stays, although the keeper cannot report its start."""
    m = mount(
        f'start_timeout = 2s\nterm "t" {{ http {{ url = "{black_hole.url("/t")}" }} }}\n' + static("a"),
        start=False,
    )
    command = subprocess.Popen(m.command("-c", m.conf), env=m.env, cwd=m.dir, start_new_session=True)
    try:
        wait_for(m.is_mounted, "the mount")
        command.kill()
        command.wait(HANGS_S)
        keeper = wait_for(lambda: json.loads(m.rpt("status", "--json"))["keeper"]["pid"], "rpt")
        time.sleep(2.5)  # start_timeout is over then, and the pipe to the command is broken
        assert m.read("a") == b"this is a" and comm(keeper) == "rptfs-keeper"
    finally:
        unmount(m.path)
    wait_for(lambda: not comm(keeper), "the end")


def unmount(path):
    """Repeats the unmount while the mount is busy: another process may be using it."""
    wait_for(lambda: subprocess.run(["umount", path]).returncode == 0, f"umount {path}")


def test_a_link_to_the_mountpoint_is_the_same_mountpoint(mount, build):
    """A second mount at the link is refused."""
    m = mount(static("a"))
    link = os.path.join(m.dir, "link")
    os.symlink(m.path, link)
    second = subprocess.run(
        m.command("-f", "-o", f"store={m.dir}/other", link, f"a={build_url(m.dir)}"),
        capture_output=True, text=True, env=m.env, timeout=HANGS_S,
    )  # fmt: skip
    assert second.returncode == 32 and f"an rptfs is already mounted at {m.path}" in second.stderr
    assert mounts().count(m.path) == 1 and m.read("a") == b"this is a"


def test_no_descriptor_of_the_caller_is_kept(mount, build):
    """Its standard streams are not needed either."""
    m = mount(static("a"), start=False)
    held = os.path.join(m.dir, "held")
    with open(held, "w", encoding="utf-8") as file:
        for closing in ("", " <&-", " <&- >&-", " <&- >&- 2>&-"):
            line = " ".join(m.command("-c", m.conf)) + closing
            done = subprocess.run(
                ["sh", "-c", line], env=m.env, cwd=m.dir, pass_fds=[file.fileno()], timeout=HANGS_S
            )
            assert done.returncode == 0, closing
            status = m.status()
            pids = [status["keeper"]["pid"], status["pid"]]
            for pid in pids:
                opened = open_paths(pid).values()
                assert held not in opened, (closing, opened)
            assert m.read("a") == b"this is a"
            unmount(m.path)
            wait_for(lambda: not comm(pids[0]), "the end")
