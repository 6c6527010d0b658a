# SPDX-License-Identifier: Apache-2.0
"""Emulate ModelArts API v2.

Sources: the pages of the operations and ``huaweicloudsdkmodelarts`` 3.1.219. They do not document which lines
of a log are returned if the base line is missing or between two lines; see :meth:`ModelArts.logs`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from airflow_provider_ehpc.emulator.faults import FaultKind, Faults
from airflow_provider_ehpc.emulator.gateway import Refused, Reply
from airflow_provider_ehpc.emulator.huawei import training
from airflow_provider_ehpc.emulator.huawei.logs import PREVIEW, Line, LogFile
from airflow_provider_ehpc.emulator.huawei.protocol import Call, Route, is_number, not_emulated, route
from airflow_provider_ehpc.emulator.huawei.training import TrainingJobs
from airflow_provider_ehpc.emulator.jobs import EmulatedJob, Phase
from airflow_provider_ehpc.emulator.schedulers import SubmissionRefused

USER = "testuser"
_MAX_LINES = 500
_JOBS = "/v2/{project_id}/training-jobs"
_JOB = _JOBS + "/{job_id}"
_BEIJING = timezone(timedelta(hours=8))


class ModelArts:
    """The operations on training jobs."""

    def __init__(self, jobs: TrainingJobs, faults: Faults, default_queue: str) -> None:
        self._jobs = jobs
        self._faults = faults
        self._default_queue = default_queue

    @property
    def routes(self) -> Sequence[Route]:
        """The operations with their paths."""
        return (
            route("CreateTrainingJob", "POST", _JOBS, self.create),
            route("ListTrainingJobs", "POST", "/v2/{project_id}/training-job-searches", self.search),
            route("ShowTrainingJobDetails", "GET", _JOB, self.show),
            route("StopTrainingJob", "POST", f"{_JOB}/actions", self.stop),
            route("ListTrainingJobEvents", "GET", f"{_JOB}/events", self.events),
            route("ListTrainingJobTasks", "GET", f"{_JOB}/tasks", self.tasks),
            route("ShowTrainingJobLogsFromAom", "GET", _JOB + "/logs/{task}", self.logs),
            route("ShowTrainingJobLogsPreview", "GET", _JOB + "/tasks/{task}/logs/preview", self.preview),
        )

    async def create(self, call: Call) -> Reply:
        """CreateTrainingJob."""
        spec = training.read_spec(call.json(), self._jobs.cluster.home, self._default_queue)
        if any(job.spec.name == spec.name for job in self._jobs.all()):
            raise Refused(400, "ModelArts.2751", f"Duplicate training job (name {spec.name}).")
        try:
            job = await self._jobs.cluster.submit(spec)
        except SubmissionRefused as refusal:
            raise Refused(400, "ModelArts.2788", f"Invalid parameter({refusal}).") from None
        return Reply(201, self._job(job, ("Creating", "Creating")))

    async def show(self, call: Call) -> Reply:
        """ShowTrainingJobDetails."""
        return Reply(200, self._job(self._find(call)))

    async def search(self, call: Call) -> Reply:
        """ListTrainingJobs."""
        body = call.json()
        page, limit = body.get("offset", 0), body.get("limit", 10)
        order, sort_by = body.get("order") or "desc", body.get("sort_by") or "create_time"
        if not isinstance(page, int) or page < 0 or not isinstance(limit, int) or not 1 <= limit <= 50:
            raise Refused(400, "ModelArts.2770", "Parameter range error.")
        if sort_by not in ("create_time", "name") or order not in ("asc", "desc"):
            raise Refused(400, "ModelArts.2790", "Unsupported sorting item.")
        for name in ("group_by", "train_type", "tags", "host_ips"):
            if body.get(name):
                raise not_emulated(name)
        jobs = list(self._jobs.all())
        filters = body.get("filters") or []
        if not isinstance(filters, list):
            raise Refused(400, "ModelArts.2825", "The parameter (filters) value type error.")
        conditions = [_condition(each) for each in filters]
        workspace = body.get("workspace_id") or ""
        found = [
            job
            for job in jobs
            if all(condition(self._facts(job)) for condition in conditions)
            and workspace in ("", training.workspace_id(job))
        ]
        found.sort(
            key=lambda job: (job.spec.name if sort_by == "name" else "", job.number), reverse=order == "desc"
        )
        items = [self._job(job) for job in found[page * limit : (page + 1) * limit]]
        response = {
            "total": len(jobs),
            "count": len(found),
            "limit": limit,
            "offset": page,
            "sort_by": sort_by,
            "order": order,
            "group_by": "",
            "workspace_id": workspace or "0",
            "ai_project": "default-ai-project",
            "items": items,
        }
        return Reply(200, response)

    async def stop(self, call: Call) -> Reply:
        """StopTrainingJob."""
        action = call.json().get("action_type")
        if action != "terminate":
            raise Refused(400, "ModelArts.2812", f"Unsupported action type:{action}")
        job = self._find(call)
        if job.phase.ended:
            raise Refused(409, "ModelArts.2796", "The job cannot be terminated.")
        await self._jobs.cluster.stop(job)
        return Reply(202, self._job(job, ("Terminating", "Terminating")))

    async def tasks(self, call: Call) -> Reply:
        """ListTrainingJobTasks: a list without a wrapper."""
        job = self._find(call)
        placed = [] if job.started_at is None else training.tasks(job)
        rows = [
            {"task": task, "ip": f"172.16.0.{10 + n}", "host_ip": f"192.168.0.{80 + n}", "schedule_count": 1}
            for n, task in enumerate(placed)
        ]
        return Reply(200, rows)

    async def events(self, call: Call) -> Reply:
        """ListTrainingJobEvents."""
        query = call.query
        offset, limit = _whole(query, "offset", 0), _whole(query, "limit", 50)
        order = query.get("order", "desc")
        if not 1 <= limit <= 100 or order not in ("asc", "desc"):
            raise Refused(400, "ModelArts.50004000", "Bad request.")
        job = self._find(call)
        since, until = _whole(query, "start_time", 0), _whole(query, "end_time", int(time.time() * 1000))
        if ("start_time" in query) != ("end_time" in query):
            raise Refused(400, "ModelArts.50004000", "Bad request.")
        found = [
            {"time": _beijing(at), "level": level, "message": message, "source": source}
            for at, level, message, source in _events(job)
            if since <= at * 1000 <= until
            and query.get("level", level) == level
            and query.get("pattern", "") in message
        ]
        if order == "desc":
            found.reverse()
        response = {
            "total": len(found),
            "limit": limit,
            "offset": offset,
            "order": order,
            "start_time": _beijing(since / 1000),
            "end_time": _beijing(until / 1000),
            "events": found[offset : offset + limit],
        }
        return Reply(200, response)

    async def logs(self, call: Call) -> Reply:
        """ShowTrainingJobLogsFromAom: ``asc`` reads from old to new, ``desc`` from new to old.

        The base line itself is not returned. Without one, the log is read from its newest line.
        """
        base, order = call.query.get("base_line", ""), call.query.get("order", "desc")
        count = _whole(call.query, "lines", 50)
        if order not in ("asc", "desc") or (base and not is_number(base, 40)) or not 1 <= count <= _MAX_LINES:
            raise Refused(400, "ModelArts.2764", "Invalid query parameter (base_line, lines, order).")
        log = self._log(call)
        lines: list[Line] = []
        if order == "desc":
            lines = await asyncio.to_thread(log.before, int(base) if base else None, count)
            lines.reverse()
        elif base:
            lines = await asyncio.to_thread(log.after, int(base), count)
        return Reply(
            200,
            {
                "start_line": str(lines[0].number) if lines else "",
                "end_line": str(lines[-1].number) if lines else "",
                "lines": len(lines),
                "content": "".join(f"{line.text}\n" for line in lines),
            },
        )

    async def preview(self, call: Call) -> Reply:
        """ShowTrainingJobLogsPreview: the newest 5 MB."""
        log = self._log(call)
        size = log.size
        data = await asyncio.to_thread(log.read, max(0, size - PREVIEW), PREVIEW)
        current, full = len(data), max(size, len(data))
        if self._faults.active(FaultKind.LOG_SIZE, call.names["job_id"]):
            current = full = 0
        content = data.decode(errors="replace")
        return Reply(200, {"content": content, "current_size": current, "full_size": full})

    def _find(self, call: Call) -> EmulatedJob:
        name = call.names["job_id"]
        job = self._jobs.get(training.read_job_id(name))
        if job is None:
            raise Refused(400, "ModelArts.2775", f"Training job (ID: {name}) not found.")
        return job

    def _log(self, call: Call) -> LogFile:
        job = self._find(call)
        log = training.log_file(job, call.names["task"])
        if log is None:
            raise Refused(400, "ModelArts.2764", f"Invalid query parameter ({call.names['task']}).")
        if not log.exists:
            if job.phase.ended:
                raise Refused(400, "ModelArts.2818", "the log file is not generated")
            raise Refused(204, "ModelArts.2776", "not ready for fetch log, wait for training to return data")
        return log

    def _phase(self, job: EmulatedJob) -> tuple[str, str]:
        injected = self._jobs.injected_state(job)
        return (injected, injected) if injected else training.phase(job)

    def _facts(self, job: EmulatedJob) -> Mapping[str, str]:
        return {
            "id": training.job_id(job),
            "name": job.spec.name,
            "phase": self._phase(job)[0],
            "create_time": str(_milliseconds(job.submission.submitted_at)),
        }

    def _job(self, job: EmulatedJob, phase: tuple[str, str] | None = None) -> Mapping[str, Any]:
        body = training.request_body(job)
        main, secondary = phase or self._phase(job)
        until = job.ended_at or time.time()
        metadata = body.get("metadata") or {}
        status: dict[str, Any] = {
            "phase": main,
            "secondary_phase": secondary,
            "duration": 0 if job.started_at is None else round((until - job.started_at) * 1000),
            "start_time": _milliseconds(job.started_at),
            "node_count_metrics": None,
            "tasks": training.tasks(job),
        }
        if job.ended_at is not None:
            status |= _end(job)
        return {
            "kind": "job",
            "metadata": {
                "id": training.job_id(job),
                "name": job.spec.name,
                "description": metadata.get("description", ""),
                "create_time": _milliseconds(job.submission.submitted_at),
                "workspace_id": training.workspace_id(job),
                "user_name": job.spec.user or USER,
            },
            "status": status,
            "algorithm": body["algorithm"],
            "spec": body["spec"],
        }


def _end(job: EmulatedJob) -> Mapping[str, Any]:
    if job.started_at is None or job.ended_at is None:
        return {}
    codes = training.exit_codes(job)
    record = {
        "start_at": int(job.started_at),
        "end_at": int(job.ended_at),
        "start_type": "init_or_rescheduled",
        "end_reason": "job completed",
    }
    if codes:
        task, code = next(iter(codes.items()))
        record |= {"end_reason": f"exit with {code}", "end_related_task": task}
    statuses = [
        {"task": task, "exit_code": code, "message": "the training process ended with an error"}
        for task, code in codes.items()
    ]
    return {"task_statuses": statuses, "running_records": [record]}


def _events(job: EmulatedJob) -> list[tuple[float, str, str, str]]:
    """Return the events of a job, oldest first: time, level, message, source."""
    events = [(job.submission.submitted_at, "Info", "Training job created.", "Job")]
    if job.started_at is not None:
        events.append((job.started_at, "Info", "Training job is running.", "Job"))
        events += [
            (job.started_at, "Info", f"[{task}] training started.", "Task") for task in training.tasks(job)
        ]
    if job.ended_at is None:
        return events
    codes = training.exit_codes(job)
    if job.exit_code is not None:
        for task in training.tasks(job):
            message = f"[{task}] Training finished. Exit code {codes.get(task, 0)}."
            events.append((job.ended_at, "Info", message, "Task"))
    ends = {Phase.COMPLETED: ("Info", "completed"), Phase.CANCELLED: ("Warning", "terminated")}
    level, word = ends.get(job.phase, ("Error", "failed"))
    return [*events, (job.ended_at, level, f"Training job {word}.", "Job")]


def _condition(fields: Any) -> Callable[[Mapping[str, str]], bool]:
    """Read one filter of a search."""
    if not isinstance(fields, dict):
        raise Refused(400, "ModelArts.2825", "The parameter (filters) value type error.")
    key, operator, values = fields.get("key", ""), fields.get("operator"), fields.get("value") or []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise Refused(400, "ModelArts.2825", "The parameter (filters.value) value type error.")
    if key not in ("id", "name", "phase", "create_time"):
        raise Refused(400, "ModelArts.2807", f"Unsupported condition key ({key})")
    if operator == "in":
        return lambda facts: facts[key] in values
    if operator == "not":
        return lambda facts: facts[key] not in values
    if operator == "like":
        return lambda facts: any(value in facts[key] for value in values)
    if operator == "between" and key == "create_time" and len(values) == 2:
        if not all(map(is_number, values)):
            raise Refused(400, "ModelArts.2770", "Parameter range error.")
        first, last = map(int, values)
        return lambda facts: first <= int(facts[key]) <= last
    raise Refused(400, "ModelArts.2808", f"Unsupported condition operator ({operator})")


def _whole(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not is_number(text):
        raise Refused(400, "ModelArts.2764", f"Invalid query parameter ({name}).")
    return int(text)


def _milliseconds(at: float | None) -> int:
    return 0 if at is None else round(at * 1000)


def _beijing(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).astimezone(_BEIJING).isoformat(timespec="seconds")
