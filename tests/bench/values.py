"""What a program pays to look at a value that it keeps at hand, when nothing has changed: librpt, and
what Erlang's persistent_term:get/1 costs, which librpt is to be for C."""

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
        """Of what get prints: lines of a name and the nanoseconds of one, a line for each round."""
        expected = {"generations check": 2, "rpt_term_get": 5}
        program, samples = self.comparison.program("get"), {}
        if os.path.exists(program):
            line = [program, self.comparison.systems["rptfs"].at("small"), str(ROUNDS)]
            done = subprocess.run(line, check=True, capture_output=True, text=True, timeout=120)
            for line in done.stdout.splitlines():
                name, _, took = line.rpartition(" ")
                samples.setdefault(name.strip(": "), []).append(float(took))
        medians = {name: self.value(name, took) for name, took in samples.items()}
        for name, limit in expected.items():
            took = medians.get(name)
            measured = report.show(took, "ns") if took is not None else "no program get"
            good = took <= limit if took is not None else None
            self.comparison.expect(f"{name}, unchanged", f"≤ {limit} ns", measured, good)

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
