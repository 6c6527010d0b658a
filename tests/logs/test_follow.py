# SPDX-License-Identifier: Apache-2.0
"""Following a job and its log, with a cloud and a clock that do what each test says."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_ehpc.apis.call import (
    AuthenticationFailed,
    NotFound,
    PermissionDenied,
    ServiceUnavailable,
    UnexpectedResponse,
)
from airflow_provider_ehpc.apis.job import LogLimits
from airflow_provider_ehpc.logs.follow import LOG_OUTAGE, Checkpoint, Emit, GetStatus, Pause
from airflow_provider_ehpc.logs.lines import LineAssembler
from airflow_provider_ehpc.waiting.watch import Note, Outcome
from tests.logs.cloud import Cloud, follow


def ends(at: float, word: str = "SUCCEEDED") -> list[tuple[float, str]]:
    return [(0, "RUNNING"), (at, word)]


def test_the_state_is_looked_at_before_the_log() -> None:
    """Otherwise what the job wrote between the two looks is missing when the state says that it is over."""
    cloud = Cloud(states=ends(25))
    follow(cloud)
    assert cloud.made[:6] == ["state", "log", "state", "log", "state", "log"]


def test_each_line_comes_once_and_in_order() -> None:
    cloud = Cloud(states=ends(100))
    for second in range(100):
        cloud.write(second, f"line {second}\n".encode())
        cloud.write(second, f"error {second}\n".encode(), "stderr")
    seen = follow(cloud)
    assert seen.lines() == [f"line {n}" for n in range(100)]
    assert seen.lines("stderr") == [f"error {n}" for n in range(100)]
    assert seen.verdict.outcome is Outcome.REACHED
    assert (seen.follower.totals.lines, seen.follower.totals.errors) == (200, 0)
    assert seen.follower.totals.bytes == len(b"".join(cloud.files.values()))


def test_lines_come_while_the_job_runs() -> None:
    """The point of it: not at the end."""
    cloud = Cloud(states=ends(1000))
    cloud.write(3, b"early\n")
    seen = follow(cloud)
    first = next(i for i, step in enumerate(seen.steps) if isinstance(step, Emit))
    assert sum(step.seconds for step in seen.steps[:first] if isinstance(step, Pause)) <= 10


def test_a_half_line_waits_for_its_end() -> None:
    cloud = Cloud(states=ends(35))
    cloud.write(0, b"50%")
    cloud.write(12, b" ... ")
    cloud.write(22, b"100%\nand a rest")
    assert follow(cloud).lines() == ["50% ... 100%", "and a rest"]


def test_what_arrives_after_the_end_is_read_too() -> None:
    """What a node wrote last takes a while to arrive where the cloud reads it."""
    cloud = Cloud(states=ends(5))
    for second in (11, 15, 19, 23):
        cloud.write(second, f"late {second}\n".encode())
    assert follow(cloud, settle=5).lines() == ["late 11", "late 15", "late 19", "late 23"]


def test_an_ended_log_settles() -> None:
    cloud = Cloud(states=[(0, "SUCCEEDED")])
    cloud.write(0, b"all\n")
    cloud.write(60, b"never read\n")
    seen = follow(cloud, settle=5)
    assert seen.lines() == ["all"]
    assert 5 <= cloud.clock.passed < 10


def test_lines_that_take_long_to_write_do_not_cut_the_log() -> None:
    """In a busy triggerer the lines of one reading can wait longer for their turn than the log settles."""
    cloud = Cloud(states=[(0, "SUCCEEDED")])
    cloud.files["stdout"] = b"".join(b"%08d\n" % n for n in range(1000))
    seen = follow(cloud, interval=10, settle=5, emit_cost=12)
    assert len(seen.lines()) == 1000


def test_what_comes_while_the_last_lines_are_written_is_read() -> None:
    cloud = Cloud(states=[(0, "SUCCEEDED")])
    cloud.write(0, b"first\n")
    cloud.write(4, b"last\n")
    assert follow(cloud, settle=5, emit_cost=12).lines() == ["first", "last"]


def test_settle_zero_reads_once() -> None:
    cloud = Cloud(states=[(0, "SUCCEEDED")])
    follow(cloud, settle=0)
    assert cloud.made == ["state", "log"]


def test_a_job_that_failed_has_a_log_too() -> None:
    cloud = Cloud(states=ends(5, "FAILED"))
    cloud.write(11, b"Segmentation fault")
    seen = follow(cloud)
    assert seen.lines() == ["Segmentation fault"]
    assert seen.verdict.outcome is Outcome.FAILED


@pytest.mark.parametrize("transient", [True, False])
def test_a_log_that_cannot_be_read_never_ends_the_wait(transient: bool) -> None:
    """Shipping a log must not fail the job's task; it is said once, and once more when it is over."""
    error = ServiceUnavailable("agent is away") if transient else PermissionDenied("not yours")
    cloud = Cloud(states=ends(100), log_fault=lambda passed: error if 20 <= passed < 60 else None)
    for second in range(0, 100, 5):
        cloud.write(second, f"{second}\n".encode())
    seen = follow(cloud)
    assert seen.verdict.outcome is Outcome.REACHED
    assert seen.lines() == [str(second) for second in range(0, 100, 5)]
    assert len([note for note in seen.notes() if "agent is away" in note or "not yours" in note]) == 1
    assert seen.notes().count("the log can be read again; reading continues where it stopped") == 1
    assert seen.follower.totals.errors == 4


def test_a_log_that_is_never_readable_is_given_up_after_the_end() -> None:
    cloud = Cloud(states=ends(20), log_fault=lambda passed: ServiceUnavailable("agent is away"))
    seen = follow(cloud)
    assert seen.verdict.outcome is Outcome.REACHED
    assert 20 + LOG_OUTAGE <= cloud.clock.passed < 20 + LOG_OUTAGE + 30
    assert seen.notes(warning=True)[-1].startswith("the log could not be read to the end")


def test_an_unreadable_log_is_not_called_a_growing_one_at_the_timeout() -> None:
    cloud = Cloud(states=ends(20), log_fault=lambda passed: ServiceUnavailable("agent is away"))
    seen = follow(cloud, deadline=cloud.clock() + 60)
    assert cloud.clock.passed < 100
    assert seen.notes(warning=True)[-1].startswith("the log could not be read to the end")


def test_a_log_fault_at_the_end_is_waited_out() -> None:
    cloud = Cloud(
        states=ends(5), log_fault=lambda passed: ServiceUnavailable("x") if 5 <= passed < 100 else None
    )
    cloud.write(6, b"last words\n")
    assert follow(cloud).lines() == ["last words"]


def test_answers_that_make_no_sense_do_not_end_the_wait() -> None:
    cloud = Cloud(
        states=ends(50), log_fault=lambda passed: UnexpectedResponse("HTML") if passed < 30 else None
    )
    cloud.write(0, b"line\n")
    assert follow(cloud).lines() == ["line"]


def test_what_the_api_says_of_a_reading_is_reported() -> None:
    """ModelArts cuts its previews: the lines that are missing must not be missing in silence."""
    cloud = Cloud(states=ends(5), reading_notes=["--- 5,000 lines are missing here ---"])
    cloud.write(0, b"line\n")
    assert follow(cloud).notes(warning=True) == ["--- 5,000 lines are missing here ---"]


def test_a_size_that_is_refused_is_lowered() -> None:
    """How much GetJobLog gives at once is not documented; asking for too much must not be the end."""
    cloud = Cloud(states=ends(15), refuses_above=100)
    cloud.write(0, b"".join(b"%03d\n" % n for n in range(200)))
    seen = follow(cloud)
    assert seen.lines() == [f"{n:03}" for n in range(200)]
    assert cloud.sizes[:3] == [1000, 250, 62]
    assert set(cloud.sizes[2:]) == {62}
    assert seen.follower.totals.errors == 0


def test_a_refusal_of_the_smallest_size_is_a_fault_of_the_log() -> None:
    cloud = Cloud(states=ends(15), refuses_above=5)
    seen = follow(cloud)
    assert seen.verdict.outcome is Outcome.REACHED
    assert cloud.sizes[:4] == [1000, 250, 62, 15]
    assert seen.follower.totals.errors > 0


def cut_to(content: bytes):
    def change(cloud: Cloud) -> None:
        cloud.files["stdout"] = content

    return change


def test_a_replaced_file_is_read_again_and_that_is_said() -> None:
    """A rotated log: reading on at the old offset would wait for ever."""
    cloud = Cloud(states=ends(200))
    cloud.write(0, b"old 1\nold 2\nhalf")
    cloud.at(15, cut_to(b"new 1\n"))
    cloud.write(60, b"new 2\n")
    seen = follow(cloud)
    assert seen.lines() == ["old 1", "old 2", "half", "new 1", "new 2"]
    marks = [note for note in seen.notes(warning=True) if note.startswith("--- ")]
    assert marks == [
        "--- stdout has different content: it was truncated or replaced, perhaps by a rerun of "
        "the job, and is read again from the beginning ---"
    ]


def test_an_emptied_file_is_read_again() -> None:
    cloud = Cloud(states=ends(200))
    cloud.write(0, b"old\n")
    cloud.at(15, cut_to(b""))
    cloud.write(60, b"new\n")
    assert follow(cloud).lines() == ["old", "new"]


def test_one_wrong_size_is_not_believed() -> None:
    """A file system on the network shows an old size for a moment: the log must not be reported twice."""
    reported = iter([6, 3])
    cloud = Cloud(states=ends(100), reported_size=lambda stream, size: next(reported, size) if size else 0)
    cloud.files.pop("stderr")
    cloud.write(0, b"a\nb\nc\n")
    seen = follow(cloud)
    assert seen.lines() == ["a", "b", "c"]
    assert not [note for note in seen.notes() if note.startswith("---")]


@pytest.mark.parametrize(
    "reported", [lambda stream, size: 0, lambda stream, size: None, lambda stream, size: size // 2]
)
def test_sizes_that_were_never_true_are_not_believed(reported) -> None:
    """GetJobLog's own sample reports a size of 0 with a log that is not empty."""
    cloud = Cloud(states=ends(100), reported_size=reported)
    for second in range(0, 100, 7):
        cloud.write(second, b"x\n" * 5)
    seen = follow(cloud)
    assert seen.lines() == ["x"] * 75
    assert seen.notes(warning=True) == []


@given(
    writes=st.lists(st.tuples(st.integers(0, 200), st.integers(1, 3000)), max_size=12),
    lag=st.integers(0, 1),
    seldom=st.integers(1, 5),
)
def test_stale_sizes_never_cause_repetition(writes: list[tuple[int, int]], lag: int, seldom: int) -> None:
    """Sizes that lag behind by a reading, some of them not reported at all."""
    history: dict[str, list[int]] = {"stdout": [], "stderr": []}

    def reported(stream: str, size: int) -> int | None:
        history[stream].append(size)
        if len(history[stream]) % seldom == 0:
            return None
        return history[stream][-1 - lag] if len(history[stream]) > lag else 0

    cloud = Cloud(states=ends(210), reported_size=reported)
    number = 0
    for at, count in sorted(writes):
        cloud.write(at, b"".join(b"%d\n" % n for n in range(number, number + count)))
        number += count
    assert follow(cloud).lines() == [str(n) for n in range(number)]


@given(
    data=st.binary(max_size=400),
    times=st.lists(st.integers(0, 50), max_size=10),
    size=st.integers(1, 50),
)
def test_the_log_is_the_same_however_it_grows(data: bytes, times: list[int], size: int) -> None:
    whole = LineAssembler()
    expected = whole.feed(data) + whole.flush()
    cloud = Cloud(states=ends(55), log_limits=LogLimits(size, 1))
    step = len(data) // (len(times) + 1) + 1
    for n, at in enumerate([*sorted(times), 50]):
        cloud.write(at, data[n * step : (n + 1) * step])
    assert follow(cloud).lines() == expected


def test_a_huge_backlog_keeps_an_eye_on_the_state() -> None:
    """A gigabyte of log takes minutes to read; the end of the job must be seen meanwhile, and a deadline."""
    cloud = Cloud(states=ends(60), read_cost=1.0)
    cloud.files["stdout"] = b"12345678\n" * 10_000  # 90 readings of a second each
    seen = follow(cloud, interval=10)
    assert len(seen.lines()) == 10_000
    looks = [n for n, made in enumerate(cloud.made) if made == "state"]
    assert max(b - a for a, b in itertools.pairwise(looks)) <= 13
    assert [n for n, step in enumerate(seen.steps) if isinstance(step, Pause)] > [len(seen.steps) // 2]


def test_a_backlog_does_not_outlast_the_deadline() -> None:
    cloud = Cloud(read_cost=1.0)
    cloud.files["stdout"] = b"12345678\n" * 100_000
    seen = follow(cloud, interval=10, deadline=cloud.clock() + 60)
    assert seen.verdict.outcome is Outcome.TIMED_OUT
    assert cloud.clock.passed < 80


def test_the_deadline_ends_the_wait() -> None:
    cloud = Cloud()
    cloud.write(0, b"line\nhalf")
    seen = follow(cloud, deadline=cloud.clock() + 33)
    assert seen.verdict.outcome is Outcome.TIMED_OUT
    assert "the job was not stopped" in seen.verdict.message
    assert 33 <= cloud.clock.passed < 34
    # The next try reads that line whole, and it is to stand there once.
    assert seen.lines() == ["line"]
    assert "--- incomplete last line of stdout: half" in seen.notes()


def test_a_log_that_grows_for_ever_after_the_end_does_not_hold_the_task() -> None:
    """Something else may write to the file, such as a second job with the same output path."""
    cloud = Cloud(states=ends(10))

    def grow(cloud: Cloud) -> None:
        cloud.files["stdout"] += b"more\n"
        cloud.at(cloud.clock.passed + 1, grow)

    cloud.at(0, grow)
    seen = follow(cloud, deadline=cloud.clock() + 60)
    assert seen.verdict.outcome is Outcome.REACHED
    assert cloud.clock.passed <= 10 + LOG_OUTAGE + 30
    assert seen.notes(warning=True) == ["the log was still growing at the timeout; the rest is missing here"]


def test_the_last_lines_of_a_job_that_ends_just_in_time_are_read() -> None:
    cloud = Cloud(states=ends(50))
    cloud.write(62, b"last line\n")
    assert follow(cloud, deadline=cloud.clock() + 52, settle=15).lines() == ["last line"]


def test_a_job_not_known_yet_is_waited_for() -> None:
    cloud = Cloud(states=[(0, None), (25, "QUEUED"), (40, "SUCCEEDED")])
    cloud.write(30, b"line\n")
    seen = follow(cloud, not_found_grace=60)
    assert seen.verdict.outcome is Outcome.REACHED
    assert seen.lines() == ["line"]
    assert seen.notes()[0] == "job 7 in cluster c1 is not known yet; polling again for up to 60 s"
    assert seen.notes(warning=True) == []


def test_the_log_of_a_job_not_known_is_not_asked_for() -> None:
    """It would only bring a second error, which says that the job goes on."""
    cloud = Cloud(
        states=[(0, None), (25, "SUCCEEDED")],
        log_fault=lambda passed: NotFound("no such job") if passed < 25 else None,
    )
    seen = follow(cloud)
    assert seen.verdict.outcome is Outcome.REACHED
    assert seen.follower.totals.errors == 0


def test_a_job_that_does_not_exist() -> None:
    cloud = Cloud(states=[(0, None)])
    seen = follow(cloud, not_found_grace=60)
    assert seen.verdict.outcome is Outcome.NOT_FOUND
    assert "check job_id, cluster_id and the region" in seen.verdict.message
    assert 60 <= cloud.clock.passed <= 70


def test_a_cluster_that_does_not_exist_is_not_waited_for() -> None:
    error = NotFound("no such cluster", code="ClusterNotFound")
    cloud = Cloud(states=[(0, error)])
    seen = follow(cloud)
    assert seen.verdict.outcome is Outcome.ERROR
    assert cloud.clock.passed == 0
    assert seen.verdict.error is not None
    assert seen.verdict.error["kind"] == "NotFound"


def test_a_key_that_is_refused_ends_the_wait_at_once() -> None:
    cloud = Cloud(states=[(0, "RUNNING"), (15, AuthenticationFailed("the key is disabled"))])
    cloud.write(0, b"half")
    seen = follow(cloud)
    assert seen.verdict.outcome is Outcome.ERROR
    assert seen.lines() == []
    assert "--- incomplete last line of stdout: half" in seen.notes()


def test_an_api_that_is_away_for_a_while_is_borne() -> None:
    away = ServiceUnavailable("gateway down")
    cloud = Cloud(states=[(0, "RUNNING"), (15, away), (600, "RUNNING"), (650, "SUCCEEDED")])
    cloud.write(300, b"meanwhile\n")
    seen = follow(cloud)
    assert seen.verdict.outcome is Outcome.REACHED
    assert seen.lines() == ["meanwhile"]
    assert len([note for note in seen.notes() if "gateway down" in note]) == 1
    assert "the API responds again, after 0:09:40" in seen.notes()


def test_a_word_that_nobody_documents_is_no_end() -> None:
    cloud = Cloud(states=[(0, "RUNNING"), (10, "DEFROSTING"), (50, "SUCCEEDED")])
    seen = follow(cloud)
    assert seen.verdict.outcome is Outcome.REACHED
    assert len([note for note in seen.notes(warning=True) if "undocumented state 'DEFROSTING'" in note]) == 1


@pytest.mark.parametrize(("policy", "outcome"), [("success", Outcome.REACHED), ("fail", Outcome.FAILED)])
def test_finished_counts_as_the_policy_says(policy: str, outcome: Outcome) -> None:
    """PBS says FINISHED of a job that crashed as of one that did not."""
    cloud = Cloud(states=ends(15, "FINISHED"))
    cloud.write(12, b"last line\n")
    seen = follow(cloud, finished_without_exit_code=policy)
    assert seen.verdict.outcome is outcome
    notes = seen.notes(warning=policy == "fail")
    assert [n for n in notes if f"by finished_without_exit_code={policy!r} it counts as" in n]
    assert seen.lines() == ["last line"]


def test_a_quiet_wait_says_that_it_goes_on() -> None:
    cloud = Cloud(states=ends(2000))
    cloud.write(0, b"line\n")
    signs = [note for note in follow(cloud).notes() if "is still RUNNING" in note]
    assert signs[0] == "job 7 in cluster c1 is still RUNNING after about 0:10:00; log so far: 1 line, 5 bytes"
    assert len(signs) == 3


@pytest.mark.parametrize("state", ["PENDING", "QUEUED"])
def test_the_log_of_a_job_that_waits_is_not_asked_for(state: str) -> None:
    """Hundreds of jobs may wait for days; each reading would be one of the account's requests."""
    cloud = Cloud(states=[(0, state), (500, "RUNNING"), (600, "SUCCEEDED")])
    cloud.write(510, b"line\n")
    seen = follow(cloud)
    assert cloud.made[:52] == ["state"] * 51 + ["log"]
    assert seen.lines() == ["line"]


def test_cut_lines_are_counted() -> None:
    cloud = Cloud(states=ends(5))
    cloud.write(0, b"x" * 20_000 + b"\nshort\n")
    totals = follow(cloud).follower.totals
    assert (totals.lines, totals.cut_lines) == (2, 1)
    assert str(totals) == "2 lines, 20,007 bytes, 1 of the lines shortened"


def test_nothing_but_documented_steps_is_yielded() -> None:
    cloud = Cloud(states=ends(30))
    cloud.write(0, b"line\n")
    assert {type(step) for step in follow(cloud).steps} == {Checkpoint, Emit, GetStatus, Note, Pause}


def test_the_progress_of_a_line_is_shown_now_and_then() -> None:
    """A bar that is drawn for an hour: one state every ten seconds at most, and the whole line at its end."""
    cloud = Cloud(states=ends(100))
    cloud.write(0, b"start\n")
    for percent in range(80):
        cloud.write(percent, b"\r%3d%%" % percent, "stderr")
    cloud.write(85, b"\r100%\n", "stderr")
    seen = follow(cloud, interval=2)
    shown = [note for note in seen.notes() if note.startswith("stderr | ")]
    at = [
        at
        for step, at in zip(seen.steps, seen.times, strict=True)
        if isinstance(step, Note) and step.text in shown
    ]
    assert shown[0] == "stderr |   2%"
    assert 7 <= len(shown) <= 9
    assert min(b - a for a, b in itertools.pairwise(at)) >= 10
    (line,) = seen.lines("stderr")
    assert line.endswith("\r 79%\r100%")
    assert seen.follower.totals.lines == 2


def test_a_line_with_a_bare_cr_is_no_progress() -> None:
    """Only its half was there at the first reading."""
    cloud = Cloud(states=ends(100))
    cloud.write(5, b"a bare \r in a line")
    cloud.write(15, b" of text\n")
    seen = follow(cloud)
    assert seen.lines() == ["a bare \r in a line of text"]
    assert not any("bare" in note for note in seen.notes())


def test_a_log_in_another_encoding() -> None:
    cloud = Cloud(states=ends(50))
    cloud.write(5, "计算完成 100\n".encode("gbk"))
    assert follow(cloud, encoding="gbk").lines() == ["计算完成 100"]


def test_an_api_that_sends_text_needs_no_encoding() -> None:
    """Its text is decoded already; ModelArts sends JSON."""
    cloud = Cloud(states=ends(50), log_limits=LogLimits(1000, 10, text=True))
    cloud.write(5, "计算完成 100\n".encode())
    assert follow(cloud, encoding="gbk").lines() == ["计算完成 100"]


def test_the_last_checkpoint_counts_every_line() -> None:
    """A task that is cleared, or that dies while it ends, must not write the log's end again."""
    cloud = Cloud(states=ends(50))
    cloud.write(55, b"last line\nrest without end")
    seen = follow(cloud)
    assert seen.lines() == ["last line", "rest without end"]
    last = max(n for n, step in enumerate(seen.steps) if isinstance(step, Checkpoint))
    assert [step.lines for step in seen.steps[last:] if isinstance(step, Emit)] == [["rest without end"]]
    again = follow(cloud, start=seen.cursor)
    assert again.lines() == ["rest without end"], "half a line is written, but never counted"


def test_the_last_lines_of_an_unreadable_log_are_waited_for_as_promised() -> None:
    """docs/logs.md promises five minutes."""
    cloud = Cloud(states=ends(20), log_fault=lambda passed: ServiceUnavailable("x") if passed < 310 else None)
    cloud.write(0, b"late\n")
    assert follow(cloud).lines() == ["late"]
    cloud = Cloud(states=ends(20), log_fault=lambda passed: ServiceUnavailable("agent is away"))
    follow(cloud)
    assert 320 < cloud.clock.passed < 340


def test_a_backlog_does_not_outlast_the_deadline_by_a_long_interval() -> None:
    """A turn lasts as long as the interval; the deadline comes first."""
    cloud = Cloud(read_cost=1.0)
    cloud.files["stdout"] = b"12345678\n" * 1_000_000
    seen = follow(cloud, interval=3600, deadline=cloud.clock() + 60)
    assert seen.verdict.outcome is Outcome.TIMED_OUT
    assert cloud.clock.passed < 65


def test_a_note_that_comes_with_each_reading_is_shown_once() -> None:
    cloud = Cloud(states=ends(100))
    for second in range(0, 100, 5):
        cloud.at(second, lambda cloud: cloud.reading_notes.append("5,000 bytes are missing"))
    assert follow(cloud).notes(warning=True).count("5,000 bytes are missing") == 1


TOKEN = "0123456789abcdef0123456789abcdef"
MARKER = f"[exit-code {TOKEN} 3]\n".encode()


def finished(*pieces: bytes, every: float = 1) -> Cloud:
    """A job that PBS reports as FINISHED, and whose log arrives in these pieces."""
    cloud = Cloud(states=[(0, "RUNNING"), (len(pieces) * every, "FINISHED")])
    for n, piece in enumerate(pieces):
        cloud.write(n * every, piece)
    return cloud


@pytest.mark.parametrize("output", [b"out\n", b"glued", b"", b"50%\r100%\r", b"\xba", b"a\nb\n", b"\n"])
def test_the_marker_of_an_exit_code_is_removed_wherever_it_is_split(output: bytes) -> None:
    log = output + MARKER
    plain = follow(finished(output)).lines()
    for split in range(max(0, len(output) - 2), len(log)):
        seen = follow(finished(log[:split], log[split:]), interval=1, exit_token=TOKEN)
        assert seen.lines() == plain
        assert seen.verdict is not None
        assert seen.verdict.outcome is Outcome.FAILED
        assert "; exit code 3;" in seen.verdict.message
        assert (seen.verdict.jobs[0]["state"], seen.verdict.jobs[0]["exit_code"]) == ("FAILED", 3)
        assert TOKEN not in "".join(seen.notes())


@pytest.mark.parametrize("policy", ["success", "fail"])
def test_an_unread_exit_code_is_left_to_the_worker(policy: Any) -> None:
    seen = follow(finished(b"out\n"), exit_token=TOKEN, finished_without_exit_code=policy)
    assert seen.verdict is not None
    assert seen.verdict.outcome is Outcome.REACHED
    assert seen.verdict.jobs[0]["outcome_assumed"] is True
    assert not [note for note in seen.notes() if "SUCCEEDED" in note or "FAILED" in note]


def test_a_follower_that_resumes_behind_the_marker_leaves_the_code_to_the_worker() -> None:
    cloud = finished(b"out\n" + MARKER)
    first = follow(cloud, exit_token=TOKEN, interval=1)
    seen = follow(cloud, exit_token=TOKEN, start=first.cursor)
    assert seen.lines() == []
    assert seen.verdict is not None
    assert seen.verdict.jobs[0]["outcome_assumed"] is True


def test_a_follower_that_died_within_the_marker_reads_it() -> None:
    for cut in range(1, len(MARKER)):
        cloud = finished(b"out\n" + MARKER[:cut], MARKER[cut:], every=20)
        first = follow(cloud, exit_token=TOKEN, cut_after=8)
        seen = follow(cloud, exit_token=TOKEN, start=first.cursor)
        assert first.lines() + seen.lines() == ["out"]
        assert seen.verdict is not None
        assert seen.verdict.jobs[0]["exit_code"] == 3


def test_a_reported_end_takes_precedence_over_the_marker() -> None:
    for state, outcome in (("SUCCEEDED", Outcome.REACHED), ("CANCELLED", Outcome.FAILED)):
        cloud = Cloud(states=[(0, state)])
        cloud.write(0, MARKER)
        seen = follow(cloud, exit_token=TOKEN)
        assert seen.verdict is not None
        assert seen.verdict.outcome is outcome
        assert seen.verdict.jobs[0]["state"] == state


def test_a_marker_behind_a_long_line_is_removed() -> None:
    (line,) = follow(finished(b"x" * 40_000 + MARKER), exit_token=TOKEN).lines()
    assert line.startswith("xxx")
    assert line.endswith("xxx")


def test_a_marker_of_another_tasks_job_is_removed_and_counts_for_nothing() -> None:
    seen = follow(finished(b"out\n" + MARKER))
    assert seen.lines() == ["out"]
    assert seen.verdict is not None
    assert "exit_code" not in seen.verdict.jobs[0]


def test_another_token_is_output() -> None:
    seen = follow(finished(MARKER), exit_token="f" * 32)
    assert seen.lines() == [MARKER.decode().rstrip()]
