"""Text that is nearly JSON: an exit code that stands in it must not get lost."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_ehpc.apis.answer import parse_json
from airflow_provider_ehpc.apis.call import UnexpectedResponse
from airflow_provider_ehpc.apis.job import JobRef
from airflow_provider_ehpc.apis.schedulers.described import describe, lenient_json, read_jobs
from airflow_provider_ehpc.apis.schedulers.slurm import SlurmJob

QSTAT = (Path(__file__).parents[2] / "samples" / "openpbs-23.06-qstat.json").read_text()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 005}', {"a": 5}),
        (
            '{"a": -007, "b": 00, "c": 0, "d": 00.50, "e": 1e3}',
            {"a": -7, "b": 0, "c": 0, "d": 0.5, "e": 1000.0},
        ),
        ('{"a": 1.2.3}', {"a": "1.2.3"}),
        ('{"a": 00:10:05, "b": 512kb}', {"a": "00:10:05", "b": "512kb"}),
        ('{"a": 20261127T070449}', {"a": "20261127T070449"}),
        (r'{"a": "x\'y", "b": "c:\dir", "c": "\u00e9\n\"q\""}', {"a": "x'y", "b": "c:dir", "c": 'é\n"q"'}),
        ('{"a": "x\ty\nz"}', {"a": "x\ty\nz"}),
        ('{"a": [1, 2,], "b": {"c": 3,},}', {"a": [1, 2], "b": {"c": 3}}),
        ("{'a': 'it\\'s \"x\"', 'b': None, 'c': True}", {"a": 'it\'s "x"', "b": None, "c": True}),
        ('{"a": nan, "b": true}', {"a": None, "b": True}),
        ("{a: 3, job_state: F}", {"a": 3, "job_state": "F"}),
        # What looks broken inside a text is none of our business.
        ('{"a": "1, 005,}", "b": 005}', {"a": "1, 005,}", "b": 5}),
    ],
)
def test_repaired(text, value):
    assert lenient_json(text) == value


@pytest.mark.parametrize("text", ['{"a": "b', '{"a" 1}', '{"a": "said "F" loud"}', "{", "", "[" * 100_000])
def test_beyond_repair(text):
    with pytest.raises(ValueError, match=r".*"):
        lenient_json(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(max_examples=50)
@given(st.dictionaries(st.text(), json_values))
def test_repair_changes_nothing_that_is_right(value):
    """A text that is broken in one place must not be changed in another."""
    broken = json.dumps({"x": value})[:-1] + ', "y": 005}'
    assert lenient_json(broken) == parse_json(json.dumps({"x": value, "y": 5}))


@given(st.text())
def test_any_text_is_read_or_unreadable(text):
    assert read_jobs(text) is None or isinstance(read_jobs(text), dict)


NAMES = [
    *(
        "job_state",
        "JobState",
        "Exit_status",
        "ExitCode",
        "substate",
        "stime",
        "StartTime",
        "EndTime",
        "Reason",
    ),
    *("array", "array_indices_submitted", "ArrayTaskId", "ArrayJobId", "JobId", "exec_host", "NodeList"),
]


@settings(max_examples=200)
@given(
    st.dictionaries(st.sampled_from(["1", "1[]", "1[2].s", "1_3", "2", "", "x"]) | st.text(), json_values),
    st.dictionaries(st.sampled_from(NAMES), json_values | st.sampled_from(["F", "FAILED", "0:9", "1-3%2"])),
)
def test_no_attribute_makes_the_description_fail(others, attributes):
    described = {**others, "1": {"job_state": "F", **attributes}, "1_3": {"JobState": "FAILED", **attributes}}
    jobs = read_jobs(described)
    for job_id in ("1", "1_3", "9"):
        with contextlib.suppress(UnexpectedResponse):
            describe(JobRef(job_id, "c"), jobs or {})


def test_a_whole_answer_of_qstat_with_all_faults():
    """An array's entry and those of its sub-jobs come in one answer (qstat -t)."""
    broken = QSTAT.replace('"Priority": 0,', '"Priority": 000,').replace('"PBS_O_LANG": "C', r'"A": "x\'y')
    with pytest.raises(ValueError, match="Expecting"):
        json.loads(broken)
    jobs = read_jobs(broken)
    assert jobs is not None
    description = describe(JobRef("17[].vm", "c"), jobs)
    assert description is not None
    status = description.status
    assert (str(status.state), status.array) == ("FAILED", {"SUCCEEDED": 4, "FAILED": 2})
    assert status.failed_members.keys() == {"17[2].vm", "17[4].vm"}
    assert "FAILED, exit code 7" in status.failed_members["17[2].vm"]
    # The sub-jobs that were deleted are named too.
    cancelled = describe(JobRef("18[].vm", "c"), jobs)
    assert cancelled is not None
    assert cancelled.status.state == "CANCELLED"
    assert "ended by SIGTERM" in cancelled.status.failed_members["18[4].vm"]


@pytest.mark.parametrize(
    "text",
    [
        *('\\"' * 200_000, '"' + '\\"' * 200_000, "'\\" * 200_000, '{"a": "\\' + '"\\' * 200_000),
        *("JobState=R " + "JobName=" * 50_000, "JobState=R JobName=" + " " * 400_000 + "x"),
        *("JobState=a" + " " * 400_000 + "b", '{"1": {"job_state": "a' + " " * 400_000 + 'b"}}'),
    ],
    ids=lambda text: text[:20],
)
def test_a_long_text_is_read_in_no_time(text: str) -> None:
    """Read for minutes, one description holds up all deferred tasks of a triggerer."""
    started = time.monotonic()
    jobs = read_jobs(text)
    describe(JobRef("1", "c"), jobs or {})
    assert time.monotonic() - started < 3


def test_a_name_that_looks_like_fields() -> None:
    text = "JobId=1 JobName=a UserId b=c  JobState=FAILED\n   UserId=alice(1000) JobState=RUNNING"
    (job,) = (read_jobs(text) or {}).values()
    assert isinstance(job, SlurmJob)
    assert (job.job_name, job.job_state, job.user_id) == (
        "a UserId b=c  JobState=FAILED",
        "RUNNING",
        "alice(1000)",
    )


_DIGITS = "9" * 5000


@pytest.mark.parametrize(
    ("asked", "job"),
    [
        ("1", {"JobState": "FAILED", "JobId": "1", "ExitCode": _DIGITS}),
        ("1", {"JobState": "FAILED", "JobId": "1", "ExitCode": f"0:{_DIGITS}"}),
        ("1[].m", {"job_state": "B", "array": "True", "array_state_count": f"Queued:{_DIGITS}"}),
        ("1[].m", {"job_state": "B", "array": "True", "array_state_count": "Q" * 400_000}),
        ("1[].m", {"job_state": "B", "array": "True", "array_indices_submitted": "0-999999999"}),
        ("1", {"JobState": "PENDING", "JobId": "1", "ArrayJobId": "1", "ArrayTaskId": "0-999999999"}),
    ],
    ids=lambda value: str(value)[-40:],
)
def test_numbers_without_measure(asked: str, job: dict[str, str]) -> None:
    """Python refuses to read 4,301 digits, outside of the code that reads responses."""
    started = time.monotonic()
    description = describe(JobRef(asked, "c"), read_jobs({asked: job}) or {})
    assert description
    assert json.dumps(description.status.as_dict())
    assert time.monotonic() - started < 3
