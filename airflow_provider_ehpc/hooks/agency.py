# SPDX-License-Identifier: Apache-2.0
"""Get temporary keys of the agency of the Huawei Cloud server that runs Airflow."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from airflow_provider_ehpc.apis.call import AuthenticationFailed, NotReached
from airflow_provider_ehpc.apis.huawei import metadata
from airflow_provider_ehpc.apis.huawei.signing import SdkHmacSigner
from airflow_provider_ehpc.hooks.account import Account, Attempt, TransportOptions
from airflow_provider_ehpc.hooks.tokens import Grant, Unsigned, has_issued

_LINK_LOCAL = TransportOptions(connect_timeout=3.0, read_timeout=5.0, trust_env=False)
"""The address is valid only on the server itself, so no proxy can reach it."""


@dataclass(frozen=True, slots=True)
class AgencyIssuer:
    """Issue keys of the agency that is configured for this server."""

    conn_id: str

    def issue(self) -> Generator[Any, Any, Grant]:
        """See :meth:`.Issuer.issue`."""
        account = Account(self.conn_id, metadata.ENDPOINT, Unsigned(), (), _LINK_LOCAL)
        try:
            token = yield Attempt(account, metadata.create_session_token())
        except NotReached as error:
            if has_issued(self):
                raise
            failure = AuthenticationFailed(
                f"the metadata service of ECS cannot be reached: {error.message}",
                hint="Only servers of Huawei Cloud have it. Elsewhere, set the connection's login and "
                "password, and credentials to access_key.",
            )
            failure.where = error.where
        else:
            key = yield Attempt(account, metadata.get_security_key(token))
            return Grant(SdkHmacSigner(key.credentials), key.credentials.confidential, key.expires_at)
        raise failure
