"""E-HPC API version 2018-04-12: serverless jobs, which run in containers.

One function an operation, with its answer's model before it; :class:`EhpcServerlessApi` puts them behind the
surface that all APIs share. Sources: the operations' pages (DescribeServerlessJobs as changed 2023-07-21) and
the request and response models of ``alibabacloud-ehpc20180412`` 4.0.0. Unlike the version's other operations
these are POSTs, and they number the items of a list: ``JobIds.1``, ``JobIds.2``.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Generator, Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from pydantic import AliasChoices, Field

from airflow_provider_ehpc.apis.aliyun.common import (
    cluster_job_ref,
    cluster_of,
    job_is_unknown,
    named_cluster,
    parameter,
    some_job_ids,
    with_options,
)
from airflow_provider_ehpc.apis.aliyun.containers import ContainerGroup, exit_code, reason, resources
from airflow_provider_ehpc.apis.aliyun.rpc import rpc_call
from airflow_provider_ehpc.apis.aliyun.states import serverless_state
from airflow_provider_ehpc.apis.answer import Flag, Id, Items, Number, PascalAnswer, Text, Time, about
from airflow_provider_ehpc.apis.array import array_status
from airflow_provider_ehpc.apis.call import (
    ApiCall,
    ApiError,
    Flow,
    InvalidArgument,
    InvalidRequest,
    NotFound,
    NotSupported,
    UnexpectedResponse,
    some_at_once,
)
from airflow_provider_ehpc.apis.job import (
    ClusterJob,
    JobRef,
    JobSpec,
    JobState,
    JobStatus,
    LogBatch,
    LogChunk,
    LogCursor,
    LogLimits,
    StatusesFlow,
    Told,
)
from airflow_provider_ehpc.apis.listing import all_pages, one_pass
from airflow_provider_ehpc.apis.moments import epoch_seconds
from airflow_provider_ehpc.apis.schedulers.ids import same_job

VERSION = "2018-04-12"
_NAME = "ehpc-serverless"
PAGE_SIZE = 100
"""The most jobs that one page of ListServerlessJobs may hold, and the most ids that are asked for at once."""
_SUB_TASK = re.compile(r"\d+_\d+")
"""The id of an array job's sub-task (DescribeServerlessJobs)."""


class ListedJob(PascalAnswer):
    """A serverless job, or a sub-task of an array job, as ListServerlessJobs tells it."""

    # Id, Name and Owner are what an earlier SDK called the first three.
    job_id: Id = Field("", validation_alias=AliasChoices("JobId", "Id", "job_id"))
    job_name: Text = Field("", validation_alias=AliasChoices("JobName", "Name", "job_name"))
    user: Text = Field("", validation_alias=AliasChoices("User", "Owner", "user"))
    state: Text = ""
    """Pending, Initing, Running, Succeeded, Canceled or Failed."""
    queue: Text = ""
    priority: Number = None
    is_array_job: Flag = None
    submit_time: Time = None
    start_time: Time = None
    end_time: Time = None
    """Told in the documented sample of a job that still runs: the state alone says whether it has ended."""


class ArrayProperties(PascalAnswer):
    """The indexes of an array job, first and last included."""

    index_start: Number = None
    index_end: Number = None
    index_step: Number = None


class ServerlessJob(ListedJob):
    """A serverless job, or a sub-task of an array job, as DescribeServerlessJobs tells it."""

    last_modify_time: Time = None
    """In milliseconds, beside the other times' seconds."""
    array_properties: ArrayProperties | None = None
    """Told in the documented sample of a job that is no array."""
    container_groups: Items[ContainerGroup] = Field(default_factory=list)


class DescribeServerlessJobsAnswer(PascalAnswer):
    """Answer of DescribeServerlessJobs."""

    request_id: Text = ""
    total_count: Number = None
    job_infos: Items[ServerlessJob] = Field(default_factory=list)


def describe_serverless_jobs(cluster_id: str, job_ids: list[str]) -> ApiCall[DescribeServerlessJobsAnswer]:
    """DescribeServerlessJobs: the details of a job, with its containers.

    :param job_ids: exactly one, in spite of the list; for an array job the id of a sub-task, as in ``10_3``.
    """
    call = rpc_call(
        VERSION,
        "DescribeServerlessJobs",
        DescribeServerlessJobsAnswer,
        {"ClusterId": cluster_id, **_numbered("JobIds", job_ids)},
        subject=f"job {', '.join(job_ids)} in cluster {cluster_id}",
    )
    # Which sub-tasks come for the ID of an array is not documented.
    return about(call, job_ids[0], lambda answer: [job.job_id for job in answer.job_infos], same_job)


class ListServerlessJobsAnswer(PascalAnswer):
    """Answer of ListServerlessJobs: one page."""

    request_id: Text = ""
    page_number: Number = None
    page_size: Number = None
    total_count: Number = None
    jobs: Items[ListedJob] = Field(default_factory=list)


def list_serverless_jobs(
    cluster_id: str,
    *,
    job_ids: Iterable[str] = (),
    job_names: Iterable[str] = (),
    state: str | None = None,
    submitted_from: datetime | int | None = None,
    submitted_to: datetime | int | None = None,
    page_number: int = 1,
    page_size: int = PAGE_SIZE,
) -> ApiCall[ListServerlessJobsAnswer]:
    """ListServerlessJobs: a page of a cluster's serverless jobs.

    :param job_ids: of jobs, or of sub-tasks.
    :param state: ``All``, ``Pending``, ``Running``, ``Succeeded``, ``Canceled`` or ``Failed``.
    :param submitted_from: an aware datetime or epoch seconds, like ``submitted_to``.
    :param page_size: at most 100.
    """
    return rpc_call(
        VERSION,
        "ListServerlessJobs",
        ListServerlessJobsAnswer,
        {
            "ClusterId": cluster_id,
            **_numbered("JobIds", job_ids),
            **_numbered("JobNames", job_names),
            "PageNumber": page_number,
            "PageSize": page_size,
            "State": state,
            "SubmitTimeEnd": epoch_seconds("submitted_to", submitted_to),
            "SubmitTimeStart": epoch_seconds("submitted_from", submitted_from),
        },
        subject=f"cluster {cluster_id}",
    )


class SubmitServerlessJobAnswer(PascalAnswer):
    """Answer of SubmitServerlessJob."""

    essential = frozenset({"JobId"})

    request_id: Text = ""
    job_id: Id = ""


def submit_serverless_job(cluster_id: str, spec: JobSpec) -> ApiCall[SubmitServerlessJobAnswer]:
    """SubmitServerlessJob: submit a job. There is no idempotency token: sent twice, it runs twice.

    The command runs in the container's ``/bin/sh``, or in the ``Command`` that the options name; an empty
    command leaves the image's own. ``spec.options`` are further parameters, of which ``Container`` with an
    ``Image`` is needed::

        options={"Container": {"Image": "...", "WorkingDir": "/data"}, "VSwitchId": ["vsw-..."]}

    :raises InvalidArgument: where there is no image, for a field of the spec that the API has no place for,
        or where an option contradicts another field.
    """
    spec.refuse(_NAME, "queue", "user", "password", "nodes", "stdout_path", "stderr_path")
    parameters = {
        "ArrayProperties": _array_properties(spec.array) if spec.array else None,
        "ClusterId": cluster_id,
        "Cpu": None if spec.cores is None else float(spec.cores),
        "JobName": spec.name,
        "JobPriority": spec.priority,
        "Memory": None if spec.memory is None else _gib(spec.memory),
        "Timeout": spec.wall_time,
    }
    parameters = with_options(parameters, spec.options)
    parameters["Container"] = _container(spec)
    return rpc_call(
        VERSION,
        "SubmitServerlessJob",
        SubmitServerlessJobAnswer,
        {name: parameter(value) for name, value in parameters.items()},
        subject=f"job {spec.name!r} in cluster {cluster_id}",
        writes=True,
        confidential=spec.confidential,
    )


def _container(spec: JobSpec) -> Mapping[str, Any]:
    environment = [{"Key": name, "Value": value} for name, value in spec.environment.items()]
    fields = {
        "Arg": [spec.command] if spec.command else None,
        "EnvironmentVar": environment or None,
        "Gpu": spec.gpus,
    }
    container = with_options(fields, spec.options.get("Container") or {})
    if not container.get("Image"):
        raise InvalidArgument(
            'options: a serverless job needs a container image, as in {"Container": {"Image": "..."}}'
        )
    if spec.command:
        container.setdefault("Command", ["/bin/sh", "-c"])
    return {name: value for name, value in sorted(container.items()) if value is not None}


def _array_properties(array: str) -> Mapping[str, int]:
    indexes = re.fullmatch(r"(\d+)-(\d+)(?::(\d+))?", array.strip())
    if not indexes:
        raise InvalidArgument(f"array: {array!r} is not of the form X-Y:Z")
    first, last, step = indexes.groups(default="1")
    return {"IndexEnd": int(last), "IndexStart": int(first), "IndexStep": int(step)}


def _gib(memory: str) -> float:
    number = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([mgt])i?b?", memory.strip().casefold())
    if not number:
        raise InvalidArgument(f"memory: {memory!r} is not a number with a unit, as in 4GB")
    return float(number[1]) * {"m": 1 / 1024, "g": 1, "t": 1024}[number[2]]


class StopServerlessJobsAnswer(PascalAnswer):
    """Answer of StopServerlessJobs."""

    request_id: Text = ""


def stop_serverless_jobs(cluster_id: str, job_ids: list[str]) -> ApiCall[StopServerlessJobsAnswer]:
    """StopServerlessJobs: stop jobs or sub-tasks; the id of an array job stops all its sub-tasks.

    :raises InvalidArgument: for an empty list.
    """
    return rpc_call(
        VERSION,
        "StopServerlessJobs",
        StopServerlessJobsAnswer,
        {"ClusterId": cluster_id, **_numbered("JobIds", some_job_ids(job_ids))},
        subject=f"job {', '.join(job_ids)} in cluster {cluster_id}",
        writes=True,
    )


class EhpcServerlessApi:
    """The common surface over E-HPC 2018-04-12 for serverless jobs."""

    name = _NAME
    log_limits = LogLimits(largest=0, smallest=0)

    def job_ref(self, job_id: str, cluster_id: str | None, version_id: str | None) -> JobRef:
        """See :class:`~airflow_provider_ehpc.apis.job.JobApi`."""
        return cluster_job_ref(self.name, job_id, cluster_id, version_id)

    def job_status(self, ref: JobRef) -> Flow[JobStatus]:
        """Ask DescribeServerlessJobs; for an array job, which it does not take, ListServerlessJobs."""
        try:
            answer = yield describe_serverless_jobs(cluster_of(ref), [ref.job_id])
        except (NotFound, InvalidRequest) as error:
            # Which code it has for an array job is not documented, nor for a job that does not exist.
            if not _may_be_an_array(error):
                raise
        else:
            for job in answer.job_infos:
                if job.job_id == ref.job_id and not job.is_array_job:
                    return _from_describe(ref, job)
        status = (yield from self._listed([ref])).get(ref)
        if status is None:
            raise NotFound(f"the cluster knows no {ref}")
        return status

    def job_statuses(self, refs: list[JobRef]) -> StatusesFlow:
        """Ask ListServerlessJobs for a hundred jobs a call, then for the details of those that failed."""
        found: dict[JobRef, JobStatus | None] = dict.fromkeys(refs)
        by_cluster: dict[str, list[JobRef]] = {}
        for ref in found:
            by_cluster.setdefault(cluster_of(ref), []).append(ref)

        def ask(group: list[JobRef]) -> Generator[ApiCall[Any] | Told, Any, None]:
            listed = yield from self._listed(group)
            found.update(listed)
            yield Told({ref: listed.get(ref) for ref in group if not _lacks_details(listed.get(ref))})

        def ask_details(ref: JobRef, status: JobStatus) -> Generator[ApiCall[Any] | Told, Any, None]:
            found[ref] = yield from self._with_details(ref, status)
            yield Told({ref: found[ref]})

        yield from some_at_once(
            ask(group[start : start + PAGE_SIZE])
            for group in by_cluster.values()
            for start in range(0, len(group), PAGE_SIZE)
        )
        yield from some_at_once(
            ask_details(ref, status)
            for ref, status in list(found.items())
            if status and _lacks_details(status)
        )
        return found

    def cluster_jobs(self, cluster_id: str | None, since: datetime) -> Flow[Mapping[str, ClusterJob]]:
        """Ask ListServerlessJobs for those that wait or run, then for all by the time of their submission.

        One that is being initialised cannot be listed by its state: where it was submitted before ``since``
        it is missing here, and asking for it tells that it goes on.
        """
        cluster = named_cluster(self.name, cluster_id, "the cluster whose jobs are meant")
        submitted_from = int(since.timestamp())
        jobs: dict[str, ClusterJob] = {}
        for word, earliest in (("Pending", None), ("Running", None), ("All", submitted_from)):
            rows = yield from all_pages(
                partial(_rows, cluster, word, earliest), lambda row: row.job_id, PAGE_SIZE
            )
            for job_id, row in rows.items():
                # 10_3 is a sub-task of 10, which is listed, too.
                if job_id and not _SUB_TASK.fullmatch(job_id):
                    jobs[job_id] = _cluster_job(cluster, row)
        return jobs

    def read_log(self, ref: JobRef, cursor: LogCursor, size: int) -> Flow[LogBatch]:
        """Raise: there is no operation for it.

        :raises NotSupported: always, before any request.
        """
        raise self._no_log(ref)

    def log_tail(self, ref: JobRef, size: int) -> Flow[tuple[LogChunk, ...]]:
        """Raise: there is no operation for it.

        :raises NotSupported: always, before any request.
        """
        raise self._no_log(ref)

    def submit(self, spec: JobSpec, cluster_id: str | None) -> Flow[JobRef]:
        """Ask SubmitServerlessJob."""
        cluster = named_cluster(self.name, cluster_id, "the cluster to submit to")
        answer = yield submit_serverless_job(cluster, spec)
        if not answer.job_id:
            raise UnexpectedResponse(
                "SubmitServerlessJob told no job id; look the job up by its name before submitting it again",
                request_id=answer.request_id,
            )
        return JobRef(answer.job_id, cluster)

    def stop(self, ref: JobRef) -> Flow[None]:
        """Ask StopServerlessJobs."""
        yield stop_serverless_jobs(cluster_of(ref), [ref.job_id])

    def _no_log(self, ref: JobRef) -> NotSupported:
        return NotSupported(
            f"the API {self.name!r} has no operation that reads the log of {ref}; let the container write it "
            "to a mounted volume or to Log Service"
        )

    def _listed(self, refs: list[JobRef]) -> Flow[dict[JobRef, JobStatus]]:
        """Return what ListServerlessJobs reports of at most a hundred jobs of one cluster."""

        def page(number: int) -> Flow[tuple[list[ListedJob], int | None]]:
            ids = [ref.job_id for ref in refs]
            call = list_serverless_jobs(cluster_of(refs[0]), job_ids=ids, page_number=number)
            answer = yield about(
                call,
                ", ".join(ids),
                lambda answer: [row.job_id for row in answer.jobs],
                lambda asked, given: any(same_job(job_id, given) for job_id in ids),
            )
            return answer.jobs, answer.total_count

        entries = yield from one_pass(page, lambda row: row.job_id, PAGE_SIZE)
        asked = {ref.job_id for ref in refs}
        return {
            ref: _with_subtasks(_from_listed(ref, entries[ref.job_id]), entries, asked)
            for ref in refs
            if ref.job_id in entries
        }

    def _with_details(self, ref: JobRef, listed: JobStatus) -> Flow[JobStatus]:
        """Return the job's described status; where it cannot be had, the listed one says how it ended."""
        try:
            return (yield from self.job_status(ref))
        except ApiError:
            return listed


def _rows(
    cluster_id: str, state: str, submitted_from: int | None, number: int
) -> Flow[tuple[list[ListedJob], int | None]]:
    answer = yield list_serverless_jobs(
        cluster_id, state=state, submitted_from=submitted_from, page_number=number
    )
    return answer.jobs, answer.total_count


def _cluster_job(cluster_id: str, row: ListedJob) -> ClusterJob:
    status = _from_listed(JobRef(row.job_id, cluster_id), row)
    # Why it failed, and with which code, only its details tell; of an array, what its sub-tasks do.
    whole = status.state is JobState.SUCCEEDED and not row.is_array_job
    return ClusterJob(status, status.state.terminal, whole)


def _numbered(name: str, values: Iterable[str]) -> Mapping[str, str]:
    return {f"{name}.{number}": value for number, value in enumerate(values, 1)}


def _may_be_an_array(error: ApiError) -> bool:
    return isinstance(error, InvalidRequest) or (isinstance(error, NotFound) and job_is_unknown(error))


def _from_listed(ref: JobRef, job: ListedJob) -> JobStatus:
    state = serverless_state(job.state)
    return JobStatus(
        job_id=ref.job_id,
        cluster_id=ref.cluster_id,
        state=state,
        raw_state=job.state,
        name=job.job_name or None,
        user=job.user or None,
        queue=job.queue or None,
        submitted_at=job.submit_time,
        started_at=job.start_time,
        ended_at=job.end_time if state.terminal else None,
    )


def _with_subtasks(parent: JobStatus, entries: Mapping[str, ListedJob], asked: set[str]) -> JobStatus:
    """Return ``parent`` with the states of its sub-tasks, where they are listed beside it.

    Whether they are is not documented, so only ones that nobody asked for count as a listing. Nor is it
    documented that a sub-task is listed before it starts: the array goes on for as long as its own state
    says so.
    """
    subtasks = {job_id: job for job_id, job in entries.items() if job_id.startswith(f"{parent.job_id}_")}
    if subtasks.keys() <= asked:
        return parent
    states = {job_id: serverless_state(job.state) for job_id, job in subtasks.items()}
    whole = array_status(parent, states, len(states))
    return whole if parent.state.terminal else dataclasses.replace(parent, array=whole.array)


def _from_describe(ref: JobRef, job: ServerlessJob) -> JobStatus:
    status = _from_listed(ref, job)
    return dataclasses.replace(
        status,
        exit_code=exit_code(job.container_groups, status.state),
        reason=reason(job.container_groups, status.state),
        modified_at=job.last_modify_time,
        resources=resources(job.container_groups),
    )


def _lacks_details(status: JobStatus | None) -> bool:
    """Whether asking for the job tells more than the list does: how it failed."""
    return bool(status and status.state in (JobState.FAILED, JobState.CANCELLED) and not status.array)
