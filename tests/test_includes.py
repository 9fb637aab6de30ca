"""Which folder may include which: the layers of the source tree, read from the #include lines."""

import os
import re
import subprocess

import pytest
from builds import TOP

# The folders, from the lowest layer to the highest; a folder may include itself and these.
BASE = {"base"}
TERM = BASE | {"config", "store", "term"}
FETCH = TERM | {"http", "fetch"}
CONTROL = FETCH | {"mount", "control"}
ALLOWED = {
    "src/base": set(),
    "src/config": BASE,
    "src/store": BASE,
    "src/term": TERM,
    "src/http": BASE,
    "src/fetch": FETCH,
    "src/mount": TERM | {"fetch"},
    "src/control": CONTROL,
    "src/keeper": TERM | {"mount"},
    "src/helper": BASE | {"config"},
    "src/worker": CONTROL | {"keeper", "helper"},
    "src/rpt": BASE,
    "src/librpt": BASE,
}
# The sub-folders of a folder, from the lowest layer to the highest; each may include itself and these.
SUBFOLDERS = {
    "src/mount": {
        "visitor": set(),
        "connection": set(),
        "namespace": set(),
        "publish": {"visitor", "connection", "namespace"},
        "view": {"visitor", "connection", "namespace", "publish"},
    },
}
# Fetchers see the contract, the front of the HTTP engine, and nothing behind them.
FETCHERS = re.compile(
    r"base/.*|config/(option|source)\.h|fetch/fetcher\.h|http/(decode|http|http_field)\.h|fetchers/.*"
)
# Pairs that one folder may not have, although ALLOWED has it: a fetcher knows its own folder, and
# what several share.
FETCHERS_ALLOWED = {
    "fetchers/http": {"http", "shared"},
    "fetchers/aws": {"aws", "shared"},
    "fetchers/s3": {"s3", "aws", "shared"},
    "fetchers/shared": {"shared"},
}


def includes(path):
    with open(os.path.join(TOP, path), encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
            if match:
                yield number, match.group(1) == '"', match.group(2)


def files(folder):
    for at, _, names in os.walk(os.path.join(TOP, folder)):
        for name in sorted(names):
            if name.endswith((".c", ".h")):
                yield os.path.relpath(os.path.join(at, name), TOP)


def own_includes(path):
    return [(number, name) for number, ours, name in includes(path) if ours]


def test_every_folder_has_a_layer():
    folders = {f"src/{name}" for name in os.listdir(f"{TOP}/src") if os.path.isdir(f"{TOP}/src/{name}")}
    assert folders == set(ALLOWED)


@pytest.mark.parametrize("folder", ALLOWED)
def test_arrows_point_one_way(folder):
    own = folder.removeprefix("src/")
    wrong = []
    for path in files(folder):
        for number, name in own_includes(path):
            if "/" not in name:
                wrong.append(f"{path}:{number}: {name} is written without its folder")
            elif name.split("/")[0] not in ALLOWED[folder] | {own}:
                wrong.append(f"{path}:{number}: {folder} must not know {name}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("folder", SUBFOLDERS)
def test_arrows_between_subfolders_point_one_way(folder):
    allowed = SUBFOLDERS[folder]
    assert {path.split("/")[2] for path in files(folder)} == set(allowed)
    own = folder.removeprefix("src/")
    wrong = [
        f"{path}:{number}: {path.split('/')[2]} must not include {name}"
        for path in files(folder)
        for number, name in own_includes(path)
        if name.startswith(f"{own}/")
        and name.split("/")[1] not in allowed[path.split("/")[2]] | {path.split("/")[2]}
    ]
    assert not wrong, "\n".join(wrong)


def test_fetchers_include_only_the_contract():
    wrong = [
        f"{path}:{number}: {name}"
        for path in files("fetchers")
        for number, name in own_includes(path)
        if not FETCHERS.fullmatch(name)
    ]
    assert not wrong, "\n".join(wrong)


def test_hashes_survive_a_lack_of_memory():
    """uthash calls exit(), unless base/hash.h includes it."""
    wrong = [
        f"{path}:{number}"
        for folder in ("src", "fetchers")
        for path in files(folder)
        for number, _, name in includes(path)
        if name == "uthash.h" and path != "src/base/hash.h"
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("folder", FETCHERS_ALLOWED)
def test_fetchers_include_only_fetchers_below_them(folder):
    wrong = [
        f"{path}:{number}: {name}"
        for path in files(folder)
        for number, name in own_includes(path)
        if name.startswith("fetchers/")
        and name.count("/") > 1
        and name.split("/")[1] not in FETCHERS_ALLOWED[folder]
    ]
    assert not wrong, "\n".join(wrong)


def test_the_worker_includes_only_the_messages_of_keeper_and_helper():
    """They are other processes, with other rights: none of their code runs in the worker."""
    wrong = [
        f"{path}:{number}: {name}"
        for path in files("src/worker")
        for number, name in own_includes(path)
        if re.match(r"(keeper|helper)/(?!channel\.h|helper_protocol\.h)", name)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("folder", ["src/keeper", "src/helper", "src/worker"])
def test_files_say_in_which_process_they_run(folder):
    """In the head comment of the file or of its header, with the rights that it has there."""
    silent = []
    for path in files(folder):
        heads = []
        for name in (path, path.removesuffix(".c") + ".h"):
            if os.path.exists(os.path.join(TOP, name)):
                with open(os.path.join(TOP, name), encoding="utf-8") as file:
                    heads.append(file.read().split("*/")[0])
        if not any(re.search(r"Runs in (the|each)\b", head) for head in heads):
            silent.append(path)
    assert not silent, "\n".join(silent)


def circles(arrows):
    """The ways through a graph that lead back to where they began, one for each that is found."""
    done, found = set(), []

    def walk(at, way):
        if at in way:
            found.append(" -> ".join(way[way.index(at) :] + [at]))
        elif at not in done:
            for target in sorted(arrows.get(at, ())):
                walk(target, way + [at])
            done.add(at)

    for start in sorted(arrows):
        walk(start, [])
    return found


def test_no_files_include_each_other_in_a_circle():
    arrows = {}
    for folder in ("src", "fetchers"):
        for path in files(folder):
            for _, name in own_includes(path):
                target = name if name.startswith("fetchers/") else f"src/{name}"
                arrows.setdefault(path, set()).add(target)
    found = circles(arrows)
    assert not found, "\n".join(found)


def symbols(objects):
    """What each object file defines for others, and what it takes from others, by nm(1)."""
    listing = subprocess.run(
        ["nm", "--print-file-name", "--extern-only", "--format=posix", *objects],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    defined, taken = {}, {}
    for line in listing.splitlines():
        path, symbol, kind = line.split()[:3]
        path = path.rstrip(":")
        if kind == "U":
            taken.setdefault(path, set()).add(symbol)
        else:
            defined[symbol] = path
    return defined, taken


def source_of(path):
    """src/http/libhttp.a.p/http_url.c.o is src/http/http_url.c; of a subfolder, sub_name.c.o."""
    folder, name = re.fullmatch(r".*/((?:src|fetchers)(?:/\w+)*)/[^/]+\.p/(.+)\.o", path).groups()
    while not os.path.exists(os.path.join(TOP, folder, name)):
        head, underscore, rest = name.partition("_")
        assert underscore and os.path.isdir(os.path.join(TOP, folder, head)), path
        folder, name = f"{folder}/{head}", rest
    return f"{folder}/{name}"


def test_no_files_call_each_other_in_a_circle(build):
    """If one file uses functions or data of another, the other must not use those of the first."""
    objects = [
        os.path.join(at, name)
        for folder in ("src", "fetchers")
        for at, _, names in os.walk(os.path.join(build.dir, folder))
        for name in names
        if name.endswith(".c.o") and "librpt.so" not in at
    ]
    assert len(objects) > 100
    defined, taken = symbols(objects)
    arrows = {}
    for path, names in taken.items():
        targets = {source_of(defined[name]) for name in names if name in defined}
        arrows[source_of(path)] = targets - {source_of(path)}
    found = circles(arrows)
    assert not found, "\n".join(found)


def who_includes(pattern):
    return {
        path
        for folder in ("src", "fetchers")
        for path in files(folder)
        for _, _, name in includes(path)
        if re.match(pattern, name)
    }


def test_only_the_http_engine_includes_libcurl():
    users = who_includes(r"curl/")
    assert users and all(path.startswith("src/http/") for path in users), users
    assert not any(path.endswith("/http.h") for path in users), "http.h does not show libcurl"


def test_only_mount_includes_libfuse():
    """One other file may: it opens the device for users, with libfuse's fusermount3."""
    users = who_includes(r"(fuse3?/)?fuse.*\.h|linux/fuse\.h") - {"src/keeper/mountpoint.c"}
    assert users and all(path.startswith("src/mount/") for path in users), users


def test_only_the_store_includes_sqlite():
    users = who_includes(r"sqlite3\.h")
    assert users and all(path.startswith("src/store/catalog") for path in users), users


def test_librpt_links_to_nothing_of_ours():
    """base/util.h is inline."""
    for path in files("src/librpt"):
        for _, name in own_includes(path):
            assert name == "base/util.h" or name.startswith("librpt/"), path


def test_a_header_includes_what_it_needs_and_guards_itself():
    for folder in ("src", "fetchers"):
        for path in files(folder):
            if path.endswith(".h"):
                with open(os.path.join(TOP, path), encoding="utf-8") as file:
                    text = file.read()
                guard = re.search(r"^#ifndef (\w+)\n#define \1$", text, re.M)
                assert guard, path
