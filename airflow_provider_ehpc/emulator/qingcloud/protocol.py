# SPDX-License-Identifier: Apache-2.0
"""Emulate the protocol of QingCloud's HPC API: check each request, and write responses.

Source of signature, parameters and error codes: the HPC API reference (2023-09-06). The HTTP status of errors
is not documented. Here it is 200, because all responses have a ``ret_code``.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import parse_qsl, quote, quote_plus

from airflow_provider_ehpc.apis.call import ApiRequest, percent_encode
from airflow_provider_ehpc.apis.qingcloud import signing
from airflow_provider_ehpc.emulator.accounts import Accounts, CloudAccount
from airflow_provider_ehpc.emulator.faults import FaultKind, Faults
from airflow_provider_ehpc.emulator.gateway import Act, Refused, Reply, Target
from airflow_provider_ehpc.emulator.qingcloud.parameters import ZONE, Code, not_emulated, refusal, required

if TYPE_CHECKING:
    from aiohttp import web

PREFIX = "/api/"
_REQUIRED = (
    "access_key_id",
    "signature",
    "signature_method",
    "signature_version",
    "timestamp",
    "version",
)
_ENCODINGS: tuple[Callable[[str], str], ...] = (quote, percent_encode, quote_plus)
"""How the query is encoded to sign it: by the vendor's client (``qingcloud-hpc`` 0.0.1), in the text of the
page on signatures, and in the code on that page. The page contradicts itself, so all three are accepted."""
_NOT_EMULATED = frozenset(
    {
        "cluster/addNodes",
        "cluster/createCluster",
        "cluster/deleteCluster",
        "cluster/deleteNodes",
        "cluster/list",
        "cluster/listNodes",
        "cluster/modifyCluster",
        "cluster/resizeCluster",
        "cluster/restartNodes",
        "cluster/startCluster",
        "cluster/stopCluster",
        "job/deleteJobs",
        "queue/bindPrivateQueue",
        "queue/describeQueue",
        "queue/ehpc/addNodes",
        "queue/ehpc/addQueue",
        "queue/ehpc/delQueues",
        "queue/ehpc/getQueueList",
        "queue/ehpc/modifyQueue",
        "queue/ehpc/removeNodes",
        "queue/getCurrentQueue",
        "queue/unbindPrivateQueue",
        "software/list",
        "user",
        "user/addUser",
        "user/deleteUser",
        "user/modifyUser",
    }
)
"""Documented actions that are not emulated."""


@dataclass(frozen=True, slots=True)
class HpcRequest:
    """A request that passed the checks."""

    query: Mapping[str, str]
    body: Mapping[str, Any]
    subject: str
    """The part of the path after the action."""
    owner: str
    """The ID of the user who signed it."""


Handler: TypeAlias = Callable[[HpcRequest], Awaitable[Mapping[str, Any]]]
"""Does an action. Raises :class:`Refused`."""


@dataclass(frozen=True, slots=True)
class Action:
    """An action: its method, its name in responses and in the operation log, and its function."""

    method: str
    name: str
    handler: Handler


class QingCloudService:
    """The actions of the API by path. A path that ends with a slash is followed by a subject."""

    def __init__(self, accounts: Accounts, faults: Faults, actions: Mapping[str, Action]) -> None:
        self._accounts = accounts
        self._faults = faults
        self._actions = actions

    def target(self, request: web.Request) -> Target:
        """See :class:`~airflow_provider_ehpc.emulator.gateway.Service`. The body is not read."""
        path, subject = self._split(request)
        return Target(path.rstrip("/"), request.query.get("cluster_id", ""), subject)

    async def admit(self, request: web.Request) -> Act:
        """Check action, method, parameters, age, key, signature, body, zone and permission, in this order."""
        path, subject = self._split(request)
        action = self._actions.get(path)
        if path in _NOT_EMULATED:
            raise not_emulated(f"action [{path}]")
        if action is None or action.method != request.method:
            raise refusal(Code.UNKNOWN_ACTION, f"unknown action {request.method} {request.path}")
        query = dict(parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True))
        content = await request.read()
        account = self._authenticate(request, query, content)
        if path.rstrip("/") in account.denied:
            raise refusal(Code.DENIED, f"you have no permission for {action.name}")
        body = _object(content)
        # In the page on parameters it is in every query; the vendor's client sends it in the body of a POST.
        zone = query.get("zone") or required(body, "zone")
        if zone != ZONE:
            raise refusal(Code.NOT_FOUND, f"zone [{zone}] is not found")
        checked = HpcRequest(query, body, subject, user_id(account))
        handler, name = action.handler, action.name

        async def act() -> Mapping[str, Any]:
            return {"action": f"{name}Response", **(await handler(checked)), "ret_code": 0}

        return act

    def success(self, result: Mapping[str, Any], request_id: str) -> Reply:
        """See :class:`~airflow_provider_ehpc.emulator.gateway.Service`."""
        return Reply(200, result)

    def error(self, refusal: Refused, request: web.Request, request_id: str) -> Reply:
        """See :class:`~airflow_provider_ehpc.emulator.gateway.Service`."""
        code = int(refusal.code) if re.fullmatch(r"[0-9]{1,9}", refusal.code) else Code.INTERNAL
        return Reply(refusal.status, {"message": refusal.message, "ret_code": code}, refusal.headers)

    def default_error(self, kind: FaultKind) -> Refused:
        """See :class:`~airflow_provider_ehpc.emulator.gateway.Service`."""
        if kind is FaultKind.THROTTLE:
            return refusal(Code.OVER_QUOTA, "QuotaExceeded, requests over the limit")
        return refusal(Code.BUSY, "ServerBusy, please try again later")

    def _split(self, request: web.Request) -> tuple[str, str]:
        path = request.path.removeprefix(PREFIX)
        head, slash, subject = path.rpartition("/")
        return (head + slash, subject) if head + slash in self._actions else (path, "")

    def _authenticate(self, request: web.Request, query: Mapping[str, str], content: bytes) -> CloudAccount:
        for name in _REQUIRED:
            required(query, name)
        for name, value in (("version", "1"), ("signature_version", "1"), ("signature_method", "HmacSHA256")):
            if query[name] != value:
                raise refusal(Code.MALFORMED, f"{name} [{query[name]}] is not supported")
        _check_age(query["timestamp"], time.time() + self._faults.clock_shift)
        account = self._accounts.find(query["access_key_id"])
        # How this API accepts the token of a temporary key is not documented.
        if account is None or account.security_token:
            raise refusal(Code.NOT_AUTHENTICATED, f"access key [{query['access_key_id']}] is not found")
        signed = ApiRequest(request.method, request.path, query, body=content)
        sent = signing.sent_signature(query).encode()
        expected = (
            signing.signature(account.secret, signing.string_to_sign(signed, encode)).encode()
            for encode in _ENCODINGS
        )
        if not any(hmac.compare_digest(each, sent) for each in expected):
            raise refusal(Code.NOT_AUTHENTICATED, "signature not matched")
        return account


def user_id(account: CloudAccount) -> str:
    """Return the ID of an account's user, such as ``usr-GxkSGFDs``."""
    return "usr-" + hashlib.sha256(account.access_key_id.encode()).hexdigest()[:8]


def _check_age(text: str, now: float) -> None:
    try:
        signed_at = datetime.strptime(text, signing.TIME_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        raise refusal(Code.MALFORMED, f"timestamp [{text}] is not in the form YYYY-MM-DDThh:mm:ssZ") from None
    if now - signed_at.timestamp() > signing.LIFETIME:
        raise refusal(Code.EXPIRED, "the request is expired")


def _object(content: bytes) -> Mapping[str, Any]:
    try:
        body = json.loads(content or b"{}")
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise refusal(Code.MALFORMED, "the body is not a JSON object")
    return body
