"""What readers see: no requests, one version behind a descriptor, attributes, refusals."""

import ctypes
import errno
import mmap
import os
import stat
import subprocess
import threading
import time

import pytest
from rptmount import (
    HANGS_S,
    NOBODY,
    as_user,
    drop_pages,
    parse_time,
    read,
    replace,
    wait_for,
    xattr,
)

libc = ctypes.CDLL(None, use_errno=True)


def static(name, data, more="", term=""):
    return f'term "{name}" {{ {term} static {{ data = "{data}" {more} }} }}\n'


# No requests


def read_all_ways(path):
    fd = os.open(path, os.O_RDONLY)
    size = os.fstat(fd).st_size
    os.read(fd, size)
    with mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ) as mapping:
        assert mapping[size - 1] is not None
    os.close(fd)
    os.stat(path)


def test_warm_readers_send_no_request(mount, directory):
    """10,000 × open + fstat + read + mmap + close + stat: the kernel answers alone."""
    source = os.path.join(directory, "large")
    with open(source, "wb") as file:
        file.write(os.urandom(1_000_000))
    m = mount(
        static("small", "hello")
        + f'term "dir/large" {{ refresh_interval = "never" file {{ path = "{source}" }} }}\n'
    )

    def read_them():
        for _ in range(9_900):
            read_all_ways(m.at("small"))
        for _ in range(100):
            read_all_ways(m.at("dir/large"))

    read_them()
    with m.counting() as requests:
        read_them()
    assert requests == {}


def test_warm_listings_send_no_request(mount):
    m = mount("".join(static(f"dir/{i}", "x") for i in range(300)))

    def list_them():
        for _ in range(50):
            assert len(os.listdir(m.at("dir"))) == 300
            for entry in os.scandir(m.path):
                entry.stat()
        subprocess.run(["ls", "-l", m.at("dir")], check=True, stdout=subprocess.DEVNULL)

    list_them()
    with m.counting() as requests:
        list_them()
    # ls -l reads access lists and labels, which the kernel does not cache.
    assert set(requests) <= {"getxattr", "listxattr"}, requests


@pytest.mark.parametrize("directory_name", ["", "dir/below/"])
def test_names_looked_up_one_by_one_are_listed(mount, directory, directory_name):
    """A reader that stats many names of a directory needs no look-up for most of them."""
    names = [f"{directory_name}{i}" for i in range(300)]
    source = os.path.join(directory, "source")
    replace(source, b"one")
    news = f'term "news" {{ refresh_interval = "never" file {{ path = "{source}" }} }}\n'
    m = mount(news + "".join(static(name, "x") for name in names))
    m.stop()
    m.start()  # the kernel has looked up none of them

    def listings():
        counts = m.counts()
        return counts.get("readdirplus", 0) + counts.get("readdir", 0)

    before = listings()
    for name in names[:100]:
        os.stat(m.at(name))
    wait_for(lambda: listings() > before, "the listing")
    replace(source, b"another")
    m.rpt("refresh", "--wait", "news")  # published after the listing, because one thread does both
    with m.counting() as requests:
        for name in names[100:]:
            os.stat(m.at(name))
    assert requests.get("lookup", 0) <= 2, requests


def test_the_connection_is_tuned(mount):
    m = mount(static("t", "x"))
    device = os.stat(m.path).st_dev
    bdi = f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb"
    assert read(bdi).strip() == b"1024"
    background = f"/sys/fs/fuse/connections/{os.minor(device)}/max_background"
    if os.path.exists(background):
        assert int(read(background)) >= 64


# One version behind a descriptor


def test_a_descriptor_keeps_its_version(mount, origin):
    old, new = os.urandom(3_000_000), os.urandom(2_000_000)
    origin.put("/t", old, etag='"old"', last_modified=1_600_000_000)
    m = mount(origin.term())
    fd = os.open(m.at("t"), os.O_RDONLY)
    shared = mmap.mmap(fd, len(old), mmap.MAP_SHARED, mmap.PROT_READ)
    private = mmap.mmap(fd, len(old), mmap.MAP_PRIVATE, mmap.PROT_READ)
    before = os.fstat(fd)
    for i in range(5):
        origin.put("/t", new + b"%d" % i, etag=f'"new{i}"', last_modified=1_700_000_000)
        m.refresh("t")
    drop_pages(fd)
    after = os.fstat(fd)
    assert (after.st_ino, after.st_size, after.st_mtime) == (
        before.st_ino, before.st_size, 1_600_000_000,
    )  # fmt: skip
    assert os.pread(fd, len(old), 0) == old and shared[:] == old and private[:] == old
    assert xattr(fd, "version") == "old" and m.xattr("t", "version") == "new4"
    assert read(f"/proc/self/fd/{fd}") == old, "it can be opened again through /proc"
    os.close(fd)


def test_every_version_has_its_own_inode(mount, origin):
    origin.put("/t", b"one")
    m = mount(origin.term())
    first = os.stat(m.at("t")).st_ino
    origin.put("/t", b"two")
    m.refresh("t")
    assert os.stat(m.at("t")).st_ino > first


def test_a_name_never_goes_away_during_a_swap(mount, origin):
    origin.put("/t", b"0" * 5000)
    m = mount(origin.term(term="refresh_interval = 10ms"))
    over = threading.Event()
    failures, opened, last = [], 0, 0

    def swap():
        i = 0
        while not over.wait(0.004):
            i += 1
            origin.put("/t", b"%d" % (i % 10) * 5000)

    def enough():
        return opened > 1000 and m.status("t")["updated_total"] > 50

    swapping = threading.Thread(target=swap)
    swapping.start()
    until = time.monotonic() + HANGS_S
    while not failures and time.monotonic() < until and (opened % 500 or not enough()):
        try:
            body = read(m.at("t"))
            inode = os.stat(m.at("t")).st_ino
            if len(body) != 5000 or len(set(body)) != 1 or inode < last:
                failures.append((body[:10], len(body), inode, last))
            last = inode
            opened += 1
        except OSError as error:
            failures.append(error)
    over.set()
    swapping.join()
    assert not failures and enough()


# Names and directories


def test_directories_come_from_names(mount):
    m = mount(static("a/b/c", "1") + static("a/d", "2") + static("e", "3"))
    assert m.ls() == ["a", "e"] and m.ls("a") == ["b", "d"] and m.ls("a/b") == ["c"]
    assert read(m.at("a/b/../d")) == b"2"
    for name in ("", "a", "a/b"):
        st = os.stat(m.at(name))
        assert stat.S_ISDIR(st.st_mode) and stat.S_IMODE(st.st_mode) == 0o755
        assert st.st_uid == 0 and st.st_gid == 0
    assert os.stat(m.at("a")).st_nlink == 3, "itself, its parent's entry, one directory below"
    for missing in ("x", "a/x", "a/b/c/d", ".rpt/x", ".hidden"):
        with pytest.raises(OSError) as caught:
            os.stat(m.at(missing))
        assert caught.value.errno in (errno.ENOENT, errno.ENOTDIR)


def test_names_may_be_utf8(mount):
    names = ["grüße.txt", "日本/語", "with space", "a" * 255]
    m = mount("".join(static(name, "x") for name in names))
    assert m.ls() == sorted(["grüße.txt", "日本", "with space", "a" * 255])
    assert read(m.at("日本/語")) == b"x"
    with pytest.raises(OSError) as caught:
        os.stat(m.at("b" * 256))
    assert caught.value.errno == errno.ENAMETOOLONG


def test_listing_and_lookup_agree(mount):
    m = mount(static("a", "1") + static("d/b", "22"))
    for directory in ("", "d", ".rpt"):
        for entry in os.scandir(m.at(directory)):
            st = os.stat(entry.path)
            assert entry.is_dir() == stat.S_ISDIR(st.st_mode)
            if directory != ".rpt":
                assert entry.inode() == st.st_ino


def test_find_walks_the_mount(mount):
    m = mount("".join(static(f"d{i % 7}/e{i % 3}/{i}", "x") for i in range(200)))
    found = subprocess.run(
        ["find", m.path, "-type", "f", "-not", "-path", "*/.rpt/*"], capture_output=True, text=True
    ).stdout
    assert len(found.splitlines()) == 200


def test_a_large_directory_is_listed_once_each(mount):
    names = [f"{i:05}-with-a-name-of-some-length" for i in range(2000)]
    m = mount("".join(static("d/" + name, "x") for name in names))
    assert sorted(os.listdir(m.at("d"))) == names


def test_a_new_term_appears_in_a_directory_that_was_listed(mount, origin):
    m = mount(static("d/first", "x") + origin.term("d/second"), expect=["term=d/second"])
    for _ in range(3):
        assert m.ls("d") == ["first"]
    mtime = os.stat(m.at("d")).st_mtime_ns
    origin.put("/d/second", b"here")
    m.refresh("d/second")
    assert m.ls("d") == ["first", "second"]
    assert os.stat(m.at("d")).st_mtime_ns > mtime
    assert read(m.at("d/second")) == b"here"


def test_a_name_that_was_looked_up_in_vain_appears(mount, origin):
    m = mount(origin.term(), expect=["term=t"])
    for _ in range(3):
        assert not os.path.exists(m.at("t"))
    origin.put("/t", b"here")
    m.refresh("t")
    assert read(m.at("t")) == b"here"


class Listing:
    """An open directory read piece by piece with getdents64, as readdir(3) does."""

    def __init__(self, path):
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    def piece(self):
        buffer = ctypes.create_string_buffer(512)
        got = libc.syscall(217, self.fd, buffer, len(buffer))
        if got < 0:
            raise OSError(ctypes.get_errno(), "getdents64")
        names, at = [], 0
        while at < got:
            length = int.from_bytes(buffer.raw[at + 16 : at + 18], "little")
            names.append(buffer.raw[at + 19 : at + length].split(b"\0")[0].decode())
            at += length
        return names

    def rest(self):
        names = []
        while piece := self.piece():
            names += piece
        return names

    def rewind(self):
        os.lseek(self.fd, 0, os.SEEK_SET)

    def close(self):
        os.close(self.fd)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the number of getdents64")
@pytest.mark.parametrize("new", ["000", "050-and-a-half", "zzz"])
def test_a_listing_in_progress_survives_a_new_term(mount, origin, new):
    """Names that were there all the time are listed once each; after a rewind the new one is too."""
    names = [f"{i:03}-some-length-to-fill-the-buffer" for i in range(100)]
    m = mount(
        "".join(static("d/" + name, "x") for name in names) + origin.term("d/" + new),
        expect=["term=d/"],
    )
    listing = Listing(m.at("d"))
    seen = listing.piece() + listing.piece()
    assert 0 < len(seen) < 60
    origin.put("/d/" + new, b"here")
    m.refresh("d/" + new)
    seen += listing.rest()
    old = [name for name in seen if name in names]
    assert sorted(old) == names and len(seen) - len(set(seen)) == 0
    listing.rewind()
    again = [name for name in listing.rest() if not name.startswith(".")]
    assert sorted(again) == sorted([*names, new])
    listing.close()
    assert m.ls("d") == sorted([*names, new])


def test_listing_is_stable_while_terms_change(mount, origin):
    names = [f"t{i:03}" for i in range(60)]
    for name in names:
        origin.put(f"/d/{name}", b"0")
    config = "".join(origin.term(f"d/{name}", "refresh_interval = 50ms") for name in names)
    m = mount(config)
    for version in range(1, 51):
        for name in names:
            origin.put(f"/d/{name}", b"%d" % version)
        assert sorted(os.listdir(m.at("d"))) == names
        assert sum(entry.stat().st_size > 0 for entry in os.scandir(m.at("d"))) == len(names)


def test_watchers_of_a_file_notice_its_replacement(mount, origin):
    """They see the same as for a local file: the old one is deleted."""
    IN_DELETE_SELF, IN_NONBLOCK = 0x400, 0o4000
    origin.put("/t", b"one")
    m = mount(origin.term())
    watch = libc.inotify_init1(IN_NONBLOCK)
    assert libc.inotify_add_watch(watch, m.at("t").encode(), IN_DELETE_SELF) > 0
    origin.put("/t", b"two")
    m.refresh("t")

    def mask():
        try:
            return int.from_bytes(os.read(watch, 4096)[4:8], "little")
        except BlockingIOError:
            return 0

    assert wait_for(mask, "an event") & IN_DELETE_SELF
    os.close(watch)


# Attributes


def test_attributes_are_those_of_the_version(mount, origin):
    origin.put("/t", b"12345", last_modified=1_700_000_000)
    before = time.time()
    m = mount(origin.term())
    st = os.stat(m.at("t"))
    assert stat.S_ISREG(st.st_mode) and stat.S_IMODE(st.st_mode) == 0o444
    assert (st.st_uid, st.st_gid, st.st_size, st.st_nlink) == (0, 0, 5, 1)
    assert st.st_mtime == 1_700_000_000
    assert before - 1 <= st.st_ctime <= time.time() + 1, "the time of publishing"
    assert st.st_blocks == 1


def test_statfs_describes_the_mount(mount):
    m = mount(static("t", "x" * 10_000))
    fs = os.statvfs(m.path)
    assert fs.f_flag & os.ST_RDONLY and fs.f_namemax == 255
    assert fs.f_bfree == 0 and fs.f_bavail == 0 and fs.f_blocks * fs.f_frsize >= 10_000
    done = subprocess.run(["df", "-h", m.path], capture_output=True, text=True)
    assert done.returncode == 0 and m.path in done.stdout


def test_the_mount_table_describes_the_mount(mount):
    m = mount(static("t", "x"))
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        line = next(line for line in file if line.split()[4] == m.path)
    options = set(line.split()[5].split(","))
    assert {"ro", "nosuid", "nodev"} <= options and " fuse.rptfs " in line
    assert "default_permissions" in line and "allow_other" in line


def test_mode_user_and_group_are_enforced(mount):
    m = mount(
        static("public", "x")
        + static("secret", "x", term='mode = "0400"')
        + static("nobodys", "x", term=f'mode = "0400" user = "{NOBODY}"')
        + static("groups", "x", term=f'mode = "0040" group = "{NOBODY}"')
    )
    for name, allowed in (("public", 1), ("secret", 0), ("nobodys", 1), ("groups", 1)):
        done = as_user(NOBODY, "cat", m.at(name))
        assert (done.stdout == "x") == bool(allowed), name
        assert allowed or "Permission denied" in done.stderr
    assert stat.S_IMODE(os.stat(m.at("secret")).st_mode) == 0o400
    assert os.stat(m.at("nobodys")).st_uid == NOBODY


# Refusals


def refusals(m):
    new, old, directory = m.at("new"), m.at("t"), m.at("d")
    yield "create", lambda: os.open(new, os.O_CREAT | os.O_WRONLY)
    yield "open for writing", lambda: os.open(old, os.O_WRONLY)
    yield "open for both", lambda: os.open(old, os.O_RDWR)
    yield "open and truncate", lambda: os.open(old, os.O_WRONLY | os.O_TRUNC)
    yield "open for appending", lambda: os.open(old, os.O_WRONLY | os.O_APPEND)
    yield "an unnamed file", lambda: os.open(directory, os.O_TMPFILE | os.O_RDWR)
    yield "truncate", lambda: os.truncate(old, 0)
    yield "unlink", lambda: os.unlink(old)
    yield "mkdir", lambda: os.mkdir(new)
    yield "rmdir", lambda: os.rmdir(directory)
    yield "rename", lambda: os.rename(old, new)
    yield "rename over", lambda: os.rename(m.at("u"), old)
    yield "link", lambda: os.link(old, new)
    yield "symlink", lambda: os.symlink("t", new)
    yield "mkfifo", lambda: os.mkfifo(new)
    yield "chmod", lambda: os.chmod(old, 0o777)
    yield "chown", lambda: os.chown(old, 1, 1)
    yield "utime", lambda: os.utime(old, (0, 0))
    yield "setxattr", lambda: os.setxattr(old, "user.rpt.version", b"x")
    yield "setxattr of another name", lambda: os.setxattr(old, "user.mine", b"x")
    yield "setxattr of a directory", lambda: os.setxattr(directory, "user.mine", b"x")
    yield "removexattr", lambda: os.removexattr(old, "user.rpt.version")
    yield "below .rpt", lambda: os.open(m.at(".rpt/new"), os.O_CREAT | os.O_WRONLY)
    yield "unlink below .rpt", lambda: os.unlink(m.at(".rpt/metrics"))


def test_everything_that_would_write_is_refused(mount):
    m = mount(static("t", "content") + static("u", "x") + static("d/t", "x"))
    for what, attempt in refusals(m):
        with pytest.raises(OSError) as caught:
            attempt()
        assert caught.value.errno == errno.EROFS, f"{what}: {caught.value}"
    assert not os.access(m.at("t"), os.W_OK)
    assert read(m.at("t")) == b"content" and m.ls() == ["d", "t", "u"]


def test_odd_requests_are_harmless(mount):
    m = mount(static("t", "content"))
    with open(m.at("t"), "rb") as file:
        with pytest.raises(OSError):
            import fcntl

            fcntl.ioctl(file, 0x1234)
        assert os.lseek(file.fileno(), 0, os.SEEK_END) == 7
        assert os.lseek(file.fileno(), 0, os.SEEK_DATA) == 0
        assert os.lseek(file.fileno(), 0, os.SEEK_HOLE) == 7
        assert os.pread(file.fileno(), 10, 7) == b"" and os.pread(file.fileno(), 10, 1 << 40) == b""
        import fcntl

        fcntl.flock(file, fcntl.LOCK_SH)
        fcntl.flock(file, fcntl.LOCK_UN)
    with pytest.raises(OSError):
        os.readlink(m.at("t"))
    subprocess.run(["sync", "-f", m.at("t")], check=True)


# Extended attributes


def test_xattrs_describe_version_and_term(mount, origin):
    body = b"12345"
    origin.put("/t", body, etag='W/"v7"')
    before = time.time()
    m = mount(origin.term())
    assert m.xattr("t", "version") == "v7"
    sha256 = subprocess.run(["sha256sum"], input=body, capture_output=True).stdout.split()[0]
    assert m.xattr("t", "sha256") == sha256.decode()
    assert m.xattr("t", "source") == origin.url("/t")
    assert m.xattr("t", "state") == "fresh" and m.xattr("t", "failures") == "0"
    assert m.xattr("t", "source_version").strip('W/"') == "v7"
    times = {name: m.xattr("t", name) for name in ("fetched_at", "checked_at", "next_check_at")}
    assert all(text.endswith("Z") for text in times.values())
    for name, in_s in (("fetched_at", 0), ("checked_at", 0), ("next_check_at", 3600)):
        assert before + 0.9 * in_s - 1 <= parse_time(times[name]) <= time.time() + in_s + 1, name
    assert m.xattr("t", "last_error") is None


def test_listxattr_lists_only_what_may_be_copied(mount):
    m = mount(static("t", "x"))
    assert sorted(os.listxattr(m.at("t"))) == [
        "user.rpt.sha256", "user.rpt.state", "user.rpt.version",
    ]  # fmt: skip
    assert os.listxattr(m.at(".rpt/metrics")) == []


def test_unknown_xattrs_are_errors(mount):
    m = mount(static("t", "x", 'version = "seven"') + static("d/t", "x"))
    path, name = m.at("t").encode(), b"user.rpt.version"
    buffer = ctypes.create_string_buffer(16)
    assert libc.getxattr(path, name, None, 0) == 5
    assert libc.getxattr(path, name, buffer, 5) == 5 and buffer.raw[:6] == b"seven\0"
    assert libc.getxattr(path, name, buffer, 4) == -1 and ctypes.get_errno() == errno.ERANGE
    size = libc.listxattr(path, None, 0)
    assert libc.listxattr(path, buffer, 3) == -1 and ctypes.get_errno() == errno.ERANGE
    assert size == len("user.rpt.version\0user.rpt.sha256\0user.rpt.state\0")
    for target, missing in (("t", "user.rpt.nix"), ("t", "user.other"), ("d", "user.rpt.version"),
                            ("t", "user.rpt.control"), ("t", "security.capability"),
                            (".rpt/metrics", "user.rpt.version")):  # fmt: skip
        with pytest.raises(OSError) as caught:
            os.getxattr(m.at(target), missing)
        assert caught.value.errno in (errno.ENODATA, errno.ENOTSUP), (target, missing)


def test_getfattr_reads_the_attributes(mount):
    m = mount(static("t", "x", 'version = "seven"'))
    out = subprocess.run(["getfattr", "-d", m.at("t")], capture_output=True, text=True).stdout
    assert 'user.rpt.version="seven"' in out and "user.rpt.state" in out
    out = subprocess.run(
        ["getfattr", "--only-values", "-n", "user.rpt.source", m.at("t")],
        capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert out and "\n" not in out and "\0" not in out


def test_copying_tools_work(mount, directory):
    m = mount("".join(static(f"d/{i}", f"content {i}") for i in range(20)))
    script = f"cp -a {m.path}/d {directory}/copy && tar --xattrs -C {m.path} -cf {directory}/t.tar d"
    done = subprocess.run(script, shell=True, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert read(f"{directory}/copy/7") == b"content 7"


def test_superseded_snapshots_are_removed(mount, origin):
    """After many versions, the disk holds only the history."""
    origin.put("/t", b"0" * 50_000)
    m = mount(origin.term(term="refresh_interval = 1h history = 1"))
    for i in range(60):
        origin.put("/t", b"%d" % (i % 10) * 50_000 + b"%d" % i)
        m.refresh("t")
        read(m.at("t"))
    wait_for(lambda: m.metrics()["rptfs_snapshots"] <= 3, "snapshots to be removed", pause=0.12)
