"""The programs that are installed are hardened as far as the compiler can do it."""

import functools
import os
import re
import subprocess

from builds import Build

PROGRAMS = ("src/rptfs", "src/rpt/rpt")
LIBRARY = "src/librpt/librpt.so"
FLAGS = (
    "-fstack-protector-strong",
    "-fstack-clash-protection",
    "-ftrivial-auto-var-init=zero",
    "-fcf-protection=full",
    "-mbranch-protection=standard",
)


def pytest_generate_tests(metafunc):
    builds = metafunc.config.getoption("--build").split(",")
    binaries = (*PROGRAMS, LIBRARY) if {"plain", "notify"} & set(builds) else ()
    if "binary" in metafunc.fixturenames:
        paths = [os.path.join(Build("plain").dir, name) for name in binaries]
        metafunc.parametrize("binary", paths, ids=[os.path.basename(path) for path in paths])


def readelf(*arguments):
    return subprocess.run(
        ["readelf", "-W", *arguments], check=True, capture_output=True, text=True
    ).stdout


@functools.cache
def accepts(flag):
    command = ["gcc", "-Werror", flag, "-x", "c", "-c", "/dev/null", "-o", "/dev/null"]
    return subprocess.run(command, capture_output=True).returncode == 0


def test_layout(binary):
    """Position-independent, nothing writable that is executed, nothing of the linker writable."""
    segments, dynamic = readelf("-l", binary), readelf("-d", binary)
    assert "type is DYN" in segments
    assert re.search(r"^ +GNU_STACK .* RW +0x", segments, re.M)
    assert re.search(r"^ +GNU_RELRO ", segments, re.M) and "BIND_NOW" in dynamic
    assert not re.search(r"^ +LOAD .* RWE ", segments, re.M)
    assert not re.search(r"TEXTREL|RPATH|RUNPATH", dynamic)
    assert binary.endswith(".so") or re.search(r"FLAGS_1.*\bPIE\b", dynamic)


def test_every_source_is_compiled_with_the_flags(binary):
    units = re.findall(
        r"DW_AT_producer .*", readelf("--debug-dump=info", "--dwarf-depth=1", binary)
    )
    wanted = [flag for flag in FLAGS if accepts(flag)]
    assert len(units) >= 3 and len(wanted) >= 3
    without = [(flag, unit) for flag in wanted for unit in units if flag not in unit]
    assert not without


def test_calls_of_the_c_library_are_checked(binary):
    symbols = readelf("--dyn-syms", binary)
    assert "__stack_chk_fail" in symbols
    assert re.search(r"UND __\w+_chk\b", symbols)


def test_branches_are_marked(binary):
    """The linker marks a program if all of its parts are marked, also those of the C library."""
    done = subprocess.run(["gcc", "-print-file-name=crti.o"], check=True, capture_output=True, text=True)
    possible = accepts("-fcf-protection=full") and "IBT" in readelf("-n", done.stdout.strip())
    assert possible == bool(re.search(r"x86 feature:.*IBT.*SHSTK", readelf("-n", binary)))
