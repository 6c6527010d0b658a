"""Ending an attempt in time, and knowing how far it got."""

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
class Attempt:
    """How far an attempt got."""

    connected: bool = False
    """The connection exists, through the proxy and with TLS: from here on the request may be received."""
    expired: bool = False
    """The attempt was ended because it took too long in all."""


class WatchedAttempt(Attempt):
    """A synchronous attempt, which ends at its deadline whatever the server does.

    The timeouts of requests hold for each reading of the socket. A server that sends a byte every half
    second, or ``100 Continue`` for ever, never meets them, and http.client reads a whole head in one call. So
    a timer in another thread shuts the socket down, and the reading thread sees the end of the stream.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._connection: HTTPConnection | None = None
        self._socket: Any = None

    def use(self, connection: HTTPConnection | None) -> None:
        """Name the connection whose socket ends with the attempt."""
        with self._lock:
            self._connection = connection
            # A connection drops its socket before the body, if the head announces that it will be closed.
            self._socket = connection and connection.sock

    def expire(self) -> None:
        """End the attempt."""
        with self._lock:
            self.expired = self._connection is not None
            # Without a socket it is still connecting, which has a timeout of its own. The descriptor is
            # copied because TLS in TLS wraps the socket in an object that cannot be shut down.
            sock: Any = self._socket or getattr(self._connection, "sock", None)
            with (
                contextlib.suppress(AttributeError, OSError, ValueError),
                socket.socket(fileno=os.dup(sock.fileno())) as copy,
            ):
                copy.shutdown(socket.SHUT_RDWR)

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Limit what this thread does meanwhile."""
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
    """Reports to the attempt that uses it; mixed into urllib3's connections."""

    def connect(self) -> None:
        attempt = self._attempt()
        super().connect()  # type: ignore[misc]
        if attempt.expired:
            raise TimeoutError
        attempt.use(self)  # type: ignore[arg-type]
        attempt.connected = True

    def request(self, *args: Any, **kwargs: Any) -> None:
        attempt = self._attempt()
        # One that is used again is connected.
        attempt.connected = attempt.connected or self.sock is not None  # type: ignore[attr-defined]
        super().request(*args, **kwargs)  # type: ignore[misc]

    def _attempt(self) -> WatchedAttempt:
        # None if somebody else uses the session.
        attempt: WatchedAttempt = getattr(_this_thread, "attempt", None) or WatchedAttempt()
        attempt.use(self)  # type: ignore[arg-type]
        return attempt


class _Http(_ReportingConnection, HTTPConnection):
    pass


class _Https(_ReportingConnection, HTTPSConnection):
    pass


class Adapter(HTTPAdapter):
    """Connects with a context of ours, and with connections that can be ended."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        # tenacity repeats; urllib3 must not.
        super().__init__(max_retries=0)

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[Any, Any]:
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {"ssl_context": self._context, "cert_reqs": self._context.verify_mode}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Leave the pool as it is: requests would add certifi's certificates to the context."""

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        return super().proxy_manager_for(proxy, proxy_ssl_context=self._context, **kwargs)

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        pool.ConnectionCls = _Https if pool.scheme == "https" else _Http
        return pool


class _WithoutParameters(logging.Filter):
    """Takes the query out of what urllib3 logs of our requests at DEBUG: passwords are among it."""

    def filter(self, record: logging.LogRecord) -> bool:
        if getattr(_this_thread, "attempt", None) and isinstance(record.args, tuple):
            record.args = tuple(a.partition("?")[0] if isinstance(a, str) else a for a in record.args)
        return True


logging.getLogger("urllib3.connectionpool").addFilter(_WithoutParameters())
