"""rptfs as a service: under a service manager of a few lines, and under a real systemd.

Both start, restart, stop and reload one service with one mount, supervise it, and keep descriptors
for it. FakeManager has no requirements, and records the notifications that it receives.
"""

import array
import contextlib
import ctypes
import os
import re
import select
import signal
import socket
import subprocess
import threading
import time

from builds import TOP
from rptmount import (
    HANGS_S,
    Logged,
    ask_status,
    comm,
    private_namespace,
    refaulted_pages,
    session_processes,
    state_and_parent,
    wait_for,
    xattr,
)

SYS_KCMP = {"x86_64": 312, "aarch64": 272}[os.uname().machine]
KCMP_FILE = 0


def children(pid):
    """Pids of the child processes, without zombies."""
    found = []
    for child in map(int, filter(str.isdigit, os.listdir("/proc"))):
        with contextlib.suppress(OSError):
            state, parent = state_and_parent(child)
            if parent == pid and state != "Z":
                found.append(child)
    return found


def family(pid):
    """The process and its descendants."""
    return [pid] + [one for child in children(pid) for one in family(child)]


class Service(Logged):
    """The common part of both. root: the service's root directory as seen from here.

    A reader whose request is never answered cannot be interrupted: after LIMIT_S, abandon() ends
    the service, and with it all requests.
    """

    LIMIT_S = 3 * HANGS_S

    def __init__(self, build, directory, config):
        self.build, self.dir, self.root = build, directory, ""
        self.mountpoint = os.path.join(directory, "mnt")
        self.store = os.path.join(directory, "store")
        self.log_path = os.path.join(directory, "log")
        os.makedirs(self.mountpoint)
        self.config = config
        self.control = None
        self.conf = os.path.join(directory, "test.conf")
        self.limit = threading.Timer(self.LIMIT_S, self.abandon)
        self.limit.daemon = True
        self.limit.start()

    def configure(self, config=None, *, mountpoint=None, store=None):
        text = self.config if config is None else config
        with open(self.conf, "w", encoding="utf-8") as file:
            file.write(f'mountpoint = "{mountpoint or self.mountpoint}"\n')
            file.write(f'store = "{store or self.store}"\n{text}\n')
            file.write(f"publish_mode = {self.build.publish_mode}\n")

    def at(self, name):
        return f"{self.root}{self.mountpoint}/{name}"

    def tries(self, *command):
        """Runs it where the manager is; returns whether it succeeds."""
        return subprocess.run(command, capture_output=True).returncode == 0

    def read(self, name):
        # Unbuffered: a buffered open() asks whether the file is a terminal.
        with open(self.at(name), "rb", buffering=0) as file:
            return file.read()

    def machine(self):
        """A process in the mount namespace of the manager."""
        return "self"

    def mount_lines(self, pid=None):
        """The lines of the service's mounts in the table of that process's namespace, by default the
        manager's."""
        with open(f"/proc/{pid or self.machine()}/mountinfo", encoding="utf-8") as file:
            return [
                line for line in file
                if " fuse.rptfs " in line and line.split()[4].startswith(self.dir)
            ]  # fmt: skip

    def mounts(self, pid=None):
        """The rptfs mount points in that namespace, and their device numbers."""
        return {line.split()[4]: line.split()[2] for line in self.mount_lines(pid)}

    def namespace(self, pid=None):
        return os.readlink(f"/proc/{pid or self.machine()}/ns/mnt")

    def worker(self):
        """Pid of the worker; None if there is none."""
        found = [pid for pid in children(self.keeper() or 0) if comm(pid) == "rptfs-worker"]
        return found[0] if found else None

    def ask(self):
        """The status of all terms."""
        if not self.control or not os.path.exists(self.control):
            self.control = self.root + xattr(f"{self.root}{self.mountpoint}", "control")
        return ask_status(self.control)

    def status(self, term):
        return next(entry for entry in self.ask()["terms"] if entry["name"] == term)

    def is_warm(self, name):
        """Whether the term can be read without a request to the worker. False also if the kernel has
        just evicted something: try again."""
        before, refaults = self.ask()["fuse_requests"], refaulted_pages()
        self.read(name)
        return self.ask()["fuse_requests"] == before and refaulted_pages() == refaults


class FakeManager(Service):
    """Behaves towards rptfs as systemd 252 does with packaging/systemd/rptfs@.service."""

    kind = "fake"
    prefix = []  # of the service's command line
    preloaded = None  # a library

    def __init__(self, build, directory, config):
        super().__init__(build, directory, config)
        self.configure()
        self.kept = []  # (name, descriptor), the newest first
        self.said = []  # (time, message)
        self.process = None
        self.lock = threading.Lock()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(os.path.join(directory, "notify"))
        self.over, self.wake = os.pipe()
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()

    # Notifications

    def _listen(self):
        while True:
            ready, _, _ = select.select([self.socket, self.over], [], [])
            if self.over in ready:
                return
            with self.lock:
                message, control, _, _ = self.socket.recvmsg(4096, socket.CMSG_SPACE(16 * 4))
                fds = array.array("i")
                for level, kind, data in control:
                    if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                        fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
                self._take(message.decode(), list(fds))

    def _take(self, message, fds):
        self.said.append((time.monotonic(), message))
        fields = dict(line.split("=", 1) for line in message.splitlines())
        if "FDSTORE" in fields:
            for fd in fds:
                self._keep(fields["FDNAME"], fd)
        elif "FDSTOREREMOVE" in fields:
            for name, fd in self.kept:
                if name == fields["FDNAME"]:
                    os.close(fd)
            self.kept = [entry for entry in self.kept if entry[0] != fields["FDNAME"]]
        elif "BARRIER" in fields:
            for fd in fds:
                os.close(fd)

    def _keep(self, name, fd):
        libc, own = ctypes.CDLL(None), os.getpid()
        if any(libc.syscall(SYS_KCMP, own, own, KCMP_FILE, fd, old) == 0 for _, old in self.kept):
            os.close(fd)  # a duplicate of a kept descriptor
        else:
            self.kept.insert(0, (name, fd))

    def _drop_dead(self):
        """Drops descriptors that report an error."""
        for entry in list(self.kept):
            poll = select.poll()
            try:
                poll.register(entry[1], 0)
                dead = poll.poll(0)
            except OSError:
                dead = False
            if dead:
                os.close(entry[1])
                self.kept.remove(entry)

    def kept_names(self):
        with self.lock:
            return sorted(re.sub(r"\d+$", "N", name) for name, _ in self.kept)

    def times_of(self, word, since=0.0):
        """The times of the messages that contain this line."""
        with self.lock:
            return [at for at, message in self.said if at >= since and word in message.splitlines()]

    # Actions

    def spawn(self, alone=False):
        """Starts it with the kept descriptors; does not wait. alone: without a manager."""
        with self.lock:
            self._drop_dead()
            kept = list(self.kept)
        high = [os.dup(fd) for _, fd in kept]
        places = [f"{3 + i}<&{fd}" for i, fd in enumerate(high)]
        script = f'export LISTEN_PID=$$; exec "$@" {" ".join(places)} {" ".join(f"{fd}<&-" for fd in high)}'
        if any(fd < 3 + len(high) for fd in high):
            raise AssertionError("a duplicated descriptor has one of the target numbers")
        environment = self.build.environment(self.dir)
        if not alone:
            environment["NOTIFY_SOCKET"] = self.socket.getsockname()
        if kept:
            environment["LISTEN_FDS"] = str(len(kept))
            environment["LISTEN_FDNAMES"] = ":".join(name for name, _ in kept)
        if self.preloaded:
            environment["LD_PRELOAD"] = self.preloaded
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                ["bash", "-c", script, "-", *self.prefix, self.build.rptfs, "-f", "-c", self.conf],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
                pass_fds=high, start_new_session=True, umask=0o077,
            )  # fmt: skip
        for fd in high:
            os.close(fd)

    def start(self):
        before = time.monotonic()
        self.spawn()

        def ready():
            if self.process.poll() is not None:
                raise AssertionError(f"rptfs exited with {self.process.returncode}:\n{self.log()}")
            return self.times_of("READY=1", before)

        wait_for(ready, "READY=1")

    def run(self, *command, **how):
        subprocess.run(command, check=True, capture_output=True, **how)

    def keeper(self):
        return self.process.pid if self.process and self.process.poll() is None else None

    def end(self, number):
        """Sends the keeper a signal, waits for its end, and kills the processes that are left."""
        self.process.send_signal(number)
        code = self.process.wait(HANGS_S)
        for pid in session_processes(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not session_processes(self.process.pid), "the end of the other processes")
        # Its last message was sent before its end.
        wait_for(lambda: not select.select([self.socket], [], [], 0)[0], "the last message")
        with self.lock:
            return code

    def restart(self):
        assert self.end(signal.SIGUSR1) == 0, self.log()
        self.start()

    def crash(self):
        """kill -9 of the keeper, and the manager's reaction."""
        self.end(signal.SIGKILL)
        self.start()

    def stop(self):
        """Returns the exit code; afterwards no descriptor is kept."""
        code = self.end(signal.SIGTERM)
        self.forget()
        return code

    def forget(self):
        with self.lock:
            for _, fd in self.kept:
                os.close(fd)
            self.kept = []

    def abandon(self):
        if self.process:
            for pid in session_processes(self.process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.forget()

    def close(self):
        self.limit.cancel()
        if self.keeper():
            self.end(signal.SIGKILL)
        self.forget()
        for mountpoint in self.mounts():
            subprocess.run(["umount", "-l", mountpoint], capture_output=True)
        os.write(self.wake, b"x")
        self.thread.join(HANGS_S)
        for fd in (self.over, self.wake):
            os.close(fd)
        self.socket.close()


class PrivateManager(FakeManager):
    """Its service has a mount namespace in which the mounts of the machine neither appear nor end, as
    where systemd runs on a machine whose root is private."""

    kind = "private"
    prefix = private_namespace()
    offers = True  # as ExecStartPre= of the unit

    def offer(self):
        environment = self.build.environment(self.dir)
        environment["NOTIFY_SOCKET"] = self.socket.getsockname()
        self.run(self.build.rptfs, "--offer-namespace", env=environment)

    def offer_other(self, fd):
        """Keeps another descriptor in its place; takes it."""
        with self.lock:
            self._keep("machine", fd)

    def spawn(self, alone=False):
        if self.offers:
            self.offer()
        super().spawn(alone)


class NoSystemd(Exception):
    """systemd cannot be run here; the message is the reason."""


class Systemd(Service):
    """A real systemd in namespaces of its own, with rptfs@test.service as meson installs it.

    installed: a directory that keeps the installed files for the next one.
    """

    kind = "systemd"
    unit = "rptfs@test.service"
    # Targets that the unit refers to, explicitly or by default.
    targets = (
        "test sysinit basic shutdown umount local-fs-pre local-fs remote-fs network nss-user-lookup"
    )

    def __init__(self, build, directory, config, installed):
        super().__init__(build, directory, config)
        if not os.path.exists("/lib/systemd/systemd"):
            raise NoSystemd("systemd is not installed")
        self.outer = None
        self._install(installed)
        self._furnish()
        self.cgroup = self._make_cgroup()
        try:
            self._boot()
            self._configure()
        except BaseException:
            self.close()
            raise

    def _install(self, installed):
        if not os.path.exists(installed):
            subprocess.run(
                ["meson", "install", "--no-rebuild", "--quiet", "--destdir", installed, "-C", self.build.dir],
                check=True, capture_output=True,
            )  # fmt: skip
        subprocess.run(["cp", "-a", f"{installed}/.", self.dir], check=True, capture_output=True)

    def _furnish(self):
        units = os.path.join(self.dir, "units")
        os.makedirs(os.path.join(units, "rptfs@.service.d"))
        for target in self.targets.split():
            with open(os.path.join(units, f"{target}.target"), "w", encoding="utf-8") as file:
                file.write("[Unit]\nDefaultDependencies=no\n")
        with open(os.path.join(units, "rptfs@.service.d", "log.conf"), "w", encoding="utf-8") as file:
            file.write(f"[Service]\nStandardOutput=append:{self.log_path}\nStandardError=append:{self.log_path}\n")

    def drop_in(self, line):
        with open(os.path.join(self.dir, "units", "rptfs@.service.d", "more.conf"), "w") as file:
            file.write(f"[Service]\n{line}\n")
        assert self.systemctl("daemon-reload").returncode == 0

    def add_unit(self, name, text):
        with open(os.path.join(self.dir, "units", name), "w", encoding="utf-8") as file:
            file.write(text)
        assert self.systemctl("daemon-reload").returncode == 0

    def _make_cgroup(self):
        for place in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup"):
            if os.path.exists(f"{place}/cgroup.procs") and os.path.exists(f"{place}/cgroup.controllers"):
                try:
                    path = f"{place}/rptfs-test-{os.path.basename(self.dir)}"
                    os.mkdir(path)
                    return path
                except OSError as error:
                    raise NoSystemd(f"no control group of its own: {error}") from None
        raise NoSystemd("no control groups, version 2")

    def _boot(self):
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc", "--net",
                   "--cgroup", os.path.join(TOP, "tests", "nested-systemd"), self.dir]  # fmt: skip
        script = 'echo $$ >"$1/cgroup.procs" && shift && exec "$@"'
        with open(os.path.join(self.dir, "boot.log"), "wb") as log:
            self.outer = subprocess.Popen(
                ["bash", "-c", script, "-", self.cgroup, *command],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

        def booted():
            if self.outer.poll() is not None:
                with open(os.path.join(self.dir, "boot.log"), encoding="utf-8") as log:
                    raise NoSystemd(f"systemd cannot be nested here: {log.read().strip()[-300:]}")
            inner = children(self.outer.pid)
            if not inner or comm(inner[0]) != "systemd":
                return False
            self.root = f"/proc/{inner[0]}/root"
            return self.property("ActiveState", "test.target") == "active"

        try:
            wait_for(booted, "systemd")
        except AssertionError as error:
            raise NoSystemd(str(error)) from None

    def _configure(self):
        os.makedirs(f"{self.root}/etc/rptfs", exist_ok=True)
        self.conf = f"{self.root}/etc/rptfs/test.conf"
        self.configure()

    def inside(self, *command):
        pid = self.root.split("/")[2]
        return subprocess.run(
            ["nsenter", "-t", pid, "-m", "-p", "-C", *command],
            capture_output=True, text=True, timeout=HANGS_S, stdin=subprocess.DEVNULL,
            env={**os.environ, "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
        )  # fmt: skip

    def tries(self, *command):
        return self.inside(*command).returncode == 0

    def run(self, *command):
        done = self.inside(*command)
        assert done.returncode == 0, done.stderr

    def systemctl(self, *arguments):
        return self.inside("systemctl", "--no-pager", *arguments)

    def property(self, name, unit=None):
        return self.systemctl("show", "--property", name, "--value", unit or self.unit).stdout.strip()

    def machine(self):
        return self.root.split("/")[2]

    def keeper(self):
        """The keeper's pid as seen from here."""
        inner = int(self.root.split("/")[2])
        return next((pid for pid in children(inner) if comm(pid) == "rptfs-keeper"), None)

    def _do(self, what):
        done = self.systemctl(what, self.unit)
        shown = self.systemctl("status", self.unit).stdout if done.returncode else ""
        assert done.returncode == 0, f"systemctl {what}: {done.stderr}{shown}{self.log()}"

    def start(self):
        self._do("start")

    def restart(self):
        self._do("restart")

    def crash(self):
        before = self.keeper()
        os.kill(before, signal.SIGKILL)
        wait_for(
            lambda: self.keeper() not in (None, before) and self.property("ActiveState") == "active",
            "the restart",
        )

    def stop(self):
        self._do("stop")
        return int(self.property("ExecMainStatus"))

    def abandon(self):
        if self.outer:
            self.outer.kill()  # and with it all processes of its namespaces

    def close(self):
        self.limit.cancel()
        self.abandon()
        if self.outer:
            self.outer.wait(HANGS_S)
        wait_for(self._remove_cgroup, "the end of its control group")

    def _remove_cgroup(self):
        for path, _, _ in os.walk(self.cgroup, topdown=False):
            try:
                os.rmdir(path)
            except OSError:
                return False
        return True
