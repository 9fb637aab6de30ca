"""The current bytes of a file on an rptfs mount, from memory: librpt for Python.

    import json
    import rpt

    with rpt.Term("/mnt/rpt/flags.json") as term:
        seen = None
        for request in requests():
            value = term.get()
            if value is not seen:  # each version is parsed once
                flags, seen = json.loads(bytes(value.data)), value
            answer(request, flags)

get() gives the same object for as long as nothing has changed, which costs less than a microsecond
and no system call; otherwise the current snapshot, complete, of one version, and not copied. It
works on any other file system as well. rpt.h and rpt_term_open(3) have the details: what happens
when the mount goes away, what files that are written in place look like.

Unlike in C, a value that was once got stays good for as long as anything refers to it and its mount
stands (of the last one: also when it does not), when newer ones have come and when the term was
closed, and threads may share a Term. get().version is its version.
"""

import ctypes
import errno
import os
import threading
import weakref

__all__ = ["Term", "Value"]

_CHANGED, _DETACHED = 1, 2


class _Value(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("size", ctypes.c_size_t),
        ("version", ctypes.c_char_p),
        ("serial", ctypes.c_uint64),
        ("detached", ctypes.c_int),
    ]


def _load():
    library = ctypes.CDLL("librpt.so.0")
    handle = ctypes.c_void_p
    library.rpt_term_open.argtypes = [ctypes.POINTER(handle), ctypes.c_char_p]
    library.rpt_term_get.argtypes = [handle, ctypes.POINTER(_Value)]
    library.rpt_term_check.argtypes = [handle]
    library.rpt_term_close.argtypes = [handle]
    library.rpt_term_close.restype = None
    return library


_librpt = _load()


class Value:
    """A snapshot.

    data: a read-only memoryview of it. version: what user.rpt.version says, or SIZE-MTIME-INODE.
    serial: 1, and one more with each other snapshot that the Term has come to. detached: its mount
    is gone, and this is the last that is known.
    """

    __slots__ = ("data", "version", "serial", "detached")

    def __init__(self, data, version, serial, detached):
        self.data, self.version, self.serial, self.detached = data, version, serial, detached

    def as_detached(self, detached):
        """The same, but for that."""
        return Value(self.data, self.version, self.serial, detached)

    def __repr__(self):
        state = ", detached" if self.detached else ""
        return f"<rpt.Value {self.version!r}, {len(self.data)} bytes{state}>"


class Term:
    """A file, whose current snapshot get() gives. OSError if there is none."""

    def __init__(self, path):
        self._path = os.fsencode(os.path.abspath(path))
        self._lock = threading.Lock()
        self._handle, self._value = self._open(1)

    def get(self):
        """The current Value. OSError where there is none: FileNotFoundError while the term is
        removed, or expired and hidden."""
        with self._lock:
            if self._handle is None:
                raise ValueError("get() of a Term that is closed")
            state = _librpt.rpt_term_check(self._handle)
            if state < 0:
                raise self._error(state)
            if state == _CHANGED:
                self._advance()
            elif (state == _DETACHED) != self._value.detached:
                self._value = self._value.as_detached(state == _DETACHED)
            return self._value

    def close(self):
        with self._lock:
            self._handle = self._value = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _error(self, code):
        return OSError(-code, os.strerror(-code), os.fsdecode(self._path))

    def _advance(self):
        try:
            self._handle, self._value = self._open(self._value.serial + 1)
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise
            self._value = self._value.as_detached(True)  # its mount is on its way out

    def _open(self, serial):
        """A handle for each snapshot, which is closed with the last that refers to its memory."""
        handle, raw = ctypes.c_void_p(), _Value()
        error = _librpt.rpt_term_open(ctypes.byref(handle), self._path)
        if error:
            raise self._error(error)
        error = _librpt.rpt_term_get(handle, ctypes.byref(raw))
        if error:
            _librpt.rpt_term_close(handle)
            raise self._error(error)
        memory = (ctypes.c_ubyte * raw.size).from_address(raw.data)
        weakref.finalize(memory, _librpt.rpt_term_close, handle).atexit = False
        data = memoryview(memory).cast("B").toreadonly()
        return handle, Value(data, os.fsdecode(raw.version), serial, bool(raw.detached))
