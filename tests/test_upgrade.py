"""rpt upgrade: another build takes over the mount."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter

import pytest
from builds import other_build, put_program, version_of
from readers import Readers, static
from rptmount import (
    HANGS_S,
    NOBODY,
    as_user,
    drop_pages,
    open_paths,
    read,
    state,
    suspend,
    wait_for,
)
from worker_look import children


@pytest.fixture
def installed(mount, build):
    """A factory for mounts whose program is a copy that can be replaced."""

    def make(config, **how):
        m = mount(config, start=False, **how)
        m.binary = os.path.join(m.dir, "installed")
        shutil.copy(build.rptfs, m.binary)
        return m.start()

    return make


def test_an_upgrade_keeps_the_mount(installed):
    m = installed(static("a", "cold"))
    fd = os.open(m.at("a"), os.O_RDONLY)
    inode = os.fstat(fd).st_ino
    keeper, worker, old = m.keeper, m.worker, version_of(m.binary)
    other_build(m.binary)
    new = version_of(m.binary)
    assert new != old and m.status()["rptfs_version"] == old

    said = m.rpt("upgrade")
    assert said.splitlines() == [
        f"upgraded from {old}",
        f"worker: {new}, process {m.worker}",
        f"keeper: {new}, process {keeper}",
    ]
    status = m.status()
    assert status["rptfs_version"] == new and status["pid"] == m.worker != worker
    assert status["keeper"] == {"version": new, "pid": keeper}
    assert status["restarts"] == 0, "an upgrade is no death"
    drop_pages(fd)
    assert os.read(fd, 100) == b"this is a" and os.stat(m.at("a")).st_ino == inode
    assert m.read("cold") == b"this is cold"
    os.close(fd)
    # The new keeper does what the old one did.
    m.wait_worker(after=m.kill_worker())
    assert m.status()["rptfs_version"] == new and m.status()["restarts"] == 1


def test_upgrades_work_in_both_directions(installed):
    """It is done several times while a reader is active."""
    m = installed(static("a", "b"))
    with Readers(m, ("a", "b")) as readers:
        for _ in range(4):
            other_build(m.binary)
            answer = json.loads(m.rpt("upgrade", "--json"))
            assert answer["worker"]["version"] == version_of(m.binary)
            assert answer["keeper"]["version"] == version_of(m.binary)
    assert not readers.failures


def test_a_signal_starts_an_upgrade(installed):
    m = installed(static("a"))
    other_build(m.binary)
    os.kill(m.keeper, signal.SIGUSR2)
    wait_for(lambda: m.events("upgraded"), "the upgrade")
    assert m.status()["rptfs_version"] == version_of(m.binary)


def test_the_configuration_is_read_again(installed):
    m = installed(static("a"))
    m.configure(static("a", "new"))
    m.rpt("upgrade")
    m.wait_content("new", b"this is new")
    m.configure(static("new"))
    m.rpt("upgrade")
    assert m.ls() == ["new"]


def refused(m, *says):
    """The upgrade fails for that reason, and nothing has changed."""
    before, worker = m.status(), m.worker
    m.expect("event=upgrade_refused")
    done = m.run_rpt("upgrade")
    assert done.returncode == 1 and not done.stdout
    for text in says:
        assert text in done.stderr
    assert m.worker == worker and m.status()["rptfs_version"] == before["rptfs_version"]
    assert m.read("a") == b"this is a"


def test_a_wrong_configuration_is_refused(installed):
    m = installed(static("a"))
    m.configure(static("a") + "nonsense = 1\n")
    refused(m, f"{m.conf}:4: ", "nonsense")


def test_a_change_that_needs_a_new_mount_is_refused(installed):
    m = installed(static("a"))
    with open(m.conf, "w", encoding="utf-8") as file:
        file.write(f'mountpoint = "{m.path}"\nstore = "{m.dir}/other"\n{static("a")}')
    refused(m, "store: ", f'{m.dir}/other" while it is mounted')


@pytest.mark.parametrize("option", ["sandbox = no", "noexec = yes"])
def test_an_option_that_needs_a_restart_is_refused(installed, option):
    m = installed(static("a"))
    m.configure(static("a") + option + "\n")
    refused(m, option.split()[0] + ": ", "while it is mounted")


def test_a_change_of_the_publish_mode_is_refused(installed, build):
    m = installed(static("a"))
    m.configure(static("a"), publish_mode="notify" if build.publish_mode == "auto" else "auto")
    refused(m, "publish_mode: ", "while it is mounted")


def compiled(directory, body):
    """A program of a few lines of C."""
    return compiled_source(
        directory,
        "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <unistd.h>\n"
        f"int main(int argc, char **argv) {{ {body} }}\n",
    )


def compiled_source(directory, text):
    source, program = os.path.join(directory, "program.c"), os.path.join(directory, "program")
    with open(source, "w", encoding="utf-8") as file:
        file.write(text)
    subprocess.run(["gcc", "-o", program, source], check=True)
    with open(program, "rb") as file:
        return file.read()


@pytest.mark.parametrize(
    "body, says",
    [
        ('fputs("no libfuse4\\nand more\\n", stderr); return 3;', "no libfuse4\n"),
        ("return 3;", "exit code 3"),
        (None, "Exec format error"),
        ("abort();", "signal 6"),
    ],
    ids=["says why", "silent", "no program", "crashes"],
)
def test_a_program_that_does_not_start_is_refused(installed, directory, body, says):
    m = installed(static("a"))
    put_program(m.binary, compiled(directory, body) if body else b"not a program")
    refused(m, says)


def test_a_missing_program_is_refused(installed):
    m = installed(static("a"))
    os.unlink(m.binary)
    refused(m, "installed: No such file or directory")


def test_a_worker_that_does_not_become_ready_is_refused(installed):
    """The new program renders the configuration, but its worker dies beside the old one."""
    m = installed(static("a"))
    real = os.path.join(m.dir, "real")
    shutil.copy(m.binary, real)
    body = f'''if (argc > 1 && strcmp(argv[1], "--worker") == 0) return 7;
        execv("{real}", argv); return 8;'''
    put_program(m.binary, compiled(m.dir, body))
    refused(m, "exit code 7")


def waits_for_its_turn(pid):
    """Does the standby's main thread wait for a message of the keeper?"""
    try:
        if len(os.listdir(f"/proc/{pid}/task")) < 2:
            return False
        return b"wait_for_more_packets" in read(f"/proc/{pid}/wchan")
    except FileNotFoundError:
        return False


def test_the_old_worker_returns_if_the_standby_dies(installed):
    """The old worker has been asked to exit by then: it is started again."""
    m = installed(static("a", "cold"))
    fd = os.open(m.at("a"), os.O_RDONLY)
    old = m.worker
    # On a busy machine the keeper may find that the stopped worker hangs.
    m.expect("event=upgrade_refused", "event=worker_(hangs|died)")
    suspend(old)
    os.kill(m.keeper, signal.SIGUSR2)

    def ready():
        return [pid for pid in children(m.keeper, "worker") if pid != old and waits_for_its_turn(pid)]

    (standby,) = wait_for(ready, "the new worker to be ready")
    os.kill(standby, signal.SIGKILL)
    wait_for(lambda: m.events("upgrade_refused"), "the end of the upgrade")
    with contextlib.suppress(ProcessLookupError):
        os.kill(old, signal.SIGCONT)
    m.wait_worker(after=old)
    drop_pages(fd)
    assert os.read(fd, 100) == b"this is a" and m.read("cold") == b"this is cold"
    os.close(fd)


# A worker that takes over as rptfs-dying, and on SIGUSR1 says that it serves, and ends.
DYING_WORKER = """
    #include <signal.h>
    #include <stdint.h>
    #include <stdlib.h>
    #include <string.h>
    #include <sys/prctl.h>
    #include <sys/socket.h>
    #include <unistd.h>
    static volatile sig_atomic_t is_told;
    static int channel;
    static void tell(int number) { (void)number; is_told = 1; }
    static void say(uint32_t type) { send(channel, &type, sizeof(type), MSG_NOSIGNAL); }
    int main(int argc, char **argv) {
        uint32_t message[1024] = { 0 };
        if (argc < 3 || strcmp(argv[1], "--worker") != 0) { execv("REAL", argv); return 8; }
        signal(SIGUSR1, tell);
        channel = atoi(argv[2]);
        say('w');
        for (; message[0] != 'g'; usleep(50000)) {
            say('a');
            recv(channel, message, sizeof(message), MSG_DONTWAIT);
        }
        prctl(PR_SET_NAME, "rptfs-dying");
        for (; !is_told; usleep(50000))
            say('a');
        say('a');
        say('s');
        return 7;
    }
"""


def test_the_last_words_of_a_dead_worker_complete_no_upgrade(installed):
    """They are read after it was reaped: nobody will ever say that this process has ended."""
    m = installed(static("a", "cold"))
    real, old = os.path.join(m.dir, "real"), m.worker
    shutil.copy(m.binary, real)
    put_program(m.binary, compiled_source(m.dir, DYING_WORKER.replace("REAL", real)))
    m.expect("event=upgrade_failed")
    os.kill(m.keeper, signal.SIGUSR2)
    (dying,) = wait_for(lambda: children(m.keeper, "dying"), "the new worker to take over")
    suspend(m.keeper)
    os.kill(dying, signal.SIGUSR1)
    wait_for(lambda: state(dying) == "Z", "the death of the new worker")
    os.kill(m.keeper, signal.SIGCONT)
    m.wait_worker(after=old)
    assert m.events("upgrade_failed", reason="exit code 7") and m.read("cold") == b"this is cold"


def upgrade_again(m):
    other_build(m.binary)
    m.rpt("upgrade")


def kinds_of_descriptors(pid):
    """What the process has open, without numbers."""
    return Counter(re.sub(r"\d+", "N", path) for path in open_paths(pid).values())


def test_processes_inherit_no_more_after_an_upgrade(installed):
    """A worker that held the keeper's handle of the mount would keep the mount from ending."""
    m = installed(static("a"))
    m.wait_worker(after=m.kill_worker())
    children_of = {name: m.child(name) for name in ("worker", "visitor") if m.child(name)}
    expected = {name: kinds_of_descriptors(pid) for name, pid in children_of.items()}
    upgrade_again(m)
    m.wait_worker(after=m.kill_worker())
    for name, kinds in expected.items():
        more = None

        def has_no_more(name=name, kinds=kinds):
            nonlocal more
            more = kinds_of_descriptors(m.child(name)) - kinds
            return not more

        wait_for(has_no_more, f"the {name} to have no more descriptors than before")


WAYS_TO_END = {
    "umount": lambda m: wait_for(lambda: subprocess.run(["umount", m.path]).returncode == 0, "umount"),
    "lazy umount": lambda m: subprocess.run(["umount", "-l", m.path], check=True),
    "SIGTERM": lambda m: os.kill(m.keeper, signal.SIGTERM),
    "SIGINT": lambda m: os.kill(m.keeper, signal.SIGINT),
}


@pytest.mark.parametrize("way", WAYS_TO_END)
def test_it_ends_after_upgrades_and_deaths(installed, way):
    """Everything: stop() checks that no process, mount or socket is left."""
    m = installed(static("a", "b"))
    upgrade_again(m)
    upgrade_again(m)
    m.wait_worker(after=m.kill_worker())
    upgrade_again(m)
    m.wait_worker(after=m.kill_worker())
    assert m.read("a") == b"this is a"
    WAYS_TO_END[way](m)
    assert m.process.wait(HANGS_S) == 0
    m.stop()


def test_unmounted_during_an_upgrade(installed):
    """The old worker learns that the mount is gone; the new one has to learn it as well."""
    m = installed(static("a"))
    old = m.worker
    m.expect("event=worker_(hangs|died)")
    suspend(old)
    os.kill(m.keeper, signal.SIGUSR2)
    wait_for(
        lambda: [pid for pid in children(m.keeper, "worker") if pid != old and waits_for_its_turn(pid)],
        "the new worker to be ready",
    )
    subprocess.run(["umount", "-l", m.path], check=True)
    os.kill(old, signal.SIGCONT)
    assert m.process.wait(HANGS_S) == 0
    m.stop()


def test_unmounted_at_any_time_of_an_upgrade(installed):
    for i in range(10):
        m = installed(static("a"))
        m.expect("event=upgrade_refused", "event=worker_died")
        os.kill(m.keeper, signal.SIGUSR2)
        time.sleep(i * 0.03)  # somewhere else in the upgrade each time
        subprocess.run(["umount", "-l", m.path], check=True)
        assert m.process.wait(HANGS_S) == 0
        m.stop()


def test_upgraded_while_only_open_files_hold_the_mount(installed):
    m = installed(static("a"))
    fd = os.open(m.at("a"), os.O_RDONLY)
    subprocess.run(["umount", "-l", m.path], check=True)
    other_build(m.binary)
    os.kill(m.keeper, signal.SIGUSR2)
    wait_for(lambda: m.events("upgraded"), "the upgrade")
    m.kill_worker()
    drop_pages(fd)
    assert os.read(fd, 100) == b"this is a"
    os.close(fd)
    assert m.process.wait(HANGS_S) == 0
    m.stop()


def test_only_the_owner_may_upgrade(installed):
    m = installed(static("a"))
    done = as_user(NOBODY, m.build.rpt, "-m", m.path, "upgrade")
    assert done.returncode == 1 and "only root and the owner of the mount" in done.stderr
    assert m.status()["restarts"] == 0


def test_an_upgrade_takes_no_terms(installed):
    m = installed(static("a"))
    done = m.run_rpt("upgrade", "a")
    assert done.returncode == 1 and "no terms can be given to upgrade" in done.stderr
