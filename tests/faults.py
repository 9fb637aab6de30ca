"""System calls of one process of rptfs that fail on command: see tests/faults/faults.h."""

import contextlib
import errno
import mmap
import os
import shutil
import struct

CALLS = (
    "open", "create", "read", "write", "sync", "truncate", "rename", "link", "unlink", "mkdir",
    "stat", "list", "lock", "seek", "map", "memory", "socket", "accept", "thread",
)  # fmt: skip
OFF, COUNT, FAIL = range(3)
ALWAYS = 0xFFFFFFFF
HALF = 0x10000  # added to an errno: half of a write is done before; alone: half, and success

# struct faults: words, thread, below, kinds
WORDS = (
    "mode", "calls", "failing", "first", "count", "error", "odds", "seed", "seen", "failed", "pid", "device",
)  # fmt: skip
THREAD_AT = 4 * len(WORDS)
BELOW_AT = THREAD_AT + 16
KINDS_AT = BELOW_AT + 256
KINDS = 4096

# The errors that each call may give.
ERRORS = {
    "open": (errno.EIO, errno.EMFILE),
    "create": (errno.ENOSPC, errno.EROFS, errno.EMFILE),
    "read": (errno.EIO, errno.EINTR, HALF),
    "write": (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EINTR, HALF, HALF | errno.ENOSPC),
    "sync": (errno.EIO, errno.ENOSPC),
    "truncate": (errno.EIO,),
    "rename": (errno.ENOSPC, errno.EIO),
    "link": (errno.ENOSPC, errno.EIO, errno.EROFS),
    "unlink": (errno.EIO, errno.EROFS),
    "mkdir": (errno.ENOSPC, errno.EROFS),
    "stat": (errno.EIO,),
    "list": (errno.EIO,),
    "lock": (errno.EIO,),
    "seek": (errno.EIO,),
    "map": (errno.ENOMEM,),
    "memory": (errno.ENOMEM,),
    "socket": (errno.EMFILE, errno.ENOMEM),
    "accept": (errno.EMFILE, errno.ECONNABORTED),
    "thread": (errno.EAGAIN,),
}


def cause(error):
    """The text of the error in messages."""
    return os.strerror(error & (HALF - 1))


class Faults:
    """The faults of the worker, which maps their file before its main() begins."""

    def __init__(self, build, directory):
        self.path = os.path.join(directory, "faults")
        # A copy, because the worker is another user and may not reach the checkout.
        self.preload = os.path.join(directory, "libfaults-preload.so")
        shutil.copy(os.path.join(build.dir, "tests", "faults", "libfaults-preload.so"), directory)
        os.chmod(self.preload, 0o755)
        with open(self.path, "wb") as file:
            file.truncate(KINDS_AT + KINDS)
        os.chmod(self.path, 0o666)  # the worker may be another user
        with open(self.path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 0)

    def prepare(self, environment):
        """Changes an environment so that faults apply to the worker and its children."""
        environment["LD_PRELOAD"] = self.preload
        environment["FAULTS_FILE"] = self.path
        environment["FAULTS_PROCESS"] = "rptfs-worker"
        environment["ASAN_OPTIONS"] += ":verify_asan_link_order=0"

    def __getattr__(self, word):
        if word not in WORDS:
            raise AttributeError(word)
        return struct.unpack_from("<I", self.memory, 4 * WORDS.index(word))[0]

    def _write(self, word, value):
        struct.pack_into("<I", self.memory, 4 * WORDS.index(word), value)

    def aim(self, *calls, thread="", below=""):
        """Selects these calls of threads whose name begins so, on files below that path."""
        self.off()
        self._write("calls", sum(1 << CALLS.index(call) for call in calls))
        struct.pack_into("16s", self.memory, THREAD_AT, thread.encode())
        struct.pack_into("256s", self.memory, BELOW_AT, below.encode())
        # The worker of root's mount has the store in a mount that is attached nowhere.
        self._write("device", os.stat(below).st_dev & 0xFFFFFFFF if below else 0)

    def _set(self, mode):
        self._write("mode", OFF)
        self._write("seen", 0)
        self._write("failed", 0)
        self._write("mode", mode)

    def off(self):
        self._write("mode", OFF)

    def count(self):
        self._set(COUNT)

    def counted(self):
        """Returns the matches since count(), each as a name of CALLS."""
        self.off()
        n = min(self.seen, KINDS)
        return [CALLS[kind] for kind in self.memory[KINDS_AT : KINDS_AT + n]]

    def fail(self, error, first=0, count=1, failing=(), odds=0, seed=0):
        self._write("mode", OFF)
        values = {"first": first, "count": count, "error": error, "odds": odds, "seed": seed}
        values["failing"] = sum(1 << CALLS.index(call) for call in failing)
        for word, value in values.items():
            self._write(word, value)
        self._set(FAIL)

    @contextlib.contextmanager
    def failing(self, error, **how):
        self.fail(error, **how)
        try:
            yield
        finally:
            self.off()
