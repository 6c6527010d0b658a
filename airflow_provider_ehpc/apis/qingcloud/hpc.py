"""QingCloud HPC: jobs of HPC and E-HPC clusters.

One function an operation, with its answer's model before it; :class:`QingCloudHpcApi` puts them behind the
surface that all APIs share. Source: the pages on jobs of the HPC API reference (2023-09-06). The API has no
job log: a job's output is in two files of the cluster's file system, whose paths it tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from pydantic import Field

from airflow_provider_ehpc.apis.answer import (
    Answer,
    Id,
    Items,
    Number,
    Text,
    Time,
    about,
    parse_json,
    same_id,
)
from airflow_provider_ehpc.apis.call import (
    ApiCall,
    ApiResponse,
    Flow,
    InvalidArgument,
    NotFound,
    NotSupported,
    UnexpectedResponse,
    percent_encode,
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
)
from airflow_provider_ehpc.apis.listing import all_pages, submitted_since
from airflow_provider_ehpc.apis.pages import JobsList, JobsPage, statuses_by_page_or_job
from airflow_provider_ehpc.apis.qingcloud.operations import Operation, find_operation
from airflow_provider_ehpc.apis.qingcloud.protocol import PAGE_SIZE, hpc_call, ret_code_error
from airflow_provider_ehpc.apis.qingcloud.states import job_state, operation_state


class Job(Answer):
    """A job, as job/list and the longer job/jobdetail tell it. The list's times have no zone."""

    hpcjob_uuid: Id = ""
    """The job's id in every call."""
    job_id: Text = ""
    """A number of the cluster's; a whole number or a text."""
    job_name: Text = ""
    job_status: Text = ""
    cluster_id: Text = ""
    run_user: Text = ""
    queue_name: Text = ""
    scheduler_queue_name: Text = ""
    hpcqueue_id: Text = ""
    core_limit: Text = ""
    mem_limit: Text = ""
    job_node_list: Text = ""
    submitted_time: Time = None
    started_time: Time = None
    end_time: Time = None
    modified_time: Time = None
    end_reason: Text = ""
    pend_reason: Text = ""
    suspend_reson: Text = ""
    reason: Text = ""
    stdout_redirect_path: Text = ""
    stderr_redirect_path: Text = ""


class ListJobsAnswer(Answer):
    """Answer of job/list: one page."""

    total_count: Number = None
    hpc_job_set: Items[Job] = Field(default_factory=list)


def list_jobs(
    zone: str,
    cluster_id: str,
    *,
    jobs_status: str | None = None,
    queue_name: str | None = None,
    run_user: str | None = None,
    search_word: str | None = None,
    sort_key: str | None = None,
    reverse: int | None = None,
    offset: int = 0,
    limit: int = PAGE_SIZE,
) -> ApiCall[ListJobsAnswer]:
    """List a cluster's jobs.

    :param jobs_status: ``pending``, ``running``, ``finished``, ``exited`` or ``cancelled``.
    :param sort_key: its values are not documented.
    :param limit: 1 to 100.
    """
    return hpc_call(
        "job/list",
        ListJobsAnswer,
        {
            "zone": zone,
            "cluster_id": cluster_id,
            # The page has the first name, the vendor's client (qingcloud-hpc 0.0.1, made from the server's
            # own description) the second.
            "jobs_status": jobs_status,
            "job_status": jobs_status,
            "queue_name": queue_name,
            "run_user": run_user,
            "search_word": search_word,
            "sort_key": sort_key,
            "reverse": reverse,
            "offset": offset,
            "limit": limit,
        },
        subject=f"cluster {cluster_id}",
    )


class JobDetailAnswer(Answer):
    """Answer of job/jobdetail: the job as a list of one."""

    essential = frozenset({"hpc_job_set"})

    hpc_job_set: Items[Job] = Field(default_factory=list)


def job_detail(zone: str, cluster_id: str, job_uuid: str) -> ApiCall[JobDetailAnswer]:
    """Ask for one job."""
    call = hpc_call(
        "job/jobdetail",
        JobDetailAnswer,
        {"zone": zone, "cluster_id": cluster_id},
        path=f"/{percent_encode(job_uuid, 'job_id')}",
        subject=str(JobRef(job_uuid, cluster_id)),
    )
    return about(call, job_uuid, lambda answer: [job.hpcjob_uuid for job in answer.hpc_job_set])


class SubmitJobAnswer(Answer):
    """Answer of job/submitJob."""

    essential = frozenset({"hpcjob_uuid"})

    hpcjob_uuid: Id = ""
    job_id: Text = ""
    job_status: Text = ""


def submit_job(
    zone: str,
    cluster_id: str,
    *,
    name: str,
    cmd_line: str,
    run_user: str,
    core_limit: int = 1,
    hpcqueue_id: str | None = None,
    scheduler_queue_name: str | None = None,
    priority: int | None = None,
    mem_limit: int | None = None,
    time_limit: int | None = None,
    stdout_redirect_path: str | None = None,
    stderr_redirect_path: str | None = None,
) -> ApiCall[SubmitJobAnswer]:
    """Submit a job. There is no idempotency token: sent twice, it runs twice.

    :param core_limit: cores in all.
    :param mem_limit: in a unit that is not documented, like ``time_limit``.
    """
    return hpc_call(
        "job/submitJob",
        SubmitJobAnswer,
        {"zone": zone},
        body={
            "cluster_id": cluster_id,
            "zone": zone,
            "run_user": run_user,
            "name": name,
            "cmd_line": cmd_line,
            "cmd_line_type": "input",  # not in the table; the sample has it: a command, not a chosen file
            "core_limit": core_limit,
            "submit_type": 1,  # 0 is the console, 1 a command line client
            "hpcqueue_id": hpcqueue_id,
            "scheduler_queue_name": scheduler_queue_name,
            "priority": priority,
            "mem_limit": mem_limit,
            "time_limit": time_limit,
            "stdout_redirect_path": stdout_redirect_path,
            "stderr_redirect_path": stderr_redirect_path,
        },
        subject=f"job {name!r} in cluster {cluster_id}",
        writes=True,
    )


class StopJobsAnswer(Answer):
    """Answer of job/stopJobs."""

    job_uuid: Text = ""
    """Id of the operation (``j-…``), to be waited for; not a job's."""
    custom_cmd_result: Any = None


def stop_jobs(zone: str, cluster_id: str, job_ids: list[str]) -> ApiCall[StopJobsAnswer]:
    """Stop jobs; the answer names the operation that does it.

    Reading the answer also raises the error of a single job's stop, which comes beside a ``ret_code`` of 0.

    :raises InvalidArgument: for an empty list, which the API does not explain.
    """
    if not job_ids:
        raise InvalidArgument("job_ids: name at least one job to stop")
    call = hpc_call(
        "job/stopJobs",
        StopJobsAnswer,
        {"zone": zone},
        body={"cluster_id": cluster_id, "zone": zone, "job_ids": job_ids},
        subject=f"job {', '.join(job_ids)} in cluster {cluster_id}",
        writes=True,
    )

    def read(response: ApiResponse) -> StopJobsAnswer:
        answer = call.read(response)
        for result in _command_results(answer.custom_cmd_result):
            if str(result.get("ret_code", 0)).strip() != "0":
                raise ret_code_error(result["ret_code"], result.get("message"), response)
        return answer

    return replace(call, read=read)


class QingCloudHpcApi:
    """The common surface over QingCloud HPC in one zone.

    What an asynchronous call returns (``j-…``: a cluster started, nodes added, jobs stopped) can be waited
    for like a job, by its operation's status; it needs no cluster.
    """

    name = "qingcloud"
    log_limits = LogLimits(largest=0, smallest=0)

    def __init__(self, zone: str) -> None:
        self._zone = zone

    def job_ref(self, job_id: str, cluster_id: str | None, version_id: str | None) -> JobRef:
        """See :class:`~airflow_provider_ehpc.apis.job.JobApi`."""
        if version_id:
            raise InvalidArgument(f"version_id: the API {self.name!r} knows no job versions; leave it out")
        ref = JobRef(job_id.strip(), cluster_id.strip() if cluster_id else None)
        if not ref.job_id:
            raise InvalidArgument("job_id: an empty text names no job")
        if not ref.cluster_id and not _is_operation(ref):
            raise InvalidArgument(
                f"cluster_id: the API {self.name!r} needs the cluster of job {ref.job_id}; give cluster_id, "
                "or set the connection's default cluster id"
            )
        return ref

    def job_status(self, ref: JobRef) -> Flow[JobStatus]:
        """Ask job/jobdetail, or /operation for the id of an operation."""
        if _is_operation(ref):
            operation = yield from find_operation(self._zone, ref.job_id)
            return _from_operation(ref, operation)
        answer = yield job_detail(self._zone, _cluster(ref), ref.job_id)
        # A row without an ID is taken for the job's only if no other names it.
        for job in sorted(answer.hpc_job_set, key=lambda job: not job.hpcjob_uuid):
            if same_id(job.hpcjob_uuid or ref.job_id, ref.job_id):
                return _from_job(ref, job)
        raise NotFound(f"the cluster knows no {ref}")

    def job_statuses(self, refs: list[JobRef]) -> StatusesFlow:
        """Page through the unfinished jobs where that is cheaper, and ask for the others one by one."""
        found: dict[JobRef, JobStatus | None] = yield from statuses_by_page_or_job(
            (ref for ref in refs if not _is_operation(ref)), self._lists, self.job_status
        )
        operations = filter(_is_operation, refs)
        found.update((yield from statuses_by_page_or_job(operations, lambda _ref: [], self.job_status)))
        return found

    def cluster_jobs(self, cluster_id: str | None, since: datetime) -> Flow[Mapping[str, ClusterJob]]:
        """Read the whole job/list, a hundred jobs a call: it has no filter by time, and its order is not
        documented.
        """
        if not cluster_id:
            raise InvalidArgument(
                f"cluster_id: the API {self.name!r} needs the cluster whose jobs are meant; give cluster_id, "
                "or set the connection's default cluster id"
            )
        return self._cluster_jobs(cluster_id, since)

    def read_log(self, ref: JobRef, cursor: LogCursor, size: int) -> Flow[LogBatch]:
        """Refuse: there is no job log."""
        raise self._no_log(ref)

    def log_tail(self, ref: JobRef, size: int) -> Flow[tuple[LogChunk, ...]]:
        """Refuse: there is no job log."""
        raise self._no_log(ref)

    def submit(self, spec: JobSpec, cluster_id: str | None) -> Flow[JobRef]:
        """Ask job/submitJob.

        :raises InvalidArgument: before any request, for what a job here needs and ``spec`` lacks.
        :raises NotSupported: before any request, for what a job here cannot be given.
        """
        if not cluster_id:
            raise InvalidArgument(
                f"cluster_id: the API {self.name!r} needs the cluster to submit to; give cluster_id, or set "
                "the connection's default cluster id"
            )
        call = submit_job(self._zone, cluster_id, **_submission(spec))
        return self._submitted(call, cluster_id)

    def stop(self, ref: JobRef) -> Flow[None]:
        """Ask job/stopJobs.

        :raises NotSupported: before any request, for an operation: it cannot be taken back.
        """
        if _is_operation(ref):
            raise NotSupported(f"job_id: {ref.job_id} is an operation, and no call stops one")
        return self._stopped(ref)

    def _submitted(self, call: ApiCall[SubmitJobAnswer], cluster_id: str) -> Flow[JobRef]:
        answer = yield call
        if not answer.hpcjob_uuid:
            raise UnexpectedResponse(
                "job/submitJob told no hpcjob_uuid; look the job up by its name before submitting it again"
            )
        return JobRef(answer.hpcjob_uuid, cluster_id)

    def _stopped(self, ref: JobRef) -> Flow[None]:
        yield stop_jobs(self._zone, _cluster(ref), [ref.job_id])

    def _no_log(self, ref: JobRef) -> NotSupported:
        return NotSupported(
            f"job_id: the log of {ref} cannot be read, the API {self.name!r} has no call for it; its output "
            "is in the files that the job's status names as stdout_path and stderr_path, on the cluster"
        )

    def _lists(self, ref: JobRef) -> list[JobsList]:
        # How a job ended, and why, only its details tell.
        return [
            JobsList(partial(self._page, _cluster(ref), word), PAGE_SIZE) for word in ("running", "pending")
        ]

    def _cluster_jobs(self, cluster_id: str, since: datetime) -> Flow[Mapping[str, ClusterJob]]:
        rows = yield from all_pages(partial(self._rows, cluster_id), lambda job: job.hpcjob_uuid, PAGE_SIZE)
        jobs = {}
        for job_id, job in rows.items():
            status = _from_job(JobRef(job_id, cluster_id), job)
            if job_id and (not status.state.terminal or submitted_since(status, since)):
                jobs[job_id] = ClusterJob(status, status.state.terminal, whole=False)
        return jobs

    def _rows(self, cluster_id: str, number: int) -> Flow[tuple[list[Job], int | None]]:
        answer = yield list_jobs(self._zone, cluster_id, offset=(number - 1) * PAGE_SIZE)
        return answer.hpc_job_set, answer.total_count

    def _page(self, cluster_id: str, jobs_status: str, number: int) -> Flow[JobsPage]:
        answer = yield list_jobs(self._zone, cluster_id, jobs_status=jobs_status, offset=number * PAGE_SIZE)
        # The filter's words are not quite those of the answers; the answer's own word decides.
        told = {
            (ref := JobRef(job.hpcjob_uuid, cluster_id)): _from_job(ref, job)
            for job in answer.hpc_job_set
            if job.hpcjob_uuid
        }
        return JobsPage(told, len(answer.hpc_job_set), answer.total_count)


def _is_operation(ref: JobRef) -> bool:
    return ref.job_id.startswith("j-")


def _cluster(ref: JobRef) -> str:
    if ref.cluster_id is None:
        raise InvalidArgument(f"cluster_id: {ref} names no cluster")
    return ref.cluster_id


def _submission(spec: JobSpec) -> dict[str, Any]:
    """Return the arguments of :func:`submit_job` that say what ``spec`` says."""
    refused = {
        "password": spec.password,
        "gpus": spec.gpus,
        "array": spec.array,
        "environment": spec.environment,
        "nodes": spec.nodes if spec.nodes and spec.nodes > 1 else None,
        # Whole numbers, in units that nobody documents.
        "memory": spec.memory,
        "wall_time": spec.wall_time,
    }
    given = [name for name, value in refused.items() if value]
    if given:
        raise NotSupported(f"{', '.join(given)}: a job of QingCloud HPC cannot be given this; leave it out")
    if not spec.user:
        raise InvalidArgument("user: QingCloud HPC needs the cluster user that the job runs as")
    by_id = bool(spec.queue and spec.queue.startswith(("hpcq-", "ehpcq-")))
    return {
        "name": spec.name,
        "cmd_line": spec.command,
        "run_user": spec.user,
        "core_limit": spec.cores or 1,
        "hpcqueue_id": spec.queue if by_id else None,
        "scheduler_queue_name": None if by_id else spec.queue,
        "priority": spec.priority,
        "stdout_redirect_path": spec.stdout_path,
        "stderr_redirect_path": spec.stderr_path,
    }


def _command_results(told: Any) -> list[dict[str, Any]]:
    """Read ``["{\\"job_ids\\": \\"5\\", \\"ret_code\\": 0}"]``: JSON objects as texts in a list."""
    results = []
    for item in told if isinstance(told, list) else [told]:
        try:
            result = parse_json(item) if isinstance(item, str) else item
        except ValueError:
            continue  # the sample itself is not JSON
        if isinstance(result, dict):
            results.append(result)
    return results


def _nodes(text: str) -> tuple[str, ...]:
    """Split ``[]``, ``["node1", "node2"]`` and ``node1,node2`` into names."""
    return tuple(text.translate(str.maketrans("[]\"',", "     ")).split())


def _reason(job: Job, state: JobState) -> str:
    # A running job still has the pend_reason of its time in the queue.
    if state is JobState.QUEUED:
        return job.pend_reason or job.reason
    if state is JobState.SUSPENDED:
        return job.suspend_reson
    return job.end_reason if state.terminal else ""


def _from_job(ref: JobRef, job: Job) -> JobStatus:
    state = job_state(job.job_status)
    resources = {"cores": job.core_limit, "memory": job.mem_limit}
    return JobStatus(
        job_id=ref.job_id,
        cluster_id=ref.cluster_id,
        state=state,
        raw_state=job.job_status,
        name=job.job_name or None,
        user=job.run_user or None,
        queue=job.scheduler_queue_name or job.queue_name or job.hpcqueue_id or None,
        reason=_reason(job, state) or None,
        submitted_at=job.submitted_time,
        started_at=job.started_time,
        ended_at=job.end_time,
        modified_at=job.modified_time,
        nodes=_nodes(job.job_node_list),
        resources={name: value for name, value in resources.items() if value},
        stdout_path=job.stdout_redirect_path or None,
        stderr_path=job.stderr_redirect_path or None,
    )


def _from_operation(ref: JobRef, operation: Operation) -> JobStatus:
    state = operation_state(operation.status)
    return JobStatus(
        job_id=ref.job_id,
        cluster_id=ref.cluster_id,
        state=state,
        raw_state=operation.status,
        name=operation.job_action or None,
        user=operation.owner or None,
        reason=operation.error_codes or None,
        submitted_at=operation.create_time,
        ended_at=operation.status_time if state.terminal else None,
        modified_at=operation.status_time,
    )
