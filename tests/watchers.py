"""Programs that watch files, and the events that they print."""

import contextlib
import os
import re
import signal
import subprocess
import threading

from rptmount import HANGS_S, open_paths, read, wait_for

# All events except those that reading causes.
CHANGES = "modify,attrib,close_write,moved_to,moved_from,move_self,create,delete,delete_self,unmount"

NODE = """
const fs = require("fs"), path = process.argv[2], kind = process.argv[1];
const say = (event, name) => console.log(event, name || "-");
if (kind === "fs.watch") {
    fs.watch(path, (event, name) => say(event, name));
    console.log("ready -");
} else {
    const watcher = require("chokidar").watch(path, { ignoreInitial: true });
    watcher.on("all", (event, name) => say(event, name)).on("ready", () => say("ready"));
}
"""


class Watcher:
    """A program that prints a line for each event. .lines holds the lines printed once it was ready."""

    def __init__(self, command, ready, env=None):
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, env=env,
        )  # fmt: skip
        self.lines, self.is_ready = [], threading.Event()
        self.thread = threading.Thread(target=self._read, args=(ready,), daemon=True)
        self.thread.start()
        if not self.is_ready.wait(HANGS_S):
            self.close()
            raise AssertionError(f"{command[0]} does not watch: {self.lines}")

    def _read(self, ready):
        for line in self.process.stdout:
            if not self.is_ready.is_set() and re.search(ready, line):
                self.lines.clear()
                self.is_ready.set()
            else:
                self.lines.append(line.strip())

    def wait(self, lines, what="the events"):
        """Waits until it has printed that many lines; returns all lines.

        The kernel merges an event with an equal unread one: wait for each event before you cause
        the next.
        """
        wait_for(lambda: len(self.lines) >= lines, f"{what}: {self.lines}")
        return list(self.lines)

    def wait_watch(self, path):
        """Waits until the process has an inotify watch on the inode that path leads to."""

        def watches():
            wanted = f" ino:{os.stat(path).st_ino:x} "
            for fd in open_paths(self.process.pid):
                with contextlib.suppress(OSError):
                    if wanted in read(f"/proc/{self.process.pid}/fdinfo/{fd}").decode():
                        return True
            return False

        wait_for(watches, f"a watch on {path}")

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(HANGS_S)
        self.thread.join(HANGS_S)
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def inotifywait(*paths, events=CHANGES):
    """Prints lines such as "MOVED_TO name" for directories, "DELETE_SELF " for files."""
    return Watcher(
        ["inotifywait", "-m", "-e", events, "--format", "%e %f", *paths], "Watches established"
    )


def node(kind, path):
    """kind: fs.watch, which prints lines such as "rename name"; chokidar: "change /path"."""
    env = dict(os.environ, NODE_PATH="/usr/share/nodejs")
    return Watcher(["/usr/bin/node", "-e", NODE, kind, path], "^ready", env)
