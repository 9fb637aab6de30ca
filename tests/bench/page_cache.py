"""How a file came into the page cache, and in folios of which size it is there.

ext4 and xfs of newer kernels keep a file that is written or read in order in large folios, and one
that is read page by page in folios of one page; a large folio is faster to read from. A native file
is a fair yardstick only if it is known which it is.
"""

import array
import mmap
import os

PAGE = mmap.PAGESIZE
PIECE = 1 << 20
PRESENT = 1 << 63
PFN = (1 << 55) - 1
COMPOUND_HEAD, COMPOUND_TAIL = 1 << 15, 1 << 16  # of /proc/kpageflags


def evict(path):
    """Drops the file's pages, which are clean afterwards."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def write_in_order(path):
    """Writes the file anew, with the same bytes, in pieces of 1 MiB: the largest folios."""
    fd = os.open(path, os.O_RDWR)
    try:
        pieces = range(0, os.fstat(fd).st_size, PIECE)
        bytes_of = [os.pread(fd, PIECE, at) for at in pieces]
        os.ftruncate(fd, 0)
        for at, piece in zip(pieces, bytes_of):
            os.pwrite(fd, piece, at)
        os.fsync(fd)
    finally:
        os.close(fd)


def load_by_page(path):
    """Reads the file one page at a time, without read-ahead: folios of one page."""
    evict(path)
    fd = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
        for at in range(0, os.fstat(fd).st_size, PAGE):
            os.pread(fd, PAGE, at)
    finally:
        os.close(fd)


def folio_bytes(path):
    """The mean size of the folios that hold the file's pages (needs root); None if none is there."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        pages = -(-len(mapped) // PAGE)
        for at in range(0, len(mapped), PAGE):
            mapped[at]  # maps a cached page, or reads it
        address = _address_of(file.fileno())
        entries = array.array("Q")
        with open("/proc/self/pagemap", "rb", buffering=0) as pagemap:
            entries.frombytes(os.pread(pagemap.fileno(), pages * 8, address // PAGE * 8))
        present = folios = 0
        with open("/proc/kpageflags", "rb", buffering=0) as kpageflags:
            for entry in entries:
                if not entry & PRESENT:
                    continue
                flags = int.from_bytes(os.pread(kpageflags.fileno(), 8, (entry & PFN) * 8), "little")
                present += 1
                folios += not flags & COMPOUND_TAIL
    return present * PAGE / max(folios, 1) if present else None


def _address_of(fd):
    """Where this process has mapped the descriptor's file."""
    status = os.fstat(fd)
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    with open("/proc/self/maps", encoding="utf-8") as maps:
        for line in maps:
            fields = line.split()
            if fields[3] == device and int(fields[4]) == status.st_ino:
                return int(fields[0].split("-")[0], 16)
    raise OSError("the mapping is not in /proc/self/maps")
