"""Inspects a stopped worker from outside: the stacks of its threads, and the requests that it has taken
from the kernel and not yet answered."""

import mmap
import os
import re
import struct
import subprocess

from rptmount import HANGS_S, comm, open_paths

FUSE_READ, FUSE_RENAME = 15, 12

# src/mount/connection/inflight.c
INFLIGHT_MAGIC = 0x73746F6C73667072
INFLIGHT_HEAD = struct.Struct("=QIIII")  # magic, layout, size of the head, number and size of records
INFLIGHT_AT = 65536
INFLIGHT_HIGH_WATER_AT = 48
REQUEST = struct.Struct("=IIQ")  # length, operation, unique


class Inflight:
    """A mount's requests in flight, from the keeper's memfd."""

    def __init__(self, keeper):
        opened = open_paths(keeper).items()
        mine = [fd for fd, path in opened if path.startswith("/memfd:rptfs-inflight")]
        assert mine, "the keeper has no requests in flight"
        with open(f"/proc/{keeper}/fd/{mine[0]}", "rb") as file:
            self.map = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        magic, layout, _, self.n, self.size = INFLIGHT_HEAD.unpack_from(self.map)
        assert (magic, layout) == (INFLIGHT_MAGIC, 2), "the memfd has another layout"

    def waiting(self):
        """The operations of the requests that are not answered yet."""
        (used,) = struct.unpack_from("=I", self.map, INFLIGHT_HIGH_WATER_AT)
        found = []
        for i in range(min(used, self.n)):
            _, operation, unique = REQUEST.unpack_from(self.map, INFLIGHT_AT + i * self.size)
            if unique:
                found.append(operation)
        return found


def store_of(keeper):
    """A path to the store's directory, through the keeper's descriptor: the directory may be unnamed."""
    for fd in open_paths(keeper):
        path = f"/proc/{keeper}/fd/{fd}"
        if os.path.exists(path + "/catalog.db"):
            return path
    raise AssertionError("the keeper has no store")


def children(keeper, name):
    """Pids of the keeper's children of that name."""
    with open(f"/proc/{keeper}/task/{keeper}/children", encoding="ascii") as file:
        return [int(pid) for pid in file.read().split() if comm(pid) == "rptfs-" + name]


def stacks(pid):
    """The functions of each thread of a process, the innermost first."""
    done = subprocess.run(["eu-stack", "-p", str(pid)], capture_output=True, text=True, timeout=HANGS_S)
    threads = re.split(r"^TID \d+:$", done.stdout, flags=re.M)[1:]
    return [re.findall(r"^#\d+ +0x[0-9a-f]+ *(?:- \d+)? *(\S*)", thread, re.M) for thread in threads]


def positions(pid, inflight):
    """What a stopped worker is in the middle of: a subset of transaction, commit, publish,
    rename, read."""
    found = set()
    for functions in stacks(pid):
        if "catalog_commit" in functions:
            found |= {"commit", "transaction"}
        elif "store_run" in functions and any(name.startswith("sqlite3") for name in functions):
            found.add("transaction")
        if "publish_queue_publish" in functions:
            found.add("publish")
    waiting = inflight.waiting()
    if FUSE_READ in waiting:
        found.add("read")
    if FUSE_RENAME in waiting:
        found.add("rename")
    return found
