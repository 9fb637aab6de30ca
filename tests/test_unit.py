"""The C unit tests: tests/unit/test_NAME.c is built as unit-NAME, and prints TAP."""

import os
import re
import subprocess

import pytest
from builds import TOP, Build
from rptmount import HANGS_S, in_chroot


PROGRAMS = [
    "unit-" + name.removeprefix("test_").removesuffix(".c")
    for name in sorted(os.listdir(os.path.join(TOP, "tests", "unit")))
    if name.startswith("test_") and name.endswith(".c")
]


LONG = {
    f"unit-{name}" for name in ("http_connect", "network", "store_faults", "store_power", "visitor")
}


def pytest_generate_tests(metafunc):
    if "program" not in metafunc.fixturenames:
        return
    programs = []
    for name in metafunc.config.getoption("--build").split(","):
        if name == "notify":  # the same programs as of plain
            continue
        build = Build(name)
        for program in PROGRAMS:
            path = os.path.join(build.dir, "tests", "unit", program)
            marks = [pytest.mark.long] if program in LONG else []
            programs.append(pytest.param((build, path), id=f"{name}-{program}", marks=marks))
    metafunc.parametrize("program", programs)


@pytest.mark.timeout(10 * HANGS_S)
def test_each_unit_test_passes(program, directory):
    build, path = program
    done = subprocess.run(
        [path], capture_output=True, text=True, timeout=9 * HANGS_S, stdin=subprocess.DEVNULL,
        cwd=directory, env={**os.environ, **build.environment(directory)},
    )  # fmt: skip
    reports = [name for name in os.listdir(directory) if name.startswith("sanitizer.")]
    said = done.stdout + done.stderr
    for name in reports:
        with open(os.path.join(directory, name), encoding="utf-8", errors="replace") as file:
            said += file.read()[:8000]
    if in_chroot() and (skipped := re.match(r"1\.\.0 # SKIP (.*)", done.stdout)):
        pytest.skip(skipped[1])
    failed = re.findall(r"^not ok .*(?:\n#.*)*", done.stdout, re.M)
    assert not failed, "\n".join(failed)
    plan = re.findall(r"^1\.\.(\d+)$", done.stdout, re.M)
    passed = len(re.findall(r"^ok \d+", done.stdout, re.M))
    assert done.returncode == 0 and not reports, said
    assert plan == [str(passed)], f"{passed} passed of a plan of {plan}\n{said}"


def test_there_are_unit_tests():
    """Otherwise an empty list would pass."""
    assert len(PROGRAMS) >= 40
