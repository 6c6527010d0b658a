"""IAM: a token for a user's name and password (KeystoneCreateUserTokenByPassword, iam_30_0001)."""

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
"""Seconds that a token is good for."""
_LENGTH = 3000
"""Characters: real tokens take kilobytes, which not every proxy and header limit bears."""


class Tokens:
    """Gives tokens and knows them again, also in an emulator started later: they are signed.

    The one user is :data:`IAM_USER` of :data:`IAM_DOMAIN`; its password is the secret of the first account,
    and it may do what that account may.
    """

    def __init__(self, accounts: Accounts, faults: Faults, project_id: str, project_name: str) -> None:
        self._accounts = accounts
        self._faults = faults
        self._project = {"id": project_id, "name": project_name}

    def create(self, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Return a token and what IAM tells of it.

        :raises Refused: for a wrong name, password or project, or a body of another form.
        """
        try:
            user = body["auth"]["identity"]["password"]["user"]
            told = (user["domain"]["name"], user["name"], user["password"])
            scope = body["auth"]["scope"]["project"]
            methods = body["auth"]["identity"]["methods"]
        except (KeyError, TypeError):
            raise Refused(400, "Bad Request", "The request body is invalid") from None
        known = (IAM_DOMAIN, IAM_USER, self._accounts.first.secret)
        if methods != ["password"] or not all(
            hmac.compare_digest(str(one).encode(errors="replace"), other.encode())
            for one, other in zip(told, known, strict=True)
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

    def good(self, token: str, now: float) -> bool:
        """Whether a token is one of ours that has not run out."""
        text, _, seal = token.rpartition(".")
        if not hmac.compare_digest(seal.encode(), self._seal(text).encode()):
            return False
        return float(json.loads(base64.urlsafe_b64decode(text))["expires_at"]) > now

    def _write(self, expires_at: float) -> str:
        told = {"expires_at": expires_at, "salt": secrets.token_hex(_LENGTH // 3)}
        text = base64.urlsafe_b64encode(json.dumps(told).encode()).decode()
        return f"{text}.{self._seal(text)}"

    def _seal(self, text: str) -> str:
        return hmac.new(self._accounts.first.secret.encode(), text.encode(), "sha256").hexdigest()


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
