"""Sending one signed request and bringing back its answer, with requests and with aiohttp.

What the two libraries raise becomes one of two errors, and the difference matters: ``NotReached`` means
that nothing was sent, ``AnswerLost`` that the request may have taken effect. Their own messages hold the
URL, and with it every parameter (passwords too), so no text and no chained exception of theirs is kept.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import socket
import ssl
import threading
from urllib.parse import urlsplit

import aiohttp
import requests
from aiohttp import ClientConnectorError, ClientSSLError
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies, select_proxy
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    MaxRetryError,
    NewConnectionError,
    ProtocolError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)
from yarl import URL

from airflow_provider_ehpc.apis.call import (
    AnswerLost,
    ApiError,
    ApiRequest,
    ApiResponse,
    NotReached,
    UnexpectedResponse,
)
from airflow_provider_ehpc.hooks.account import Account, TransportOptions, is_host

MAX_BODY = 16 * 1024 * 1024
"""Bytes. The largest documented answer, ModelArts' log preview, is 5 MB of text."""
_PIECE = 64 * 1024
_this_thread = threading.local()


class _WithoutParameters(logging.Filter):
    """Takes the query out of what urllib3 logs of our requests at DEBUG: passwords are among it."""

    def filter(self, record: logging.LogRecord) -> bool:
        if getattr(_this_thread, "sending", False) and isinstance(record.args, tuple):
            record.args = tuple(a.partition("?")[0] if isinstance(a, str) else a for a in record.args)
        return True


logging.getLogger("urllib3.connectionpool").addFilter(_WithoutParameters())


def send(session: requests.Session, account: Account, request: ApiRequest) -> ApiResponse:
    """Send a signed request.

    :raises NotReached: where no connection came about.
    :raises AnswerLost: where it broke off, or the answer did not come in time.
    """
    options = account.transport
    failure: ApiError
    try:
        proxy = _proxy(account)
        settings = session.merge_environment_settings(
            account.base_url, {}, stream=True, verify=options.verify, cert=None
        )
        settings["proxies"] = {"http": proxy, "https": proxy} if proxy else {}
        prepared = requests.Request(request.method, account.base_url, headers=dict(request.headers)).prepare()
        # As signed: requests' own preparation of a URL would decode and encode it anew.
        prepared.url = account.base_url + request.target
        prepared.body = request.body or None
        # "Making an API Request" of Huawei Cloud: it "must be left blank" for a GET.
        if request.body or request.method != "GET":
            prepared.headers["Content-Length"] = str(len(request.body))
        _this_thread.sending = True
        with session.send(
            prepared,
            timeout=(options.connect_timeout, options.read_timeout),
            allow_redirects=False,
            **settings,
        ) as answer:
            body = bytearray()
            for piece in answer.iter_content(_PIECE):
                body += piece
                _check_size(len(body), answer.status_code)
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return ApiResponse(answer.status_code, headers, bytes(body))
    except (requests.RequestException, HTTPError, OSError) as error:
        failure = _requests_failure(error, account)
    finally:
        _this_thread.sending = False
    # Raised out here, so that nothing of the library's exception hangs on it.
    raise failure


async def asend(session: aiohttp.ClientSession, account: Account, request: ApiRequest) -> ApiResponse:
    """Send a signed request without blocking the event loop. See :func:`send`."""
    failure: ApiError
    try:
        async with session.request(
            request.method,
            URL(account.base_url + request.target, encoded=True),
            headers=dict(request.headers),
            data=request.body or None,
            skip_auto_headers=("Content-Type",),
            proxy=_proxy(account),
            allow_redirects=False,
        ) as answer:
            body = bytearray()
            async for piece in answer.content.iter_chunked(_PIECE):
                body += piece
                _check_size(len(body), answer.status)
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return ApiResponse(answer.status, headers, bytes(body))
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        failure = _aiohttp_failure(error, account)
    raise failure


def new_async_session(options: TransportOptions) -> aiohttp.ClientSession:
    """Return a session with the connection's options, for the running loop."""
    verify: bool | ssl.SSLContext = True
    if isinstance(options.verify, str):
        verify = ssl.create_default_context(cafile=options.verify)
    elif not options.verify:
        verify = False
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=verify),
        timeout=aiohttp.ClientTimeout(
            total=None, sock_connect=options.connect_timeout, sock_read=options.read_timeout
        ),
        # The environment's proxy is found by _proxy; aiohttp would also look for the host in ~/.netrc, and
        # refuse to send a signed request where it is there.
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
    )
    # aiohttp sends a GET again whose answer was lost, with a nonce that is used up; and E-HPC 2018-04-12
    # submits jobs by GET. There is no public name for this switch (3.14).
    session._retry_connection = False
    return session


def configure_session(session: requests.Session, options: TransportOptions) -> None:
    """Give a requests session the connection's options."""
    session.trust_env = options.trust_env
    # Connections are kept for one host; tenacity repeats, urllib3 must not.
    session.mount("https://", HTTPAdapter(max_retries=0))
    session.mount("http://", HTTPAdapter(max_retries=0))


def _proxy(account: Account) -> str | None:
    """Return the connection's proxy, else the environment's; requests alone would prefer the latter.

    :raises NotReached: for one that not both libraries can use, such as a SOCKS proxy.
    """
    options = account.transport
    proxy = options.proxy
    if not proxy and options.trust_env:
        proxy = environment_proxy(account.base_url)
    if not proxy:
        return None
    # Where it is given as host:port, requests takes it for http; aiohttp would refuse it.
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    parts = urlsplit(proxy)
    if parts.scheme not in ("http", "https") or not is_host(parts.hostname or ""):
        raise _not_reached(account, f"{parts.scheme}://{parts.hostname} is no address of an HTTP proxy")
    return proxy


@functools.lru_cache
def environment_proxy(base_url: str) -> str | None:
    """Return the proxy that the environment has for an endpoint. It is looked up once a process: requests
    goes through the whole environment for it, a twentieth of what a waiting trigger's requests cost.
    """
    return select_proxy(base_url, get_environ_proxies(base_url))


def _check_size(size: int, status: int) -> None:
    if size > MAX_BODY:
        raise UnexpectedResponse(
            f"the answer is longer than {MAX_BODY // 1024 // 1024} MiB; reading was given up", status=status
        )


def _not_reached(account: Account, why: str) -> NotReached:
    return NotReached(
        f"cannot connect: {why}",
        hint=f"Check the endpoint of connection {account.conn_id!r} and the network from this machine.",
    )


def _answer_lost(account: Account, why: str) -> AnswerLost:
    return AnswerLost(f"the request was sent, but {why}")


def _requests_failure(error: BaseException, account: Account) -> ApiError:
    cause: BaseException = error
    while isinstance(cause, requests.ConnectionError | MaxRetryError | ProxyError):
        inner = getattr(cause, "reason", None) or (cause.args[0] if cause.args else None)
        if not isinstance(inner, BaseException):
            break
        cause = inner
    # urllib3's NewConnectionError is a kind of ConnectTimeoutError, though it is no time-out.
    if isinstance(cause, NewConnectionError | socket.gaierror):
        return _not_reached(account, _system_words(cause.__cause__ or cause.__context__ or cause))
    if isinstance(cause, ConnectTimeoutError | requests.ConnectTimeout):
        return _not_reached(account, f"no answer within {account.transport.connect_timeout:g} s")
    if isinstance(cause, SSLError | requests.exceptions.SSLError | ssl.SSLError):
        return _not_reached(account, _tls(cause))
    if isinstance(error, requests.exceptions.ProxyError):
        return _not_reached(account, "the proxy refused the connection")
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidProxyURL):
        return _not_reached(account, "the endpoint or the proxy is no valid address")
    # A silence in the middle of the body is a requests.ConnectionError.
    if isinstance(error, requests.Timeout) or isinstance(cause, TimeoutError | ReadTimeoutError):
        return _answer_lost(account, f"no answer came within {account.transport.read_timeout:g} s")
    if isinstance(cause, ProtocolError):
        cause = cause.args[1] if len(cause.args) > 1 and isinstance(cause.args[1], BaseException) else cause
    return _answer_lost(account, f"the connection broke off ({type(cause).__name__})")


def _aiohttp_failure(error: BaseException, account: Account) -> ApiError:
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return _not_reached(account, f"no answer within {account.transport.connect_timeout:g} s")
    if isinstance(error, ClientSSLError | ssl.SSLError):
        return _not_reached(account, _tls(error))
    if isinstance(error, ClientConnectorError):
        return _not_reached(account, _system_words(error.os_error))
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return _not_reached(account, "the proxy refused the connection")
    if isinstance(error, aiohttp.InvalidURL):
        return _not_reached(account, "the endpoint or the proxy is no valid address")
    if isinstance(error, asyncio.TimeoutError):
        return _answer_lost(account, f"no answer came within {account.transport.read_timeout:g} s")
    return _answer_lost(account, f"the connection broke off ({type(error).__name__})")


def _system_words(error: BaseException) -> str:
    """Return what the operating system said, such as "Connection refused"."""
    if isinstance(error, socket.gaierror):
        return "the host name is not known"
    # The number, not the text: asyncio writes the address into the text.
    number = getattr(error, "errno", None)
    return os.strerror(number) if isinstance(number, int) and number > 0 else type(error).__name__


def _tls(error: BaseException) -> str:
    return (
        "its certificate is not trusted"
        if "CERTIFICATE_VERIFY_FAILED" in str(error)
        else "it speaks no TLS, or another kind of it"
    )
