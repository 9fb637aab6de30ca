"""Format is never discussed: clang-format and .editorconfig decide."""

import os
import re
import subprocess

import pytest

from builds import TOP

CLANG_FORMAT = "14"  # other versions format some constructs differently


def sources(*endings):
    for part in ("src", "fetchers", "tests", "packaging", ".ci"):
        for at, directories, names in os.walk(os.path.join(TOP, part)):
            directories[:] = [name for name in directories if name != "__pycache__"]
            for name in names:
                if name.endswith(endings):
                    yield os.path.join(at, name)


def test_c_files_follow_clang_format():
    version = subprocess.run(["clang-format", "--version"], capture_output=True, text=True).stdout
    if re.search(r"version (\d+)\.", version)[1] != CLANG_FORMAT:
        pytest.skip(f"the sources are formatted by clang-format {CLANG_FORMAT}, not {version.strip()}")
    files = list(sources(".c", ".h"))
    assert len(files) > 30
    done = subprocess.run(
        ["clang-format", "--dry-run", "-Werror", *files], cwd=TOP, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[:4000]


def test_no_file_is_too_long():
    """One idea may take 900 lines; above that it is two modules."""
    long = {path: n for path in sources(".c", ".h") if (n := sum(1 for _ in open(path))) > 900}
    assert not long


def test_lines_fit_in_100_columns():
    """clang-format does not reflow comments. Drawings and tables may be wider."""
    wide = [
        f"{path}:{number}"
        for path in sources(".c", ".h")
        for number, line in enumerate(open(path, encoding="utf-8"), 1)
        if len(line.rstrip("\n").expandtabs(8)) > 100 and not re.search(r"\S(\t|   )", line)
    ]
    assert not wide


def test_white_space_follows_editorconfig():
    wrong = []
    for path in sources(".c", ".h", ".py", ".md", ".build", ".conf", ".sh"):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        if text and (not text.endswith("\n") or text.endswith("\n\n")):
            wrong.append(f"{path}: end of file")
        wrong += [
            f"{path}:{number}: trailing white space"
            for number, line in enumerate(text.splitlines(), 1)
            if line != line.rstrip() and not path.endswith(".md")
        ]
    assert not wrong, "\n".join(wrong)


def test_shell_scripts_parse():
    packaging = ("quickstart", "install-packages", "create-user", "systemd/rptfs-service.in")
    scripts = ["tests/run", "tests/fuzz/run", "tests/nested-systemd", ".ci/run"]
    for script in scripts + [f"packaging/{name}" for name in packaging]:
        subprocess.run(["bash", "-n", os.path.join(TOP, script)], check=True)
