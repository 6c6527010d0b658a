# SPDX-License-Identifier: Apache-2.0
"""The emulator rejects wrong signatures of QingCloud's HPC API, before the cloud does."""

from __future__ import annotations

import base64
import hashlib
import hmac
from urllib.parse import quote_plus

import pytest
from qingcloud.qai.connection import QAISignatureAuthHandler

from airflow_provider_ehpc.emulator.accounts import CloudAccount
from airflow_provider_ehpc.emulator.server import Emulator
from tests.emulator.qingcloud_client import CLUSTER_ID, QingCloudClient, documented_signature, enc

JOB = "/api/job/submitJob"


@pytest.fixture
def client(ehpc_emulator: Emulator) -> QingCloudClient:
    return QingCloudClient(ehpc_emulator)


def _ret_code(client: QingCloudClient, changed: dict[str, str], **manner: object) -> int:
    code: int = client.send(client.target("/api/operation", changed, **manner))["ret_code"]  # type: ignore[arg-type]
    return code


def test_a_rightly_signed_request_is_answered(client: QingCloudClient) -> None:
    assert client.get("operation") == {
        "action": "HpcOperationListOperationResponse",
        "data": {},
        "job_set": [],
        "ret_code": 0,
        "total_count": 0,
    }


@pytest.mark.parametrize(
    "parameters",
    [
        {"limit": "100", "offset": "0", "reverse": "1", "resource_ids": "ehpc-czkekzfz", "status": "failed"},
        {"start_time": "2026-01-01T00:00:00Z", "end_time": "2026-01-02T00:00:00Z"},
        {"search_word": "队列 test*~'&=+%"},
    ],
)
def test_the_vendors_own_signature_is_accepted(client: QingCloudClient, parameters: dict[str, str]) -> None:
    """qingcloud-sdk has no HPC client, but its handler for a sister API signs the same four lines."""
    values = {name: enc(value) for name, value in client.parameters(**parameters).items()}
    account = client.account
    query = QAISignatureAuthHandler.generate_signature(
        "GET", "/api/operation", account.access_key_id, account.secret, values
    )
    query, _, signature = query.rpartition("&signature=")

    assert client.send(f"/api/operation?{query}&signature={quote_plus(signature)}")["ret_code"] == 0


def _iaas_signature(secret: str, method: str, path: str, query: str, body: bytes) -> str:
    digest = hmac.new(secret.encode(), f"{method}\n{path}/\n{query}".encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def _without_the_slash(secret: str, method: str, path: str, query: str, body: bytes) -> str:
    return documented_signature(secret, method, path.removesuffix("n"), query, body)


@pytest.mark.parametrize("sign", [_iaas_signature, _without_the_slash])
def test_the_scheme_of_qingclouds_other_apis_is_refused(client: QingCloudClient, sign: object) -> None:
    """All signing examples for other APIs of QingCloud have it."""
    assert _ret_code(client, client.parameters(), sign=sign) == 1200


def test_a_signature_that_was_encoded_once_is_refused_where_it_has_a_plus(client: QingCloudClient) -> None:
    """Every second request of such a client works, so its author would search elsewhere."""
    seen = set()
    for offset in range(200):
        parameters = client.parameters(offset=offset)
        plus = "%2B" in client.target("/api/operation", parameters, encodings=1).rpartition("=")[2]
        assert _ret_code(client, parameters, encodings=1) == (1200 if plus else 0)
        seen.add(plus)
        if len(seen) == 2:
            return
    pytest.fail("no signature with and one without a plus in 200")


def test_what_was_altered_after_signing_is_refused(client: QingCloudClient) -> None:
    target = client.target("/api/operation", client.parameters(limit=10))
    assert client.send(target.replace("limit=10", "limit=11"))["ret_code"] == 1200
    body = b'{"cluster_id": "ehpc-emulator"}'
    signed = client.target(JOB, client.parameters(), body)
    assert client.send(signed, body.replace(b"ehpc", b"EHPC"))["ret_code"] == 1200


def test_a_wrong_secret_an_unknown_key_and_a_temporary_one_are_refused(ehpc_emulator: Emulator) -> None:
    first = ehpc_emulator.accounts.first
    for account in (
        CloudAccount(first.access_key_id, first.secret + "x"),
        CloudAccount("QYACCESSKEYIDEXAMPLE", first.secret),
        ehpc_emulator.issue_token(),
    ):
        result = QingCloudClient(ehpc_emulator, account).get("operation")
        assert result["ret_code"] == 1200
        assert first.secret not in result["message"]


@pytest.mark.parametrize(("age", "code"), [(50, 0), (70, 1300), (-30, 0)])
def test_a_request_is_good_for_a_minute(client: QingCloudClient, age: float, code: int) -> None:
    """The emulator rejects a request that a client signs once and retries for longer."""
    assert client.get("operation", age=age)["ret_code"] == code


@pytest.mark.parametrize(
    "name", ["access_key_id", "signature_method", "signature_version", "timestamp", "version", "zone"]
)
def test_a_missing_common_parameter_is_malformed(client: QingCloudClient, name: str) -> None:
    parameters = client.parameters()
    del parameters[name]
    result = client.send(client.target("/api/operation", parameters))
    assert result["ret_code"] == 1100
    assert name in result["message"]


def test_the_time_is_called_timestamp(client: QingCloudClient) -> None:
    """It is time_stamp in the table of the documentation and in other APIs, but not in the examples."""
    parameters = client.parameters()
    parameters["time_stamp"] = parameters.pop("timestamp")
    assert _ret_code(client, parameters) == 1100


@pytest.mark.parametrize(
    "change",
    [{"signature_method": "HmacSHA1"}, {"version": "2"}, {"timestamp": "2026-01-01 00:00:00"}],
)
def test_other_versions_and_forms_are_malformed(client: QingCloudClient, change: dict[str, str]) -> None:
    assert _ret_code(client, {**client.parameters(), **change}) == 1100


def test_another_zone_and_another_cluster_are_not_found(client: QingCloudClient) -> None:
    assert client.get("operation", zone="pek3")["ret_code"] == 2100
    assert client.get("job/list", cluster_id="ehpc-other")["ret_code"] == 2100
    assert client.get("job/list", cluster_id=CLUSTER_ID)["ret_code"] == 0


def test_an_unknown_path_and_a_wrong_method_are_wrong_actions(client: QingCloudClient) -> None:
    assert client.get("job/logs")["ret_code"] == 1101
    assert client.get("job/submitJob")["ret_code"] == 1101
    assert client.post("operation")["ret_code"] == 1101


def test_a_denied_action_is_refused_and_nothing_else(client: QingCloudClient) -> None:
    client.emulator.deny("job/submitJob")
    assert client.post("job/submitJob")["ret_code"] == 1400
    assert client.get("operation")["ret_code"] == 0


def test_faults_have_the_errors_of_this_cloud(client: QingCloudClient) -> None:
    """The same fault has the error of each cloud."""
    client.emulator.fault("throttle", operation="operation")
    client.emulator.fault("error", operation="operation")
    client.emulator.fault("error", operation="operation", status=200, code="5300", message="updating")
    assert [client.get("operation")["ret_code"] for _ in range(4)] == [2500, 5100, 5300, 0]
    assert client.emulator.requests.count("operation", "ok") == 1
