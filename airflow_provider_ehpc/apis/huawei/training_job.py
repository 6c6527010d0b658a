# SPDX-License-Identifier: Apache-2.0
"""A training job of API v2: the response of show, create and terminate, and an item of a search.

Source: ShowTrainingJobDetails and CreateTrainingJob (2026-01-30), and the models of
``huaweicloudsdkmodelarts`` 3.1.219. The details of what a job computes (parameters, inputs, tasks) are not
typed; its resources and its status are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from airflow_provider_ehpc.apis.huawei.common import Content
from airflow_provider_ehpc.apis.huawei.states import phase_state
from airflow_provider_ehpc.apis.job import JobRef, JobState, JobStatus
from airflow_provider_ehpc.apis.response import Flag, Id, Items, Number, ResponseModel, Text, Time


class JobMetadata(ResponseModel):
    """Name, creator and creation time of a job."""

    id: Id = ""
    name: Text = ""
    workspace_id: Text = ""
    description: Text = ""
    create_time: Time = None
    """Sent in milliseconds."""
    user_name: Text = ""
    annotations: dict[str, Any] | None = None
    training_experiment_reference: Any = None


class TaskStatus(ResponseModel):
    """The end of a task (a process on a node)."""

    task: Text = ""
    exit_code: Number = None
    message: Text = ""


class RunningRecord(ResponseModel):
    """One of a job's runs: fault tolerance may start a job again.

    The first run in the sample ends before it starts, so nothing is computed from these times.
    """

    start_at: Time = None
    """Sent in seconds, as is ``end_at``."""
    end_at: Time = None
    xpu_start_at: Time = None
    start_type: Text = ""
    end_reason: Text = ""
    end_related_task: Text = ""
    end_recover: Text = ""
    end_recover_before_downgrade: Text = ""
    recover_records: Any = None


class TaskIp(ResponseModel):
    """The node of a task. Only reported in a search by ``host_ips``, and by ListTrainingJobTasks."""

    task: Text = ""
    ip: Text = ""
    host_ip: Text = ""
    schedule_count: Number = None


class Status(ResponseModel):
    """The status of a job."""

    phase: Text = ""
    secondary_phase: Text = ""
    """Internal: the vendor adds and removes words, and advises not to rely on them."""
    duration: Number = None
    """Milliseconds."""
    start_time: Time = None
    """Sent in milliseconds; 0 for a job that has not started."""
    node_count_metrics: Any = None
    tasks: Items[Text] = Field(default_factory=list)
    task_statuses: Items[TaskStatus] = Field(default_factory=list)
    running_records: Items[RunningRecord] = Field(default_factory=list)
    retention_time: Number = None
    task_ips: Items[TaskIp] = Field(default_factory=list)


class Engine(ResponseModel):
    """The framework or image that runs the algorithm."""

    engine_id: Text = ""
    engine_name: Text = ""
    engine_version: Text = ""
    image_url: Text = ""
    install_sys_packages: Flag = None
    image_repo_id: Text = ""


class Algorithm(ResponseModel):
    """The program that a job runs."""

    id: Text = ""
    name: Text = ""
    subscription_id: Text = ""
    item_version_id: Text = ""
    code_dir: Text = ""
    boot_file: Text = ""
    autosearch_config_path: Text = ""
    autosearch_framework_path: Text = ""
    command: Content = ""
    parameters: Any = None
    policies: Any = None
    inputs: Any = None
    outputs: Any = None
    engine: Engine | None = None
    local_code_dir: Text = ""
    working_dir: Text = ""
    environments: Any = Field(default=None, repr=False)
    """May hold passwords."""
    summary: Any = None


class Amount(ResponseModel):
    """A size with its unit."""

    size: Text = ""
    unit: Text = ""


class Cpu(ResponseModel):
    """The processors of a node."""

    arch: Text = ""
    core_num: Number = None


class Accelerator(ResponseModel):
    """The GPUs or NPUs of a node."""

    unit_num: Number = None
    product_name: Text = ""
    memory: Text = ""


class FlavorInfo(ResponseModel):
    """The resources of a flavor's node."""

    max_num: Number = None
    cpu: Cpu | None = None
    gpu: Accelerator | None = None
    npu: Accelerator | None = None
    memory: Amount | None = None
    disk: Amount | None = None


class Billing(ResponseModel):
    """The price of a node."""

    code: Text = ""
    unit_num: Number = None


class FlavorDetail(ResponseModel):
    """The flavor of a public pool's node; not sent for dedicated pools."""

    flavor_type: Text = ""
    billing: Billing | None = None
    flavor_info: FlavorInfo | None = None


class Resource(ResponseModel):
    """The pool, the flavor and the number of nodes of a job."""

    policy: Text = ""
    flavor_id: Text = ""
    flavor_name: Text = ""
    node_count: Number = None
    pool_id: Text = ""
    pool_name: Text = ""
    pool_group_id: Text = ""
    flavor_detail: FlavorDetail | None = None
    main_container_allocated_resources: Any = None
    main_container_customized_flavor: Any = None

    def reported(self) -> Mapping[str, str]:
        """Return the requested resources per node, as far as they are in the response."""
        info = (self.flavor_detail and self.flavor_detail.flavor_info) or FlavorInfo()
        devices = info.gpu or info.npu
        fields = {
            "nodes": self.node_count,
            "cores": info.cpu and info.cpu.core_num,
            "gpus": devices and devices.unit_num,
            "memory": info.memory and info.memory.size + info.memory.unit,
            "flavor": self.flavor_id,
        }
        return {name: str(value) for name, value in fields.items() if value}


class LogExportPath(ResponseModel):
    """The place where the log is stored for longer than 30 days."""

    obs_url: Text = ""
    host_path: Text = ""


class Spec(ResponseModel):
    """The settings of a job."""

    resource: Resource | None = None
    volumes: Any = None
    log_export_path: LogExportPath | None = None
    auto_stop: Any = None
    schedule_policy: Any = None
    custom_metrics: Any = None
    output_model: Any = None
    asset_model: Any = None


class TrainingJob(ResponseModel):
    """A training job."""

    kind: Text = ""
    metadata: JobMetadata = Field(default_factory=JobMetadata)
    status: Status = Field(default_factory=Status)
    algorithm: Algorithm | None = None
    tasks: Any = None
    spec: Spec | None = None
    endpoints: Any = Field(default=None, repr=False)
    """May hold the tokens of the job's notebooks."""
    ftjob_config: Any = None

    @property
    def failed_tasks(self) -> list[str]:
        """The tasks that ended with an error, as far as the cloud reports them."""
        return [status.task for status in self.status.task_statuses if status.exit_code]

    def job_status(self, ref: JobRef) -> JobStatus:
        """Return the job's status in the form that all APIs share."""
        status = self.status
        state = phase_state(status.phase)
        codes = [task.exit_code for task in status.task_statuses if task.exit_code is not None]
        resource = (self.spec and self.spec.resource) or Resource()
        export = (self.spec and self.spec.log_export_path) or LogExportPath()
        return JobStatus(
            job_id=ref.job_id,
            state=state,
            raw_state=status.phase,
            name=self.metadata.name or None,
            user=self.metadata.user_name or None,
            queue=resource.pool_id or None,
            reason=_reason(status, state),
            exit_code=next((code for code in codes if code), codes[0] if codes else None),
            submitted_at=self.metadata.create_time,
            started_at=status.start_time,
            resources=resource.reported(),
            stdout_path=export.obs_url or None,
        )


def _reason(status: Status, state: JobState) -> str | None:
    reasons = []
    if state is JobState.FAILED:
        for task in status.task_statuses:
            if task.exit_code or task.message:
                code = f"exit code {task.exit_code}" if task.exit_code is not None else ""
                reasons.append(f"{task.task}: " + ", ".join(part for part in (code, task.message) if part))
    # Each run has an end reason: only that of the last run is the job's.
    if status.running_records and state.terminal:
        last = status.running_records[-1]
        task_name = f"{last.end_related_task}: " if last.end_related_task else ""
        if last.end_reason:
            reasons.append(task_name + last.end_reason)
    if status.secondary_phase.casefold() != status.phase.casefold() and status.secondary_phase:
        reasons.append(status.secondary_phase)
    return "; ".join(reasons) or None
