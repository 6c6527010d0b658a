# SPDX-License-Identifier: Apache-2.0
"""Declare what each API supports beyond the states of jobs; it is checked before any request.

DAG files import this module: it imports neither models nor a client.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from airflow_provider_ehpc.apis.call import NotSupported


class Capability(StrEnum):
    """Something that not every API supports."""

    LOG = "reading the log of a job"
    LIST_JOBS = "listing the jobs of a cluster"
    SUBMIT = "submitting jobs"
    STOP = "stopping jobs"
    OPERATIONS = "reading the log of operations"


_UNSUPPORTED: Mapping[str, Mapping[Capability, str]] = {
    "ehpc": {},
    "ehpc-classic": {Capability.OPERATIONS: "use api='ehpc', which reports the operations of a whole region"},
    "ehpc-serverless": {
        Capability.LOG: "let the container write it to a mounted volume or to Log Service",
        Capability.OPERATIONS: "use api='ehpc', which reports the operations of a whole region",
    },
    "modelarts": {Capability.OPERATIONS: ""},
    "modelarts-v1": {
        Capability.LIST_JOBS: "it lists only the newest version of each job; name the job and its version",
        Capability.SUBMIT: "use api='modelarts'",
        Capability.OPERATIONS: "",
    },
    "qingcloud": {
        Capability.LOG: "the job's status names its files on the cluster as stdout_path and stderr_path",
    },
}
"""What an API does not support, and what to do instead."""


def supports(api: str, capability: Capability) -> bool:
    """Return True if the API supports a capability.

    :param api: a name as ``api=`` takes it.
    """
    return capability not in _UNSUPPORTED.get(api, {})


def require(api: str, capability: Capability, argument: str = "api") -> None:
    """Check that the API supports a capability.

    :param argument: the argument that requires it, for the message.
    :raises NotSupported: if it does not.
    """
    if not supports(api, capability):
        raise unsupported(api, capability, argument)


def unsupported(api: str, capability: Capability, argument: str = "api") -> NotSupported:
    """Return the error for an API that does not support something."""
    hint = _UNSUPPORTED.get(api, {}).get(capability)
    return NotSupported(
        f"{argument}: the API {api!r} does not support {capability}" + (f"; {hint}" if hint else "")
    )
