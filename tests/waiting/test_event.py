# SPDX-License-Identifier: Apache-2.0
"""The event of a wait is bounded, whatever the number of jobs and whatever the cloud wrote."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from airflow_provider_ehpc.apis.job import JobRef, JobState, JobStatus
from airflow_provider_ehpc.waiting.conditions import WaitConditions
from airflow_provider_ehpc.waiting.event import (
    FAILED_JOBS,
    LARGEST_EVENT,
    bounded_event,
    not_reached,
    pack,
    reached_states,
    unpack,
)
from airflow_provider_ehpc.waiting.watch import JobSetWatch, Note, Outcome, Verdict

TARGETS = (JobState.SUCCEEDED,)
LIMIT = 65_535


def status(ref: JobRef, state: JobState, **more: Any) -> JobStatus:
    fields = {"name": "a name that is not short", "nodes": ("compute0", "compute1"), "reason": "数" * 3000}
    return JobStatus(ref.job_id, state, state.value, cluster_id=ref.cluster_id, **{**fields, **more})


def wait(
    states: list[JobState], targets: tuple[JobState, ...] = TARGETS
) -> tuple[dict[str, Any], list[JobRef], Verdict]:
    refs = [JobRef(f"{10_000 + n}.manager", "ehpc-hz-FYUr32abcd") for n in range(len(states))]
    watch = JobSetWatch(refs, WaitConditions(targets, deadline=50.0), 0.0)
    verdict, _ = watch.saw({ref: status(ref, state) for ref, state in zip(refs, states, strict=True)}, 100.0)
    assert verdict
    event = bounded_event(verdict, refs, watch.waiting, targets)
    return json.loads(json.dumps(event)), refs, verdict


@pytest.mark.parametrize("count", [1, 100, 101, 5_000, 10_000])
def test_an_event_is_bounded(count: int) -> None:
    event, refs, _ = wait([JobState.SUCCEEDED] * count)
    assert len(json.dumps(event)) < LARGEST_EVENT * 2
    assert event["outcome"] == "reached"
    assert not_reached(event, refs, TARGETS) == []
    reached = reached_states(event, refs)
    if count > 100:
        assert event["counts"] == {"SUCCEEDED": count}
        assert reached == dict.fromkeys(refs, JobState.SUCCEEDED)


def test_an_event_of_many_failures_holds_the_first_hundred() -> None:
    states = [random.choice([JobState.FAILED, JobState.SUCCEEDED, JobState.RUNNING]) for _ in range(10_000)]
    event, refs, verdict = wait(states)
    assert event["outcome"] == "failed"
    assert len(json.dumps(event)) < LIMIT
    failed = [ref.job_id for ref, state in zip(refs, states, strict=True) if state is JobState.FAILED]
    assert [job["job_id"] for job in event["jobs"]] == failed[:FAILED_JOBS]
    assert event["job_id"] == failed[0] == verdict.job_id
    assert sum(event["counts"].values()) == 10_000
    waiting = not_reached(event, refs, TARGETS)
    assert waiting == [ref for ref, state in zip(refs, states, strict=True) if state not in TARGETS]


def test_each_job_keeps_the_state_it_reached() -> None:
    targets = (JobState.SUCCEEDED, JobState.CANCELLED, JobState.FAILED)
    states = [random.choice(targets) for _ in range(3_000)]
    event, refs, _ = wait(states, targets)
    assert event["outcome"] == "reached"
    assert event["jobs"] == []
    reached = reached_states(event, refs)
    assert reached
    assert [reached[ref] for ref in refs] == states


def test_one_job_can_be_too_large_as_well() -> None:
    ref = JobRef("1", "c")
    nodes = tuple(f"compute{n}" for n in range(20_000))
    watch = JobSetWatch([ref], WaitConditions(), 0.0)
    verdict, _ = watch.saw({ref: status(ref, JobState.SUCCEEDED, nodes=nodes)}, 1.0)
    assert verdict
    event = bounded_event(verdict, [ref], watch.waiting, TARGETS)
    assert len(json.dumps(event)) < LARGEST_EVENT
    assert reached_states(event, [ref]) == {ref: JobState.SUCCEEDED}


def test_texts_of_the_cloud_are_cut() -> None:
    verdict = Verdict(Outcome.ERROR, "m" * 10**6, error={"kind": "NotFound", "message": "x" * 10**6})
    assert len(json.dumps(bounded_event(verdict, [], [], TARGETS))) < LARGEST_EVENT


def test_the_event_of_an_older_trigger_is_read() -> None:
    """Written before events were bounded, and read after an upgrade."""
    refs = [JobRef("1"), JobRef("2")]
    jobs = [{"job_id": "1", "state": "SUCCEEDED"}, {"job_id": "2", "state": "RUNNING"}]
    event = {"outcome": "timed_out", "message": "x", "jobs": jobs}
    assert reached_states(event, refs) is None
    assert not_reached(event, refs, TARGETS) == [refs[1]]


def test_ids_are_packed_without_loss() -> None:
    text = json.dumps([f"作业-{n}\n\x00" for n in range(1000)])
    assert unpack(pack(text)) == text
    assert pack(text).isascii()
    assert not set(pack(text)) & {'"', "\\"}


def test_no_text_makes_an_event_too_large() -> None:
    """Every field as long as a cloud may make it, in characters that take six bytes each."""
    long = "数" * 5000
    targets = (JobState.SUCCEEDED,)
    refs = [JobRef(f"{n}{long}", long, long) for n in range(200)]
    jobs = tuple(
        JobStatus(
            ref.job_id, JobState.FAILED, long, cluster_id=long, reason=long, exit_code=-(2**31)
        ).as_dict()
        for ref in refs
    )
    error = dict.fromkeys(("kind", "message", "code", "request_id", "hint", "where"), long)
    news = tuple(Note(long, warning=True) for _ in range(10))
    verdict = Verdict(Outcome.FAILED, long, jobs, job_id=long, error=error, news=news)
    event = bounded_event(verdict, refs, refs, targets)
    assert len(json.dumps(event)) < LIMIT
    assert len(event["news"]) == 10
    assert Verdict.from_event(event).news[0].warning
