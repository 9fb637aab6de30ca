"""What it costs a program to check a value in memory when nothing has changed: with librpt, and for
comparison with Erlang's persistent_term:get/1."""

import os
import shutil
import subprocess

import report

ROUNDS = 9


class Values:
    def __init__(self, comparison):
        self.comparison = comparison

    def run(self):
        self.librpt()
        self.erlang()

    def librpt(self):
        expected = {"librpt's rpt_term_get()": 5, "check of a word of generations": 2}
        program, rptfs = self.comparison.program("get"), self.comparison.rptfs
        if not os.path.exists(program):
            for what, limit in expected.items():
                self.comparison.expect(what, f"≤ {limit} ns", "no program get", None)
            return
        line = [program, str(ROUNDS), rptfs.at("small"), rptfs.at(".rpt/generations")]
        done = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True, timeout=120)
        rounds = [[float(word) for word in line.split()] for line in done.stdout.splitlines()]
        for what, samples in zip((*expected, "load of a pointer and a byte behind it"), zip(*rounds)):
            median = self.value(what, samples)
            if what in expected:
                limit = expected[what]
                self.comparison.expect(what, f"≤ {limit} ns", report.show(median, "ns"), median <= limit)

    def value(self, what, samples):
        cell = report.summary(samples)
        self.comparison.values.append({"what": what, "cell": cell})
        print(f"{what}: {report.show_cell(cell, 'ns', ' ')}", flush=True)
        return cell["median"]

    def erlang(self):
        what, place = "persistent_term:get/1 (Erlang/OTP)", self.comparison.place
        if not shutil.which("erlc"):
            self.comparison.notes.append(f"{what} is missing: no program erlc.")
            return
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "term_get.erl")
        subprocess.run(["erlc", "-o", place, source], check=True, timeout=60)
        line = ["erl", "-noshell", "-pa", place, "-s", "term_get", "main", str(ROUNDS)]
        done = subprocess.run(
            line, check=True, capture_output=True, text=True, timeout=120, env=os.environ | {"HOME": place}
        )
        self.value(what, [float(line) for line in done.stdout.splitlines()])
