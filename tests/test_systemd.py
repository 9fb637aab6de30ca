"""rptfs as a service: READY=1, the watchdog, and restarts that keep the mount.

Under a service manager made for the purpose, and under a real systemd where one can be nested.
"""

import contextlib
import hashlib
import mmap
import os
import re
import resource
import shutil
import signal
import subprocess
import threading
import time

import pytest
from builds import put_program
from origin import hold
from rptmount import HANGS_S, drop_pages, locked_in_memory, open_paths, suspend, wait_for
from s3config import source as s3_source
from s3config import term as s3_term
from service import FakeManager, NoSystemd, PrivateManager, Systemd, family

MANAGERS = {kind.kind: kind for kind in (FakeManager, PrivateManager, Systemd)}
BIG = bytes(range(256)) * 4096

# A credential_process that notes what the unit gives it.
PROBE = """#!/bin/sh
exec >{ran} 2>&1
grep NoNewPrivs: /proc/self/status
umask
for file in /usr/probe /etc/probe /boot/probe /proc/sys/kernel/hostname; do
    (true >>$file) 2>&1 | grep -q "Read-only file system" && echo protected
done
mount -o remount,bind,rw /usr 2>&1 | grep -q "permission denied" && echo protected
test -e /dev/null && ! test -e /dev/fuse && echo protected
for keeper in $(grep -l "^rptfs-keeper$" /proc/[0-9]*/comm | cut -d / -f 3); do
    (true </proc/$keeper/fd/0) 2>&1 | grep -q "Permission denied" && echo protected
done
chrt --idle 0 echo idle
python3 -c 'import mmap; mmap.mmap(-1, 1, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)' 2>&1 |
    grep -q PermissionError && echo refused
python3 - $keeper <<'END'
import array, os, socket, struct, sys
manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
manager.connect("/run/systemd/notify")
own = os.open("/proc/self/ns/mnt", os.O_RDONLY)
rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [own]))
sender = (socket.SOL_SOCKET, socket.SCM_CREDENTIALS, struct.pack("3i", int(sys.argv[1]), 0, 0))
for control in ([rights], [rights, sender]):
    try:
        manager.sendmsg([b"FDSTORE=1\\nFDNAME=machine"], control)
        print("ignored")
    except PermissionError:
        print("refused")
END
"""


@pytest.fixture
def source(directory):
    """A file that the term "big" comes from."""
    path = os.path.join(directory, "source")
    with open(path, "wb") as file:
        file.write(BIG)
    return path


@pytest.fixture
def managers(build, directory, tmp_path_factory):
    """A factory: managers(kind, config) gives a Service that has not been started."""
    made = []
    installed = str(tmp_path_factory.getbasetemp() / f"installed-{os.path.basename(build.dir)}")
    if build.sanitized:
        os.chmod(directory, 0o1777)  # for the reports of the worker, which is another user

    def make(kind, config):
        if kind == "systemd" and build.sanitized:
            pytest.skip("sanitizers need what the unit forbids")
        how = {"installed": installed} if kind == "systemd" else {}
        try:
            service = MANAGERS[kind](build, directory, config, **how)
        except NoSystemd as error:
            pytest.skip(f"no systemd can be nested here: {error}")
        made.append(service)
        return service

    yield make
    for service in made:
        service.close()


@pytest.fixture(params=MANAGERS)
def service(request, managers, source):
    """One that runs, with the terms "big" (1 MiB) and "word"."""
    service = managers(request.param, config_of(source))
    service.start()
    return service


@pytest.fixture
def fake(managers, source):
    service = managers("fake", config_of(source))
    service.start()
    return service


def config_of(source):
    return f"""
        term "big" {{ file {{ path = "{source}" }} }}
        term "word" {{ static {{ data = "one" }} }}
    """


class Reader:
    """Opens and reads a term in a tight loop, from rptfs each time."""

    def __init__(self, service, expected):
        self.path, self.expected = service.at("big"), expected
        self.failures, self.rounds, self.over = [], 0, False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.over:
            try:
                with open(self.path, "rb", buffering=0) as file:
                    drop_pages(file.fileno())
                    if file.read() != self.expected:
                        self.failures.append("other bytes")
            except OSError as error:
                self.failures.append(str(error))
                if len(self.failures) > 100:
                    return
            self.rounds += 1

    def stop(self):
        self.over = True
        self.thread.join(HANGS_S)
        assert not self.thread.is_alive(), "the reader hangs"
        assert not self.failures, self.failures[:5]


def goes_on(service, interrupt):
    """Descriptors, mappings and names work through the interruption and after it."""
    seen = os.stat(service.at("big"))
    reader = Reader(service, BIG)
    with open(service.at("big"), "rb", buffering=0) as file:
        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            wait_for(lambda: reader.rounds > 2, "a reader")
            interrupt()
            drop_pages(file.fileno())
            assert file.read() == BIG  # first: a mapping that cannot be read ends the test run
            drop_pages(file.fileno())
            assert mapped[:] == BIG
    rounds = reader.rounds
    wait_for(lambda: reader.rounds > rounds + 2, "the reader to continue")
    reader.stop()
    after = os.stat(service.at("big"))
    assert (after.st_dev, after.st_ino) == (seen.st_dev, seen.st_ino)
    assert service.read("word") == b"one"
    assert service.events("mounted_anew") == []


# ---------------------------------------------------------------------------- both managers


def mode_of(service):
    return os.getxattr(service.at(""), "user.rpt.publish_mode").decode()


def test_names_move_by_rename(service, build):
    """Also after a restart, which opens the mount's handle anew."""
    expected = "rename" if build.publish_mode == "auto" else "notify"
    assert mode_of(service) == expected, service.log()
    service.restart()
    assert mode_of(service) == expected
    assert service.events("no_handle") == service.events("publish_mode") == []


def test_the_service_starts_and_stops(service):
    worker = service.worker()
    assert list(service.mounts()) == [service.mountpoint]
    assert service.read("big") == BIG
    assert service.stop() == 0
    assert not service.mounts()
    assert not os.path.exists(f"/proc/{worker}")


def test_restart_keeps_the_mount(service):
    keeper, worker = service.keeper(), service.worker()
    goes_on(service, service.restart)
    assert service.keeper() != keeper and service.worker() != worker
    goes_on(service, service.restart)
    assert service.stop() == 0
    assert not service.mounts()


def test_updates_continue_after_a_restart(service, source):
    service.restart()
    with open(source + ".new", "wb") as file:
        file.write(b"new")
    os.rename(source + ".new", source)
    wait_for(lambda: service.read("big") == b"new", "the new version")


def test_a_dead_keeper_is_restarted(service):
    keeper = service.keeper()
    goes_on(service, service.crash)
    assert service.keeper() != keeper
    assert service.stop() == 0
    assert not service.mounts()


@pytest.mark.parametrize("kind", MANAGERS)
def test_a_store_in_memory_outlives_a_restart(managers, source, kind):
    """Snapshots outlive the keeper that held them, though their source is gone."""
    service = managers(kind, config_of(source))
    service.configure(store="memory")
    service.start()
    os.rename(source, source + ".gone")
    goes_on(service, service.restart)
    goes_on(service, service.crash)
    assert service.stop() == 0


def test_a_changed_mountpoint_moves_the_mount(service):
    """The old mount point is unmounted."""
    other = service.mountpoint + "2"
    os.mkdir(other)
    service.configure(mountpoint=other)
    service.restart()
    assert list(service.mounts()) == [other]
    service.mountpoint = other
    assert service.read("word") == b"one"
    assert service.stop() == 0
    assert not service.mounts()


def test_a_restart_survives_a_broken_configuration(service):
    """The restart keeps the configuration that was in effect, and logs that."""
    service.configure("nonsense {")
    goes_on(service, service.restart)
    assert service.events("config_refused")
    assert re.search(r"test\.conf:\d+: ", service.log())
    service.configure(config_of("/nowhere") + 'term "more" { static { data = "two" } }')
    service.restart()
    assert service.read("more") == b"two"


@pytest.mark.parametrize("noexec", [True, False])
def test_a_changed_noexec_applies_from_the_restart_on(managers, source, noexec):
    service = managers("fake", config_of(source))
    service.configure(f"noexec = {str(not noexec).lower()}\n" + config_of(source))
    service.start()
    assert bool(os.statvfs(service.mountpoint).f_flag & os.ST_NOEXEC) != noexec
    service.configure(f"noexec = {str(noexec).lower()}\n" + config_of(source))
    goes_on(service, service.restart)
    assert bool(os.statvfs(service.mountpoint).f_flag & os.ST_NOEXEC) == noexec


def test_a_changed_allow_other_replaces_the_mount(service, source):
    """The kernel cannot change it."""

    def allows_others():
        (mounted,) = service.mount_lines()
        return "allow_other" in mounted

    assert allows_others()
    service.configure("allow_other = false\n" + config_of(source))
    service.restart()
    assert not allows_others()
    goes_on(service, service.restart)
    assert not allows_others() and service.stop() == 0


def test_a_changed_store_replaces_the_mount(service):
    """The connection cannot be taken over: it is mounted anew."""
    before = os.stat(service.at("word"))
    service.configure(store=service.store + "2")
    service.restart()
    assert service.events("mounted_anew")
    assert os.stat(service.at("word")).st_dev != before.st_dev
    assert service.read("big") == BIG
    assert list(service.mounts()) == [service.mountpoint]
    assert service.stop() == 0
    assert not service.mounts()


def test_an_unmount_ends_a_service_that_was_restarted(service):
    """No copy of the mount is left in a namespace that was made while it was there."""
    service.restart()
    assert service.read("word") == b"one"
    # Busy while the visitor looks at the new versions.
    wait_for(lambda: service.tries("umount", service.mountpoint), "umount")
    wait_for(lambda: not service.keeper(), "the end")
    assert not service.mounts()


def test_a_mount_that_is_gone_is_not_kept(service):
    """The kept descriptors of a mount that is gone are dropped, even if it still has users."""
    assert service.read("word") == b"one"
    held = os.open(service.at("word"), os.O_RDONLY)
    before = os.fstat(held)
    for pid in (service.keeper(), service.worker()):
        suspend(pid)  # they must not notice the unmount
    service.run("umount", "-l", service.mountpoint)
    service.crash()
    with contextlib.suppress(OSError):
        os.close(held)
    assert os.stat(service.at("word")).st_dev != before.st_dev
    assert service.read("big") == BIG
    assert list(service.mounts()) == [service.mountpoint]
    assert service.stop() == 0
    assert not service.mounts()


# ---------------------------------------------------------------------------- systemd


@pytest.fixture
def systemd(managers, source):
    service = managers("systemd", config_of(source))
    service.start()
    return service


def test_the_unit_is_valid_and_hardened(systemd):
    """It is installed where systemd looks for it, without errors or new exposure."""
    unit = f"/usr/local/lib/systemd/system/{systemd.unit.replace('test', '')}"
    assert systemd.property("FragmentPath") == unit
    done = systemd.inside("systemd-analyze", "verify", "--man=no", unit)
    assert (done.returncode, done.stderr) == (0, "")
    instance = os.path.join(systemd.dir, systemd.unit)
    shutil.copy(systemd.dir + unit, instance)
    done = systemd.inside("systemd-analyze", "security", "--offline=true", "--threshold=40", instance)
    assert done.returncode == 0, done.stdout
    assert systemd.property("NFileDescriptorStore") == "4"
    assert systemd.property("MemoryMax").isdigit()
    # A thread for each update, and another one that resolves a name for it.
    assert int(systemd.property("TasksMax")) > 2 * 1088
    assert systemd.events("sandbox_incomplete") == []


def test_only_the_mount_is_in_the_namespace_of_the_machine(systemd):
    """Not the processes, also after another keeper was executed, or another start."""

    def namespaces():
        return {systemd.namespace(pid) for pid in family(systemd.keeper())}

    for interrupt in (lambda: None, lambda: systemd.systemctl("reload", systemd.unit), systemd.restart):
        interrupt()
        assert systemd.namespace() not in namespaces() and len(namespaces()) > 1
        assert list(systemd.mounts()) == [systemd.mountpoint]
        assert systemd.namespace() in open_paths(systemd.keeper()).values()
        for child in family(systemd.keeper())[1:]:
            assert systemd.namespace() not in open_paths(child).values()
        assert systemd.property("NFileDescriptorStore") == "4"
    assert systemd.events("machine_not_left") == systemd.events("mount_hidden") == []


def test_mounts_of_the_machine_come_and_go_in_the_service(managers, directory):
    """A file below a mount that is made later is found, and the mount can be unmounted."""
    place = os.path.join(directory, "later")
    os.mkdir(place)
    systemd = managers("systemd", f'term "t" {{ file {{ path = "{place}/t" }} }}')
    systemd.start()

    def contents():
        return [systemd.read(name) for name in os.listdir(systemd.at(""))]

    for body in (b"one", b"two"):
        systemd.run("mount", "-t", "tmpfs", "later", place)
        systemd.run("sh", "-c", f"printf {body.decode()} >{place}/t")
        systemd.run("rpt", "-m", systemd.mountpoint, "refresh", "t")
        wait_for(lambda body=body: body in contents(), "the file")
        wait_for(lambda: systemd.tries("umount", place), "umount")


# What differs in the unit of an rptfs without a namespace.
WITHOUT_NAMESPACE = """
NotifyAccess=main
ExecStartPre=
ExecReload=
ExecReload=/usr/local/libexec/rptfs-service reload /etc/rptfs/%i.conf
ExecStopPost=
ExecStopPost=/usr/local/libexec/rptfs-service stopped /etc/rptfs/%i.conf %n
PrivateMounts=no
ProtectSystem=no
PrivateDevices=no
ProtectKernelTunables=no
ProtectKernelModules=no
ProtectKernelLogs=no
ProtectControlGroups=no
ProtectHostname=no
"""


def test_a_service_gets_a_namespace_by_a_restart(managers, source):
    """The unit is replaced while the service runs, and again; the mount stays."""
    systemd = managers("systemd", config_of(source))

    def reload():
        done = systemd.systemctl("reload", systemd.unit)
        assert done.returncode == 0, systemd.log()

    def is_in_one():
        return systemd.namespace(systemd.keeper()) != systemd.namespace()

    systemd.drop_in(WITHOUT_NAMESPACE)
    systemd.start()
    goes_on(systemd, reload)
    assert not is_in_one()
    for changes, expected in (("", True), (WITHOUT_NAMESPACE, False)):
        systemd.drop_in(changes)
        goes_on(systemd, reload)
        assert is_in_one() != expected
        goes_on(systemd, systemd.restart)
        assert is_in_one() == expected
        goes_on(systemd, reload)
    assert systemd.stop() == 0
    assert not systemd.mounts()


def test_a_stricter_unit_mounts_as_well(managers):
    """Store, control socket and mount may be where the processes could not write, or see nothing."""
    systemd = managers("systemd", 'term "word" { static { data = "one" } }')
    # As PrivateTmp=, which would leave directories when systemd is killed.
    hidden = "TemporaryFileSystem=/tmp /var/tmp"
    systemd.drop_in(f"ProtectSystem=strict\nReadOnlyPaths=/run\nProtectHome=yes\n{hidden}")
    systemd.start()
    assert systemd.read("word") == b"one"
    systemd.restart()
    systemd.crash()
    wait_for(lambda: systemd.status("word")["state"] == "fresh", "an attempt")
    done = systemd.systemctl("reload", systemd.unit)
    assert done.returncode == 0, systemd.log()
    control = systemd.control
    assert os.path.exists(control) and systemd.stop() == 0
    assert not systemd.mounts() and not os.path.exists(control)


def test_a_mount_that_nobody_sees_is_reported(managers, source):
    private = managers("private", config_of(source))
    private.offers = False
    private.start()
    assert not private.mounts() and private.mounts(private.keeper())
    (said,) = private.events("mount_hidden")
    assert said["mountpoint"] == private.mountpoint and "--offer-namespace" in said["reason"]
    assert private.stop() == 0
    private.offers = True
    private.start()
    assert list(private.mounts()) == [private.mountpoint]
    assert len(private.events("mount_hidden")) == 1


def test_a_descriptor_of_no_mount_namespace_is_refused(managers, source):
    """The start fails rather than mount where nobody sees it."""
    private = managers("private", config_of(source))
    private.offers = False
    for path in ("/dev/null", "/proc/self/ns/net"):
        private.offer_other(os.open(path, os.O_RDONLY))
        private.spawn()
        assert private.process.wait(HANGS_S) == 1
        assert "entering the mount namespace of the machine" in private.log().splitlines()[-1]
        assert not os.path.exists(private.store)
        private.forget()
    private.offers = True
    private.start()
    assert private.read("word") == b"one"


def test_a_keeper_without_the_rights_does_not_start(managers, source):
    private = managers("private", config_of(source))
    private.prefix = [*private.prefix, "setpriv", "--bounding-set", "-sys_chroot"]
    private.spawn()
    assert private.process.wait(HANGS_S) == 1
    assert re.search(r"CAP_SYS_CHROOT.*: Operation not permitted$", private.log())


def test_the_keeper_keeps_its_root_and_working_directory(managers, source, directory):
    """An upgrade loads files relative to them."""
    root = os.path.join(directory, "root")
    os.mkdir(root)
    private = managers("private", config_of(source))
    private.prefix = [
        *private.prefix, "sh", "-c",
        'mount --rbind / "$0" && exec unshare --root "$0" --wd "$@"', root, directory,
    ]  # fmt: skip
    private.start()
    for interrupt in (lambda: None, private.restart):
        interrupt()
        place = f"/proc/{private.keeper()}"
        assert os.readlink(f"{place}/root") == root
        assert os.readlink(f"{place}/cwd") == root + directory


def test_a_keeper_that_cannot_return_from_the_machine_ends(managers, build, source, directory):
    """Nothing that it starts may be there. The mount goes on with the next keeper."""
    if build.sanitized:
        pytest.skip("a preloaded library would be loaded before the sanitizer's")
    private = managers("private", config_of(source))
    private.start()

    def fail_once():
        assert private.end(signal.SIGUSR1) == 0
        private.preloaded = os.path.join(build.dir, "tests", "no_return.so")
        private.spawn()
        assert private.process.wait(HANGS_S) == 1
        private.preloaded = None
        private.start()

    goes_on(private, fail_once)
    assert len(private.events("machine_not_left")) == 1


def test_a_namespace_is_offered_to_a_manager_only(build):
    done = subprocess.run([build.rptfs, "--offer-namespace"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "rptfs: no service manager takes a descriptor\n"


def test_programs_of_the_configuration_have_the_limits_of_the_unit(managers, directory):
    """They gain no rights, map no writable code, change neither the system nor the namespace, and
    leave the manager no descriptors, also not in the keeper's name. Asking for less still works."""
    ran = os.path.join(directory, "ran")
    program = os.path.join(directory, "program")
    keys = os.path.join(directory, "keys")
    put_program(program, PROBE.format(ran=ran).encode())
    with open(keys, "w", encoding="ascii") as file:
        file.write(f"[default]\ncredential_process = {program}\n")
    options = {"region": "eu-west-1", "credentials_file": keys}
    config = s3_term(s3_source("bucket", "key", "http://127.0.0.1:1", **options))
    systemd = managers("systemd", config)
    systemd.start()
    wait_for(lambda: systemd.status("t")["failures"], "an attempt")
    with open(ran, encoding="ascii") as file:
        assert file.read().split() == [
            "NoNewPrivs:", "1", "0077", *7 * ["protected"], "idle", "refused", "ignored", "refused",
        ]  # fmt: skip
    assert systemd.property("NFileDescriptorStore") == "4"


def test_a_hanging_worker_is_replaced(systemd):
    """It is replaced, and the service stays active."""
    worker, keeper = systemd.worker(), systemd.keeper()

    def hang():
        suspend(worker)
        wait_for(lambda: systemd.worker() not in (None, worker), "another worker")

    goes_on(systemd, hang)
    assert systemd.keeper() == keeper
    assert systemd.property("ActiveState") == "active"


def test_a_hanging_keeper_is_restarted(managers, source):
    """systemd's watchdog restarts it, and the mount continues to serve."""
    systemd = managers("systemd", config_of(source))
    systemd.drop_in("WatchdogSec=10s")  # signs of life come every second
    systemd.start()
    keeper = systemd.keeper()
    suspend(keeper)

    def restarted():
        return systemd.keeper() not in (None, keeper) and systemd.property("ActiveState") == "active"

    goes_on(systemd, lambda: wait_for(restarted, "the restart"))
    assert systemd.property("NRestarts") == "1"


def test_a_reload_applies_a_good_configuration(systemd, source):
    """New terms come without a pause; a wrong configuration makes systemctl reload fail."""
    keeper = systemd.keeper()
    systemd.configure(config_of(source) + 'term "more" { static { data = "two" } }')
    goes_on(systemd, lambda: systemd.systemctl("reload", systemd.unit))
    wait_for(lambda: os.path.exists(systemd.at("more")), "the first version of the new term")
    assert systemd.read("more") == b"two"
    assert systemd.keeper() == keeper
    systemd.configure("nonsense {")
    assert systemd.systemctl("reload", systemd.unit).returncode != 0
    assert systemd.read("more") == b"two"
    assert systemd.property("ActiveState") == "active"
    systemd.configure(config_of(source))
    goes_on(systemd, systemd.restart)  # the keeper that another one executed knows the kept mount


def test_a_service_without_a_configuration_fails_at_once(systemd):
    done = systemd.systemctl("start", "rptfs@nosuch")
    assert done.returncode != 0 and "ssert" in done.stderr
    assert systemd.property("SubState", "rptfs@nosuch") in ("dead", "failed")
    assert systemd.property("NRestarts", "rptfs@nosuch") == "0"


@pytest.mark.parametrize("way", ["stop", "umount"])
def test_it_ends_after_reloads_deaths_and_restarts(systemd, way):
    """The service, every process, and the mount."""
    for interrupt in (
        lambda: systemd.systemctl("reload", systemd.unit),
        lambda: os.kill(systemd.worker(), signal.SIGKILL),
        lambda: systemd.systemctl("reload", systemd.unit),
        systemd.restart,
        lambda: systemd.systemctl("reload", systemd.unit),
    ):
        interrupt()
        wait_for(systemd.worker, "a worker")
        wait_for(lambda: systemd.ask()["terms"], "its answer")
    if way == "stop":
        assert systemd.stop() == 0
    else:
        wait_for(lambda: systemd.inside("umount", systemd.mountpoint).returncode == 0, "umount")
    wait_for(lambda: systemd.property("ActiveState") == "inactive", "the end of the service")
    assert not systemd.mounts() and not systemd.keeper()


def test_loadcredential_makes_a_secret_readable(managers, source):
    """With LoadCredential= the mount is visible to all, and the worker can read the credential."""
    with open(source, "wb") as file:
        file.write(b"key")
    systemd = managers("systemd", 'term "key" { file { path = "${CREDENTIALS_DIRECTORY}/key" } }')
    systemd.drop_in(f"LoadCredential=key:{source}")
    systemd.start()
    assert systemd.read("key") == b"key"
    systemd.restart()
    systemd.crash()
    assert systemd.read("key") == b"key"
    wait_for(lambda: systemd.status("key")["state"] == "fresh", "an attempt")


def test_an_aborted_connection_restarts_the_service(systemd, directory):
    """Restart=on-failure: it is no orderly end."""
    number = systemd.mounts()[systemd.mountpoint].split(":")[1]
    connections = os.path.join(directory, "connections")
    os.mkdir(connections)
    subprocess.run(["mount", "-t", "fusectl", "fusectl", connections], check=True)
    try:
        with open(f"{connections}/{number}/abort", "w", encoding="ascii") as file:
            file.write("1")
    finally:
        subprocess.run(["umount", connections], check=True)
    wait_for(lambda: systemd.property("NRestarts") == "1", "the restart")
    wait_for(lambda: systemd.property("ActiveState") == "active", "the new mount")
    assert systemd.read("word") == b"one" and systemd.events("aborted")


def test_a_stop_during_a_restart_unmounts(systemd):
    """The mount that waits for the next keeper is unmounted when there will be none."""
    keeper = systemd.keeper()
    suspend(systemd.worker())  # so that its end takes a while
    systemd.systemctl("restart", "--no-block", systemd.unit)
    wait_for(
        lambda: systemd.property("SubState") == "stop-sigterm" or systemd.keeper() != keeper,
        "the restart",
    )
    assert systemd.stop() == 0
    assert not systemd.mounts()


# ---------------------------------------------------------------------------- notifications


def test_the_service_is_ready_after_the_first_attempts(managers, origin):
    gate = threading.Event()
    origin.put("/slow", b"body")
    origin.always("/slow", hold(gate))
    fake = managers(
        "fake",
        "start_timeout = 1h\n"
        f'term "slow" {{ http {{ url = "{origin.url("/slow")}" stall_timeout = 1h }} }}',
    )
    fake.spawn()
    wait_for(fake.mounts, "the mount")
    wait_for(lambda: origin.asked("/slow"), "the request")
    wait_for(lambda: len(fake.times_of("WATCHDOG=1")) > 1, "signs of life")
    wait_for(lambda: fake.times_of("EXTEND_TIMEOUT_USEC=30000000"), "more time for the start")
    assert not fake.times_of("READY=1")
    gate.set()
    ready = wait_for(lambda: fake.times_of("READY=1"), "READY=1")
    assert fake.read("slow") == b"body"
    wait_for(lambda: fake.times_of("WATCHDOG=1", ready[0]), "signs of life")
    assert not fake.times_of("EXTEND_TIMEOUT_USEC=30000000", ready[0])
    assert len(fake.times_of("READY=1")) == 1


@pytest.mark.builds("plain")  # the keeper's work, which is the same in all builds; it takes 10 s
def test_signs_of_life_come_from_the_worker(fake):
    """Signs of life come from the worker: they end with it, and begin again with another one."""
    worker = fake.worker()
    wait_for(lambda: fake.times_of("WATCHDOG=1"), "a sign of life")
    suspend(worker)
    stopped = time.monotonic()
    wait_for(lambda: fake.worker() not in (None, worker), "another worker")
    replaced = fake.events("worker_hangs")
    assert replaced and int(replaced[0]["silent_for_ms"]) >= 10000
    wait_for(lambda: len(fake.times_of("WATCHDOG=1", stopped + 9)) > 2, "signs of life")
    assert len(fake.times_of("WATCHDOG=1", stopped + 3)) == len(fake.times_of("WATCHDOG=1", stopped + 9))


def test_a_crash_loop_keeps_the_mount(build, fake):
    """Workers die before they begin: the keeper stays, sends signs of life, and keeps the mount."""
    if build.sanitized:
        pytest.skip("sanitizers need more memory")
    keeper, worker = fake.keeper(), fake.worker()
    with locked_in_memory(fake.at("big")):
        wait_for(lambda: fake.is_warm("big"), "a warm file")
        # Room for the program but not for its libraries: it exits, without a fault.
        limits = resource.prlimit(keeper, resource.RLIMIT_AS, (4 << 20, resource.RLIM_INFINITY))
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: len(fake.events("worker_died")) >= 4, "a few deaths")
        assert fake.keeper() == keeper
        assert fake.read("big") == BIG
    seen = time.monotonic()
    wait_for(lambda: fake.times_of("WATCHDOG=1", seen), "a sign of life")
    assert not fake.times_of("READY=1", seen)
    resource.prlimit(keeper, resource.RLIMIT_AS, limits)
    goes_on(fake, lambda: None)
    assert fake.ask()["restarts"] >= 4


def test_a_restart_into_a_crash_loop_recovers(fake):
    """The start may time out, but the mount stays, and it recovers once the cause is removed."""
    catalog = os.path.join(fake.store, "catalog.db")
    owner = os.stat(catalog)
    seen = os.stat(fake.at("big"))
    assert fake.end(signal.SIGUSR1) == 0
    os.chown(catalog, 0, 0)
    os.chmod(catalog, 0o600)
    fake.spawn()
    wait_for(lambda: len(fake.events("worker_died")) > 2, "a few deaths")
    died = time.monotonic()
    wait_for(lambda: fake.times_of("WATCHDOG=1", died), "a sign of life")
    assert not fake.times_of("READY=1", died) and not fake.times_of("EXTEND_TIMEOUT_USEC=30000000", died)
    os.chown(catalog, owner.st_uid, owner.st_gid)
    wait_for(lambda: fake.times_of("READY=1", died), "READY=1")
    assert os.stat(fake.at("big")).st_ino == seen.st_ino
    goes_on(fake, fake.restart)


def test_the_manager_keeps_three_descriptors(fake):
    assert fake.kept_names() == ["config", "device-N", "slots"]
    fake.restart()
    assert fake.kept_names() == ["config", "device-N", "slots"]
    assert fake.times_of("STOPPING=1")
    assert fake.end(signal.SIGTERM) == 0
    assert fake.kept_names() == []


def test_umount_ends_the_service(fake):
    # Busy while the visitor looks at the new versions.
    wait_for(lambda: subprocess.run(["umount", fake.mountpoint]).returncode == 0, "umount")
    assert fake.process.wait(HANGS_S) == 0
    wait_for(lambda: fake.kept_names() == [], "nothing to be kept")


def test_sigusr1_without_a_manager_unmounts(fake):
    """No manager would keep the mount."""
    fake.stop()
    fake.spawn(alone=True)
    wait_for(lambda: fake.mounts(), "the mount")
    wait_for(lambda: fake.read("word") == b"one", "the term")
    assert fake.end(signal.SIGUSR1) == 0
    assert not fake.mounts()


# ---------------------------------------------------------------------------- path units


def test_a_path_unit_follows_a_term(managers, build, source, directory):
    """PathChanged= watches the file and its directories."""
    service = managers("systemd", config_of(source))
    said = os.path.join(directory, "said")
    service.add_unit("follow.path", f"[Path]\nPathChanged={service.mountpoint}/big\n")
    service.add_unit(
        "follow.service",
        f"[Service]\nType=oneshot\nExecStart=/bin/sh -c 'sha256sum <{service.mountpoint}/big >>{said}'\n",
    )
    service.start()
    assert service.systemctl("start", "follow.path").returncode == 0
    for i in range(3):
        # A change while the service runs may be missed.
        wait_for(lambda: service.property("SubState", "follow.path") == "waiting", "the watch")
        body = BIG + b"%d" % i
        with open(source + ".new", "wb") as file:
            file.write(body)
        os.rename(source + ".new", source)
        digest = hashlib.sha256(body).hexdigest()

        def was_seen(digest=digest):
            if not os.path.exists(said):
                return False
            with open(said, encoding="ascii") as file:
                return digest in file.read()

        wait_for(was_seen, "the unit to see the update")
