# SPDX-License-Identifier: Apache-2.0
"""The emulator rejects wrong signatures as the gateway of Huawei Cloud does."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_ehpc.apis.call import ApiRequest
from airflow_provider_ehpc.emulator.accounts import CloudAccount
from airflow_provider_ehpc.emulator.huawei.protocol import PROJECT_ID
from airflow_provider_ehpc.emulator.huawei.tokens import IAM_DOMAIN, IAM_USER
from airflow_provider_ehpc.emulator.server import Emulator
from tests.emulator.client import Answer, with_header, without_header
from tests.emulator.huawei import SEARCH, V1, V2, HuaweiClient


@pytest.fixture
def huawei(ehpc_emulator: Emulator) -> HuaweiClient:
    return HuaweiClient(ehpc_emulator)


def refused(answer: Answer) -> tuple[int, str, str]:
    result = answer.json
    return answer.status, result["error_code"], result["error_msg"]


def test_an_error_of_the_gateway_has_its_form(huawei: HuaweiClient) -> None:
    answer = huawei.send("GET", "/v2/nowhere")
    assert (answer.status, answer.json["error_code"]) == (404, "APIG.0101")
    assert answer.json["request_id"] == answer.headers["x-request-id"]


def test_errors_of_the_versions_have_their_forms(huawei: HuaweiClient) -> None:
    """v1 has is_success=false; v2 does not have this field."""
    v2, v1 = huawei.send("GET", f"{V2}/x"), huawei.send("GET", f"{V1}/9/versions/1009")
    assert (v2.status, v2.json.keys()) == (400, {"error_code", "error_msg"})
    assert v2.json["error_code"] == "ModelArts.2775"
    assert (v1.status, v1.json["is_success"], v1.json["error_code"]) == (400, False, "ModelArts.0102")


def _flip_signature(request: ApiRequest) -> ApiRequest:
    authorization = request.headers["authorization"]
    last = format(int(authorization[-1], 16) ^ 1, "x")
    return replace(request, headers={**request.headers, "authorization": authorization[:-1] + last})


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(_flip_signature, id="one-bit-of-the-signature"),
        pytest.param(lambda request: replace(request, query={"lines": "2"}), id="a-parameter"),
        pytest.param(lambda request: replace(request, path=request.path + "x"), id="the-path"),
        pytest.param(lambda request: replace(request, body=b"{}"), id="the-body"),
        pytest.param(with_header("host", "127.0.0.1"), id="the-host"),
        pytest.param(with_header("content-type", "text/plain"), id="a-signed-header"),
    ],
)
def test_what_was_altered_after_signing_is_refused(
    huawei: HuaweiClient, change: Callable[[ApiRequest], ApiRequest]
) -> None:
    status, code, message = refused(huawei.send("GET", f"{V2}/x", {"lines": 1}, after=change))
    assert (status, code) == (401, "APIG.0301")
    assert "verify aksk signature fail" in message
    assert huawei.account.secret not in message


@pytest.mark.parametrize("name", ["authorization", "x-sdk-date", "content-type"])
def test_a_missing_header_is_refused(huawei: HuaweiClient, name: str) -> None:
    assert refused(huawei.send("GET", f"{V2}/x", after=without_header(name)))[:2] == (401, "APIG.0301")


@pytest.mark.parametrize(("skew", "status"), [(-16, 401), (16, 401), (-14, 400), (14, 400)])
def test_a_clock_may_be_a_quarter_of_an_hour_off(huawei: HuaweiClient, skew: int, status: int) -> None:
    """400 means that the job is unknown; the signature was accepted."""
    assert huawei.send("GET", f"{V2}/x", skew=skew * 60).status == status


def test_an_unknown_key_is_refused(ehpc_emulator: Emulator) -> None:
    stranger = HuaweiClient(ehpc_emulator, CloudAccount("NOBODY", "secret"))
    assert "ak not exist" in refused(stranger.send("GET", f"{V2}/x"))[2]


def test_five_wrong_signatures_lock_the_key(ehpc_emulator: Emulator, huawei: HuaweiClient) -> None:
    """A client that repeats a rejected request locks the key for all its users."""
    for _ in range(4):
        huawei.send("GET", f"{V2}/x", after=_flip_signature)
    assert huawei.send("GET", f"{V2}/x").status == 400  # an accepted signature resets the count
    for _ in range(5):
        huawei.send("GET", f"{V2}/x", after=_flip_signature)
    assert "failed to reach the limit" in refused(huawei.send("GET", f"{V2}/x"))[2]

    ehpc_emulator.fault("clock", seconds=301)
    assert huawei.send("GET", f"{V2}/x").status == 400


def test_a_temporary_key_needs_its_own_token_while_it_is_good(ehpc_emulator: Emulator) -> None:
    good, other = ehpc_emulator.issue_token(), ehpc_emulator.issue_token()
    expired = ehpc_emulator.issue_token(seconds=-1)
    assert HuaweiClient(ehpc_emulator, good).send("GET", f"{V2}/x").status == 400
    for account in (
        replace(good, security_token=None),
        replace(good, security_token=other.security_token),
        expired,
    ):
        assert HuaweiClient(ehpc_emulator, account).send("GET", f"{V2}/x").status == 401


def test_denied_operations_and_other_projects(ehpc_emulator: Emulator, huawei: HuaweiClient) -> None:
    other = V2.replace(PROJECT_ID, "f" * 32)
    assert huawei.refusal("GET", f"{other}/x") == (400, "ModelArts.0210")
    ehpc_emulator.deny("ShowTrainingJobDetails")
    assert huawei.refusal("GET", f"{V2}/x") == (403, "ModelArts.0108")
    assert huawei.send("POST", SEARCH, body={}).status == 200


# ---------------------------------------------------------------------- IAM


def _auth(password: str, **scope: str) -> dict[str, Any]:
    user = {"name": IAM_USER, "password": password, "domain": {"name": IAM_DOMAIN}}
    identity = {"methods": ["password"], "password": {"user": user}}
    return {"auth": {"identity": identity, "scope": {"project": scope or {"name": "cn-north-4"}}}}


def _token(huawei: HuaweiClient) -> str:
    answer = huawei.send("POST", "/v3/auth/tokens", {"nocatalog": "true"}, _auth(huawei.account.secret))
    assert answer.status == 201
    assert answer.json["token"]["project"]["id"] == PROJECT_ID
    return answer.headers["x-subject-token"]


def test_a_token_stands_for_a_signature(ehpc_emulator: Emulator, huawei: HuaweiClient) -> None:
    token = _token(huawei)
    assert len(token) > 2000  # as in the cloud; some header limits are lower
    assert huawei.send("GET", f"{V2}/x", token=token).status == 400
    assert "decrypt token fail" in refused(huawei.send("GET", f"{V2}/x", token=token[:-1] + "!"))[2]
    other = V2.replace(PROJECT_ID, "f" * 32)
    assert refused(huawei.send("GET", f"{other}/x", token=token))[:2] == (404, "ModelArts.2786")
    ehpc_emulator.fault("clock", seconds=25 * 3600)
    assert huawei.send("GET", f"{V2}/x", token=token).status == 401


def test_a_token_can_be_short_lived(ehpc_emulator: Emulator, huawei: HuaweiClient) -> None:
    ehpc_emulator.fault("lifetime", seconds=-1)
    assert huawei.send("GET", f"{V2}/x", token=_token(huawei)).status == 401


@pytest.mark.parametrize(
    ("body", "status"),
    [(_auth("wrong"), 401), ({"auth": {}}, 400)],
)
def test_iam_refuses_in_its_own_form(huawei: HuaweiClient, body: Any, status: int) -> None:
    answer = huawei.send("POST", "/v3/auth/tokens", body=body)
    assert (answer.status, answer.json["error"]["code"]) == (status, status)


def test_another_project_gets_no_token(huawei: HuaweiClient) -> None:
    body = _auth(huawei.account.secret, name="eu-west-0")
    assert huawei.send("POST", "/v3/auth/tokens", body=body).status == 401


def test_tokens_and_jobs_outlive_the_emulator(tmp_path: Path) -> None:
    with Emulator(tmp_path) as emulator:
        huawei = HuaweiClient(emulator)
        token, job_id = _token(huawei), huawei.create("lasting", "echo 一; exit 3")
        emulator.wait_for(job_id)
        before = huawei.get(f"{V2}/{job_id}")
    with Emulator(tmp_path) as emulator:
        answer = HuaweiClient(emulator).send("GET", f"{V2}/{job_id}", token=token)
        assert json.loads(answer.body) == before
