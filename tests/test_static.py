"""The static fetcher: a fixed value of the configuration."""

import os

import pytest


def test_data_and_version_are_served(mount):
    m = mount('term "banner" { static { data = "hello\\n" version = "1" } }')
    assert m.read("banner") == b"hello\n"
    assert m.xattr("banner", "version") == "1"
    assert m.status("banner")["state"] == "fresh"


def test_base64_is_decoded(mount):
    m = mount('term "b" { static { base64 = "AAECA/8=" } }')
    assert m.read("b") == b"\0\1\2\3\xff"


@pytest.mark.parametrize("data", ["", "x" * 100_000])
def test_content_may_have_any_size(mount, data):
    m = mount(f'term "t" {{ static {{ data = "{data}" }} }}')
    assert m.read("t") == data.encode()
    assert os.stat(m.at("t")).st_size == len(data)


def test_a_changed_value_is_a_new_version_after_a_restart(mount):
    m = mount('term "t" { static { data = "one" } }')
    inode, version = os.stat(m.at("t")).st_ino, m.xattr("t", "version")
    m.stop()
    m.configure('term "t" { static { data = "two" } }')
    m.start()
    m.wait_content("t", b"two")
    assert os.stat(m.at("t")).st_ino > inode and m.xattr("t", "version") != version


def test_an_unchanged_value_keeps_its_snapshot_after_a_restart(mount):
    m = mount('term "t" { static { data = "one" } }')
    inode = os.stat(m.at("t")).st_ino
    m.restart()
    assert m.read("t") == b"one" and os.stat(m.at("t")).st_ino == inode
    m.refresh("t")
    assert os.stat(m.at("t")).st_ino == inode
