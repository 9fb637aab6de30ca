"""The C unit tests: every program below build/NAME/tests/unit speaks TAP."""

import os
import re
import subprocess

import pytest
from builds import TOP, Build


def pytest_generate_tests(metafunc):
    if "program" not in metafunc.fixturenames:
        return
    programs = []
    for name in metafunc.config.getoption("--build").split(","):
        build = Build(name)
        place = os.path.join(build.dir, "tests", "unit")
        found = sorted(os.listdir(place)) if os.path.isdir(place) else []
        for program in found:
            path = os.path.join(place, program)
            if program.startswith("unit-") and os.path.isfile(path) and os.access(path, os.X_OK):
                programs.append(pytest.param((build, path), id=f"{name}-{program}"))
    metafunc.parametrize("program", programs)


def test_unit(program, directory):
    build, path = program
    done = subprocess.run(
        [path], capture_output=True, text=True, timeout=100, stdin=subprocess.DEVNULL,
        cwd=directory, env={**os.environ, **build.environment(directory)},
    )  # fmt: skip
    reports = [name for name in os.listdir(directory) if name.startswith("sanitizer.")]
    said = done.stdout + done.stderr
    for name in reports:
        with open(os.path.join(directory, name), encoding="utf-8", errors="replace") as file:
            said += file.read()[:8000]
    failed = re.findall(r"^not ok .*(?:\n#.*)*", done.stdout, re.M)
    assert not failed, "\n".join(failed)
    plan = re.findall(r"^1\.\.(\d+)$", done.stdout, re.M)
    passed = len(re.findall(r"^ok \d+", done.stdout, re.M))
    assert done.returncode == 0 and not reports, said
    assert plan == [str(passed)], f"{passed} passed of a plan of {plan}\n{said}"


def test_there_are_unit_tests():
    """An empty list would pass."""
    sources = os.listdir(os.path.join(TOP, "tests", "unit"))
    assert len([name for name in sources if name.startswith("test_") and name.endswith(".c")]) >= 5
