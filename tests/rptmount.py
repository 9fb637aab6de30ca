"""A mounted rptfs, from its configuration to its clean end.

Every test's daemon must exit 0 and leave no mount, no process, no control socket, and nothing
unexpected in its log. stop() checks that; the fixtures call it.
"""

import contextlib
import ctypes
import errno
import json
import mmap
import os
import re
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import time
from datetime import datetime

# After this time something counts as hung. No test depends on speed: a limit only ends a test that
# would otherwise wait for ever, and allows for a very busy machine.
HANGS_S = 100

NOBODY = 65534  # a user that every Linux has: fusermount3 wants one with a name


def wait_for(condition, what, seconds=HANGS_S, pause=None):
    """Waits until condition() is true; returns its value. pause: seconds between two looks; by default
    they grow with the time waited so far, because a look costs CPU time that other tests need."""
    begin = time.monotonic()
    while not (result := condition()):
        waited = time.monotonic() - begin
        if waited > seconds:
            raise AssertionError(f"waited {seconds} s without success: {what}")
        time.sleep(min(max(0.01, waited / 20), 0.05) if pause is None else pause)
    return result


def mounts():
    """Mount points of this namespace, in the order in which they were made."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return [line.split()[4].replace("\\040", " ") for line in file]


def state_and_parent(pid):
    """The state of a process ("Z": a zombie) and its parent's pid; of a thread as "PID/task/TID". Raises
    OSError if it has ended."""
    state, parent = read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[:2]
    return state.decode(), int(parent)


def state(pid):
    """As state_and_parent(); empty if it is gone."""
    try:
        return state_and_parent(pid)[0]
    except OSError:
        return ""


def suspend(pid):
    """Stops a process until SIGCONT, and waits until all its threads have stopped. Returns False if it
    is gone."""
    try:
        os.kill(pid, signal.SIGSTOP)
        until = time.monotonic() + 5
        while time.monotonic() < until:
            states = {state(f"{pid}/task/{task}") for task in os.listdir(f"/proc/{pid}/task")}
            if states <= {"T", "t", ""}:
                return bool(states - {""})
            if states & {"Z", "X"}:
                return False
            time.sleep(0.001)
    except OSError:
        return False
    return True


def private_namespace(keeps="none"):
    """The words before a command that runs it in a mount namespace of its own. The mounts of other
    tests could not end while there is a copy of them: of rptfs' mounts it has only the one to keep."""
    script = (
        'while read -r _ at type _; do [ "$type" != fuse.rptfs ] || [ "$at" = "$0" ] || '
        'umount -l "$at"; done </proc/self/mounts; exec "$@"'
    )
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, keeps]


def session_processes(session):
    """Pids of the processes of a session, without zombies."""
    found = []
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        with contextlib.suppress(OSError):
            if os.getsid(pid) == session and state_and_parent(pid)[0] != "Z":
                found.append(pid)
    return found


def open_paths(pid):
    """Descriptor to target, without descriptors that are closed meanwhile."""
    found = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found[int(fd)] = os.readlink(f"/proc/{pid}/fd/{fd}")
    return found


def files_below(directory):
    """Path to os.stat_result of each file, without files that disappear meanwhile."""
    found = {}
    for at, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(at, name)
            with contextlib.suppress(FileNotFoundError):
                found[path] = os.stat(path)
    return found


def vmstat(name):
    """One counter of the whole machine's memory management."""
    read("/proc/sys/vm/stat_refresh")  # /proc/vmstat may lag behind
    return int(re.search(rf"^{name} (\d+)$".encode(), read("/proc/vmstat"), re.M)[1])


def refaulted_pages():
    """How often any page of a file was read again after the kernel had evicted it. The kernel evicts
    pages under memory pressure, and at any time if DAMON reclaims idle pages."""
    return vmstat("workingset_refault_file")


def scanned_slabs():
    """Rises when the kernel scans for names and inodes to evict."""
    return vmstat("slabs_scanned")


@contextlib.contextmanager
def locked_in_memory(path, size=None):
    """Locks the pages of the file, or its first `size` bytes. The mapping also keeps the kernel from
    evicting the name and the inode."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    fd = os.open(path, os.O_RDONLY)
    size = ctypes.c_size_t(size or os.fstat(fd).st_size)
    address = ctypes.c_void_p(
        libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, fd, ctypes.c_long(0))
    )
    os.close(fd)
    try:
        assert libc.mlock(address, size) == 0, os.strerror(ctypes.get_errno())
        yield
    finally:
        libc.munmap(address, size)


def comm(pid):
    """The name of a process; empty if it has ended."""
    try:
        return read(f"/proc/{pid}/comm").decode().strip()
    except OSError:
        return ""


def parse_logfmt(line):
    """One line of the log as a dict; None if it is not logfmt."""
    fields = {}
    for match in re.finditer(r'([a-z0-9_]+)=("((?:[^"\\]|\\.)*)"|[^\s"]*)(?:\s+|$)', line):
        quoted = match.group(3)
        value = match.group(2) if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        fields[match.group(1)] = value
    return fields if "level" in fields and "time" in fields else None


def parse_time(text):
    """RFC 3339 to seconds since 1970."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def seconds_between(earlier, later):
    """The seconds between two RFC 3339 times."""
    return parse_time(later) - parse_time(earlier)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def user_line(uid, gid=None, groups=()):
    """The start of a command line that runs the rest as another user, a member of these groups only."""
    others = f"--groups={','.join(map(str, groups))}" if groups else "--clear-groups"
    return ["setpriv", f"--reuid={uid}", f"--regid={uid if gid is None else gid}", others]


def as_user(uid, *command, **ids):
    """Runs a command with that user_line(); returns the finished process."""
    return subprocess.run(
        [*user_line(uid, **ids), *command], capture_output=True, text=True, timeout=HANGS_S
    )


def ask_status(control, **request):
    """The reply to the command "status" on this control socket, as rpt status --json prints it, but
    without a process and without requests of the kernel."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(HANGS_S)
        asking.connect(control)
        asking.sendall(json.dumps({"command": "status", **request}).encode() + b"\n")
        with asking.makefile() as answer:
            return json.loads(answer.readline())


def replace(path, content):
    """Replaces a file atomically: writes another file and renames it."""
    with open(path + ".new", "wb") as file:
        file.write(content)
    os.rename(path + ".new", path)


def drop_pages(fd):
    """Drops this file's pages from the page cache, and no others: tests run in parallel."""
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def xattr(path_or_fd, name):
    """user.rpt.NAME as text; None if there is none."""
    try:
        return os.getxattr(path_or_fd, "user.rpt." + name).decode()
    except OSError as error:
        if error.errno == 61:  # ENODATA
            return None
        raise


def in_chroot():
    """Is "/" no mount? Then a worker cannot get a root of its own."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return all(line.split()[4] != "/" for line in file)


def of_this_machine():
    """Warnings that every mount logs here."""
    return ["event=sandbox_incomplete missing=root .*as in a chroot"] if in_chroot() else []


class Logged:
    """A program with a log in the file .log_path."""

    def log(self):
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def events(self, event=None, **fields):
        """The log lines with these fields, as dicts. An attempt's line is there once refresh() has
        returned. Otherwise wait for the line: it is written after the change that it reports."""
        parsed = [parse_logfmt(line) for line in self.log().splitlines()]
        return [
            line
            for line in parsed
            if line
            and event in (None, line.get("event"))
            and all(line.get(key) == str(value) for key, value in fields.items())
        ]


class Mount(Logged):
    """One rptfs in the foreground, in a directory of its own (.dir) with mount point .path.

    config: the configuration without mountpoint and store. store: a directory, "memory", or None
    for a directory below .dir. expect: patterns of warnings and errors that the log may show. user:
    the uid that mounts. prefix: a command that starts rptfs, such as nice.
    """

    def __init__(
        self, build, directory, config="", store=None, options=(), expect=(), user=None, prefix=()
    ):
        self.build, self.dir, self.user = build, directory, user
        self.path = os.path.join(directory, "mnt")
        self.store = store or os.path.join(directory, "store")
        self.conf = os.path.join(directory, "rptfs.conf")
        self.expected = [*of_this_machine(), *expect]
        self.options = list(options)
        self.env = build.environment(directory)
        self.prefix = list(prefix)
        self.process = None
        self.control = None
        self.binary = build.rptfs
        os.makedirs(self.path, exist_ok=True)
        if build.sanitized:
            os.chmod(directory, 0o1777)  # the worker, another user, writes its reports there
        self.configure(config)
        if user:
            self._belong_to(user)

    # The configuration

    def configure(self, config, publish_mode=None):
        """Writes the configuration file. publish_mode: another than the build's."""
        mode = publish_mode or self.build.publish_mode
        with open(self.conf, "w", encoding="utf-8") as file:
            file.write(f'mountpoint = "{self.path}"\nstore = "{self.store}"\n')
            file.write(config)
            if mode != "auto":  # at the end: tests rely on line numbers
                file.write(f"\npublish_mode = {mode}\n")

    def _belong_to(self, user):
        """Copies the binary to where that user can execute it, and changes the owner of the files."""
        self.binary = os.path.join(self.dir, "rptfs")
        shutil.copy(self.build.rptfs, self.binary)
        for path in (self.dir, self.path, self.conf):
            os.chown(path, user, user)

    def command(self, *arguments):
        """The command line; run as the mount's user if it has one."""
        line = [*self.prefix, self.binary, *arguments]
        return [*user_line(self.user), *line] if self.user else line

    # Starting and stopping

    def start(self, wait=True):
        """Mounts; returns when the first attempts are over (wait=False: when it is mounted)."""
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.command("-f", "-c", self.conf, *self.options),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.env,
                cwd=self.dir,
                start_new_session=True,
            )
        self._wait(self.is_mounted, "the mount")
        # Root cannot access a user's mount.
        if self.user:
            self._wait(lambda: self.ls() is not None, "the first listing")
            return self
        self.control = self._wait(self._find_control, "user.rpt.control")
        if wait:
            self._wait(self._first_attempts_over, "the first attempts")
        return self

    def _wait(self, condition, what):
        def check():
            if self.process.poll() is not None:
                raise AssertionError(f"rptfs exited with {self.process.returncode}:\n{self.log_end()}")
            return condition()

        return wait_for(check, what)

    def _find_control(self):
        try:
            return xattr(self.path, "control")
        except OSError:  # a dead mount that will be replaced
            return None

    def _first_attempts_over(self):
        try:
            terms = self.status()["terms"]
        except (OSError, ValueError):  # the worker does not listen yet
            return False
        # A fresh term was just published, but its attempt has yet to end.
        return all(
            term["checked_at"] or (term["id"] and term["state"] != "fresh") for term in terms
        )

    def end_start(self):
        """Makes sure that the keeper knows that the start has ended: before, the death of a worker ends
        everything. An upgrade succeeds only then."""
        self.rpt("upgrade")

    def is_mounted(self):
        return self.path in mounts()

    def restart(self, **how):
        self.stop()
        return self.start(**how)

    def stop(self, signo=signal.SIGTERM):
        """Stops the mount and checks that it ends completely and by itself: if the keeper had to kill
        its worker, the log would show it."""
        if not self.process:
            return
        if self.process.poll() is None:
            self.process.send_signal(signo)
        try:
            code = self.process.wait(HANGS_S)
        except subprocess.TimeoutExpired:
            code = None
        # The last process to close the mount still has to free its inodes.
        until = time.monotonic() + HANGS_S
        while (leftovers := session_processes(self.process.pid)) and time.monotonic() < until:
            time.sleep(0.01)
        mounted = self.is_mounted()
        socket_left = self.control and os.path.exists(self.control)
        self.clear()
        problems = [
            (code != 0, f"exit code {code}"),
            (leftovers, f"processes {[comm(pid) for pid in leftovers]} are left"),
            (mounted, "still mounted"),
            (socket_left, "the control socket is left"),
        ]
        found = [text for wrong, text in problems if wrong] + self.complaints()
        assert not found, "\n".join(found) + "\nThe end of the log:\n" + self.log_end()

    def kill(self):
        """Like a power cut: no process sees another one end, and only the mount is cleaned up."""
        suspend(self.process.pid)  # the keeper, which would start another worker
        if worker := self.child("worker"):
            os.kill(worker, signal.SIGKILL)
        self.process.kill()
        self.process.wait(HANGS_S)
        self.clear()

    # Its processes

    def child(self, name):
        """The pid of the only process named rptfs-NAME ("worker", "helper"); None if there is none,
        or several."""
        found = [pid for pid in session_processes(self.process.pid) if comm(pid) == "rptfs-" + name]
        return found[0] if len(found) == 1 else None

    @property
    def keeper(self):
        """The keeper's pid. In the foreground the keeper is the command itself."""
        return self.process.pid

    def path_of_handle(self):
        """The keeper's writable handle of the mount, as a path that root can walk."""
        number = os.stat(self.path).st_dev
        for fd in open_paths(self.keeper):
            path = f"/proc/{self.keeper}/fd/{fd}"
            with contextlib.suppress(FileNotFoundError):
                found = os.stat(path)
                if stat.S_ISDIR(found.st_mode) and found.st_dev == number:
                    return path
        return None

    @property
    def worker(self):
        return wait_for(lambda: self.child("worker"), "one worker")

    def kill_worker(self, signo=signal.SIGKILL):
        """Returns the pid of the killed worker."""
        self.expect(r"event=worker_died")
        pid = self.worker
        with contextlib.suppress(ProcessLookupError):  # it has just died for another reason
            os.kill(pid, signo)
        return pid

    def wait_worker(self, after):
        """Waits until another worker than `after` answers rpt; returns its pid."""

        def answers():
            with contextlib.suppress(OSError, ValueError):  # it does not listen yet
                return self.status()["pid"] != after

        wait_for(answers, f"a worker after {after}")
        return self.worker

    def clear(self):
        """Removes any processes and the mount that are left. Never hangs."""
        session = self.process.pid if self.process else None
        if self.process:
            for pid in session_processes(session):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
            self.process = None
        while self.is_mounted():
            if subprocess.run(["umount", "-l", self.path], capture_output=True).returncode:
                break
        # The store is in use until they are gone, and the next start would fail.
        until = time.monotonic() + 10
        while session and session_processes(session) and time.monotonic() < until:
            time.sleep(0.01)
        if self.control and os.path.exists(self.control):
            os.unlink(self.control)

    # Its log

    @property
    def log_path(self):
        return os.path.join(self.dir, "log")

    def log_end(self):
        return "\n".join(self.log().splitlines()[-20:])

    def expect(self, *patterns):
        self.expected += patterns

    def complaints(self):
        """Unexpected lines of the log, and the sanitizers' reports."""
        found = []
        for line in self.log().splitlines():
            fields = parse_logfmt(line)
            if fields and fields["level"] in ("debug", "info"):
                continue
            if not any(re.search(pattern, line) for pattern in self.expected):
                found.append(f"unexpected in the log: {line}")
        del found[20:]
        for name in sorted(os.listdir(self.dir)):
            if name.startswith("sanitizer."):
                report = read(os.path.join(self.dir, name)).decode(errors="replace")
                # LeakSanitizer complains if a thread ends during its scan.
                report = re.sub(r"==\d+==Unable to get registers from thread \d+\.\n?", "", report)
                if report:
                    found.append(f"sanitizer report:\n{report[:8000]}")
        return found

    # rpt and the control socket

    def rpt(self, *arguments, timeout=HANGS_S):
        """Runs rpt for this mount; returns its standard output."""
        done = self.run_rpt(*arguments, timeout=timeout)
        if done.returncode:
            raise AssertionError(
                f"rpt {shlex.join(arguments)}: exit {done.returncode}: {done.stdout}{done.stderr}"
            )
        return done.stdout

    def run_rpt(self, *arguments, timeout=HANGS_S):
        command, *rest = arguments
        return subprocess.run(
            [self.build.rpt, "-m", self.path, command, *rest],
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            env=self.env,
        )

    def status(self, term=None):
        """The status: everything, or the entry of one term. One reply is consistent; between two
        replies an attempt may have ended."""
        whole = ask_status(self.control or xattr(self.path, "control"))
        if term is None:
            return whole
        return next(entry for entry in whole["terms"] if entry["name"] == term)

    def kind(self, term):
        """The kind of the last attempt's error; None if it succeeded."""
        error = self.status(term)["last_error"]
        return error and error["kind"]

    def message(self, term="t"):
        """The message of the last attempt's error."""
        return self.status(term)["last_error"]["message"]

    def next_in(self, term):
        """Seconds from the end of the last attempt to the next planned one; None if none is planned."""
        status = self.status(term)
        if not status["next_check_at"]:
            return None
        return seconds_between(status["checked_at"], status["next_check_at"])

    def refresh(self, *terms, ok=True):
        """rpt refresh --wait: begins an update of each term now and waits for its end."""
        done = self.run_rpt("refresh", "--wait", *terms)
        assert (done.returncode == 0) == ok, (
            f"rpt refresh --wait: exit {done.returncode}: {done.stdout}{done.stderr}\n{self.log_end()}"
        )
        return done

    def metrics(self):
        """.rpt/metrics as a dict: 'name{label="x"}' to float."""
        result = {}
        for line in self.read(".rpt/metrics").decode().splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                result[name] = float(value)
        return result

    def counts(self):
        """Requests that the kernel has sent so far, by operation."""
        return ask_status(self.control, terms=[])["fuse_requests"]

    @contextlib.contextmanager
    def counting(self):
        """Yields a dict that holds, after the block, the requests that the block caused, by operation.

        Requests that the kernel may send at any time are not counted: FORGET of unused nodes, READ
        of evicted pages, and LOOKUP of names evicted under memory pressure.
        """
        before, refaults, scanned, needed = self.counts(), refaulted_pages(), scanned_slabs(), {}
        yield needed
        after, refaults = self.counts(), refaulted_pages() - refaults
        ignored = {"forget", "batch_forget"}
        if scanned_slabs() != scanned:
            ignored |= {"lookup", "getattr"}
        for op, n in after.items():
            n -= before.get(op, 0)
            is_refault = op in ("read", "readdir", "readdirplus") and n <= refaults
            if n and not is_refault and op not in ignored:
                needed[op] = n

    # Content

    def snapshot_files(self):
        """The store's snapshots: path to os.stat_result."""
        return files_below(os.path.join(self.store, "snapshots"))

    def at(self, name):
        return os.path.join(self.path, name)

    def read(self, name):
        return read(self.at(name))

    def ls(self, name=""):
        """The names that ls shows, sorted: none that begin with a dot."""
        if not self.user:
            return sorted(entry for entry in os.listdir(self.at(name)) if entry[0] != ".")
        done = as_user(self.user, "ls", self.at(name))
        return sorted(done.stdout.split()) if done.returncode == 0 else None

    def xattr(self, name, attribute):
        return xattr(self.at(name), attribute)

    def wait_content(self, name, content, errors=(errno.ENOENT,)):
        """Waits until the name shows these bytes; until then, reading may fail with `errors`."""

        def shows():
            try:
                return self.read(name) == content
            except OSError as error:
                if error.errno not in errors:
                    raise
                return False

        wait_for(shows, f"{name} to show {content[:60]!r}")

    def has_updated(self, term, times):
        """Whether exactly that many updates of the term succeeded. Updates are counted after publishing."""
        wait_for(lambda: self.status(term)["updated_total"] >= times, f"{times} updates of {term}")
        return self.status(term)["updated_total"] == times
