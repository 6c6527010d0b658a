# SPDX-License-Identifier: Apache-2.0
"""A job that is run again: every line of every run, however its scheduler treats the old file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_ehpc.apis.job import JobState, JobStatus, LogLimits
from airflow_provider_ehpc.logs.rerun import RerunWatch
from tests.logs.cloud import Cloud, Followed, follow

T0 = datetime(2026, 3, 1, 12, 0, 0)  # noqa: DTZ001 - as E-HPC reports it


def run(number: int, count: int) -> bytes:
    return b"".join(b"run %d step %d\n" % (number, step) for step in range(count))


def lines_of(number: int, count: int) -> list[str]:
    return run(number, count).decode().splitlines()


def rewrite(content: bytes):
    return lambda cloud: cloud.files.update(stdout=content)


def reruns(seen: Followed) -> list[str]:
    return [note for note in seen.notes(warning=True) if "was rerun" in note]


def requeued(back: str = "PENDING", at: float = 15.0) -> Cloud:
    """A job that is put back at 15 s, starts again at 35 s and ends at 100 s."""
    return Cloud(states=[(0, "RUNNING"), (at, back), (at + 20, "RUNNING"), (100, "SUCCEEDED")])


@pytest.mark.parametrize("back", ["PENDING", "QUEUED"])
@pytest.mark.parametrize("second", [3, 5, 6, 50, 200])
def test_a_requeued_job_truncates_its_log(back: str, second: int) -> None:
    """As Slurm does: the second run has written less than was read of the first, as much, or more."""
    cloud = requeued(back)
    cloud.write(0, run(1, 5))
    cloud.at(36, rewrite(run(2, second)))
    seen = follow(cloud)
    assert seen.lines() == lines_of(1, 5) + lines_of(2, second)
    assert reruns(seen)[0] == f"job 7 in cluster c1 was rerun: it was RUNNING, and is {back} again"
    assert "job 7 in cluster c1 was rerun; its log is read from the beginning" in reruns(seen)[1]
    assert len(reruns(seen)) == 2


def test_the_last_lines_before_the_requeue_are_read_while_the_job_waits() -> None:
    """The file is truncated only when the job starts again: until then nothing of the first run is lost."""
    cloud = requeued()
    cloud.write(0, run(1, 5))
    cloud.write(14, b"run 1 killed\n")
    cloud.at(36, rewrite(run(2, 5)))
    assert follow(cloud).lines() == [*lines_of(1, 5), "run 1 killed", *lines_of(2, 5)]


def test_a_scheduler_that_appends_repeats_nothing() -> None:
    """PBS appends, and so does Slurm with --open-mode=append."""
    cloud = requeued()
    cloud.write(0, run(1, 5))
    cloud.write(36, run(2, 5))
    seen = follow(cloud)
    assert seen.lines() == lines_of(1, 5) + lines_of(2, 5)
    assert len(reruns(seen)) == 1


def test_a_log_that_seems_empty_while_the_job_waits_is_not_read_again() -> None:
    """The file may be out of reach until the job starts again, and then go on."""
    cloud = requeued()
    cloud.write(0, run(1, 5))
    cloud.at(16, rewrite(b""))
    cloud.at(34, rewrite(run(1, 5)))
    cloud.write(60, run(2, 5))
    assert follow(cloud).lines() == lines_of(1, 5) + lines_of(2, 5)


def test_a_run_between_two_polls_of_a_waiting_job_is_seen_by_its_file() -> None:
    """Requeued again after less than a second."""
    cloud = requeued()
    cloud.write(0, run(1, 5))
    cloud.at(21, rewrite(run(2, 2)))
    cloud.at(36, rewrite(run(3, 3)))
    seen = follow(cloud)
    assert seen.lines() == lines_of(1, 5) + lines_of(2, 2) + lines_of(3, 3)
    assert (
        len([note for note in reruns(seen) if "was rerun; its log is read from the beginning" in note]) == 2
    )


def test_a_rerun_between_two_polls_is_seen_by_the_start_time() -> None:
    cloud = Cloud(states=[(0, "RUNNING"), (100, "SUCCEEDED")])
    cloud.details["started_at"] = T0
    cloud.write(0, run(1, 5))
    cloud.at(15, rewrite(run(2, 3)))
    cloud.at(15, lambda cloud: cloud.details.update(started_at=T0 + timedelta(minutes=2)))
    seen = follow(cloud)
    assert seen.lines() == lines_of(1, 5) + lines_of(2, 3)
    assert reruns(seen)[0].endswith("was rerun: it started at 12:00:00, and again at 12:02:00")


def test_a_second_run_that_differs_only_in_its_first_line() -> None:
    """The bytes before the cursor are the same in both runs; the beginning is compared as well."""
    same = b"".join(b"step %d\n" % step for step in range(100))
    cloud = requeued()
    cloud.write(0, b"started 12:00\n" + same[:400])
    cloud.at(36, rewrite(b"started 12:20\n" + same))
    lines = same.decode().splitlines()
    first = ("started 12:00\n" + same[:400].decode()).splitlines()
    seen = follow(cloud)
    assert seen.lines()[: len(first) - 1] == first[:-1]
    assert seen.lines()[-101:] == ["started 12:20", *lines]


@pytest.mark.parametrize("size", [128, 1000])
@given(
    runs=st.lists(st.integers(0, 60), min_size=2, max_size=4),
    appends=st.booleans(),
    steps=st.integers(10, 60),
)
def test_every_line_of_every_run(size: int, runs: list[int], appends: bool, steps: int) -> None:
    """However much each run writes, with a reading between its last line and the next start."""
    states, at = [], 0.0
    cloud = Cloud(log_limits=LogLimits(size, 1))
    content = b""
    for number, count in enumerate(runs):
        states += [(at, "RUNNING"), (at + steps, "PENDING")]
        content = content + run(number, count) if appends else run(number, count)
        cloud.at(at + 1, rewrite(content))
        at += steps + 25
    cloud.states = [*states[:-1], (at, "SUCCEEDED")]
    seen = follow(cloud)
    assert seen.lines() == [line for number, count in enumerate(runs) for line in lines_of(number, count)]


def test_it_costs_no_request() -> None:
    """What shows that the log is the same comes with the new lines."""
    cloud = Cloud(states=[(0, "RUNNING"), (100, "SUCCEEDED")])
    for second in range(100):
        cloud.write(second, b"line %d\n" % second)
    follow(cloud, settle=0)
    assert cloud.made.count("log") == 12


def status(state: JobState, started: datetime | None = None, **more: object) -> JobStatus:
    return JobStatus("7", state, state.value, started_at=started, **more)  # type: ignore[arg-type]


R, P, Q = JobState.RUNNING, JobState.PENDING, JobState.QUEUED


@pytest.mark.parametrize(
    ("seen", "count"),
    [
        ([status(P), status(Q), status(P), status(R)], 0),
        ([status(R), status(JobState.SUSPENDED), status(R)], 0),
        ([status(R), status(JobState.SUSPENDED), status(Q), status(R)], 1),
        ([status(R), status(Q), status(P), status(R), status(P)], 2),
        ([status(JobState.FAILED), status(R)], 1),
        ([status(JobState.FAILED), status(Q), status(R)], 1),
        ([status(R), status(JobState.UNKNOWN), status(R)], 0),
        ([status(R), status(JobState.UNKNOWN), status(Q)], 1),
        ([status(R, T0), status(R, T0 + timedelta(seconds=1))], 0),
        ([status(R, T0), status(R, T0 - timedelta(hours=8))], 0),
        ([status(R, T0), status(R, T0 + timedelta(seconds=2)), status(R, T0 + timedelta(seconds=2))], 1),
        ([status(R, T0), status(R), status(R, T0)], 0),
        ([status(R, T0), status(R, T0.replace(tzinfo=UTC) + timedelta(hours=1))], 0),
        ([status(R, T0), status(P, T0 + timedelta(hours=1)), status(R, T0 + timedelta(minutes=3))], 1),
        ([status(P, T0 + timedelta(hours=1)), status(R, T0)], 0),
        ([status(R, T0, array={"RUNNING": 2}), status(R, T0 + timedelta(hours=1), array={"RUNNING": 2})], 0),
    ],
)
def test_what_shows_a_rerun(seen: list[JobStatus], count: int) -> None:
    watch = RerunWatch()
    assert sum(bool(watch.saw(one)) for one in seen) == count


def test_a_counted_requeue_is_a_rerun_once() -> None:
    """The scheduler's count shows a requeue that no poll saw; the state shows it without the count, too."""
    watch = RerunWatch()

    def saw(state: JobState, restarts: int | None) -> str:
        return watch.saw(JobStatus("7", state, state, "c1", restarts=restarts))

    assert saw(JobState.RUNNING, 0) == ""
    assert saw(JobState.RUNNING, None) == ""
    assert saw(JobState.RUNNING, 2) == "the scheduler requeued it (restart 2)"
    assert saw(JobState.PENDING, 3) == "it was RUNNING, and is PENDING again"
    assert saw(JobState.RUNNING, 3) == ""
