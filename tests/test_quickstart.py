"""packaging/quickstart where it cannot work: one clear sentence, and no changes.

(To see that it works, run it: it uses the machine's /mnt/rpt.)
"""

import os
import re
import subprocess

from builds import TOP
from rptmount import HANGS_S, NOBODY, user_line

SCRIPT = os.path.join(TOP, "packaging", "quickstart")


def refused(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANGS_S)
    assert done.returncode == 1 and len(done.stderr.strip().splitlines()) == 1, done
    return done.stderr


def test_root_is_required(directory):
    """A copy of the script: other users may not be allowed to enter the checkout."""
    copy = os.path.join(directory, "quickstart")
    with open(SCRIPT, "rb") as source, open(copy, "wb") as target:
        target.write(source.read())
    assert "root" in refused(*user_line(NOBODY), "bash", copy)
    assert "root" in refused(*user_line(NOBODY), "bash", copy, "stop")


def test_the_fuse_device_is_required():
    hide = "mount --make-rprivate /dev && mount -t tmpfs tmpfs /dev && mknod /dev/null c 1 3"
    unshare = ["unshare", "-m", "--propagation", "unchanged", "sh", "-c"]
    assert "/dev/fuse" in refused(*unshare, f"{hide} && exec {SCRIPT}")


def test_a_wrong_word_is_refused():
    done = subprocess.run([SCRIPT, "dance"], capture_output=True, text=True, timeout=HANGS_S)
    assert done.returncode == 1 and "usage" in done.stderr


def test_packages_that_cannot_be_installed_are_named(directory):
    """Without a network, the message names the missing packages."""
    packaging = os.path.join(directory, "packaging")
    os.mkdir(packaging)
    with open(os.path.join(TOP, "packaging", "install-packages"), "rb") as source:
        with open(os.path.join(packaging, "install-packages"), "wb") as target:
            target.write(source.read())
    with open(os.path.join(packaging, "packages"), "w", encoding="ascii") as file:
        file.write("# a comment\n[one]\nbash\n\n[two]\nno-such-package-anywhere\n")
    script = os.path.join(packaging, "install-packages")
    done = subprocess.run(["bash", script, "one"], capture_output=True, text=True, timeout=HANGS_S)
    assert done.returncode == 0 and not done.stdout, "an installed package needs no network"
    assert "no-such-package-anywhere" in refused(*user_line(NOBODY), "bash", script, "one", "two")


def test_no_script_uses_a_known_name_in_tmp():
    """Another user could have put a link there."""
    scripts = [os.path.join(TOP, "tests", "run"), os.path.join(TOP, "tests", "bench", "run")]
    packaging = os.path.join(TOP, "packaging")
    scripts += [found.path for found in os.scandir(packaging) if found.is_file()]
    found = {}
    for script in scripts:
        with open(script, encoding="utf-8") as file:
            found[script] = re.findall(r"[^ \"'=]*/tmp/[^ \"']*", file.read())
    assert len(found) > 5 and not any(found.values()), found
