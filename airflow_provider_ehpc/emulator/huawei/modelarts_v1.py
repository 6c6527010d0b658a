# SPDX-License-Identifier: Apache-2.0
"""Emulate ModelArts API v1, as far as it still exists: reading and stopping jobs.

Sources: "Querying Training Job Logs (Old)" (modelarts_03_0055) and the pages beside it. Numbers are numbers
or strings as in the sample of each page. The HTTP status of errors is not documented; here it is 400.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_ehpc.emulator.faults import FaultKind, Faults
from airflow_provider_ehpc.emulator.gateway import Refused, Reply
from airflow_provider_ehpc.emulator.huawei import training
from airflow_provider_ehpc.emulator.huawei.logs import CUTS, Line, LogFile
from airflow_provider_ehpc.emulator.huawei.protocol import Call, Route, is_number, route
from airflow_provider_ehpc.emulator.huawei.training import TrainingJobs
from airflow_provider_ehpc.emulator.jobs import EmulatedJob, Phase

_SLICE = 2048
_MAX_LINES = 500
_VERSIONS = 1000
"""The ID of a job's only version is the job's number plus this, so that the two cannot be confused."""
_JOBS = "/v1/{project_id}/training-jobs"
_VERSION = _JOBS + "/{job_id}/versions/{version_id}"
# JOBSTAT_… of modelarts_03_0074.
_KILLING, _UNKNOWN, _CANCELED = 9, 0, 13
_STATUSES = {
    Phase.PENDING: 7,
    Phase.RUNNING: 8,
    Phase.COMPLETING: 8,
    Phase.SUSPENDED: 7,
    Phase.COMPLETED: 10,
    Phase.CANCELLED: 12,
    Phase.TIMEOUT: 12,
    Phase.NODE_FAIL: 14,
    Phase.BOOT_FAIL: 5,
}
_FAILED = 11


def version_id(job: EmulatedJob) -> int:
    """Return the ID of a job's version."""
    return job.number + _VERSIONS


class ModelArtsV1:
    """The operations on job versions."""

    def __init__(self, jobs: TrainingJobs, faults: Faults) -> None:
        self._jobs = jobs
        self._faults = faults

    @property
    def routes(self) -> Sequence[Route]:
        """The operations with their paths. The pages do not name them."""
        return (
            route("ListTrainingJobs", "GET", _JOBS, self.list_jobs),
            route("ShowTrainingJobVersion", "GET", _VERSION, self.show),
            route("StopTrainingJobVersion", "POST", f"{_VERSION}/stop", self.stop),
            route("ListTrainingJobLogFiles", "GET", f"{_VERSION}/log/file-names", self.log_files),
            route("ShowTrainingJobLog", "GET", f"{_VERSION}/log", self.log),
            route("ShowTrainingJobAomLog", "GET", f"{_VERSION}/aom-log", self.aom_log),
        )

    async def list_jobs(self, call: Call) -> Reply:
        """List of jobs (modelarts_03_0046)."""
        query = call.query
        page, size = _whole(query, "page", 1), _whole(query, "per_page", 10)
        if (
            not 1 <= page <= 65535
            or not 1 <= size <= 1000
            or query.get("order", "asc") not in ("asc", "desc")
        ):
            raise _refused("0101", "Invalid Argument.")
        jobs = [
            job
            for job in self._jobs.all()
            if query.get("status", str(self._status(job))) == str(self._status(job))
            and query.get("search_content", "") in job.spec.name
        ]
        if query.get("order", "asc") == "desc":
            jobs.reverse()
        rows = [
            {
                "job_id": job.number,
                "job_name": job.spec.name,
                "version_id": version_id(job),
                "status": self._status(job),
                "create_time": round(job.submission.submitted_at * 1000),
                "duration": _duration(job),
                "job_desc": "",
                "version_count": 1,
            }
            for job in jobs[(page - 1) * size : page * size]
        ]
        return _success({"quotas": 1000, "job_total_count": len(jobs), "job_count_limit": 1000, "jobs": rows})

    async def show(self, call: Call) -> Reply:
        """Details of a version (modelarts_03_0047)."""
        job = self._find(call)
        body = training.request_body(job)
        environments = body["algorithm"].get("environments") or {}
        details = {
            "job_id": job.number,
            "job_name": job.spec.name,
            "job_desc": "",
            "version_id": version_id(job),
            "version_name": "V0001",
            "pre_version_id": None,
            "status": self._status(job),
            "create_time": round(job.submission.submitted_at * 1000),
            "start_time": 0 if job.started_at is None else round(job.started_at * 1000),
            "duration": _duration(job),
            "parameter": [{"label": label, "value": value} for label, value in environments.items()],
            "worker_server_num": len(training.tasks(job)),
            "user_command": body["algorithm"].get("command", ""),
            "spec_code": body["spec"]["resource"].get("flavor_id", ""),
            "core": "2",
            "cpu": "8",
            "gpu_num": 0,
            "system_metric_list": {"cpuUsage": ["0"], "memUsage": ["0"], "gpuUtil": ["0"]},
            "error_result": None,
            "volumes": None,
        }
        return _success(details)

    async def stop(self, call: Call) -> Reply:
        """Stop a version (modelarts_03_0051)."""
        job = self._find(call)
        if job.phase.ended:
            raise _refused("0105", "The operation is not allowed.")
        await self._jobs.cluster.stop(job)
        return _success({})

    async def log_files(self, call: Call) -> Reply:
        """Names of the log files (modelarts_03_0054): one per node, none before the job runs."""
        job = self._find(call)
        logs = [training.log_file(job, task) for task in training.tasks(job)]
        return _success(
            {"log_file_list": [_file(job, n) for n, log in enumerate(logs) if log and log.exists]}
        )

    async def log(self, call: Call) -> Reply:
        """Bytes of a log (modelarts_03_0055, "Old"). All numbers are strings, as in the sample."""
        start, length = _whole(call.query, "start_byte", 0, least=-1), _whole(call.query, "offset", _SLICE)
        # Lengths down to -2048 are allowed, but their meaning is not documented.
        if not 1 <= length <= _SLICE:
            raise _refused("0101", "Invalid Argument.")
        log = self._log(call)
        if start == -1:
            start = max(0, log.size - length)
        data = await asyncio.to_thread(log.read, start, length)
        fault = self._faults.active(FaultKind.SPLIT)
        text, count = CUTS[fault.word if fault else "replaced"](data)
        return _success({"log": text, "end_byte": str(start + count), "count": str(count)})

    async def aom_log(self, call: Call) -> Reply:
        """Lines of a log (modelarts_03_0149, "New"): ``desc`` returns newer lines, ``asc`` older ones.

        Each line ends with a line feed, and another one joins the lines, as in the response captured in
        modelarts_03_0401. Without a base line, the newest lines are returned.
        """
        query = call.query
        base, order, count = (
            query.get("base_line", ""),
            query.get("order", "desc"),
            _whole(query, "lines", 50),
        )
        if order not in ("asc", "desc") or (base and not is_number(base, 40)) or count > _MAX_LINES:
            raise _refused("0101", "Invalid Argument.")
        log = self._log(call)
        if base and order == "desc":
            lines = await asyncio.to_thread(log.after, int(base), count)
        else:
            lines = await asyncio.to_thread(log.before, int(base) if base else None, count)
        return _success(_page(lines))

    def _find(self, call: Call) -> EmulatedJob:
        job_id, version = call.names["job_id"], call.names["version_id"]
        job = self._jobs.get(int(job_id)) if is_number(job_id) else None
        if job is None or str(version_id(job)) != version:
            raise _refused("0102", "The resource does not exist.")
        return job

    def _log(self, call: Call) -> LogFile:
        job = self._find(call)
        names = {_file(job, n): task for n, task in enumerate(training.tasks(job))}
        log = training.log_file(job, names.get(call.query.get("log_file", ""), ""))
        if log is None or not log.exists:
            raise _refused("0101", "Invalid Argument.")
        return log

    def _status(self, job: EmulatedJob) -> int:
        injected = self._jobs.injected_state(job)
        if injected is not None:
            return int(injected) if injected.isdigit() else _UNKNOWN
        if job.stopped_at is not None and not job.phase.ended:
            return _KILLING
        if job.phase is Phase.CANCELLED and job.started_at is None:
            return _CANCELED
        return _STATUSES.get(job.phase, _FAILED)


def _success(fields: Mapping[str, Any]) -> Reply:
    return Reply(200, {"is_success": True, **fields})


def _refused(code: str, message: str) -> Refused:
    return Refused(400, f"ModelArts.{code}", message)


def _file(job: EmulatedJob, node: int) -> str:
    return f"job-{job.spec.name}.{node}"


def _page(lines: Sequence[Line]) -> Mapping[str, Any]:
    return {
        "start_line": str(lines[0].number) if lines else "",
        "end_line": str(lines[-1].number) if lines else "",
        "lines": len(lines),
        "content": "\n".join(f"{line.text}\n" for line in lines),
    }


def _duration(job: EmulatedJob) -> int:
    return 0 if job.started_at is None else round(((job.ended_at or time.time()) - job.started_at) * 1000)


def _whole(query: Mapping[str, str], name: str, default: int, *, least: int = 0) -> int:
    try:
        number = int(query.get(name, default))
    except ValueError:
        number = least - 1
    if number < least:
        raise _refused("0101", "Invalid Argument.")
    return number
