"""Who may talk to the emulator: programs of this machine, and no web page.

A job command runs as the user of the emulator, so a browser must not be able to send requests here. A page
of another site sends its ``Origin`` or ``Sec-Fetch-Site``; a page whose name is made to resolve to this
machine (DNS rebinding) sends that name as ``Host``. The port in ``Host`` is not checked: ``qingcloud-hpc``
0.0.1 sends none, and behind a proxy of this machine it is the proxy's.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

log = logging.getLogger(__name__)
"""What aiohttp logs of the server."""
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _HideRequests(logging.Filter):
    """Drop what aiohttp quotes of a malformed request, which may hold a signature or a password."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            record.msg, record.args = "a malformed request was refused: %s", (type(error).__name__,)
            record.exc_info = record.exc_text = None
        return True


log.addFilter(_HideRequests())


def check_loopback(host: str) -> None:
    """Refuse an address that other machines can reach.

    :raises ValueError: for any host but ``localhost`` and loopback addresses.
    """
    if not _is_loopback(host):
        raise ValueError(
            f"host: {host!r} is no loopback address; the emulator runs commands as its user, so it listens "
            "on 127.0.0.1, ::1 or localhost only"
        )


@web.middleware
async def only_this_machine(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Refuse requests that another site makes a browser send, before anything else looks at them."""
    for name, values, good in (
        ("Host", request.headers.getall("Host", [""]), _is_own_host),
        ("Origin", request.headers.getall("Origin", []), lambda value: _is_own_origin(value, request)),
        ("Sec-Fetch-Site", request.headers.getall("Sec-Fetch-Site", []), _is_own_site),
    ):
        if not all(map(good, values)):
            raise web.HTTPForbidden(
                text=f"{name}: {', '.join(values)!r:.100} is not this emulator; it serves programs of "
                "this machine that address it as 127.0.0.1, [::1] or localhost, and no web site\n"
            )
    return await handler(request)


def _is_own_host(value: str) -> bool:
    name, bracket, port = value.rpartition("]")
    host, _, port = (name + bracket, "", port.removeprefix(":")) if bracket else value.partition(":")
    return (not port or port.isdecimal()) and _is_loopback(host.removeprefix("[").removesuffix("]"))


def _is_own_origin(value: str, request: web.Request) -> bool:
    # Host has been checked, and a page can set neither.
    return value.lower() == f"{request.scheme}://{request.host}".lower()


def _is_own_site(value: str) -> bool:
    # "none" is an address that the user typed; "same-site" is another port of this machine.
    return value in ("same-origin", "none")


def _is_loopback(host: str) -> bool:
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
