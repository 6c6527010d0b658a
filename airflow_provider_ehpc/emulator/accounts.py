"""Who may ask the cloud for what: access keys, temporary keys with their tokens, denied actions."""

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
    """An access key and what it is not allowed to do."""

    access_key_id: str
    secret: str
    security_token: str | None = None
    expires_at: float | None = None
    """Epoch seconds; None for a key that is not temporary."""
    denied: tuple[str, ...] = ()
    """Operations, by their names in the API."""

    @property
    def credentials(self) -> Credentials:
        """What a client signs with."""
        return Credentials(self.access_key_id, self.secret, self.security_token)


class Accounts:
    """The cloud's access keys. The first is made with the directory and stays the same over restarts.

    Keys are drawn at random: whoever has one can run commands as the user of the emulator.
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
        """The account that a connection gets."""
        return next(iter(self._accounts.values()))

    def find(self, access_key_id: str) -> CloudAccount | None:
        """Return the account of a key."""
        return self._accounts.get(access_key_id)

    def add(self, *, denied: tuple[str, ...] = ()) -> CloudAccount:
        """Make an account that may do everything but ``denied``."""
        return self._keep(CloudAccount("LTAI5t" + _draw(18), _draw(30), denied=denied))

    def issue_token(self, *, seconds: float = 3600, denied: tuple[str, ...] = ()) -> CloudAccount:
        """Make a temporary key, as the token service does; negative ``seconds`` make an expired one."""
        account = CloudAccount("STS." + _draw(25), _draw(44), _draw(96), time.time() + seconds, denied)
        return self._keep(account)

    def deny(self, *operations: str) -> None:
        """Take from the first account the right to ``operations`` and give back all others."""
        self._keep(dataclasses.replace(self.first, denied=operations))

    def _keep(self, account: CloudAccount) -> CloudAccount:
        self._accounts[account.access_key_id] = account
        self._store.set_fact(_FACT, [dataclasses.asdict(kept) for kept in self._accounts.values()])
        return account


def _draw(length: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(length))
