"""The trees below build/ that tests/run makes."""

import os
import re
import shutil
import subprocess

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Build:
    """A build by name: plain, asan, tsan; bench. notify is plain with mounts that do not rename."""

    def __init__(self, name):
        self.name = name
        self.dir = os.path.join(TOP, "build", "plain" if name == "notify" else name)
        self.publish_mode = "notify" if name == "notify" else "auto"
        self.rptfs = os.path.join(self.dir, "src", "rptfs")
        self.rpt = os.path.join(self.dir, "src", "rpt", "rpt")
        self.sanitized = name in ("asan", "tsan")
        # Readers without a sanitizer see more.
        plain = os.path.join(TOP, "build", "plain", "tests", "torture")
        own = os.path.join(self.dir, "tests", "torture")
        self.torture = plain if os.path.exists(plain) else own

    def environment(self, directory):
        """The environment of a program whose sanitizer reports go to directory/sanitizer.PID."""
        common = f"log_path={directory}/sanitizer:exitcode=66"
        for name in ("tsan.supp", "lsan.supp"):  # the mount of a user may not reach the checkout
            shutil.copy(os.path.join(TOP, "tests", name), directory)
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C.UTF-8",
            "ASAN_OPTIONS": f"{common}:detect_leaks=1:detect_stack_use_after_return=1",
            "UBSAN_OPTIONS": f"{common}:print_stacktrace=1:halt_on_error=1",
            "TSAN_OPTIONS": f"{common}:halt_on_error=1:second_deadlock_stack=1"
            f":suppressions={directory}/tsan.supp",
            "LSAN_OPTIONS": f"suppressions={directory}/lsan.supp:print_suppressions=0",
        }


def other_build(path):
    """Makes the program another build: changes one bit of its build id."""
    notes = subprocess.run(["readelf", "-n", path], capture_output=True, text=True, check=True).stdout
    build_id = bytes.fromhex(re.search(r"Build ID: ([0-9a-f]+)", notes).group(1))
    with open(path, "rb") as file:
        program = file.read()
    assert program.count(build_id) == 1
    changed = bytes([build_id[0] ^ 1]) + build_id[1:]
    put_program(path, program.replace(build_id, changed))


def put_program(path, content):
    """Writes another file and renames it, as a package manager does."""
    with open(path + ".new", "wb") as file:
        file.write(content)
    os.chmod(path + ".new", 0o755)
    os.rename(path + ".new", path)


def version_of(program):
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return done.stdout.strip().removeprefix("rptfs ")
