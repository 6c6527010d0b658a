"""What a waiter makes of what it sees: every verdict, every note, and their way through an event."""

from __future__ import annotations

import json
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
from airflow_provider_ehpc.polling.terms import WaitTerms, parse_policy, parse_states
from airflow_provider_ehpc.polling.watch import (
    LATE,
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
    return JobWatch(REF, WaitTerms(**terms), START)


def texts(notes: list[Note]) -> list[str]:
    return [("! " if note.warning else "") + note.text for note in notes]


def test_an_unfinished_job_is_waited_for() -> None:
    verdict, notes = watch().saw(status("QUEUED"), START)
    assert verdict is None
    assert texts(notes) == ["job 7 in cluster c1 is QUEUED"]


def test_changes_are_told_once_with_how_long_it_took() -> None:
    job = watch()
    job.saw(status("QUEUED"), START)
    assert job.saw(status("QUEUED"), START + 30) == (None, [])
    _, notes = job.saw(status("R", state=JobState.RUNNING, nodes=tuple("abcdef")), START + 90)
    assert texts(notes) == [
        "job 7 in cluster c1 is RUNNING ('R'), after 0:01:30 QUEUED, on a, b, c, d and 2 more nodes"
    ]


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
    told = status(word, exit_code=137, reason="OOM-killed", array={"FAILED": 1, "SUCCEEDED": 3})
    verdict, _ = watch(target_states=(JobState.SUCCEEDED, JobState.RUNNING)).saw(told, START)
    assert verdict is not None
    assert verdict.outcome is Outcome.FAILED
    assert verdict.message == (
        f"job 7 in cluster c1 ended {word}; exit code 137; reason: OOM-killed; "
        "sub-jobs: 1 FAILED, 3 SUCCEEDED; waited for SUCCEEDED, RUNNING"
    )
    assert verdict.job_id == "7"


def test_success_is_a_failure_where_another_end_is_wanted() -> None:
    verdict, _ = watch(target_states=(JobState.FAILED,)).saw(status("SUCCEEDED"), START)
    assert verdict is not None
    assert verdict.outcome is Outcome.FAILED


def test_times_alone_end_nothing() -> None:
    """Some APIs give an end time to a job that is suspended: only the state counts."""
    from datetime import UTC, datetime

    verdict, _ = watch().saw(status("SUSPENDED", ended_at=datetime.now(UTC)), START)
    assert verdict is None


def test_an_unknown_word_is_warned_of_once_a_word() -> None:
    job = watch()
    _, first = job.saw(status("DEFROSTING"), START)
    _, back = job.saw(status("RUNNING"), START + 10)
    _, again = job.saw(status("DEFROSTING"), START + 20)
    _, other = job.saw(status("MELTING"), START + 30)
    warned = [[note.warning for note in notes] for notes in (first, back, again, other)]
    assert warned == [[False, True], [False], [False], [False, True]]
    assert "'DEFROSTING', a word that is not documented" in first[1].text


@pytest.mark.parametrize(
    ("policy", "outcome", "counts"),
    [("success", Outcome.REACHED, "SUCCEEDED"), ("fail", Outcome.FAILED, "FAILED")],
)
def test_an_end_without_an_outcome_follows_the_policy(policy: str, outcome: Outcome, counts: str) -> None:
    told = status("FINISHED", state=JobState.SUCCEEDED, outcome_assumed=True)
    verdict, notes = watch(finished_without_exit_code=policy).saw(told, START)
    assert verdict is not None
    assert verdict.outcome is outcome
    assert verdict.jobs[0]["state"] == counts
    assert verdict.jobs[0]["outcome_assumed"] is True
    (note,) = notes
    assert note.warning
    assert note.text == (
        f"job 7 in cluster c1 is {counts} ('FINISHED'). The cloud says only that it is over, not with which "
        f"exit code: by finished_without_exit_code='{policy}' it counts as {counts}."
    )


@pytest.mark.parametrize(("code", "outcome"), [(0, Outcome.REACHED), (3, Outcome.FAILED)])
@pytest.mark.parametrize("policy", ["success", "fail"])
def test_an_exit_code_outranks_the_policy(code: int, outcome: Outcome, policy: str) -> None:
    told = status("FINISHED", state=JobState.SUCCEEDED, outcome_assumed=True, exit_code=code)
    verdict, notes = watch(finished_without_exit_code=policy).saw(told, START)
    assert verdict is not None
    assert verdict.outcome is outcome
    assert not [note for note in notes if note.warning]


def test_a_failed_sub_job_is_not_outvoted_by_its_array_that_is_only_finished() -> None:
    """PBS calls the whole array finished; by the policy a crashed sub-job would count as success."""
    parent = status("FINISHED", state=JobState.SUCCEEDED, outcome_assumed=True)
    told = array_status(parent, {"1": JobState.SUCCEEDED, "2": JobState.FAILED}, 2)
    verdict, _ = watch().saw(told, START)
    assert verdict is not None
    assert verdict.outcome is Outcome.FAILED
    assert "outcome_assumed" not in verdict.jobs[0]


def test_an_array_that_is_finished_is_not_over_while_a_sub_job_runs() -> None:
    parent = status("FINISHED", state=JobState.SUCCEEDED, outcome_assumed=True)
    told = array_status(parent, {"1": JobState.SUCCEEDED, "2": JobState.RUNNING}, 2)
    verdict, notes = watch().saw(told, START)
    assert verdict is None
    assert texts(notes) == ["job 7 in cluster c1 is RUNNING; sub-jobs: 1 RUNNING, 1 SUCCEEDED"]


def test_a_job_not_known_yet_is_told_once() -> None:
    job = watch(not_found_grace=60)
    assert texts(job.saw(None, START)[1]) == [
        "job 7 in cluster c1 is not known yet; asking again for up to 60 s"
    ]
    assert job.saw(None, START + 59) == (None, [])


def test_a_job_not_found_after_the_grace() -> None:
    job = watch(not_found_grace=60)
    job.saw(None, START)
    verdict, _ = job.saw(None, START + 60)
    assert verdict is not None
    assert verdict.outcome is Outcome.NOT_FOUND
    assert verdict.message == (
        "job 7 in cluster c1 does not exist, or no longer: check job_id, cluster_id and the region"
    )


def test_a_job_that_was_forgotten_has_no_known_end() -> None:
    """The grace is for new jobs: one that was seen does not come back."""
    job = watch(not_found_grace=60)
    job.saw(status("RUNNING"), START)
    verdict, _ = job.saw(None, START + 1)
    assert verdict is not None
    assert verdict.outcome is Outcome.NOT_FOUND
    assert "is no longer known to the cloud; it was last seen RUNNING" in verdict.message
    assert verdict.jobs[0]["state"] == "RUNNING"


def test_no_grace() -> None:
    verdict, _ = watch(not_found_grace=0).saw(None, START)
    assert verdict is not None
    assert verdict.outcome is Outcome.NOT_FOUND


def test_signs_of_life_are_rare() -> None:
    job = watch()
    job.saw(status("RUNNING"), START)
    assert job.sign_of_life(START + SIGN_OF_LIFE - 1) == []
    assert texts(job.sign_of_life(START + SIGN_OF_LIFE, "; more")) == [
        "job 7 in cluster c1 is still RUNNING, for 0:10:00; more"
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
        "job 7 in cluster c1 is RUNNING for 0:01:00; the wait of 0:01:40 is over by its timeout. The job was "
        "left as it is."
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
    assert texts(notes) == ["! x. The wait goes on; this says nothing of the job."]
    assert patience.failed(error, START + 60) == (None, [])
    assert texts(patience.answered(START + 90)) == ["the API answers again, after 0:01:30"]
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
    assert lateness.looked(LATE) == []
    (note,) = lateness.looked(21.4)
    assert note.warning
    assert note.text.startswith("news come 21 s late")
    assert lateness.looked(30.0) == []
    assert texts(lateness.looked(2.4)) == ["news come in time again"]
    assert lateness.looked(2.4) == []


def test_a_long_interval_may_be_late_by_as_much() -> None:
    assert Lateness(600.0).looked(500.0) == []


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
    jobs = JobSetWatch([REF, OTHER], WaitTerms(), START)
    verdict, notes = jobs.saw({REF: status("SUCCEEDED"), OTHER: status("RUNNING", OTHER)}, START)
    assert verdict is None
    assert jobs.waiting == [OTHER]
    assert notes[-1].text == "2 jobs: 1 SUCCEEDED, 1 RUNNING"
    verdict, _ = jobs.saw({OTHER: status("SUCCEEDED", OTHER)}, START + 10)
    assert verdict is not None
    assert verdict.outcome is Outcome.REACHED
    assert [job["job_id"] for job in verdict.jobs] == ["7", "8"]


def test_one_failed_job_fails_all_and_is_named() -> None:
    jobs = JobSetWatch([REF, OTHER], WaitTerms(), START)
    verdict, _ = jobs.saw({REF: status("RUNNING"), OTHER: status("FAILED", OTHER)}, START)
    assert verdict is not None
    assert verdict.outcome is Outcome.FAILED
    assert verdict.job_id == "8"
    assert [job["state"] for job in verdict.jobs] == ["RUNNING", "FAILED"]


def test_a_failure_outranks_the_deadline() -> None:
    jobs = JobSetWatch([REF, OTHER], WaitTerms(deadline=START + 5), START)
    verdict, _ = jobs.saw({REF: status("RUNNING"), OTHER: status("FAILED", OTHER)}, START + 10)
    assert verdict is not None
    assert verdict.outcome is Outcome.FAILED


def test_success_outranks_the_deadline() -> None:
    """A job that was there at the last look is not reported as timed out."""
    jobs = JobSetWatch([REF], WaitTerms(deadline=START + 5), START)
    verdict, _ = jobs.saw({REF: status("SUCCEEDED")}, START + 10)
    assert verdict is not None
    assert verdict.outcome is Outcome.REACHED


def test_the_deadline_of_many() -> None:
    jobs = JobSetWatch([REF, OTHER], WaitTerms(deadline=START + 5), START)
    verdict, _ = jobs.saw({REF: status("SUCCEEDED"), OTHER: status("QUEUED", OTHER)}, START + 10)
    assert verdict is not None
    assert verdict.outcome is Outcome.TIMED_OUT
    assert verdict.job_id == "8"


def test_the_deadline_holds_while_the_api_is_away() -> None:
    jobs = JobSetWatch([REF], WaitTerms(deadline=START + 5), START)
    assert jobs.failed_to_look(ServiceUnavailable("x"), START)[0] is None
    verdict, _ = jobs.failed_to_look(ServiceUnavailable("x"), START + 5)
    assert verdict is not None
    assert verdict.outcome is Outcome.TIMED_OUT


def test_a_quiet_wait_for_many_is_quiet() -> None:
    jobs = JobSetWatch([REF, OTHER], WaitTerms(), START)
    both = {REF: status("RUNNING"), OTHER: status("RUNNING", OTHER)}
    jobs.saw(both, START)
    assert jobs.saw(both, START + 60) == (None, [])


def test_one_job_alone_is_not_counted() -> None:
    _, notes = JobSetWatch([REF], WaitTerms(), START).saw({REF: status("RUNNING")}, START)
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
    with pytest.raises(ValueError, match="the trigger sent no verdict but"):
        Verdict.from_event(event)


@pytest.mark.parametrize(
    "terms",
    [
        WaitTerms(),
        WaitTerms(
            target_states=(JobState.FAILED, JobState.RUNNING),
            finished_without_exit_code="fail",
            not_found_grace=0.0,
            deadline=12.5,
        ),
    ],
)
def test_terms_travel_in_triggers(terms: WaitTerms) -> None:
    assert WaitTerms.from_dict(json.loads(json.dumps(terms.as_dict()))) == terms


def test_default_terms_are_left_out() -> None:
    """An older triggerer may not know a field that a newer worker writes."""
    assert WaitTerms().as_dict() == {}
    assert WaitTerms(deadline=5.0).as_dict() == {"deadline": 5.0}


def test_states_are_read_in_any_case_and_alone() -> None:
    assert parse_states("succeeded") == (JobState.SUCCEEDED,)
    assert parse_states([" Failed", JobState.CANCELLED]) == (JobState.FAILED, JobState.CANCELLED)


@pytest.mark.parametrize(
    ("states", "message"),
    [
        (["DONE"], "target_states: there is no job state 'DONE'; the states are PENDING, QUEUED, RUNNING"),
        ([], "target_states: name at least one state"),
    ],
)
def test_states_that_are_none(states: list[str], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        parse_states(states)


def test_policies() -> None:
    assert parse_policy("fail") == "fail"
    with pytest.raises(InvalidArgument, match="it is 'success' or 'fail', not 'ignore'"):
        parse_policy("ignore")
