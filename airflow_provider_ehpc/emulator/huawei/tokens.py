# SPDX-License-Identifier: Apache-2.0
"""Create IAM tokens for a user name and password (KeystoneCreateUserTokenByPassword, iam_30_0001)."""

from __future__ import annotations

import base64
import hmac
import json
import secrets
import time
from datetime import UTC, datetime
from typing import Any

from airflow_provider_ehpc.emulator.accounts import Accounts
from airflow_provider_ehpc.emulator.faults import FaultKind, Faults
from airflow_provider_ehpc.emulator.gateway import Refused

IAM_DOMAIN = "emulator"
IAM_USER = "testuser"
_LIFE = 24 * 3600
"""The lifetime of a token, in seconds."""
_LENGTH = 3000
"""Characters of a token. Real tokens have kilobytes, which exceeds some limits of proxies and headers."""


class Tokens:
    """Creates and checks tokens. They are signed, so they stay valid in an emulator started later.

    The only user is :data:`IAM_USER` of :data:`IAM_DOMAIN`. Its password is the secret of the first account,
    and it has the permissions of that account.
    """

    def __init__(self, accounts: Accounts, faults: Faults, project_id: str, project_name: str) -> None:
        self._accounts = accounts
        self._faults = faults
        self._project = {"id": project_id, "name": project_name}

    def create(self, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Return a token and its details in IAM.

        :raises Refused: if the name, the password, the project or the form of the body is wrong.
        """
        try:
            user = body["auth"]["identity"]["password"]["user"]
            sent = (user["domain"]["name"], user["name"], user["password"])
            scope = body["auth"]["scope"]["project"]
            methods = body["auth"]["identity"]["methods"]
        except (KeyError, TypeError):
            raise Refused(400, "Bad Request", "The request body is invalid") from None
        expected = (IAM_DOMAIN, IAM_USER, self._accounts.first.secret)
        if methods != ["password"] or not all(
            hmac.compare_digest(str(one).encode(errors="replace"), other.encode())
            for one, other in zip(sent, expected, strict=True)
        ):
            raise Refused(401, "Unauthorized", "The username or password is wrong.")
        if not scope or any(self._project.get(key) != value for key, value in scope.items()):
            raise Refused(401, "Unauthorized", f"Could not find project: {scope}.")
        now = time.time() + self._faults.clock_shift
        fault = self._faults.active(FaultKind.LIFETIME)
        expires_at = now + (fault.seconds if fault else _LIFE)
        domain = {"id": "d78cbac186b744899480f25bd022f468", "name": IAM_DOMAIN}
        details = {
            "methods": ["password"],
            "issued_at": _time(now),
            "expires_at": _time(expires_at),
            "project": {**self._project, "domain": domain},
            "user": {
                "id": "7116d09f88fa41908676fdd4b039e95b",
                "name": IAM_USER,
                "domain": domain,
                "password_expires_at": "",
            },
            "roles": [{"id": "0", "name": "te_admin"}],
            "catalog": [],
        }
        return self._write(expires_at), {"token": details}

    def is_valid(self, token: str, now: float) -> bool:
        """Return True if this emulator signed a token and the token has not expired at ``now``."""
        text, _, signature = token.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(text).encode()):
            return False
        return float(json.loads(base64.urlsafe_b64decode(text))["expires_at"]) > now

    def _write(self, expires_at: float) -> str:
        content = {"expires_at": expires_at, "salt": secrets.token_hex(_LENGTH // 3)}
        text = base64.urlsafe_b64encode(json.dumps(content).encode()).decode()
        return f"{text}.{self._signature(text)}"

    def _signature(self, text: str) -> str:
        return hmac.new(self._accounts.first.secret.encode(), text.encode(), "sha256").hexdigest()


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
