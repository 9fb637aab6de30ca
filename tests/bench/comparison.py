"""tests/bench/run --peers: rptfs, the native file system and every peer, all in one run.

Warm reads are measured in rounds over all of them (micro), so that all run under the same load;
a ratio is that of one round. Messages are counted separately. updates.py measures updates, values.py
measures a value that a program keeps in memory, and report.py shows the results.
"""

import collections
import contextlib
import math
import mmap
import os
import shutil
import subprocess
import threading
import time

import page_cache
import report
import s3config
from measure import ask
from messages import Messages
from peers import PEERS, HttpOrigin, LocalOrigin, S3Origin, shown
from rptmount import session_processes
from updates import LATENCY, UPDATED, Updates
from values import Values

MIB = 1 << 20
STEP_LIMIT_S = 400  # a peer that hangs is killed then
XATTR = "user.rpt.version"


class System:
    """One column: .at(name) is the path of a file, .update(name, body) replaces it, .fresh(name) is the
    path where the new version shows (None: it never does), .origin is the kind of its data."""

    def __init__(self, at, update, fresh, origin):
        self.at, self.update, self.fresh, self.origin = at, update, fresh, origin
        self.peers = []  # mounts, warm and fresh
        self.messages = origin != "native"  # whether there are any


class Comparison:
    def __init__(self, bench):
        self.bench, self.quick = bench, bench.quick
        self.place = os.path.join(bench.place, "peers")
        os.makedirs(self.place)
        self.systems, self.missing, self.origins, self.caching = {}, {}, {}, {}
        self.rows, self.values, self.expected, self.notes = [], [], [], []
        self.large = (32 if self.quick else 256) * MIB
        self.rptfs = self.service = None
        self.messages = Messages()
        if self.messages.missing:
            self.notes.append(f"Messages of peers were not counted: {self.messages.missing}.")

    def program(self, name):
        return os.path.join(self.bench.build.dir, "tests", "bench", name)

    def refresh(self, term, wait):
        answer = ask(self.rptfs, {"command": "refresh", "terms": [term], "wait": wait})
        if wait and '"outcome":"updated"' not in answer:
            raise RuntimeError(f"refresh of {term}: {answer}")

    # Preparation

    def run(self):
        """Returns the results, as report.py takes them."""
        try:
            self._start()
            updates = Updates(self)
            for step in (self.warm, self.memory, self.count, updates.run, Values(self).run):
                with self._guard():
                    step()
        finally:
            self._stop()
        return {
            "machine": report.machine(),
            "date": time.strftime("%Y-%m-%d"),
            "quick": self.quick,
            "version": self._version(),
            "native": file_system(self.place),
            "columns": [*self.systems, report.BY_PAGE, *self.missing],
            "rows": self.rows,
            "values": self.values,
            "expected": self.expected,
            "peers": self.caching,
            "notes": self.notes,
        }

    def _start(self):
        self._start_origins()
        small, large = os.urandom(4096), os.urandom(MIB) * (self.large // MIB)
        for origin in self.origins.values():
            origin.put("small", small)
            origin.put("large", large)
            for name, size in (*UPDATED.items(), *LATENCY.items()):
                origin.put(name, bytes(size))
        self._start_rptfs()
        for peer in PEERS:
            if reason := self._start_peer(peer):
                self.missing[peer.label] = reason
                self.notes.append(f"{peer.label} is missing: {reason}.")
                print(self.notes[-1], flush=True)

    def _start_origins(self):
        self.origins["local"] = LocalOrigin(os.path.join(self.place, "native", "mnt"))
        self.origins["tmpfs"] = LocalOrigin(self.bench.tmpfs("peers/tmpfs/mnt"))
        self.origins["http"] = HttpOrigin(self.bench.origin("peers/nginx", more="autoindex on;"))
        try:
            import radosgw  # pylint: disable=import-outside-toplevel # its packages may be missing

            self.service = radosgw.share(os.path.join(self.place, "radosgw"))
            self.origins["s3"] = S3Origin(self.service)
        except (ImportError, OSError, RuntimeError) as error:
            self.notes.append(f"There was no S3 service: {str(error).splitlines()[0]}.")

    def _start_rptfs(self):
        for name, key in (("native", "local"), ("tmpfs", "tmpfs")):
            origin = self.origins[key]
            self.systems[name] = System(origin.at, origin.put, origin.at, "native")
            with contextlib.suppress(OSError):  # not every file system has them
                os.setxattr(origin.at("small"), XATTR, b"0123456789abcdef")
        config = 'defaults { refresh_interval = "never" max_size = 4GiB }\n'
        for name in ("small", "large", *UPDATED):
            config += f'term "{name}" {{ http {{ url = "{self.origins["http"].url(name)}" }} }}\n'
        for name in LATENCY:
            local, http = self.origins["local"].at(name), self.origins["http"].url(name)
            config += f'term "local/{name}" {{ file {{ path = "{local}" }} }}\n'
            config += f'term "http/{name}" {{ http {{ url = "{http}" }} }}\n'
            if self.service:
                where = s3config.source(self.origins["s3"].bucket.name, name, self.service.url())
                config += s3config.term(where, name=f"s3/{name}", options="")
        self.rptfs = self.bench.mount("peers/rptfs", config)
        self.rptfs.env.update(s3config.environment())
        self.rptfs.start()
        self.systems["rptfs"] = System(self.rptfs.at, self._update, self.rptfs.at, "rptfs")

    def _update(self, name, body):
        self.origins["http"].put(name, body)
        self.refresh(name, wait=True)

    def _start_peer(self, peer):
        """Returns why it is not compared, or None."""
        if reason := peer.missing():
            return reason
        if peer.origin not in self.origins:
            return "no S3 service here"
        origin = self.origins[peer.origin]
        mounts = {mode: peer(self.place, origin, mode) for mode in peer.modes}
        system = System(
            mounts["warm"].at, origin.put, mounts["fresh"].at if "fresh" in mounts else None, peer.origin
        )
        system.peers = list(mounts.values())
        try:
            for mount in system.peers:
                mount.start()
                with open(mount.at("small"), "rb") as file:
                    file.read()
        except (OSError, RuntimeError) as error:
            for mount in system.peers:
                mount.stop()
            return f"does not work here: {str(error).splitlines()[0]}"
        self.systems[peer.label] = system
        self.caching[peer.label] = {"version": peer.version()}
        self.caching[peer.label] |= {mode: shown(mount) for mode, mount in mounts.items()}
        return None

    def _stop(self):
        for system in self.systems.values():
            for mount in system.peers:
                mount.stop()
        self.messages.close()
        if self.service:
            self.service.release()

    @contextlib.contextmanager
    def _guard(self):
        """Kills the peers after STEP_LIMIT_S: a process that waits for a hanging peer cannot be killed."""

        def kill():
            print(f"bench: no end after {STEP_LIMIT_S} s: the peers are killed", flush=True)
            for system in self.systems.values():
                for mount in system.peers:
                    mount.kill()

        guard = threading.Timer(STEP_LIMIT_S, kill)
        guard.start()
        try:
            yield
        finally:
            guard.cancel()

    def _version(self):
        line = [self.bench.build.rptfs, "--version"]
        done = subprocess.run(line, capture_output=True, text=True, check=True)
        return done.stdout.removeprefix("rptfs ").strip()

    # Rows

    def row(self, what, unit, cells):
        for label in self.missing:
            cells[label] = {"none": "missing"}
        columns = (*self.systems, report.BY_PAGE, *self.missing)
        cells = {name: cells[name] for name in columns if cells.get(name)}
        self.rows.append({"what": what, "unit": unit, "cells": cells})
        shown_cells = (f"{name} {report.show_cell(cell, unit, ' ')}" for name, cell in cells.items())
        print(f"{what}: {'; '.join(shown_cells)}", flush=True)
        return cells

    def expect(self, what, limit, measured, good):
        """good is None if it was not measured; measured then says why."""
        verdict = {True: "ok", False: "**short**", None: "not measured"}[good]
        self.expected.append({"what": what, "limit": limit, "measured": measured, "verdict": verdict})
        if good is False:
            self.bench.table.short.append(what)

    def expect_speed(self, what, cells, least):
        """rptfs must reach `least` of the speed of every native file system."""
        for name in report.YARDSTICKS:
            if name not in cells:
                continue
            speed = 1 / cells["rptfs"]["ratio" if name == "native" else f"ratio to {name}"]["median"]
            self.expect(f"{what}: speed of {name}", f"≥ {least}", f"{speed:.3f}", speed >= least)

    # Warm reads

    def warm(self):
        small = {name: system.at("small") for name, system in self.systems.items()}
        large = {name: system.at("large") for name, system in self.systems.items()}
        page_cache.write_in_order(large["native"])
        large[report.BY_PAGE] = self._by_page(large["native"])
        size = f"{self.large // MIB} MiB"
        rounds = 5 if self.quick else 31
        cells = self.timed("open + read 4 KiB + close", "open", rounds, small)
        self.expect_open(cells)
        for what, operation in (("stat", "stat"), ("pread 4 KiB", "pread"), ("mmap + touch 4 KiB", "mmap")):
            self.expect_speed(what, self.timed(what, operation, rounds, small), 0.95)
        self.getxattr(rounds, small)
        rounds = 3 if self.quick else 15
        for what, operation in (
            (f"pread 4 KiB, in {size}", "pread"),
            (f"mmap + touch 1 MiB, in {size}", "mmap"),
        ):
            self.expect_speed(what, self.timed(what, operation, rounds, large), 0.95)
        what = f"read {size}, warm"
        self.expect_speed(what, self.timed(what, "warm", rounds, large, size=self.large), 0.95)
        del large[report.BY_PAGE]  # both native files are read from disk in the same way
        self.timed(f"read {size}, page cache dropped", "cold", rounds, large, size=self.large)

    def _by_page(self, native):
        """A copy of the native file, in folios of one page; a note says what all of them are."""
        path = native + "-by-page"
        shutil.copy(native, path)
        page_cache.load_by_page(path)
        paths = {name: system.at("large") for name, system in self.systems.items()}
        sizes = {name: page_cache.folio_bytes(file) for name, file in {**paths, report.BY_PAGE: path}.items()}
        shown_sizes = ", ".join(f"{name} {size / 1024:.0f} KiB" for name, size in sizes.items() if size)
        self.notes.append(f"Mean folio of the large file in the page cache: {shown_sizes}.")
        return path

    def timed(self, what, operation, rounds, paths, others=None, size=None):
        """Adds a row that micro measures. others: cells of columns that cannot do it; size: bytes read."""
        line = [self.program("micro"), operation, str(rounds), *paths.values()]
        out = subprocess.run(line, stdout=subprocess.PIPE, text=True).stdout
        lines = [[float(word) for word in line.split()] for line in out.splitlines()]
        took = dict(zip(paths, zip(*lines)))
        failed = {name for name, samples in took.items() if any(map(math.isnan, samples))}
        cells = report.compared({name: took[name] for name in took if name not in failed})
        cells |= {name: {"none": "failed"} for name in failed}
        if size:
            for name in took.keys() - failed:
                cells[name]["bytes"] = size
        return self.row(what, "ns", cells | (others or {}))

    def expect_open(self, cells):
        ratio = cells["rptfs"]["ratio"]["median"]
        self.expect("open + read + close: time of native", "≤ 1.4", f"{ratio:.2f}", ratio <= 1.4)
        peers = {
            name: cells[name]["median"]
            for name, system in self.systems.items()
            if system.peers and "median" in cells[name]
        }
        if peers:
            best = min(peers, key=peers.get)
            times = peers[best] / cells["rptfs"]["median"]
            what = "open + read + close: speed of the best peer"
            self.expect(what, "≥ 30", f"{times:.0f} ({best})", times >= 30)

    def getxattr(self, rounds, paths):
        able, others = {}, {}
        for name, path in paths.items():
            try:
                os.getxattr(path, XATTR)
                able[name] = path
            except OSError:
                others[name] = {"none": "has none"}
        if "native" in able:
            self.timed("getxattr", "getxattr", rounds, able, others)
        else:
            self.notes.append("No user xattrs on the native file system, so getxattr was not measured.")

    def memory(self):
        pids = {name: [s.peers[0].process.pid] for name, s in self.systems.items() if s.peers}
        pids["rptfs"] = session_processes(self.rptfs.process.pid)
        for what, key in (("resident", "Rss"), ("what is shared counted once", "Pss")):
            cells = {name: {"value": report.memory_bytes(ids, key)} for name, ids in pids.items()}
            self.row(f"memory of the daemon, {what}", "B", cells)

    # Messages

    def count(self):
        operations = {
            "open + read + close": look_at,
            "stat": lambda path, _: os.stat(path),
            "pread": lambda _, fd: os.pread(fd, 4096, 0),
            "mmap + touch": touch,
            "getxattr": lambda path, _: os.getxattr(path, XATTR),
        }
        for what, operation in operations.items():
            asked = {name: system for name, system in self.systems.items() if system.messages}
            cells = {name: self._counted(system, operation) for name, system in asked.items()}
            self.row(f"FUSE messages: {what}", "", cells)

    def can_count(self, system):
        return not self.messages.missing or system is self.systems["rptfs"]

    def counting(self, system, path, pid=None):
        """Like Messages.count(); without tracepoints, uses the counters of rptfs."""
        if not self.messages.missing:
            return self.messages.count(path, pid)
        return counting_itself(self.rptfs)

    def _counted(self, system, operation, times=100):
        if not self.can_count(system):
            return {"none": "not measured"}
        path = system.at("small")
        fd = os.open(path, os.O_RDONLY)
        try:
            operation(path, fd)
            with self.counting(system, path) as counted:
                for _ in range(times):
                    operation(path, fd)
        except OSError:
            return {"none": "has none"}
        finally:
            os.close(fd)
        return report.messages(counted, times)


@contextlib.contextmanager
def counting_itself(rptfs):
    counted, before = collections.Counter(), rptfs.counts()
    yield counted
    for operation, n in rptfs.counts().items():
        if n > before.get(operation, 0):
            counted[operation.upper()] = n - before.get(operation, 0)


def look_at(path, _):
    fd = os.open(path, os.O_RDONLY)
    os.read(fd, 4096)
    os.close(fd)


def touch(_, fd):
    with mmap.mmap(fd, 4096, prot=mmap.PROT_READ) as mapped:
        mapped[0]


def file_system(path):
    line = ["findmnt", "-n", "-o", "FSTYPE", "-T", path]
    return subprocess.run(line, capture_output=True, text=True).stdout.strip() or "native"
