"""tests/bench/run scale: what 100,000 terms on one mount cost."""

import glob
import os
import statistics
import subprocess
import time

import report
from measure import ask, cpu_seconds, make_terms, microseconds, milliseconds, term_name, terms_config
from rptmount import read, session_processes, wait_for
from servers import make_certificates

INTERVAL_S = 60
REST_S = 6


def kilobytes(size):
    return f"{size / 1e3:.0f} kB"


class Scale:
    def __init__(self, bench):
        self.bench, self.table = bench, bench.table
        self.few, self.many = (100, 2000) if bench.quick else (1000, 100_000)
        self.memory = {}

    def run(self):
        origin = self.bench.origin("scale")
        make_terms(origin, self.many)
        m = self.fetch(origin, self.few)
        self.restart(m, self.few).stop()
        m = self.fetch(origin, self.many)
        self.read_configuration(m)
        self.look_around(m, origin)
        self.checks(m, "HTTP/1.1")
        self.publish(m, origin)
        self.restart(m, self.many)
        self.idle(m)
        self.every_minute(m, origin)
        m.stop()
        origin.close()
        self.over_tls()
        self.memory_per_term()

    def expect(self, what, value, show, least):
        """Adds a row whose value should be at least `least`."""
        good = value >= least
        if not good:
            self.table.short.append(what)
        expected = f">= {show(least)}  {'ok' if good else 'SHORT'}"
        self.table.row(what, "", show(value), expected=expected)

    # From nothing, and from the store

    def fetch(self, origin, n):
        m = self.bench.mount(f"mount-scale{n}", terms_config(origin, n))
        start = time.perf_counter()
        m.start(wait=False)
        wait_for(lambda: shown(m) == n, "all terms", 600, 0.5)
        self.table.single(f"{n} terms: start, all fetched", time.perf_counter() - start, milliseconds)
        self.rest(m)
        self.memory["fetched", n] = self.resident(m)
        return m

    def restart(self, m, n):
        """Time from the command to the first read of a term."""
        took = []
        for _ in range(5):
            m.stop()
            start = time.perf_counter()
            m.start(wait=False)
            m.read(term_name(n - 1))
            took.append(time.perf_counter() - start)
        took.sort()
        spread = f"{milliseconds(took[0])} .. {milliseconds(took[-1])}"
        self.table.single(f"{n} terms: start from the store", took[2], milliseconds, 2, spread)
        self.rest(m)
        self.memory["restarted", n] = self.resident(m)
        return m

    def rest(self, m):
        """Waits until no source has been asked for a while and the extra update threads have ended."""
        asked = -1
        while asked != (asked := m.metrics()["rptfs_http_requests_total"]):
            time.sleep(REST_S)

    def resident(self, m):
        time.sleep(0.2)  # a rendering of .rpt/metrics is kept for 0.1 s, and as long as it is open
        forget()
        return report.memory_bytes(session_processes(m.process.pid), "Rss")

    def memory_per_term(self):
        for when in ("fetched", "restarted"):
            grown = self.memory[when, self.many] - self.memory[when, self.few]
            a_term = grown / (self.many - self.few)
            self.table.single(f"memory a term, {when}", a_term, lambda size: f"{size:.0f} B", 1331)

    def read_configuration(self, m):
        start = time.perf_counter()
        command = [self.bench.build.rptfs, "--check-config", "-c", m.conf]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        took = time.perf_counter() - start
        self.table.single(f"{self.many} terms: the configuration is read", took, milliseconds, 1)

    # Look-ups and listings

    def look_around(self, m, origin):
        """The same tree as ordinary files and as terms, with cold dentry and inode caches."""
        pairs = {"first ls -R": [], "first stat of each": [], "first read of each": []}
        names = [term_name(i) for i in range(self.many)]
        for _ in range(3):
            for what, operation in (
                ("first ls -R", lambda root: subprocess.run(["ls", "-R", root], stdout=subprocess.DEVNULL)),
                ("first stat of each", lambda root: [os.stat(f"{root}/{name}") for name in names]),
                ("first read of each", lambda root: [read(f"{root}/{name}") for name in names]),
            ):
                pair = []
                for root in (origin.root, m.path):
                    forget()
                    start = time.perf_counter()
                    operation(root)
                    pair.append((time.perf_counter() - start) * 1e9)
                pairs[what].append(tuple(pair))
        for what, pair in pairs.items():
            self.table.compare(f"{self.many} terms: {what}", pair, lambda ns: milliseconds(ns / 1e9))

    # Refreshing

    def checks(self, m, protocol):
        """Checks all terms at once, each answered with 304. The origin runs on the same processors."""
        n, rates, costs = self.many, [], []
        before = file_size(m.store + "/catalog.db-wal")
        for _ in range(3):
            cpu, start = cpu_seconds(m), time.perf_counter()
            m.rpt("refresh", "--wait", timeout=600)
            rates.append(n / (time.perf_counter() - start))
            costs.append((cpu_seconds(m) - cpu) / n)
        rates.sort()
        self.expect(f"checks a second, {protocol}", statistics.median(rates), lambda rate: f"{rate:.0f}", 5000)
        self.table.single(f"CPU a check, {protocol}", statistics.median(costs) * 1e9, microseconds, 150e3)
        grown = file_size(m.store + "/catalog.db-wal") - before
        self.table.single("  the catalog's log has grown by", grown, kilobytes)
        self.table.single("  descriptors of the worker", len(os.listdir(f"/proc/{m.worker}/fd")), str)

    def publish(self, m, origin):
        """Updates single terms among many."""
        took = []
        for i in range(20):
            name = term_name(i * 7)
            before = os.stat(m.at(name)).st_ino
            origin.put("/" + name, bytes(100 + i))
            start = time.perf_counter()
            ask(m, {"command": "refresh", "terms": [name]})
            wait_for(lambda: os.stat(m.at(name)).st_ino != before, "the update", 10, 0)
            took.append(time.perf_counter() - start)
        self.table.single(f"{self.many} terms: update of one", statistics.median(took), milliseconds)

    def idle(self, m):
        seconds = 5 if self.bench.quick else 30
        before = cpu_seconds(m)
        time.sleep(seconds)
        used = (cpu_seconds(m) - before) / seconds * 100
        self.table.single("idle CPU, never", used, lambda percent: f"{percent:.3f} %", 0.2)

    def every_minute(self, m, origin):
        """Measures from the middle of one interval to the middle of the next, because a check may come
        up to a tenth of an interval early."""
        m.stop()
        m.configure(terms_config(origin, self.many, f"{INTERVAL_S}s"))
        m.start(wait=False)
        time.sleep(INTERVAL_S / 2)
        before, cpu = m.metrics()["rptfs_http_requests_total"], cpu_seconds(m)
        start = time.perf_counter()
        time.sleep(INTERVAL_S)
        cpu, seconds = cpu_seconds(m) - cpu, time.perf_counter() - start
        n = m.metrics()["rptfs_http_requests_total"] - before
        a_term = n / self.many / seconds * INTERVAL_S
        self.expect(f"checks of each in {INTERVAL_S} s, every {INTERVAL_S} s", a_term, "{:.2f}".format, 0.99)
        self.table.single("  CPU", cpu / seconds * 100, lambda percent: f"{percent:.1f} %")
        self.table.single("  CPU a check", cpu / n * 1e9, microseconds, 150e3)

    def over_tls(self):
        place = os.path.join(self.bench.place, "scale-certificates")
        os.makedirs(place)
        origin = self.bench.origin("scale-tls", tls=make_certificates(place))
        make_terms(origin, self.many)
        config = terms_config(origin, self.many, more=f'ca_file = "{place}/ca.pem"')
        m = self.bench.mount("mount-scale-tls", config).start(wait=False)
        wait_for(lambda: shown(m) == self.many, "all terms", 600, 0.5)
        self.checks(m, "HTTP/2")
        m.stop()
        origin.close()


def shown(m):
    """Returns how many terms have a file."""
    return len(glob.glob(m.path + "/*/*"))


def forget():
    """Drops the kernel's dentry, inode and page caches."""
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
        file.write("3")


def file_size(path):
    try:
        return os.path.getsize(path)
    except FileNotFoundError:
        return 0
