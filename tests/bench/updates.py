"""What an update costs its first reader, and how long it takes to reach it.

The reader (look) has read the old version, sleeps until the new one is published, and looks once:
open, fstat, read, close. On the native file systems the update is write, fsync and rename(2) by
another process. On rptfs, whose updates are as durable, it is a refresh that has reported success.
On a peer, which checks for new versions as often as it can, it is the first look that shows the new
version. With two cores, the reader has one of its own, because a version that the same core has just
written is in that core's cache. The time asleep matters as well, so all readers sleep equally long,
and a second reader is busy with another file meanwhile.
"""

import contextlib
import os
import statistics
import struct
import subprocess
import time

import report
from rptmount import session_processes

UPDATED = {"update4k": 4 << 10, "update1m": 1 << 20}
LATENCY = {"latency": 4 << 10}
SEEN_WITHIN_S = 5
SLEEP_S = 0.015  # longer than any of these updates takes


class Reader:
    """A reader that sleeps until it is asked, or is busy with another file."""

    def __init__(self, program, *other):
        self.is_busy = bool(other)
        self.process = subprocess.Popen(
            [program, *other], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def look(self, path):
        """Returns (nanoseconds, the first eight bytes)."""
        self.process.stdin.write(path + "\n")
        words = self.process.stdout.readline().split()
        if len(words) != 4:
            raise OSError(int(words[1]) if words else 0, "look", path)
        return int(words[0]), bytes.fromhex(words[3])

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)


class Updates:
    def __init__(self, comparison):
        self.comparison = comparison
        self.quick = comparison.quick
        self.systems = {n: s for n, s in comparison.systems.items() if s.fresh}
        self.blind = {n: {"none": "never seen"} for n, s in comparison.systems.items() if not s.fresh}
        self.mark = 0

    def run(self):
        program = self.comparison.program("look")
        with contextlib.closing(Reader(program)) as asleep:
            for name, size in UPDATED.items():
                self.first_reads(asleep, name, size)
                with contextlib.closing(Reader(program, self.systems["native"].at("small"))) as busy:
                    self.first_reads(busy, name, size)
                self.first_messages(asleep, name, size)
            for origin in ("local", "http", "s3"):
                self.latency(asleep, origin)
        self.publish()

    def body(self, size):
        """Returns new bytes each time: (all, the first eight)."""
        self.mark += 1
        beginning = struct.pack(">Q", self.mark)
        return beginning + bytes(size - len(beginning)), beginning

    @contextlib.contextmanager
    def apart(self, reader):
        """Pins the reader to one core, and the writer and rptfs to the others."""
        all_cores = sorted(os.sched_getaffinity(0))
        others = [os.getpid(), *session_processes(self.comparison.rptfs.process.pid)]
        if len(all_cores) > 1:
            run_on(reader.process.pid, all_cores[:1])
            for pid in others:
                run_on(pid, all_cores[1:])
        try:
            yield
        finally:
            for pid in (reader.process.pid, *others):
                run_on(pid, all_cores)

    # The first read

    def first_reads(self, reader, name, size):
        what = f"first read after an update, {report.binary(size)}" + ", busy" * reader.is_busy
        with self.apart(reader):
            cells = self.comparison.row(what, "ns", self.timed(reader, name, size) | self.blind)
        ratio = cells["rptfs"]["ratio"]["median"]
        self.comparison.expect(f"{what}: time of native", "≤ 1.3", f"{ratio:.2f}", ratio <= 1.3)

    def first_messages(self, reader, name, size):
        what = f"FUSE messages: first read after an update, {report.binary(size)}"
        asked = {column: system for column, system in self.systems.items() if system.messages}
        cells = {column: self.counted(reader, system, name, size) for column, system in asked.items()}
        own = self.comparison.row(what, "", cells | self.blind)["rptfs"]
        good = own["value"] == 0 if "value" in own else None
        self.comparison.expect(what, "0", report.show_cell(own, "", " "), good)

    def timed(self, reader, name, size):
        """A sample is the median of several updates; of a peer, which takes milliseconds, of one."""
        batches, batch = (5, 10) if self.quick else (15, 20)
        took = {column: [] for column in self.systems}
        for _ in range(batches):
            now = {column: [] for column in self.systems}
            for turn in range(batch):
                for column, system in self.systems.items():
                    if not (system.peers and turn):
                        now[column].append(self.first(reader, system, name, size))
            for column, samples in now.items():
                took[column].append(statistics.median(samples))
        return report.compared(took)

    def first(self, reader, system, name, size):
        """Returns nanoseconds."""
        path = system.fresh(name)
        for _ in range(3):
            reader.look(path)
        start = time.monotonic()
        body, expected = self.body(size)
        system.update(name, body)
        if not reader.is_busy:
            time.sleep(max(0, start + SLEEP_S - time.monotonic()))
        until = time.monotonic() + SEEN_WITHIN_S
        while True:
            took, seen = reader.look(path)
            if seen == expected:
                return took
            if not system.peers or time.monotonic() > until:
                raise RuntimeError(f"{path} has not changed with the update")

    def counted(self, reader, system, name, size):
        if not self.comparison.can_count(system):
            return {"none": "not measured"}
        times, total = 3 if self.quick else 10, {}
        path = system.fresh(name)
        for _ in range(times):
            reader.look(path)
            system.update(name, self.body(size)[0])
            with self.comparison.counting(system, path, reader.process.pid) as counted:
                reader.look(path)
            for operation, n in counted.items():
                total[operation] = total.get(operation, 0) + n
        return report.messages(total, times)

    # From the origin to the reader

    def latency(self, reader, origin):
        """Time from the moment when the origin has the new version to the end of the first look that
        shows it. The reader looks all the time. rptfs is asked to refresh at that moment (HTTP, S3)
        or notices by itself (a local file)."""
        source = self.comparison.origins.get(origin)
        if not source:
            return
        (name, size), asked = *LATENCY.items(), None if origin == "local" else f"{origin}/latency"
        ways = {"rptfs": (self.systems["rptfs"].at(f"{origin}/{name}"), asked)}
        if origin == "local":
            ways["native"] = (self.systems["native"].at(name), None)
        for column, system in self.systems.items():
            if system.origin == origin:
                ways[column] = (system.fresh(name), None)
        took = {column: [] for column in ways}
        for _ in range(5 if self.quick else 30):
            for column, (path, asked) in ways.items():
                took[column].append(self.arrival(reader, source, name, size, path, asked))
        cells = {column: report.summary(samples) for column, samples in took.items()}
        for column, cell in self.blind.items():
            if self.comparison.systems[column].origin == origin:
                cells[column] = cell
        where = {"local": "a local file", "http": "HTTP", "s3": "S3"}[origin]
        self.comparison.row(f"update to reader, {where}", "ns", cells)

    def arrival(self, reader, source, name, size, path, asked):
        """Returns nanoseconds."""
        reader.look(path)
        body, expected = self.body(size)
        source.put(name, body)
        start = time.perf_counter_ns()
        if asked:
            self.comparison.refresh(asked, wait=False)
        while reader.look(path)[1] != expected:
            if time.perf_counter_ns() - start > SEEN_WITHIN_S * 1e9:
                raise RuntimeError(f"the update did not arrive at {path}")
        return time.perf_counter_ns() - start

    def publish(self):
        """Time from the commit until the name shows the new version, as rptfs reports it."""
        what = "publish of 4 KiB, commit to visible"
        rptfs, total = self.comparison.rptfs, "rptfs_publish_seconds_sum"
        if total not in rptfs.metrics():
            self.comparison.expect(what, "≤ 1 ms", f"no metric {total}", None)
            return
        took = []
        for _ in range(20 if self.quick else 100):
            before = rptfs.metrics()[total]
            self.systems["rptfs"].update("update4k", self.body(4096)[0])
            time.sleep(0.11)  # a rendering is cached for 0.1 s
            took.append((rptfs.metrics()[total] - before) * 1e9)
        cells = self.comparison.row(what, "ns", {"rptfs": report.summary(took)})
        median = cells["rptfs"]["median"]
        self.comparison.expect(what, "≤ 1 ms", report.show(median, "ns"), median <= 1e6)


def run_on(pid, cores):
    """Pins all threads of the process to these cores."""
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(task), cores)
