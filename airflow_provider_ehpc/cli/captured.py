# SPDX-License-Identifier: Apache-2.0
"""Read the exit codes of jobs that this package has submitted, if the cloud does not report them.

The name of such a job shows that its command was wrapped. Then the last marker in its output is its own: it
is written after everything else, even if the job copies the output of another one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from airflow_provider_ehpc.apis.call import ApiError
from airflow_provider_ehpc.apis.job import JobRef, JobStatus
from airflow_provider_ehpc.exit_code import ANY_TOKEN, CAPTURING_APIS, find
from airflow_provider_ehpc.logs.tail import TAIL_SIZE
from airflow_provider_ehpc.waiting.captured import with_exit_code

if TYPE_CHECKING:
    from airflow_provider_ehpc.hooks.base import ApiHook

_OUR_NAME = re.compile(r".*[-.][a-z2-7]{12}")


def exit_token(api: str, status: JobStatus) -> str | None:
    """Return the token of the marker that the job may write; None if it writes none."""
    named = api in CAPTURING_APIS and status.name and _OUR_NAME.fullmatch(status.name)
    return ANY_TOKEN if named and not status.array else None


def with_captured_code(hook: ApiHook, ref: JobRef, status: JobStatus | None) -> JobStatus | None:
    """Return the status with the exit code in the job's output, if the cloud reports none."""
    if status is None or status.exit_code is not None or not status.state.terminal:
        return status
    token = exit_token(hook.api.name, status)
    if token is None:
        return status
    try:
        chunks = hook.log_tail(ref, TAIL_SIZE)
    except ApiError:
        return status
    code = find((chunk.data.decode("latin-1") for chunk in chunks), token)
    return status if code is None else with_exit_code(status, code)
