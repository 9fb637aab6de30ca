"""Paths of others: whoever owns a directory or a link on the way to a configured path decides where it
leads. That must not make root read, or run, anything else than what belongs to the same user."""

import json
import os
import re

import pytest
from rptmount import NOBODY, as_user, read, wait_for
from s3config import ACCESS_KEY, NOTHING, SECRET_KEY
from s3config import source as s3_source
from s3config import term as s3_term

# Who may open what is the same in both publish modes.
pytestmark = pytest.mark.builds("plain", "asan", "tsan")

THEIRS, NEXT, SECRET = b"what the stranger wrote\n", b"what the stranger wrote next\n", b"for root alone\n"
STRANGER = 1234
NEVER = 'refresh_interval = "never"'
EXPECTED = ["event=no_user", "term=t "]


def give(*paths):
    """To the stranger."""
    for path in paths:
        os.lchown(path, STRANGER, STRANGER)


def put(path, content, mode=0o600):
    """Replaces a file atomically, with the owner of its directory."""
    with open(os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as out:
        out.write(content)
    owner = os.stat(os.path.dirname(path))
    os.chown(path + ".new", owner.st_uid, owner.st_gid)
    os.rename(path + ".new", path)


def link(path, target):
    """Replaces what is there by a link, with the owner of its directory."""
    os.symlink(target, path + ".new")
    owner = os.stat(os.path.dirname(path))
    os.lchown(path + ".new", owner.st_uid, owner.st_gid)
    os.rename(path + ".new", path)


@pytest.fixture
def theirs(directory):
    """A directory of a stranger."""
    path = os.path.join(directory, "theirs")
    os.mkdir(path, 0o755)
    give(path)
    return path


@pytest.fixture
def secret(directory):
    """A file that only root may read."""
    path = os.path.join(directory, "secret")
    put(path, SECRET)
    return path


def term(path, options="refresh_interval = 600s"):
    return f'term "t" {{ {options} file {{ path = "{path}" }} }}\n'


def error(m):
    return m.status("t")["last_error"]


def is_refused(m):
    return error(m) and error(m)["kind"] == "denied" and "belongs to uid" in error(m)["message"]


# What is served


def test_a_strangers_directory_is_served(mount, theirs):
    """With files that are replaced and made anew."""
    path = os.path.join(theirs, "source")
    put(path, THEIRS)
    m = mount(term(path), expect=EXPECTED)
    assert m.read("t") == THEIRS
    put(path, NEXT)
    m.wait_content("t", NEXT)
    os.unlink(path)
    m.refresh("t", ok=False)
    assert m.status("t")["state"] == "gone"
    put(path, THEIRS)
    m.wait_content("t", THEIRS)


@pytest.mark.parametrize("owner", (0, STRANGER))
def test_a_volume_of_kubernetes(mount, directory, owner):
    """name -> ..data/name, ..data -> a directory that is replaced: all of one owner."""
    volume = os.path.join(directory, "volume")
    os.mkdir(volume, 0o755)
    os.chown(volume, owner, owner)
    for name, content in (("..v1", THEIRS), ("..v2", NEXT)):
        os.mkdir(os.path.join(volume, name))
        os.chown(os.path.join(volume, name), owner, owner)
        put(os.path.join(volume, name, "key"), content)
    link(os.path.join(volume, "..data"), "..v1")
    link(os.path.join(volume, "key"), "..data/key")
    m = mount(term(os.path.join(volume, "key")))
    assert m.read("t") == THEIRS
    link(os.path.join(volume, "..data"), "..v2")  # noticed by inotify
    m.wait_content("t", NEXT)


def test_roots_link_leads_anywhere(mount, directory, theirs):
    put(os.path.join(theirs, "source"), THEIRS)
    current = os.path.join(directory, "current")
    os.symlink(os.path.join(theirs, "source"), current)
    assert mount(term(current)).read("t") == THEIRS


# What is not


def test_a_stranger_cannot_lead_to_a_secret(mount, theirs, secret):
    """The file becomes a link to what only root may read, by a relative or an absolute path."""
    path = os.path.join(theirs, "source")
    put(path, THEIRS)
    m = mount(term(path), expect=EXPECTED)
    assert m.read("t") == THEIRS
    for target in (secret, "../secret"):
        link(path, target)
        m.refresh("t", ok=False)
        assert is_refused(m) and m.read("t") == THEIRS
        assert str(STRANGER) in error(m)["message"] and "chown" in error(m)["message"]
    put(path, NEXT)
    m.wait_content("t", NEXT)


def test_a_stranger_cannot_find_out_what_there_is(mount, theirs, secret):
    """Whether a file exists where only root may look, or not: the error is the same."""
    path = os.path.join(theirs, "source")
    link(path, secret)
    m = mount(term(path), expect=EXPECTED)
    first = error(m)["message"]
    link(path, secret + "-that-is-missing")
    m.refresh("t", ok=False)
    assert is_refused(m) and error(m)["message"] == first


def test_a_strangers_directory_becomes_a_link(mount, directory, theirs, secret):
    """The component in the middle."""
    inner = os.path.join(theirs, "inner")
    os.mkdir(inner, 0o755)
    give(inner)
    put(os.path.join(inner, "secret"), THEIRS)
    m = mount(term(os.path.join(inner, "secret")), expect=EXPECTED)
    assert m.read("t") == THEIRS
    os.rename(inner, inner + ".aside")
    link(inner, "..")
    m.refresh("t", ok=False)
    assert is_refused(m) and m.read("t") == THEIRS


def test_a_stranger_cannot_lead_to_the_store(mount, theirs):
    """Whose files the worker may read itself: what another term holds for few."""
    path = os.path.join(theirs, "source")
    put(path, THEIRS)
    m = mount(f'term "closed" {{ mode = 0400 {NEVER} static {{ data = "secret" }} }}\n' + term(path),
              expect=EXPECTED)  # fmt: skip
    snapshots = [name for name in m.snapshot_files() if os.stat(name).st_size == len("secret")]
    assert len(snapshots) == 1
    link(path, snapshots[0])
    m.refresh("t", ok=False)
    assert is_refused(m) and m.read("t") == THEIRS


def test_a_token_of_others_is_not_sent(mount, origin, theirs, secret):
    token = os.path.join(theirs, "token")
    put(token, b"theirs")
    origin.put("/t", NEXT)
    config = f'http {{ url = "{origin.url("/t")}" bearer_token_file = "{token}" }}'
    m = mount(f'term "t" {{ refresh_interval = 600s {config} }}\n', expect=EXPECTED)
    link(token, secret)
    m.refresh("t", ok=False)
    assert is_refused(m)
    sent = [request.headers["authorization"] for request in origin.asked("/t")]
    assert sent == ["Bearer theirs"]


# Programs of root


KEYS = {"Version": 1, "AccessKeyId": ACCESS_KEY, "SecretAccessKey": SECRET_KEY}
BODY = b"for those who have the key\n"


@pytest.fixture
def program(directory, aws):
    """A term with a credential_process that notes its user, in files of root's; path(name) is one."""
    aws.bucket("data", "eu-west-1").put("t", BODY)
    place = os.path.join(directory, "aws")
    os.makedirs(os.path.join(place, "bin"))

    class Program:
        ran = os.path.join(directory, "ran")

        def path(self, name):
            return os.path.join(place, name)

        def config(self):
            options = {"region": "eu-west-1", "credentials_file": self.path("keys")}
            return s3_term(s3_source("data", "t", aws.url(""), **options))

    made = Program()
    put(made.path("bin/get"), f"#!/bin/sh\nid -u >>{made.ran}\necho '{json.dumps(KEYS)}'\n".encode(), 0o755)
    put(made.path("keys"), f"[default]\ncredential_process = {made.path('bin/get')}\n".encode())
    return made


def wait_until_it_runs(m):
    """An error of the keys is remembered for a moment."""
    wait_for(lambda: m.run_rpt("refresh", "--wait", "t").returncode == 0, "the keys", pause=0.1)


def writable(path):
    os.chmod(path, os.stat(path).st_mode | 0o022)


@pytest.mark.parametrize("change", (give, writable))
@pytest.mark.parametrize("name", ("keys", "bin/get", "bin", ""))
def test_root_runs_no_program_that_others_may_change(s3_mount, program, name, change):
    """Nor one that a file names which others may change, nor one on a way that is not root's alone."""
    change(program.path(name))
    m = s3_mount(program.config(), env=NOTHING, expect=["term=t "])
    assert error(m)["kind"] == "denied"
    assert re.search(r"chown root|to root \(chown\)|chmod go-w", error(m)["message"])
    assert not os.path.exists(program.ran) and m.ls() == []
    os.chown(program.path(name), 0, 0)
    os.chmod(program.path(name), 0o755)
    wait_until_it_runs(m)
    assert m.read("t") == BODY
    with open(program.ran, encoding="ascii") as ran:
        assert ran.read() == "0\n"


def test_root_runs_no_program_behind_a_strangers_link(s3_mount, program):
    os.rename(program.path("bin/get"), program.path("bin/real"))
    os.symlink("real", program.path("bin/get"))
    give(program.path("bin/get"))
    m = s3_mount(program.config(), env=NOTHING, expect=["term=t "])
    assert "bin/get belongs to uid" in error(m)["message"] and not os.path.exists(program.ran)
    os.lchown(program.path("bin/get"), 0, 0)
    wait_until_it_runs(m)
    assert m.read("t") == BODY


# The processes


CAP_DAC_READ_SEARCH = 1 << 2


def status_of(pid):
    """/proc/PID/status as a dict."""
    return dict(re.findall(r"^(\w+):\t(.*)$", read(f"/proc/{pid}/status").decode(), re.M))


def test_the_opener_has_one_capability_and_few_calls(build, mount, directory):
    """It opens what only root may read, and what only another user may read."""
    closed = os.path.join(directory, "closed")
    os.mkdir(closed, 0o700)
    put(os.path.join(closed, "source"), SECRET)
    give(closed, os.path.join(closed, "source"))
    m = mount(term(os.path.join(closed, "source")), expect=["event=no_user"])
    assert m.read("t") == SECRET
    status = status_of(m.child("helper"))
    assert status["NoNewPrivs"] == "1" and (build.sanitized or status["Seccomp"] == "2")
    assert int(status["CapPrm"], 16) == int(status["CapEff"], 16) == CAP_DAC_READ_SEARCH
    assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
    assert int(status["CapBnd"], 16) == 0
    assert "event=sandbox_incomplete" not in m.log()


def test_the_executor_exists_only_where_a_program_runs(mount, s3_mount, program, directory):
    put(os.path.join(directory, "source"), SECRET)
    m = mount(term(os.path.join(directory, "source")), expect=["event=no_user"])
    assert m.read("t") == SECRET
    assert m.child("helper") and not m.child("executor")
    m = s3_mount(program.config(), env=NOTHING, expect=["event=no_user"])
    assert m.read("t") == BODY
    executor = m.child("executor")
    assert m.child("helper") and executor
    m.kill_worker()
    wait_for(lambda: not os.path.exists(f"/proc/{executor}"), "the executor to end with its worker")


# The mount of a user


def test_users_lead_their_own_mount_anywhere(mount, directory):
    """Where they may read, as any of their programs."""
    public = os.path.join(directory, "public")
    put(public, NEXT, 0o644)
    m = mount(user=NOBODY, start=False)
    m.configure(term(os.path.join(m.dir, "link")))
    link(os.path.join(m.dir, "link"), public)
    m.start()
    wait_for(lambda: as_user(NOBODY, "cat", m.at("t")).stdout.encode() == NEXT, "the content")
