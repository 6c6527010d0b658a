# SPDX-License-Identifier: Apache-2.0
"""QingCloud HPC's jobs and operation log, with the quirks of its documentation."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from airflow_provider_ehpc.emulator.operations import EmulatedOperation, EmulatedStatus
from airflow_provider_ehpc.emulator.server import Emulator
from tests.emulator.qingcloud_client import CLUSTER_ID, QingCloudClient
from tests.gates import eventually

DAY = 1_772_323_200  # 2026-03-01T00:00:00Z
WITHOUT_ZONE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")


@pytest.fixture
def client(ehpc_emulator: Emulator) -> QingCloudClient:
    return QingCloudClient(ehpc_emulator)


def _detail(client: QingCloudClient, job_id: str) -> dict[str, object]:
    result = client.get(f"job/jobdetail/{job_id}", cluster_id=CLUSTER_ID)
    assert result["ret_code"] == 0, result
    (job,) = result["hpc_job_set"]
    assert isinstance(job, dict)
    return job


def _ended(client: QingCloudClient, job_id: str) -> dict[str, object]:
    eventually(lambda: _detail(client, job_id)["end_time"] is not None)
    return _detail(client, job_id)


@pytest.mark.parametrize(("command", "state", "code"), [("true", "finished", "0"), ("exit 3", "exited", "3")])
def test_a_job_is_reported_as_documented(
    client: QingCloudClient, command: str, state: str, code: str
) -> None:
    job_id = client.submit(command, name="作业")
    detail = _ended(client, job_id)
    (listed,) = client.get("job/list", cluster_id=CLUSTER_ID)["hpc_job_set"]

    assert (detail["job_status"], detail["end_status"]) == (state, code)
    assert (listed["hpcjob_uuid"], listed["job_name"], listed["job_status"]) == (job_id, "作业", state)
    assert isinstance(listed["job_id"], int)
    # The two pages disagree, and a client must accept both.
    assert WITHOUT_ZONE.fullmatch(listed["submitted_time"])
    assert detail["submitted_time"] == listed["submitted_time"] + "Z"


def test_submission_is_answered_with_an_id_a_number_and_a_state(client: QingCloudClient) -> None:
    result = client.post(
        "job/submitJob", name="n", cmd_line="true", run_user="u", core_limit=1, submit_type=0
    )
    assert result.keys() == {"action", "hpcjob_uuid", "job_id", "job_status", "ret_code"}
    assert (result["action"], result["job_status"]) == ("HpcJobSubmitJobResponse", "pending")
    assert isinstance(result["job_id"], str)


@pytest.mark.parametrize("missing", ["name", "run_user", "core_limit", "cmd_line"])
def test_what_a_submission_lacks_is_refused(client: QingCloudClient, missing: str) -> None:
    job = {"name": "n", "cmd_line": "true", "run_user": "u", "core_limit": 1, "submit_type": 0}
    del job[missing]
    assert client.post("job/submitJob", **job)["ret_code"] == 1100
    assert client.get("job/list", cluster_id=CLUSTER_ID)["total_count"] == 0


def test_the_emulator_finds_a_job_by_the_id_of_each_cloud(client: QingCloudClient) -> None:
    emulator = client.emulator
    first = emulator.submit("true")
    second = client.submit("true")
    assert (emulator.job(first).number, emulator.job(second).number) == (1, 2)
    assert emulator.job("3faf5c03-aaa1-4cbe-879d-000000000002") == emulator.job(second)
    with pytest.raises(KeyError):
        emulator.job("hpcjob-00000003")


def test_a_stopped_job_is_called_stopped_in_the_list_and_cancelled_in_its_detail(
    client: QingCloudClient,
) -> None:
    job_id = client.submit("sleep 60")
    result = client.post("job/stopJobs", job_ids=[job_id])
    assert [json.loads(each)["ret_code"] for each in result["custom_cmd_result"]] == [0]
    assert _ended(client, job_id)["job_status"] == "cancelled"
    (listed,) = client.get("job/list", cluster_id=CLUSTER_ID, jobs_status="cancelled")["hpc_job_set"]
    assert listed["job_status"] == "stopped"
    assert client.get("job/list", cluster_id=CLUSTER_ID, jobs_status="running")["total_count"] == 0


def test_stopping_is_an_operation_that_ends_when_the_job_has(client: QingCloudClient) -> None:
    """A client that waits for the operation must find the job ended when the operation has succeeded."""
    job_id = client.submit("trap '' TERM; echo ready; while :; do sleep 1; done")
    # RUNNING is not enough: the shell must have set its trap.
    output = Path(str(_detail(client, job_id)["stdout_redirect_path"]))
    eventually(lambda: output.exists() and output.read_text() == "ready\n")
    operation_id = client.post("job/stopJobs", job_ids=[job_id])["job_uuid"]
    seen = []

    def ended() -> bool:
        (row,) = client.operations(job_ids=operation_id)
        seen.append(row["status"])
        return row["status"] == "successful"

    eventually(ended)
    assert operation_id.startswith("j-")
    assert list(dict.fromkeys(seen)) == ["pending", "working", "successful"]
    (row,) = client.operations(job_ids=operation_id)
    assert row["status_time"] == _detail(client, job_id)["end_time"]
    assert row["resource_ids"] == f"{CLUSTER_ID} {job_id}"


def test_stopping_what_has_ended_fails_beside_a_ret_code_of_0(client: QingCloudClient) -> None:
    job_id = client.submit("true")
    _ended(client, job_id)
    result = client.post("job/stopJobs", job_ids=[job_id])
    assert result["ret_code"] == 0
    assert json.loads(result["custom_cmd_result"][0])["ret_code"] == 1400
    assert client.operations(job_ids=result["job_uuid"])[0]["status"] == "failed"


def test_an_unknown_job_is_not_found(client: QingCloudClient) -> None:
    for job_id in ("hpcjob-99999999", "hpcjob-x", "1.manager"):
        assert client.get(f"job/jobdetail/{job_id}", cluster_id=CLUSTER_ID)["ret_code"] == 2100
        assert client.post("job/stopJobs", job_ids=[job_id])["ret_code"] == 2100


def test_what_is_done_is_in_the_log_with_who_did_it_and_how_it_ended(client: QingCloudClient) -> None:
    job_id = client.submit("true")
    client.post("job/submitJob", name="n")
    first, second = client.operations()
    assert first.keys() == {
        "action_describe",
        "create_time",
        "error_codes",
        "job_action",
        "job_id",
        "owner",
        "resource_ids",
        "status",
        "status_time",
        "submitter",
        "task_count",
    }
    assert (first["job_action"], first["status"], first["error_codes"]) == (
        "HpcJobSubmitJob",
        "successful",
        "",
    )
    assert first["resource_ids"] == f"{CLUSTER_ID} {job_id}"
    assert (second["status"], second["error_codes"]) == ("failed", "1100")
    assert first["owner"] == second["owner"]
    assert re.fullmatch(r"usr-\w{8}", first["owner"])


def _rows(emulator: Emulator) -> dict[str, str]:
    rows = [
        EmulatedOperation(
            DAY, "HpcClusterStartCluster", actor="usr-a", resources=("ehpc-1",), description="启动集群"
        ),
        EmulatedOperation(
            DAY + 1, "HpcClusterStopCluster", actor="usr-b", resources=("ehpc-1", "cln-1"), request="x"
        ),
        EmulatedOperation(DAY + 1, "HpcUserAddUser", status=EmulatedStatus.FAILED, error="2110"),
        EmulatedOperation(DAY + 9, "HpcUserAddUser", status=EmulatedStatus.PENDING, resources=("ehpc-2",)),
    ]
    return dict(zip("abcd", emulator.add_operations(rows), strict=True))


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, "abcd"),
        ({"reverse": 1}, "dcba"),
        ({"status": "failed"}, "c"),
        ({"status": "pending"}, "d"),
        ({"job_action": "HpcUserAddUser"}, "cd"),
        ({"owner": "usr-b"}, "b"),
        ({"resource_ids": "ehpc-1"}, "ab"),
        ({"resource_ids": "cln-1,ehpc-2"}, "bd"),
        ({"action_describe": "集群"}, "a"),
        ({"search_word": "User"}, "cd"),
        ({"directive": "x"}, "b"),
        ({"start_time": "2026-03-01T00:00:01Z", "end_time": "2026-03-01T00:00:01Z"}, "bc"),
        ({"start_time": "2026-03-01T00:00:02Z"}, "d"),
        ({"end_time": "2026-03-01T00:00:00Z"}, "a"),
        ({"limit": 2, "offset": 1}, "bc"),
    ],
)
def test_each_filter_of_the_operation_log_selects(
    client: QingCloudClient, filters: dict[str, object], expected: str
) -> None:
    ids = _rows(client.emulator)
    assert client.ids(**filters) == [ids[name] for name in expected]


def test_an_operation_is_found_by_either_of_the_two_parameters_for_its_id(client: QingCloudClient) -> None:
    ids = _rows(client.emulator)
    assert client.ids(jobs=ids["b"]) == client.ids(job_ids=ids["b"]) == [ids["b"]]


def test_verbose_adds_the_request(client: QingCloudClient) -> None:
    _rows(client.emulator)
    assert [row["directive"] for row in client.operations(verbose=1)] == ["", "x", "", ""]
    assert "directive" not in client.operations(verbose=0)[0]


def test_a_page_has_ten_rows_unless_asked_and_never_more_than_a_hundred(client: QingCloudClient) -> None:
    """A client that requests pages of 1,000 and steps by 1,000 would miss nine of ten."""
    client.emulator.add_operations(EmulatedOperation(DAY + n, "X") for n in range(130))
    result = client.get("operation", reverse=0)
    assert (len(result["job_set"]), result["total_count"]) == (10, 130)
    assert len(client.operations(limit=1000)) == 100
    assert len(client.operations(offset=100)) == 30
    # Without an order, the newest comes first.
    assert client.get("operation")["job_set"][0]["create_time"] == "2026-03-01T00:02:09Z"


@pytest.mark.parametrize(
    "filters", [{"limit": "x"}, {"offset": -1}, {"reverse": 2}, {"status": "done"}, {"start_time": "2026"}]
)
def test_a_filter_that_cannot_be_read_is_malformed(
    client: QingCloudClient, filters: dict[str, object]
) -> None:
    """If these were ignored, a window would be the whole log."""
    assert client.get("operation", **filters)["ret_code"] == 1100


def test_operations_end_by_themselves_where_that_was_planned(client: QingCloudClient) -> None:
    now = time.time()
    for ends_at, ends, words in (
        (now + 600, "successful", {"pending", "working"}),
        (now - 1, "failed", {"failed"}),
    ):
        (operation_id,) = client.emulator.add_operations(
            [EmulatedOperation(now - 5, "X", status="pending", ends_at=ends_at, ends=ends)]  # type: ignore[arg-type]
        )
        assert client.operations(job_ids=operation_id)[0]["status"] in words


def test_operations_come_in_over_http(client: QingCloudClient) -> None:
    """For an emulator in another process."""
    import urllib.request

    rows = [{"began_at": DAY, "action": "HpcUserAddUser", "resources": ["ehpc-1"]}]
    body = json.dumps({"operations": rows}).encode()
    request = urllib.request.Request(
        f"{client.emulator.url}/_emulator/operations",
        body,
        {"content-type": "application/json", "authorization": f"Bearer {client.emulator.admin_secret}"},
    )
    with urllib.request.urlopen(request) as answer:
        added = json.load(answer)
    request.data, request.method = None, "GET"
    with urllib.request.urlopen(request) as answer:
        shown = json.load(answer)
    assert client.ids() == added == [row["id"] for row in shown]
