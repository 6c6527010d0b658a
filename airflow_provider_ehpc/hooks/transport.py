# SPDX-License-Identifier: Apache-2.0
"""Send one signed request and return its response, with requests and with aiohttp.

Exceptions of the two libraries become ``NotReached`` if nothing was sent, and ``AnswerLost`` if the request
may have taken effect. Their messages contain the URL with all parameters, including passwords, so neither the
messages nor the exceptions are passed on.
"""

from __future__ import annotations

import asyncio
import functools
import os
import socket
import ssl
from collections.abc import Iterator
from http.client import HTTPException
from typing import Any

import aiohttp
import requests
from aiohttp.http_exceptions import ContentEncodingError
from requests.utils import get_environ_proxies, select_proxy
from urllib3.exceptions import DecodeError, HTTPError, ProxyError, ReadTimeoutError
from yarl import URL

from airflow_provider_ehpc.apis.call import (
    AnswerLost,
    ApiError,
    ApiRequest,
    ApiResponse,
    NotReached,
    UnexpectedResponse,
)
from airflow_provider_ehpc.hooks.account import Account, TransportOptions, proxy_url
from airflow_provider_ehpc.hooks.deadline import Adapter, AttemptProgress, WatchedAttempt
from airflow_provider_ehpc.hooks.tls import tls_context

MAX_BODY = 16 * 1024 * 1024
"""Bytes. The largest documented response, ModelArts' log preview, is 5 MB of text."""
_PIECE = 64 * 1024


def send(session: requests.Session, account: Account, request: ApiRequest) -> ApiResponse:
    """Send a signed request. The attempt ends after :attr:`.TransportOptions.attempt_timeout`.

    :raises NotReached: if there was no connection.
    :raises AnswerLost: if the connection was lost, or the response did not arrive in time.
    :raises InvalidArgument: if the environment's proxy is invalid.
    """
    # Raised here, without the library's exception as its context and the proxy's password in its frames.
    result = _send(session, account, request, proxy_of(account))
    if isinstance(result, ApiError):
        raise result
    return result


def _send(
    session: requests.Session, account: Account, request: ApiRequest, proxy: str | None
) -> ApiResponse | ApiError:
    options = account.transport
    attempt = WatchedAttempt()
    try:
        prepared = requests.Request(request.method, account.base_url, headers=dict(request.headers)).prepare()
        # As signed: requests would decode the URL and encode it again.
        prepared.url = account.base_url + request.target
        prepared.body = request.body or None
        # "Making an API Request" of Huawei Cloud: it "must be left blank" for a GET.
        if request.body or request.method != "GET":
            prepared.headers["Content-Length"] = str(len(request.body))
        with (
            attempt.within(options.attempt_timeout),
            # The session would read the whole body of a redirect, and store cookies.
            session.get_adapter(account.base_url).send(
                prepared,
                timeout=(options.connect_timeout, options.read_timeout),
                stream=True,
                verify=bool(options.verify),
                cert=None,
                proxies={"http": proxy, "https": proxy} if proxy else {},
            ) as response,
        ):
            body = bytearray()
            for piece in response.iter_content(_PIECE):
                body += piece
                if len(body) > MAX_BODY:
                    return _too_long(response.status_code)
            headers = {name.lower(): value for name, value in response.headers.items()}
        # A body without a length ends with the stream, also if the deadline closed it.
        if not attempt.expired:
            return ApiResponse(response.status_code, headers, bytes(body))
        error: BaseException = TimeoutError()
    except (requests.RequestException, HTTPError, HTTPException, OSError, ValueError) as caught:
        error = caught
    return _failure(error, account, attempt)


async def asend(session: aiohttp.ClientSession, account: Account, request: ApiRequest) -> ApiResponse:
    """Send a signed request without blocking the event loop. See :func:`send`."""
    result = await _asend(session, account, request, proxy_of(account))
    if isinstance(result, ApiError):
        raise result
    return result


async def _asend(
    session: aiohttp.ClientSession, account: Account, request: ApiRequest, proxy: str | None
) -> ApiResponse | ApiError:
    attempt = AttemptProgress()
    limit = asyncio.timeout(account.transport.attempt_timeout)
    try:
        async with (
            limit,
            session.request(
                request.method,
                URL(account.base_url + request.target, encoded=True),
                headers=dict(request.headers),
                data=request.body or None,
                skip_auto_headers=("Content-Type",),
                proxy=proxy,
                allow_redirects=False,
                trace_request_ctx=attempt,
            ) as response,
        ):
            body = bytearray()
            async for piece in response.content.iter_chunked(_PIECE):
                body += piece
                if len(body) > MAX_BODY:
                    return _too_long(response.status)
            headers = {name.lower(): value for name, value in response.headers.items()}
            return ApiResponse(response.status, headers, bytes(body))
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as caught:
        attempt.expired = limit.expired()
        error = caught
    return _failure(error, account, attempt)


async def _connected(session: aiohttp.ClientSession, trace: Any, parameters: Any) -> None:
    trace.trace_request_ctx.connected = True


def new_async_session(options: TransportOptions) -> aiohttp.ClientSession:
    """Return a session with the connection's options, for the running loop.

    :raises InvalidArgument: if the CA certificates cannot be read.
    """
    tracing = aiohttp.TraceConfig()
    tracing.on_connection_create_end.append(_connected)
    tracing.on_connection_reuseconn.append(_connected)
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=tls_context(options)),
        timeout=aiohttp.ClientTimeout(
            total=None, sock_connect=options.connect_timeout, sock_read=options.read_timeout
        ),
        # proxy_of finds the environment's proxy. aiohttp would also search the host in ~/.netrc, and if it
        # finds it, refuse to send a signed request.
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        trace_configs=[tracing],
    )
    # aiohttp retries a GET whose response was lost, with the same nonce, and E-HPC 2018-04-12 submits jobs
    # by GET. There is no public option for it (3.14).
    session._retry_connection = False
    return session


def configure_session(session: requests.Session, options: TransportOptions) -> None:
    """Give a requests session the connection's options.

    :raises InvalidArgument: if the CA certificates cannot be read.
    """
    # Proxies and certificates of the environment are applied here, as for aiohttp; ~/.netrc is ignored.
    session.trust_env = False
    adapter = Adapter(tls_context(options))
    session.mount("https://", adapter)
    session.mount("http://", adapter)


def proxy_of(account: Account) -> str | None:
    """Return the URL of the connection's proxy, or else of the environment's, which requests prefers.

    :raises InvalidArgument: if it is not an HTTP proxy.
    """
    options = account.transport
    return options.proxy or (environment_proxy(account.base_url) if options.trust_env else None)


@functools.lru_cache
def environment_proxy(base_url: str) -> str | None:
    """Return the environment's proxy for an endpoint, read once in a process.

    requests searches the whole environment for it, which takes a twentieth of a request's time.
    """
    proxy = select_proxy(base_url, get_environ_proxies(base_url))
    return proxy_url("environment", proxy) if proxy else None


def _too_long(status: int) -> UnexpectedResponse:
    return UnexpectedResponse(
        f"the response is longer than {MAX_BODY // 1024 // 1024} MiB; the rest was not read", status=status
    )


def _failure(error: BaseException, account: Account, attempt: AttemptProgress) -> ApiError:
    why, hint = _cause(error, account.transport, attempt)
    if attempt.connected:
        return AnswerLost(f"the request was sent, but {why}")
    hint = hint or (
        f"Check the region or the endpoint of connection {account.conn_id!r}, and the network from this "
        "machine."
    )
    return NotReached(f"cannot connect: {why}", hint=hint)


def _cause(error: BaseException, options: TransportOptions, attempt: AttemptProgress) -> tuple[str, str]:
    """Return a description of the failure, and a hint if one is known."""
    if attempt.expired:
        return f"no complete response came within {options.attempt_timeout:g} s", ""
    chain = list(_chain(error))

    def find(*kinds: type[BaseException]) -> BaseException | None:
        return next((cause for cause in chain if isinstance(cause, kinds)), None)

    to_proxy = "the proxy: " if find(ProxyError, aiohttp.ClientProxyConnectionError) else ""
    if find(socket.gaierror, aiohttp.ClientConnectorDNSError):
        return f"{to_proxy}the host name cannot be resolved", ""
    if find(ssl.SSLCertVerificationError):
        # aiohttp's own error is one, too, but the reason is in the inner one.
        reasons = [getattr(cause, "verify_message", "") for cause in chain]
        reason = next(filter(None, reasons), "verification failed")
        return f"{to_proxy}the certificate is not trusted ({reason})", (
            "For your own CA, set the connection's extra field verify, or REQUESTS_CA_BUNDLE, to its file."
        )
    if not attempt.connected:
        if status := _refused_by_proxy(chain):
            return (
                f"the proxy refused the connection ({status})",
                "Check the proxy, its user and password.",
            )
        if find(ssl.SSLError, aiohttp.ClientSSLError):
            return (
                f"{to_proxy}TLS handshake failed",
                "Check whether the port of the endpoint is one for https or for http.",
            )
        if find(aiohttp.InvalidURL, requests.exceptions.InvalidURL, requests.exceptions.InvalidProxyURL):
            return "the endpoint or the proxy is not a valid address", ""
    if find(TimeoutError, requests.Timeout, ReadTimeoutError):
        seconds = options.read_timeout if attempt.connected else options.connect_timeout
        return f"{to_proxy}no response came within {seconds:g} s", ""
    if find(DecodeError, ContentEncodingError):
        return "the response cannot be decompressed", ""
    system = next((c for c in reversed(chain) if isinstance(c, OSError) and (c.errno or 0) > 0), None)
    if system and not attempt.connected:
        # Not the text of the error: asyncio writes the address into it.
        return f"{to_proxy}{os.strerror(system.errno or 0)}", ""
    return f"{to_proxy}the connection was lost ({type(system or chain[-1]).__name__})", ""


def _refused_by_proxy(chain: list[BaseException]) -> str | None:
    """Return the HTTP status of a proxy that opened no tunnel; None if the cause is another."""
    for cause in chain:
        if isinstance(cause, aiohttp.ClientHttpProxyError):
            return f"HTTP {cause.status}"
        # http.client: OSError("Tunnel connection failed: 407 Proxy Authentication Required")
        if type(cause) is OSError and str(cause).startswith("Tunnel connection failed"):
            return f"HTTP {''.join(filter(str.isdigit, str(cause)))[:3]}"
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and its causes, the innermost last.

    requests and urllib3 have them in their arguments, too. ``__context__`` is ignored, because it may be an
    exception that the caller is handling.
    """
    seen: set[int] = set()
    waiting: list[Any] = [error]
    while waiting:
        cause = waiting.pop(0)
        if isinstance(cause, BaseException) and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            waiting += [getattr(cause, "reason", None), *cause.args, cause.__cause__]
