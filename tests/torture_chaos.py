#!/usr/bin/python3
"""tests/torture_chaos.py [--seconds N] [--build NAME] [--store disk|memory] [--seed N]

Everything at once: readers check every byte (tests/torture) while new versions arrive all the time,
workers are killed with SIGKILL (also during a publish, a commit or a cold READ), the daemon is
upgraded to another build and back, sources go down and recover, and the disk fills up and is freed.
Prints what was done and what it cost; exits 0 only if no reader saw anything wrong.
"""

import argparse
import contextlib
import functools
import json
import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from builds import Build, other_build  # noqa: E402
from origin import Origin, cut, delay, raw, reset, serve, stall, status  # noqa: E402
from rptmount import HANGS_S, Mount, suspend, wait_for  # noqa: E402
from worker_look import FUSE_READ, Inflight, children, positions, stacks, store_of  # noqa: E402

N_FILES, N_PAGES, HISTORY = 24, 12, 3
DISK_BYTES = 256 << 20
PATIENCE_S = 30  # no reader may wait longer
FIRST, LAST = ["nice", "-n", "-5"], ["nice", "-n", "10"]

# Warnings and errors that the log may contain.
EXPECTED = (
    "event=worker_died",
    "event=visitor_lost",
    "event=failed",
    "event=upgrade_refused",
    "event=upgrade_failed",
    r"event=(opening_not_noted|retain_deferred|lock_without_pid) .*No space left on device",
    r"event=(opening_not_noted|retain_deferred) .*(disk is full|full)",
)


class Chaos:
    """One mount, and all actions on it."""

    def __init__(self, build, place, seconds, store, seed):
        self.build, self.place, self.seconds, self.store = build, place, seconds, store
        self.seed, self.random = seed, random.Random(seed)
        self.over = threading.Event()
        self.problems = []
        self.did = Counter()
        self.kills = []  # (time.monotonic(), positions) of each killed worker
        self.closing = contextlib.ExitStack()
        self.pages = {f"h{i}": 4096 << i % 8 for i in range(N_PAGES)}
        self.versions = dict.fromkeys(self.pages, 0)
        self.readers, self.probes, self.counts, self.pauses, self.events = None, {}, {}, {}, Counter()

    # The environment

    def make(self, name, version, size):
        command = [self.build.torture, "make", name, str(version), str(size)]
        return subprocess.run(command, check=True, capture_output=True, timeout=HANGS_S).stdout

    def make_sources(self):
        self.source = os.path.join(self.place, "source")
        self.still = os.path.join(self.place, "still")
        for path in (self.source, self.still):
            os.mkdir(path)
        for i in range(N_FILES):
            with open(os.path.join(self.source, f"f{i}"), "wb") as file:
                file.write(self.make(f"f{i}", 1, 4096 << i % 9))
        for name in ("warm", "cold", "native"):
            with open(os.path.join(self.still, name), "wb") as file:
                file.write(bytes(4096))
        self.origin = Origin()
        self.closing.callback(self.origin.close)
        for name in self.pages:
            self.next_page(name)

    def next_page(self, name):
        version = self.versions[name] + 1
        size = self.pages[name] - self.random.randrange(self.pages[name] // 2) // 8 * 8
        self.origin.put("/" + name, self.make(name, version, size), etag=f'"{version}"')
        self.versions[name] = version

    def make_disk(self):
        """A separate file system that can be filled: ext4 if there are loop devices, else tmpfs."""
        disk, image = os.path.join(self.place, "disk"), os.path.join(self.place, "image")
        os.mkdir(disk)
        with open(image, "wb") as file:
            file.truncate(DISK_BYTES)
        ways = (
            (["mkfs.ext4", "-q", "-m", "0", image], ["mount", "-o", "loop", image, disk], "ext4"),
            (["true"], ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", disk], "tmpfs"),
        )
        for prepare, mount, self.disk_type in ways:
            with contextlib.suppress(OSError, subprocess.CalledProcessError):
                subprocess.run(prepare, check=True, capture_output=True)
                subprocess.run(mount, check=True, capture_output=True)
                break
        else:
            raise AssertionError("no file system can be mounted for the store")
        self.closing.callback(subprocess.run, ["umount", "-l", disk])
        self.disk = disk
        return os.path.join(disk, "store")

    def config(self):
        text = f"defaults {{ refresh_interval = 250ms history = {HISTORY} }}\n"
        for i in range(N_FILES):
            text += f'term "t/f{i}" {{ file {{ path = "{self.source}/f{i}" }} }}\n'
        for name in self.pages:
            text += f'term "t/{name}" {{ http {{ url = "{self.origin.url("/" + name)}" }} }}\n'
        for name in ("warm", "cold"):
            text += f'term "still/{name}" {{ file {{ path = "{self.still}/{name}" }} }}\n'
        return text

    def start(self):
        self.make_sources()
        store = self.make_disk() if self.store == "disk" else "memory"
        where = os.path.join(self.place, "mount")
        os.mkdir(where)
        self.m = m = Mount(self.build, where, store=store, expect=EXPECTED, prefix=FIRST)
        self.closing.callback(m.clear)
        m.configure(self.config())
        m.binary = os.path.join(where, "installed")
        shutil.copy(self.build.rptfs, m.binary)
        m.start()
        assert len(m.ls("t")) == N_FILES + N_PAGES, m.log_end()
        self.inflight = Inflight(m.keeper)
        self.log_of_catalog = os.path.join(store_of(m.keeper), "catalog.db-wal")
        self.number = os.minor(os.stat(m.path).st_dev)

    def start_readers(self):
        m, seconds = self.m, str(int(self.seconds))
        native = os.path.join(self.still, "native")
        looks = ["-p", "3", "-t", "3", "-c", "25", "-k", "4096", "-w", str(PATIENCE_S)]
        self.readers = self.run(LAST, *looks, "-s", seconds, m.at("t"))
        pace = ["pause", "-r", "300", "-s", seconds]
        self.probes = {
            "warm": self.run(FIRST, *pace, m.at("still/warm")),
            "cold": self.run(FIRST, *pace, "-c", m.at("still/cold")),
            "native": self.run(FIRST, *pace, native),
        }
        rate = "8" if self.build.sanitized else "40"
        self.swapper = self.run(LAST, "swap", "-r", rate, "-s", str(self.seconds - 2), self.source)

    def run(self, prefix, *arguments):
        """Starts torture in the background. Its output goes to a file, because hanging readers would
        keep a pipe open."""
        said = self.closing.enter_context(tempfile.TemporaryFile("w+"))
        process = subprocess.Popen(
            [*prefix, self.build.torture, *arguments], stdout=said, stderr=said, text=True
        )
        process.said = said
        self.closing.callback(process.kill)
        return process

    # The serving worker

    def serving(self, after=None):
        """Waits for a worker other than `after` that answers rpt; returns its pid."""

        def answers():
            with contextlib.suppress(OSError, ValueError), socket.socket(socket.AF_UNIX) as asking:
                asking.settimeout(5)
                asking.connect(self.m.control)
                asking.sendall(b'{"command":"status","terms":[]}\n')
                with asking.makefile() as answer:
                    pid = json.loads(answer.readline())["pid"]
                    return pid != after and pid

        return wait_for(answers, f"a worker after {after}", 2 * HANGS_S, 0.02)

    def pause(self, least, most):
        """Sleeps for a random time; False when the run is over."""
        return not self.over.wait(self.random.uniform(least, most))

    # The killer

    def kill(self, pid, how, known=None):
        """Kills a worker. known: what a stopped worker is in the middle of."""
        found = set(known or ())
        entry = (time.monotonic(), found)
        self.kills.append(entry)  # before the kill: another actor may see its effects at once
        try:
            os.kill(pid, 9)
        except ProcessLookupError:
            self.kills.remove(entry)
            return
        if known is None and FUSE_READ in self.inflight.waiting():
            found.add("read")
        self.did["kills, " + how] += 1
        for position in found:
            self.did["died in a " + position] += 1

    def next_commit(self, pid):
        """Waits for a write to the catalog's log, which begins a transaction."""
        before, until = os.stat(self.log_of_catalog).st_mtime_ns, time.monotonic() + 0.5
        while os.stat(self.log_of_catalog).st_mtime_ns == before and time.monotonic() < until:
            time.sleep(0.0003)
            os.kill(pid, 0)

    def stop_at(self, pid, wanted):
        """Stops the worker when it may be in the wanted position; returns its actual positions."""
        with contextlib.suppress(OSError):
            if wanted == "read":
                time.sleep(self.random.uniform(0, 0.02))
            else:
                self.next_commit(pid)
            if wanted == "publish":
                time.sleep(self.random.uniform(0, 0.01))
            if suspend(pid):
                return positions(pid, self.inflight)
        return set()

    def aim(self, wanted):
        """Kills the worker in the middle of the wanted operation."""
        until = time.monotonic() + min(6, self.seconds / 6)
        while wanted not in (found := self.stop_at(pid := self.serving(), wanted)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 18)
            self.did[f"stopped without a {wanted}"] += 1
            if time.monotonic() > until or self.over.is_set():
                break
        hit = wanted in found
        self.kill(pid, f"aimed at a {wanted}" if hit else "at random", found if hit else None)
        return pid

    def kill_at_once(self):
        """Kills the worker, and then one or two successors while they take over."""
        dead = self.serving()
        self.kill(dead, "at random")
        for _ in range(self.random.randrange(1, 3)):
            pid = self.next_worker(dead)
            if not pid or not self.pause(0, 0.08):
                break
            self.kill(pid, "while it took over")
            dead = pid
        return dead

    def next_worker(self, after):
        def there():
            found = [pid for pid in children(self.m.keeper, "worker") if pid != after]
            return self.over.is_set() or found

        found = wait_for(there, "the next worker", PATIENCE_S, 0.002)
        return found[0] if isinstance(found, list) else None

    def kill_any(self):
        """Kills any worker; during an upgrade perhaps the one that stands by."""
        found = children(self.m.keeper, "worker")
        if len(found) != 1:
            self.did["kills with another worker running"] += 1
        if found:
            pid = self.random.choice(found)
            self.kill(pid, "at random")
            return pid
        return None

    def kill_visitor(self):
        """Kills the visitor; updates must still be published."""
        for pid in children(self.m.keeper, "visitor"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.did["visitors killed"] += 1

    def kill_standby(self):
        """Kills the new worker of an upgrade, at any point of the upgrade."""
        until = time.monotonic() + 4
        while len(found := children(self.m.keeper, "worker")) < 2:
            if time.monotonic() > until or not self.pause(0.001, 0.002):
                return self.kill_any()
        self.pause(0, 0.3)
        self.kill(max(found), "while it stood by")  # the younger one: pids nearly always rise
        return max(found)

    def killer(self):
        ways = [
            (6, self.kill_any),
            (2, self.kill_standby),
            (2, self.kill_visitor),
            (3, self.kill_at_once),
            *((3, functools.partial(self.aim, at)) for at in ("publish", "commit", "read")),
        ]
        while self.pause(1.05, 2):
            _, way = self.random.choices(ways, [weight for weight, _ in ways])[0]
            dead = way()
            before = time.monotonic()
            self.serving(after=dead)
            self.did["longest without rpt, ms"] = max(
                self.did["longest without rpt, ms"], int((time.monotonic() - before) * 1000)
            )

    # The other actors

    def upgrader(self):
        pause = max(3, self.seconds / 40)
        while self.pause(pause * 0.5, pause):
            other_build(self.m.binary)
            start = time.monotonic()
            done = self.m.run_rpt("upgrade", timeout=2 * HANGS_S)
            if done.returncode == 0:
                self.did["upgrades"] += 1
            elif any(when > start - 3 for when, _ in self.kills):
                self.did["upgrades that a death prevented"] += 1
            else:
                raise AssertionError(f"rpt upgrade: {done.stdout}{done.stderr}")

    def pages_swapper(self):
        while self.pause(0.02, 0.3):
            self.next_page(self.random.choice(list(self.pages)))
            self.did["new pages"] += 1

    def sources(self):
        troubles = [
            status(503), status(404), reset(), reset(500), stall(), stall(500), cut(700), raw(b"nonsense\n"),
            delay(1),
        ]  # fmt: skip
        while self.pause(1, 3):
            trouble = self.random.choice(troubles)
            for name in self.pages:
                self.origin.always("/" + name, trouble)
            away = self.random.random() < 0.5
            if away:
                os.rename(self.source, self.source + ".away")
            goes_on = self.pause(0.5, 2)
            if away:
                os.rename(self.source + ".away", self.source)
            for name in self.pages:
                self.origin.always("/" + name, serve)
            self.origin.drop_connections()  # also stalled ones
            self.did["times the sources were down"] += 1
            if not goes_on:
                break

    def fill(self, file):
        """Fills the disk to the last block."""
        piece = 16 << 20
        while piece >= 4096:
            try:
                os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, piece)
            except OSError:
                piece //= 2

    def disk_filler(self):
        ballast = os.path.join(self.disk, "ballast")
        while self.pause(3, 6):
            with open(ballast, "wb") as file:
                until = time.monotonic() + self.random.uniform(1, 2.5)
                while time.monotonic() < until and not self.over.is_set():
                    self.fill(file)
                    time.sleep(0.02)
            os.unlink(ballast)
            self.did["times the disk was full"] += 1

    # The run

    def act(self, actor):
        try:
            actor()
        except BaseException:  # pylint: disable=broad-except
            self.problems.append(f"{actor.__name__}: {traceback.format_exc()}")
            self.over.set()

    def rage(self):
        actors = [self.killer, self.upgrader, self.pages_swapper, self.sources]
        if self.store == "disk":
            actors.append(self.disk_filler)
        threads = [threading.Thread(target=self.act, args=(actor,)) for actor in actors]
        until = time.monotonic() + self.seconds - 2
        for thread in threads:
            thread.start()
        while time.monotonic() < until and not self.over.wait(0.2):
            if self.readers.poll() is not None or self.m.process.poll() is not None:
                self.problems.append("the readers or rptfs ended too early")
                break
        self.over.set()
        for thread in threads:
            thread.join(2 * HANGS_S)
            if thread.is_alive():
                self.problems.append(f"{thread} did not end")

    def dump(self):
        """Records all stacks and waiting requests, for diagnosis."""
        text = []
        for name in ("keeper", "worker"):
            pids = [self.m.keeper] if name == "keeper" else children(self.m.keeper, "worker")
            for pid in pids:
                text.append(f"{name} {pid}:")
                text += ["  " + " < ".join(functions) for functions in stacks(pid)]
        text.append(f"waiting requests: {self.inflight.waiting()}")
        self.problems.append("\n".join(text))

    def finish(self, process):
        """Waits for a process to end, and returns its counts."""
        try:
            process.wait(PATIENCE_S + 20)
        except subprocess.TimeoutExpired:
            self.problems.append(f"{process.args} did not end")
            self.dump()
            self.abort()
            return {}
        process.said.seek(0)
        out = process.said.read()
        if process.returncode:
            self.problems.append(f"{process.args}: exit {process.returncode}: {out}")
            if re.search(r"hung=[1-9]", out):
                self.dump()
                self.abort()
        return {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)\b", out)}

    def abort(self):
        """Aborts the FUSE connection, so that waiting processes get an error."""
        with contextlib.suppress(OSError), open(f"/sys/fs/fuse/connections/{self.number}/abort", "w") as file:
            file.write("1")

    def converge(self):
        """After the last fault, every file shows its latest version without help."""
        latest = {name: self.origin.pages["/" + name].body for name in self.pages}
        for i in range(N_FILES):
            with open(os.path.join(self.source, f"f{i}"), "rb") as file:
                latest[f"f{i}"] = file.read()
        for name, content in latest.items():
            self.m.wait_content("t/" + name, content)

    def store_files(self):
        found = self.m.snapshot_files()
        return {os.path.basename(path): stat.st_size for path, stat in found.items()}

    def check_store(self):
        """Without readers the store holds the current snapshots and their history only."""
        most = (N_FILES + N_PAGES + 2) * (1 + HISTORY)
        wait_for(
            lambda: len(self.store_files()) <= most,
            f"the store to have {most} snapshots at most",
        )  # fmt: skip
        self.m.stop()
        files = self.store_files()
        with sqlite3.connect(os.path.join(self.m.store, "catalog.db")) as catalog:
            rows = {str(row[0]): row[1] for row in catalog.execute("SELECT id, size_bytes FROM snapshot")}
        catalog.close()
        if files != rows:
            odd = sorted(set(files.items()) ^ set(rows.items()))
            self.problems.append(f"files and catalog differ: {odd[:20]}")
        self.did["snapshots in the store at the end"] = len(files)

    def settle(self):
        self.converge()
        if self.store == "disk":
            self.check_store()
        else:
            self.m.stop()

    def count_readers(self):
        self.counts = self.finish(self.readers)
        self.finish(self.swapper)
        self.pauses = {name: self.finish(probe) for name, probe in self.probes.items()}

    def go(self):
        """Runs everything; returns the problems found, which should be none."""
        with self.closing:
            try:
                self.start()
                self.start_readers()
                self.rage()
                self.count_readers()
                if not self.problems:
                    self.settle()
                self.problems += self.m.complaints()
            except (AssertionError, OSError, subprocess.SubprocessError):
                self.problems.append(traceback.format_exc())
            self.read_log()
        return self.problems

    def read_log(self):
        self.events = Counter(re.findall(r" event=(\w+)", self.m.log()))
        self.did["deaths of workers"] = self.deaths()
        self.did["updates that a full disk prevented"] = len(
            re.findall(r"event=failed .*No space left|event=failed .*full", self.m.log())
        )

    def deaths(self):
        return self.events.get("worker_died", 0)

    def report(self):
        lines = [f"{self.seconds} s, build {self.build.name}, store {self.store}"
                 + (f" ({self.disk_type})" if self.store == "disk" else "")]  # fmt: skip
        lines += [f"  {what}: {count}" for what, count in sorted(self.did.items())]
        lines.append(f"  kills sent: {len(self.kills)}")
        lines.append("  readers: " + " ".join(f"{key}={value}" for key, value in self.counts.items()))
        for name, probe in self.pauses.items():
            lines.append(f"  {name}: " + " ".join(f"{key}={value}" for key, value in probe.items()))
        lines.append("  log: " + " ".join(f"{event}={n}" for event, n in sorted(self.events.items())))
        return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(usage=__doc__.replace("%", "%%"))
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--build", default="plain")
    parser.add_argument("--store", choices=("disk", "memory"), default="disk")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    arguments = parser.parse_args()
    if os.geteuid():
        sys.exit("torture_chaos: must be run as root to mount file systems")
    place = tempfile.mkdtemp(prefix="rptfs-chaos-")
    os.chmod(place, 0o755)
    chaos = Chaos(Build(arguments.build), place, arguments.seconds, arguments.store, arguments.seed)
    problems = chaos.go()
    print(chaos.report())
    if problems:
        print(f"seed {arguments.seed}; files kept in {place}", *problems, sep="\n")
        sys.exit(1)
    shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
