# SPDX-License-Identifier: Apache-2.0
"""A job version of API v1, in detail and as a row of the list.

Numbers, also those of resources, are sent as numbers or in quotes. Most fields of the captured response are
null. Sources: modelarts_03_0047, modelarts_03_0046, and the captured responses of modelarts_03_0401.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from airflow_provider_ehpc.apis.huawei.states import status_name, status_state
from airflow_provider_ehpc.apis.job import JobRef, JobStatus
from airflow_provider_ehpc.apis.response import (
    Flag,
    Id,
    Items,
    Number,
    ResponseModel,
    Text,
    Time,
    parse_json,
)


def _metrics(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return parse_json(value)
        except ValueError:
            return value
    return value


Metrics = Annotated[Any, BeforeValidator(_metrics)]
"""A structure, sent as such or as JSON in a string (``system_metric_list`` has been seen in both forms)."""


class Parameter(ResponseModel):
    """A parameter of the run; for a custom image, an environment variable."""

    label: Text = ""
    value: Text = Field(default="", repr=False)
    """Documented as text, sent as any scalar. People put passwords here."""


class DataSource(ResponseModel):
    """A source of the job's data."""

    dataset_id: Text = ""
    dataset_version: Text = ""
    type: Text = ""
    """``obs`` or ``dataset``."""
    data_url: Text = ""


class Mount(ResponseModel):
    """A mounted directory."""

    id: Text = ""
    src_path: Text = ""
    dest_path: Text = ""
    read_only: Flag = None


class TrainingVolume(ResponseModel):
    """A volume of either kind."""

    nfs: Mount | None = None
    host_path: Mount | None = None


class JobVersion(ResponseModel):
    """Response of the query for a version's details."""

    is_success: Flag = None
    job_id: Id = ""
    job_name: Text = ""
    job_desc: Text = ""
    job_type: Number = None
    version_id: Id = ""
    version_name: Text = ""
    pre_version_id: Text = ""
    status: Number = None
    create_time: Time = None
    """Sent in milliseconds, as is ``start_time``."""
    start_time: Time = None
    duration: Number = None
    """Milliseconds."""
    resource_id: Text = ""

    engine_type: Number = None
    engine_name: Text = ""
    engine_id: Number = None
    engine_version: Text = ""
    pod_version: Text = ""
    app_url: Text = ""
    boot_file_url: Text = ""
    parameter: Items[Parameter] = Field(default_factory=list)
    user_image_url: Text = ""
    user_frame_image: Text = ""
    user_command: Text = ""
    algorithm_id: Text = ""
    autosearch_config: Any = None

    spec_id: Number = None
    spec_code: Text = ""
    flavor_code: Text = ""
    core: Text = ""
    cpu: Text = ""
    """Memory, in spite of the name; the unit is not documented."""
    gpu: Flag = None
    gpu_num: Number = None
    gpu_type: Text = ""
    npu_info: Any = None
    storage: Text = ""
    max_num: Number = None
    no_resource: Flag = None
    worker_server_num: Number = None
    pool_id: Text = ""
    pool_name: Text = ""
    pool_type: Text = ""

    data_url: Text = ""
    data_source: Items[DataSource] = Field(default_factory=list)
    dataset_id: Text = ""
    dataset_name: Text = ""
    dataset_version_id: Text = ""
    dataset_version_name: Text = ""
    inputs: Any = None
    outputs: Any = None
    train_url: Text = ""
    log_url: Text = ""
    volumes: Items[TrainingVolume] = Field(default_factory=list)
    nas_mount_path: Text = ""
    nas_share_addr: Text = ""
    nas_type: Text = ""

    model_id: Text = ""
    retrain_model_id: Text = ""
    model_outputs: Any = None
    model_metric_list: Metrics = None
    system_metric_list: Metrics = None
    error_result: Any = None
    task_summary: Any = None
    is_zombie: Flag = None

    def job_status(self, ref: JobRef) -> JobStatus:
        """Return the version's status in the form that all APIs share. There is no exit code."""
        resources = {
            "nodes": self.worker_server_num,
            "cores": self.core,
            "gpus": self.gpu_num,
            "memory": self.cpu,
            "flavor": self.flavor_code or self.spec_code,
        }
        return JobStatus(
            job_id=ref.job_id,
            state=status_state(self.status),
            raw_state=status_name(self.status),
            name=self.job_name or None,
            queue=self.pool_id or None,
            reason=str(self.error_result) if self.error_result else None,
            submitted_at=self.create_time,
            started_at=self.start_time,
            resources={name: str(value) for name, value in resources.items() if value},
            stdout_path=self.log_url or None,
        )


class ListedJobVersion(ResponseModel):
    """A row of the list: a job with its newest version."""

    job_id: Id = ""
    job_name: Text = ""
    version_id: Id = ""
    status: Number = None
    create_time: Time = None
    duration: Number = None
    job_desc: Text = ""
    version_count: Number = None

    @property
    def ref(self) -> JobRef:
        """The version's address."""
        return JobRef(self.job_id, version_id=self.version_id)

    def job_status(self) -> JobStatus:
        """Return the row's status in the form that all APIs share."""
        return JobStatus(
            job_id=self.job_id,
            state=status_state(self.status),
            raw_state=status_name(self.status),
            name=self.job_name or None,
            submitted_at=self.create_time,
        )
