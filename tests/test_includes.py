"""Who may know whom: the table of arrows between the folders, read from the #include lines."""

import os
import re

import pytest
from builds import TOP

# A folder may include itself and these.
ALLOWED = {
    "src/base": set(),
    "src/term": {"base"},
    "src/fetch": {"base", "term"},
    "src/mount": {"base", "term", "fetch"},
    "src/control": {"base", "term", "fetch", "mount"},
    "src/daemon": {"base", "term", "fetch", "mount", "control"},
    "src/client": {"base"},
}
# Fetchers see the contract, the HTTP engine's front, and nothing of the engine room.
FETCHERS = re.compile(r"base/.*|term/(option|source)\.h|fetch/(fetcher|files|http|runner)\.h|fetchers/.*")


def includes(path):
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
            if match:
                yield number, match.group(1) == '"', match.group(2)


def files(folder):
    for at, _, names in os.walk(os.path.join(TOP, folder)):
        for name in sorted(names):
            if name.endswith((".c", ".h")):
                yield os.path.relpath(os.path.join(at, name), TOP)


@pytest.mark.parametrize("folder", ALLOWED)
def test_arrows_point_one_way(folder):
    own = folder.removeprefix("src/")
    wrong = []
    for path in files(folder):
        for number, ours, name in includes(os.path.join(TOP, path)):
            if not ours:
                continue
            if "/" not in name:
                wrong.append(f"{path}:{number}: {name} is written without its folder")
            elif name.split("/")[0] not in ALLOWED[folder] | {own}:
                wrong.append(f"{path}:{number}: {folder} must not know {name}")
    assert not wrong, "\n".join(wrong)


def test_fetchers_know_the_contract_only():
    wrong = [
        f"{path}:{number}: {name}"
        for path in files("fetchers")
        for number, ours, name in includes(os.path.join(TOP, path))
        if ours and not FETCHERS.fullmatch(name)
    ]
    assert not wrong, "\n".join(wrong)


def who_includes(pattern):
    return {
        path
        for folder in ("src", "fetchers")
        for path in files(folder)
        for _, _, name in includes(os.path.join(TOP, path))
        if re.match(pattern, name)
    }


def test_only_the_http_engine_knows_libcurl():
    users = who_includes(r"curl/")
    assert users and all(re.fullmatch(r"src/fetch/http[a-z_]*\.[ch]", path) for path in users), users
    assert not any(path.endswith("/http.h") for path in users), "its front shows nothing of it"


def test_only_mount_knows_libfuse():
    users = who_includes(r"(fuse3?/)?fuse.*\.h|linux/fuse\.h")
    assert users and all(path.startswith("src/mount/") for path in users), users


def test_only_the_store_knows_sqlite():
    users = who_includes(r"sqlite3\.h")
    assert users and all(path.startswith("src/term/") for path in users), users


def test_only_the_configuration_knows_libconfuse():
    users = who_includes(r"confuse\.h")
    assert users and all(path.startswith("src/term/config") for path in users), users


def test_librpt_links_to_nothing_of_ours():
    """base/util.h is inline."""
    for path in files("src/client"):
        if os.path.basename(path).startswith(("librpt", "rpt.h")):
            ours = {name for _, own, name in includes(os.path.join(TOP, path)) if own}
            assert ours <= {"client/rpt.h", "client/librpt.h", "base/util.h"}, path


def test_a_header_includes_what_it_needs_and_guards_itself():
    for folder in ("src", "fetchers"):
        for path in files(folder):
            if path.endswith(".h"):
                with open(os.path.join(TOP, path), encoding="utf-8") as file:
                    text = file.read()
                guard = re.search(r"^#ifndef (\w+)\n#define \1$", text, re.M)
                assert guard, path
