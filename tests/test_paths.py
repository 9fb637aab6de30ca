"""Paths of others: whoever owns a directory or a link on the way to a configured path decides where it
leads. That must not make root read, or run, anything else than what belongs to the same user."""

import os
import subprocess

import pytest
from rptmount import wait_for

THEIRS, NEXT, SECRET = b"what the stranger wrote\n", b"what the stranger wrote next\n", b"for root alone\n"
STRANGER = 1234
NOBODY = 65534  # fusermount3 wants a user with a name
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


# The mount of a user


def test_users_lead_their_own_mount_anywhere(mount, directory):
    """Where they may read, as any of their programs."""
    public = os.path.join(directory, "public")
    put(public, NEXT, 0o644)
    m = mount(user=NOBODY, start=False)
    m.configure(term(os.path.join(m.dir, "link")))
    link(os.path.join(m.dir, "link"), public)
    m.start()
    as_user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]

    def content():
        return subprocess.run([*as_user, "cat", m.path + "/t"], capture_output=True).stdout

    wait_for(lambda: content() == NEXT, "the content")
