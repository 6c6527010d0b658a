# SPDX-License-Identifier: Apache-2.0
"""End an attempt in time, and record whether it was connected."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

if TYPE_CHECKING:
    import requests

_this_thread = threading.local()


@dataclass(slots=True)
class AttemptProgress:
    """The progress of an attempt."""

    connected: bool = False
    """The connection exists, through the proxy and with TLS: the request may have been received."""
    expired: bool = False
    """The attempt was ended at its deadline."""


class WatchedAttempt(AttemptProgress):
    """A synchronous attempt, which ends at its deadline whatever the server does.

    A timeout of requests applies to each read of the socket. It never expires if a server sends a byte every
    half second, or ``100 Continue`` for ever, and http.client reads a whole head in one call. So a timer in
    another thread shuts the socket down, and the reading thread sees the end of the stream.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._connection: HTTPConnection | None = None
        self._socket: Any = None

    def use(self, connection: HTTPConnection | None) -> None:
        """Set the connection whose socket the deadline shuts down."""
        with self._lock:
            self._connection = connection
            # A connection gives up its socket before the body if the head contains "Connection: close".
            self._socket = connection and connection.sock

    def expire(self) -> None:
        """End the attempt."""
        with self._lock:
            self.expired = self._connection is not None
            # Without a socket it is still connecting, which has its own timeout. The descriptor is copied
            # because TLS in TLS wraps the socket in an object without a shutdown.
            sock: Any = self._socket or getattr(self._connection, "sock", None)
            with (
                contextlib.suppress(AttributeError, OSError, ValueError),
                socket.socket(fileno=os.dup(sock.fileno())) as copy,
            ):
                copy.shutdown(socket.SHUT_RDWR)

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Limit the time of the requests that this thread sends in the block."""
        timer = threading.Timer(seconds, self.expire)
        timer.daemon = True
        timer.start()
        _this_thread.attempt = self
        try:
            yield
        finally:
            _this_thread.attempt = None
            timer.cancel()
            self.use(None)


class _ReportingConnection:
    """Reports its progress to the attempt of this thread; a mixin for urllib3's connections."""

    def connect(self) -> None:
        attempt = self._attempt()
        super().connect()  # type: ignore[misc]
        if attempt.expired:
            raise TimeoutError
        attempt.use(self)  # type: ignore[arg-type]
        attempt.connected = True

    def request(self, *args: Any, **kwargs: Any) -> None:
        attempt = self._attempt()
        # A reused connection is connected.
        attempt.connected = attempt.connected or self.sock is not None  # type: ignore[attr-defined]
        super().request(*args, **kwargs)  # type: ignore[misc]

    def _attempt(self) -> WatchedAttempt:
        # There is none if other code uses the session.
        attempt: WatchedAttempt = getattr(_this_thread, "attempt", None) or WatchedAttempt()
        attempt.use(self)  # type: ignore[arg-type]
        return attempt


class _Http(_ReportingConnection, HTTPConnection):
    pass


class _Https(_ReportingConnection, HTTPSConnection):
    pass


class Adapter(HTTPAdapter):
    """Uses our TLS context, and connections that a deadline can end."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        # tenacity retries; urllib3 must not.
        super().__init__(max_retries=0)

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[Any, Any]:
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {"ssl_context": self._context, "cert_reqs": self._context.verify_mode}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Do nothing: requests would add certifi's certificates to the context."""

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        return super().proxy_manager_for(proxy, proxy_ssl_context=self._context, **kwargs)

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        pool.ConnectionCls = _Https if pool.scheme == "https" else _Http
        return pool


class _WithoutParameters(logging.Filter):
    """Removes the query, which contains passwords, from urllib3's DEBUG log of our requests."""

    def filter(self, record: logging.LogRecord) -> bool:
        if getattr(_this_thread, "attempt", None) and isinstance(record.args, tuple):
            record.args = tuple(a.partition("?")[0] if isinstance(a, str) else a for a in record.args)
        return True


logging.getLogger("urllib3.connectionpool").addFilter(_WithoutParameters())
