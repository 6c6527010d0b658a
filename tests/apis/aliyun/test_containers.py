# SPDX-License-Identifier: Apache-2.0
"""Container groups: the source of a serverless job's exit code and of its failure's reason."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from airflow_provider_ehpc.apis.aliyun.containers import (
    Container,
    ContainerGroup,
    ContainerState,
    exit_code,
    reason,
    resources,
)
from airflow_provider_ehpc.apis.aliyun.serverless import describe_serverless_jobs
from airflow_provider_ehpc.apis.job import JobState


def group(*states: dict[str, Any], **fields: Any) -> ContainerGroup:
    return ContainerGroup.model_validate({"Containers": [{"CurrentState": s} for s in states], **fields})


def ended(code: int | str, **fields: Any) -> dict[str, Any]:
    return {"State": "Terminated", "ExitCode": code, **fields}


def undocumented(part: Any, path: str = "") -> list[str]:
    """Return the paths of all fields that no model declares."""
    if isinstance(part, list):
        return [found for n, item in enumerate(part) for found in undocumented(item, f"{path}[{n}]")]
    if not isinstance(part, BaseModel):
        return []
    found = [f"{path}.{name}" for name in part.model_extra or {}]
    for name in type(part).model_fields:
        found += undocumented(getattr(part, name), f"{path}.{name}")
    return found


def empty(part: Any, path: str = "") -> list[str]:
    """Return the paths of all declared fields that the response left empty."""
    if isinstance(part, list):
        return (
            [found for n, item in enumerate(part) for found in empty(item, f"{path}[{n}]")]
            if part
            else [path]
        )
    if not isinstance(part, BaseModel):
        return [path] if part in (None, "") else []
    return [
        found for name in type(part).model_fields for found in empty(getattr(part, name), f"{path}.{name}")
    ]


@pytest.fixture
def documented(sample):
    """Return the container group of the documented response."""
    response = describe_serverless_jobs("c", ["5"]).read(sample("aliyun_2018_describe_serverless_jobs"))
    return response.job_infos[0].container_groups[0]


def test_every_field_of_the_documented_group_is_declared(documented):
    assert undocumented(documented) == []


def test_every_declared_field_is_filled_by_the_documented_group(documented):
    """A field with an unexpected spelling (NFSVolumePath) would stay empty without any error."""
    assert empty(documented) == [
        # An init container has no probes and no standard input, and mounts no sub-path.
        ".init_containers[0].volume_mounts[0].sub_path",
        ".init_containers[0].liveness_probe",
        ".init_containers[0].readiness_probe",
        ".init_containers[0].stdin",
        ".init_containers[0].stdin_once",
        ".init_containers[0].tty",
    ]


def test_documented_values_have_their_types(documented):
    container, init = documented.containers[0], documented.init_containers[0]
    assert (container.cpu, container.gpu, container.memory) == (2.0, 1, 4.0)
    assert container.commands == ["/usr/bin/python"]
    assert init.commands == ["[/bin/sh echo]"]
    assert container.current_state.state == "Terminated"
    assert container.current_state.start_time.isoformat() == "2019-12-19T12:05:02+00:00"
    assert container.environment_vars[0].value_from.field_ref.field_path == "status.podIP"
    assert (container.ready, container.tty, container.security_context.run_as_user) == (True, False, 1558)
    assert documented.volumes[0].nfs_volume_server.endswith(".nas.aliyuncs.com")
    assert documented.volumes[0].nfs_volume_read_only is False
    assert documented.spot_price_limit == 0.025
    assert documented.events[0].count == 20
    assert documented.tenant_v_switch_id == "vsw-xxx"


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ({"State": "Terminated", "ExitCode": 0}, 0),
        ({"State": "Terminated\n", "ExitCode": "3"}, 3),
        ({"State": "terminated", "ExitCode": 137}, 137),
        ({"State": "Terminated"}, None),
        ({"State": "Running", "ExitCode": 0}, None),
        ({"State": "Waiting", "ExitCode": 0}, None),
        ({"ExitCode": 0}, None),
    ],
)
def test_exit_code_counts_only_when_terminated(state, code):
    """The sample has ExitCode 0 beside Running: a running job must not look as if it succeeded."""
    assert ContainerState.model_validate(state).ended_with == code


@pytest.mark.parametrize(
    ("groups", "state", "code"),
    [
        ([group(ended(0))], JobState.SUCCEEDED, 0),
        ([group(ended(2))], JobState.FAILED, 2),
        ([group(ended(0), ended(5))], JobState.FAILED, 5),
        ([group(ended(5), ended(0))], JobState.FAILED, 5),
        ([group({"State": "Running", "ExitCode": 0})], JobState.FAILED, None),
        ([group()], JobState.FAILED, None),
        ([], JobState.SUCCEEDED, None),
        ([group(ended(0))], JobState.FAILED, None),
        ([group(ended(137))], JobState.CANCELLED, 137),
    ],
)
def test_exit_code_of_a_job(groups, state, code):
    assert exit_code(groups, state) == code


def test_attempts_are_distinguished():
    """A job that failed, was retried and succeeded did not end with the first attempt's code."""
    attempts = [
        group(ended(9), CreationTime="2024-01-01T12:00:00Z"),
        group(ended(0), CreationTime="2024-01-01T13:00:00Z"),
    ]
    assert exit_code(attempts, JobState.SUCCEEDED) == 0
    attempts[1] = group(ended(4), CreationTime="2024-01-01T13:00:00Z")
    assert exit_code(attempts, JobState.FAILED) == 4
    assert exit_code(attempts[::-1], JobState.FAILED) == 4


def test_an_init_container_can_fail_a_job():
    failed = ContainerGroup.model_validate({"InitContainers": [{"CurrentState": ended(1, Reason="Error")}]})
    assert exit_code([failed], JobState.FAILED) == 1
    assert reason([failed], JobState.FAILED) == "Error"


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ([group(ended(137, Reason="OOMKilled", Message="out of memory\n"))], "OOMKilled: out of memory"),
        ([group(ended(1, Message="no such file"))], "no such file"),
        (
            [group({"State": "Waiting", "Reason": "ImagePullBackOff", "Message": "Back-off pulling image"})],
            "ImagePullBackOff: Back-off pulling image",
        ),
        (
            [
                group(
                    Status="ScheduleFailed",
                    Events=[
                        {"Type": "Warning", "Reason": "NoStock", "LastTimestamp": "2024-01-01T10:02:00Z"},
                        {"Type": "Warning", "Reason": "Old", "LastTimestamp": "2024-01-01T10:01:00"},
                        {"Type": "Normal", "Reason": "Created", "LastTimestamp": "2024-01-01T10:03:00Z"},
                        {"Type": "Warning", "Reason": "Undated"},
                    ],
                )
            ],
            "NoStock",
        ),
        ([group(Status="ScheduleFailed\n")], "container group ScheduleFailed"),
        ([group(Status="Expired")], "container group Expired"),
        ([group(ended(0, Reason="Completed"))], None),
        ([group({"State": "Running", "Reason": "Started", "Message": "Started container"})], None),
        ([group(Events=[{"Type": "Normal", "Reason": "Pulled"}])], None),
        ([], None),
    ],
)
def test_reason(groups, expected):
    """A container's reason is closer to the cause than an event, and an event closer than a status."""
    assert reason(groups, JobState.FAILED) == expected


def test_the_newest_attempt_gives_the_reason():
    attempts = [
        group(ended(2, Reason="Error", Message="second"), CreationTime="2024-01-01T13:00:00Z"),
        group(ended(1, Reason="Error", Message="first"), CreationTime="2024-01-01T12:00:00Z"),
    ]
    assert reason(attempts, JobState.FAILED) == "Error: second"


def test_earlier_attempts_do_not_explain_a_running_or_successful_job():
    """A job in its second attempt must not look as if it had failed."""
    attempts = [
        group(ended(1, Reason="Error"), CreationTime="2024-01-01T12:00:00Z"),
        group({"State": "Running"}, CreationTime="2024-01-01T13:00:00Z"),
    ]
    assert reason(attempts, JobState.RUNNING) is None
    assert reason(attempts, JobState.SUCCEEDED) is None
    assert reason(attempts, JobState.CANCELLED) == "Error"
    assert exit_code(attempts, JobState.RUNNING) is None


def test_why_a_job_does_not_start():
    waiting = group({"State": "Waiting", "Reason": "ImagePullBackOff"})
    assert reason([waiting], JobState.QUEUED) == "ImagePullBackOff"


def test_resources_of_the_newest_attempt():
    attempts = [
        group(Cpu="8", Memory=16.0, CreationTime="2024-01-01T13:00:00Z"),
        group(Cpu=2, Memory=4, CreationTime="2024-01-01T12:00:00Z"),
    ]
    assert resources(attempts) == {"cores": "8", "memory": "16GiB"}
    assert resources([group(Cpu=0.5, Memory=None)]) == {"cores": "0.5"}
    assert resources([]) == {}


@pytest.mark.parametrize("nothing", [None, "", [], {}])
@pytest.mark.parametrize(
    "field", ["Containers", "Events", "Volumes", "DnsConfig", "EciSecurityContext", "HostAliases", "Tags"]
)
def test_parts_without_a_value(field, nothing):
    """A group without volumes may have null instead of a list: the state must stay readable."""
    ContainerGroup.model_validate({"Status": "Running", field: nothing})


def test_invalid_numbers():
    container = Container.model_validate({"Cpu": "two", "Memory": "", "Gpu": None, "RestartCount": "5"})
    assert (container.cpu, container.memory, container.gpu, container.restart_count) == (None, None, None, 5)
