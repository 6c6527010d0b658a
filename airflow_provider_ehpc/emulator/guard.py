# SPDX-License-Identifier: Apache-2.0
"""Accept requests from programs on this machine only, not from web pages.

Job commands run as the user of the emulator, so no web page may send requests through a browser. A page of
another site sends its ``Origin`` or ``Sec-Fetch-Site``. A page whose name resolves to this machine (DNS
rebinding) sends that name as ``Host``. The port in ``Host`` is not checked: ``qingcloud-hpc`` 0.0.1 sends
none, and behind a local proxy it is the port of the proxy.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

log = logging.getLogger(__name__)
"""The logger that aiohttp uses for the server."""
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _HideRequests(logging.Filter):
    """Removes aiohttp's quotes of malformed requests, because they may include signatures or passwords."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            record.msg, record.args = "rejected a malformed request: %s", (type(error).__name__,)
            record.exc_info = record.exc_text = None
        return True


log.addFilter(_HideRequests())


def check_loopback(host: str) -> None:
    """Reject an address that other machines can reach.

    :raises ValueError: if ``host`` is neither ``localhost`` nor a loopback address.
    """
    if not _is_loopback(host):
        raise ValueError(
            f"host: {host!r} is not a loopback address; use 127.0.0.1, ::1 or localhost, because the "
            "emulator runs commands as its user"
        )


@web.middleware
async def only_this_machine(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Reject requests that a web page sends through a browser, before any other code handles them."""
    for name, values, good in (
        ("Host", request.headers.getall("Host", [""]), _is_own_host),
        ("Origin", request.headers.getall("Origin", []), lambda value: _is_own_origin(value, request)),
        ("Sec-Fetch-Site", request.headers.getall("Sec-Fetch-Site", []), _is_own_site),
    ):
        if not all(map(good, values)):
            raise web.HTTPForbidden(
                text=f"{name}: {', '.join(values)!r:.100} is not allowed; use the emulator from a program on "
                "this machine, as 127.0.0.1, [::1] or localhost\n"
            )
    return await handler(request)


def _is_own_host(value: str) -> bool:
    name, bracket, port = value.rpartition("]")
    host, _, port = (name + bracket, "", port.removeprefix(":")) if bracket else value.partition(":")
    return (not port or port.isdecimal()) and _is_loopback(host.removeprefix("[").removesuffix("]"))


def _is_own_origin(value: str, request: web.Request) -> bool:
    # Host has been checked, and a web page can set neither of them.
    return value.lower() == f"{request.scheme}://{request.host}".lower()


def _is_own_site(value: str) -> bool:
    # "none" means that the user typed the address; "same-site" includes other ports of this machine.
    return value in ("same-origin", "none")


def _is_loopback(host: str) -> bool:
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
