# SPDX-License-Identifier: Apache-2.0
"""A server on a raw socket in front of the emulator: it forwards requests, or does to them what a fault says.

A raw socket, because most faults are things that no HTTP library sends: half a header, a wrong length, a
reset in the middle of a body, a byte every half second.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import urlsplit

_NO_LINGER = struct.pack("ii", 1, 0)


@dataclass
class Request:
    """A request as it arrived. Header names are lower-case."""

    target: str
    headers: Mapping[str, str]
    raw: bytes
    struck: bool = False


@dataclass
class Response:
    """A response of the emulator."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Exchange:
    """One request, and the connection on which the client waits for the response."""

    def __init__(self, server: FaultServer, connection: socket.socket, request: Request) -> None:
        self.server = server
        self.request = request
        self._connection = connection

    def upstream(self) -> Response:
        """Return the emulator's response to the request."""
        return self.server.forward(self.request)

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._connection.sendall(data)

    def respond(
        self,
        body: bytes = b"",
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        *,
        length: int | None = None,
        kind: str = "application/json",
    ) -> None:
        """Send a response and let the connection end after it.

        :param length: the ``Content-Length``, if it is not that of the body.
        """
        fields = {
            "Content-Type": kind,
            "Content-Length": str(len(body) if length is None else length),
            "Connection": "close",
            **(headers or {}),
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.send(f"HTTP/1.1 {status} Status\r\n{head}\r\n".encode("latin-1") + body)

    def relay(self, response: Response, headers: Mapping[str, str] | None = None) -> None:
        """Send a response of the emulator, with further headers."""
        kept = {n: v for n, v in response.headers.items() if n in ("date", "x-acs-request-id")}
        self.respond(response.body, response.status, {**kept, **(headers or {})})

    def reset(self) -> None:
        """Reset the connection."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._connection.close()

    def wait(self, seconds: float) -> bool:
        """Wait, at most until the server ends; return whether it goes on."""
        return not self.server.ending.wait(seconds)


Act: TypeAlias = Callable[[Exchange], None]
"""Does something to one request. The connection ends after it."""


class FaultServer:
    """Serves from threads until it is closed.

    :param upstream: the emulator's base URL.
    :param certificate: a file with a certificate and its key, to speak TLS.
    """

    def __init__(self, upstream: str, certificate: str | None = None) -> None:
        self.seen: list[Request] = []
        self.ending = threading.Event()
        self.act: Act | None = None
        """What happens to requests; nothing if it is None."""
        self.skip = 0
        """Requests that are forwarded before the first one is struck."""
        self.strikes: int | None = None
        """Requests that are struck; None for all."""
        self.wants: Callable[[Request], bool] = lambda request: True
        """Whether a request is one that the fault is about."""
        self.on_over: Callable[[], None] = lambda: None
        """Called once, when the last request is struck."""
        self._upstream = urlsplit(upstream)
        self._tls = None
        if certificate:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate)
        self._lock = threading.Lock()
        self._socket = socket.socket()
        # Until it listens, connections are refused.
        self._socket.bind(("127.0.0.1", 0))
        scheme = "https" if certificate else "http"
        self.url = f"{scheme}://127.0.0.1:{self._socket.getsockname()[1]}"

    def listen(self) -> None:
        """Accept connections."""
        self._socket.listen(128)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End."""
        self.ending.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    @property
    def struck(self) -> int:
        """How many requests were struck so far."""
        return sum(request.struck for request in self.seen)

    def forward(self, request: Request) -> Response:
        """Pass a request on to the emulator."""
        with contextlib.closing(
            http.client.HTTPConnection(self._upstream.hostname or "", self._upstream.port, timeout=30)
        ) as upstream:
            upstream.connect()
            upstream.sock.sendall(request.raw)
            response = http.client.HTTPResponse(upstream.sock)
            response.begin()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Response(response.status, headers, response.read())

    def _accept(self) -> None:
        while not self.ending.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        # A client that gives up in the middle is what many faults are about.
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
            elif connection.recv(1, socket.MSG_PEEK) == b"\x16":
                # A client that begins to speak TLS (RFC 8446 5.1) gets what a web server answers.
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
                connection.close()
                return
            with connection, connection.makefile("rb") as file:
                while request := _read_request(file):
                    if self._strikes(request):
                        self.on_over()
                    exchange = Exchange(self, connection, request)
                    if request.struck and self.act:
                        self.act(exchange)
                        return
                    response = self.forward(request)
                    body = response.body
                    head = {"Content-Type": "application/json", "Content-Length": str(len(body))}
                    head |= {n: v for n, v in response.headers.items() if n not in _NOT_FORWARDED}
                    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
                    exchange.send(f"HTTP/1.1 {response.status} OK\r\n{lines}\r\n".encode() + body)

    def _strikes(self, request: Request) -> bool:
        """Note a request and whether it is struck; return whether it is the last such."""
        with self._lock:
            self.seen.append(request)
            if self.act is None or not self.wants(request):
                return False
            if self.skip:
                self.skip -= 1
                return False
            if self.strikes is None:
                request.struck = True
                return False
            if self.strikes:
                self.strikes -= 1
                request.struck = True
                return self.strikes == 0
            return False


_NOT_FORWARDED = frozenset({"content-type", "content-length", "transfer-encoding", "connection"})


def _read_request(file: object) -> Request | None:
    head = []
    while (line := file.readline()) not in (b"\r\n", b""):  # type: ignore[attr-defined]
        head.append(line)
    if not head:
        return None
    headers = {}
    for field in head[1:]:
        name, _, value = field.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    body = file.read(int(headers.get("content-length", 0)))  # type: ignore[attr-defined]
    target = head[0].decode("latin-1").split()[1]
    return Request(target, headers, b"".join([*head, b"\r\n", body]))
