# SPDX-License-Identifier: Apache-2.0
"""What is sent again, after how long, and above all what is not."""

from __future__ import annotations

import asyncio
import itertools
import socket
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from airflow_provider_ehpc.apis.aliyun import classic, ehpc
from airflow_provider_ehpc.apis.call import (
    AnswerLost,
    ApiError,
    AuthenticationFailed,
    Flow,
    InvalidRequest,
    NotReached,
    ServiceUnavailable,
    Throttled,
)
from airflow_provider_ehpc.apis.job import JobSpec
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.hooks import client, retry
from airflow_provider_ehpc.hooks.aliyun import EhpcHook
from tests.conftest import Ask, Connect, Pauses
from tests.hooks.conftest import Endpoint, send_json

ONCE = JobSpec("once", "echo ran")


@pytest.fixture
def job(ehpc_emulator: Emulator) -> tuple[str, str, str]:
    """How to ask for a job that is there."""
    return ("get_job", ehpc_emulator.cluster_id, ehpc_emulator.submit("true"))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("error", {"status": 503}),
        ("error", {"status": 500, "code": "InternalError"}),
        ("error", {"status": 406, "code": "AgentError"}),
        ("error", {"status": 403, "code": "ExecFail"}),
        ("throttle", {}),
        ("reset", {}),
        ("reset", {"effect": True}),
        ("truncate", {}),
        ("html", {"status": 502}),
    ],
)
def test_a_read_is_repeated(
    ehpc_emulator: Emulator,
    hook: EhpcHook,
    ask: Ask,
    pauses: Pauses,
    job: tuple[str, str, str],
    kind: str,
    settings: dict[str, Any],
) -> None:
    ehpc_emulator.fault(kind, times=3, **settings)
    assert ask(hook, *job).job_info.job_id == job[2]
    assert len(pauses) == 3
    assert hook.requests["GetJob"] == 4


def test_a_read_is_given_up_after_five_attempts(
    ehpc_emulator: Emulator, hook: EhpcHook, ask: Ask, pauses: Pauses, job: tuple[str, str, str]
) -> None:
    ehpc_emulator.fault("error", status=503, times=99)
    with pytest.raises(ServiceUnavailable):
        ask(hook, *job)
    assert ehpc_emulator.requests.count("GetJob") == 5


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"status": 400, "code": "InvalidParams"}, InvalidRequest),
        ({"status": 400, "code": "SignatureDoesNotMatch"}, AuthenticationFailed),
        ({"status": 503, "code": "InvalidAccessKeyId.Inactive"}, AuthenticationFailed),
        ({"status": 400, "code": "SignatureNonceUsed"}, AuthenticationFailed),
    ],
)
def test_what_does_not_pass_is_not_repeated(
    ehpc_emulator: Emulator,
    hook: EhpcHook,
    ask: Ask,
    pauses: Pauses,
    job: tuple[str, str, str],
    settings: dict[str, Any],
    kind: type[ApiError],
) -> None:
    """Failed signatures can lock a key; whatever the status, they are never repeated."""
    ehpc_emulator.fault("error", times=99, **settings)
    with pytest.raises(kind):
        ask(hook, *job)
    assert ehpc_emulator.requests.count("GetJob") == 1


@pytest.mark.parametrize(
    ("kind", "settings", "error"),
    [
        ("reset", {"effect": True}, AnswerLost),
        ("truncate", {}, AnswerLost),
        ("reset", {}, AnswerLost),
        ("error", {"status": 503}, ServiceUnavailable),
        ("error", {"status": 500, "code": "AgentError"}, ServiceUnavailable),
    ],
)
def test_a_job_is_not_submitted_twice(
    ehpc_emulator: Emulator,
    hook: EhpcHook,
    ask: Ask,
    pauses: Pauses,
    kind: str,
    settings: dict[str, Any],
    error: type[ApiError],
) -> None:
    """The answer was lost, not the request: repeated, the user would pay for the job twice."""
    ehpc_emulator.fault(kind, operation="CreateJob", times=99, **settings)
    with pytest.raises(error):
        ask(hook, "create_job", ehpc_emulator.cluster_id, ONCE)
    assert hook.requests["CreateJob"] == 1
    assert pauses == []
    done = kind == "truncate" or bool(settings.get("effect"))
    assert hook.list_jobs(ehpc_emulator.cluster_id).total_count == done


def test_a_job_whose_answer_was_lost_can_be_found(
    ehpc_emulator: Emulator, hook: EhpcHook, pauses: Pauses
) -> None:
    ehpc_emulator.fault("reset", operation="CreateJob", effect=True)
    with pytest.raises(AnswerLost, match=r"job 'once' in cluster .* the request was sent, but"):
        hook.create_job(ehpc_emulator.cluster_id, ONCE)
    assert hook.list_jobs(ehpc_emulator.cluster_id, job_name="once").total_count == 1


def test_a_write_that_was_throttled_is_repeated(
    ehpc_emulator: Emulator, hook: EhpcHook, ask: Ask, pauses: Pauses
) -> None:
    """It was refused at the gateway, before anything was done."""
    ehpc_emulator.fault("throttle", operation="CreateJob", times=2)
    ask(hook, "create_job", ehpc_emulator.cluster_id, ONCE)
    assert len(pauses) == 2
    assert hook.list_jobs(ehpc_emulator.cluster_id).total_count == 1


def test_a_write_that_was_never_sent_is_repeated(
    ehpc_emulator: Emulator, connect: Connect, ask: Ask, pauses: Pauses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The endpoint is away for two attempts: nothing listens, so nothing can have been done."""
    here = EhpcHook(connect(ehpc_emulator.connection))
    away = EhpcHook(connect(ehpc_emulator.connection, "away", host="http://127.0.0.1:1")).account
    accounts = itertools.chain([away, away], itertools.repeat(here.account))
    for name in ("send", "asend"):
        original = getattr(client, name)
        monkeypatch.setattr(
            client, name, lambda session, _, request, send=original: send(session, next(accounts), request)
        )
    ask(here, "create_job", ehpc_emulator.cluster_id, ONCE)
    assert len(pauses) == 2
    assert ehpc_emulator.requests.counts == {"CreateJob": {"ok": 1}}


@pytest.mark.parametrize(
    ("settings", "asked"),
    [
        ({"retry_after": 7}, 7),
        ({"retry_after_ms": 2500}, 2.5),
        ({"retry_after_ms": 9000, "retry_after": 1}, 9),
    ],
    ids=["Retry-After", "x-acs-retry-after", "both"],
)
def test_the_pause_that_the_cloud_asks_for_is_kept(
    ehpc_emulator: Emulator,
    hook: EhpcHook,
    ask: Ask,
    pauses: Pauses,
    job: tuple[str, str, str],
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    asked: float,
) -> None:
    """Coming back sooner is answered with a longer ban. Alibaba's own header counts milliseconds."""
    monkeypatch.setattr(retry, "_backoff", lambda state: 0.25)
    ehpc_emulator.fault("throttle", **settings)
    ask(hook, *job)
    assert pauses == [asked]


def test_503_can_ask_for_a_pause_too(
    endpoint: Endpoint, connect: Connect, ask: Ask, pauses: Pauses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "_backoff", lambda state: 0.25)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if len(endpoint.seen) > 1:
            return send_json(handler, {"RequestId": "R", "TotalCount": 0})
        handler.send_response(503)
        handler.send_header("Retry-After", "11")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return None

    endpoint.answer = answer
    ask(EhpcHook(connect(endpoint.connection)), "list_jobs", "ehpc-hz-1")
    assert pauses == [11]


def test_a_ban_of_an_hour_is_told_not_slept_through(
    ehpc_emulator: Emulator, hook: EhpcHook, ask: Ask, pauses: Pauses, job: tuple[str, str, str]
) -> None:
    """A worker slot is not held for that long: whoever waits has its own patience."""
    ehpc_emulator.fault("throttle", retry_after=3600)
    with pytest.raises(Throttled) as caught:
        ask(hook, *job)
    assert caught.value.retry_after == 3600
    assert pauses == []


def test_pauses_grow_and_are_jittered() -> None:
    """Thousand sensors that failed together must not come back together."""

    class State:
        def __init__(self, attempt: int) -> None:
            self.attempt_number = attempt
            self.outcome = None

    taken = [[retry._wait(State(attempt)) for _ in range(200)] for attempt in range(1, 6)]  # type: ignore[arg-type]
    longest = [max(pauses) for pauses in taken]
    assert longest == sorted(longest)
    assert all(len(set(pauses)) > 150 for pauses in taken)
    assert longest[-1] <= 20


@pytest.mark.parametrize("operation", ["call", "reused"])
def test_no_library_repeats_a_request_by_itself(
    endpoint: Endpoint, connect: Connect, pauses: Pauses, ask: Ask, operation: str
) -> None:
    """aiohttp sends a GET again when its answer was lost; E-HPC 2018-04-12 submits jobs by GET."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if operation == "reused" and len(endpoint.seen) == 1:
            return send_json(handler, {"RequestId": "R", "JobId": "1"})
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_RDWR)
        return None

    endpoint.answer = answer
    hook = EhpcHook(connect(endpoint.connection))
    call = classic.submit_job("ehpc-hz-1", JobSpec("once", "true", user="me"))
    assert call.request.method == "GET"
    expected = 1
    if operation == "reused":
        expected = 2

        def both() -> Flow[None]:
            yield call
            yield call

        with pytest.raises(AnswerLost):
            ask(hook, "drive", both())
    else:
        with pytest.raises(AnswerLost):
            ask(hook, "call", call)
    assert len(endpoint.seen) == expected


def test_each_attempt_is_signed_anew(endpoint: Endpoint, connect: Connect, ask: Ask, pauses: Pauses) -> None:
    """A nonce is accepted once: resent as it was, the second attempt would be refused as a replay."""
    endpoint.answer = lambda handler: send_json(handler, {"Code": "ServiceUnavailable"}, 503)
    with pytest.raises(ServiceUnavailable):
        ask(EhpcHook(connect(endpoint.connection)), "list_jobs", "ehpc-hz-1")
    nonces = {seen.headers["x-acs-signature-nonce"] for seen in endpoint.seen}
    signatures = {seen.headers["authorization"] for seen in endpoint.seen}
    assert len(nonces) == len(signatures) == len(endpoint.seen) == 5


def test_not_reached_is_the_only_failure_without_an_answer_after_which_a_write_is_repeated() -> None:
    call = ehpc.create_job("c", ONCE)
    assert retry.repeatable(call, NotReached("x"))
    assert not retry.repeatable(call, AnswerLost("x"))
    assert not retry.repeatable(call, ServiceUnavailable("x"))
    assert not retry.repeatable(call, OSError("x"))
    assert not retry.repeatable(call, asyncio.CancelledError())


def test_repeated_attempts_are_told_at_debug(
    ehpc_emulator: Emulator,
    hook: EhpcHook,
    pauses: Pauses,
    job: tuple[str, str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    ehpc_emulator.fault("error", status=503)
    with caplog.at_level("DEBUG", "airflow_provider_ehpc"):
        hook.get_job(*job[1:])
    (record,) = [r for r in caplog.records if r.name.startswith("airflow_provider_ehpc.hooks")]
    assert "attempt 1 of 5" in record.getMessage()


def test_a_pause_beyond_the_longest_time_is_not_begun() -> None:
    """A wait must hear of an outage in time to end by it."""
    assert (retry.LONGEST_RETRY, retry.LONGEST_PAUSE, retry.ATTEMPTS) == (90, 60, 5)
    stop = retry.retry_arguments(ehpc.list_jobs("c"))["stop"]

    class State:
        attempt_number = 2
        seconds_since_start = 60.0
        upcoming_sleep = 29.0

    assert not stop(State())
    State.upcoming_sleep = 31.0
    assert stop(State())


@pytest.fixture
def another_key(ehpc_emulator: Emulator) -> dict[str, Any]:
    """A connection with a key that is accepted."""
    return ehpc_emulator.connection_of(ehpc_emulator.issue_token())


def test_a_key_that_was_replaced_is_taken_from_the_connection(
    ehpc_emulator: Emulator,
    connect: Connect,
    ask: Ask,
    another_key: dict[str, Any],
    job: tuple[str, str, str],
) -> None:
    """A sensor in poke mode waits for days; its temporary key lives for hours."""
    hook = EhpcHook(connect(ehpc_emulator.connection_of(ehpc_emulator.issue_token(seconds=-1))))
    assert hook.account
    connect(another_key)
    assert ask(hook, *job).job_info.job_id == job[2]
    assert ehpc_emulator.requests.count("GetJob") == 2


@pytest.mark.parametrize("change", ["nothing", "timeout", "gone"])
def test_a_refused_key_is_not_sent_again(
    ehpc_emulator: Emulator,
    connect: Connect,
    ask: Ask,
    job: tuple[str, str, str],
    monkeypatch: pytest.MonkeyPatch,
    change: str,
) -> None:
    """Whatever else has changed in the connection: five failures lock a key of Huawei Cloud."""
    hook = EhpcHook(connect(ehpc_emulator.connection, password="wrong-secret"))
    assert hook.account
    if change == "timeout":
        connect(ehpc_emulator.connection, password="wrong-secret", extra={"timeout": 7})
    if change == "gone":
        hook.get_conn()
        monkeypatch.delenv("AIRFLOW_CONN_EHPC_TEST")
    with pytest.raises(AuthenticationFailed):
        ask(hook, *job)
    assert ehpc_emulator.requests.count("GetJob") == 1
