# SPDX-License-Identifier: Apache-2.0
"""Manage the accounts of the clouds: access keys, temporary keys with tokens, denied operations."""

from __future__ import annotations

import dataclasses
import secrets
import string
import time
from dataclasses import dataclass

from airflow_provider_ehpc.apis.call import Credentials
from airflow_provider_ehpc.emulator.records import read_record
from airflow_provider_ehpc.emulator.store import Store

_LETTERS = string.ascii_letters + string.digits
_FACT = "accounts"


@dataclass(frozen=True, slots=True)
class CloudAccount:
    """An access key and the operations it may not call."""

    access_key_id: str
    secret: str
    security_token: str | None = None
    expires_at: float | None = None
    """Epoch seconds; None for a key that is not temporary."""
    denied: tuple[str, ...] = ()
    """Names of operations, as in the API."""

    @property
    def credentials(self) -> Credentials:
        """The credentials that a client signs with."""
        return Credentials(self.access_key_id, self.secret, self.security_token)


class Accounts:
    """The access keys. The first is created with the directory and stays the same after a restart.

    Keys are random, because anybody who has one can run commands as the user of the emulator.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._accounts = {}
        for record in store.fact(_FACT) or []:
            account = read_record(CloudAccount, record)
            self._accounts[account.access_key_id] = account
        if not self._accounts:
            self.add()

    @property
    def first(self) -> CloudAccount:
        """The account of the emulator's connections."""
        return next(iter(self._accounts.values()))

    def find(self, access_key_id: str) -> CloudAccount | None:
        """Return the account of a key; None if the key is unknown."""
        return self._accounts.get(access_key_id)

    def add(self, *, denied: tuple[str, ...] = ()) -> CloudAccount:
        """Create an account that may call all operations except ``denied``."""
        return self._save(CloudAccount("LTAI5t" + _draw(18), _draw(30), denied=denied))

    def issue_token(self, *, seconds: float = 3600, denied: tuple[str, ...] = ()) -> CloudAccount:
        """Create a temporary key, as a token service does; with negative ``seconds`` it has expired."""
        account = CloudAccount("STS." + _draw(25), _draw(44), _draw(96), time.time() + seconds, denied)
        return self._save(account)

    def deny(self, *operations: str) -> None:
        """Deny the first account these operations and allow it all others."""
        self._save(dataclasses.replace(self.first, denied=operations))

    def _save(self, account: CloudAccount) -> CloudAccount:
        self._accounts[account.access_key_id] = account
        self._store.set_fact(_FACT, [dataclasses.asdict(each) for each in self._accounts.values()])
        return account


def _draw(length: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(length))
