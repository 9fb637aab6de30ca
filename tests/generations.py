"""The mapped array .rpt/generations, as a program uses it."""

import mmap
import os
import struct

OVER = 2**64 - 1
SIZE = 8 << 20


class Generations:
    def __init__(self, mountpoint):
        self.fd = os.open(os.path.join(mountpoint, ".rpt/generations"), os.O_RDONLY)
        self.map = mmap.mmap(self.fd, SIZE, mmap.MAP_SHARED, mmap.PROT_READ)

    def __getitem__(self, slot):
        return struct.unpack_from("<Q", self.map, slot * 8)[0]

    def close(self):
        self.map.close()
        try:
            os.close(self.fd)
        except OSError:  # it asks a daemon that is no more
            pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
