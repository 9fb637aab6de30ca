"""The targets of libFuzzer (tests/fuzz): each runs for some seconds. They belong to the asan build."""

import base64
import os
import subprocess

from builds import TOP

RUN = os.path.join(TOP, "tests", "fuzz", "run")
SECONDS = 10
SHOWN_BYTES = 4096
TARGETS = sorted(
    name.removeprefix("fuzz_").removesuffix(".c")
    for name in os.listdir(os.path.join(TOP, "tests", "fuzz"))
    if name.startswith("fuzz_") and name.endswith(".c")
)


def pytest_generate_tests(metafunc):
    if "target" in metafunc.fixturenames:
        has_asan = "asan" in metafunc.config.getoption("--build").split(",")
        metafunc.parametrize("target", TARGETS if has_asan else [])


def crashes(directory):
    """The inputs that failed, in base64."""
    folder = os.path.join(directory, "crashes")
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), "rb") as file:
            content = file.read(SHOWN_BYTES + 1)
        if len(content) <= SHOWN_BYTES:
            yield f"{name}: {base64.b64encode(content).decode()}"
        else:
            yield f"{name}: more than {SHOWN_BYTES} bytes"


def test_target_finds_nothing(target, directory):
    done = subprocess.run(
        [RUN, "--corpus", directory, str(SECONDS), target],
        capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL,
    )  # fmt: skip
    said = done.stderr[-8000:]
    assert done.returncode == 0, "\n".join([said, *crashes(directory)])
    assert "stat::number_of_executed_units" in said
