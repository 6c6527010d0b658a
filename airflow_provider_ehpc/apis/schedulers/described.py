# SPDX-License-Identifier: Apache-2.0
"""Read a scheduler's own description of jobs, for both schedulers and even if the text is malformed."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

from airflow_provider_ehpc.apis.array import with_members
from airflow_provider_ehpc.apis.call import UnexpectedResponse
from airflow_provider_ehpc.apis.job import JobRef, JobStatus
from airflow_provider_ehpc.apis.response import parse_json
from airflow_provider_ehpc.apis.schedulers.ids import (
    array_indexes,
    equal_ids,
    is_job_id,
    is_whole_array,
    job_number,
    same_job,
)
from airflow_provider_ehpc.apis.schedulers.pbs import PbsJob, pbs_status
from airflow_provider_ehpc.apis.schedulers.slurm import (
    SlurmJob,
    is_slurm,
    plain_name,
    read_fields,
    slurm_fields,
    slurm_status,
)

DescribedJob: TypeAlias = PbsJob | SlurmJob

_PIECE = re.compile(
    # An unclosed quote takes the rest of the text: searching again from each later quote takes minutes.
    r'"(?:[^"\\]++|\\.)*+"?'  # a string
    r"|'(?:[^'\\]++|\\.)*+'?"  # a Python string
    r"|,(?=\s*[}\]])"  # a trailing comma
    r"""|[^\s,:{}\[\]"']+(?::[^\s,:{}\[\]"']+)*""",  # a number, a word, a clock time
    re.DOTALL,
)
_NUMBER = re.compile(r"(-?)(\d++(?:\.\d++)?(?:[eE][+-]?\d++)?)")
_WORDS = {"true": "true", "false": "false", "null": "null", "none": "null", "nan": "null"}
_QUOTE, _QUOTED = re.compile(r'(?<!\\)"'), r'\\"'
_ESCAPES = re.compile(r'\\(u[0-9a-fA-F]{4}|["\\/bfnrt])|\\(.?)', re.DOTALL)


def lenient_json(text: str) -> Any:
    """Parse a text that is nearly JSON.

    qstat writes numbers with leading zeros, ``\\'`` and raw tabs (openpbs/openpbs#1255, #2049). Single
    quotes, bare words and trailing commas are accepted, too.

    :raises ValueError: if the text cannot be repaired.
    """
    try:
        return parse_json(text)
    except ValueError:
        return parse_json(_PIECE.sub(_repaired, text))


def _repaired(match: re.Match[str]) -> str:
    piece = match[0]
    if piece == ",":
        return ""
    if piece[0] == '"':
        return f'"{_ESCAPES.sub(_escape, piece[1:-1])}"'
    if piece[0] == "'":
        return f'"{_ESCAPES.sub(_escape, _QUOTE.sub(_QUOTED, piece[1:-1]))}"'
    if number := _NUMBER.fullmatch(piece):
        digits = number[2].lstrip("0")
        return number[1] + (digits if digits[:1].isdigit() else f"0{digits}")
    return _WORDS.get(piece.casefold()) or json.dumps(piece)


def _escape(match: re.Match[str]) -> str:
    # JSON has no \' and no octal escapes: only the backslash is dropped.
    return match[0] if match[1] else match[2]


def read_jobs(described: Any) -> Mapping[str, DescribedJob] | None:
    """Return the jobs in a description by their IDs; None if it cannot be read.

    A description may be an object by job ID, a list of jobs, or the attributes of one job (returned under an
    empty ID). Each of these may also be JSON in a string. Or it is the output of ``scontrol show job``, in
    one string or several.
    """
    with contextlib.suppress(ValueError):
        for _ in range(2):  # JSON may be quoted twice
            if isinstance(described, str) and described.strip():
                described = lenient_json(described)
    if isinstance(described, str):
        described = described.strip() and [described]
    if not described:
        return {}
    if isinstance(described, dict) and not _is_job(described):
        # The envelopes of qstat and of "scontrol show job --json".
        described = described.get("Jobs") or described.get("jobs") or described
    if isinstance(described, list):
        texts = [item for item in described if isinstance(item, str)]
        rows = [("", item) for item in (*described, *read_fields("\n".join(texts)))]
    elif isinstance(described, dict) and not _is_job(described):
        texts_by_id = ((job_id, job) for job_id, job in described.items() if isinstance(job, str))
        rows = [(job_id, fields) for job_id, text in texts_by_id for fields in read_fields(text)]
        rows += described.items()
    else:
        rows = [("", described)]
    jobs = [(job_id, job) for job_id, job in rows if _is_job(job)]
    return _by_id(jobs) if jobs else None


def _is_job(attributes: Any) -> bool:
    return isinstance(attributes, dict) and "jobstate" in map(plain_name, attributes)


def _by_id(jobs: Iterable[tuple[str, Mapping[str, Any]]]) -> Mapping[str, DescribedJob]:
    found: dict[str, DescribedJob] = {}
    for job_id, attributes in jobs:
        if is_slurm(attributes):
            job = SlurmJob.model_validate(slurm_fields(attributes))
            found[job_id or job.full_id] = job
        else:
            found[job_id] = PbsJob.model_validate(attributes)
    return found


class Description(NamedTuple):
    """A job as its scheduler describes it."""

    status: JobStatus
    array_id: str = ""
    indexes: Sequence[int] = ()
    """Indexes of an array's sub-jobs that are not part of the status yet."""


def describe(ref: JobRef, jobs: Mapping[str, DescribedJob]) -> Description | None:
    """Return the description of one job; None if it is missing.

    :raises UnexpectedResponse: if another job is described.
    """
    own = next((job for job_id, job in jobs.items() if equal_ids(job_id, ref.job_id)), None)
    parts = {
        job_id: job
        for job_id, job in jobs.items()
        if job is not own and is_whole_array(ref.job_id) and job_number(job_id) == job_number(ref.job_id)
    }
    if own is None and not parts and len(jobs) == 1:
        (job_id,) = jobs
        # For a waiting sub-job, a scheduler describes the array.
        if is_job_id(job_id) and is_job_id(ref.job_id) and not same_job(job_id, ref.job_id):
            raise UnexpectedResponse(f"the response to a request about {ref} is about job {job_id}")
        own = jobs[job_id]
    if own is None and parts:
        return Description(_from_parts(ref, parts))
    if own is None or not own.job_state:
        return None
    status = _status(ref, own)
    if parts:
        return Description(with_members(status, _statuses(ref, parts)))
    indexes = array_indexes(own.array_request) if is_whole_array(ref.job_id) else ()
    number, dot, server = ref.job_id.partition(".")
    # PBS accepts an array's ID without brackets, but not the IDs of its sub-jobs.
    brackets = "[]" if isinstance(own, PbsJob) and not number.endswith("[]") else ""
    return Description(status, f"{number}{brackets}{dot}{server}", indexes or ())


def _from_parts(ref: JobRef, parts: Mapping[str, DescribedJob]) -> JobStatus:
    """Return the status of an array that is described by its sub-jobs only, as scontrol does."""
    statuses = _statuses(ref, parts)
    # The array runs as long as one of its sub-jobs does.
    one = next((each for each in statuses.values() if not each.state.terminal), next(iter(statuses.values())))
    starts = [each.started_at for each in statuses.values() if each.started_at]
    ends = [each.ended_at for each in statuses.values() if each.ended_at]
    whole = dataclasses.replace(
        one,
        job_id=ref.job_id,
        exit_code=None,
        reason=None,
        # One scheduler wrote all of them, so either all have the same zone or none has one.
        started_at=min(starts, default=None, key=_without_zone),
        ended_at=max(ends, default=None, key=_without_zone) if one.state.terminal else None,
        stdout_path=None,
        stderr_path=None,
    )
    return with_members(whole, statuses)


def _without_zone(time: datetime) -> datetime:
    return time.replace(tzinfo=None)


def _statuses(ref: JobRef, jobs: Mapping[str, DescribedJob]) -> dict[str, JobStatus]:
    return {job_id: _status(JobRef(job_id, ref.cluster_id), job) for job_id, job in jobs.items()}


def _status(ref: JobRef, job: DescribedJob) -> JobStatus:
    return slurm_status(ref, job) if isinstance(job, SlurmJob) else pbs_status(ref, job)
