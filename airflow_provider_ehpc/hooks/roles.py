# SPDX-License-Identifier: Apache-2.0
"""Get temporary keys of Alibaba Cloud's RAM roles from the vendor's library (extra ``aliyun``).

``alibabacloud-credentials`` blocks, so it runs in a thread if an event loop runs. This module does not use
the cache of the library: it may return expired keys, its background threads never end, and its log shows
responses (``alibabacloud_credentials/provider/refreshable.py`` of 1.0.12). ``hooks/tokens.py`` caches the
keys.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_ehpc.apis.aliyun.rpc import read_error
from airflow_provider_ehpc.apis.aliyun.signing import Acs3Signer
from airflow_provider_ehpc.apis.call import (
    ApiError,
    ApiResponse,
    AuthenticationFailed,
    Credentials,
    ForeignResponse,
    InvalidArgument,
    ServiceUnavailable,
)
from airflow_provider_ehpc.hooks.redaction import Redactor
from airflow_provider_ehpc.hooks.tokens import Blocking, Grant, has_issued

ACCESS_KEY = "access_key"
_TOKEN = "security_token"  # noqa: S105
"""This field belongs to the connection's key, not to the library's options."""
FIELDS: dict[str, tuple[str, ...]] = {
    ACCESS_KEY: (_TOKEN,),
    "ram_role_arn": (_TOKEN, "role_arn", "role_session_name", "external_id", "sts_endpoint"),
    "oidc_role_arn": (
        "role_arn",
        "role_session_name",
        "oidc_provider_arn",
        "oidc_token_file_path",
        "sts_endpoint",
    ),
    "ecs_ram_role": ("role_name",),
    "default": (),
}
"""The extra fields that each value of the extra field ``credentials`` uses, named as in the library."""
_VARIABLES = {
    "role_arn": "ALIBABA_CLOUD_ROLE_ARN",
    "oidc_provider_arn": "ALIBABA_CLOUD_OIDC_PROVIDER_ARN",
    "oidc_token_file_path": "ALIBABA_CLOUD_OIDC_TOKEN_FILE",
}
"""Required fields, and the environment variables that the library reads if they are not set."""
_UNKNOWN_LIFE = timedelta(seconds=60)
"""The time for which a key without an expiry time is used before the library is called again."""
_METADATA = "the metadata service of ECS (100.100.100.200)"
_HINTS = {
    "EntityNotExist.Role": "Check the connection's role_arn: acs:ram::<account id>:role/<role name>.",
    "InvalidParameter.RoleArn": "Check the connection's role_arn: acs:ram::<account id>:role/<role name>.",
    "InvalidParameter.RoleSessionName": "Check the connection's role_session_name: 2 to 64 letters, digits "
    "and .@-_",
    "NoPermission": "The role's trust policy must name the caller, and the caller needs sts:AssumeRole. "
    "The key of a root account cannot assume a role.",
    "AuthenticationFail.NoPermission": "Check the connection's oidc_provider_arn and role_arn, and the "
    "role's trust policy.",
    "AuthenticationFail.OIDCToken.Expired": "The token in oidc_token_file_path has expired: check what "
    "renews the file.",
    "InvalidTimeStamp": "Check this machine's clock.",
    "AuthenticationFail.OIDCToken": "Check the token in oidc_token_file_path and the OIDC provider.",
}
_QUERY = re.compile(r"\?\S+")
_STATUS = re.compile(r"(?:http_code: |HttpCode=)(\d{3})(?:, result: (.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class RoleIssuer:
    """Issue keys of a RAM role, or of the library's default chain of sources."""

    conn_id: str
    kind: str
    """A key of :data:`FIELDS`."""
    options: tuple[tuple[str, str], ...]
    source: Credentials | None = field(repr=False)
    """The key that assumes the role; None for the library's default chain."""
    proxy: str | None = field(default=None, repr=False)

    @classmethod
    def read(
        cls, conn_id: str, kind: str, extra: Mapping[str, Any], source: Credentials | None, proxy: str | None
    ) -> RoleIssuer:
        """Read the fields of a connection and return the issuer.

        :param source: the connection's key, if it has one.
        :raises InvalidArgument: naming the field that is missing, or the package.
        """
        where = f"connection {conn_id!r}: credentials is {kind!r}"
        if source and kind != "ram_role_arn":
            raise InvalidArgument(f"{where}, which uses no key: clear login and password")
        options = {name: str(extra.get(name) or "").strip() for name in FIELDS[kind] if name != _TOKEN}
        for name, variable in _VARIABLES.items():
            if options.get(name) == "" and not os.environ.get(variable):
                raise InvalidArgument(f"{where}: set the extra field {name}, or the variable {variable}")
        if importlib.util.find_spec("alibabacloud_credentials") is None:
            raise InvalidArgument(
                f"{where}, which needs the package alibabacloud-credentials: "
                "pip install 'airflow-provider-ehpc[aliyun]'"
            )
        return cls(
            conn_id, kind, tuple((name, text) for name, text in options.items() if text), source, proxy
        )

    def issue(self) -> Generator[Any, Any, Grant]:
        """See :meth:`.Issuer.issue`."""
        grant: Grant = yield Blocking(self._issue)
        return grant

    def _issue(self) -> Grant:
        try:
            provider = self._provider()
        except ValueError as error:
            raise InvalidArgument(f"connection {self.conn_id!r}: credentials: {error}") from None
        try:
            found = provider.get_credentials()
        except Exception as caught:
            failure = self._failure(caught)
        else:
            key = Credentials(
                found.get_access_key_id(), found.get_access_key_secret(), found.get_security_token() or None
            )
            expiry = found.get_expiration()
            expires_at = datetime.fromtimestamp(expiry, UTC) if expiry else datetime.now(UTC) + _UNKNOWN_LIFE
            return Grant(Acs3Signer(key), key.confidential, expires_at)
        Redactor(self.source.confidential if self.source else ()).error(failure)
        failure.where = f"credentials {self.kind!r} (connection {self.conn_id!r})"
        raise failure

    def _provider(self) -> Any:
        provider = _library()
        options = dict(self.options)
        if self.kind == "default":
            return _default_chain()
        if self.kind == "ecs_ram_role":
            return provider.EcsRamRoleCredentialsProvider(async_update_enabled=False, **options)
        from alibabacloud_credentials.http import HttpOptions

        http = HttpOptions(proxy=self.proxy)
        if self.kind == "oidc_role_arn":
            return provider.OIDCRoleArnCredentialsProvider(http_options=http, **options)
        if self.source is None:
            return provider.RamRoleArnCredentialsProvider(
                credentials_provider=_default_chain(), http_options=http, **options
            )
        return provider.RamRoleArnCredentialsProvider(
            access_key_id=self.source.access_key_id,
            access_key_secret=self.source.secret,
            security_token=self.source.security_token,
            http_options=http,
            **options,
        )

    def _failure(self, caught: Exception) -> ApiError:
        """Return the error of this package for one of the library."""
        from Tea.exceptions import RetryError

        if isinstance(caught, OSError):
            file = dict(self.options).get("oidc_token_file_path") or os.environ.get(
                _VARIABLES["oidc_token_file_path"]
            )
            return AuthenticationFailed(
                f"cannot read the OIDC token: {caught.strerror}",
                hint=f"Check the connection's oidc_token_file_path: {file!r}.",
            )
        if isinstance(caught, RetryError):
            if self.kind == "ecs_ram_role":
                return (ServiceUnavailable if has_issued(self) else AuthenticationFailed)(
                    f"{_METADATA} cannot be reached",
                    hint="Only ECS instances have it. Elsewhere, set the connection's credentials to another "
                    "type. If HTTP_PROXY is set, unset it: a proxy cannot reach this service.",
                )
            endpoint = dict(self.options).get("sts_endpoint", "sts.aliyuncs.com")
            return ServiceUnavailable(
                f"cannot connect to the Security Token Service ({endpoint})",
                hint="Check the connection's sts_endpoint and proxy, and the network from this machine.",
            )
        text = str(caught)
        if text.startswith("unable to load credentials from any"):
            # The text lists why each source of the chain has no key. The query of a URL contains a signature
            # and a token.
            return AuthenticationFailed(_QUERY.sub("?…", text))
        if match := _STATUS.search(text):
            return self._refusal(int(match[1]), match[2] or "")
        # Omit the text: "error retrieving credentials from … result: …" shows a response that contains a key.
        return ForeignResponse(f"the response with the key cannot be read ({type(caught).__name__})")

    def _refusal(self, status: int, body: str) -> ApiError:
        if self.kind == "ecs_ram_role" and status < 500 and status != 429:
            return AuthenticationFailed(
                f"{_METADATA} has no key of the role",
                status=status,
                hint="Attach a RAM role to the instance, and check the connection's role_name: it must be "
                "that role, or empty.",
            )
        error = read_error("AssumeRole", ApiResponse(status, {}, body.encode()))
        if not error.transient:
            # Use one error class for all refusals: the caller reads the connection again, and ends the wait
            # if the connection has not changed.
            error = AuthenticationFailed(
                error.message,
                code=error.code,
                status=status,
                request_id=error.request_id,
                hint=next(
                    (h for code, h in _HINTS.items() if (error.code or "").startswith(code)), error.hint
                ),
            )
        return error


def _library() -> Any:
    from alibabacloud_credentials import provider

    # This module reports failures of the library as errors. The handlers of the library write to stderr, and
    # its log records show responses.
    logger = logging.getLogger("credentials")
    logger.handlers.clear()
    logger.setLevel(logging.CRITICAL)
    # The default chain starts a scheduler, which logs this.
    logging.getLogger("apscheduler").setLevel(logging.WARNING)
    return provider


@functools.cache
def _default_chain() -> Any:
    """Return the library's default chain: variables, OIDC, profile files, the role of the ECS instance.

    The chain starts a thread.
    """
    return _library().DefaultCredentialsProvider()
