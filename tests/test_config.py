"""Configurations: every bad one is refused with exactly the messages that it names.

A file in config/bad/ begins with lines "# expect: LINE: TEXT": for each of them, and for nothing
else, there is one problem in that line of that file, whose message has TEXT at its beginning.
"""

import glob
import os
import re
import subprocess

import pytest
from builds import TOP
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
def test_each_bad_configuration_is_refused_with_its_messages(build, directory, path):
    with open(path, encoding="utf-8") as file:
        expected = re.findall(r"^# expect: (\d+: .*)$", file.read(), re.MULTILINE)
    assert expected

    done = run(build, directory, "-c", path, "--check-config")

    problems = done.stderr.decode(errors="replace").splitlines()
    assert done.returncode == 1
    assert len(problems) == len(expected), problems
    for text in expected:
        assert any(line.startswith(f"{path}:{text}") for line in problems), (text, problems)


def test_there_are_many_bad_configurations():
    assert len(files("bad")) >= 40


@pytest.mark.parametrize("path", files("good"), ids=name_of)
def test_each_good_configuration_is_accepted(build, directory, path):
    checked = run(build, directory, "-c", path, "--check-config")
    assert (checked.returncode, checked.stderr) == (0, b"")

    shown = run(build, directory, "-c", path, "--show-config")
    assert shown.returncode == 0
    again = os.path.join(directory, "again.conf")
    with open(again, "wb") as file:
        file.write(shown.stdout)
    # A secret is shown as "***", which is shown as that again.
    assert run(build, directory, "-c", again, "--show-config").stdout == shown.stdout


def test_show_config_masks_secrets(build, directory):
    path = os.path.join(HERE, "good", "sources.conf")
    shown = run(build, directory, "-c", path, "--show-config").stdout
    assert b"hunter2" not in shown
    assert b'password = "***"' in shown


def test_include_reads_all_files_that_match(build, directory):
    path = os.path.join(HERE, "good", "include.conf")
    shown = run(build, directory, "-c", path, "--show-config").stdout.decode()
    assert re.findall(r'^term "(.*)" {$', shown, re.MULTILINE) == ["main", "one", "two"]


def test_a_missing_configuration_file_is_an_error(build, directory):
    done = run(build, directory, "-c", "/nonexistent/x.conf", "--check-config")
    assert done.returncode == 1
    assert done.stderr == b"rptfs: /nonexistent/x.conf: No such file or directory\n"


def test_problems_of_the_command_line_are_reported(build, directory):
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


def rows(build):
    """Every option of every table: table, name, type, role, default."""
    listing = subprocess.run([build.rptfs, "--list-options"], check=True, capture_output=True)
    return [line.split("\t") for line in listing.stdout.decode().splitlines()]


def manual():
    """The entries of rptfs.conf(5): section, line with the names, text."""
    with open(os.path.join(TOP, "packaging/man/rptfs.conf.5"), encoding="utf-8") as file:
        sections = re.split(r"^\.Ss ", file.read(), flags=re.MULTILINE)[1:]
    for section in sections:
        title, _, body = section.partition("\n")
        for entry in re.split(r"^\.It ", body, flags=re.MULTILINE)[1:]:
            names, _, text = entry.partition("\n")
            yield title, names, re.split(r"^\.El", text, flags=re.MULTILINE)[0]


def test_the_manual_has_every_option_with_its_default(build):
    titles = {"root": "Top level", "term": "Terms"}
    entries, wrong = list(manual()), []
    for table, name, kind, _, default in rows(build):
        title = titles.get(table, f"The fetcher {table}")
        texts = [
            f"{names}\n{text}"
            for section, names, text in entries
            if section == title and re.search(rf"(?<!Ar )\b{name}\b", names)
        ]
        if len(texts) != 1:
            wrong.append(f"{title}: {name} has {len(texts)} entries")
        # The manual may describe the default of a boolean in words, and a version changes.
        elif default != "-" and "/" not in default and not re.search(rf"\b{default}\b", texts[0]):
            wrong.append(f"{title}: {name} does not say its default, {default}")
    assert not wrong, "\n".join(wrong)


def test_completion_knows_the_options_of_o(build):
    done = subprocess.run(
        ["bash", "-c", f". {TOP}/packaging/completions/rptfs; COMP_WORDS=(rptfs -o h) COMP_CWORD=2;"
         " compopt() { :; }; _rptfs; echo \"${COMPREPLY[@]}\""],
        env={**os.environ, "PATH": os.path.dirname(build.rptfs) + ":" + os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["history="]


def test_help_has_the_options_of_o(build):
    shown = subprocess.run([build.rptfs, "--help"], check=True, capture_output=True).stdout.decode()
    for table, name, _, _, default in rows(build):
        if table in ("root", "term") and name not in ("mountpoint", "alias"):
            line = re.search(rf"^    {name} .*$", shown, re.MULTILINE)
            assert line and (default == "-" or default in line[0]), name
