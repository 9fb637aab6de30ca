"""Configurations: every bad one is refused with exactly the messages that it names.

A file in config/bad/ begins with lines "# expect: LINE: TEXT": for each of them, and for nothing
else, there is one problem in that line of that file, whose message has TEXT at its beginning.
"""

import glob
import os
import re
import subprocess

import pytest
from rptmount import HANGS_S

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "config")


def files(directory):
    return sorted(glob.glob(os.path.join(HERE, directory, "*.conf")))


def name_of(path):
    return os.path.basename(path)[: -len(".conf")]


def run(build, directory, *arguments):
    environment = {
        name: value
        for name, value in os.environ.items()
        if name != "RPTFS_TEST_UNSET" and not name.startswith("AWS_")
    }
    return subprocess.run(
        [build.rptfs, *arguments],
        env={**environment, **build.environment(directory)},
        capture_output=True,
        timeout=HANGS_S,
    )


@pytest.mark.parametrize("path", files("bad"), ids=name_of)
def test_bad(build, directory, path):
    with open(path, encoding="utf-8") as file:
        expected = re.findall(r"^# expect: (\d+: .*)$", file.read(), re.MULTILINE)
    assert expected

    done = run(build, directory, "-c", path, "--check-config")

    problems = done.stderr.decode(errors="replace").splitlines()
    assert done.returncode == 1
    assert len(problems) == len(expected), problems
    for text in expected:
        assert any(line.startswith(f"{path}:{text}") for line in problems), (text, problems)


def test_many_bad_ones_are_kept():
    assert len(files("bad")) >= 40


@pytest.mark.parametrize("path", files("good"), ids=name_of)
def test_good(build, directory, path):
    checked = run(build, directory, "-c", path, "--check-config")
    assert (checked.returncode, checked.stderr) == (0, b"")

    shown = run(build, directory, "-c", path, "--show-config")
    assert shown.returncode == 0
    again = os.path.join(directory, "again.conf")
    with open(again, "wb") as file:
        file.write(shown.stdout)
    # A secret is shown as "***", which is shown as that again.
    assert run(build, directory, "-c", again, "--show-config").stdout == shown.stdout


def test_show_masks_secrets(build, directory):
    path = os.path.join(HERE, "good", "sources.conf")
    shown = run(build, directory, "-c", path, "--show-config").stdout
    assert b"hunter2" not in shown
    assert b'password = "***"' in shown


def test_include_takes_all_that_match(build, directory):
    path = os.path.join(HERE, "good", "include.conf")
    shown = run(build, directory, "-c", path, "--show-config").stdout.decode()
    assert re.findall(r'^term "(.*)" {$', shown, re.MULTILINE) == ["main", "one", "two"]


def test_missing_file(build, directory):
    done = run(build, directory, "-c", "/nonexistent/x.conf", "--check-config")
    assert done.returncode == 1
    assert done.stderr == b"rptfs: /nonexistent/x.conf: No such file or directory\n"


def test_problems_of_the_command_line(build, directory):
    done = run(
        build,
        directory,
        *["--check-config", "-o", "rw,foo,history=x,nosuid,bar=1", "/mnt/x"],
        *["a=ftp://user:hunter2@localhost/", "b//c=https://localhost/"],
    )
    assert done.returncode == 1
    lines = done.stderr.decode().splitlines()
    assert lines[:3] == [
        'rptfs: unknown option -o "foo"',
        'rptfs: -o history: "x" is not a whole number',
        'rptfs: unknown option -o "bar=1"',
    ]
    assert lines[3].startswith('rptfs: term "a": its URL does not begin with one of: ')
    assert lines[4] == 'rptfs: term "b//c": the name has "//" in it'
    assert len(lines) == 5
    assert b"hunter2" not in done.stderr
