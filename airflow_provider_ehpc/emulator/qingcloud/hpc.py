# SPDX-License-Identifier: Apache-2.0
"""Emulate the actions on jobs.

Sources: the pages on jobs (2023-09-06) and their samples, which disagree. Times have no zone in job/list and
a Z in job/jobdetail. A cancelled job is ``stopped`` in the first and ``cancelled`` in the second. ``job_id``
is a number in both and a string in the response of submitJob.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from airflow_provider_ehpc.apis.job import JobSpec
from airflow_provider_ehpc.emulator.cluster import Cluster
from airflow_provider_ehpc.emulator.faults import FaultKind, Faults
from airflow_provider_ehpc.emulator.gateway import Refused
from airflow_provider_ehpc.emulator.jobs import EmulatedJob, Phase
from airflow_provider_ehpc.emulator.operation_log import OperationLog
from airflow_provider_ehpc.emulator.operations import EmulatedOperation, EmulatedStatus
from airflow_provider_ehpc.emulator.qingcloud.parameters import (
    CLUSTER_ID,
    ZONE,
    Code,
    check_cluster,
    newest_first,
    not_emulated,
    page,
    refusal,
    required,
    text,
    utc,
    whole,
)
from airflow_provider_ehpc.emulator.qingcloud.protocol import Action, HpcRequest
from airflow_provider_ehpc.emulator.schedulers import SubmissionRefused

QUEUE_ID = "ehpcq-emulator"
_CLUSTER_TYPE = "ehpc"
_STATES = {
    Phase.PENDING: "pending",
    Phase.RUNNING: "running",
    Phase.COMPLETING: "running",
    Phase.SUSPENDED: "paused",
    Phase.COMPLETED: "finished",
    Phase.CANCELLED: "cancelled",
    Phase.PREEMPTED: "cancelled",
}
_FILTERS = ("pending", "running", "finished", "exited", "cancelled")
# The values of sort_key are not documented; here they are the times in the response.
_SORT_KEYS: dict[str, Callable[[EmulatedJob], float]] = {
    "submitted_time": lambda job: job.submission.submitted_at,
    "started_time": lambda job: job.started_at or 0.0,
    "modified_time": lambda job: job.modified_at,
}


class Hpc:
    """The actions on jobs. Arrays, which only other APIs can submit, are not visible."""

    def __init__(self, cluster: Cluster, log: OperationLog, faults: Faults) -> None:
        self._cluster = cluster
        self._log = log
        self._faults = faults
        log.advance = self._advance

    @property
    def actions(self) -> Mapping[str, Action]:
        """The actions by path."""
        return {
            "job/list": Action("GET", "HpcJobListJobs", self.list_jobs),
            "job/jobdetail/": Action("GET", "HpcJobGetJobDetail", self.job_detail),
            "job/submitJob": Action("POST", "HpcJobSubmitJob", self.submit_job),
            "job/stopJobs": Action("POST", "HpcJobStopJobs", self.stop_jobs),
        }

    async def list_jobs(self, request: HpcRequest) -> Mapping[str, Any]:
        """job/list."""
        query = request.query
        check_cluster(query)
        _check_emulated(query, ("end_time", "iamuser_name", "start_time"))
        # jobs_status in the documentation, job_status in the vendor's client (qingcloud-hpc 0.0.1).
        status = query.get("jobs_status") or query.get("job_status") or ""
        if status not in ("", *_FILTERS):
            raise refusal(Code.MALFORMED, f"parameter [jobs_status] is not one of {', '.join(_FILTERS)}")
        measure = _SORT_KEYS.get(query.get("sort_key") or "submitted_time")
        if measure is None:
            raise refusal(Code.MALFORMED, f"parameter [sort_key] is not one of {', '.join(_SORT_KEYS)}")
        jobs = [
            job
            for job in self._cluster.jobs()
            if job.index is None
            and not job.whole_array
            and not self._invisible(job)
            and status in ("", _STATES.get(job.phase, "exited"))
            and query.get("run_user", "") in ("", job.spec.user)
            and query.get("queue_name", "") in ("", job.spec.queue)
            and query.get("search_word", "") in job.spec.name
            and query.get("hpcjob_uuid", "") in ("", job_id(job))
            and query.get("hpcqueue_id", "") in ("", QUEUE_ID)
            and query.get("cluster_type", "") in ("", _CLUSTER_TYPE)
            and query.get("owner", "") in ("", request.owner)
            and query.get("submit_type", "") in ("", "1")
        ]
        jobs.sort(key=lambda job: (measure(job), job.number), reverse=newest_first(query))
        listed = [self._listed(job) for job in jobs[page(query)]]
        return {"hpc_job_set": listed, "total_count": len(jobs)}

    async def job_detail(self, request: HpcRequest) -> Mapping[str, Any]:
        """job/jobdetail: a list with one job."""
        check_cluster(request.query)
        job = self._find(request.subject)
        state = self._state(job)
        ran = (job.ended_at or time.time()) - job.started_at if job.started_at else 0
        detail = {
            **self._common(job, state, "Z"),
            "cluster_id": CLUSTER_ID,
            "cluster_type": _CLUSTER_TYPE,
            "cmd_line_type": "input",
            "cpu_time": "",
            "end_reason": f"exit code {job.exit_code}" if job.exit_code else "",
            "end_status": str(job.exit_code or 0),
            "end_time": utc(job.ended_at),
            "host_name": "",
            "input_file": "",
            "is_delete": 0,
            "msg": "",
            "owner": request.owner,
            "pend_reason": "Resources" if job.phase is Phase.PENDING else "",
            "reason": "",
            "resources": "{}",
            "run_time": str(int(ran)),
            "scheduler_jobid": str(job.number),
            "slots_num": str(job.spec.cores or 1),
            "submit_type": 1,
            "suspend_reson": "",
            "time_limit": job.spec.options.get("time_limit"),
            "user_id": request.owner,
        }
        return {"hpc_job_set": [detail]}

    async def submit_job(self, request: HpcRequest) -> Mapping[str, Any]:
        """job/submitJob."""
        entry = self._begin(request, "HpcJobSubmitJob", "提交作业")
        try:
            job = await self._submit(request.body)
        except Refused as refused:
            self._log.end(entry, EmulatedStatus.FAILED, error=refused.code)
            raise
        self._log.end(entry, EmulatedStatus.SUCCESSFUL, job_ids=[job_id(job)])
        return {"hpcjob_uuid": job_id(job), "job_id": str(job.number), "job_status": "pending"}

    async def stop_jobs(self, request: HpcRequest) -> Mapping[str, Any]:
        """job/stopJobs: begins to stop jobs. The operation in the response ends when they have ended."""
        body = request.body
        _check_place(body)
        job_ids = body.get("job_ids")
        if not isinstance(job_ids, list) or not job_ids or not all(isinstance(item, str) for item in job_ids):
            raise refusal(Code.MALFORMED, "parameter [job_ids] is not a list of IDs")
        jobs = [self._find(item) for item in job_ids]
        running = [job for job in jobs if not job.phase.ended]
        entry = self._begin(request, "HpcJobStopJobs", "停止作业", tuple(job_ids))
        for job in running:
            await self._cluster.stop(job)
        ended = [job for job in jobs if job.phase.ended]
        if ended:
            # The error for an ended job is not documented. 1400 includes changes that the state of a resource
            # does not allow.
            self._log.end(entry, EmulatedStatus.FAILED, error=str(Code.DENIED.value))
        results = [{"job_ids": str(job.number), "ret_code": 0} for job in running]
        results += [
            {"job_ids": str(job.number), "ret_code": Code.DENIED.value, "message": "the job has ended"}
            for job in ended
        ]
        return {"job_uuid": entry.id, "custom_cmd_result": [json.dumps(result) for result in results]}

    async def _submit(self, body: Mapping[str, Any]) -> EmulatedJob:
        _check_place(body)
        _check_emulated(body, ("input_file", "resource_limit"))
        if text(body, "cmd_line_type") not in ("", "input"):
            raise not_emulated(f"parameter [cmd_line_type] with the value {body['cmd_line_type']!r}")
        # Required in the documentation; the vendor's client does not send it.
        if whole(body, "submit_type", 1) not in (0, 1):
            raise refusal(Code.MALFORMED, "parameter [submit_type] is not 0 or 1")
        if text(body, "hpcqueue_id") not in ("", QUEUE_ID):
            raise refusal(Code.NOT_FOUND, f"resource [{body['hpcqueue_id']}] is not found")
        spec = JobSpec(
            name=required(body, "name"),
            command=required(body, "cmd_line"),
            user=required(body, "run_user"),
            cores=whole(body, "core_limit"),
            queue=text(body, "scheduler_queue_name") or None,
            priority=whole(body, "priority", 0),
            stdout_path=_path(body, "stdout_redirect_path"),
            stderr_path=_path(body, "stderr_redirect_path"),
            # Their units are not documented. They are returned to clients, but not enforced.
            options={name: whole(body, name) for name in ("mem_limit", "time_limit") if name in body},
        )
        try:
            return await self._cluster.submit(spec)
        except SubmissionRefused as refused:
            raise refusal(Code.DENIED, str(refused)) from None

    def _advance(self) -> None:
        """Update the operations that wait for jobs to end."""
        now = time.time()
        for entry in self._log.unfinished("qingcloud"):
            jobs = [job for item in entry.job_ids if (job := self._look_up(item))]
            if not jobs:
                continue
            if all(job.phase.ended for job in jobs):
                last = max(job.ended_at or now for job in jobs)
                self._log.end(entry, EmulatedStatus.SUCCESSFUL, at=max(last, entry.began_at))
            elif (current := entry.in_progress_at(now)) is not entry:
                self._log.change(current)

    def _begin(
        self, request: HpcRequest, action: str, description: str, job_ids: tuple[str, ...] = ()
    ) -> EmulatedOperation:
        (entry,) = self._log.add(
            [
                EmulatedOperation(
                    time.time(),
                    action,
                    status=EmulatedStatus.PENDING,
                    actor=request.owner,
                    resources=(CLUSTER_ID,),
                    job_ids=job_ids,
                    description=description,
                    request=json.dumps(request.body, ensure_ascii=False),
                )
            ]
        )
        return entry

    def _listed(self, job: EmulatedJob) -> Mapping[str, Any]:
        state = self._state(job)
        return {
            **self._common(job, "stopped" if state == "cancelled" else state, ""),
            "categories": "dedicated_queue",
            "hpq_name": job.spec.queue or "",
            "name": job.spec.queue or "",
            "queue_name": job.spec.queue or "",
        }

    def _common(self, job: EmulatedJob, state: str, zone: str) -> dict[str, Any]:
        spec = job.spec
        return {
            "cmd_line": spec.command,
            "core_limit": spec.cores or 1,
            "exec_cwd": str(self._cluster.home),
            "hpcjob_uuid": job_id(job),
            "hpcqueue_id": QUEUE_ID,
            "job_id": job.number,
            "job_name": spec.name,
            "job_node_list": json.dumps(job.nodes),
            "job_priority": spec.priority or 0,
            "job_status": state,
            "mem_limit": spec.options.get("mem_limit"),
            "modified_time": utc(job.modified_at, zone=zone),
            "run_user": spec.user or "",
            "scheduler_queue_name": spec.queue or "",
            "started_time": utc(job.started_at, zone=zone),
            "stderr_redirect_path": str(job.stderr_path),
            "stdout_redirect_path": str(job.stdout_path),
            "submitted_time": utc(job.submission.submitted_at, zone=zone),
        }

    def _state(self, job: EmulatedJob) -> str:
        fault = self._faults.active(FaultKind.STATE, job_id(job))
        return fault.word if fault else _STATES.get(job.phase, "exited")

    def _find(self, item: str) -> EmulatedJob:
        job = self._look_up(item)
        if job is None or self._invisible(job):
            raise refusal(Code.NOT_FOUND, f"resource [{item}] is not found")
        return job

    def _look_up(self, item: str) -> EmulatedJob | None:
        number = read_job_id(item)
        job = None if number is None else self._cluster.get(number)
        return None if job is None or job.whole_array else job

    def _invisible(self, job: EmulatedJob) -> bool:
        return self._faults.hides(job_id(job), job.submission.submitted_at)


def job_id(job: EmulatedJob) -> str:
    """Return a job's ID, which contains its number."""
    return f"hpcjob-{job.number:08}"


def read_job_id(text: str) -> int | None:
    """Return the number in a job's ID; None if the text is not such an ID."""
    match = re.fullmatch(r"hpcjob-(\d{8,18})", text)
    return int(match[1]) if match else None


def _check_emulated(fields: Mapping[str, Any], names: Iterable[str]) -> None:
    for name in names:
        if fields.get(name):
            raise not_emulated(f"parameter [{name}]")


def _check_place(body: Mapping[str, Any]) -> None:
    check_cluster(body)
    if required(body, "zone") != ZONE:
        raise refusal(Code.NOT_FOUND, f"zone [{body['zone']}] is not found")


def _path(body: Mapping[str, Any], name: str) -> str | None:
    path = text(body, name)
    if path and not path.startswith("/"):
        raise refusal(Code.MALFORMED, f"parameter [{name}] is not an absolute path: {path!r}")
    return path or None
