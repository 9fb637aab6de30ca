"""Counts the requests that the kernel sends to any FUSE daemon, with a kernel tracepoint.

FORGET does not count: it has no answer, and no process waits for it.
"""

import collections
import contextlib
import os
import re
import subprocess

TRACING = "/sys/kernel/tracing"
EVENT = "events/fuse/fuse_request_send"


class Messages:
    """A trace instance of its own, so that other tracing is not disturbed. missing: why there is
    none, or None."""

    def __init__(self):
        self.mounted = self.directory = None
        if not os.path.exists(f"{TRACING}/events") and os.path.isdir(TRACING):
            if not subprocess.run(["mount", "-t", "tracefs", "tracefs", TRACING]).returncode:
                self.mounted = TRACING
        if not os.path.exists(f"{TRACING}/{EVENT}/enable"):
            self.missing = "this kernel has no tracepoint fuse_request_send"
            return
        self.missing = None
        self.directory = f"{TRACING}/instances/rptfs-bench-{os.getpid()}"
        os.mkdir(self.directory)

    def _write(self, name, text):
        with open(f"{self.directory}/{name}", "w", encoding="ascii") as file:
            file.write(text)

    @contextlib.contextmanager
    def count(self, path, pid=None):
        """Yields a Counter, filled at the end: {"LOOKUP": 1, ...} for the file system of that path;
        pid: count only requests caused by that process."""
        counted = collections.Counter()
        self._write(f"{EVENT}/filter", f"connection == {os.minor(os.stat(path).st_dev)}")
        self._write("trace", "")
        self._write(f"{EVENT}/enable", "1")
        try:
            yield counted
        finally:
            self._write(f"{EVENT}/enable", "0")
            with open(f"{self.directory}/trace", encoding="utf-8", errors="replace") as file:
                for line in file:
                    match = re.search(r"-(\d+) .* fuse_request_send: .* \((?:FUSE_)?(\w+)\)", line)
                    if match and pid in (None, int(match.group(1))):
                        counted[match.group(2)] += 1

    def close(self):
        if self.directory:
            os.rmdir(self.directory)
        if self.mounted:
            subprocess.run(["umount", self.mounted])
