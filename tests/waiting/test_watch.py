# SPDX-License-Identifier: Apache-2.0
"""What a waiter makes of what it sees: every verdict, every note, and their way through an event."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_ehpc.apis.array import array_status
from airflow_provider_ehpc.apis.call import (
    AnswerLost,
    ApiError,
    InvalidArgument,
    NotReached,
    PermissionDenied,
    ServiceUnavailable,
    Throttled,
)
from airflow_provider_ehpc.apis.job import JobRef, JobState, JobStatus
from airflow_provider_ehpc.waiting.conditions import WaitConditions, parse_policy, parse_states
from airflow_provider_ehpc.waiting.watch import (
    ASSUMED_OUTCOMES,
    GONE_GRACE,
    LATE_POLL,
    OLD_RECORD,
    OUTAGE_GRACE,
    SIGN_OF_LIFE,
    JobSetWatch,
    JobWatch,
    Lateness,
    Note,
    Outcome,
    Patience,
    Verdict,
)

REF = JobRef("7", "c1")
OTHER = JobRef("8", "c1")
START = 1000.0


def status(word: str, ref: JobRef = REF, **more: Any) -> JobStatus:
    state = more.pop("state", JobState.__members__.get(word, JobState.UNKNOWN))
    return JobStatus(ref.job_id, state, word, ref.cluster_id, **more)


def watch(**terms: Any) -> JobWatch:
    return JobWatch(REF, WaitConditions(**terms), START)


def texts(notes: list[Note]) -> list[str]:
    return [("! " if note.warning else "") + note.text for note in notes]


def test_an_unfinished_job_is_waited_for() -> None:
    verdict, notes = watch().saw(status("QUEUED"), START)
    assert verdict is None
    assert texts(notes) == ["job 7 in cluster c1 is QUEUED"]


def test_changes_are_reported_once_with_how_long_it_took() -> None:
    job = watch()
    job.saw(status("QUEUED"), START)
    assert job.saw(status("QUEUED"), START + 30) == (None, [])
    _, notes = job.saw(status("R", state=JobState.RUNNING, nodes=tuple("abcdef")), START + 90)
    assert texts(notes) == [
        "job 7 in cluster c1 is RUNNING ('R'), after about 0:01:30 QUEUED, on a, b, c, d and 2 more nodes"
    ]


@pytest.mark.parametrize(
    ("restarts", "states", "logged"),
    [
        ((0, 2), ("RUNNING", "RUNNING"), "is RUNNING again; it was requeued 2 times since the last poll"),
        (
            (0, 1),
            ("RUNNING", "PENDING"),
            "is PENDING, after about 0:00:10 RUNNING; it was requeued once since",
        ),
        ((1, 3), ("PENDING", "RUNNING"), "is RUNNING, after about 0:00:10 PENDING; it was requeued 2 times"),
        ((None, 2), ("RUNNING", "RUNNING"), "is RUNNING again; it was requeued 2 times so far"),
        ((1, 1), ("RUNNING", "RUNNING"), None),
        ((2, 0), ("RUNNING", "RUNNING"), None),
        ((2, None), ("RUNNING", "RUNNING"), None),
    ],
)
def test_requeues_between_two_polls_are_counted(
    restarts: tuple[int | None, ...], states: tuple[str, str], logged: str | None
) -> None:
    """Also if the state is the same at both polls."""
    job = watch()
    job.saw(status(states[0], restarts=restarts[0]), START)
    _, notes = job.saw(status(states[1], restarts=restarts[1]), START + 10)
    assert len(notes) == (logged is not None)
    assert all(f"job 7 in cluster c1 {logged}" in note.text for note in notes)
    assert job.saw(status(states[1], restarts=restarts[1]), START + 20) == (None, [])


def test_requeues_before_the_first_poll_are_counted() -> None:
    _, notes = watch().saw(status("RUNNING", restarts=3), START)
    assert texts(notes) == ["job 7 in cluster c1 is RUNNING; it was requeued 3 times so far"]


def test_a_poll_without_the_count_does_not_hide_requeues() -> None:
    """Lists do not report it."""
    job = watch()
    job.saw(status("RUNNING", restarts=1), START)
    job.saw(status("RUNNING"), START + 10)
    _, (note,) = job.saw(status("RUNNING", restarts=2), START + 20)
    assert note.text.endswith("is RUNNING again; it was requeued once since the last poll")


def test_the_wanted_end() -> None:
    verdict, notes = watch().saw(status("SUCCEEDED"), START)
    assert verdict is not None
    assert verdict.outcome is Outcome.REACHED
    assert verdict.jobs[0]["state"] == "SUCCEEDED"
    assert texts(notes) == ["job 7 in cluster c1 is SUCCEEDED"]


def test_a_wanted_state_on_the_way() -> None:
    verdict, _ = watch(target_states=(JobState.RUNNING,)).saw(status("RUNNING"), START)
    assert verdict is not None
    assert verdict.outcome is Outcome.REACHED


@pytest.mark.parametrize("word", ["FAILED", "CANCELLED"])
def test_another_end_fails_with_everything_that_is_known(word: str) -> None:
    shown = status(word, exit_code=137, reason="OOM-killed")
    verdict, _ = watch(target_states=(JobState.SUCCEEDED, JobState.RUNNING)).saw(shown, START)
    assert verdict is not None
    assert verdict.outcome is Outcome.FAILED
    assert verdict.message == (
        f"job 7 in cluster c1 ended {word} (the cloud reports {word!r}); exit code 137; reason: OOM-killed; "
        "waited for SUCCEEDED, RUNNING"
    )
    assert verdict.job_id == "7"


def test_success_is_a_failure_where_another_end_is_wanted() -> None:
    verdict, _ = watch(target_states=(JobState.FAILED,)).saw(status("SUCCEEDED"), START)
    assert verdict is not None
    assert verdict.outcome is Outcome.FAILED


def test_times_alone_end_nothing() -> None:
    """Some APIs give an end time to a job that is suspended: only the state counts."""
    verdict, _ = watch().saw(status("SUSPENDED", ended_at=datetime.now(UTC)), START)
    assert verdict is None


def test_an_unknown_word_is_warned_of_once_a_word() -> None:
    job = watch()
    _, first = job.saw(status("DEFROSTING"), START)
    _, back = job.saw(status("RUNNING"), START + 10)
    _, again = job.saw(status("DEFROSTING"), START + 20)
    _, other = job.saw(status("MELTING"), START + 30)
    warned = [[note.warning for note in notes] for notes in (first, back, again, other)]
    assert warned == [[False, True], [False], [False], [True]]
    assert "the undocumented state 'DEFROSTING'" in first[1].text


FULL = {
    "name": "heat\nequation",
    "user": "alice",
    "queue": "workq",
    "resources": {"nodes": "2", "cores": "4", "gpus": "1", "memory": "8GB"},
    "wall_time": 5400,
}
REQUESTED = "job 7 in cluster c1: 2 nodes with 4 cores, 1 GPU and 8GB each"


def test_a_job_is_described_when_it_is_seen_and_when_more_is_known() -> None:
    job = JobWatch(REF, WaitConditions(), START, describe=True)
    _, first = job.saw(status("QUEUED", **{**FULL, "wall_time": None}), START)
    _, again = job.saw(status("QUEUED", **FULL), START + 1)
    _, runs = job.saw(status("RUNNING", nodes=("n1", "n2"), **FULL), START + 2)
    _, ends = job.saw(status("SUCCEEDED", nodes=("n1", "n2"), **FULL), START + 3)
    assert texts(first) == [
        "job 7 in cluster c1: name heat equation, user alice, queue workq",
        REQUESTED,
        "job 7 in cluster c1 is QUEUED",
    ]
    assert texts(again) == []
    assert texts(runs)[0] == f"{REQUESTED}, wall time 1:30:00"
    assert len(runs) == 2
    assert len(ends) == 1


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, ""),
        ({"queue": "q"}, "queue q"),
        ({"resources": {"nodes": "1", "cores": "1", "gpus": "0"}}, "1 node with 1 core"),
        ({"resources": {"cores": "2", "gpus": "2"}}, "2 cores and 2 GPUs"),
        ({"resources": {"nodes": "3"}}, "3 nodes"),
        ({"nodes": ("a",), "resources": {"memory": "8GB"}}, "1 node with 8GB"),
        ({"name": "n" * 999}, f"name {'n' * 100}"),
    ],
)
def test_a_job_is_described_as_far_as_it_is_known(fields: dict[str, Any], text: str) -> None:
    _, notes = JobWatch(REF, WaitConditions(), START, describe=True).saw(status("RUNNING", **fields), START)
    assert [note.text for note in notes[:-1]] == ([f"{REF}: {text}"] if text else [])


def test_one_of_many_jobs_is_not_described() -> None:
    jobs = JobSetWatch([REF, OTHER], WaitConditions(), START, describe=True)
    _, notes = jobs.saw({REF: status("RUNNING", **FULL), OTHER: status("RUNNING", OTHER, **FULL)}, START)
    assert not [note for note in notes if "queue" in note.text]


@pytest.mark.parametrize(
    ("policy", "outcome", "counts"),
    [("success", Outcome.REACHED, "SUCCEEDED"), ("fail", Outcome.FAILED, "FAILED")],
)
def test_an_end_without_an_outcome_follows_the_policy(policy: str, outcome: Outcome, counts: str) -> None:
    shown = status("FINISHED", state=JobState.SUCCEEDED, outcome_assumed=True)
    verdict, notes = watch(finished_without_exit_code=policy).saw(shown, START)
    assert verdict is not None
    assert verdict.outcome is outcome
    assert verdict.jobs[0]["state"] == counts
    assert verdict.jobs[0]["outcome_assumed"] is True
    (note,) = notes
    assert note.warning == (policy == "fail")
    assert note.text == (
        f"job 7 in cluster c1 is {counts} ('FINISHED'). The cloud reports only that it ended, without an "
        f"exit code: by finished_without_exit_code='{policy}' it counts as {counts}. "
        "See docs/waiting.md#assumed-outcomes"
    )


@pytest.mark.parametrize(
    ("reason", "warns"),
    [("Job run at Fri Nov 27 on (n1:ncpus=1) and finished", False), ("Exit_status 'x' is unreadable", True)],
)
def test_a_doubt_about_an_end_is_a_warning(reason: str, warns: bool) -> None:
    shown = status("FINISHED", state=JobState.SUCCEEDED, outcome_assumed=True, reason=reason)
    _, (note,) = watch().saw(shown, START)
    assert note.warning == warns
    assert reason in note.text


@pytest.mark.parametrize(("code", "outcome"), [(0, Outcome.REACHED), (3, Outcome.FAILED)])
@pytest.mark.parametrize("policy", ["success", "fail"])
def test_an_exit_code_outranks_the_policy(code: int, outcome: Outcome, policy: str) -> None:
    shown = status("FINISHED", state=JobState.SUCCEEDED, outcome_assumed=True, exit_code=code)
    verdict, notes = watch(finished_without_exit_code=policy).saw(shown, START)
    assert verdict is not None
    assert verdict.outcome is outcome
    assert not [note for note in notes if note.warning]


def test_a_failed_sub_job_is_not_outvoted_by_its_array_that_is_only_finished() -> None:
    """PBS calls the whole array finished; by the policy a crashed sub-job would count as success."""
    parent = status("FINISHED", state=JobState.SUCCEEDED, outcome_assumed=True)
    shown = array_status(parent, {"1": JobState.SUCCEEDED, "2": JobState.FAILED}, 2)
    verdict, _ = watch().saw(shown, START)
    assert verdict is not None
    assert verdict.outcome is Outcome.FAILED
    assert "outcome_assumed" not in verdict.jobs[0]


def test_an_array_that_is_finished_is_not_over_while_a_sub_job_runs() -> None:
    parent = status("FINISHED", state=JobState.SUCCEEDED, outcome_assumed=True)
    shown = array_status(parent, {"1": JobState.SUCCEEDED, "2": JobState.RUNNING}, 2)
    verdict, notes = watch().saw(shown, START)
    assert verdict is None
    assert texts(notes) == ["job 7 in cluster c1 is RUNNING; sub-jobs: 1 RUNNING, 1 SUCCEEDED"]


def test_a_job_not_known_yet_is_reported_once() -> None:
    job = watch(not_found_grace=60)
    assert texts(job.saw(None, START)[1]) == [
        "job 7 in cluster c1 is not known yet; polling again for up to 60 s"
    ]
    assert job.saw(None, START + 59) == (None, [])


def test_a_job_not_found_after_the_grace() -> None:
    job = watch(not_found_grace=60)
    job.saw(None, START)
    verdict, _ = job.saw(None, START + 60)
    assert verdict is not None
    assert verdict.outcome is Outcome.NOT_FOUND
    assert verdict.message == (
        "job 7 in cluster c1 does not exist or no longer exists: check job_id, cluster_id and the region"
    )


def test_no_grace() -> None:
    verdict, _ = watch(not_found_grace=0).saw(None, START)
    assert verdict is not None
    assert verdict.outcome is Outcome.NOT_FOUND


def test_signs_of_life_are_rare() -> None:
    job = watch()
    job.saw(status("RUNNING"), START)
    assert job.sign_of_life(START + SIGN_OF_LIFE - 1) == []
    assert texts(job.sign_of_life(START + SIGN_OF_LIFE, "; more")) == [
        "job 7 in cluster c1 is still RUNNING after about 0:10:00; more"
    ]
    assert job.sign_of_life(START + SIGN_OF_LIFE + 1) == []


def test_the_deadline() -> None:
    job = watch(deadline=START + 100)
    job.saw(status("RUNNING"), START + 40)
    assert job.expired(START + 99.9) is None
    verdict = job.expired(START + 100)
    assert verdict is not None
    assert verdict.outcome is Outcome.TIMED_OUT
    assert verdict.message == (
        "job 7 in cluster c1 has been RUNNING for about 0:01:00; timed out after 0:01:40; the job was not "
        "stopped."
    )
    never_seen = watch(deadline=START + 100).expired(START + 100)
    assert never_seen is not None
    assert "was never seen" in never_seen.message


def test_no_deadline() -> None:
    assert watch().expired(START + 10**9) is None


@pytest.mark.parametrize("error", [ServiceUnavailable("x"), Throttled("x"), NotReached("x"), AnswerLost("x")])
def test_passing_errors_are_borne(error: ApiError) -> None:
    """An API that is away says nothing of the job."""
    patience = Patience()
    verdict, notes = patience.failed(error, START)
    assert verdict is None
    assert texts(notes) == ["! x. The wait continues; the job is not affected."]
    assert patience.failed(error, START + 60) == (None, [])
    assert texts(patience.answered(START + 90)) == ["the API responds again, after 0:01:30"]
    assert patience.answered(START + 91) == []


def test_errors_that_last_end_the_wait() -> None:
    patience = Patience()
    patience.failed(ServiceUnavailable("gateway down"), START)
    assert patience.failed(ServiceUnavailable("gateway down"), START + OUTAGE_GRACE - 1)[0] is None
    verdict, _ = patience.failed(ServiceUnavailable("gateway down"), START + OUTAGE_GRACE)
    assert verdict is not None
    assert verdict.outcome is Outcome.ERROR


def test_late_news_are_said_to_be_late_once() -> None:
    """Under a quota a job that ended is RUNNING in the log for a while: a reader must know."""
    lateness = Lateness(5.0)
    assert lateness.polled(LATE_POLL) == []
    (note,) = lateness.polled(21.4)
    assert note.warning
    assert note.text.startswith("status updates are 21 s behind")
    assert lateness.polled(30.0) == []
    assert texts(lateness.polled(2.4)) == ["status updates are on time again"]
    assert lateness.polled(2.4) == []


def test_a_long_interval_may_be_late_by_as_much() -> None:
    assert Lateness(600.0).polled(500.0) == []


def test_an_answer_renews_the_patience() -> None:
    patience = Patience()
    patience.failed(ServiceUnavailable("x"), START)
    patience.answered(START + 1000)
    assert patience.failed(ServiceUnavailable("x"), START + OUTAGE_GRACE + 1)[0] is None


def test_lasting_errors_end_the_wait_at_once() -> None:
    error = PermissionDenied("may not", code="NotAuthorized", status=407, request_id="R", hint="Ask.")
    verdict, _ = Patience().failed(error, START)
    assert verdict is not None
    assert verdict.outcome is Outcome.ERROR
    assert verdict.message == "may not (NotAuthorized, HTTP 407, request id R). Ask."
    assert verdict.error is not None
    assert str(ApiError.from_dict(verdict.error)) == verdict.message


# Many jobs


def test_all_jobs_must_get_there() -> None:
    jobs = JobSetWatch([REF, OTHER], WaitConditions(), START)
    verdict, notes = jobs.saw({REF: status("SUCCEEDED"), OTHER: status("RUNNING", OTHER)}, START)
    assert verdict is None
    assert jobs.waiting == [OTHER]
    assert notes[-1].text == "2 jobs: 1 SUCCEEDED, 1 RUNNING"
    verdict, _ = jobs.saw({OTHER: status("SUCCEEDED", OTHER)}, START + 10)
    assert verdict is not None
    assert verdict.outcome is Outcome.REACHED
    assert [job["job_id"] for job in verdict.jobs] == ["7", "8"]


def test_one_failed_job_fails_all_and_is_named() -> None:
    jobs = JobSetWatch([REF, OTHER], WaitConditions(), START)
    verdict, _ = jobs.saw({REF: status("RUNNING"), OTHER: status("FAILED", OTHER)}, START)
    assert verdict is not None
    assert verdict.outcome is Outcome.FAILED
    assert verdict.job_id == "8"
    assert [job["state"] for job in verdict.jobs] == ["RUNNING", "FAILED"]


def test_a_failure_outranks_the_deadline() -> None:
    jobs = JobSetWatch([REF, OTHER], WaitConditions(deadline=START + 5), START)
    verdict, _ = jobs.saw({REF: status("RUNNING"), OTHER: status("FAILED", OTHER)}, START + 10)
    assert verdict is not None
    assert verdict.outcome is Outcome.FAILED


def test_success_outranks_the_deadline() -> None:
    """A job that was there at the last look is not reported as timed out."""
    jobs = JobSetWatch([REF], WaitConditions(deadline=START + 5), START)
    verdict, _ = jobs.saw({REF: status("SUCCEEDED")}, START + 10)
    assert verdict is not None
    assert verdict.outcome is Outcome.REACHED


def test_the_deadline_of_many() -> None:
    jobs = JobSetWatch([REF, OTHER], WaitConditions(deadline=START + 5), START)
    verdict, _ = jobs.saw({REF: status("SUCCEEDED"), OTHER: status("QUEUED", OTHER)}, START + 10)
    assert verdict is not None
    assert verdict.outcome is Outcome.TIMED_OUT
    assert verdict.job_id == "8"


def test_the_deadline_holds_while_the_api_is_away() -> None:
    jobs = JobSetWatch([REF], WaitConditions(deadline=START + 5), START)
    assert jobs.poll_failed(ServiceUnavailable("x"), START)[0] is None
    verdict, _ = jobs.poll_failed(ServiceUnavailable("x"), START + 5)
    assert verdict is not None
    assert verdict.outcome is Outcome.TIMED_OUT


def test_a_quiet_wait_for_many_is_quiet() -> None:
    jobs = JobSetWatch([REF, OTHER], WaitConditions(), START)
    both = {REF: status("RUNNING"), OTHER: status("RUNNING", OTHER)}
    jobs.saw(both, START)
    assert jobs.saw(both, START + 60) == (None, [])


def test_one_job_alone_is_not_counted() -> None:
    _, notes = JobSetWatch([REF], WaitConditions(), START).saw({REF: status("RUNNING")}, START)
    assert texts(notes) == ["job 7 in cluster c1 is RUNNING"]


# Plain data


@pytest.mark.parametrize(
    "verdict",
    [
        Verdict(Outcome.REACHED, "", ({"job_id": "7", "state": "SUCCEEDED"},)),
        Verdict(Outcome.FAILED, "it failed", ({"job_id": "7"}, {"job_id": "8"}), job_id="8"),
        Verdict(Outcome.ERROR, "no", error=PermissionDenied("no", status=407).as_dict()),
        Verdict(Outcome.TIMED_OUT, "late", job_id="7"),
        Verdict(Outcome.NOT_FOUND, "gone", job_id="7"),
    ],
)
def test_verdicts_travel_in_events(verdict: Verdict) -> None:
    """Airflow stores the event as JSON; more keys than ours may stand in it."""
    event = json.loads(json.dumps({**verdict.as_event(), "log": {"lines": 5}}))
    assert Verdict.from_event(event) == verdict


@pytest.mark.parametrize("event", [None, {}, {"status": "success"}])
def test_an_event_that_is_not_ours_is_an_error(event: dict[str, Any] | None) -> None:
    """It must not be taken for a success."""
    with pytest.raises(ValueError, match="the trigger sent"):
        Verdict.from_event(event)


@pytest.mark.parametrize(
    "terms",
    [
        WaitConditions(),
        WaitConditions(
            target_states=(JobState.FAILED, JobState.RUNNING),
            finished_without_exit_code="fail",
            not_found_grace=0.0,
            deadline=12.5,
        ),
    ],
)
def test_terms_travel_in_triggers(terms: WaitConditions) -> None:
    assert WaitConditions.from_dict(json.loads(json.dumps(terms.as_dict()))) == terms


def test_default_terms_are_left_out() -> None:
    """An older triggerer may not know a field that a newer worker writes."""
    assert WaitConditions().as_dict() == {}
    assert WaitConditions(deadline=5.0).as_dict() == {"deadline": 5.0}


def test_states_are_read_in_any_case_and_alone() -> None:
    assert parse_states("succeeded") == (JobState.SUCCEEDED,)
    assert parse_states([" Failed", JobState.CANCELLED]) == (JobState.FAILED, JobState.CANCELLED)


@pytest.mark.parametrize(
    ("states", "message"),
    [
        (["DONE"], "target_states: there is no job state 'DONE'; the states are PENDING, QUEUED, RUNNING"),
        ([], "target_states: name at least one state"),
        ([None], r"target_states: expected names of states, got \[None\]"),
        (5, "target_states: expected names of states, got 5"),
    ],
)
def test_states_that_are_none(states: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        parse_states(states)


def test_policies() -> None:
    assert parse_policy("fail") == "fail"
    with pytest.raises(InvalidArgument, match="expected 'success' or 'fail', not 'ignore'"):
        parse_policy("ignore")


# A job that vanishes, comes back, or runs again


def test_a_job_that_was_seen_and_is_unknown_for_a_while() -> None:
    """A scheduler that restarts forgets its jobs for some seconds."""
    job = watch(not_found_grace=0)
    job.saw(status("RUNNING"), START)
    assert texts(job.saw(None, START + 10)[1]) == [
        "! job 7 in cluster c1 is unknown to the cloud; it was last seen RUNNING. Polling it for up to 300 s "
        "more"
    ]
    assert not job.settled
    assert job.saw(None, START + 10 + GONE_GRACE - 1) == (None, [])
    verdict, notes = job.saw(status("RUNNING"), START + 10 + GONE_GRACE)
    assert verdict is None
    assert texts(notes) == ["job 7 in cluster c1 is known to the cloud again, after 0:05:00"]
    assert job.settled
    # The grace begins anew.
    assert job.saw(None, START + 10 + 2 * GONE_GRACE)[0] is None


def test_a_job_that_stays_unknown_has_no_known_outcome() -> None:
    job = watch(not_found_grace=60)
    job.saw(status("RUNNING"), START)
    job.saw(None, START + 10)
    verdict, _ = job.saw(None, START + 10 + GONE_GRACE)
    assert verdict is not None
    assert verdict.outcome is Outcome.NOT_FOUND
    assert verdict.message == (
        "job 7 in cluster c1 is no longer known to the cloud; it was last seen RUNNING. Schedulers forget "
        "ended jobs after a while: its outcome is unknown"
    )
    assert verdict.jobs[0]["state"] == "RUNNING"


def test_a_job_that_an_earlier_process_may_have_seen() -> None:
    job = JobWatch(REF, WaitConditions(not_found_grace=60), START, seen_before=True)
    assert job.saw(None, START + 1000)[0] is None
    assert job.saw(None, START + 1000 + GONE_GRACE - 1)[0] is None
    verdict, _ = job.saw(None, START + 1000 + GONE_GRACE)
    assert verdict is not None
    assert verdict.outcome is Outcome.NOT_FOUND


RERUN_WORDS = ["PREEMPTED", "Node_Fail", "BOOT_FAIL", "REVOKED", "LAUNCH_FAILED"]


@pytest.mark.parametrize("word", RERUN_WORDS)
@pytest.mark.parametrize("target", [JobState.SUCCEEDED, JobState.FAILED])
def test_a_state_that_may_not_be_final_is_confirmed_by_a_second_poll(word: str, target: JobState) -> None:
    job = watch(target_states=(target,))
    job.saw(status("RUNNING"), START)
    verdict, notes = job.saw(status(word, state=JobState.FAILED), START + 60)
    assert verdict is None
    assert not job.settled
    assert notes[-1].text == (
        f"job 7 in cluster c1: the scheduler may run it again after {word}; polling once more"
    )
    verdict, _ = job.saw(status(word, state=JobState.FAILED, may_rerun=True), START + 70)
    assert verdict is not None
    assert verdict.outcome is (Outcome.REACHED if target is JobState.FAILED else Outcome.FAILED)
    assert "may_rerun" not in verdict.jobs[0]


def test_the_end_of_another_run_does_not_confirm_that_of_the_first() -> None:
    job = watch()
    first = datetime(2026, 3, 1, 12)  # noqa: DTZ001 - as E-HPC reports it
    for start, over in ((0, False), (60, False), (60.5, True)):
        at = first + timedelta(seconds=start)
        lost = status("NODE_FAIL", state=JobState.FAILED, started_at=at)
        assert (job.saw(lost, START + start)[0] is not None) == over


def test_a_rerun_is_logged_and_followed() -> None:
    job = watch()
    words = ["RUNNING", "NODE_FAIL", "QUEUED", "RUNNING", "PREEMPTED", "RUNNING", "SUCCEEDED"]
    logged: list[str] = []
    for turn, word in enumerate(words):
        state = JobState.__members__.get(word, JobState.FAILED)
        verdict, notes = job.saw(status(word, state=state), START + turn * 60)
        logged += texts(notes)
        assert (verdict is not None) == (word == "SUCCEEDED")
    assert "job 7 in cluster c1 runs again after NODE_FAIL; it is QUEUED" in logged
    assert "job 7 in cluster c1 runs again after PREEMPTED; it is RUNNING" in logged
    assert verdict is not None
    assert verdict.outcome is Outcome.REACHED


def test_a_job_that_vanishes_after_such_a_state_ended_with_it() -> None:
    job = watch()
    job.saw(status("NODE_FAIL", state=JobState.FAILED), START)
    assert job.saw(None, START + 10)[0] is None
    verdict, _ = job.saw(None, START + 10 + GONE_GRACE)
    assert verdict is not None
    assert verdict.outcome is Outcome.FAILED
    assert "NODE_FAIL" in verdict.message


def test_two_words_for_one_state_are_one_line() -> None:
    job = watch()
    assert len(job.saw(status("RUNNING"), START)[1]) == 1
    assert job.saw(status("COMPLETING", state=JobState.RUNNING), START + 60) == (None, [])


@pytest.mark.parametrize("word", ["SUCCEEDED", "FAILED", "PREEMPTED"])
def test_a_job_that_this_task_cancelled_is_cancelled(word: str) -> None:
    """PBS calls it finished, which would count as SUCCEEDED."""
    job = watch(target_states=(JobState.SUCCEEDED, JobState.FAILED))
    job.saw(status("RUNNING"), START)
    job.cancelled_by_us = True
    state = JobState.__members__.get(word, JobState.FAILED)
    verdict, _ = job.saw(status(word, state=state, outcome_assumed=state.terminal), START + 10)
    assert verdict is not None
    assert verdict.outcome is Outcome.FAILED
    assert verdict.jobs[0]["state"] == "CANCELLED"
    assert verdict.message == (
        "job 7 in cluster c1 ended CANCELLED; reason: cancelled by this task; waited for SUCCEEDED, FAILED"
    )


def test_that_jobs_were_cancelled_travels_in_terms_and_reaches_each_watch() -> None:
    terms = WaitConditions.from_dict(json.loads(json.dumps(WaitConditions(cancelled_by_us=True).as_dict())))
    verdict, _ = JobWatch(REF, terms, START).saw(status("SUCCEEDED"), START)
    assert verdict is not None
    assert verdict.jobs[0]["state"] == "CANCELLED"
    jobs = JobSetWatch([REF, OTHER], WaitConditions(), START)
    jobs.cancelled_by_us([OTHER])
    verdict, _ = jobs.saw({REF: status("SUCCEEDED"), OTHER: status("SUCCEEDED", OTHER)}, START)
    assert verdict is not None
    assert [job["state"] for job in verdict.jobs] == ["SUCCEEDED", "CANCELLED"]


def test_an_array_is_not_named_by_its_parents_word() -> None:
    shown = status("Running", state=JobState.CANCELLED, array={"CANCELLED": 3})
    verdict, notes = watch().saw(shown, START)
    assert verdict is not None
    assert not [text for text in [verdict.message, *texts(notes)] if "Running" in text]


# Times


def moment(seconds: float, zone: Any = UTC) -> datetime:
    return datetime.fromtimestamp(START + seconds, UTC).replace(tzinfo=zone)


@pytest.mark.parametrize("zone", [UTC, None])
def test_durations_are_the_jobs_own(zone: Any) -> None:
    """It ran for 100 s, of which the polls saw 92."""
    job = watch()
    times = {"submitted_at": moment(0, zone), "started_at": moment(30, zone)}
    job.saw(status("QUEUED", submitted_at=moment(0, zone)), START + 2)
    assert "after about 0:00:36 QUEUED" in texts(job.saw(status("RUNNING", **times), START + 38)[1])[0]
    _, notes = job.saw(status("SUCCEEDED", **times, ended_at=moment(130, zone)), START + 131)
    assert texts(notes) == ["job 7 in cluster c1 is SUCCEEDED, after 0:01:40 RUNNING"]


@pytest.mark.parametrize(
    ("start", "after"), [(moment(2), "last seen QUEUED"), (None, "after about 0:00:09 QUEUED")]
)
def test_a_run_between_two_polls_is_not_time_in_the_queue(start: datetime | None, after: str) -> None:
    job = watch()
    job.saw(status("QUEUED"), START + 1)
    _, notes = job.saw(status("FAILED", started_at=start), START + 10)
    assert texts(notes) == [f"job 7 in cluster c1 is FAILED, {after}"]


@pytest.mark.parametrize("ended", [None, moment(-5), moment(130, None)])
def test_durations_that_the_polls_saw_are_approximate(ended: datetime | None) -> None:
    job = watch()
    job.saw(status("RUNNING", started_at=moment(0)), START + 8)
    _, notes = job.saw(status("SUCCEEDED", started_at=moment(0), ended_at=ended), START + 100)
    assert texts(notes) == ["job 7 in cluster c1 is SUCCEEDED, after about 0:01:32 RUNNING"]


@pytest.mark.parametrize("time", ["ended_at", "started_at", "submitted_at"])
@pytest.mark.parametrize(("age", "warned"), [(OLD_RECORD - 60, False), (900 * 86400, True)])
def test_an_end_long_before_the_wait_is_said(time: str, age: float, warned: bool) -> None:
    """IDs are used again: it may be the end of an earlier job."""
    base = 10.0**9
    at = datetime.fromtimestamp(base - age, UTC)
    _, notes = JobWatch(REF, WaitConditions(), base).saw(status("SUCCEEDED", **{time: at}), base + 5)
    assert bool([note for note in notes if "check that it is the job you mean" in note.text]) == warned
    if warned:
        assert "900 days" in notes[-1].text
        assert notes[-1].warning


def test_a_job_that_was_seen_running_is_no_old_record() -> None:
    job = JobWatch(REF, WaitConditions(), 10.0**9)
    long_ago = datetime.fromtimestamp(0, UTC)
    job.saw(status("RUNNING", started_at=long_ago), 10.0**9)
    _, notes = job.saw(status("SUCCEEDED", started_at=long_ago), 10.0**9 + 60)
    assert len(notes) == 1


# Causes


def test_the_final_error_names_the_last_cause() -> None:
    """ "Never seen" alone sends the user to look for the job, where the endpoint's name was wrong."""
    jobs = JobSetWatch([REF], WaitConditions(deadline=START + 100), START)
    jobs.poll_failed(NotReached("connection refused"), START + 1)
    verdict, _ = jobs.poll_failed(NotReached("no address for host nowhere"), START + 100)
    assert verdict is not None
    assert verdict.outcome is Outcome.TIMED_OUT
    assert verdict.message == (
        "job 7 in cluster c1 was never seen; timed out after 0:01:40; the job was not stopped. The last "
        "error: no address for host nowhere."
    )
    event = Verdict.from_event(json.loads(json.dumps(verdict.as_event())))
    assert event.error is not None
    assert event.error["message"] == "no address for host nowhere"


def test_a_cause_that_is_over_is_not_named() -> None:
    jobs = JobSetWatch([REF], WaitConditions(deadline=START + 100), START)
    jobs.poll_failed(NotReached("connection refused"), START + 1)
    jobs.saw({REF: status("RUNNING")}, START + 2)
    verdict, _ = jobs.saw({REF: status("RUNNING")}, START + 100)
    assert verdict is not None
    assert "refused" not in verdict.message


def test_an_outage_is_borne_for_half_an_hour() -> None:
    """A promise of the docs, whatever the constant is called."""
    patience = Patience()
    patience.failed(ServiceUnavailable("x"), START)
    assert patience.failed(ServiceUnavailable("x"), START + 1799)[0] is None
    verdict, _ = patience.failed(ServiceUnavailable("gateway down"), START + 1800)
    assert verdict is not None
    assert verdict.message == "gateway down. The API has failed for 0:30:00."
    assert verdict.error == ServiceUnavailable("gateway down").as_dict()


def test_the_promises_of_the_docs() -> None:
    """docs/waiting.md names them."""
    assert GONE_GRACE == 300
    assert WaitConditions().not_found_grace == 60


def test_the_explanation_of_an_assumed_outcome_exists() -> None:
    page, _, anchor = ASSUMED_OUTCOMES.partition("#")
    heading = anchor.replace("-", " ").capitalize()
    assert f"\n### {heading}\n" in (Path(__file__).parents[2] / page).read_text()
