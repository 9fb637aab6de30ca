"""Who may read a term may know about it, and nobody else."""

import json
import os
import re
import stat
import threading

import pytest
from rptmount import as_user, comm, read, session_processes, wait_for

ALICE = 1234
BOB = 65534
MEMBERS = 4711  # a group

SECRET = 'term "pin" { mode = 0400 static { data = "1234" version = "of-the-pin" } }\n'
SHARED = f'term "shared" {{ mode = 0440 group = {MEMBERS} static {{ data = "x" }} }}\n'
PUBLIC = 'term "public" { static { data = "x" version = "of-the-public" } }\n'


def documents(m, uid, **ids):
    """The two files of .rpt as this user sees them, and the names of the terms in status.json."""
    status = as_user(uid, "cat", m.at(".rpt/status.json"), **ids)
    metrics = as_user(uid, "cat", m.at(".rpt/metrics"), **ids)
    assert status.returncode == metrics.returncode == 0, status.stderr + metrics.stderr
    names = {term["name"] for term in json.loads(status.stdout)["terms"]}
    return status.stdout + metrics.stdout, names


def names_of_rpt(m, uid, **ids):
    done = as_user(uid, m.build.rpt, "-m", m.path, "status", "--json", **ids)
    assert done.returncode == 0, done.stderr
    return {term["name"] for term in json.loads(done.stdout)["terms"]}


def test_files_show_each_user_what_it_may_read(mount):
    m = mount(SECRET + SHARED + PUBLIC)
    m.read(".rpt/status.json")  # root's rendering is young and in the page cache
    text, names = documents(m, ALICE)
    assert names == {"public"} and "of-the-public" in text
    assert "pin" not in text and "shared" not in text
    _, names = documents(m, ALICE, gid=MEMBERS)
    assert names == {"public", "shared"}
    _, names = documents(m, ALICE, groups=[MEMBERS])
    assert names == {"public"}, "FUSE does not pass supplementary groups on"
    everything = {"pin", "shared", "public"}
    assert {term["name"] for term in json.loads(m.read(".rpt/status.json"))["terms"]} == everything
    assert "of-the-pin" in m.read(".rpt/metrics").decode()


def test_rpt_shows_each_user_what_it_may_read(mount):
    m = mount(SECRET + SHARED + PUBLIC)
    assert names_of_rpt(m, ALICE) == {"public"}
    assert names_of_rpt(m, ALICE, groups=[MEMBERS]) == {"public", "shared"}
    assert names_of_rpt(m, 0) == {"pin", "shared", "public"}
    for name in ("pin", "pim"):
        done = as_user(ALICE, m.build.rpt, "-m", m.path, "status", name)
        assert done.returncode == 1
        assert f'there is no term "{name}" that you may read' in done.stderr
        assert "did you mean" not in done.stderr


def test_attributes_of_a_term_need_the_right_to_read_it(mount):
    m = mount(SECRET)
    for name in ("version", "sha256", "source", "state", "slot", "last_error"):
        done = as_user(ALICE, "getfattr", "-n", f"user.rpt.{name}", m.at("pin"))
        assert done.returncode != 0 and "ermission denied" in done.stderr, name
    assert m.xattr("pin", "version") == "of-the-pin"


def test_users_do_not_get_each_others_files_from_the_cache(mount):
    """Root and a user open the same name again and again at the same time."""
    m = mount(SECRET + PUBLIC)
    over = threading.Event()

    def read_as_root():
        while not over.is_set():
            assert b"of-the-pin" in m.read(".rpt/status.json")
            os.stat(m.at(".rpt/status.json"))

    readers = [threading.Thread(target=read_as_root) for _ in range(2)]
    for reader in readers:
        reader.start()
    loop = f"for i in $(seq 300); do cat {m.at('.rpt/status.json')} || exit; done"
    done = as_user(ALICE, "sh", "-c", loop)
    over.set()
    for reader in readers:
        reader.join()
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"name":"public"') == 300
    assert "of-the-pin" not in done.stdout


def test_the_socket_is_closed_to_others_without_allow_other(mount):
    m = mount("allow_other = false\n" + PUBLIC)
    assert stat.S_IMODE(os.stat(m.control).st_mode) == 0o600
    connect = "import socket,sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    done = as_user(ALICE, "/usr/bin/python3", "-c", connect, m.control)
    assert "PermissionError" in done.stderr
    assert names_of_rpt(m, 0) == {"public"}


HOLD = """
import os, sys, time
held = []
try:
    while len(held) < 1000:
        held.append(os.open(sys.argv[1], os.O_RDONLY))
        time.sleep(0.12)  # the next one is rendered anew
except OSError as error:
    print(len(held), error.strerror, flush=True)
print(os.read(held[0], 2), flush=True)
"""


def test_a_user_who_holds_renderings_open_uses_up_its_own_share(mount):
    m = mount("".join(f'term "t{i}" {{ static {{ data = "x" }} }}\n' for i in range(4000)))
    size = len(m.read(".rpt/status.json"))
    done = as_user(ALICE, "/usr/bin/python3", "-c", HOLD, m.at(".rpt/status.json"))
    n, reason = re.match(r"(\d+) (.*)", done.stdout).groups()
    assert reason == "Disk quota exceeded", done.stdout + done.stderr
    share = (32 * 2**20 + 4000 * 4096) // 2
    assert share // size - 1 <= int(n) <= share // size + 1
    assert "b'{" in done.stdout, "what is held can be read"
    documents(m, BOB)  # another user still gets them
    # The kernel forgets the nodes when the descriptors are closed.
    wait_for(
        lambda: as_user(ALICE, "cat", m.at(".rpt/status.json")).returncode == 0, "the share given back"
    )


def seen_in_proc(m, what):
    """Where the command lines and environments of the mount's processes show this."""
    return [
        f"{comm(pid)} {name}"
        for pid in session_processes(m.keeper)
        for name in ("cmdline", "environ")
        if what in read(f"/proc/{pid}/{name}")
    ]


def test_tokens_of_the_command_line_are_not_in_proc(mount, origin):
    for name in ("a", "b"):
        origin.put(f"/{name}?token=hunter2", name.encode())
    terms = [f"{name}={origin.url('/' + name)}?token=hunter2" for name in ("a", "b")]
    m = mount("", options=terms)
    m.wait_content("a", b"a")
    assert seen_in_proc(m, b"hunter2") == []
    assert b"a=***" in read(f"/proc/{m.keeper}/cmdline"), "the names stay"
    before = m.worker
    m.rpt("upgrade")
    m.wait_worker(before)
    m.refresh()
    assert m.read("b") == b"b"
    wait_for(lambda: seen_in_proc(m, b"hunter2") == [], "the new keeper")
    m.rpt("upgrade")
    assert {term["name"] for term in m.status()["terms"]} == {"a", "b"}


def writable_memory(pid):
    """The private writable memory of a process."""
    found = b""
    with open(f"/proc/{pid}/maps", encoding="utf-8") as maps, open(f"/proc/{pid}/mem", "rb") as mem:
        for line in maps:
            first, last, mode = re.match(r"([0-9a-f]+)-([0-9a-f]+) (....)", line).groups()
            if mode == "rw-p":
                mem.seek(int(first, 16))
                found += mem.read(int(last, 16) - int(first, 16))
    return found


def test_the_keeper_has_no_copy_of_a_password(mount, origin, build):
    if build.sanitized:
        pytest.skip("sanitizers keep freed memory")
    origin.put("/t", b"x")
    m = mount(
        f'term "t" {{ http {{ url = "{origin.url("/t")}" user = "u" password = "hunter2-{{}}" }} }}\n'
    )
    m.wait_content("t", b"x")
    assert b"hunter2-{}" not in writable_memory(m.keeper)
    init = wait_for(lambda: m.child("init"), "init")
    assert b"hunter2-{}" not in writable_memory(init)


def test_the_worker_cannot_be_dumped(mount):
    m = mount(PUBLIC)
    status = read(f"/proc/{m.worker}/status").decode()
    assert "Uid:\t0\t" not in status
    assert os.stat(f"/proc/{m.worker}/environ").st_uid == 0, "only root may read its memory"
    m.wait_worker(m.kill_worker())
    assert os.stat(f"/proc/{m.worker}/environ").st_uid == 0


def test_the_configuration_is_locked_and_not_dumped(mount, build):
    m = mount(PUBLIC)
    maps = read(f"/proc/{m.worker}/smaps").decode()
    flags = re.search(r"memfd:rptfs-configuration[^\n]*\n(?:[A-Z].*\n)*?VmFlags: (.*)", maps)[1].split()
    assert "dd" in flags
    # Sanitizers replace mlock(2) by nothing.
    assert build.sanitized or "lo" in flags
