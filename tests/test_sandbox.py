"""The worker has no rights, and the configuration works all the same: files that only root may read
come from the helper, which opens the files that the configuration names and no others."""

import os
import pwd
import re
import shutil
import socket
import struct
import subprocess
import time

import pytest
from origin import http, server_context
from rptmount import (
    HANGS_S,
    NOBODY,
    as_user,
    files_below,
    in_chroot,
    open_paths,
    read,
    user_line,
    wait_for,
)

INTERVAL = "refresh_interval = 600s"
OLD, NEW = b"the last good version\n", b"the next version, which is longer\n"
RPTFS = "rptfs"


def process_status(pid):
    """/proc/PID/status as a dict."""
    text = read(f"/proc/{pid}/status").decode()
    return dict(re.findall(r"^(\w+):\t(.*)$", text, re.M))


@pytest.fixture
def closed(directory):
    """A directory that only root may look into."""
    path = os.path.join(directory, "closed")
    os.mkdir(path, 0o700)
    return path


def write(path, content):
    """Writes another file and renames it, as careful programs do; for its owner alone."""
    with open(os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    os.rename(path + ".new", path)


def file(path):
    return f'term "t" {{ refresh_interval = 600s file {{ path = "{path}" }} }}\n'


# The rights of the processes


def is_unnamed(user):
    """Is it one of the numbers for services with DynamicUser=?"""
    return 61184 <= user <= 65519


def is_expected(user):
    try:
        return user == pwd.getpwnam(RPTFS).pw_uid
    except KeyError:
        return is_unnamed(user)


def test_the_worker_has_no_rights(mount, origin):
    origin.put("/t", NEW)
    m = mount(http(origin.url("/t"), term=INTERVAL))
    assert m.read("t") == NEW
    status = process_status(m.worker)
    user = status["Uid"].split()[0]
    assert is_expected(int(user)) and status["Uid"].split() == [user] * 4
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[name], 16) == 0, name
    assert in_chroot() == ("event=sandbox_incomplete" in m.log())


def test_the_visitor_has_no_rights(mount, origin, build):
    """It has those of the directories' owner, and its descriptors."""
    origin.put("/t", NEW)
    m = mount(http(origin.url("/t"), term=INTERVAL))
    assert m.read("t") == NEW
    visitor = wait_for(lambda: m.child("visitor"), "the visitor")
    status = process_status(visitor)
    assert status["NoNewPrivs"] == "1"
    assert build.sanitized or status["Seccomp"] == "2"
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[name], 16) == 0, name
    opened = open_paths(visitor).values()
    assert "/dev/fuse" not in opened
    assert not [path for path in opened if m.store in path or "memfd" in path], opened


# KILL, DAC_READ_SEARCH, SETGID, SETUID, SYS_ADMIN of linux/capability.h
KEEPER_CAPABILITIES = 1 << 5 | 1 << 2 | 1 << 6 | 1 << 7 | 1 << 21


def test_the_keeper_has_few_capabilities(mount, origin):
    """It keeps the bounding set, so that the helper can have all the rights of root."""
    origin.put("/t", NEW)
    m = mount(http(origin.url("/t"), term=INTERVAL))
    assert m.read("t") == NEW
    ours, status = process_status(os.getpid()), process_status(m.keeper)
    kept = KEEPER_CAPABILITIES & int(ours["CapPrm"], 16)
    assert int(status["CapPrm"], 16) == int(status["CapEff"], 16) == kept
    assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
    assert status["CapBnd"] == ours["CapBnd"]


def test_user_and_sandbox_are_options(mount, origin):
    origin.put("/t", NEW)
    m = mount('user = "nobody" sandbox = false\n' + http(origin.url("/t"), term=INTERVAL))
    status = process_status(m.worker)
    assert m.read("t") == NEW
    assert status["Uid"].split() == [str(NOBODY)] * 4
    assert status["Seccomp"] == "0" and int(status["CapEff"], 16) == 0
    assert namespaces(m.worker) == namespaces("self")


def test_the_next_worker_has_no_rights(mount, origin):
    origin.put("/t", NEW)
    m = mount(http(origin.url("/t"), term=INTERVAL))
    m.wait_worker(m.kill_worker())
    status = process_status(m.worker)
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    assert int(status["CapEff"], 16) == 0


# Namespaces

NAMESPACES = ("mnt", "pid", "ipc")


def namespaces(pid):
    return [os.readlink(f"/proc/{pid}/ns/{name}") for name in NAMESPACES]


@pytest.mark.skipif(in_chroot(), reason="no root of its own in a chroot")
def test_workers_have_namespaces_of_their_own(mount, origin):
    """Also workers of the same user, and the next one; processes with rights stay outside."""
    origin.put("/t", NEW)
    m, other = [mount(http(origin.url("/t"), term=INTERVAL)) for _ in range(2)]
    ours = namespaces("self")

    def are_apart():
        kinds = zip(ours, namespaces(m.worker), namespaces(other.worker))
        return all(len(set(kind)) == 3 for kind in kinds)

    assert are_apart()
    visitor = wait_for(lambda: m.child("visitor"), "the visitor")
    assert namespaces(m.keeper) == namespaces(visitor) == ours
    m.wait_worker(m.kill_worker())
    assert are_apart() and namespaces(m.child("notifier")) == namespaces(m.worker)
    assert m.read("t") == NEW and "event=sandbox_incomplete" not in m.log()


@pytest.mark.skipif(in_chroot(), reason="no root of its own in a chroot")
def test_the_root_of_a_worker_has_nothing_of_the_machine(mount, directory, build):
    if build.sanitized:
        pytest.skip("a sanitizer has its directories too")
    path = os.path.join(directory, "source")
    write(path, NEW)
    m = mount(file(path))
    root = f"/proc/{m.worker}/root"
    assert m.read("t") == NEW
    expected = ".rptfs dev etc lib lib32 lib64 proc run sys usr var"
    assert set(os.listdir(root)) <= set(expected.split())
    assert not os.path.exists(root + directory)
    found = [pid for pid in os.listdir(f"{root}/proc") if pid.isdigit()]
    assert len(found) == 3, "init, worker, notifier; root sees them, the worker itself alone"


def test_process_numbers_are_those_of_the_machine(mount):
    m = mount('term "t" { static { data = "hello" } }\n')
    assert m.status()["pid"] == m.worker
    with open(os.path.join(m.store, "lock"), encoding="ascii") as lock:
        assert int(lock.read()) == m.worker


def test_a_worker_takes_its_namespace_with_it(mount):
    m = mount('term "t" { static { data = "hello" } }\n')
    first = wait_for(lambda: m.child("init"), "init")
    m.wait_worker(m.kill_worker())
    wait_for(lambda: not os.path.exists(f"/proc/{first}"), "the end of the first init")
    wait_for(lambda: m.child("init") not in (None, first), "another one")


# Without the user "rptfs"


@pytest.fixture
def without_user(mount, build, directory):
    """A factory of mounts, not yet started, of a machine without the user "rptfs"."""
    if build.sanitized:
        pytest.skip("a preloaded library would be loaded before the sanitizer's")
    library = os.path.join(directory, "no_user.so")
    shutil.copy(os.path.join(build.dir, "tests", "no_user.so"), library)

    def make(config):
        m = mount(config, start=False)
        m.env["LD_PRELOAD"] = library
        return m

    return make


def owners(store):
    return {os.stat(store).st_uid} | {found.st_uid for found in files_below(store).values()}


def test_without_a_user_it_takes_one_that_nobody_has(without_user):
    config = 'term "t" { static { data = "hello" } }\n'
    m = without_user(config).start()
    status = process_status(m.worker)
    user = int(status["Uid"].split()[0])
    assert is_unnamed(user) and status["Uid"].split() == [str(user)] * 4
    assert status["Gid"].split() == [str(user)] * 4 and not status["Groups"].strip()
    assert m.read("t") == b"hello" and owners(m.store) == {user}
    other = without_user(config).start()
    assert int(process_status(other.worker)["Uid"].split()[0]) not in (0, user)
    m.wait_worker(m.kill_worker())
    assert int(process_status(m.worker)["Uid"].split()[0]) == user
    m.restart()
    assert int(process_status(m.worker)["Uid"].split()[0]) == user


def test_without_a_user_it_makes_over_what_root_owned(without_user):
    m = without_user('term "t" { static { data = "hello" } }\n').start()
    version = m.xattr("t", "fetched_at")
    m.stop()
    subprocess.run(["chown", "-R", "0:0", m.store], check=True)
    m.start()
    user = int(process_status(m.worker)["Uid"].split()[0])
    assert is_unnamed(user) and owners(m.store) == {user}
    assert m.read("t") == b"hello" and m.xattr("t", "fetched_at") == version
    assert m.events("store_made_over", to=user)


def test_the_worker_of_an_older_keeper_does_not_run_as_root(build, directory):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        done = subprocess.run(
            [build.rptfs, "-f", "--worker", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env=build.environment(directory),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=HANGS_S,
        )
        theirs.close()
        assert done.returncode == 1 and b"as root" in ours.recv(4096), done.stderr


# Files that only root may read


def test_a_file_that_only_root_may_read_is_served(mount, closed):
    path = os.path.join(closed, "source")
    write(path, OLD)
    m = mount(file(path), expect=["term=t "])
    assert m.read("t") == OLD
    write(path, NEW)  # noticed by inotify: the interval is ten minutes
    m.wait_content("t", NEW)
    os.unlink(path)
    m.refresh("t", ok=False)
    assert m.status("t")["state"] == "gone" and m.read("t") == NEW
    os.mkdir(path)
    m.refresh("t", ok=False)
    assert m.kind("t") == "bad_data" and m.read("t") == NEW
    os.rmdir(path)
    write(path, OLD)
    m.wait_content("t", OLD)


def test_a_file_that_appears_in_a_private_directory_is_noticed(mount, closed):
    path = os.path.join(closed, "later")
    m = mount(file(path), expect=["term=t "])
    assert m.ls() == [] and m.kind("t") == "not_found"
    with open(path, "wb") as slow:  # created first and written later: not read in between
        until = time.monotonic() + 0.1
        while time.monotonic() < until:
            assert m.ls() == []
        slow.write(NEW)
    m.wait_content("t", NEW)


def test_a_token_that_only_root_may_read_is_sent(mount, origin, closed):
    token = os.path.join(closed, "token")
    write(token, b"first\n")
    origin.put("/t", NEW)
    m = mount(http(origin.url("/t"), f'bearer_token_file = "{token}"', INTERVAL), expect=["term=t "])
    write(token, b"second\n")
    m.refresh("t")
    sent = [request.headers["authorization"] for request in origin.asked("/t")]
    assert sent == ["Bearer first", "Bearer second"]
    os.unlink(token)
    m.refresh("t", ok=False)
    assert m.kind("t") == "denied" and token in m.message()


def test_certificates_that_only_root_may_read_are_used(mount, origins, certificates, closed):
    for name in ("ca.pem", "client.pem", "client.key"):
        write(os.path.join(closed, name), read(os.path.join(certificates, name)))
    origin = origins(tls=server_context(certificates, client_ca=True))
    origin.put("/t", NEW)
    trusted = f'ca_file = "{closed}/ca.pem"'
    mine = f'client_cert = "{closed}/client.pem" client_key = "{closed}/client.key"'
    m = mount(http(origin.url("/t"), f"{trusted} {mine}", INTERVAL), expect=["term=t "])
    assert m.read("t") == NEW
    os.unlink(os.path.join(closed, "ca.pem"))
    # Its content is remembered for a second.
    refused = lambda: m.run_rpt("refresh", "--wait", "t").returncode == 1  # noqa: E731
    wait_for(refused, "the file to be missed", pause=0.1)
    assert m.kind("t") == "config" and "ca.pem" in m.message()


def test_a_socket_that_only_root_may_connect_to_is_denied(mount, origins, closed):
    """The worker connects with its own rights, but the configuration names the way there."""
    path = os.path.join(closed, "socket")
    origins(unix=path).put("/t", NEW)
    m = mount(http("http://localhost/t", f'unix_socket = "{path}"', INTERVAL), expect=["term=t "])
    assert m.kind("t") == "denied" and path in m.message()
    os.chmod(path, 0o666)
    m.refresh("t")
    assert m.read("t") == NEW


def test_the_mount_of_a_user_reads_what_the_user_may(mount, directory):
    os.chmod(directory, 0o755)
    path = os.path.join(directory, "theirs")
    write(path, NEW)
    os.chown(path, NOBODY, NOBODY)
    m = mount(file(path), user=NOBODY)
    status = process_status(m.worker)
    assert status["Seccomp"] == "2" and status["Uid"].split()[0] == str(NOBODY)
    wait_for(lambda: as_user(NOBODY, "cat", m.at("t")).stdout.encode() == NEW, "the content")


def test_a_stranger_in_tmp_does_not_keep_a_user_from_mounting(mount):
    taken = f"/tmp/rptfs-{NOBODY}"
    os.makedirs(taken, mode=0o700, exist_ok=True)
    try:
        m = mount('term "t" { static { data = "hello" } }\n', user=NOBODY)
        asked = ["getfattr", "--only-values", "-n", "user.rpt.control", m.path]
        line = [*user_line(NOBODY), *asked]
        control = subprocess.run(line, capture_output=True, check=True, text=True).stdout
        found = os.stat(os.path.dirname(control))
        assert (found.st_uid, found.st_mode & 0o777) == (NOBODY, 0o755) and os.path.exists(control)
        m.stop()
        assert not os.path.exists(os.path.dirname(control))
    finally:
        os.rmdir(taken)


# Requests that the helper refuses


def image_of(build, directory, conf):
    """A descriptor of the helper's configuration, made as for an upgrade to the same file."""
    image = os.memfd_create("image", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(conf, "rb") as before:
        subprocess.run(
            [build.rptfs, "--render", f"{image},{before.fileno()}", "-c", conf],
            pass_fds=(image, before.fileno()),
            env=build.environment(directory),
            stdin=subprocess.DEVNULL,
            check=True,
        )
    return image


class Worker:
    """Takes the place of the helper's worker and sends the requests of a test."""

    def __init__(self, build, directory, config, role="helper"):
        conf = os.path.join(directory, "hostile.conf")
        with open(conf, "w", encoding="utf-8") as out:
            out.write(f'mountpoint = "{directory}/mnt"\nstore = "{directory}/store"\n{config}')
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        effective = image_of(build, directory, conf)
        self.process = subprocess.Popen(
            [build.rptfs, f"--{role}", f"{theirs.fileno()},{effective}"],
            pass_fds=(theirs.fileno(), effective),
            env=build.environment(directory),
            stdin=subprocess.DEVNULL,
        )
        theirs.close()
        os.close(effective)

    def ask(self, request, *fds):
        """(kind of packet, its bytes, descriptors)"""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            socket.send_fds(self.socket, [request], [theirs.fileno(), *fds])
            theirs.close()
            ours.settimeout(HANGS_S)
            packet, got, _, _ = socket.recv_fds(ours, 4096, 1)
        return packet[:1].decode(), packet[1:], got

    def close(self):
        self.socket.close()
        return self.process.wait(HANGS_S)


def test_the_helper_opens_only_what_the_configuration_names(build, directory, closed):
    named, other = os.path.join(closed, "named"), os.path.join(closed, "other")
    write(named, NEW)
    write(other, b"secret")
    worker = Worker(build, directory, file(named))
    try:
        kind, _, fds = worker.ask(b"r" + named.encode() + b"\0")
        assert kind == "d" and os.read(fds[0], 100) == NEW
        os.close(fds[0])
        kind, stat, fds = worker.ask(b"s" + named.encode() + b"\0")
        assert kind == "d" and struct.pack("q", len(NEW)) in stat and not fds
        for path in (other, "/etc/shadow", closed, named + "/", f"{closed}/./named", "hostile.conf", ""):
            for what in b"rsl":
                kind, text, fds = worker.ask(bytes([what]) + path.encode() + b"\0")
                assert (kind, fds) == ("e", []) and b"does not name" in text, path
        assert worker.ask(b"w/etc\0")[0] == "e"
        for program in (b"c\0default\0", b"c/etc/passwd\0root\0", b"c\0", b"x", b"\0" * 4000):
            assert worker.ask(program)[0] == "e"
    finally:
        code = worker.close()
    assert code == 0


def test_there_is_no_executor_without_a_program(build, directory, origin):
    """Not even for a worker that asks for one."""
    worker = Worker(build, directory, http(origin.url("/t"), term=INTERVAL), role="executor")
    assert worker.close() == 1
