"""Programs that watch files, and what they say of them."""

import os
import re
import signal
import subprocess
import threading

from rptmount import wait_for

# Reading is no change; these are all that is left.
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
    """A program that writes a line for each event; .lines has those after it was ready."""

    def __init__(self, command, ready, env=None):
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, env=env,
        )  # fmt: skip
        self.lines, self.is_ready = [], threading.Event()
        self.thread = threading.Thread(target=self._read, args=(ready,), daemon=True)
        self.thread.start()
        if not self.is_ready.wait(20):
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
        """Until it has said so many lines; all of them."""
        wait_for(lambda: len(self.lines) >= lines, f"{what}: {self.lines}", 20)
        return list(self.lines)

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        self.thread.join(10)
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def inotifywait(*paths, events=CHANGES):
    """Lines such as "MOVED_TO name" of directories, "DELETE_SELF " of files."""
    return Watcher(
        ["inotifywait", "-m", "-e", events, "--format", "%e %f", *paths], "Watches established"
    )


def node(kind, path):
    """kind: fs.watch, with lines such as "rename name"; chokidar, such as "change /path"."""
    env = dict(os.environ, NODE_PATH="/usr/share/nodejs")
    return Watcher(["/usr/bin/node", "-e", NODE, kind, path], "^ready", env)
