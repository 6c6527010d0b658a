"""What both API versions do in the same way with their own calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator

from airflow_provider_ehpc.apis.call import ApiCall, Flow, InvalidArgument, InvalidRequest
from airflow_provider_ehpc.apis.job import JobState, JobStatus, LogBatch, LogChunk
from airflow_provider_ehpc.apis.response import as_text, parse_json


def _content(value: Any) -> str:
    return value if isinstance(value, str) else as_text(value)


def _metrics(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return parse_json(value)
        except ValueError:
            return value
    return value


Content = Annotated[str, BeforeValidator(_content)]
"""A piece of a log: a text with its white space; empty if the response has null or nothing."""
Metrics = Annotated[Any, BeforeValidator(_metrics)]
"""A structure, sent as such or as JSON in a string (``system_metric_list`` comes both ways)."""


class ProjectApi:
    """What is asked belongs to a project, and not to a cluster.

    :param project_id: the project of the jobs, a part of every path.
    """

    name: ClassVar[str]

    def __init__(self, project_id: str) -> None:
        if not project_id.strip():
            raise InvalidArgument(
                f"project_id: the API {self.name!r} needs the id of a project; set it in the connection"
            )
        self.project_id = project_id.strip()

    def refuse_cluster(self, cluster_id: str | None) -> None:
        """Raise :class:`InvalidArgument` where a cluster is named."""
        if cluster_id:
            raise InvalidArgument(f"cluster_id: the API {self.name!r} knows no clusters; leave it out")


def read_streams(streams: Iterable[str], read: Callable[[str], Flow[LogBatch]]) -> Flow[LogBatch]:
    """Read each stream once and return what they gave together."""
    chunks: list[LogChunk] = []
    notes: list[str] = []
    more = False
    for stream in dict.fromkeys(streams):
        batch = yield from read(stream)
        chunks += batch.chunks
        notes += batch.notes
        more = more or batch.more
    return LogBatch(tuple(chunks), more, tuple(notes))


def stop_unless_over(call: ApiCall[Any], job_status: Flow[JobStatus]) -> Flow[None]:
    """Ask for a job to be stopped; a refusal is none where the job is over, or being stopped already."""
    try:
        yield call
    except InvalidRequest:
        status = yield from job_status
        if not (status.state.terminal or status.state is JobState.CANCELLING):
            raise
