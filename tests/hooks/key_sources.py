# SPDX-License-Identifier: Apache-2.0
"""Local stand-ins for the services that issue temporary keys: STS, and the metadata services of two clouds.

The keys are accounts of the emulator, which rejects them after they have expired.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from airflow_provider_ehpc.emulator.accounts import CloudAccount
from airflow_provider_ehpc.emulator.server import Emulator

ROLE = "acs:ram::1234567890123456:role/airflow"
PROVIDER = "acs:ram::1234567890123456:oidc-provider/ack-rrsa"
ROLE_NAME = "airflow-on-ecs"
Reply = tuple[int, Any]


@dataclass
class KeySource:
    """A server that issues keys. The first is valid for ``lives[0]`` seconds, and so on; the last repeats."""

    cloud: Emulator
    lives: list[float] = field(default_factory=lambda: [3600.0])
    issued: list[CloudAccount] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    """Method and path, or action, of each request."""
    failure: Reply | None = None
    """A response to all requests in place of a key."""
    delay: float = 0.0
    source: CloudAccount | None = None
    """The key that may assume the role."""
    tokens: tuple[str, ...] = ("the-oidc-token",)
    url: str = ""
    peer: KeySource | None = None
    """An STS that is reached through this server."""

    def issue(self) -> CloudAccount:
        time.sleep(self.delay)
        life = self.lives[min(len(self.issued), len(self.lives) - 1)]
        self.issued.append(self.cloud.issue_token(seconds=life))
        return self.issued[-1]


def _stamp(moment: float, fraction: str = "") -> str:
    # Whole seconds, as the services write them: the next one, so that nobody counts on more than it has.
    return time.strftime(f"%Y-%m-%dT%H:%M:%S{fraction}Z", time.gmtime(moment))


@contextmanager
def _served(
    source: KeySource, reply: Callable[[KeySource, BaseHTTPRequestHandler], Reply]
) -> Iterator[KeySource]:
    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            status, body = source.failure or reply(source, self)
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = _answer

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    source.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield source
    finally:
        server.shutdown()
        server.server_close()


def sts(cloud: Emulator) -> Any:
    """Run a Security Token Service: AssumeRole and AssumeRoleWithOIDC of version 2015-04-01."""
    return _served(KeySource(cloud, source=cloud.accounts.first), _sts)


def _sts(source: KeySource, handler: BaseHTTPRequestHandler) -> Reply:
    query = dict(parse_qsl(urlsplit(handler.path).query, keep_blank_values=True))
    source.requests.append((handler.command, query["Action"]))
    if query["Action"] == "AssumeRoleWithOIDC":
        if query["OIDCToken"] not in source.tokens:
            return _refused(401, "AuthenticationFail.OIDCToken.Expired", "This JsonWebToken is expired.")
        if query["OIDCProviderArn"] != PROVIDER:
            return _refused(401, "AuthenticationFail.NoPermission", "No such OIDC Provider registered.")
    else:
        account = source.cloud.accounts.find(query["AccessKeyId"])
        if account is None:
            return _refused(404, "InvalidAccessKeyId.NotFound", "Specified access key is not found.")
        if account.expires_at and account.expires_at < time.time():
            return _refused(400, "InvalidSecurityToken.Expired", "Specified SecurityToken is expired.")
        if account.security_token != query.get("SecurityToken"):
            return _refused(400, "MissingSecurityToken", "SecurityToken is mandatory for this action.")
        if query.pop("Signature") != _signature(query, account.secret):
            return _refused(400, "SignatureDoesNotMatch", "Specified signature is not matched.")
    if query["RoleArn"] != ROLE:
        return _refused(404, "EntityNotExist.Role", f"The role not exists: {query['RoleArn']}.")
    key = source.issue()
    assert key.expires_at
    return 200, {
        "RequestId": "R-STS",
        "AssumedRoleUser": {"Arn": f"{ROLE}/{query['RoleSessionName']}", "AssumedRoleId": "3:x"},
        "Credentials": {
            "AccessKeyId": key.access_key_id,
            "AccessKeySecret": key.secret,
            "SecurityToken": key.security_token,
            "Expiration": _stamp(key.expires_at),
        },
    }


def _refused(status: int, code: str, message: str) -> Reply:
    return status, {"RequestId": "R-STS", "HostId": "sts.aliyuncs.com", "Code": code, "Message": message}


def _signature(query: dict[str, str], secret: str) -> str:
    """Signature V1 of Alibaba Cloud's RPC services."""
    pairs = "&".join(f"{quote(name, safe='~')}={quote(query[name], safe='~')}" for name in sorted(query))
    text = f"GET&%2F&{quote(pairs, safe='~')}"
    return base64.b64encode(hmac.digest(f"{secret}&".encode(), text.encode(), hashlib.sha1)).decode()


def aliyun_metadata(cloud: Emulator) -> Any:
    """Run the metadata service of Alibaba Cloud's ECS in security hardening mode.

    The library's address is fixed. It reaches this server as its HTTP proxy.
    """
    return _served(KeySource(cloud), _aliyun_metadata)


def _aliyun_metadata(source: KeySource, handler: BaseHTTPRequestHandler) -> Reply:
    url = urlsplit(handler.path)
    if source.peer and source.peer.url.endswith(f"//{url.netloc}"):
        return _sts(source.peer, handler)
    if url.netloc != "100.100.100.200":
        return 502, b""
    source.requests.append((handler.command, url.path))
    if (handler.command, url.path) == ("PUT", "/latest/api/token"):
        return 200, b"metadata-token"
    if handler.headers.get("X-aliyun-ecs-metadata-token") != "metadata-token":
        return 403, b"<h1>403</h1>"
    folder = "/latest/meta-data/ram/security-credentials/"
    if url.path == folder:
        return 200, ROLE_NAME.encode()
    if url.path != folder + ROLE_NAME:
        return 404, b"<h1>404</h1>"
    key = source.issue()
    assert key.expires_at
    return 200, {
        "Code": "Success",
        "AccessKeyId": key.access_key_id,
        "AccessKeySecret": key.secret,
        "SecurityToken": key.security_token,
        "Expiration": _stamp(key.expires_at),
        "LastUpdated": _stamp(time.time()),
    }


def huawei_metadata(cloud: Emulator) -> Any:
    """Run the metadata service of Huawei Cloud's ECS."""
    return _served(KeySource(cloud), _huawei_metadata)


def _huawei_metadata(source: KeySource, handler: BaseHTTPRequestHandler) -> Reply:
    source.requests.append((handler.command, handler.path))
    if (handler.command, handler.path) == ("PUT", "/meta-data/latest/api/token"):
        return 200, b"metadata-token"
    if handler.headers.get("X-Metadata-Token") != "metadata-token":
        return 401, b"Unauthorized"
    key = source.issue()
    assert key.expires_at
    return 200, {
        "credential": {
            "access": key.access_key_id,
            "secret": key.secret,
            "securitytoken": key.security_token,
            "expires_at": _stamp(key.expires_at, ".000000"),
        }
    }
