"""What both API versions do in the same way with their own calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from airflow_provider_ehpc.apis.call import ApiCall, Flow, InvalidArgument, InvalidRequest, NotFound
from airflow_provider_ehpc.apis.job import JobRef, JobState, JobStatus, LogBatch, LogChunk

_WORTH_A_PAGE = 3
"""Jobs from which on a page is asked for: it costs as much as asking for one job."""


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


@dataclass(frozen=True, slots=True)
class Listed:
    """What a page of a list tells: statuses by job, how many rows it had, and of how many in all."""

    statuses: dict[JobRef, JobStatus]
    rows: int
    total: int | None


def statuses_by_page(
    refs: list[JobRef],
    ask: Callable[[int], ApiCall[Any]],
    read: Callable[[Any], Listed],
    page_size: int,
    job_status: Callable[[JobRef], Flow[JobStatus]],
) -> Flow[dict[JobRef, JobStatus | None]]:
    """Page through a list where that is cheaper, and ask for the jobs it does not show one by one.

    :param ask: makes the call for a page, the first being 0.
    """
    found: dict[JobRef, JobStatus | None] = {}
    missing = set(refs)
    page = 0
    while len(missing) >= _WORTH_A_PAGE:
        listed = read((yield ask(page)))
        found.update((ref, listed.statuses[ref]) for ref in missing & listed.statuses.keys())
        missing -= found.keys()
        page += 1
        pages_left = -(-(listed.total or 0) // page_size) - page
        if listed.rows < page_size or pages_left > len(missing):
            break
    for ref in refs:
        if ref not in found:
            try:
                found[ref] = yield from job_status(ref)
            except NotFound:
                found[ref] = None
    return found


def read_streams(streams: Iterable[str], read: Callable[[str], Flow[LogBatch]]) -> Flow[LogBatch]:
    """Read each stream and return what they gave together."""
    chunks: list[LogChunk] = []
    notes: list[str] = []
    more = False
    for stream in streams:
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
