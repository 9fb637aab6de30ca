"""The store: good versions are there after a restart, and damaged ones are never served."""

import errno
import os
import shutil
import signal
import subprocess
import time

import pytest
from origin import status
from rptmount import drop_pages, session_processes, wait_for
from test_http import assert_backs_off

SIZES = [0, 1, 4096, 4097, 300_000]


def content(i, size):
    return bytes([i % 251]) * size


def test_a_restart_with_every_source_down_serves_the_last_good_versions(mount, origins):
    origin = origins()
    for i, size in enumerate(SIZES):
        origin.put(f"/dir{i}/t", content(i, size))
    m = mount("".join(origin.term(f"dir{i}/t") for i in range(len(SIZES))))
    attributes = ("version", "sha256", "source", "fetched_at")
    before = [
        (os.stat(m.at(f"dir{i}/t")).st_ino, os.stat(m.at(f"dir{i}")).st_ino)
        + tuple(m.xattr(f"dir{i}/t", name) for name in attributes)
        for i in range(len(SIZES))
    ]
    origin.close()
    m.stop()
    m.expect("term=dir")
    m.start()
    for i, size in enumerate(SIZES):
        assert m.read(f"dir{i}/t") == content(i, size)
    after = [
        (os.stat(m.at(f"dir{i}/t")).st_ino, os.stat(m.at(f"dir{i}")).st_ino)
        + tuple(m.xattr(f"dir{i}/t", name) for name in attributes)
        for i in range(len(SIZES))
    ]
    assert after == before
    wait_for(lambda: all(term["state"] == "stale" for term in m.status()["terms"]), "the checks")


def test_a_restart_asks_with_the_stored_token(mount, origin):
    origin.put("/t", b"one", etag='"one"')
    m = mount(origin.term())
    origin.forget()
    m.restart()
    m.refresh("t")
    assert origin.asked("/t")[-1].headers["if-none-match"] == '"one"'
    assert origin.count("/t", answer=200) == 0


def test_kill_dash_nine_loses_nothing(mount, origin):
    origin.put("/t", b"one")
    m = mount(origin.term())
    for i in range(5):
        body = b"version %d" % i
        origin.put("/t", body)
        m.refresh("t")
        inode = os.stat(m.at("t")).st_ino
        m.kill()
        m.start()
        assert m.read("t") == body and os.stat(m.at("t")).st_ino == inode


def test_a_kill_during_updates_leaves_complete_versions(mount, origin):
    """A published version stays complete, and no older one follows."""
    names = [f"t{i}" for i in range(10)]
    for name in names:
        origin.put("/" + name, b"0" * 10_000)
    m = mount("".join(origin.term(name, "refresh_interval = 10ms") for name in names))
    for round_ in range(1, 6):
        for version in range(20):
            body = b"%d" % (round_ * 100 + version)
            for name in names:
                origin.put("/" + name, body * (10_000 // len(body)))
            time.sleep(0.005)
        seen = {name: int(m.read(name)[:3]) for name in names}
        m.kill()
        m.start()
        for name in names:
            body = m.read(name)
            assert body == body[:3] * (10_000 // 3) or body == b"0" * 10_000
            assert int(body[:3]) >= seen[name]


def damage(path):
    with open(path, "r+b") as file:
        file.write(b"\xff")


def shorten(path):
    os.truncate(path, os.path.getsize(path) - 1)


def lengthen(path):
    with open(path, "ab") as file:
        file.write(b"more")


@pytest.mark.parametrize("how", [damage, shorten, lengthen, os.unlink], ids=lambda f: f.__name__)
def test_a_damaged_snapshot_is_logged_and_fetched_again(mount, origin, how):
    origin.put("/t", b"precious " * 1000)
    origin.put("/u", b"untouched")
    m = mount(origin.term() + origin.term("u"))
    m.stop()
    forget_that_it_was_verified_this_boot(m.store)
    victim = max(m.snapshot_files(), key=os.path.getsize)
    os.chmod(victim, 0o600)
    how(victim)
    m.expect("corrupt|missing|length|size|dropped|lost|damaged|verif")
    m.start()
    # A reader that comes before it is verified waits for that, and reads nothing of it.
    m.wait_content("t", b"precious " * 1000, errors=(errno.ENOENT, errno.EIO))
    assert m.read("u") == b"untouched"
    levels = ("warning", "error")
    wait_for(lambda: [e for e in m.events() if e["level"] in levels], "the line in the log")


@pytest.mark.parametrize("how", [shorten, os.unlink], ids=lambda f: f.__name__)
def test_a_snapshot_that_is_lost_at_work_is_fetched_again(mount, origin, how):
    origin.put("/t", b"precious " * 1000)
    m = mount(origin.term(), expect=["event=corrupt_snapshot term=t"])
    (victim,) = m.snapshot_files()
    how(victim)
    with open(m.at("t"), "rb") as file:
        drop_pages(file.fileno())
        with pytest.raises(OSError) as raised:
            file.read()
    assert raised.value.errno == errno.EIO
    m.wait_content("t", b"precious " * 1000, errors=(errno.ENOENT, errno.EIO))
    assert m.events("corrupt_snapshot", term="t")


def empty(directory):
    for entry in os.scandir(directory):
        shutil.rmtree(entry) if entry.is_dir() else os.unlink(entry)


@pytest.mark.parametrize("how", [empty, shutil.rmtree], ids=lambda f: f.__name__)
def test_a_store_that_is_deleted_at_work_is_reported_and_made_anew(mount, origin, how):
    origin.put("/t", b"one")
    m = mount(origin.term(), expect=["term=t .*was deleted while it was in use"])
    how(m.store)
    origin.put("/t", b"two")
    m.refresh("t", ok=False)
    now = m.status("t")
    assert now["state"] == "stale" and "restart rptfs" in now["last_error"]["message"]
    assert m.read("t") == b"one"
    m.restart()
    assert m.read("t") == b"two"


def test_a_worker_without_a_store_names_the_reason(mount, origin):
    origin.put("/t", b"one")
    m = mount(origin.term(), expect=["event=mounted_anew"])
    shutil.rmtree(m.store)
    m.kill_worker()

    def is_named():
        return any("was deleted while" in e.get("reason", "") for e in m.events("worker_died"))

    wait_for(is_named, "the reason")


def forget_that_it_was_verified_this_boot(store):
    """Pretends another boot, because bytes written since the boot count as verified."""
    import sqlite3

    with sqlite3.connect(os.path.join(store, "catalog.db")) as catalog:
        for table, column in _boot_columns(catalog):
            catalog.execute(f"UPDATE {table} SET {column} = 1")
    catalog.close()


def _boot_columns(catalog):
    tables = [row[0] for row in catalog.execute("SELECT name FROM sqlite_master WHERE type='table'")]
    for table in tables:
        for row in catalog.execute(f"PRAGMA table_info({table})"):
            if "boot" in row[1]:
                yield table, row[1]


def test_a_damaged_snapshot_with_the_source_down_is_not_served(mount, origins):
    origin = origins()
    origin.put("/t", b"precious " * 1000)
    m = mount(origin.term())
    m.stop()
    forget_that_it_was_verified_this_boot(m.store)
    (victim,) = m.snapshot_files()
    os.chmod(victim, 0o600)
    damage(victim)
    origin.close()
    m.expect(".")
    m.start()
    try:
        assert m.read("t") == b"never", "damaged bytes were served"
    except OSError as error:
        assert error.errno in (2, 5)  # ENOENT, EIO
    wait_for(lambda: m.ls() == [], "the name to go away")


@pytest.mark.parametrize("how", ["garbage", "truncated", "empty"])
def test_a_corrupt_catalog_is_set_aside_and_rebuilt(mount, origin, how):
    origin.put("/t", b"one")
    m = mount(origin.term())
    m.stop()
    catalog = os.path.join(m.store, "catalog.db")
    if how == "garbage":
        with open(catalog, "r+b") as file:
            file.write(os.urandom(8192))
    elif how == "truncated":
        os.truncate(catalog, 5000)
    else:
        os.truncate(catalog, 0)
    m.expect("catalog")
    m.start()
    m.wait_content("t", b"one")
    wait_for(lambda: len(m.snapshot_files()) == 1, "the old snapshot to be removed")
    if how != "empty":  # an empty file is a catalog in which nothing was written yet
        assert any("catalog" in str(line) for line in m.events() if line["level"] != "info")
        assert [name for name in os.listdir(m.store) if name.startswith("aside-")]


def test_a_missing_catalog_is_a_new_store(mount, origin):
    origin.put("/t", b"one")
    m = mount(origin.term())
    m.stop()
    for name in os.listdir(m.store):
        if name.startswith("catalog.db"):
            os.unlink(os.path.join(m.store, name))
    m.start()
    m.wait_content("t", b"one")
    wait_for(lambda: len(m.snapshot_files()) == 1, "unknown files to be removed")


def test_ids_are_never_used_twice(mount, origin):
    seen = set()
    origin.put("/t", b"0")
    m = mount(origin.term())
    for i in range(1, 7):
        inode = os.stat(m.at("t")).st_ino
        assert inode not in seen and all(inode > other for other in seen)
        seen.add(inode)
        origin.put("/t", b"%d" % i)
        if i % 2:
            m.restart()
        m.refresh("t")


@pytest.fixture
def small_disk(directory):
    path = os.path.join(directory, "small")
    os.mkdir(path)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", path], check=True)
    yield path
    subprocess.run(["umount", "-l", path], check=True)


def test_a_full_disk_fails_only_the_update(mount, origin, small_disk):
    origin.put("/t", b"one")
    m = mount(origin.term(), store=os.path.join(small_disk, "store"), expect=["term=t"])
    origin.put("/t", os.urandom(8 << 20))
    m.refresh("t", ok=False)
    assert m.kind("t") == "internal" and "o space" in m.message()
    assert_backs_off(m)
    assert m.read("t") == b"one" and m.status("t")["state"] == "stale"

    def free():
        used = os.statvfs(small_disk)
        return used.f_bavail * used.f_bsize

    # Another attempt may be filling it.
    wait_for(lambda: free() > 2 << 20, "the partial body to be removed", pause=0.001)
    origin.put("/t", b"two")
    m.refresh("t")
    assert m.read("t") == b"two"


def test_a_full_disk_under_the_catalog_fails_only_the_update(mount, origin, small_disk):
    origin.put("/t", b"one")
    m = mount(origin.term(), store=os.path.join(small_disk, "store"), expect=["."])
    filler = os.open(os.path.join(small_disk, "filler"), os.O_WRONLY | os.O_CREAT)
    with pytest.raises(OSError):
        while True:
            os.write(filler, bytes(4096))
    os.close(filler)
    origin.put("/t", b"two")
    m.refresh("t", ok=False)
    assert m.read("t") == b"one"
    os.unlink(os.path.join(small_disk, "filler"))
    m.refresh("t")
    assert m.read("t") == b"two"


def test_a_limit_on_the_size_of_files_fails_only_the_update(mount, origin):
    origin.put("/t", b"one")
    limit = ["prlimit", f"--fsize={16 << 20}"]
    m = mount(origin.term(), prefix=limit, expect=["term=t .*File too large"])
    worker = m.worker
    origin.put("/t", bytes(17 << 20))
    m.refresh("t", ok=False)
    assert m.kind("t") == "internal" and "File too large" in m.message()
    assert m.read("t") == b"one" and m.worker == worker


def test_a_store_is_used_by_one_daemon_only(mount, origin):
    origin.put("/t", b"one")
    m = mount(origin.term())
    second = mount(origin.term(), store=m.store, start=False)
    with pytest.raises(AssertionError, match="exited with"):
        second.start()
    assert second.process.returncode in (1, 32)
    assert str(m.store) in second.log() and any(
        str(pid) in second.log() for pid in session_processes(m.process.pid)
    ), "the message names the pid of the first"
    second.clear()
    m.refresh("t")
    assert m.read("t") == b"one"


def test_history_is_bounded(mount, origin):
    origin.put("/t", b"0")
    m = mount(origin.term(term="history = 2 refresh_interval = 1h"))
    for i in range(1, 12):
        origin.put("/t", b"%d" % i)
        m.refresh("t")
    wait_for(lambda: len(m.snapshot_files()) <= 3, "old snapshots to be removed")
    assert m.read("t") == b"11"


def test_an_open_file_keeps_its_snapshot_beyond_history(mount, origin):
    body = os.urandom(3 << 20)
    origin.put("/t", body)
    m = mount(origin.term(term="history = 0 refresh_interval = 1h"))
    with open(m.at("t"), "rb") as held:
        inode = os.fstat(held.fileno()).st_ino
        for i in range(6):
            origin.put("/t", b"%d" % i)
            m.refresh("t")
        drop_pages(held.fileno())
        assert held.read() == body and os.fstat(held.fileno()).st_ino == inode
    wait_for(lambda: len(m.snapshot_files()) <= 1, "it to be removed when it is closed")


def test_a_store_in_memory_leaves_no_files(mount, origin, directory):
    origin.put("/t", os.urandom(500_000))
    m = mount(origin.term(), store="memory")
    first = m.read("t")
    origin.put("/t", b"two")
    m.refresh("t")
    assert m.read("t") == b"two" and len(first) == 500_000
    m.stop()
    assert not os.path.exists(os.path.join(m.dir, "memory"))
    m.start()
    m.wait_content("t", b"two")


def test_a_store_is_private(mount, origin):
    origin.put("/t", b"one")
    m = mount(origin.term())
    assert os.stat(m.store).st_mode & 0o777 == 0o700


def test_a_term_with_a_new_source_is_fetched_at_once(mount, origin, origins):
    """Its snapshot is of another source: it is served until the first answer."""
    other = origins()
    origin.put("/t", b"of the first")
    other.put("/t", b"of the second")
    m = mount(origin.term())
    m.stop()
    m.configure(other.term())
    m.start()
    m.wait_content("t", b"of the second")
    assert "if-none-match" not in other.asked("/t")[0].headers


def test_a_store_can_be_copied_while_the_mount_is_down(mount, origins, directory):
    origin = origins()
    origin.put("/t", b"one")
    m = mount(origin.term())
    m.stop(signal.SIGTERM)
    origin.close()
    copy = os.path.join(directory, "copy")
    shutil.copytree(m.store, copy)
    n = mount(origin.term(), store=copy, expect=["term=t"])
    assert n.read("t") == b"one"


def test_terms_recover_when_their_sources_come_back(mount, origin):
    origin.put("/t", b"one")
    m = mount(origin.term(term="refresh_interval = 100ms"), expect=["term=t"])
    origin.close()
    wait_for(lambda: m.status("t")["failures"] >= 2, "failures")
    origin.put("/t", b"two")
    origin.open()
    m.wait_content("t", b"two")
    origin.always("/t", status(500))
    wait_for(lambda: m.status("t")["failures"] >= 1, "a failure")
    assert m.read("t") == b"two"
