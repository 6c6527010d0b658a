# SPDX-License-Identifier: Apache-2.0
"""Tokens of Huawei's IAM: authentication with a user's name and password instead of a key pair.

Source: KeystoneCreateUserTokenByPassword (iam_30_0001, 2025-12-27). A token is valid for 24 hours, or until
the user's password, keys or permissions change. The vendor advises to reuse it for many requests.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from pydantic import Field

from airflow_provider_ehpc.apis.call import ApiCall, ApiRequest, ApiResponse, UnexpectedResponse, encode_json
from airflow_provider_ehpc.apis.huawei.protocol import read_response
from airflow_provider_ehpc.apis.response import Items, ResponseModel, Text, Time


@dataclass(frozen=True, slots=True)
class IamUser:
    """An IAM user, and the ID of the project for which a token is requested."""

    name: str
    password: str = field(repr=False)
    domain: str
    """The account's name."""
    project_id: str

    @property
    def confidential(self) -> tuple[str, ...]:
        """Texts that must not appear in a log or an error."""
        return (self.password,)


@dataclass(frozen=True, slots=True)
class IamToken:
    """A token, its expiry time and its project."""

    token: str = field(repr=False)
    expires_at: datetime
    project_id: str


@dataclass(frozen=True, slots=True)
class TokenSigner:
    """A signer that adds a token to a request instead of a signature."""

    token: str = field(repr=False)

    def sign(self, request: ApiRequest, *, host: str, now: datetime, nonce: str) -> ApiRequest:
        """See :class:`~airflow_provider_ehpc.apis.call.Signer`."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        headers |= {"host": host, "x-auth-token": self.token}
        return replace(request, headers=headers, confidential=(self.token,))


class TokenDomain(ResponseModel):
    """An account."""

    id: Text = ""
    name: Text = ""


class TokenProject(ResponseModel):
    """The project of a token."""

    id: Text = ""
    name: Text = ""
    domain: TokenDomain | None = None


class TokenRole(ResponseModel):
    """A permission of a token."""

    id: Text = ""
    name: Text = ""


class TokenUser(ResponseModel):
    """The user of a token."""

    id: Text = ""
    name: Text = ""
    domain: TokenDomain | None = None
    password_expires_at: Time = None


class TokenDetails(ResponseModel):
    """The details of a token. The token itself is in a header."""

    methods: Items[Text] = Field(default_factory=list)
    issued_at: Time = None
    expires_at: Time = None
    project: TokenProject | None = None
    user: TokenUser | None = None
    roles: Items[TokenRole] = Field(default_factory=list)
    catalog: Any = None


class CreateTokenResponse(ResponseModel):
    """Body of the response of KeystoneCreateUserTokenByPassword."""

    token: TokenDetails = Field(default_factory=TokenDetails)


def create_token(user: IamUser) -> ApiCall[IamToken]:
    """Create a token (KeystoneCreateUserTokenByPassword) at IAM's own endpoint. The request is not signed.

    Wrong passwords lock the user for a while, so do not retry after ``AuthenticationFailed``.
    """
    body = {
        "auth": {
            "identity": {
                "methods": ["password"],
                "password": {
                    "user": {
                        "name": user.name,
                        "password": user.password,
                        "domain": {"name": user.domain},
                    }
                },
            },
            "scope": {"project": {"id": user.project_id}},
        }
    }
    request = ApiRequest(
        method="POST",
        path="/v3/auth/tokens",
        # The catalog of all endpoints is tens of kilobytes, and not needed.
        query={"nocatalog": "true"},
        headers={"accept": "application/json", "content-type": "application/json;charset=utf8"},
        body=encode_json(body),
    )
    return ApiCall(
        "KeystoneCreateUserTokenByPassword",
        request,
        _read_token,
        f"IAM user {user.name!r}",
        confidential=user.confidential,
    )


def _read_token(response: ApiResponse) -> IamToken:
    details = read_response(CreateTokenResponse, response).token
    token = response.headers.get("x-subject-token", "").strip()
    if not token or details.expires_at is None:
        missing = "expiry time" if token else "X-Subject-Token header"
        raise UnexpectedResponse(f"IAM's response has no {missing}", status=response.status)
    if not (token.isascii() and token.isprintable()):
        raise UnexpectedResponse(
            "IAM returned a token that cannot be sent in a header", status=response.status
        )
    return IamToken(token, details.expires_at, details.project.id if details.project else "")
