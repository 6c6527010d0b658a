# SPDX-License-Identifier: Apache-2.0
"""Requesting, reading and sending IAM tokens."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from airflow_provider_ehpc.apis.call import (
    ApiRequest,
    ApiResponse,
    AuthenticationFailed,
    UnexpectedResponse,
)
from airflow_provider_ehpc.apis.huawei.iam import IamUser, TokenSigner, create_token
from tests.apis.huawei.drive import response, sample

USER = IamUser("IAMUser", "IAMPassword", "IAMDomain", "aa2d97d7e62c4b7da3ffdfc11551f878")


def test_request_is_the_documented_one() -> None:
    """ModelArts rejects a token for another scope with ModelArts.0207."""
    request = create_token(USER).request
    assert (request.method, request.target) == ("POST", "/v3/auth/tokens?nocatalog=true")
    assert request.headers["content-type"] == "application/json;charset=utf8"
    assert json.loads(request.body) == {
        "auth": {
            "identity": {
                "methods": ["password"],
                "password": {
                    "user": {
                        "name": "IAMUser",
                        "password": "IAMPassword",
                        "domain": {"name": "IAMDomain"},
                    }
                },
            },
            "scope": {"project": {"id": "aa2d97d7e62c4b7da3ffdfc11551f878"}},
        }
    }


def test_token_comes_from_the_header() -> None:
    """The body describes the token and does not contain it."""
    token = create_token(USER).read(response(sample("iam-token"), 201, x_subject_token="MIIatAYJ"))
    assert token.token == "MIIatAYJ"
    assert token.expires_at == datetime(2020, 1, 4, 9, 5, 22, 701000, tzinfo=UTC)
    assert token.project_id == "aa2d97d7e62c4b7da3ffdfc11551f878"


@pytest.mark.parametrize(
    ("response", "missing"),
    [
        (response(sample("iam-token"), 201), "X-Subject-Token"),
        (response({"token": {}}, 201, x_subject_token="MIIatAYJ"), "expiry"),
    ],
)
def test_a_useless_token_is_an_error(response: ApiResponse, missing: str) -> None:
    """Requests with an empty token would be rejected later, without a useful message."""
    with pytest.raises(UnexpectedResponse, match=missing):
        create_token(USER).read(response)


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"code": 401, "message": "The username or password is wrong.", "title": "Unauthorized"}},
        {"error_code": "IAM.0001", "error_msg": "The username or password is wrong."},
    ],
)
def test_a_wrong_password_is_not_retried(body: dict[str, object]) -> None:
    """IAM locks users. Its errors have Keystone's form or Huawei's."""
    with pytest.raises(AuthenticationFailed, match="username or password is wrong") as caught:
        create_token(USER).read(response(body, 401))
    assert not caught.value.transient


def test_signer_adds_the_token_and_no_signature() -> None:
    """The gateway ignores the token if there is a signature, too."""
    request = ApiRequest("GET", "/v2/p/training-jobs/1", headers={"Accept": "application/json"})
    sent = TokenSigner("MIIatAYJ").sign(request, host="h:8080", now=datetime.now(UTC), nonce="")
    assert sent.headers == {"accept": "application/json", "host": "h:8080", "x-auth-token": "MIIatAYJ"}


def test_secrets_are_not_shown() -> None:
    """A traceback with a repr is part of the task log."""
    call = create_token(USER)
    token = call.read(response(sample("iam-token"), 201, x_subject_token="MIIatAYJ"))
    signer = TokenSigner("MIIatAYJ")
    sent = signer.sign(call.request, host="h", now=datetime.now(UTC), nonce="")
    shown = repr((USER, call, token, signer, sent))
    assert "IAMPassword" not in shown
    assert "MIIatAYJ" not in shown
    assert USER.confidential == ("IAMPassword",)
