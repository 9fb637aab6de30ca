"""Mounting and ending: the command line, exit codes, users, signals."""

import contextlib
import errno
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest
from origin import stall
from rptmount import HANGS_S, NOBODY, as_user, comm, mounts, read, session_processes, wait_for

ONE = 'term "t" { static { data = "content" version = "1" } }\n'


def rptfs(m, *arguments, **how):
    """Runs rptfs until the started process exits."""
    return subprocess.run(
        [m.build.rptfs, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=HANGS_S, env=m.env, cwd=m.dir, **how,
    )  # fmt: skip


@pytest.fixture
def daemon(mount):
    """A Mount whose rptfs the test starts in the background."""
    made = []

    def make(config=ONE, **how):
        m = mount(config, start=False, **how)
        made.append(m)
        return m

    yield make
    for m in made:
        unmount(m)
    for m in made:
        wait_for(lambda m=m: not processes_of(m), "the daemon to end")
        assert not m.complaints(), m.complaints()


def unmount(m):
    """Repeats it while the mount is busy, as when its visitor looks at a new version."""
    while m.is_mounted():
        done = subprocess.run(["umount", m.path], capture_output=True, text=True)
        assert done.returncode == 0 or "busy" in done.stderr, done.stderr


def processes_of(m):
    """Pids whose command line names this mount's directory and whose program is rptfs."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and m.dir.encode() in read(f"/proc/{entry}/cmdline"):
                if os.readlink(f"/proc/{entry}/exe") == m.build.rptfs:
                    found.append(int(entry))
        except OSError:
            pass
    return found


# In the background


def test_the_command_returns_when_all_terms_are_ready(daemon, origin):
    """When the command exits, the mount exists and the first attempts have ended."""
    origin.put("/slow", b"slow")

    def slowly(x):
        x.wait(0.5)
        x.head(200, {"Content-Length": 4})
        x.send(b"slow")

    origin.always("/slow", slowly)
    m = daemon(ONE + f'term "slow" {{ http {{ url = "{origin.url("/slow")}" }} }}\n')
    done = rptfs(m, "-c", m.conf)
    assert done.returncode == 0, done.stderr
    assert m.is_mounted() and m.read("t") == b"content" and m.read("slow") == b"slow"


def test_the_command_does_not_wait_longer_than_start_timeout(daemon, origin):
    origin.always("/t", stall())
    never = f'term "never" {{ http {{ url = "{origin.url("/t")}" stall_timeout = 1h }} }}\n'
    m = daemon(f"start_timeout = 500ms\n{ONE}{never}")
    start = time.monotonic()
    done = rptfs(m, "-c", m.conf)
    assert done.returncode == 0 and 0.4 < time.monotonic() - start
    assert m.status("never")["checked_at"] is None, "its first attempt has not ended"
    m.wait_content("t", b"content")


def test_a_source_that_fails_does_not_prevent_the_mount(daemon, origin):
    m = daemon(f'{ONE}term "gone" {{ http {{ url = "{origin.url("/gone")}" }} }}\n')
    done = rptfs(m, "-c", m.conf)
    assert done.returncode == 0 and m.ls() == ["t"]


def test_the_command_detaches_from_the_terminal(daemon):
    """A pipe from the command to its caller must be closed."""
    m = daemon()
    assert rptfs(m, "-c", m.conf).returncode == 0  # capture_output waits for EOF
    for pid in processes_of(m):
        for fd in (0, 1, 2):
            assert os.readlink(f"/proc/{pid}/fd/{fd}") == "/dev/null"
        assert os.readlink(f"/proc/{pid}/cwd") == "/"


@pytest.fixture
def syslog():
    """The lines of the machine's log, if it has none of its own."""
    if os.path.lexists("/dev/log"):
        pytest.skip("the machine has a log")
    lines = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind("/dev/log")
        try:
            os.chmod("/dev/log", 0o666)
            reader = threading.Thread(target=lambda: lines.extend(iter(lambda: log.recv(4096), b"")))
            reader.start()
            yield lines
        finally:
            log.shutdown(socket.SHUT_RDWR)
            os.unlink("/dev/log")
            reader.join()


def test_the_worker_logs_to_syslog(daemon, syslog):
    """It has a root of its own, and logs with the number that users see."""
    m = daemon()
    assert rptfs(m, "-c", m.conf).returncode == 0
    first = m.status()["pid"]
    os.kill(first, signal.SIGKILL)
    second = wait_for(lambda: (m.status()["pid"] != first) and m.status()["pid"], "the next worker")
    said = f" rptfs[{second}]: level=info event=taken_over mountpoint={m.path} ".encode()
    wait_for(lambda: any(said in line for line in syslog), "its line")


def test_umount_ends_the_daemon(daemon):
    m = daemon()
    assert rptfs(m, "-c", m.conf).returncode == 0
    assert processes_of(m)
    unmount(m)
    wait_for(lambda: not processes_of(m), "the processes to end")


WAYS_TO_LEAVE = {
    "umount": lambda m, keeper: unmount(m),
    "SIGTERM": lambda m, keeper: os.kill(keeper, signal.SIGTERM),
    "a crash": lambda m, keeper: os.kill(keeper, signal.SIGKILL),
}


@pytest.mark.parametrize("way", WAYS_TO_LEAVE)
def test_it_is_started_again_at_once(daemon, way):
    """The start waits for the end of the one before."""
    m = daemon()
    assert rptfs(m, "-c", m.conf).returncode == 0
    for _ in range(20):
        WAYS_TO_LEAVE[way](m, m.status()["keeper"]["pid"])
        done = rptfs(m, "-c", m.conf)
        assert done.returncode == 0, done.stderr
        assert m.read("t") == b"content"
    assert mounts().count(m.path) == 1


def test_the_processes_have_names(mount):
    m = mount(ONE)
    names = {comm(pid) for pid in session_processes(m.process.pid)}
    assert {"rptfs-keeper", "rptfs-worker"} <= names


# Exit codes


def assert_refused(m, done, code, *words):
    assert done.returncode == code, done
    for word in words:
        assert word in done.stderr, done.stderr
    assert not m.is_mounted()
    wait_for(lambda: not processes_of(m), "all processes to end")


def test_a_bad_configuration_exits_with_1_and_mounts_nothing(daemon):
    m = daemon('term "t" { statik { data = "x" } }\nterm "u" { static { dat = "x" } }\n')
    done = rptfs(m, "-c", m.conf)
    assert_refused(m, done, 1, f"{m.conf}:3:", f"{m.conf}:4:")


def test_a_missing_configuration_file_exits_with_1(daemon):
    m = daemon()
    assert_refused(m, rptfs(m, "-c", m.dir + "/nix.conf"), 1, m.dir + "/nix.conf")


def test_a_missing_mount_point_exits_with_1(daemon):
    m = daemon()
    with open(m.conf, "w", encoding="utf-8") as file:
        file.write(ONE)
    done = rptfs(m, "-c", m.conf)
    assert done.returncode == 1 and "mount point" in done.stderr.replace("mountpoint", "mount point")


@pytest.mark.parametrize("option", ["--frobnicate", "-X"])
def test_unknown_flags_exit_with_1(daemon, option):
    m = daemon()
    assert_refused(m, rptfs(m, option, "-c", m.conf), 1)


def test_an_unknown_mount_option_is_named_in_the_error(daemon):
    m = daemon()
    done = rptfs(m, "-c", m.conf, "-o", "allow_other,frobnicate=7,another_one")
    assert_refused(m, done, 1, "frobnicate", "another_one")


@pytest.mark.parametrize("kind", ["missing", "a file"])
def test_a_mount_that_fails_exits_with_32(daemon, kind):
    m = daemon()
    os.rmdir(m.path)
    if kind == "a file":
        with open(m.path, "w", encoding="utf-8"):
            pass
    done = rptfs(m, "-c", m.conf)
    assert_refused(m, done, 32, m.path)
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_second_daemon_on_the_same_mount_is_refused(daemon):
    m = daemon()
    assert rptfs(m, "-c", m.conf).returncode == 0
    done = rptfs(m, "-c", m.conf)
    assert done.returncode in (1, 32) and done.stderr
    assert mounts().count(m.path) == 1 and m.read("t") == b"content"


def test_a_missing_fuse_device_exits_with_32(daemon):
    m = daemon()
    hide = (
        "mount --make-rprivate /dev && mount -t tmpfs tmpfs /dev && mknod /dev/null c 1 3 && mknod /dev/urandom c 1 9 && "
        f"exec {m.build.rptfs} -c {m.conf}"
    )
    done = subprocess.run(
        ["unshare", "-m", "--propagation", "unchanged", "sh", "-c", hide],
        capture_output=True, text=True, timeout=HANGS_S, env=m.env,
    )
    assert_refused(m, done, 32, "/dev/fuse")


# The command line


def test_version_and_help_are_printed(build):
    for flag in ("--version", "--help", "-h", "-V"):
        done = subprocess.run([build.rptfs, flag], capture_output=True, text=True, timeout=HANGS_S)
        assert done.returncode == 0 and "rptfs" in done.stdout and not done.stderr


def test_terms_can_be_given_on_the_command_line(mount, origin, directory):
    origin.put("/flags.json", b"{}")
    with open(os.path.join(directory, "local"), "wb") as file:
        file.write(b"a file")
    terms = [f"flags.json={origin.url('/flags.json')}", f"x/local=file://{directory}/local"]
    m = mount("", options=terms)
    assert m.ls() == ["flags.json", "x"]
    assert m.read("flags.json") == b"{}" and m.read("x/local") == b"a file"


def test_no_configuration_file_is_needed(daemon, origin):
    """rptfs DIR NAME=URL; the store is in /var/lib/rptfs, as other tests' stores may be."""
    origin.put("/t", b"hello")
    m = daemon()
    escaped = [part.replace("-", r"\x2d") for part in m.path.strip("/").split("/")]  # as systemd does
    state = os.path.join("/var/lib/rptfs", "-".join(escaped))
    there_before = os.path.isdir("/var/lib/rptfs")
    try:
        done = rptfs(m, m.path, f"t={origin.url('/t')}")
        assert done.returncode == 0, done.stderr
        assert m.read("t") == b"hello"
        assert os.path.isdir(state)
    finally:
        unmount(m)
        wait_for(lambda: not processes_of(m), "the daemon to end")
        shutil.rmtree(state, ignore_errors=True)
        if not there_before:
            with contextlib.suppress(OSError):  # unless another session uses it
                os.rmdir("/var/lib/rptfs")


def test_mount_t_fuse_rptfs_mounts(daemon):
    """Like mount(8) for /etc/fstab, through mount.fuse3: options that are for others do no harm.
    (mount itself finds an installed rptfs only.)"""
    m = daemon()
    programs = os.path.join(m.dir, "bin")
    os.mkdir(programs)
    os.symlink(m.build.rptfs, os.path.join(programs, "rptfs"))
    env = {**m.env, "PATH": f"{programs}:{m.env['PATH']}"}
    done = subprocess.run(
        ["mount.fuse3", m.conf, m.path, "-o", "rw,noatime,_netdev,nofail", "-t", "fuse.rptfs"],
        capture_output=True, text=True, env=env, timeout=HANGS_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert m.read("t") == b"content"
    unmount(m)
    done = subprocess.run(
        ["mount.fuse3", m.conf, m.path, "-o", "rw,frobnicate", "-t", "fuse.rptfs"],
        capture_output=True, text=True, env=env, timeout=HANGS_S,
    )  # fmt: skip
    assert done.returncode != 0 and "frobnicate" in done.stderr


def test_debug_shows_requests(mount):
    m = mount(ONE, options=["-d"])
    m.read("t")
    wait_for(lambda: "LOOKUP" in m.log().upper(), "the debug output")
    m.expect(".")


# An ordinary user


@pytest.fixture
def users_mount(mount):
    def make(config=ONE):
        m = mount(config, user=NOBODY, start=False)
        m.env["HOME"] = m.dir
        m.env["XDG_STATE_HOME"] = os.path.join(m.dir, "state")
        return m.start()

    return make


def test_an_ordinary_user_mounts_through_fusermount(users_mount):
    m = users_mount()
    wait_for(lambda: as_user(NOBODY, "cat", m.at("t")).stdout == "content", "the term")
    assert as_user(NOBODY, "ls", m.path).stdout.split() == ["t"]
    with pytest.raises(OSError) as caught:
        os.listdir(m.path)
    assert caught.value.errno == errno.EACCES, "root is not let in without allow_other"
    out = as_user(NOBODY, "getfattr", "--only-values", "-n", "user.rpt.version", m.at("t")).stdout
    assert out == "1"


def test_updates_of_a_users_mount_are_seen(users_mount, origin):
    origin.put("/t", b"one")
    m = users_mount(f'term "t" {{ refresh_interval = 100ms http {{ url = "{origin.url("/t")}" }} }}')
    wait_for(lambda: as_user(NOBODY, "cat", m.at("t")).stdout == "one", "the first version")
    origin.put("/t", b"two")
    wait_for(lambda: as_user(NOBODY, "cat", m.at("t")).stdout == "two", "the update")


def test_a_user_can_unmount(users_mount):
    m = users_mount()
    # Busy while the visitor looks at the new version.
    wait_for(lambda: as_user(NOBODY, "fusermount3", "-u", m.path).returncode == 0, "the unmount")
    wait_for(lambda: m.process.poll() is not None, "the end")
    assert m.process.returncode == 0


# Ending


@pytest.mark.parametrize("signo", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_the_daemon(mount, signo):
    m = mount(ONE)
    m.stop(signo)


def test_a_signal_ends_the_daemon_while_files_are_open(mount):
    """Cached pages can still be read, and open files do not prevent the end."""
    m = mount(ONE)
    held, listing = os.open(m.at("t"), os.O_RDONLY), os.open(m.path, os.O_RDONLY)
    assert os.read(held, 100) == b"content"
    m.stop()
    gone = (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO)
    try:
        assert os.pread(held, 100, 0) == b"content"
    except OSError as error:
        assert error.errno in gone
    for fd in (held, listing):
        try:
            os.close(fd)
        except OSError as error:
            assert error.errno in gone


def test_a_signal_ends_the_daemon_while_it_starts(mount, origin):
    origin.always("/t", stall())
    m = mount(f'{ONE}term "never" {{ http {{ url = "{origin.url("/t")}" }} }}\n', wait=False)
    m.stop()


def test_many_mounts_in_a_row_leave_nothing_behind(mount):
    """The device, processes and files of each mount are gone after its end."""
    m = mount(ONE)
    for _ in range(5 if m.build.sanitized else 20):
        m.restart()
        assert m.read("t") == b"content"


def test_lines_in_the_journal_have_their_priority(mount):
    """Standard error is the stream that JOURNAL_STREAM names."""
    m = mount(ONE + 'term "gone" { file { path = "/nowhere" } }\n', start=False)
    with open(m.log_path, "wb") as log:
        found = os.fstat(log.fileno())
    m.env["JOURNAL_STREAM"] = f"{found.st_dev}:{found.st_ino}"
    m.expect("term=gone")
    m.start()
    lines = [line for line in m.log().splitlines() if "level=" in line]
    assert all(re.match(r"<[3467]>time=", line) for line in lines), lines
    assert any(re.match("<6>.* event=mounted ", line) for line in lines)
    assert any(re.match("<4>.* term=gone ", line) for line in lines)
