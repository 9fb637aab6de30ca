"""tests/bench/run crash: what a crash, an upgrade and a long uptime cost a reader."""

import glob
import os
import re
import shutil
import statistics
import subprocess
import sys
import time

from builds import other_build
from measure import make_terms, milliseconds, terms_config
from rptmount import wait_for
from worker_look import children


def longest_of(seconds):
    return milliseconds(seconds) if seconds else "< 0.30 ms"


def megabytes(size):
    return f"{size / 1e6:.2f} MB"


class Readers:
    """`torture pause` in the background: it reads one file after the other and records the times."""

    def __init__(self, build, paths, cold=False):
        line = [build.torture, "pause", "-r", "500", "-s", "600", "-o", "300"]
        self.process = subprocess.Popen(
            [*line, *(["-c"] if cold else []), *paths], stdout=subprocess.PIPE, text=True
        )

    def finish(self):
        """Returns (end, seconds) of each read that took longer than 0.3 ms, and the longest of all."""
        self.process.terminate()
        out, _ = self.process.communicate(timeout=60)
        if " failed=0 " not in out:
            raise RuntimeError("a reader failed: " + out)
        reads = re.findall(r"pause_us=(\d+) at_s=([\d.]+)", out)
        longest = int(re.search(r"longest_us=(\d+)", out).group(1)) / 1e6
        return [(float(at), int(us) / 1e6) for us, at in reads], longest


def longest_after(moments, pauses):
    """For each moment, the longest pause (end, seconds) that ends before the next moment."""
    ends = [*moments[1:], float("inf")]
    return [
        max(((at, pause) for at, pause in pauses if start <= at < end), key=lambda p: p[1], default=(0, 0))
        for start, end in zip(moments, ends)
    ]


def begun_within(spans, pauses):
    """The longest pause that begins in one of the spans (end, seconds)."""
    return max(
        (
            pause
            for at, pause in pauses
            if any(end - seconds <= at - pause < end - 0.001 for end, seconds in spans)
        ),
        default=0,
    )


class Crash:
    def __init__(self, bench):
        self.bench, self.build, self.table = bench, bench.build, bench.table

    def spread(self, what, seconds, limit=None):
        """Shows the median, and whether the worst is within the limit."""
        seconds = sorted(seconds)
        expected = ""
        if limit is not None:
            good = seconds[-1] <= limit
            expected = f"<= {milliseconds(limit)}  {'ok' if good else 'SHORT'}"
            if not good:
                self.table.short.append(what)
        self.table.row(
            what, "", milliseconds(statistics.median(seconds)), "",
            f"{seconds[0] * 1000:.0f} .. {seconds[-1] * 1000:.0f} ms", expected,
        )  # fmt: skip

    def run(self):
        self.deaths(100, 0.150)
        self.deaths(1000 if self.bench.quick else 10_000, 0.500)
        self.publishes()
        self.lookups()

    # Deaths, upgrades, a start

    def deaths(self, n, limit):
        origin = self.bench.origin(f"crash{n}")
        make_terms(origin, n)
        m = self.bench.mount(f"mount-crash{n}", terms_config(origin, n))
        m.binary = os.path.join(m.dir, "installed")
        shutil.copy(self.build.rptfs, m.binary)
        m.start(wait=False)
        wait_for(lambda: len(glob.glob(m.path + "/*/*")) == n, "all terms", 300, 0.11)
        self.over_deaths(m, n, limit)
        self.over_upgrades(m, n)
        m.stop()
        origin.close()
        self.start_without_sources(m, n)
        m.stop()

    def over_deaths(self, m, n, limit):
        native = os.path.join(m.dir, "native")
        with open(native, "wb") as file:
            file.write(bytes(100))
        files = [m.at(f"d{i % 100:02}/{i}") for i in range(min(n, 1000))]
        readers = [
            Readers(self.build, files[10:], cold=True),
            Readers(self.build, files[:10]),
            Readers(self.build, [native]),
        ]
        moments = []
        for _ in range(5 if self.bench.quick else 15):
            time.sleep(1.5)  # long enough that the next worker starts without a delay
            (worker,) = children(m.keeper, "worker")
            moments.append(time.monotonic())
            os.kill(worker, 9)
            m.wait_worker(after=worker, seconds=30)
        time.sleep(0.5)
        (cold, _), (warm, longest), (native, yardstick) = [reader.finish() for reader in readers]
        deaths = longest_after(moments, cold)
        self.spread(f"cold read over kill -9, {n} terms", [seconds for _, seconds in deaths], limit)
        for when, ours, theirs in (
            ("while dead", begun_within(deaths, warm), begun_within(deaths, native)),
            ("over all", longest, yardstick),
        ):
            self.table.row(
                f"warm read {when}, {n} terms", longest_of(theirs), longest_of(ours), "", "the longest"
            )

    def over_upgrades(self, m, n):
        files = [m.at(f"d{i % 100:02}/{i}") for i in range(min(n, 1000))]
        readers = Readers(self.build, files, cold=True)
        moments = []
        for _ in range(3 if self.bench.quick else 5):
            time.sleep(1.5)
            other_build(m.binary)
            moments.append(time.monotonic())
            m.rpt("upgrade")
        time.sleep(0.5)
        pauses, _ = readers.finish()
        took = [seconds for _, seconds in longest_after(moments, pauses)]
        self.spread(f"cold read over an upgrade, {n} terms", took)

    def start_without_sources(self, m, n):
        """From the command to the first read of a name that this kernel has never seen."""
        took = []
        for i in range(3 if self.bench.quick else 5):
            start = time.perf_counter()
            log = open(m.log_path, "ab")  # pylint: disable=consider-using-with
            m.process = subprocess.Popen(
                m.command("-f", "-c", m.conf), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=m.env, cwd=m.dir, start_new_session=True,
            )  # fmt: skip
            log.close()
            while True:
                try:
                    with open(m.at(f"d{i:02}/{i}"), "rb") as file:
                        if file.read():
                            break
                except OSError:
                    time.sleep(0.0005)
            took.append(time.perf_counter() - start)
            m.control = wait_for(m._find_control, "user.rpt.control")  # pylint: disable=protected-access
            m.run_rpt("status", "--json")
            if i + 1 < (3 if self.bench.quick else 5):
                m.stop()
        self.spread(f"start, sources down, {n} terms", took, 1.0)

    # A long life

    def grown(self, what, few, many, unit):
        good = many < few * 1.05 + 300_000
        if not good:
            self.table.short.append(what)
        self.table.row(
            what, megabytes(few), megabytes(many), f"{many / few:.3f}", f"after {unit}",
            f"flat  {'ok' if good else 'SHORT'}",
        )  # fmt: skip

    def publishes(self):
        """Publishes small files as fast as possible into a store in memory."""
        few, many = (2000, 20_000) if self.bench.quick else (10_000, 100_000)
        source = os.path.join(self.bench.place, "publishes")
        os.mkdir(source)
        config = "defaults { refresh_interval = 1h }\n"
        for i in range(64):
            body = subprocess.run(
                [self.build.torture, "make", f"f{i}", "1", "4096"], check=True, capture_output=True
            ).stdout
            with open(os.path.join(source, f"f{i}"), "wb") as file:
                file.write(body)
            config += f'term "f{i}" {{ file {{ path = "{source}/f{i}" }} }}\n'
        m = self.bench.mount("mount-publishes", config, store="memory").start()
        swap = [self.build.torture, "swap", "-r", "4000", "-s", "1800", source]
        start = time.perf_counter()
        with subprocess.Popen(swap, stdout=subprocess.DEVNULL) as swapper:
            used = []
            for n in (few, many):
                wait_for(lambda n=n: updated(m) >= n, f"{n} publishes", 1500, 0.25)
                used.append(own_memory(m))
            swapper.kill()
        rate = many / (time.perf_counter() - start)
        self.grown("memory over publishes", *used, f"{few} and {many}")
        self.table.row("publishes a second", "", f"{rate:.0f}")
        m.stop()

    def lookups(self):
        """Looks up existing names, which the kernel forgets in between, and names that do not exist."""
        n = 1000
        few, many = (20_000, 100_000) if self.bench.quick else (100_000, 1_000_000)
        config = 'defaults { refresh_interval = "never" }\n'
        for i in range(n):
            config += f'term "d{i % 100:02}/{i}" {{ static {{ data = "{i}" }} }}\n'
        m = self.bench.mount("mount-lookups", config).start()
        used, done = [], 0
        for target in (few, many):
            while m.counts().get("lookup", 0) < target:
                for i in range(n):
                    os.stat(m.at(f"d{i % 100:02}/{i}"))
                    missing(m.at(f"d{i % 100:02}/no{done + i}"))
                    missing(m.at(f"no{done + i}/x"))
                done += n
                with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
                    file.write("2")
            used.append(own_memory(m))
        self.grown("memory over look-ups", *used, f"{few} and {many}")
        m.stop()


def missing(path):
    try:
        os.stat(path)
    except FileNotFoundError:
        return
    sys.exit(f"bench: {path} is there")


def updated(m):
    return sum(term["updated_total"] for term in m.status()["terms"])


def own_memory(m):
    """Anonymous resident memory of keeper and worker."""
    total = 0
    for pid in (m.keeper, *children(m.keeper, "worker")):
        with open(f"/proc/{pid}/status", encoding="utf-8") as file:
            for line in file:
                if line.startswith(("RssAnon:", "RssShmem:")):
                    total += int(line.split()[1]) * 1024
    return total
