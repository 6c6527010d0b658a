# SPDX-License-Identifier: Apache-2.0
"""The vendor's own client of the HPC API (``qingcloud-hpc`` 0.0.1), with emulator and hook."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from qingcloud_hpc.request import Request
from qingcloud_hpc.sdk_api.HpcApiConnection import HpcApiConnection

from airflow_provider_ehpc.apis.call import ApiRequest, Credentials
from airflow_provider_ehpc.apis.qingcloud.signing import HpcSigner, sent_signature
from airflow_provider_ehpc.emulator.operations import EmulatedOperation
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.hooks.qingcloud import QingCloudHpcHook
from tests.emulator.qingcloud_client import QingCloudClient
from tests.emulator.recorder import RecordingEmulator, recording

__all__ = ["recording"]
CLUSTER = "ehpc-emulator"
AWKWARD = "a b+c*d:e,f'g&h=i/j?k#l%m~n世"
"""Characters that are encoded in different ways."""


def connect(emulator: Emulator, **changes: Any) -> HpcApiConnection:
    account = emulator.accounts.first
    url = urlsplit(emulator.url)
    arguments = {
        "access_key_id": account.access_key_id,
        "secret_access_key": account.secret,
        "host": url.hostname,
        "port": url.port,
        "zone": "jinan1a",
        "protocol": "http",
    }
    return HpcApiConnection(**{**arguments, **changes})


def test_a_job_from_submission_to_its_end(ehpc_emulator: Emulator) -> None:
    """It sends neither ``submit_type`` nor a zone in the query of a POST."""
    sdk = connect(ehpc_emulator)
    submitted = sdk.send_request(
        "HpcJobSubmitJob",
        cluster_id=CLUSTER,
        name="my job",
        cmd_line="echo 'two words'; sleep 60",
        run_user="alice",
        core_limit=1,
        scheduler_queue_name="slurm",
    )
    assert (submitted["ret_code"], submitted["job_status"]) == (0, "pending")
    job_id = submitted["hpcjob_uuid"]
    ehpc_emulator.wait_for(str(int(job_id.removeprefix("hpcjob-"))), "RUNNING")

    listed = sdk.send_request("HpcJobListJobs", cluster_id=CLUSTER, job_status="running", limit=10)
    assert [job["hpcjob_uuid"] for job in listed["hpc_job_set"]] == [job_id]
    detail = sdk.send_request("HpcJobGetJobDetail", job_uuid=job_id, cluster_id=CLUSTER)
    assert [job["job_name"] for job in detail["hpc_job_set"]] == ["my job"]

    stopped = sdk.send_request("HpcJobStopJobs", cluster_id=CLUSTER, job_ids=[job_id])
    assert stopped["ret_code"] == 0
    ehpc_emulator.wait_for(str(int(job_id.removeprefix("hpcjob-"))))
    operations = sdk.send_request("HpcOperationListOperation", job_ids=stopped["job_uuid"], limit=10)
    assert [row["status"] for row in operations["job_set"]] == ["successful"]


@pytest.mark.parametrize("name", ["job_status", "jobs_status"])
def test_both_names_of_the_filter_work(ehpc_emulator: Emulator, name: str) -> None:
    """``jobs_status`` on the page, ``job_status`` in the client; the hook sends both."""
    client = QingCloudClient(ehpc_emulator)
    client.submit("true", name="first")
    ehpc_emulator.wait_for("1.manager")
    client.submit("sleep 60", name="second")
    result = client.get("job/list", cluster_id=CLUSTER, **{name: "finished"})
    assert [job["job_name"] for job in result["hpc_job_set"]] == ["first"]
    assert client.get("job/list", cluster_id=CLUSTER, **{name: "eaten"})["ret_code"] == 1100


def test_any_text_is_signed_alike(recording: RecordingEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page contradicts itself about a space, so the client decides: ``%20``, and a slash unencoded."""
    sdk = connect(recording)
    recording.add_operations([EmulatedOperation(time.time(), "X", description=f"before {AWKWARD} after")])
    words = {"action_describe": AWKWARD, "limit": 10, "reverse": 1}

    theirs = sdk.send_request("HpcOperationListOperation", **words)
    assert (theirs["ret_code"], theirs["total_count"]) == (0, 1)
    connection = json.dumps(recording.connections["qingcloud_hpc"])
    monkeypatch.setenv("AIRFLOW_CONN_QINGCLOUD_HPC_DEFAULT", connection)
    assert QingCloudHpcHook().list_operations(**words, offset=0).total_count == 1

    their_request, our_request = recording.sent
    assert {**their_request.query, "offset": "0"} == our_request.query
    assert "%20" in our_request.raw_query
    assert "+" not in our_request.raw_query


@pytest.mark.parametrize("words", [AWKWARD, "/", " ", "a/b", "a b"])
def test_our_signature_is_theirs(
    recording: RecordingEmulator,
    monkeypatch: pytest.MonkeyPatch,
    words: str,
) -> None:
    """Both sign one request with the same result."""
    account = recording.accounts.first
    signed_at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    parameters = {"zone": "jinan1a", "timestamp": "2026-01-02T03:04:05Z", "search_word": words}
    sdk = connect(recording)
    operation = {"Method": "GET", "URI": "/api/operation", "Headers": {}, "Params": parameters}
    request = Request(sdk.config, operation)
    url = urlsplit(request.sign().url)
    query = {name: value for name, value in parameters.items() if name != "timestamp"}
    signer = HpcSigner(Credentials(account.access_key_id, account.secret))
    ours = signer.sign(ApiRequest("GET", "/api/operation", query), host="h", now=signed_at, nonce="0" * 32)

    assert sent_signature(ours.query) == sent_signature(dict(parse_qsl(url.query)))


@pytest.mark.parametrize(
    ("action", "arguments", "named"),
    [
        ("HpcJobListJobs", {"cluster_id": CLUSTER, "iamuser_name": "x"}, "iamuser_name"),
        ("HpcJobListJobs", {"cluster_id": CLUSTER, "start_time": "2026-01-01T00:00:00Z"}, "start_time"),
        (
            "HpcJobSubmitJob",
            {"cluster_id": CLUSTER, "name": "j", "cmd_line": "true", "run_user": "a", "core_limit": 1}
            | {"input_file": "/x"},
            "input_file",
        ),
        ("HpcJobDeleteJobs", {"cluster_id": CLUSTER, "job_ids": ["hpcjob-00000001"]}, "job/deleteJobs"),
        ("HpcClusterListCluster", {"limit": 10}, "cluster/list"),
    ],
)
def test_what_is_not_emulated_is_named(
    ehpc_emulator: Emulator, action: str, arguments: dict[str, Any], named: str
) -> None:
    """The error must not blame the request."""
    result = connect(ehpc_emulator).send_request(action, **arguments)
    assert result["ret_code"] == 9900
    assert named in result["message"]
    assert "not emulated" in result["message"]


def test_a_wrong_secret_is_refused(ehpc_emulator: Emulator) -> None:
    sdk = connect(ehpc_emulator, secret_access_key="wrong")
    result = sdk.send_request("HpcJobListJobs", cluster_id=CLUSTER)
    assert result["ret_code"] == 1200


def test_a_zone_that_is_not_ours_is_refused(ehpc_emulator: Emulator) -> None:
    sdk = connect(ehpc_emulator, zone="pek3")
    assert sdk.send_request("HpcJobListJobs", cluster_id=CLUSTER)["ret_code"] == 2100
    assert sdk.send_request("HpcJobStopJobs", cluster_id=CLUSTER, job_ids=["x"])["ret_code"] == 2100
