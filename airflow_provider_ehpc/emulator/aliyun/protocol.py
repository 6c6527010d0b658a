# SPDX-License-Identifier: Apache-2.0
"""Emulate the gateway of Alibaba Cloud, which checks each request (signature V3).

Sources: the common errors in the OpenAPI user guide, for codes and messages; ``alibabacloud-tea-openapi``
0.4.6, for what the official clients sign and how they encode it.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import parse_qsl

from airflow_provider_ehpc.apis.aliyun import signing
from airflow_provider_ehpc.apis.call import ApiRequest
from airflow_provider_ehpc.emulator.accounts import Accounts, CloudAccount
from airflow_provider_ehpc.emulator.aliyun.recording import recorded
from airflow_provider_ehpc.emulator.faults import FaultKind, Faults
from airflow_provider_ehpc.emulator.gateway import Act, Refused, Reply, Target
from airflow_provider_ehpc.emulator.operation_log import OperationLog

if TYPE_CHECKING:
    from aiohttp import web

Operation: TypeAlias = Callable[[Mapping[str, str]], Awaitable[Mapping[str, Any]]]
"""Does an operation with its parameters. Raises :class:`Refused`."""

_MAX_SKEW = 15 * 60
"""Seconds by which the date of a request may differ from the clock."""
_MAX_NONCES = 100_000
_MUST_BE_SIGNED = frozenset(
    {"host", "x-acs-action", "x-acs-version", "x-acs-date", "x-acs-signature-nonce", "x-acs-content-sha256"}
)


@dataclass(frozen=True, slots=True)
class Version:
    """The operations of an API version."""

    operations: Mapping[str, Operation]
    """By name."""
    get_only: frozenset[str] = frozenset()
    """Operations that do not accept POST."""

    def find(self, action: str, method: str) -> Operation | None:
        """Return an operation; None if it does not exist for this method."""
        if method != "GET" and action in self.get_only:
            return None
        return self.operations.get(action)


class AliyunService:
    """The API versions behind the gateway."""

    def __init__(
        self, accounts: Accounts, faults: Faults, versions: Mapping[str, Version], log: OperationLog
    ) -> None:
        self._accounts = accounts
        self._faults = faults
        self._versions = versions
        self._log = log
        self._nonces: OrderedDict[str, float] = OrderedDict()

    def target(self, request: web.Request) -> Target:
        """See :class:`~airflow_provider_ehpc.emulator.gateway.Service`."""
        parameters = _parameters(request)
        operation = request.headers.get("x-acs-action", "")
        job_id = parameters.get("JobId") or parameters.get("JobIds.1", "")
        return Target(operation, parameters.get("ClusterId", ""), job_id)

    async def admit(self, request: web.Request) -> Act:
        """Check version, action, date, key, token, signature, nonce and permission, in this order."""
        version = self._versions.get(request.headers.get("x-acs-version", ""))
        if version is None:
            raise Refused(400, "InvalidVersion", "Specified parameter Version is not valid.")
        action = request.headers.get("x-acs-action", "")
        operation = version.find(action, request.method)
        if operation is None:
            raise Refused(
                404,
                "InvalidAction.NotFound",
                "Specified api is not found, please check your url and method.",
            )
        parameters = _parameters(request)
        account = self._authenticate(request, parameters, await request.read())
        if action in account.denied:
            raise Refused(407, "NotAuthorized", f"You are not authorized to perform ehpc:{action}.")

        def act() -> Awaitable[Mapping[str, Any]]:
            return operation(parameters)

        return recorded(act, self._log, account, action, parameters)

    def success(self, result: Mapping[str, Any], request_id: str) -> Reply:
        """See :class:`~airflow_provider_ehpc.emulator.gateway.Service`."""
        return Reply(200, {"RequestId": request_id, **result}, {"x-acs-request-id": request_id})

    def error(self, refusal: Refused, request: web.Request, request_id: str) -> Reply:
        """See :class:`~airflow_provider_ehpc.emulator.gateway.Service`."""
        body = {
            "RequestId": request_id,
            "HostId": request.host,
            "Code": refusal.code,
            "Message": refusal.message,
            "Recommend": f"https://api.aliyun.com/troubleshoot?q={refusal.code}&product=EHPC"
            f"&requestId={request_id}",
        }
        return Reply(refusal.status, body, {"x-acs-request-id": request_id, **refusal.headers})

    def default_error(self, kind: FaultKind) -> Refused:
        """See :class:`~airflow_provider_ehpc.emulator.gateway.Service`."""
        if kind is FaultKind.THROTTLE:
            return Refused(429, "Throttling.User", "Request was denied due to user flow control.")
        return Refused(
            503,
            "ServiceUnavailable",
            "The request has failed due to a temporary failure of the server.",
        )

    def _authenticate(self, request: web.Request, parameters: Mapping[str, str], body: bytes) -> CloudAccount:
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            authorization = signing.parse_authorization(headers.get("authorization", ""))
        except ValueError:
            raise _incomplete("Authorization") from None
        signed = authorization["SignedHeaders"].split(";")
        missing = sorted((_MUST_BE_SIGNED - set(signed)) | (set(signed) - headers.keys()))
        if missing:
            raise _incomplete(", ".join(missing))
        now = time.time() + self._faults.clock_shift
        _check_date(headers["x-acs-date"], now)
        account = self._accounts.find(authorization["Credential"])
        if account is None:
            raise Refused(404, "InvalidAccessKeyId.NotFound", "Specified access key is not found.")
        _check_token(account, headers.get("x-acs-security-token"), now)
        canonical = signing.canonical_request(
            ApiRequest(request.method, request.path, parameters, headers), signed
        )
        expected = signing.signature(account.secret, canonical)
        sent_digest = headers["x-acs-content-sha256"]
        if not (
            hmac.compare_digest(expected.encode(), authorization["Signature"].encode())
            and hmac.compare_digest(hashlib.sha256(body).hexdigest().encode(), sent_digest.encode())
        ):
            digest = hashlib.sha256(canonical.encode()).hexdigest()
            raise Refused(
                400,
                "SignatureDoesNotMatch",
                "Specified signature is not matched with our calculation. server string to sign is:"
                f"{signing.ALGORITHM}\n{digest}",
            )
        self._use_nonce(f"{account.access_key_id} {headers['x-acs-signature-nonce']}", now)
        return account

    def _use_nonce(self, nonce: str, now: float) -> None:
        """Store a nonce while the date of its request is accepted."""
        if nonce in self._nonces:
            raise Refused(400, "SignatureNonceUsed", "Specified signature nonce was used already.")
        self._nonces[nonce] = now
        oldest = next(iter(self._nonces.values()))
        while len(self._nonces) > _MAX_NONCES or oldest < now - 2 * _MAX_SKEW:
            self._nonces.popitem(last=False)
            oldest = next(iter(self._nonces.values()))


def _parameters(request: web.Request) -> dict[str, str]:
    """Return the decoded query. The official clients send a space as ``+`` or ``%20``, and sign ``%20``."""
    return dict(parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True))


def _incomplete(missing: str) -> Refused:
    return Refused(
        400,
        "IncompleteSignature",
        f"The request signature does not conform to Aliyun standards. Missing or not signed: {missing}.",
    )


def _check_date(text: str, now: float) -> None:
    try:
        date = datetime.strptime(text, signing.DATE_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        raise Refused(
            400, "InvalidTimeStamp.Format", "Specified time stamp or date value is not well formatted."
        ) from None
    if abs(date.timestamp() - now) > _MAX_SKEW:
        raise Refused(400, "InvalidTimeStamp.Expired", "Specified time stamp or date value is expired.")


def _check_token(account: CloudAccount, token: str | None, now: float) -> None:
    if account.security_token is None:
        if token:
            raise _mismatch()
        return
    if not token:
        raise Refused(400, "MissingSecurityToken", "SecurityToken is mandatory for this action.")
    if not hmac.compare_digest(token.encode(), account.security_token.encode()):
        raise _mismatch()
    if account.expires_at is not None and now >= account.expires_at:
        raise Refused(400, "InvalidSecurityToken.Expired", "Specified SecurityToken is expired.")


def _mismatch() -> Refused:
    return Refused(
        400,
        "InvalidSecurityToken.MismatchWithAccessKey",
        "Specified SecurityToken mismatch with the AccessKey.",
    )
