"""What mount(8) and other programs do with a mount: its options, remounting, mounts on top of it, the
end of its connection."""

import os
import shutil
import subprocess

import pytest
from rptmount import HANGS_S, NOBODY, comm, private_namespace, wait_for

ONE = 'term "t" { static { data = "#!/bin/sh\\n" version = "1" } mode = 0555 }\n'


def mount_line(path):
    """The options of the mount, and those of its superblock."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        (fields,) = [line.split() for line in file if line.split()[4] == path]
    return set(fields[5].split(",")), set(fields[-1].split(","))


def mode(m):
    return os.getxattr(m.path, "user.rpt.publish_mode").decode()


@pytest.mark.parametrize("user", [None, NOBODY])
@pytest.mark.parametrize(
    "options, noexec",
    [
        ("rw,dev,suid", False),
        ("noexec", True),
        ("noexec,exec", False),
        ("user,nofail,_netdev", True),
        ("users,exec", False),
    ],
)
def test_flags_of_the_mount(mount, user, options, noexec):
    m = mount(ONE, user=user, options=["-o", options])
    flags, _ = mount_line(m.path)
    assert {"ro", "nosuid", "nodev"} <= flags
    assert ("noexec" in flags) == noexec


def test_noexec_is_obeyed_and_kept(mount):
    m = mount("noexec = true\n" + ONE)
    with pytest.raises(PermissionError):
        subprocess.run([m.at("t")], check=True)
    m.rpt("upgrade")
    assert "noexec" in mount_line(m.path)[0]
    m.configure("noexec = false\n" + ONE)
    m.expect("event=upgrade_refused")
    assert m.run_rpt("upgrade").returncode
    m.configure("noexec = true\n" + ONE)


def test_remount_says_what_to_do(mount):
    m = mount(ONE)
    done = subprocess.run(
        [m.build.rptfs, m.conf, m.path, "-o", "rw,remount,ro"], capture_output=True, text=True,
        env=m.env, timeout=HANGS_S,
    )  # fmt: skip
    assert done.returncode == 1 and "rpt upgrade" in done.stderr, done.stderr
    assert m.read("t")


def test_renames_come_back_after_a_remount(mount, origin, build):
    """mount -i -o remount changes the superblock, which has to be writable for the visitor. (With
    fsconfig(2), which newer versions of mount prefer, the kernel refuses that for FUSE.)"""
    old_call = {**os.environ, "LIBMOUNT_FORCE_MOUNT2": "always"}
    if build.publish_mode != "auto":
        return
    origin.put("/t", b"version 0")
    m = mount(origin.term(), expect=["event=publish_mode"])
    for i in range(1, 4):
        subprocess.run(["mount", "-i", "-o", "remount,ro", m.path], env=old_call, check=True)
        wait_for(lambda: "rw" in mount_line(m.path)[1], "a writable superblock")
        assert "ro" in mount_line(m.path)[0]
        origin.put("/t", b"version %d" % i)
        m.refresh("t")
        assert m.read("t") == b"version %d" % i and mode(m) == "rename"
    assert m.events("remounted")


@pytest.fixture
def covered(mount, origin, directory):
    """A mount with a file mounted over its term."""
    cover = os.path.join(directory, "cover")
    with open(cover, "wb") as file:
        file.write(b"the cover")
    origin.put("/t", b"version 0")
    m = mount(
        "prewarm_total = 3MiB\n" + origin.term(term="refresh_interval = 1h on_delete = remove")
    )
    subprocess.run(["mount", "--bind", cover, m.at("t")], check=True)
    yield m
    while subprocess.run(["umount", "-q", m.at("t")]).returncode == 0:
        pass


def test_an_update_below_a_mount_is_held_back(covered, origin):
    m = covered
    assert m.read("t") == b"the cover"
    origin.put("/t", b"version 1")
    m.expect("something is mounted over t")
    for _ in range(2):
        m.refresh("t", ok=False)
        status = m.status("t")
        assert status["state"] == "stale" and "something is mounted over t" in str(status)
        assert m.read("t") == b"the cover"
    subprocess.run(["umount", m.at("t")], check=True)
    m.refresh("t")
    assert m.read("t") == b"version 1" and m.status("t")["state"] == "fresh"
    assert origin.count("/t", 200) == 2, "the new version was fetched once"
    assert len(m.snapshot_files()) == 2


def test_a_version_held_back_often_is_prewarmed_in_the_end(covered, origin):
    """Each attempt prewarms it again, and gives its share of prewarm_total back."""
    m = covered
    body = os.urandom(1 << 20)
    origin.put("/t", body)
    m.expect("something is mounted over t")
    for _ in range(4):
        m.refresh("t", ok=False)
    subprocess.run(["umount", m.at("t")], check=True)
    m.metrics()  # the first open() of the mount: the kernel learns that OPEN needs no request
    m.refresh("t")
    with m.counting() as requests:
        fd = os.open(m.at("t"), os.O_RDONLY)
        read = os.pread(fd, len(body), 0)
        os.close(fd)
    assert read == body and requests == {}


def test_a_mount_over_a_name_that_goes_away(covered, origin):
    """It goes too, as in a container, and the log says so."""
    m = covered
    origin.remove("/t")
    m.expect("event=unmounted")
    m.refresh("t", ok=False)
    assert m.events("unmounted", term="t") and os.listdir(m.path) == []


def test_an_update_held_back_is_published_by_the_next_worker(covered, origin):
    m = covered
    origin.put("/t", b"version 1")
    m.expect("something is mounted over t", "event=unmounted")
    m.refresh("t", ok=False)
    subprocess.run(["umount", m.at("t")], check=True)
    m.rpt("upgrade")
    m.wait_content("t", b"version 1")


@pytest.fixture
def connections(directory):
    """What is at /sys/fs/fuse/connections on most machines."""
    path = os.path.join(directory, "connections")
    os.mkdir(path)
    subprocess.run(["mount", "-t", "fusectl", "fusectl", path], check=True)
    yield path
    subprocess.run(["umount", path], check=True)


def test_an_aborted_connection_is_a_failure(mount, connections):
    m = mount(ONE, expect=["event=aborted"])
    number = os.minor(os.stat(m.path).st_dev)
    with open(f"{connections}/{number}/abort", "w", encoding="ascii") as file:
        file.write("1")
    assert m.process.wait(HANGS_S) == 2
    assert m.events("aborted", mountpoint=m.path) and not m.is_mounted()
    m.process = None
    m.start()
    assert m.read("t")


def start_again(m):
    """What rptfs says that is started at the same place."""
    done = subprocess.run(
        [m.build.rptfs, "-c", m.conf], capture_output=True, text=True, env=m.env, timeout=HANGS_S
    )
    return done.stderr if done.returncode == 32 else f"exit code {done.returncode}"


def test_a_namespace_that_still_has_the_mount_is_named(mount):
    m = mount(ONE)
    held = subprocess.Popen(
        [*private_namespace(m.path), "sleep", "infinity"], stdin=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: comm(held.pid) == "sleep", "the other namespace")
        subprocess.run(["umount", m.path], check=True)

        def is_named():
            """A namespace of another test may be found first, while it has a copy too."""
            said = start_again(m)
            assert f"at {m.path} in the namespace of process " in said
            assert f"process {m.keeper} (rptfs-keeper)" in said
            return f"of process {held.pid} (sleep)" in said

        wait_for(is_named, "the name of the process")
        inside = ["nsenter", "-t", str(held.pid), "-m", "cat", m.at("t")]
        assert subprocess.run(inside, check=True, capture_output=True).stdout
    finally:
        held.kill()
        held.wait()
    assert m.process.wait(HANGS_S) == 0
    m.process = None
    m.start()
    assert m.read("t")


def test_a_bind_mount_that_is_left_is_named(mount, directory):
    place = os.path.join(directory, "a place \\040")  # the kernel's table escapes both
    os.mkdir(place)
    m = mount(ONE)
    subprocess.run(["mount", "--bind", m.path, place], check=True)
    try:
        subprocess.run(["umount", m.path], check=True)
        assert f"still attached at {place}:" in start_again(m)
    finally:
        subprocess.run(["umount", place], check=True)
    assert m.process.wait(HANGS_S) == 0
    m.process = None


@pytest.mark.parametrize("command", [["umount"], ["umount", "-f"], ["umount", "-l"]])
def test_unmounting_is_an_orderly_end(mount, command):
    m = mount(ONE)
    subprocess.run([*command, m.path], check=True)
    assert m.process.wait(HANGS_S) == 0


def test_the_default_store_of_a_long_path(build, directory):
    deep = os.path.join(directory, *["d" * 200] * 3)
    twin = os.path.join(directory, *["d" * 200] * 2, "d" * 199 + "e")
    os.makedirs(os.path.join(directory, "state"))
    names = set()
    for path in (deep, twin):
        os.makedirs(path)
        shown = subprocess.run(
            [build.rptfs, "--show-config", path, "t=file:///etc/hostname"],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        (line,) = [line for line in shown.splitlines() if line.startswith("store")]
        store = line.split('"')[1].replace("\\\\", "\\")
        names.add(os.path.basename(store))
    assert len(names) == 2 and all(len(name) == 255 for name in names)
    shutil.rmtree(os.path.join(directory, "d" * 200))
