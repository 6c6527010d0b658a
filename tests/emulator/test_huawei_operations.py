# SPDX-License-Identifier: Apache-2.0
"""The operations of ModelArts have the documented forms. The vendor's SDK checks the rest."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_ehpc.emulator.server import Emulator
from tests.emulator.huawei import SEARCH, V1, V2, HuaweiClient
from tests.gates import eventually


@pytest.fixture
def huawei(ehpc_emulator: Emulator) -> HuaweiClient:
    return HuaweiClient(ehpc_emulator)


def _without(part: str, name: str) -> dict[str, Any]:
    body = HuaweiClient.body(None, "job", "true")  # type: ignore[arg-type]
    (body[part] if part != "resource" else body["spec"]["resource"]).pop(name)
    return body


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (_without("metadata", "name"), "ModelArts.2788"),
        (_without("resource", "flavor_id"), "ModelArts.2763"),
        (_without("algorithm", "engine"), "ModelArts.2806"),
        (_without("algorithm", "command"), "ModelArts.2806"),
        ({"kind": "cronjob"}, "ModelArts.2788"),
        ([], "ModelArts.2787"),
    ],
)
def test_a_body_that_lacks_something_is_refused(huawei: HuaweiClient, body: Any, code: str) -> None:
    """A DAG that works here must not fail at its first submission to the cloud."""
    assert huawei.refusal("POST", V2, body=body) == (400, code)


def test_a_name_is_used_once(huawei: HuaweiClient) -> None:
    huawei.create("once", "true")
    assert huawei.refusal("POST", V2, body=huawei.body("once", "true")) == (400, "ModelArts.2751")


def test_a_jobs_life_in_phases_and_numbers(ehpc_emulator: Emulator, huawei: HuaweiClient) -> None:
    """Both versions report the same state of a job, as a string and as a number."""
    seen = []
    held = ehpc_emulator.submit("sleep 60", cores=16)
    job_id = huawei.create("phases", "sleep 60")
    version = huawei.version(job_id)

    def look() -> None:
        status = huawei.get(f"{V2}/{job_id}")["status"]
        seen.append((status["phase"], huawei.get(version)["status"], status["start_time"] > 0))

    look()
    ehpc_emulator.stop(held)
    ehpc_emulator.wait_for(job_id, "RUNNING")
    look()
    assert huawei.send("POST", f"{V2}/{job_id}/actions", body={"action_type": "terminate"}).status == 202
    ehpc_emulator.wait_for(job_id)
    look()
    assert seen == [("Pending", 7, False), ("Running", 8, True), ("Terminated", 12, True)]
    assert huawei.refusal("POST", f"{V2}/{job_id}/actions", body={"action_type": "terminate"}) == (
        409,
        "ModelArts.2796",
    )
    assert huawei.refusal("POST", f"{version}/stop") == (400, "ModelArts.0105")


def test_a_search_pages_filters_and_sorts(ehpc_emulator: Emulator, huawei: HuaweiClient) -> None:
    jobs = [huawei.create(f"job-{n}", "exit 1" if n % 2 else "true") for n in range(5)]
    for job_id in jobs:
        ehpc_emulator.wait_for(job_id)

    def found(**asked: Any) -> tuple[int, list[str]]:
        result = huawei.send("POST", SEARCH, body=asked).json
        return result["count"], [item["metadata"]["name"] for item in result["items"]]

    assert found(limit=2) == (5, ["job-4", "job-3"])
    assert found(limit=2, offset=2) == (5, ["job-0"])
    assert found(order="asc", filters=[{"key": "phase", "operator": "in", "value": ["Failed"]}]) == (
        2,
        ["job-1", "job-3"],
    )
    assert found(filters=[{"key": "name", "operator": "like", "value": ["-4"]}]) == (1, ["job-4"])
    assert huawei.refusal("POST", SEARCH, body={"limit": 51}) == (400, "ModelArts.2770")
    unknown = {"filters": [{"key": "colour", "operator": "in", "value": ["red"]}]}
    assert huawei.refusal("POST", SEARCH, body=unknown) == (400, "ModelArts.2807")


def test_lines_are_paged_in_both_directions(ehpc_emulator: Emulator, huawei: HuaweiClient) -> None:
    """Here, ``asc`` reads newer lines; in v1 it reads older lines."""
    job_id = huawei.create("lines", "seq 1 1200; printf half; until [ -e go ]; do sleep 0.05; done")
    log = f"{V2}/{job_id}/logs/worker-0"
    ehpc_emulator.wait_for(job_id, "RUNNING")
    eventually(lambda: ehpc_emulator.job(job_id).stdout_path.read_text().endswith("half"))

    forward, base = [], "0"
    while page := huawei.get(log, base_line=base, lines=500, order="asc"):
        if not page["lines"]:
            break
        forward += page["content"].split()
        base = page["end_line"]
    assert forward == [str(n) for n in range(1, 1201)]  # without the last line, which is incomplete

    newest = huawei.get(log, lines=3)
    older = huawei.get(log, base_line=newest["end_line"], lines=2, order="desc")
    assert (newest["content"], older["content"]) == ("1200\n1199\n1198\n", "1197\n1196\n")

    v1 = f"{huawei.version(job_id)}/aom-log"
    (file,) = huawei.get(v1.replace("aom-log", "log/file-names"))["log_file_list"]
    last = huawei.get(v1, log_file=file, lines=2)
    assert (last["content"], last["lines"]) == ("1199\n\n1200\n", 2)
    before = huawei.get(v1, log_file=file, lines=1, base_line=last["start_line"], order="asc")
    after = huawei.get(v1, log_file=file, lines=1, base_line=last["start_line"], order="desc")
    assert (before["content"], after["content"]) == ("1198\n", "1200\n")

    (ehpc_emulator.directory / "home" / "go").touch()
    ehpc_emulator.wait_for(job_id)
    assert huawei.get(log, lines=1)["content"] == "half\n"


def test_a_preview_holds_the_last_five_megabytes(ehpc_emulator: Emulator, huawei: HuaweiClient) -> None:
    job_id = huawei.create("long", "seq 1 1000000")
    ehpc_emulator.wait_for(job_id)
    preview = huawei.get(f"{V2}/{job_id}/tasks/worker-0/logs/preview")
    assert preview["current_size"] == len(preview["content"]) == 5 * 1024 * 1024
    assert preview["full_size"] == 6888896
    assert preview["content"].endswith("\n1000000\n")


def test_a_log_that_is_not_there(ehpc_emulator: Emulator, huawei: HuaweiClient) -> None:
    """A log that does not exist yet is 204 without a body; one that never will is an error."""
    held = ehpc_emulator.submit("sleep 60", cores=16)
    job_id = huawei.create("waiting", "true")
    preview = f"{V2}/{job_id}/tasks/worker-0/logs/preview"
    answer = huawei.send("GET", preview)
    assert (answer.status, answer.body) == (204, b"")
    assert huawei.get(f"{huawei.version(job_id)}/log/file-names")["log_file_list"] == []

    ehpc_emulator.stop(job_id)
    ehpc_emulator.wait_for(job_id)
    assert huawei.refusal("GET", preview) == (400, "ModelArts.2818")
    assert huawei.get(huawei.version(job_id))["status"] == 13
    ehpc_emulator.stop(held)


@pytest.mark.parametrize(
    ("split", "text", "end"),
    [("", "a\ufffd", "3"), ("replaced", "a\ufffd", "3"), ("dropped", "a", "3"), ("aligned", "a", "1")],
)
def test_v1_cuts_by_bytes(
    ehpc_emulator: Emulator, huawei: HuaweiClient, split: str, text: str, end: str
) -> None:
    """As in the sample: all numbers are strings, and the end is the next start."""
    if split:
        ehpc_emulator.fault("split", word=split)
    job_id = huawei.create("cut", "printf 'a世b'")
    ehpc_emulator.wait_for(job_id)
    log = f"{huawei.version(job_id)}/log"

    def read(start: int, length: int) -> dict[str, Any]:
        return huawei.get(log, log_file="job-cut.0", start_byte=start, offset=length)

    assert read(0, 3) == {"is_success": True, "log": text, "end_byte": end, "count": end}
    assert read(0, 2048)["log"] == "a世b"
    assert read(-1, 1) == {"is_success": True, "log": "b", "end_byte": "5", "count": "1"}
    assert read(5, 10) == {"is_success": True, "log": "", "end_byte": "5", "count": "0"}
    for query in ({"offset": 2049}, {"offset": -5}, {"start_byte": -2}, {"log_file": "other.0"}):
        asked = {"log_file": "job-cut.0", **query}
        assert huawei.refusal("GET", log, asked) == (400, "ModelArts.0101")


def test_the_list_of_v1(huawei: HuaweiClient) -> None:
    for n in range(3):
        huawei.create(f"row-{n}", "sleep 60")
    result = huawei.get(V1, per_page=2, page=2, order="desc")
    assert (result["job_total_count"], [row["job_name"] for row in result["jobs"]]) == (3, ["row-0"])
    assert result["jobs"][0]["version_id"] != result["jobs"][0]["job_id"]


def test_a_job_of_another_api_is_a_training_job_too(ehpc_emulator: Emulator, huawei: HuaweiClient) -> None:
    """All clouds share the jobs, so a test may submit without the API."""
    job_id = ehpc_emulator.submit("echo hello; exit 4", name="from-e-hpc")
    ehpc_emulator.wait_for(job_id)
    (item,) = huawei.send("POST", SEARCH, body={}).json["items"]
    assert (item["metadata"]["name"], item["status"]["phase"]) == ("from-e-hpc", "Failed")
    assert item["status"]["task_statuses"][0]["exit_code"] == 4
    log = huawei.get(f"{V2}/{item['metadata']['id']}/tasks/worker-0/logs/preview")
    assert log["content"] == "hello\n"


def test_a_state_can_be_made_up(ehpc_emulator: Emulator, huawei: HuaweiClient) -> None:
    job_id = huawei.create("strange", "sleep 60")
    ehpc_emulator.fault("state", job_id=job_id, word="Hibernating")
    assert huawei.get(f"{V2}/{job_id}")["status"]["phase"] == "Hibernating"
    ehpc_emulator.faults.clear()
    ehpc_emulator.fault("state", word="20")
    assert huawei.get(huawei.version(job_id))["status"] == 20


def test_throttling_has_the_gateways_words(ehpc_emulator: Emulator, huawei: HuaweiClient) -> None:
    ehpc_emulator.fault("throttle", operation="ListTrainingJobs", retry_after=2)
    answer = huawei.send("POST", SEARCH, body={})
    assert (answer.status, answer.json["error_code"]) == (429, "APIG.0308")
    assert answer.headers["retry-after"] == "2"
