"""The mapped array .rpt/generations, as a program uses it."""

import mmap
import os
import struct

from rptmount import locked_in_memory

OVER = 2**64 - 1
SIZE = 8 << 20


class Generations:
    def __init__(self, mountpoint):
        self.fd = os.open(os.path.join(mountpoint, ".rpt/generations"), os.O_RDONLY)
        self.map = mmap.mmap(self.fd, SIZE, mmap.MAP_SHARED, mmap.PROT_READ)
        # After the end of the mount, reading an evicted page raises SIGBUS.
        self.locked = locked_in_memory(os.path.join(mountpoint, ".rpt/generations"), mmap.PAGESIZE)
        self.locked.__enter__()

    def __getitem__(self, slot):
        return struct.unpack_from("<Q", self.map, slot * 8)[0]

    def close(self):
        self.locked.__exit__(None, None, None)
        self.map.close()
        try:
            os.close(self.fd)
        except OSError:  # the daemon has ended
            pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
