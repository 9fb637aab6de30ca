"""A scripted HTTP origin: it can serve correctly, delay, stall, cut, reset or lie.

    origin.put("/flags.json", b"{}", etag='"1"')
    origin.then("/flags.json", status(503, {"Retry-After": "2"}), cut(100))   # the next two requests
    origin.always("/flags.json", stall())                                     # from now on
    assert origin.requests[-1].headers["if-none-match"] == '"1"'

It uses raw sockets, one thread per connection and only the standard library, so that exactly what is
written here goes over the wire.

A state that a test looks at must last: use always() for failures, because a failed term is retried
within a second. Use then() for requests that the test counts, or waits for.
"""

import gzip
import hashlib
import os
import select
import socket
import ssl
import struct
import threading
import time
import zlib
from dataclasses import dataclass, field
from email.utils import formatdate, parsedate_to_datetime


@dataclass
class Page:
    """The content of a path. None for etag or last_modified leaves the header out."""

    body: bytes
    etag: str | None = None
    last_modified: str | None = None
    headers: dict = field(default_factory=dict)
    coding: str | None = None  # used when the client accepts it
    ranges: bool = True
    conditional: bool = True


@dataclass
class Request:
    method: str
    path: str
    headers: dict  # names in lower case
    at: float  # time.monotonic()
    peer: tuple
    answer: int = 0  # status that was sent


def http(url, options="", term="", name="t"):
    """The configuration of a term with this source. options: those of http; term: those of the term."""
    return f'term "{name}" {{ {term} http {{ url = "{url}" {options} }} }}\n'


def digest_etag(body):
    return '"%s"' % hashlib.sha256(body).hexdigest()[:16]


def http_date(seconds):
    return formatdate(seconds, usegmt=True)


REASONS = {200: "OK", 206: "Partial Content", 304: "Not Modified", 404: "Not Found"}


class Exchange:
    """One request, and everything needed to answer it."""

    def __init__(self, origin, connection, request, page):
        self.origin, self.connection, self.request, self.page = origin, connection, request, page
        self.keep = request.headers.get("connection", "").lower() != "close"

    def head(self, code, headers, version="HTTP/1.1"):
        self.request.answer = code
        lines = [f"{version} {code} {REASONS.get(code, 'Status')}"]
        lines += [f"{name}: {value}" for name, value in headers.items() if value is not None]
        self.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")

    def send(self, data):
        self.connection.sendall(data)

    def wait(self, seconds):
        """Waits. Returns False as soon as the client closes or the test ends."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self.origin.closing.is_set():
                return False
            readable, _, _ = select.select([self.connection], [], [], min(left, 0.1))
            if readable:
                return False  # the client closed: it does not pipeline
        return True

    def page_headers(self):
        page = self.page
        headers = {"ETag": page.etag, "Last-Modified": page.last_modified, **page.headers}
        if page.ranges:
            headers["Accept-Ranges"] = "bytes"
        return headers

    def encoded(self):
        """The body as it goes over the wire, and its headers."""
        coding = self.page.coding
        if coding and coding in self.request.headers.get("accept-encoding", ""):
            return encode(self.page.body, coding), {"Content-Encoding": coding}
        return self.page.body, {}


def encode(body, coding):
    if coding == "gzip":
        return gzip.compress(body, mtime=0)
    if coding == "deflate":
        return zlib.compress(body)
    raise ValueError(coding)


def unchanged(request, page):
    """RFC 9110 section 13.2.2, as far as GET needs it."""
    if not page.conditional:
        return False
    tags = request.headers.get("if-none-match")
    if tags is not None:
        mine = (page.etag or "").removeprefix("W/")
        return tags == "*" or mine in [tag.strip().removeprefix("W/") for tag in tags.split(",")]
    since = request.headers.get("if-modified-since")
    if since and page.last_modified:
        return parsedate_to_datetime(page.last_modified) <= parsedate_to_datetime(since)
    return False


def byte_range(request, page, size):
    """The first byte that the client wants, or None for the whole body."""
    wanted = request.headers.get("range", "")
    if not page.ranges or not wanted.startswith("bytes=") or not wanted.endswith("-"):
        return None
    condition = request.headers.get("if-range")
    if condition is not None and condition not in (page.etag, page.last_modified):
        return None
    first = int(wanted[6:-1])
    return first if 0 < first < size else None


# Behaviours: each takes an Exchange.


def serve(x):
    """The correct answer, with conditional requests, ranges and content coding."""
    if x.page is None:
        return status(404, body=b"no such page\n")(x)
    if unchanged(x.request, x.page):
        x.head(304, x.page_headers())
        return
    body, headers = x.encoded()
    first = byte_range(x.request, x.page, len(body))
    if first is None:
        x.head(200, {**x.page_headers(), **headers, "Content-Length": len(body)})
    else:
        headers["Content-Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
        body = body[first:]
        x.head(206, {**x.page_headers(), **headers, "Content-Length": len(body)})
    if x.request.method != "HEAD":
        x.send(body)


def status(code, headers=None, body=b"an error page, not content\n"):
    def behave(x):
        x.head(code, {"Content-Length": len(body), **(headers or {})})
        x.send(body)

    return behave


def redirect(to, code=302):
    return status(code, {"Location": to})


def raw(data):
    """Sends these bytes, then closes the connection."""

    def behave(x):
        x.send(data)
        x.keep = False

    return behave


def interim(*codes):
    """Sends interim responses with headers of their own before the final one."""

    def behave(x):
        for code in codes:
            x.head(code, {"ETag": '"interim"', "Content-Length": 3, "Link": "</x>; rel=preload"})
        serve(x)

    return behave


def delay(seconds):
    def behave(x):
        if x.wait(seconds):
            serve(x)
        else:
            x.keep = False

    return behave


def hold(event):
    """Answers once the event is set, or not at all if the client or the test ends first."""

    def behave(x):
        while not event.is_set():
            if not x.wait(0.02) and not event.is_set():
                x.keep = False
                return
        serve(x)

    return behave


def stall(after=None):
    """Sends nothing, or the headers and that many bytes, and then stalls."""

    def behave(x):
        x.keep = False
        if after is not None:
            x.head(200, {**x.page_headers(), "Content-Length": len(x.page.body)})
            x.send(x.page.body[:after])
        x.wait(3600)

    return behave


def trickle(piece, pause):
    def behave(x):
        body = x.page.body
        x.head(200, {**x.page_headers(), "Content-Length": len(body)})
        for at in range(0, len(body), piece):
            x.send(body[at : at + piece])
            if not x.wait(pause):
                x.keep = False
                return

    return behave


class Endless:
    """A body that never ends: first, and then the same piece again and again. .sent counts its
    bytes."""

    def __init__(self, piece, pause=0, coding=None, extension=b"", first=b""):
        self.piece, self.pause, self.coding, self.sent = piece, pause, coding, 0
        self.extension = extension  # of each chunk
        self.first = first

    def __call__(self, x):
        x.keep = False
        coding = {"Content-Encoding": self.coding}
        x.head(200, {**x.page_headers(), **coding, "Transfer-Encoding": "chunked"})
        piece = self.first or self.piece
        while x.wait(self.pause):
            x.send(b"%x%s\r\n%s\r\n" % (len(piece), self.extension, piece))
            self.sent += len(piece) + len(self.extension)
            piece = self.piece


def cut(after):
    """Closes the connection in the middle of the body, or of the requested range."""

    def behave(x):
        x.keep = False
        first = byte_range(x.request, x.page, len(x.page.body)) or 0
        body = x.page.body[first:]
        headers = {**x.page_headers(), "Content-Length": len(body)}
        if first:
            whole = len(x.page.body)
            headers["Content-Range"] = f"bytes {first}-{whole - 1}/{whole}"
        x.head(206 if first else 200, headers)
        x.send(body[:after])

    return behave


def reset(after=None):
    """A TCP reset: at once, or in the middle of the body."""

    def behave(x):
        if after is not None:
            cut(after)(x)
            time.sleep(0.05)  # let the client read: a reset drops bytes in flight
        x.keep = False
        x.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return behave


def longer(extra=b"and more"):
    """Sends more bytes than Content-Length says."""

    def behave(x):
        x.keep = False
        x.head(200, {**x.page_headers(), "Content-Length": len(x.page.body)})
        x.send(x.page.body + extra)

    return behave


def chunked(end=True, coding=None):
    """Transfer-Encoding: chunked; without the last chunk if end is False."""

    def behave(x):
        body = encode(x.page.body, coding) if coding else x.page.body
        headers = {**x.page_headers(), "Transfer-Encoding": "chunked", "Content-Encoding": coding}
        x.head(200, headers)
        for at in range(0, len(body), 1000):
            piece = body[at : at + 1000]
            x.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        if end:
            x.send(b"0\r\n\r\n")
        else:
            x.keep = False

    return behave


def unframed():
    """HTTP/1.0: the body ends with the connection."""

    def behave(x):
        x.keep = False
        x.head(200, x.page_headers(), version="HTTP/1.0")
        x.send(x.page.body)

    return behave


def coded(change, coding="gzip"):
    """Sends the body with a content coding, the encoded bytes damaged by change(bytes)."""

    def behave(x):
        body = change(encode(x.page.body, coding))
        x.head(200, {**x.page_headers(), "Content-Encoding": coding, "Content-Length": len(body)})
        x.send(body)

    return behave


class Port:
    """A TCP port reserved on this machine, whether or not a server listens on it.

    The socket that holds it is bound and does not listen, so that connections are refused. With
    SO_REUSEADDR, which servers set, one of them can bind and listen beside it; the kernel gives the
    port to no process that asks for any free one.
    """

    def __init__(self, address="127.0.0.1"):
        self.address = address
        self.socket = self._bind(0)
        self.number = self.socket.getsockname()[1]

    def _bind(self, number):
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((self.address, number))
        return bound

    def listen(self, backlog):
        """A listening socket on this port."""
        listening = self._bind(self.number)
        listening.listen(backlog)
        return listening

    def url(self, path="/"):
        return f"http://{self.address}:{self.number}{path}"

    def close(self):
        self.socket.close()


class Origin:
    """Listens until close(), and again after open(), on a port of its own. tls: an ssl.SSLContext, or
    None."""

    def __init__(self, tls=None, unix=None, address="127.0.0.1"):
        self.tls = tls
        self.lock = threading.Lock()
        self.pages = {}  # guarded by lock, as all below
        self.scripts = {}
        self.standing = {}
        self.requests = []
        self.connections = set()
        self.held_port = None if unix else Port(address)
        self.port = 0 if unix else self.held_port.number
        self.open(unix)

    def open(self, unix=None):
        self.closing = threading.Event()
        if unix:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.bind(unix)
            self.socket.listen(1024)
        else:
            self.socket = self.held_port.listen(1024)
        arguments = (self.socket, self.closing)
        threading.Thread(target=self._accept, args=arguments, daemon=True).start()

    def url(self, path="/", host="127.0.0.1"):
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{path}"

    def term(self, name="t", term="refresh_interval = 1h"):
        """The configuration of a term whose path is its name. term: options of the term."""
        return http(self.url("/" + name), term=term, name=name)

    def put(self, path, body, etag=True, last_modified=None, **more):
        """Sets the content of a path. etag: True makes one from the body, None leaves it out.
        last_modified: seconds since 1970, or the header's text."""
        if isinstance(body, str):
            body = body.encode()
        if etag is True:
            etag = digest_etag(body)
        if isinstance(last_modified, (int, float)):
            last_modified = http_date(last_modified)
        page = Page(body, etag, last_modified, **more)
        with self.lock:
            self.pages[path] = page
        return page

    def remove(self, path):
        with self.lock:
            self.pages.pop(path, None)

    def then(self, path, *behaviours):
        """Sets how to treat the next requests for path, one behaviour each."""
        with self.lock:
            self.scripts.setdefault(path, []).extend(behaviours)

    def always(self, path, behaviour=serve):
        """Sets how to treat all later requests for path, except those covered by then()."""
        with self.lock:
            self.standing[path] = behaviour

    def count(self, path=None, answer=None):
        with self.lock:
            return sum(
                1
                for r in self.requests
                if path in (None, r.path) and answer in (None, r.answer)
            )

    def asked(self, path):
        with self.lock:
            return [r for r in self.requests if r.path == path]

    def forget(self):
        with self.lock:
            self.requests.clear()

    def drop_connections(self):
        with self.lock:
            connections = list(self.connections)
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        """Refuses connections from now on; the port stays reserved."""
        self.closing.set()
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()
        self.drop_connections()

    def release(self):
        if self.held_port:
            self.held_port.close()

    def _accept(self, listening, closing):
        while not closing.is_set():
            try:
                connection, peer = listening.accept()
            except OSError:
                return
            threading.Thread(
                target=self._connection, args=(connection, peer, closing), daemon=True
            ).start()

    def _connection(self, connection, peer, closing):
        try:
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            elif peer:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.connections.add(connection)
            while not closing.is_set():
                request = self._read_request(connection, peer)
                if not request or not self._answer(connection, request):
                    return
        except (OSError, ssl.SSLError, ValueError):
            pass  # the client has closed the connection
        finally:
            with self.lock:
                self.connections.discard(connection)
            connection.close()

    @staticmethod
    def _read_request(connection, peer):
        head = b""
        while b"\r\n\r\n" not in head:
            piece = connection.recv(65536)
            if not piece:
                return None
            head += piece
        lines = head.decode("latin-1").split("\r\n\r\n")[0].split("\r\n")
        method, path, _ = lines[0].split(" ")
        headers = {}
        for line in lines[1:]:
            name, value = line.split(":", 1)
            headers[name.lower()] = value.strip()
        return Request(method, path, headers, time.monotonic(), peer)

    def _answer(self, connection, request):
        plain = request.path.split("?")[0]
        with self.lock:
            self.requests.append(request)
            script = self.scripts.get(request.path) or self.scripts.get(plain)
            behaviour = script.pop(0) if script else None
            if not behaviour:
                behaviour = self.standing.get(request.path) or self.standing.get("*") or serve
            page = self.pages.get(request.path) or self.pages.get(plain)
        exchange = Exchange(self, connection, request, page)
        behaviour(exchange)
        return exchange.keep


class BlackHole:
    """An address that accepts connections and never answers."""

    def __init__(self):
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen(4096)
        self.port = self.socket.getsockname()[1]

    def url(self, path="/"):
        return f"http://127.0.0.1:{self.port}{path}"

    def close(self):
        self.socket.close()


def server_context(directory, client_ca=False):
    """A TLS context from certificates made by make_certificates()."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.path.join(directory, "server.pem"), os.path.join(directory, "server.key"))
    if client_ca:
        context.load_verify_locations(os.path.join(directory, "ca.pem"))
        context.verify_mode = ssl.CERT_REQUIRED
    return context
