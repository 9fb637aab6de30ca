"""The documents: every file, function and link that they name exists."""

import os
import re
import subprocess

import pytest
from builds import TOP

PAGES = ("README.md", "src/README.md", "fetchers/README.md", "packaging/doc/SECURITY.md")
# Files that need not exist: a fetcher that is an example.
EXAMPLES = {"kv.c", "kv.h"}
MANUALS = sorted(os.listdir(f"{TOP}/packaging/man"))


def text_of(path):
    with open(os.path.join(TOP, path), encoding="utf-8") as file:
        return file.read()


def sources():
    found = []
    for folder in ("src", "fetchers", "tests"):
        for at, _, names in os.walk(os.path.join(TOP, folder)):
            found += [os.path.relpath(os.path.join(at, name), TOP) for name in names]
    return found


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", text_of(page))
    missing = [
        link
        for link in links
        if "://" not in link and not os.path.exists(os.path.join(TOP, os.path.dirname(page), link))
    ]
    assert not missing


@pytest.mark.parametrize("page", ("src/README.md", "fetchers/README.md"))
def test_named_files_exist(page):
    """A file may be named by the end of its path: `fs_move.c`, `keeper/channel.h`."""
    have = {"/" + path for path in sources()}
    text = re.sub(r"#include <.*>", "", text_of(page))
    named = set(re.findall(r"[\w./-]*\w\.(?:c|h|py)\b", text)) - EXAMPLES
    missing = [
        name
        for name in sorted(named)
        if not any(path.endswith("/" + name.removeprefix("../")) for path in have)
    ]
    assert not missing


@pytest.mark.parametrize("page", ("src/README.md", "fetchers/README.md"))
def test_named_functions_exist(page):
    """`publisher_stop()` and the like, if they are ours: a name with an underscore."""
    code = "\n".join(text_of(path) for path in sources() if path.endswith((".c", ".h", ".py")))
    named = set(re.findall(r"`(?:\w+\.)?(\w+_\w+)\(", text_of(page)))
    missing = [name for name in sorted(named) if not re.search(rf"\b{name}\b", code)]
    assert named and not missing


def test_named_constants_exist():
    code = "\n".join(text_of(path) for path in sources() if path.endswith((".c", ".h")))
    named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", text_of("src/README.md")))
    assert named and not {name for name in named if not re.search(rf"\b{name}\b", code)}


def test_locks_belong_to_files_or_structs():
    """Each row of the table of locks names a struct (or file) with a lock."""
    code = "\n".join(text_of(path) for path in sources() if path.endswith((".c", ".h")))
    locks = re.findall(r"^\| `(\w+)\.lock`", text_of("src/README.md"), re.M)
    missing = [
        name
        for name in locks
        if not re.search(rf"\bstruct {name}\b", code)
        and not any(path.endswith(f"/{name}.c") for path in sources())
    ]
    assert locks and not missing


def test_manual_pages_are_well_formed():
    pages = [f"packaging/man/{name}" for name in MANUALS]
    pages = [page for page in pages if not text_of(page).startswith(".so ")]
    lint = ["mandoc", "-T", "lint", "-W", "warning", *pages]
    done = subprocess.run(lint, cwd=TOP, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_manual_pages_are_installed():
    build = text_of("packaging/meson.build")
    assert all(f"'man/{name}'" in build for name in MANUALS)
