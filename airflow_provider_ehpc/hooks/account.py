"""What a connection says of an account: where its endpoint is, who signs, and how to talk to it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_ehpc.apis.call import InvalidArgument, Signer

CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 60.0
"""Seconds. GetJobLog asks an agent on the cluster: it answers late rather than never."""
_HOST_NAME = re.compile(r"[\w-]{1,63}(\.[\w-]{1,63})*\.?")
"""What a resolver takes (RFC 1035's lengths); requests and aiohttp fail on others in ways of their own."""


@dataclass(frozen=True, slots=True)
class TransportOptions:
    """The http provider's own extra fields, with the meaning they have there.

    ``timeout`` is in seconds and stands for connecting as well as for each silence while reading.
    """

    proxy: str | None = field(default=None, repr=False)
    """May hold the proxy's password."""
    verify: bool | str = True
    connect_timeout: float = CONNECT_TIMEOUT
    read_timeout: float = READ_TIMEOUT
    trust_env: bool = True

    @classmethod
    def from_extra(cls, conn_id: str, extra: Mapping[str, Any], scheme: str) -> TransportOptions:
        """Read the options out of a connection's extra fields.

        :raises InvalidArgument: for one that is not what it must be.
        """
        proxy = extra.get("proxy") or extra.get("proxies")
        if isinstance(proxy, Mapping):
            proxy = proxy.get(scheme) or proxy.get("all")
        verify = extra.get("verify", extra.get("verify_ssl", True))
        if isinstance(verify, str) and verify.strip().lower() in ("true", "false"):
            verify = verify.strip().lower() == "true"
        timeout = extra.get("timeout")
        try:
            seconds = None if timeout in (None, "") else float(timeout)
        except (TypeError, ValueError):
            seconds = -1
        if seconds is not None and seconds <= 0:
            raise InvalidArgument(
                f"connection {conn_id!r}: timeout is {timeout!r}; it is a number of seconds above 0"
            )
        return cls(
            proxy=proxy or None,
            verify=verify,
            connect_timeout=min(seconds or CONNECT_TIMEOUT, CONNECT_TIMEOUT),
            read_timeout=seconds or READ_TIMEOUT,
            trust_env=str(extra.get("trust_env", True)).lower() != "false",
        )


@dataclass(frozen=True, slots=True)
class Account:
    """A connection, understood."""

    conn_id: str
    base_url: str
    signer: Signer
    confidential: tuple[str, ...] = field(repr=False)
    """Texts that must not reach a log or an error."""
    transport: TransportOptions
    cluster_id: str | None = None
    project_id: str | None = None
    zone: str | None = None
    """Zone or region."""

    @property
    def host(self) -> str:
        """The host that is signed and sent: with a port only where it is not the scheme's own."""
        parts = urlsplit(self.base_url)
        own = {"https": 443, "http": 80}[parts.scheme]
        name = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
        return name if parts.port in (None, own) else f"{name}:{parts.port}"


def is_host(text: str) -> bool:
    """Whether a text has the form of a host name or of an IP address."""
    return ":" in text or _HOST_NAME.fullmatch(text) is not None


def base_url(conn_id: str, endpoint: str, *, scheme: str | None = None, port: int | None = None) -> str:
    """Return ``scheme://host[:port]`` for an endpoint given with or without a scheme; https by default.

    :raises InvalidArgument: where it is no address of a server.
    """
    text = endpoint.strip().rstrip("/")
    if "://" not in text:
        text = f"{scheme or 'https'}://{text}"
    try:
        parts = urlsplit(text)
        port = parts.port or port
        host = parts.hostname or ""
        valid = parts.scheme in ("http", "https") and not parts.query and not parts.path
        valid = valid and is_host(host)
    except ValueError:
        valid = False
    if not valid:
        raise InvalidArgument(
            f"connection {conn_id!r}: {endpoint!r} is no endpoint; write a host name such as "
            "ehpc.cn-hangzhou.aliyuncs.com, or http://host:port"
        )
    name = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{name}" + (f":{port}" if port else "")
