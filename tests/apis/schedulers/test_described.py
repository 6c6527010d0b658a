# SPDX-License-Identifier: Apache-2.0
"""Text that is nearly JSON: the exit code in it must not be lost."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_ehpc.apis.call import UnexpectedResponse
from airflow_provider_ehpc.apis.job import JobRef
from airflow_provider_ehpc.apis.response import parse_json
from airflow_provider_ehpc.apis.schedulers.described import describe, lenient_json, read_jobs

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
        # Text inside a string is not repaired.
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
def test_repair_changes_only_what_is_malformed(value):
    """If a text is malformed in one place, the other places must not change."""
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


def test_a_complete_output_of_qstat_with_all_faults():
    """An array's entry and those of its sub-jobs are in one output (qstat -t)."""
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
    # Deleted sub-jobs are named, too.
    cancelled = describe(JobRef("18[].vm", "c"), jobs)
    assert cancelled is not None
    assert cancelled.status.state == "CANCELLED"
    assert "ended by SIGTERM" in cancelled.status.failed_members["18[4].vm"]


SLURM = {"JobId": "5", "JobState": "FAILED", "ExitCode": "3:0", "NodeList": "compute000"}
RESTD = {
    "job_id": 5,
    "job_state": ["FAILED"],
    "exit_code": {"status": ["ERROR"], "return_code": {"set": True, "infinite": False, "number": 3}},
    "state_reason": "NonZeroExitCode",
    "nodes": "compute000",
    "array_job_id": {"set": True, "infinite": False, "number": 0},
    "array_task_id": {"set": False, "infinite": False, "number": 0},
}
WORDS = "JobId=5 JobName=a JobState=FAILED ExitCode=3:0 NodeList=compute000"


@pytest.mark.parametrize(
    "info",
    [
        {"5": SLURM},
        SLURM,
        [SLURM],
        {"jobs": [SLURM]},
        {"Jobs": [SLURM]},
        {"jobs": [RESTD], "meta": {}},
        {"5": RESTD},
        RESTD,
        {"5": WORDS},
        WORDS,
        WORDS.split(),
        {name.lower(): value for name, value in SLURM.items()},
        {name.upper(): value for name, value in SLURM.items()},
        {"jobId": "5", "jobState": "FAILED", "exitCode": "3:0", "nodeList": "compute000"},
    ],
)
@pytest.mark.parametrize("text", [lambda info: info, json.dumps, lambda info: json.dumps(json.dumps(info))])
def test_every_form_of_a_failed_job_of_slurm(info, text):
    jobs = read_jobs(text(info))
    assert jobs is not None
    description = describe(JobRef("5", "ehpc-hz-1"), jobs)
    assert description is not None
    status = description.status
    assert (status.state, status.exit_code, status.outcome_assumed) == ("FAILED", 3, False)
    assert status.nodes == ("compute000",)


@pytest.mark.timeout(30)  # reading in linear time takes milliseconds
@pytest.mark.parametrize(
    "text",
    [
        '{"a": "' + '\\"' * 50_000,
        "{'a': '" + "\\'" * 50_000,
        '{"a": ' + "0" * 100_000 + "x}",
        "JobState=FAILED " + "JobName=" * 50_000,
        '{"1": {"job_state": "F", "array_state_count": "' + "x" * 100_000 + '"}}',
        "JobId=1 JobState=FAILED ExitCode=" + "9" * 5000 + ":0",
        '{"1": {"job_state": "B", "array": "True", "array_state_count": "Queued:' + "9" * 5000 + '"}}',
    ],
    ids=lambda text: text[:12],
)
def test_a_long_text_neither_fails_nor_blocks_the_event_loop(text):
    """A quadratic pattern takes a minute for each of them."""
    with contextlib.suppress(UnexpectedResponse):
        describe(JobRef("1", "c"), read_jobs(text) or {})
