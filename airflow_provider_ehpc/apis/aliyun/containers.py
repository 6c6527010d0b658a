# SPDX-License-Identifier: Apache-2.0
"""Container groups that a serverless job runs in, from the response of DescribeServerlessJobs.

Their fields and words are those of Elastic Container Instance. Times are RFC 3339 in UTC; memory and storage
are in GiB. Source: the operation's page and the response model of ``alibabacloud-ehpc20180412`` 4.0.0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AliasChoices, BeforeValidator, Field

from airflow_provider_ehpc.apis.job import JobState
from airflow_provider_ehpc.apis.response import Flag, Items, Number, PascalResponseModel, Text, Time

_BAD_ENDS = frozenset({"failed", "schedulefailed", "expired"})
"""Statuses of a container group that failed."""


def _real(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


Real = Annotated[float | None, BeforeValidator(_real)]
"""A number, sent as a number or as text; None if it is neither."""


class ContainerState(PascalResponseModel):
    """State of a container, now or before its last restart."""

    state: Text = ""
    """Waiting, Running or Terminated."""
    detail_status: Text = ""
    reason: Text = ""
    message: Text = ""
    exit_code: Number = None
    """Only valid in the state Terminated: the documented sample also has 0 in the state Running."""
    signal: Number = None
    start_time: Time = None
    finish_time: Time = None

    @property
    def waiting(self) -> bool:
        """True if the container is still being started."""
        return self.state.casefold() == "waiting"

    @property
    def ended_with(self) -> int | None:
        """Exit code of a container that has ended."""
        return self.exit_code if self.state.casefold() == "terminated" else None


class FieldRef(PascalResponseModel):
    """A field that provides the value of an environment variable."""

    field_path: Text = ""


class ValueFrom(PascalResponseModel):
    """The source of an environment variable's value."""

    field_ref: FieldRef | None = None


class EnvironmentVar(PascalResponseModel):
    """An environment variable of a container."""

    key: Text = ""
    value: Text = ""
    value_from: ValueFrom | None = None


class HttpGet(PascalResponseModel):
    """A probe by HTTP."""

    path: Text = ""
    port: Number = None
    scheme: Text = ""


class TcpSocket(PascalResponseModel):
    """A probe by a TCP connection."""

    host: Text = ""
    port: Number = None


class Probe(PascalResponseModel):
    """A health check of a container; times are in seconds."""

    execs: Items[Text] = Field(default_factory=list)
    """Commands, each of which may be a JSON array in a string."""
    http_get: HttpGet | None = None
    tcp_socket: TcpSocket | None = None
    initial_delay_seconds: Number = None
    period_seconds: Number = None
    timeout_seconds: Number = None
    failure_threshold: Number = None
    success_threshold: Number = None


class PodCapability(PascalResponseModel):
    """Linux capabilities of a container's processes."""

    adds: Items[Text] = Field(default_factory=list)


class SecurityContext(PascalResponseModel):
    """Permissions of a container."""

    capability: PodCapability | None = None
    read_only_root_filesystem: Flag = None
    run_as_user: Number = None


class Port(PascalResponseModel):
    """An exposed port."""

    port: Number = None
    protocol: Text = ""


class VolumeMount(PascalResponseModel):
    """Mount point of a volume in a container."""

    name: Text = ""
    mount_path: Text = ""
    mount_propagation: Text = ""
    read_only: Flag = None
    sub_path: Text = ""


class Container(PascalResponseModel):
    """A container; one that runs first (``InitContainers``) has no probes and no standard input."""

    name: Text = ""
    image: Text = ""
    image_pull_policy: Text = ""
    # Containers have Commands, InitContainers have Command.
    commands: Items[Text] = Field(
        default_factory=list, validation_alias=AliasChoices("Commands", "Command", "commands")
    )
    args: Items[Text] = Field(default_factory=list)
    working_dir: Text = ""
    cpu: Real = None
    gpu: Number = None
    memory: Real = None
    environment_vars: Items[EnvironmentVar] = Field(default_factory=list)
    ports: Items[Port] = Field(default_factory=list)
    volume_mounts: Items[VolumeMount] = Field(default_factory=list)
    security_context: SecurityContext | None = None
    current_state: ContainerState | None = None
    previous_state: ContainerState | None = None
    ready: Flag = None
    restart_count: Number = None
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    stdin: Flag = None
    stdin_once: Flag = None
    tty: Flag = None


class ConfigFile(PascalResponseModel):
    """A file of a configuration volume."""

    path: Text = ""
    content: Text = ""


class ContainerVolume(PascalResponseModel):
    """A volume of a container group; its type determines which fields are present."""

    name: Text = ""
    type: Text = ""
    """EmptyDirVolume, NFSVolume, ConfigFileVolume, FlexVolume or DiskVolume."""
    config_file_volume_config_file_to_paths: Items[ConfigFile] = Field(default_factory=list)
    disk_volume_disk_id: Text = ""
    disk_volume_fs_type: Text = ""
    empty_dir_volume_medium: Text = ""
    empty_dir_volume_size_limit: Text = ""
    flex_volume_driver: Text = ""
    flex_volume_fs_type: Text = ""
    flex_volume_options: Text = ""
    nfs_volume_path: Text = Field("", alias="NFSVolumePath")
    nfs_volume_read_only: Flag = Field(None, alias="NFSVolumeReadOnly")
    nfs_volume_server: Text = Field("", alias="NFSVolumeServer")


class ContainerEvent(PascalResponseModel):
    """An event of a container group, which happened ``count`` times in a period."""

    type: Text = ""
    """Normal or Warning."""
    name: Text = ""
    reason: Text = ""
    message: Text = ""
    count: Number = None
    first_timestamp: Time = None
    last_timestamp: Time = None


class NameValue(PascalResponseModel):
    """An option, or a kernel parameter."""

    name: Text = ""
    value: Text = ""


class DnsConfig(PascalResponseModel):
    """Name resolution of a container group."""

    name_servers: Items[Text] = Field(default_factory=list)
    options: Items[NameValue] = Field(default_factory=list)
    searches: Items[Text] = Field(default_factory=list)


class EciSecurityContext(PascalResponseModel):
    """Kernel parameters of a container group."""

    sysctls: Items[NameValue] = Field(default_factory=list)


class HostAlias(PascalResponseModel):
    """An entry of the containers' hosts file."""

    ip: Text = ""
    hostnames: Items[Text] = Field(default_factory=list)


class Tag(PascalResponseModel):
    """A tag of a container group."""

    key: Text = ""
    value: Text = ""


class ContainerGroup(PascalResponseModel):
    """A container group: an instance that runs one attempt of a serverless job."""

    container_group_id: Text = ""
    container_group_name: Text = ""
    status: Text = ""
    """Scheduling, ScheduleFailed, Pending, Running, Restarting, Updating, Terminating, Succeeded, Failed or
    Expired."""
    instance_type: Text = ""
    cpu: Real = None
    memory: Real = None
    ephemeral_storage: Number = None
    spot_strategy: Text = ""
    spot_price_limit: Real = None
    discount: Number = None
    containers: Items[Container] = Field(default_factory=list)
    init_containers: Items[Container] = Field(default_factory=list)
    events: Items[ContainerEvent] = Field(default_factory=list)
    """At most 50."""
    volumes: Items[ContainerVolume] = Field(default_factory=list)
    restart_policy: Text = ""
    """Always, Never or OnFailure."""
    creation_time: Time = None
    succeeded_time: Time = None
    failed_time: Time = None
    expired_time: Time = None
    dns_config: DnsConfig | None = None
    eci_security_context: EciSecurityContext | None = None
    host_aliases: Items[HostAlias] = Field(default_factory=list)
    ram_role_name: Text = ""
    resource_group_id: Text = ""
    tags: Items[Tag] = Field(default_factory=list)
    region_id: Text = ""
    zone_id: Text = ""
    vpc_id: Text = ""
    v_switch_id: Text = ""
    security_group_id: Text = ""
    eni_instance_id: Text = ""
    internet_ip: Text = ""
    intranet_ip: Text = ""
    ipv6_address: Text = ""
    tenant_eni_instance_id: Text = ""
    tenant_eni_ip: Text = ""
    tenant_security_group_id: Text = ""
    tenant_v_switch_id: Text = ""


def exit_code(groups: list[ContainerGroup], state: JobState) -> int | None:
    """Return the exit code that made a job end in ``state``; None if it has not ended.

    A retried job also has the containers of earlier attempts, so the state decides which code counts: 0 for
    a job that succeeded, and the last code other than 0 for any other.
    """
    codes = [
        container.current_state.ended_with
        for group in _by_age(groups)
        for container in (*group.init_containers, *group.containers)
        if container.current_state
    ]
    if state is JobState.SUCCEEDED:
        return 0 if 0 in codes else None
    return next((code for code in reversed(codes) if code), None) if state.terminal else None


def reason(groups: list[ContainerGroup], state: JobState) -> str | None:
    """Return the reason why a job failed or does not start; None if it succeeded.

    The reason is that of a container, otherwise the last warning, otherwise the group's own failure. For a
    job that has not ended, only the newest container group counts: earlier attempts do not explain its
    current state.
    """
    if state is JobState.SUCCEEDED:
        return None
    newest_first = _by_age(groups)[::-1]
    for group in newest_first if state.terminal else newest_first[:1]:
        for container in (*group.init_containers, *group.containers):
            current = container.current_state
            if current and (current.waiting or current.ended_with) and (current.reason or current.message):
                return _sentence(current.reason, current.message)
        warnings = [event for event in group.events if event.type.casefold() == "warning"]
        if warnings:
            last = max(warnings, key=lambda event: _moment(event.last_timestamp))
            return _sentence(last.reason, last.message)
        if group.status.casefold() in _BAD_ENDS:
            return f"container group {group.status}"
    return None


def resources(groups: list[ContainerGroup]) -> Mapping[str, str]:
    """Return the resources of the newest container group."""
    if not groups:
        return {}
    newest = _by_age(groups)[-1]
    amounts = {"cores": (newest.cpu, ""), "memory": (newest.memory, "GiB")}
    return {name: f"{value:g}{unit}" for name, (value, unit) in amounts.items() if value is not None}


def _by_age(groups: list[ContainerGroup]) -> list[ContainerGroup]:
    return sorted(groups, key=lambda group: _moment(group.creation_time))


def _moment(time: datetime | None) -> datetime:
    """Return a time that can be compared with others; the earliest possible time if it is missing."""
    return time.replace(tzinfo=UTC) if time else datetime.min.replace(tzinfo=UTC)


def _sentence(reason: str, message: str) -> str:
    return ": ".join(text for text in (reason, message) if text)
