"""As a service: READY=1, the watchdog, and restarts that keep the mount.

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
from origin import serve
from rptmount import drop_pages, locked_in_memory, wait_for
from service import FakeManager, NoSystemd, Systemd

BIG = bytes(range(256)) * 4096


@pytest.fixture
def source(directory):
    """A file that the term "big" comes from."""
    path = os.path.join(directory, "source")
    with open(path, "wb") as file:
        file.write(BIG)
    return path


@pytest.fixture
def managers(build, directory):
    """A factory: managers(kind, config) gives a Service that has not been started."""
    made = []
    if build.sanitized:
        os.chmod(directory, 0o1777)  # for the reports of the worker, which is another user

    def make(kind, config):
        if kind == "systemd" and build.sanitized:
            pytest.skip("sanitizers need what the unit forbids")
        try:
            service = {"fake": FakeManager, "systemd": Systemd}[kind](build, directory, config)
        except NoSystemd as error:
            pytest.skip(f"no systemd can be nested here: {error}")
        made.append(service)
        return service

    yield make
    for service in made:
        service.close()


@pytest.fixture(params=["fake", "systemd"])
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
    """Opens and reads a term in a tight loop, from the source again and again."""

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
        self.thread.join(30)
        assert not self.thread.is_alive(), "the reader hangs"
        assert not self.failures, self.failures[:5]


def goes_on(service, interrupt):
    """What readers have before the interruption, they have after it."""
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
    wait_for(lambda: reader.rounds > rounds + 2, "the reader to go on", 30)
    reader.stop()
    after = os.stat(service.at("big"))
    assert (after.st_dev, after.st_ino) == (seen.st_dev, seen.st_ino)
    assert service.read("word") == b"one"
    assert service.events("mounted_anew") == []


# ---------------------------------------------------------------------------- both managers


def mode_of(service):
    return os.getxattr(service.at(""), "user.rpt.publish_mode").decode()


def test_names_move_by_rename(service, build):
    """Also after a restart: the handle of the mount is made anew."""
    expected = "rename" if build.publish_mode == "auto" else "notify"
    assert mode_of(service) == expected, service.log()
    service.restart()
    assert mode_of(service) == expected
    assert service.events("no_handle") == service.events("publish_mode") == []


def test_start_and_stop(service):
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


def test_update_after_restart(service, source):
    service.restart()
    with open(source + ".new", "wb") as file:
        file.write(b"new")
    os.rename(source + ".new", source)
    wait_for(lambda: service.read("big") == b"new", "the new version", 20)


def test_dead_keeper(service):
    keeper = service.keeper()
    goes_on(service, service.crash)
    assert service.keeper() != keeper
    assert service.stop() == 0
    assert not service.mounts()


@pytest.mark.parametrize("kind", ["fake", "systemd"])
def test_store_in_memory(managers, source, kind):
    """Snapshots outlive the keeper that held them, though their source is gone."""
    service = managers(kind, config_of(source))
    service.configure(store="memory")
    service.start()
    os.rename(source, source + ".gone")
    goes_on(service, service.restart)
    goes_on(service, service.crash)
    assert service.stop() == 0


def test_mountpoint_changed(service):
    """The old place is left in order."""
    other = service.mountpoint + "2"
    os.mkdir(other)
    service.configure(mountpoint=other)
    service.restart()
    assert list(service.mounts()) == [other]
    service.mountpoint = other
    assert service.read("word") == b"one"
    assert service.stop() == 0
    assert not service.mounts()


def test_broken_configuration(service):
    """A restart goes on with the one that was in effect, and says so."""
    service.configure("nonsense {")
    goes_on(service, service.restart)
    assert service.events("config_refused")
    assert re.search(r"test\.conf:\d+: ", service.log())
    service.configure(config_of("/nowhere") + 'term "more" { static { data = "two" } }')
    service.restart()
    assert service.read("more") == b"two"


def test_store_changed(service):
    """The connection cannot be gone on with: there is another one."""
    before = os.stat(service.at("word"))
    service.configure(store=service.store + "2")
    service.restart()
    assert service.events("mounted_anew")
    assert os.stat(service.at("word")).st_dev != before.st_dev
    assert service.read("big") == BIG
    assert list(service.mounts()) == [service.mountpoint]
    assert service.stop() == 0
    assert not service.mounts()


def test_unmounted_meanwhile(service):
    """What was kept of a mount that has gone is given up, also if it still has users."""
    assert service.read("word") == b"one"
    held = os.open(service.at("word"), os.O_RDONLY)
    before = os.fstat(held)
    for pid in (service.keeper(), service.worker()):
        os.kill(pid, signal.SIGSTOP)  # they must not see it
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


def test_unit(systemd):
    """Installed where systemd looks, understood in full, and as exposed as we know it to be."""
    unit = f"/usr/local/lib/systemd/system/{systemd.unit.replace('test', '')}"
    assert systemd.property("FragmentPath") == unit
    done = systemd.inside("systemd-analyze", "verify", "--man=no", unit)
    assert (done.returncode, done.stderr) == (0, "")
    instance = os.path.join(systemd.dir, systemd.unit)
    shutil.copy(systemd.dir + unit, instance)
    done = systemd.inside("systemd-analyze", "security", "--offline=true", "--threshold=51", instance)
    assert done.returncode == 0, done.stdout
    assert systemd.property("NFileDescriptorStore") == "3"


def test_hanging_worker(systemd):
    """Another worker comes, and systemd is content."""
    worker, keeper = systemd.worker(), systemd.keeper()
    goes_on(systemd, lambda: os.kill(worker, signal.SIGSTOP))
    assert systemd.worker() != worker and systemd.keeper() == keeper
    assert systemd.property("ActiveState") == "active"


def test_hanging_keeper(managers, source):
    """The watchdog of systemd strikes, and the mount goes on."""
    systemd = managers("systemd", config_of(source))
    systemd.drop_in("WatchdogSec=3s")
    systemd.start()
    keeper = systemd.keeper()
    os.kill(keeper, signal.SIGSTOP)

    def restarted():
        return systemd.keeper() not in (None, keeper) and systemd.property("ActiveState") == "active"

    goes_on(systemd, lambda: wait_for(restarted, "the restart", 30))
    assert systemd.property("NRestarts") == "1"


def test_reload(systemd, source):
    """New terms without a pause; what is wrong is the outcome of systemctl reload."""
    keeper = systemd.keeper()
    systemd.configure(config_of(source) + 'term "more" { static { data = "two" } }')
    goes_on(systemd, lambda: systemd.systemctl("reload", systemd.unit))
    wait_for(lambda: os.path.exists(systemd.at("more")), "the first version of what is new")
    assert systemd.read("more") == b"two"
    assert systemd.keeper() == keeper
    systemd.configure("nonsense {")
    assert systemd.systemctl("reload", systemd.unit).returncode != 0
    assert systemd.read("more") == b"two"
    assert systemd.property("ActiveState") == "active"
    systemd.configure(config_of(source))
    goes_on(systemd, systemd.restart)  # the keeper that was executed by another one has not forgotten


def test_credential(managers, source):
    """LoadCredential= leaves the mount where everybody sees it, and reading to who may."""
    with open(source, "wb") as file:
        file.write(b"key")
    systemd = managers("systemd", 'term "key" { file { path = "${CREDENTIALS_DIRECTORY}/key" } }')
    systemd.drop_in(f"LoadCredential=key:{source}")
    systemd.start()
    assert systemd.read("key") == b"key"
    systemd.restart()
    systemd.crash()
    assert systemd.read("key") == b"key"
    wait_for(lambda: systemd.status("key")["state"] == "fresh", "an attempt", 20)


def test_stop_during_restart(systemd):
    """The mount that waits for the next keeper goes away when none is to come."""
    keeper = systemd.keeper()
    os.kill(systemd.worker(), signal.SIGSTOP)  # its end takes a while
    systemd.systemctl("restart", "--no-block", systemd.unit)
    wait_for(
        lambda: systemd.property("SubState") == "stop-sigterm" or systemd.keeper() != keeper,
        "the restart",
    )
    assert systemd.stop() == 0
    assert not systemd.mounts()


# ---------------------------------------------------------------------------- what is said


def test_ready_after_first_attempts(managers, origin):
    gate = threading.Event()

    def behave(x):
        gate.wait(20)
        serve(x)

    origin.put("/slow", b"body")
    origin.then("/slow", behave)
    fake = managers("fake", f'term "slow" {{ http {{ url = "{origin.url("/slow")}" }} }}')
    fake.spawn()
    wait_for(fake.mounts, "the mount")
    wait_for(lambda: origin.asked("/slow"), "the request")
    wait_for(lambda: len(fake.told("WATCHDOG=1")) > 1, "signs of life")
    assert fake.told("EXTEND_TIMEOUT_USEC=30000000")
    assert not fake.told("READY=1")
    gate.set()
    ready = wait_for(lambda: fake.told("READY=1"), "READY=1")
    assert fake.read("slow") == b"body"
    wait_for(lambda: fake.told("WATCHDOG=1", ready[0]), "signs of life")
    assert not fake.told("EXTEND_TIMEOUT_USEC=30000000", ready[0])
    assert len(fake.told("READY=1")) == 1


def test_watchdog(fake):
    """Signs of life are the worker's: they end with it, and come back with another one."""
    worker = fake.worker()
    wait_for(lambda: fake.told("WATCHDOG=1"), "a sign of life")
    os.kill(worker, signal.SIGSTOP)
    stopped = time.monotonic()
    wait_for(lambda: fake.worker() not in (None, worker), "another worker", 30)
    replaced = fake.events("worker_hangs")
    assert replaced and int(replaced[0]["silent_for_ms"]) >= 10000
    wait_for(lambda: len(fake.told("WATCHDOG=1", stopped + 9)) > 2, "signs of life")
    assert len(fake.told("WATCHDOG=1", stopped + 3)) == len(fake.told("WATCHDOG=1", stopped + 9))


def test_crash_loop(build, fake):
    """Workers that cannot even begin: the keeper stays, is no less alive, and so is the mount."""
    if build.sanitized:
        pytest.skip("sanitizers cannot do with less memory")
    keeper, worker = fake.keeper(), fake.worker()
    with locked_in_memory(fake.at("big")):
        wait_for(lambda: fake.is_warm("big"), "a warm file")
        # Room for the program but not for its libraries: it exits, without a fault.
        limits = resource.prlimit(keeper, resource.RLIMIT_AS, (4 << 20, resource.RLIM_INFINITY))
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: len(fake.events("worker_died")) >= 4, "a few deaths", 20)
        assert fake.keeper() == keeper
        assert fake.read("big") == BIG
    seen = time.monotonic()
    wait_for(lambda: fake.told("WATCHDOG=1", seen), "a sign of life")
    assert not fake.told("READY=1", seen)
    resource.prlimit(keeper, resource.RLIMIT_AS, limits)
    goes_on(fake, lambda: None)
    assert fake.ask()["restarts"] >= 4


def test_restart_into_a_crash_loop(fake):
    """The start may time out, the mount stays; it goes on when the reason is gone."""
    catalog = os.path.join(fake.store, "catalog.db")
    owner = os.stat(catalog)
    seen = os.stat(fake.at("big"))
    assert fake.end(signal.SIGUSR1) == 0
    os.chown(catalog, 0, 0)
    os.chmod(catalog, 0o600)
    fake.spawn()
    wait_for(lambda: len(fake.events("worker_died")) > 2, "a few deaths")
    died = time.monotonic()
    wait_for(lambda: fake.told("WATCHDOG=1", died), "a sign of life")
    assert not fake.told("READY=1", died) and not fake.told("EXTEND_TIMEOUT_USEC=30000000", died)
    os.chown(catalog, owner.st_uid, owner.st_gid)
    wait_for(lambda: fake.told("READY=1", died), "READY=1", 20)
    assert os.stat(fake.at("big")).st_ino == seen.st_ino
    goes_on(fake, fake.restart)


def test_what_is_kept(fake):
    assert fake.kept_names() == ["config", "device-N", "slots"]
    fake.restart()
    assert fake.kept_names() == ["config", "device-N", "slots"]
    assert fake.told("STOPPING=1")
    assert fake.end(signal.SIGTERM) == 0
    assert fake.kept_names() == []


def test_umount_ends_it(fake):
    subprocess.run(["umount", fake.mountpoint], check=True)
    assert fake.process.wait(10) == 0
    wait_for(lambda: fake.kept_names() == [], "nothing to be kept")


def test_without_a_manager_nobody_leaves(fake):
    """SIGUSR1 where nothing is kept unmounts."""
    fake.stop()
    fake.spawn(alone=True)
    wait_for(lambda: fake.mounts(), "the mount")
    wait_for(lambda: fake.read("word") == b"one", "the term")
    assert fake.end(signal.SIGUSR1) == 0
    assert not fake.mounts()


# ---------------------------------------------------------------------------- units that watch


def test_a_path_unit_follows_a_term(managers, build, source, directory):
    """PathChanged= of systemd, which watches the file and its directories."""
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

        wait_for(was_seen, "the unit to see the update", 20)
