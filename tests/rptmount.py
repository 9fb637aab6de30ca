"""A mounted rptfs, from its configuration to its clean end.

Every test's daemon has to exit 0 in time and leave no mount, no process, no control socket, and
nothing in its log that the test did not expect: stop() checks that, and the fixtures call it.
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
import subprocess
import time
from datetime import datetime

STARTED_IN_S = 20


def wait_for(condition, what, seconds=10, pause=0.01):
    """Waits for a condition, never for a time; returns what it returned."""
    until = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > until:
            raise AssertionError(f"waited {seconds} s in vain: {what}")
        time.sleep(pause)
    return result


def mounts():
    """Mount points of this namespace, in the order in which they were made."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return [line.split()[4].replace("\\040", " ") for line in file]


def session_processes(session):
    """Pids of the processes of a session that are not zombies."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                    state, _, _, sid = file.read().rpartition(")")[2].split()[:4]
            except OSError:
                continue
            if int(sid) == session and state != "Z":
                found.append(int(entry))
    return found


def open_paths(pid):
    """Descriptor to what it leads to; without those that are closed meanwhile."""
    found = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found[int(fd)] = os.readlink(f"/proc/{pid}/fd/{fd}")
    return found


def files_below(directory):
    """Path to os.stat_result of each file; without those that go meanwhile."""
    found = {}
    for at, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(at, name)
            with contextlib.suppress(FileNotFoundError):
                found[path] = os.stat(path)
    return found


def refaulted_pages():
    """How often, on this machine, a page of a file had to be read again that the kernel had taken
    out of memory: when it is short of it, and where DAMON looks for what is idle, at any time."""
    read("/proc/sys/vm/stat_refresh")  # /proc/vmstat may lag behind
    return int(re.search(rb"^workingset_refault_file (\d+)$", read("/proc/vmstat"), re.M)[1])


@contextlib.contextmanager
def locked_in_memory(path):
    """All of the file stays there, and known to the kernel."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    fd = os.open(path, os.O_RDONLY)
    size = ctypes.c_size_t(os.fstat(fd).st_size)
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
    """The name of a process; empty if it is gone."""
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


def seconds_between(earlier, later):
    """Of two RFC 3339 times."""
    first, second = (datetime.fromisoformat(text.replace("Z", "+00:00")) for text in (earlier, later))
    return (second - first).total_seconds()


def read(path):
    with open(path, "rb") as file:
        return file.read()


def replace(path, content):
    """As careful programs do: another file takes the name."""
    with open(path + ".new", "wb") as file:
        file.write(content)
    os.rename(path + ".new", path)


def drop_pages(fd):
    """The kernel forgets what it has cached of this file (of no other, for tests run in parallel)."""
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def xattr(path_or_fd, name):
    """user.rpt.NAME as text; None if there is none."""
    try:
        return os.getxattr(path_or_fd, "user.rpt." + name).decode()
    except OSError as error:
        if error.errno == 61:  # ENODATA
            return None
        raise


class Mount:
    """One rptfs in the foreground, in a directory of its own (.dir) with mount point .path.

    config: the configuration without mountpoint and store; store: a directory, "memory", or None
    for one below .dir. expect: patterns of warnings and errors that the log may show. user: the uid
    that mounts. prefix: a command that starts rptfs, such as nice.
    """

    def __init__(
        self, build, directory, config="", store=None, options=(), expect=(), user=None, prefix=()
    ):
        self.build, self.dir, self.user = build, directory, user
        self.path = os.path.join(directory, "mnt")
        self.store = store or os.path.join(directory, "store")
        self.conf = os.path.join(directory, "rptfs.conf")
        self.expected = list(expect)
        self.options = list(options)
        self.env = build.environment(directory)
        self.prefix = list(prefix)
        self.process = None
        self.control = None
        self.stop_seconds = 0.0
        self.log_checked = 0
        self.binary = build.rptfs
        os.makedirs(self.path, exist_ok=True)
        if build.sanitized:
            os.chmod(directory, 0o1777)  # for the reports of the worker, which is another user
        self.configure(config)
        if user:
            self._belong_to(user)

    # The configuration

    def configure(self, config):
        with open(self.conf, "w", encoding="utf-8") as file:
            file.write(f'mountpoint = "{self.path}"\nstore = "{self.store}"\n')
            file.write(config)
            if self.build.publish_mode != "auto":  # at the end: tests know the numbers of lines
                file.write(f"\npublish_mode = {self.build.publish_mode}\n")

    def _belong_to(self, user):
        """The mount point and the binary where that user can get at them."""
        self.binary = os.path.join(self.dir, "rptfs")
        shutil.copy(self.build.rptfs, self.binary)
        for path in (self.dir, self.path, self.conf):
            os.chown(path, user, user)

    def command(self, *arguments):
        """The command line, as another user if the mount is one's."""
        line = [*self.prefix, self.binary, *arguments]
        if self.user:
            ids = [f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups"]
            line = ["setpriv", *ids, *line]
        return line

    # Its life

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
        # A user's mount is no business of root's: ask as the user.
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

        wait_for(check, what, STARTED_IN_S * self.build.slow)
        return condition()

    def _find_control(self):
        try:
            return xattr(self.path, "control")
        except OSError:  # a dead mount that is about to be replaced
            return None

    def _first_attempts_over(self):
        done = self.run_rpt("status", "--json")
        if done.returncode:  # nobody listens yet
            return False
        terms = json.loads(done.stdout)["terms"]
        # Of what is fresh already, the attempt that published it is about to end.
        return all(
            term["checked_at"] or (term["id"] and term["state"] != "fresh") for term in terms
        )

    def is_mounted(self):
        return self.path in mounts()

    def restart(self, **how):
        self.stop()
        return self.start(**how)

    def stop(self, signo=signal.SIGTERM):
        """Tells it to end, and checks that it does so completely."""
        if not self.process:
            return
        before = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(signo)
        limit = self.build.stops_in_s
        try:
            code = self.process.wait(limit + 10)
        except subprocess.TimeoutExpired:
            code = None
        ended = time.monotonic()
        self.stop_seconds = ended - before
        # Who closed the mount last still has its inodes to free.
        while (leftovers := session_processes(self.process.pid)) and time.monotonic() < ended + limit:
            time.sleep(0.005)
        mounted = self.is_mounted()
        socket_left = self.control and os.path.exists(self.control)
        self.clear()
        problems = [
            (code != 0, f"exit code {code}"),
            (self.stop_seconds > limit, f"took {self.stop_seconds:.2f} s to end"),
            (leftovers, f"processes {[comm(pid) for pid in leftovers]} are left"),
            (mounted, "still mounted"),
            (socket_left, "the control socket is left"),
        ]
        found = [text for wrong, text in problems if wrong] + self.complaints()
        assert not found, "\n".join(found) + "\nThe end of the log:\n" + self.log_end()

    def kill(self):
        """As a power cut would: nobody sees that others end, nothing is cleaned up but the mount."""
        self.process.send_signal(signal.SIGSTOP)  # the keeper, which would start another worker
        if worker := self.child("worker"):
            os.kill(worker, signal.SIGKILL)
        self.process.kill()
        self.process.wait(10)
        self.clear()

    # Its processes

    def child(self, name):
        """The pid of the keeper's one child of that name ("worker", "helper"), or None."""
        found = [pid for pid in session_processes(self.process.pid) if comm(pid) == "rptfs-" + name]
        return found[0] if len(found) == 1 else None

    @property
    def keeper(self):
        """The keeper's pid: of a mount in the foreground it is the command itself."""
        return self.process.pid

    def path_of_handle(self):
        """What the keeper holds of the mount for visitors, as a path that root can walk."""
        number = os.stat(self.path).st_dev
        for fd in os.listdir(f"/proc/{self.keeper}/fd"):
            path = f"/proc/{self.keeper}/fd/{fd}"
            if os.path.isdir(path) and os.stat(path).st_dev == number:
                return path
        return None

    @property
    def worker(self):
        return wait_for(lambda: self.child("worker"), "one worker")

    def kill_worker(self, signo=signal.SIGKILL):
        """Returns the pid of the one that died."""
        self.expect(r"event=worker_died")
        pid = self.worker
        os.kill(pid, signo)
        return pid

    def wait_worker(self, after, seconds=10):
        """Until another worker than that one answers rpt; its pid."""

        def answers():
            done = self.run_rpt("status", "--json")
            return done.returncode == 0 and json.loads(done.stdout)["pid"] != after

        wait_for(answers, f"a worker after {after}", seconds * self.build.slow)
        return self.worker

    def clear(self):
        """Whatever is left: processes and mount go. Never hangs."""
        if self.process:
            for pid in session_processes(self.process.pid):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                pass
            self.process = None
        while self.is_mounted():
            if subprocess.run(["umount", "-l", self.path], capture_output=True).returncode:
                break
        if self.control and os.path.exists(self.control):
            os.unlink(self.control)

    # What it says

    @property
    def log_path(self):
        return os.path.join(self.dir, "log")

    def log(self):
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def log_end(self):
        return "\n".join(self.log().splitlines()[-20:])

    def events(self, event=None, **fields):
        """Lines of the log with these fields, as dicts."""
        parsed = [parse_logfmt(line) for line in self.log().splitlines()]
        return [
            line
            for line in parsed
            if line
            and event in (None, line.get("event"))
            and all(line.get(key) == str(value) for key, value in fields.items())
        ]

    def expect(self, *patterns):
        self.expected += patterns

    def complaints(self):
        """Lines of the log that nobody expected, and what the sanitizers wrote."""
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
                # LeakSanitizer's own trouble with a thread that ended while it looked.
                report = re.sub(r"==\d+==Unable to get registers from thread \d+\.\n?", "", report)
                if report:
                    found.append(f"sanitizer report:\n{report[:8000]}")
        return found

    # Talking to it

    def rpt(self, *arguments, check=True, timeout=60):
        """Runs rpt for this mount; its standard output."""
        done = self.run_rpt(*arguments, timeout=timeout)
        if check and done.returncode:
            raise AssertionError(
                f"rpt {shlex.join(arguments)}: exit {done.returncode}: {done.stdout}{done.stderr}"
            )
        return done.stdout

    def run_rpt(self, *arguments, timeout=60):
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
        """rpt status --json: all of it, or what it says about one term."""
        whole = json.loads(self.rpt("status", "--json"))
        if term is None:
            return whole
        return next(entry for entry in whole["terms"] if entry["name"] == term)

    def kind(self, term):
        """The kind of the last attempt's error; None if it succeeded."""
        error = self.status(term)["last_error"]
        return error and error["kind"]

    def next_in(self, term):
        """Seconds from the last attempt's end to the next one, as planned; None: none is."""
        status = self.status(term)
        if not status["next_check_at"]:
            return None
        return seconds_between(status["checked_at"], status["next_check_at"])

    def refresh(self, *terms, ok=True):
        """rpt refresh --wait: one attempt of each, now, to its end."""
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
        """Requests that the kernel has sent so far, by operation. Asks over the socket, which
        causes none."""
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(self.control)
            asking.sendall(b'{"command":"status","terms":[]}\n')
            with asking.makefile() as answer:
                return json.loads(answer.readline())["fuse_requests"]

    @contextlib.contextmanager
    def counting(self):
        """Gives what is, afterwards, the requests that were needed, by operation. Not that the
        kernel forgets what nobody uses, and reads again what it had taken out of memory."""
        before, refaults, needed = self.counts(), refaulted_pages(), {}
        yield needed
        after, refaults = self.counts(), refaulted_pages() - refaults
        for op, n in after.items():
            n -= before.get(op, 0)
            is_refault = op in ("read", "readdir", "readdirplus") and n <= refaults
            if n and not is_refault and op not in ("forget", "batch_forget"):
                needed[op] = n

    # Looking at it

    def snapshot_files(self):
        """Those of the store, by path, with their os.stat_result."""
        return files_below(os.path.join(self.store, "snapshots"))

    def at(self, name):
        return os.path.join(self.path, name)

    def read(self, name):
        return read(self.at(name))

    def ls(self, name=""):
        """What ls shows, sorted: no names that start with a dot."""
        if not self.user:
            return sorted(entry for entry in os.listdir(self.at(name)) if entry[0] != ".")
        done = subprocess.run(
            ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups", "ls",
             self.at(name)], capture_output=True, text=True,
        )  # fmt: skip
        return sorted(done.stdout.split()) if done.returncode == 0 else None

    def xattr(self, name, attribute):
        return xattr(self.at(name), attribute)

    def wait_content(self, name, content, seconds=10, errors=(errno.ENOENT,)):
        """Until the name shows these bytes. errors: those that reading may end with until then."""

        def shows():
            try:
                return self.read(name) == content
            except OSError as error:
                if error.errno not in errors:
                    raise
                return False

        wait_for(shows, f"{name} to show {content[:60]!r}", seconds * self.build.slow)

    def has_updated(self, term, times):
        """Is that how often an update of the term succeeded? What is shown may be about to count."""
        wait_for(lambda: self.status(term)["updated_total"] >= times, f"{times} updates of {term}")
        return self.status(term)["updated_total"] == times
