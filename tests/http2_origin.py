"""An origin that answers each request with HTTP/2 in a scripted way, and requests with HTTP/1.1 as
Origin does."""

import ssl
import struct
import threading

from origin import Origin, server_context

DATA, HEADERS, RST_STREAM, SETTINGS, PING = 0, 1, 3, 4, 6
END_STREAM, END_HEADERS, ACK = 1, 4, 1
NO_ERROR = 0


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def header(name, value):
    """A literal header field that is not indexed (RFC 7541, section 6.2.2)."""
    texts = (text.encode() for text in (name, value))
    return b"\0" + b"".join(bytes([len(text)]) + text for text in texts)


def answer(stream, body, headers):
    """A response without an end."""
    status_200 = b"\x88"
    fields = status_200 + b"".join(header(*field) for field in headers.items())
    return frame(HEADERS, END_HEADERS, stream, fields) + frame(DATA, 0, stream, body)


class Http2Origin(Origin):
    """Sends answer(stream) for each request with HTTP/2, and end(stream) once the client has received
    that. .n_http2 counts these requests."""

    def __init__(self, certificates, answer, end):
        self.answer, self.end, self.n_http2 = answer, end, 0
        self.counting = threading.Lock()
        context = server_context(certificates)
        context.set_alpn_protocols(["h2", "http/1.1"])
        super().__init__(tls=context)

    def _read_request(self, connection, peer):
        if connection.selected_alpn_protocol() == "h2":
            self._serve_http2(connection)
            return None
        return super()._read_request(connection, peer)

    def _serve_http2(self, connection):
        self._receive(connection, 24)  # the preface
        connection.sendall(frame(SETTINGS, 0, 0))
        while True:
            length, kind, flags, stream = struct.unpack(">IBBI", b"\0" + self._receive(connection, 9))
            payload = self._receive(connection, length)
            if kind == SETTINGS and not flags & ACK:
                connection.sendall(frame(SETTINGS, ACK, 0))
            elif kind == HEADERS:
                with self.counting:
                    self.n_http2 += 1
                ping = frame(PING, 0, 0, stream.to_bytes(8, "big"))
                connection.sendall(self.answer(stream) + ping)
            elif kind == PING and flags & ACK:
                connection.sendall(self.end(int.from_bytes(payload, "big")))

    @staticmethod
    def _receive(connection, size):
        data = b""
        while len(data) < size:
            piece = connection.recv(size - len(data))
            if not piece:
                raise ssl.SSLEOFError("the client has closed the connection")
            data += piece
        return data
