# SPDX-License-Identifier: Apache-2.0
"""Each fault has its documented effect, on the requests it is for, and ends when it should.

A fault that quietly does nothing would make the tests that use it pass for no reason.
"""

from __future__ import annotations

import base64
import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import pytest

from airflow_provider_ehpc.emulator.server import Emulator
from tests.emulator.client import Client
from tests.gates import eventually


def test_an_error_strikes_as_often_as_asked_and_only_its_operation(client: Client) -> None:
    job_id = client.create("true")
    client.emulator.fault(
        "error", operation="GetJob", times=2, status=500, code="UnknownError", message="oops"
    )

    assert client.listed() == [job_id]
    for _ in range(2):
        answer = client.send("GetJob", {"JobId": job_id})
        assert answer.refusal == (500, "UnknownError")
        assert answer.json["Message"] == "oops"
    assert client.info(job_id)["JobId"] == job_id


def test_an_error_can_be_meant_for_one_job(client: Client) -> None:
    unlucky, lucky = client.create("true"), client.create("true")
    client.emulator.fault("error", job_id=unlucky)

    assert client.info(lucky)["JobId"] == lucky
    assert client.refusal("GetJob", JobId=unlucky) == (503, "ServiceUnavailable")


def test_an_error_does_nothing_of_what_was_asked(client: Client) -> None:
    client.emulator.fault("error")

    assert client.send("CreateJob", {"JobSpec": '{"CommandLine": "true"}'}).status == 503
    assert client.listed() == []


def test_faults_come_in_the_order_asked_for(client: Client) -> None:
    for code in ("DbError", "EcsError"):
        client.emulator.fault("error", status=406, code=code)

    assert client.refusal("ListJobs") == (406, "DbError")
    assert client.refusal("ListJobs") == (406, "EcsError")
    assert client.listed() == []


def test_a_wrong_signature_comes_before_a_fault(ehpc_emulator: Emulator) -> None:
    """A fault must not hide wrong signatures."""
    ehpc_emulator.fault("error")
    token = ehpc_emulator.issue_token(seconds=-1)

    assert Client(ehpc_emulator, token).refusal("ListJobs") == (400, "InvalidSecurityToken.Expired")


@pytest.mark.parametrize(
    ("settings", "header", "value"),
    [
        ({}, "x-acs-retry-after", None),
        ({"retry_after_ms": 1500}, "x-acs-retry-after", "1500"),
        ({"retry_after": 3}, "retry-after", "3"),
    ],
)
def test_throttling_says_how_long_to_wait_where_asked_to(
    client: Client, settings: dict[str, int], header: str, value: str | None
) -> None:
    client.emulator.fault("throttle", **settings)

    answer = client.send("ListJobs")

    assert answer.refusal == (429, "Throttling.User")
    assert answer.headers.get(header) == value


def test_a_quota_lets_so_many_through_a_second(client: Client) -> None:
    """A quota that accepts all requests, or none, would not test a client that respects it."""
    client.emulator.fault("quota", operation="ListJobs", rate=5, retry_after=1)
    begun = time.monotonic()
    answers = [client.send("ListJobs") for _ in range(30)]
    most = 5 + 5 * (time.monotonic() - begun) + 1
    passed = [answer for answer in answers if answer.status == 200]
    assert 5 <= len(passed) <= most
    refused = [answer for answer in answers if answer.status != 200]
    assert refused
    assert {(answer.refusal, answer.headers["retry-after"]) for answer in refused} == {
        ((429, "Throttling.User"), "1")
    }
    assert client.send("GetJob", {"JobId": "none"}).refusal[0] != 429


def test_a_slow_answer_holds_up_nobody_else(client: Client) -> None:
    client.emulator.fault("latency", operation="GetJob", seconds=1.0)
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(client.send, "GetJob", {"JobId": "1.manager"})
        client.send("ListJobs")

        assert not slow.done()
        assert slow.result().refusal == (406, "AgentError")
    assert [record.operation for record in client.emulator.requests.recent] == ["ListJobs", "GetJob"]


@pytest.mark.parametrize("effect", [True, False])
def test_a_reset_leaves_it_open_whether_the_job_was_submitted(client: Client, effect: bool) -> None:
    """A client must find out which one happened; the emulator does both."""
    client.emulator.fault("reset", operation="CreateJob", effect=effect)

    with pytest.raises(ConnectionError):
        client.create("true")

    assert len(client.listed()) == (1 if effect else 0)


def test_a_truncated_body_is_shorter_than_announced(client: Client) -> None:
    client.emulator.fault("truncate")

    with pytest.raises(http.client.IncompleteRead):
        client.send("ListJobs")
    assert client.listed() == []


@pytest.mark.parametrize(("settings", "status"), [({}, 200), ({"status": 502}, 502)])
def test_html_comes_as_from_a_proxy(client: Client, settings: dict[str, int], status: int) -> None:
    client.emulator.fault("html", **settings)

    answer = client.send("ListJobs")

    assert answer.status == status
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.body.startswith(b"<html>")


def test_a_huge_answer_is_still_json(client: Client) -> None:
    client.emulator.fault("huge", size=1_000_000)

    result = client.send("ListJobs").json

    assert (result["Jobs"], len(result["Padding"])) == ([], 1_000_000)


def test_a_huge_answer_need_not_be_read(client: Client) -> None:
    """A client that limits what it reads closes the connection; the emulator continues."""
    client.emulator.fault("huge", size=1 << 40)
    request = client.sign("ListJobs")
    connection = http.client.HTTPConnection(urlsplit(client.emulator.url).netloc, timeout=30)
    connection.request(request.method, request.target, headers=dict(request.headers))
    assert len(connection.getresponse().read(1_000_000)) == 1_000_000
    connection.close()

    assert client.listed() == []


def test_a_shifted_clock_shows_in_the_date_and_in_the_refusal(client: Client) -> None:
    """A client learns from the Date header that the clocks differ."""
    client.emulator.fault("clock", seconds=3600)

    answer = client.send("ListJobs")

    assert answer.refusal == (400, "InvalidTimeStamp.Expired")
    shift = parsedate_to_datetime(answer.headers["date"]) - datetime.now(UTC)
    assert timedelta(minutes=58) < shift < timedelta(minutes=62)
    assert client.send("ListJobs", skew=3600).status == 200
    client.emulator.faults.clear()
    assert client.send("ListJobs").status == 200


def test_a_new_job_can_be_invisible_at_first(client: Client) -> None:
    client.emulator.fault("invisible", seconds=600)
    job_id = client.create("true")

    assert client.refusal("GetJob", JobId=job_id) == (406, "AgentError")
    assert client.refusal("GetJobLog", JobId=job_id) == (406, "AgentError")
    assert client.listed() == []
    client.emulator.faults.clear()
    assert client.listed() == [job_id]
    client.emulator.fault("invisible", seconds=0)
    assert client.info(job_id)["JobId"] == job_id
    assert client.listed() == [job_id]


def test_a_state_can_be_a_word_that_nobody_knows(client: Client) -> None:
    strange, other = client.create("sleep 60"), client.create("sleep 60")
    client.emulator.fault("state", job_id=strange, word="Hibernating")

    assert client.info(strange)["State"] == "Hibernating"
    assert client.info(other)["State"] in ("QUEUED", "RUNNING")
    states = [job["JobSpec"]["State"] for job in client.call("ListJobs")["Jobs"]]
    assert states[1] == "Hibernating"
    assert states[0] in ("QUEUED", "RUNNING")


def test_a_failure_can_hide_behind_finished(client: Client) -> None:
    job_id = client.create("exit 3")
    client.emulator.wait_for(job_id)
    client.emulator.fault("finished_hides_failure")

    assert client.info(job_id)["State"] == "FINISHED"
    assert client.emulator.job(job_id).exit_code == 3


def test_log_sizes_can_be_zero_or_late(client: Client) -> None:
    job_id = client.create("printf 12345")
    client.emulator.wait_for(job_id)

    def size() -> str:
        result = client.call("GetJobLog", JobId=job_id)
        assert base64.b64decode(result["StdoutLog"]).startswith(b"12345")
        text: str = result["StdoutLogSize"]
        return text

    client.emulator.fault("log_size")
    assert size() == "0"
    client.emulator.faults.clear()
    client.emulator.fault("log_size", word="stale")
    assert size() == "5"
    client.emulator.write_log(job_id, b"678")
    assert [size(), size()] == ["5", "8"]


def test_types_and_white_space_drift(client: Client) -> None:
    job_id = client.create("true", name="testJob")
    client.emulator.wait_for(job_id)
    client.emulator.fault("drift")

    answers = [client.call("GetJob", JobId=job_id) for _ in range(2)]

    assert [answer["Success"] for answer in answers] == ["true", True]
    infos = [answer["JobInfo"] for answer in answers]
    assert [info["Priority"] for info in infos] == ["0", 0]
    assert [info["JobName"] for info in infos] == ["testJob\n", "testJob"]
    assert [info["ExtraInfo"] for info in infos] == ["{}", {}]
    logs = [client.call("GetJobLog", JobId=job_id)["StdoutLogSize"] for _ in range(2)]
    assert logs == ["0", 0]
    times = [client.call("ListJobs")["Jobs"][0]["JobSpec"]["SubmitTime"] for _ in range(2)]
    assert isinstance(times[0], str)
    assert times == [str(times[1]), int(times[0])]


class TestLogs:
    """Log files change while they are read."""

    @pytest.fixture
    def job_id(self, client: Client) -> str:
        go_on = client.emulator.directory / "go-on"
        job_id = client.create(f"echo before; until test -e {go_on}; do sleep 0.02; done; echo after")
        eventually(lambda: self._read(client, job_id) == b"before\n")
        return job_id

    def _read(self, client: Client, job_id: str) -> bytes:
        return base64.b64decode(client.call("GetJobLog", JobId=job_id)["StdoutLog"])

    def _go_on(self, client: Client, job_id: str) -> None:
        (client.emulator.directory / "go-on").touch()
        client.emulator.wait_for(job_id)

    def test_a_truncated_log_begins_again(self, client: Client, job_id: str) -> None:
        client.emulator.change_log(job_id, "truncate")
        assert self._read(client, job_id) == b""
        self._go_on(client, job_id)

        assert self._read(client, job_id) == b"after\n"

    def test_a_rotated_log_leaves_the_job_writing_to_the_old_file(self, client: Client, job_id: str) -> None:
        client.emulator.change_log(job_id, "rotate", b"new\n")
        self._go_on(client, job_id)

        assert self._read(client, job_id) == b"new\n"
        path = client.emulator.job(job_id).stdout_path
        assert path.with_name(path.name + ".1").read_text() == "before\nafter\n"

    def test_a_log_can_be_added_to(self, client: Client, job_id: str) -> None:
        client.emulator.write_log(job_id, b"between\n")
        client.emulator.write_log(job_id, b"error\n", stream="stderr")

        result = client.call("GetJobLog", JobId=job_id)
        assert base64.b64decode(result["StdoutLog"]) == b"before\nbetween\n"
        assert base64.b64decode(result["StderrLog"]) == b"error\n"


def test_requests_are_counted_by_operation_and_outcome(client: Client) -> None:
    job_id = client.create("true")
    client.info(job_id)
    client.refusal("GetJob", JobId="9.manager")
    client.emulator.fault("reset")
    with pytest.raises(ConnectionError):
        client.listed()
    requests = client.emulator.requests

    assert requests.counts == {
        "CreateJob": {"ok": 1},
        "GetJob": {"AgentError": 1, "ok": 1},
        "ListJobs": {"reset": 1},
    }
    assert (requests.count(), requests.count("GetJob"), requests.count("GetJob", "ok")) == (4, 2, 1)
    assert [(record.job_id, record.status) for record in requests.recent] == [
        ("", 200),
        (job_id, 200),
        ("9.manager", 406),
        ("", None),
    ]


class TestAdmin:
    """The same over HTTP, for an emulator in another process."""

    def _ask(
        self, emulator: Emulator, method: str, path: str, body: object = None, kind: str = "application/json"
    ) -> tuple[int, str]:
        connection = http.client.HTTPConnection(urlsplit(emulator.url).netloc, timeout=30)
        headers = {"Authorization": f"Bearer {emulator.admin_secret}"}
        headers |= {"Content-Type": kind} if body is not None else {}
        text = None if body is None else json.dumps(body)
        connection.request(method, "/_emulator" + path, text, headers)
        response = connection.getresponse()
        result = response.read().decode()
        connection.close()
        return response.status, result

    def test_faults_are_made_listed_and_cleared(self, client: Client) -> None:
        emulator = client.emulator
        assert self._ask(emulator, "POST", "/faults", {"kind": "error", "code": "DbError"})[0] == 201
        assert [fault["code"] for fault in json.loads(self._ask(emulator, "GET", "/faults")[1])] == [
            "DbError"
        ]
        assert client.refusal("ListJobs") == (503, "DbError")
        assert self._ask(emulator, "GET", "/faults")[1] == "[]"
        self._ask(emulator, "POST", "/faults", {"kind": "error"})
        assert self._ask(emulator, "DELETE", "/faults")[0] == 204
        assert client.listed() == []

    @pytest.mark.parametrize("body", [{"kind": "nonsense"}, {"kind": "error", "colour": 1}, {}, []])
    def test_a_fault_that_does_not_exist_is_refused(self, ehpc_emulator: Emulator, body: object) -> None:
        """A misspelled fault must not let a test pass."""
        assert self._ask(ehpc_emulator, "POST", "/faults", body)[0] == 400
        assert ehpc_emulator.faults.pending() == []

    def test_a_web_page_cannot_make_faults(self, ehpc_emulator: Emulator) -> None:
        """A form of another origin can send only such types without a preflight request of the browser."""
        body = {"kind": "error"}
        assert self._ask(ehpc_emulator, "POST", "/faults", body, "text/plain")[0] == 415

    def test_requests_are_listed_and_cleared(self, client: Client) -> None:
        client.listed()
        result = json.loads(self._ask(client.emulator, "GET", "/requests")[1])
        assert result["counts"] == {"ListJobs": {"ok": 1}}
        assert result["recent"][0]["operation"] == "ListJobs"
        assert self._ask(client.emulator, "DELETE", "/requests")[0] == 204
        assert client.emulator.requests.count() == 0

    def test_keys_are_made(self, ehpc_emulator: Emulator) -> None:
        token = json.loads(self._ask(ehpc_emulator, "POST", "/tokens", {"seconds": 60})[1])
        account = json.loads(self._ask(ehpc_emulator, "POST", "/accounts", {"denied": ["ListJobs"]})[1])

        temporary = ehpc_emulator.accounts.find(token["access_key_id"])
        assert temporary is not None
        assert temporary.security_token == token["security_token"]
        assert Client(ehpc_emulator, temporary).listed() == []
        denied = ehpc_emulator.accounts.find(account["access_key_id"])
        assert Client(ehpc_emulator, denied).refusal("ListJobs") == (407, "NotAuthorized")

    def test_a_log_is_changed(self, client: Client) -> None:
        job_id = client.create("true")
        client.emulator.wait_for(job_id)
        change = {"job_id": job_id, "change": "append", "text": "late\n"}

        assert self._ask(client.emulator, "POST", "/logs", change)[0] == 204
        assert client.emulator.job(job_id).stdout_path.read_text() == "late\n"
        assert self._ask(client.emulator, "POST", "/logs", {**change, "change": "eat"})[0] == 400
        assert self._ask(client.emulator, "POST", "/logs", {**change, "job_id": "9.manager"})[0] == 400
