"""Mounted on demand, by systemd and by autofs: the first look at the directory mounts it."""

import os
import subprocess

import pytest
from rptmount import HANGS_S, wait_for
from test_systemd import managers  # noqa: F401, a fixture

CONFIG = 'term "d/t" { static { data = "hello" } } term "u" { file { path = "/etc/hostname" } }\n'
MOUNTS = "/proc/self/mountinfo"


@pytest.fixture
def machine(managers):  # noqa: F811
    """A nested systemd, in which rptfs is installed and not started."""
    return managers("systemd", CONFIG)


def types_at(machine, path):
    """The types of what is mounted there, the lowest first."""
    lines = machine.inside("cat", MOUNTS).stdout.splitlines()
    return [line.split(" - ")[1].split()[0] for line in lines if line.split()[4] == path]


def ask_for(machine, path):
    done = machine.inside("cat", path)
    log = machine.inside("journalctl", "--no-pager", "-n", "50").stdout
    assert done.returncode == 0, done.stderr + log
    return done.stdout


def has_ended(machine):
    return machine.inside("pgrep", "rptfs-").returncode != 0


def test_by_systemd(machine):
    where = machine.mountpoint
    escaped = subprocess.run(
        ["systemd-escape", "--path", where], check=True, capture_output=True, text=True
    ).stdout.strip()
    machine.add_unit(
        f"{escaped}.mount",
        "[Unit]\nDefaultDependencies=no\n[Mount]\nWhat=test\nType=fuse.rptfs\nTimeoutSec=60\n"
        f"Where={where}\nOptions=noexec,_netdev,x-systemd.automount\n",
    )
    machine.add_unit(
        f"{escaped}.automount", f"[Unit]\nDefaultDependencies=no\n[Automount]\nWhere={where}\n"
    )
    for _ in range(2):
        assert machine.systemctl("start", f"{escaped}.automount").returncode == 0
        assert types_at(machine, where) == ["autofs"]
        assert ask_for(machine, f"{where}/d/t") == "hello"
        assert types_at(machine, where) == ["autofs", "fuse.rptfs"]
        for unit in ("mount", "automount"):
            stopped = machine.systemctl("stop", f"{escaped}.{unit}")
            assert stopped.returncode == 0, stopped.stderr
        wait_for(lambda: has_ended(machine), "the end of rptfs")


@pytest.mark.parametrize("direct", [True, False])
def test_by_autofs(machine, direct):
    above = os.path.join(machine.dir, "auto")
    where = os.path.join(above, "data")
    os.makedirs(where if direct else above)
    files = {
        "auto.master": f"{'/-' if direct else above} {machine.dir}/auto.map --timeout=600\n",
        "auto.map": f"{where if direct else 'data'} -fstype=fuse.rptfs,nodev :test\n",
    }
    for name, text in files.items():
        with open(os.path.join(machine.dir, name), "w", encoding="utf-8") as file:
            file.write(text)
    pid = machine.root.split("/")[2]
    with open(os.path.join(machine.dir, "automount.log"), "wb") as log:
        daemon = subprocess.Popen(
            ["nsenter", "-t", pid, "-m", "-p", "-C", "setsid", "automount", "-fvC", "-p",
             f"{machine.dir}/automount.pid", f"{machine.dir}/auto.master"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        wait_for(lambda: "autofs" in types_at(machine, where if direct else above), "the trigger")
        assert ask_for(machine, f"{where}/d/t") == "hello"
        assert types_at(machine, where)[-1] == "fuse.rptfs"
    finally:
        machine.inside("umount", where)
        machine.inside("pkill", "-TERM", "-x", "automount")
        assert daemon.wait(HANGS_S) is not None
    wait_for(lambda: has_ended(machine), "the end of rptfs")
