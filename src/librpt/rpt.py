"""The current content of a file on an rptfs mount, mapped into memory: librpt for Python.

    import json
    import rpt

    with rpt.Term("/mnt/rpt/flags.json") as term:
        seen = None
        for request in requests():
            value = term.get()
            if value is not seen:  # each version is parsed once
                flags, seen = json.loads(bytes(value.data)), value
            answer(request, flags)

While nothing has changed, get() returns the same object, takes less than a microsecond and makes
no system call. Otherwise it returns the current snapshot: complete, of one version, and not copied.
It works on any other file system as well. rpt.h and rpt_term_open(3) have the details, such as what
happens when the mount goes away, and what files look like that are written in place.

Unlike in C, a value stays valid as long as anything refers to it and its mount exists, even when
there are newer ones or the Term is closed; the last value stays valid without its mount as well.
Threads may share a Term.
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

    data: its bytes, a read-only memoryview. version: user.rpt.version, or SIZE-MTIME-INODE without
    one. serial: 1, then one more with each new snapshot. detached: the mount is gone, and this is
    its last value.
    """

    __slots__ = ("data", "version", "serial", "detached")

    def __init__(self, data, version, serial, detached):
        self.data, self.version, self.serial, self.detached = data, version, serial, detached

    def as_detached(self, detached):
        """A copy of this value with another `detached`."""
        return Value(self.data, self.version, self.serial, detached)

    def __repr__(self):
        state = ", detached" if self.detached else ""
        return f"<rpt.Value {self.version!r}, {len(self.data)} bytes{state}>"


class Term:
    """A file; get() returns its current snapshot. Raises OSError if there is none."""

    def __init__(self, path):
        self._path = os.fsencode(os.path.abspath(path))
        self._lock = threading.Lock()
        self._handle, self._value = self._open(1)

    def get(self):
        """Returns the current Value. Raises OSError if there is none: FileNotFoundError while the
        term is removed, or expired and hidden."""
        with self._lock:
            if self._handle is None:
                raise ValueError("get() of a closed Term")
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
            self._value = self._value.as_detached(True)  # its mount is about to end

    def _open(self, serial):
        """Opens a handle for one snapshot. It is closed with the last reference to its memory."""
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
