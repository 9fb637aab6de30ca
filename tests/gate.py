"""A proxy in front of a server: records each request, can run a callback before forwarding it, and can
be closed as if the server were stopped."""

import contextlib
import socket
import threading
from dataclasses import dataclass

from origin import Port


@dataclass
class Passed:
    method: str
    path: str
    headers: dict  # names in lower case
    number: int  # from 1


class Gate:
    """Listens on a loopback port and forwards to another. .before(request), if set, is called before
    a request is forwarded."""

    def __init__(self, to_port):
        self.to_port = to_port
        self.before = None
        self.lock = threading.Lock()
        self.requests = []  # guarded by lock, as connections
        self.connections = set()
        self.held_port = Port()
        self.port = self.held_port.number
        self.open()

    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def open(self):
        self.socket = self.held_port.listen(64)
        threading.Thread(target=self._accept, args=(self.socket,), daemon=True).start()

    def close(self):
        """Ends all connections and refuses new ones; the port stays reserved."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        with self.lock:
            connections = list(self.connections)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def release(self):
        self.held_port.close()

    def count(self):
        with self.lock:
            return len(self.requests)

    def forget(self):
        with self.lock:
            self.requests.clear()

    def _accept(self, listening):
        while True:
            try:
                client, _ = listening.accept()
                server = socket.create_connection(("127.0.0.1", self.to_port))
            except OSError:
                return
            with self.lock:
                self.connections |= {client, server}
            for pump, *ends in ((self._requests, client, server), (self._answers, server, client)):
                threading.Thread(target=self._run, args=(pump, *ends), daemon=True).start()

    def _run(self, pump, source, sink):
        with contextlib.suppress(OSError):
            pump(source, sink)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        source.close()
        with self.lock:
            self.connections.discard(source)

    @staticmethod
    def _answers(source, sink):
        buffer = memoryview(bytearray(1 << 18))
        while n := source.recv_into(buffer):
            sink.sendall(buffer[:n])

    def _requests(self, source, sink):
        """Forwards requests; they must not have a body."""
        read = b""
        while piece := source.recv(65536):
            read += piece
            while b"\r\n\r\n" in read:
                head, _, read = read.partition(b"\r\n\r\n")
                self._note(head.decode("latin-1").split("\r\n"))
                sink.sendall(head + b"\r\n\r\n")

    def _note(self, lines):
        method, path, _ = lines[0].split(" ")
        fields = (line.split(":", 1) for line in lines[1:])
        headers = {name.lower(): value.strip() for name, value in fields}
        with self.lock:
            request = Passed(method, path, headers, len(self.requests) + 1)
            self.requests.append(request)
        if self.before:
            self.before(request)
