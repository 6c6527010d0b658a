"""Tokens of Huawei's IAM, the other way to be known: a user's name and password instead of a key pair.

Source: KeystoneCreateUserTokenByPassword (iam_30_0001, 2025-12-27). A token lives 24 hours, less when the
user's password, keys or rights change; the vendor advises to keep it and not to ask for one each time.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from pydantic import Field

from airflow_provider_ehpc.apis.call import ApiCall, ApiRequest, ApiResponse, UnexpectedResponse, encode_json
from airflow_provider_ehpc.apis.huawei.protocol import read_answer
from airflow_provider_ehpc.apis.response import Items, ResponseModel, Text, Time


@dataclass(frozen=True, slots=True)
class IamUser:
    """An IAM user, and the id of the project that the token is to be for."""

    name: str
    password: str = field(repr=False)
    domain: str
    """The account's name."""
    project_id: str

    @property
    def confidential(self) -> tuple[str, ...]:
        """Every text that must not stand in a log or an error."""
        return (self.password,)


@dataclass(frozen=True, slots=True)
class IamToken:
    """A token, until when it is good, and the project it is for."""

    token: str = field(repr=False)
    expires_at: datetime
    project_id: str


@dataclass(frozen=True, slots=True)
class TokenSigner:
    """Lets requests carry a token instead of a signature."""

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
    """The project a token is for."""

    id: Text = ""
    name: Text = ""
    domain: TokenDomain | None = None


class TokenRole(ResponseModel):
    """A right that a token gives."""

    id: Text = ""
    name: Text = ""


class TokenUser(ResponseModel):
    """Whose token it is."""

    id: Text = ""
    name: Text = ""
    domain: TokenDomain | None = None
    password_expires_at: Time = None


class TokenDetails(ResponseModel):
    """What IAM tells of a token; the token itself comes in a header."""

    methods: Items[Text] = Field(default_factory=list)
    issued_at: Time = None
    expires_at: Time = None
    project: TokenProject | None = None
    user: TokenUser | None = None
    roles: Items[TokenRole] = Field(default_factory=list)
    catalog: Any = None


class CreateTokenResponse(ResponseModel):
    """Body of the answer of KeystoneCreateUserTokenByPassword."""

    token: TokenDetails = Field(default_factory=TokenDetails)


def create_token(user: IamUser) -> ApiCall[IamToken]:
    """KeystoneCreateUserTokenByPassword: get a token, for IAM's own endpoint. The request is not signed.

    Wrong passwords lock the user for a while, so ``AuthenticationFailed`` must not lead to another try.
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
        # The catalog of all endpoints is tens of kilobytes that nobody reads here.
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
    answer = read_answer(CreateTokenResponse, response)
    token = response.headers.get("x-subject-token", "").strip()
    if not token or answer.token.expires_at is None:
        missing = "expiry time" if token else "X-Subject-Token header"
        raise UnexpectedResponse(f"IAM's answer holds a token without {missing}", status=response.status)
    if not (token.isascii() and token.isprintable()):
        raise UnexpectedResponse("IAM returned a token that no header can hold", status=response.status)
    project = answer.token.project
    return IamToken(token, answer.token.expires_at, project.id if project else "")
