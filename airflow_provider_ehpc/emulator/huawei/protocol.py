# SPDX-License-Identifier: Apache-2.0
"""Emulate the API gateway of Huawei Cloud, which checks each request.

Sources: "Common Errors Related to IAM Authentication Information" (api-sign-0001) for the gateway, including
the lock of a key after five failures; the table of error codes of ModelArts; ``huaweicloudsdkcore`` 3.1.219
for what the official client signs.
"""

from __future__ import annotations

import hmac
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import parse_qsl

from airflow_provider_ehpc.apis.call import ApiRequest
from airflow_provider_ehpc.apis.huawei import signing
from airflow_provider_ehpc.emulator.accounts import Accounts, CloudAccount
from airflow_provider_ehpc.emulator.faults import FaultKind, Faults
from airflow_provider_ehpc.emulator.gateway import Act, Refused, Reply, Target
from airflow_provider_ehpc.emulator.huawei.tokens import Tokens

if TYPE_CHECKING:
    from aiohttp import web

PROJECT_ID = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
REGION = "cn-north-4"

_MAX_SKEW = 15 * 60
"""Seconds by which the date of a request may differ from the clock."""
_FAILURES = 5
"""The number of consecutive wrong signatures that locks a key."""
_LOCK = 300
"""The duration of the lock, in seconds."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request that passed the checks."""

    names: Mapping[str, str]
    """The parameters in the path: ``project_id``, ``job_id``, …"""
    query: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        """Return the body.

        :raises Refused: if it is not a JSON object.
        """
        try:
            body = json.loads(self.body)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            raise Refused(400, "ModelArts.2787", "Invalid JSON request body.")
        return body


Operation: TypeAlias = Callable[[Call], Awaitable[Reply]]
"""Does an operation. Raises :class:`Refused`."""


@dataclass(frozen=True, slots=True)
class Route:
    """The method and path of an operation. ``signed`` is False for the operation that creates tokens."""

    name: str
    method: str
    path: re.Pattern[str]
    operation: Operation
    signed: bool = True


def route(name: str, method: str, path: str, operation: Operation, *, signed: bool = True) -> Route:
    """Return a route. ``{name}`` in ``path`` matches one segment."""
    return Route(name, method, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path)), operation, signed)


class HuaweiService:
    """IAM, and ModelArts in one project, behind the gateway."""

    def __init__(self, accounts: Accounts, faults: Faults, tokens: Tokens, routes: Sequence[Route]) -> None:
        self._accounts = accounts
        self._faults = faults
        self._tokens = tokens
        self._routes = routes
        self._failures: dict[str, int] = {}
        self._locked_until: dict[str, float] = {}

    def target(self, request: web.Request) -> Target:
        """See :class:`~airflow_provider_ehpc.emulator.gateway.Service`."""
        found = self._find(request)
        if found is None:
            return Target("", "", "")
        return Target(found[0].name, "", found[1].get("job_id", ""))

    async def admit(self, request: web.Request) -> Act:
        """Check path, key or token, permission and project, in this order."""
        found = self._find(request)
        if found is None:
            raise Refused(
                404, "APIG.0101", "The API does not exist or has not been published in the environment"
            )
        matched, names = found
        body = await request.read()
        call = Call(names, _query(request), body)
        if matched.signed:
            by_token = "X-Auth-Token" in request.headers
            account = self._by_token(request) if by_token else self._by_key(request, body)
            if matched.name in account.denied:
                raise Refused(
                    403,
                    "ModelArts.0108",
                    f"You are not authorized to perform the ({matched.name}) operation.",
                )
            self._check_project(names["project_id"], by_token)

        def act() -> Awaitable[Reply]:
            return matched.operation(call)

        return act

    def success(self, result: Reply, request_id: str) -> Reply:
        """See :class:`~airflow_provider_ehpc.emulator.gateway.Service`."""
        return Reply(result.status, result.body, {"X-Request-Id": request_id, **result.headers})

    def error(self, refusal: Refused, request: web.Request, request_id: str) -> Reply:
        """See :class:`~airflow_provider_ehpc.emulator.gateway.Service`."""
        headers = {"X-Request-Id": request_id, **refusal.headers}
        status = refusal.status
        body: dict[str, Any] = {"error_msg": refusal.message, "error_code": refusal.code}
        if request.path.startswith("/v3/"):
            title = refusal.code
            body = {"error": {"code": status, "message": refusal.message, "title": title}}
        elif refusal.code.startswith("APIG."):
            body["request_id"] = request_id
        elif request.path.startswith("/v1/"):
            body["is_success"] = False
            # Clients must handle both: a status of its own for an error, and 200.
            status = 200 if self._faults.active(FaultKind.DRIFT) else status
        if status == 204:
            return Reply(204, None, headers)
        return Reply(status, body, headers)

    def default_error(self, kind: FaultKind) -> Refused:
        """See :class:`~airflow_provider_ehpc.emulator.gateway.Service`."""
        if kind is FaultKind.THROTTLE:
            return Refused(
                429,
                "APIG.0308",
                "The throttling threshold has been reached: "
                "policy user over ratelimit,limit:20,time:1 second",
            )
        return Refused(500, "ModelArts.0010", "Internal error.")

    def _find(self, request: web.Request) -> tuple[Route, Mapping[str, str]] | None:
        for candidate in self._routes:
            match = candidate.path.fullmatch(request.path)
            if match and candidate.method == request.method:
                return candidate, match.groupdict()
        return None

    def _by_token(self, request: web.Request) -> CloudAccount:
        now = time.time() + self._faults.clock_shift
        if not self._tokens.is_valid(request.headers["X-Auth-Token"], now):
            raise _unauthenticated("decrypt token fail")
        return self._accounts.first

    def _by_key(self, request: web.Request, body: bytes) -> CloudAccount:
        headers = {name.lower(): value for name, value in request.headers.items()}
        if "authorization" not in headers:
            raise _unauthenticated("x-auth-token not found")
        try:
            authorization = signing.parse_authorization(headers["authorization"])
            signed = authorization["SignedHeaders"].split(";")
            date = datetime.strptime(headers["x-sdk-date"], signing.DATE_FORMAT).replace(tzinfo=UTC)
        except (ValueError, KeyError):
            raise _unauthenticated("authorization header is invalid") from None
        now = time.time() + self._faults.clock_shift
        if not {"x-sdk-date", *signed} <= headers.keys() or "x-sdk-date" not in signed:
            raise _unauthenticated("authorization header is invalid")
        if abs(date.timestamp() - now) > _MAX_SKEW:
            raise _unauthenticated("verify aksk signature fail, the signature has expired")
        account = self._accounts.find(authorization["Access"])
        if account is None:
            raise _unauthenticated(f"Get secretKey failed,ak:{authorization['Access']},err:ak not exist")
        if now < self._locked_until.get(account.access_key_id, 0.0):
            raise _unauthenticated("AK access failed to reach the limit,forbidden.")
        canonical = signing.canonical_request(
            ApiRequest(request.method, request.rel_url.raw_path, _query(request), headers, body), signed
        )
        expected = signing.signature(account.secret, headers["x-sdk-date"], canonical)
        if not hmac.compare_digest(expected.encode(), authorization["Signature"].encode()):
            self._failed(account.access_key_id, now)
            shown = canonical.replace("\n", "|")
            raise _unauthenticated(f"verify aksk signature fail, canonicalRequest:{shown}")
        self._failures.pop(account.access_key_id, None)
        _check_security_token(account, headers.get("x-security-token", ""), now)
        return account

    def _failed(self, access_key_id: str, now: float) -> None:
        self._failures[access_key_id] = self._failures.get(access_key_id, 0) + 1
        if self._failures[access_key_id] >= _FAILURES:
            del self._failures[access_key_id]
            self._locked_until[access_key_id] = now + _LOCK

    def _check_project(self, project_id: str, by_token: bool) -> None:
        if project_id == PROJECT_ID:
            return
        if by_token:
            raise Refused(
                404,
                "ModelArts.2786",
                f"The project ID ({project_id}) in the request does not match that({PROJECT_ID}) "
                "in the token.",
            )
        raise Refused(400, "ModelArts.0210", "Invalid project ID.")


def _query(request: web.Request) -> dict[str, str]:
    return dict(parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True))


def is_number(text: str, digits: int = 18) -> bool:
    """Return True if a text is a whole number with at most this number of digits."""
    return text.isascii() and text.isdigit() and len(text) <= digits


def not_emulated(parameter: str) -> Refused:
    """Return the error for a parameter that the emulator does not support."""
    return Refused(400, "ModelArts.NotEmulated", f"The parameter ({parameter}) is not emulated.")


def _unauthenticated(reason: str) -> Refused:
    return Refused(401, "APIG.0301", f"Incorrect IAM authentication information: {reason}")


def _check_security_token(account: CloudAccount, token: str, now: float) -> None:
    expired = account.expires_at is not None and now >= account.expires_at
    if expired or not hmac.compare_digest(token.encode(), (account.security_token or "").encode()):
        raise _unauthenticated("decrypt token fail")
