"""Reading a job's log from its beginning, piece by piece."""

from __future__ import annotations

from airflow_provider_ehpc.apis.call import Flow, InvalidRequest
from airflow_provider_ehpc.apis.job import JobApi, JobRef, LogBatch, LogCursor


class LogReader:
    """Holds how far a log was read, and how much the API gives at once.

    How much GetJobLog of 2024-07-30 gives is not documented, so it is found out: the most is asked for, and
    less where that is refused.
    """

    def __init__(self, api: JobApi, ref: JobRef) -> None:
        self.cursor = LogCursor()
        self._api = api
        self._ref = ref
        self._size = api.log_limits.largest

    def read(self) -> Flow[LogBatch]:
        """Read on from the cursor, which the caller moves by what it has used of the answer."""
        while True:
            try:
                return (yield from self._api.read_log(self._ref, self.cursor, self._size))
            except InvalidRequest:
                if self._size <= self._api.log_limits.smallest:
                    raise
                self._size = max(self._api.log_limits.smallest, self._size // 4)
