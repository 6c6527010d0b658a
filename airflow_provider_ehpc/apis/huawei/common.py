# SPDX-License-Identifier: Apache-2.0
"""A field type, the base class and the flows that both ModelArts API versions use."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator

from airflow_provider_ehpc.apis.call import ApiCall, Flow, InvalidArgument, InvalidRequest
from airflow_provider_ehpc.apis.job import JobState, JobStatus, LogBatch, LogChunk
from airflow_provider_ehpc.apis.response import as_text


def _content(value: Any) -> str:
    return value if isinstance(value, str) else as_text(value)


Content = Annotated[str, BeforeValidator(_content)]
"""A piece of a log: a text with its white space; empty if the response has null or nothing."""


class ProjectApi:
    """Base class of an API whose jobs belong to a project and not to a cluster.

    :param project_id: the jobs' project, a part of every path.
    """

    name: ClassVar[str]

    def __init__(self, project_id: str) -> None:
        if not project_id.strip():
            raise InvalidArgument(
                f"project_id: the API {self.name!r} needs the id of a project; set it in the connection"
            )
        self.project_id = project_id.strip()

    def refuse_cluster(self, cluster_id: str | None) -> None:
        """Raise :class:`InvalidArgument` if a cluster is given."""
        if cluster_id:
            raise InvalidArgument(f"cluster_id: the API {self.name!r} has no clusters; leave it out")


def read_streams(streams: Iterable[str], read: Callable[[str], Flow[LogBatch]]) -> Flow[LogBatch]:
    """Read each stream once and return the merged results."""
    chunks: list[LogChunk] = []
    notes: list[str] = []
    more = False
    for stream in dict.fromkeys(streams):
        batch = yield from read(stream)
        chunks += batch.chunks
        notes += batch.notes
        more = more or batch.more
    return LogBatch(tuple(chunks), more, tuple(notes))


def stop_unless_ended(call: ApiCall[Any], job_status: Flow[JobStatus]) -> Flow[None]:
    """Stop a job; ignore a rejection if the job has ended or is already being stopped."""
    try:
        yield call
    except InvalidRequest:
        status = yield from job_status
        if not (status.state.terminal or status.state is JobState.CANCELLING):
            raise
