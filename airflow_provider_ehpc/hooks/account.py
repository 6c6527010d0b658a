# SPDX-License-Identifier: Apache-2.0
"""Accounts, as connections describe them: the endpoint, the signer and the options of the transport."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from airflow_provider_ehpc.apis.call import ApiCall, InvalidArgument, Signer

T = TypeVar("T")

CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 60.0
"""Seconds. GetJobLog queries an agent on the cluster, which may be slow."""
LONGEST_TIMEOUT = 86400.0
"""Seconds. Much longer ones overflow the clocks of threads and of event loops."""
_ON = ("true", "yes", "on", "1")
_OFF = ("false", "no", "off", "0")
"""Connections in URI form hold only texts."""
_HOST_NAME = re.compile(r"[\w-]{1,63}(\.[\w-]{1,63})*\.?")
"""Names that can be resolved (lengths: RFC 1035). requests and aiohttp fail differently with others."""


@dataclass(frozen=True, slots=True)
class TransportOptions:
    """Options from the http provider's extra fields, with the same meaning.

    ``timeout`` is the longest time in seconds without data from the server. It also limits an attempt.
    """

    proxy: str | None = field(default=None, repr=False)
    """May hold the proxy's password."""
    verify: bool | str = True
    """A file or folder of CA certificates; True for the environment's or else certifi's."""
    connect_timeout: float = CONNECT_TIMEOUT
    read_timeout: float = READ_TIMEOUT
    trust_env: bool = True

    @property
    def attempt_timeout(self) -> float:
        """Return the seconds that one attempt may take in all, even if data keeps arriving."""
        return self.connect_timeout + 2 * self.read_timeout

    @classmethod
    def from_extra(cls, conn_id: str, extra: Mapping[str, Any], scheme: str) -> TransportOptions:
        """Read the options from a connection's extra fields.

        :raises InvalidArgument: naming the field that is wrong.
        """
        proxy = extra.get("proxy") or extra.get("proxies")
        if isinstance(proxy, Mapping):
            proxy = proxy.get(scheme) or proxy.get("all")
        verify = extra.get("verify", extra.get("verify_ssl"))
        is_path = isinstance(verify, str) and verify.strip().lower() not in ("", *_ON, *_OFF)
        if is_path and not os.path.exists(verify):
            raise InvalidArgument(f"connection {conn_id!r}: verify names {verify!r}, which does not exist")
        timeout = extra.get("timeout")
        try:
            seconds = None if timeout in (None, "") else -1 if isinstance(timeout, bool) else float(timeout)
        except (OverflowError, TypeError, ValueError):
            seconds = -1
        if seconds is not None and not 0 < seconds <= LONGEST_TIMEOUT:
            raise InvalidArgument(
                f"connection {conn_id!r}: timeout is {timeout!r}; expected a number of seconds above 0, and "
                f"at most {LONGEST_TIMEOUT:g}"
            )
        return cls(
            proxy=proxy_url(f"connection {conn_id!r}", proxy) if proxy else None,
            verify=verify if is_path else _flag(conn_id, "verify", verify),
            connect_timeout=min(seconds or CONNECT_TIMEOUT, CONNECT_TIMEOUT),
            read_timeout=seconds or READ_TIMEOUT,
            trust_env=_flag(conn_id, "trust_env", extra.get("trust_env")),
        )


def _flag(conn_id: str, name: str, value: Any) -> bool:
    """Return an extra field that is true by default.

    null and an empty text are true, so that they do not disable the check of certificates.

    :raises InvalidArgument: for any value that is neither true nor false.
    """
    text = "" if value is None else str(value).strip().lower()
    if text not in ("", *_ON, *_OFF):
        raise InvalidArgument(f"connection {conn_id!r}: {name} is {value!r}; expected true or false")
    return text not in _OFF


@dataclass(frozen=True, slots=True)
class Account:
    """An account of a cloud."""

    conn_id: str
    base_url: str
    signer: Signer
    confidential: tuple[str, ...] = field(repr=False)
    """Texts that must not reach a log or an error."""
    transport: TransportOptions
    cluster_id: str | None = None
    user_password: str | None = field(default=None, repr=False)
    """The password of the cluster user that jobs run as."""
    project_id: str | None = None
    zone: str | None = None
    """Zone or region."""
    local_zone: tzinfo = UTC
    """The time zone of times that the API reports without one."""
    zone_assumed: bool = True
    """The connection does not name ``local_zone``."""

    @property
    def key(self) -> object:
        """Return the key that the cloud accepts or rejects, so that two keys can be compared."""
        return self.signer

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return all texts that must not reach a log, with those of temporary credentials."""
        return self.confidential

    def auth_flow(self, call: ApiCall[T]) -> Generator[Any, Any, T]:
        """Send a call with all that authenticates it, as the flow of ``httpx.Auth.auth_flow`` does."""
        response: T = yield Attempt(self, call)
        return response

    @property
    def host(self) -> str:
        """Return the host that is signed and sent, with its port unless that is the scheme's own."""
        parts = urlsplit(self.base_url)
        own = {"https": 443, "http": 80}[parts.scheme]
        name = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
        return name if parts.port in (None, own) else f"{name}:{parts.port}"


@dataclass(frozen=True, slots=True)
class Attempt(Generic[T]):
    """A step of a flow: send a call once, signed for an account, and return its typed response."""

    account: Account
    call: ApiCall[T]


def time_zone(conn_id: str, value: Any) -> tzinfo | None:
    """Return the zone that a connection's extra field ``time_zone`` names; None if it is not set.

    :raises InvalidArgument: for an unknown zone.
    """
    name = str(value or "").strip()
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidArgument(
            f"connection {conn_id!r}: time_zone: unknown zone {name!r}; expected a name such as Asia/Shanghai"
        ) from None


def credentials_type(
    conn_id: str, extra: Mapping[str, Any], fields: Mapping[str, tuple[str, ...]], default: str
) -> str:
    """Return the value of a connection's extra field ``credentials``.

    :param fields: the values, each with the extra fields that only some of them use.
    :raises InvalidArgument: for another value, or if a field is set that the value does not use.
    """
    kind = str(extra.get("credentials") or "").strip() or default
    if kind not in fields:
        raise InvalidArgument(
            f"connection {conn_id!r}: unknown credentials {kind!r}; expected one of {', '.join(fields)}"
        )
    for other, names in fields.items():
        for name in names:
            if extra.get(name) and name not in fields[kind]:
                raise InvalidArgument(
                    f"connection {conn_id!r}: {name} is set, but credentials is {kind!r}, which does not use "
                    f"it; clear {name}, or set credentials to {other!r}"
                )
    return kind


def is_host(text: str) -> bool:
    """Return True if a text has the form of a host name or of an IP address."""
    return ":" in text or _HOST_NAME.fullmatch(text) is not None


def key_text(conn_id: str, name: str, value: Any, *, ascii_only: bool = False, chosen: bool = False) -> str:
    """Return a part of a key without the white space around it; a key from a file ends with a newline.

    :param name: the field of the connection, for the error; the value is not shown.
    :param ascii_only: for what is sent in a header.
    :param chosen: a password that a person chose: it may contain spaces, and only line ends around it are
        removed.
    :raises InvalidArgument: if the value is a list or an object, or contains characters that no request can
        carry.
    """
    if isinstance(value, Mapping | list):
        raise InvalidArgument(f"connection {conn_id!r}: {name} is not a text but a {type(value).__name__}")
    text = str(value or "").strip("\r\n" if chosen else None)
    for position, character in enumerate(text, 1):
        bad = not character.isprintable() or (ascii_only and not character.isascii())
        # Other spaces and marks are not printable either, but a person may have chosen them.
        if bad and (not chosen or unicodedata.category(character) in ("Cc", "Cs")):
            raise InvalidArgument(
                f"connection {conn_id!r}: {name} contains U+{ord(character):04X} at position {position}, "
                "which cannot be sent; copy it again"
            )
    return text


def proxy_url(where: str, proxy: Any) -> str:
    """Return the URL of an HTTP proxy that is given with or without a scheme.

    :param where: the place where it is set, for the error; the URL is not shown, as it may hold a password.
    :raises InvalidArgument: if requests or aiohttp cannot use it, such as a SOCKS proxy.
    """
    # requests takes host:port for HTTP; aiohttp refuses it.
    url = proxy if "://" in str(proxy) else f"http://{proxy}"
    try:
        parts = urlsplit(str(url).strip())
        scheme, port = parts.scheme, parts.port
        valid = scheme in ("http", "https") and is_host(parts.hostname or "") and port != 0
    except ValueError:
        scheme, valid = "", False
    if not valid:
        kind = f" ({scheme}://…)" if scheme not in ("", "http", "https") else ""
        raise InvalidArgument(
            f"{where}: proxy{kind} is not the address of an HTTP proxy; write http://host:port"
        )
    return str(url).strip()


def base_url(conn_id: str, endpoint: str, *, scheme: str | None = None, port: int | None = None) -> str:
    """Return ``scheme://host[:port]`` for an endpoint given with or without a scheme; https by default.

    :raises InvalidArgument: if it is not the address of a server.
    """
    text = endpoint.strip().rstrip("/")
    if "@" in text:
        # Not shown: the text before the @ may be a password.
        raise InvalidArgument(
            f"connection {conn_id!r}: the endpoint contains a user name or a password; write the host name "
            "alone, and the key into login and password"
        )
    if "://" not in text:
        text = f"{(scheme or 'https').strip().removesuffix('://')}://{text}"
    try:
        parts = urlsplit(text)
        port = parts.port or port
        host = parts.hostname or ""
        valid = parts.scheme in ("http", "https") and not parts.query and not parts.path
        # urlsplit removes line breaks and tabs. The host is sent in a header.
        valid = valid and is_host(host) and text.isprintable() and host.isascii()
    except ValueError:
        valid = False
    if not valid:
        raise InvalidArgument(
            f"connection {conn_id!r}: {endpoint!r} is not an endpoint; write a host name such as "
            "ehpc.cn-hangzhou.aliyuncs.com, or http://host:port"
        )
    if port and not 0 < port < 65536:
        raise InvalidArgument(f"connection {conn_id!r}: port is {port}; expected 1 to 65535")
    name = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{name}" + (f":{port}" if port else "")
