# SPDX-License-Identifier: Apache-2.0
"""Counters and timers for Airflow's metrics: StatsD, Datadog or OpenTelemetry. See docs/metrics.md.

Invariants:

* If Airflow's metrics are off, which is the default, a call checks one variable and returns.
* No call raises. The first failure is logged.
* No call blocks an event loop: a thread sends instead. The first call resolves a host's name, a stream socket
  may be full, and Airflow 3.3 first reads a registry of 300 names from a file.
* Tags have few values: no job, no DAG, no cluster.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import re
import socket
import threading
from collections.abc import Mapping
from typing import Any, Literal, Protocol, TypeAlias

from airflow_provider_ehpc.compat import conf, stats

_WAITING = 10_000
"""Metrics that may wait for the thread; further ones are dropped."""
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
"""Airflow drops a name with another character, with a traceback each time (``metrics.validators``); a dot in
a value would begin a new level of the name."""

log = logging.getLogger(__name__)

_Metric: TypeAlias = tuple[Literal["incr", "gauge", "timing"], str, float, dict[str, str]]


class Totals(Protocol):
    """The amounts read of a log so far."""

    bytes: int
    lines: int


def request(api: str, operation: str, outcome: str) -> None:
    """Count a finished request: ``ok`` or the kind of its error."""
    _send("incr", "ehpc.requests", 1, api=api, operation=operation, outcome=outcome)


def throttled(api: str, conn_id: str) -> None:
    """Count a throttled request."""
    _send("incr", "ehpc.throttled", 1, api=api, conn_id=conn_id)


def jobs_watched(api: str, conn_id: str, jobs: int) -> None:
    """Report the number of jobs that the deferred sensors of this process wait for."""
    _send("gauge", "ehpc.jobs_watched", jobs, api=api, conn_id=conn_id, hostname=socket.gethostname())


def poll_lag(api: str, conn_id: str, seconds: float) -> None:
    """Report how long a poll cycle took, from when it was due until all its results had arrived."""
    _send("timing", "ehpc.poll_lag", seconds * 1000, api=api, conn_id=conn_id)


def job_ended(api: str, state: str, cause: str, summary: Mapping[str, Any]) -> None:
    """Count a job that a task saw end, and report what is known of its cost.

    :param cause: why it failed, or ``none``.
    :param summary: of :func:`airflow_provider_ehpc.summary.summary`.
    """
    _send("incr", "ehpc.jobs_ended", 1, api=api, state=state, cause=cause)
    for name, metric in (("queue_seconds", "ehpc.job_queue_time"), ("run_seconds", "ehpc.job_run_time")):
        if name in summary:
            _send("timing", metric, summary[name] * 1000, api=api)
    if "node_hours" in summary:
        _send("incr", "ehpc.node_seconds", round(summary["node_hours"] * 3600), api=api)


class LogMeter:
    """Count what is written of one log.

    :param where: ``worker`` or ``triggerer``.
    :param totals: the amounts read so far; the caller updates them.
    :param resumed: True if an earlier process wrote the beginning.
    """

    def __init__(self, api: str, where: str, totals: Totals, *, resumed: bool) -> None:
        self._tags = {"api": api, "where": where}
        self._totals = totals
        self._bytes = totals.bytes
        self._lines = totals.lines
        if resumed:
            _send("incr", "ehpc.log_resumes", 1, **self._tags)

    def written(self) -> None:
        """Count what was read since the last call and is now written."""
        size, lines = self._totals.bytes - self._bytes, self._totals.lines - self._lines
        self._bytes, self._lines = self._totals.bytes, self._totals.lines
        if size:
            _send("incr", "ehpc.log_bytes", size, **self._tags)
        if lines:
            _send("incr", "ehpc.log_lines", lines, **self._tags)


class _Sender:
    """Pass metrics to Airflow's client, which is created when the first metric is sent."""

    def __init__(self) -> None:
        self._client: Any = None
        self._warned = False
        self._queue: queue.Queue[_Metric] = queue.Queue(_WAITING)
        self._thread: threading.Thread | None = None
        self._making = threading.Lock()
        # The StatsD protocol has no tags; the variants of InfluxDB and Datadog have them.
        self._tagged = not conf.getboolean("metrics", "statsd_on", fallback=False) or any(
            conf.getboolean("metrics", form, fallback=False)
            for form in ("statsd_influxdb_enabled", "statsd_datadog_enabled")
        )

    def take(self, metric: _Metric) -> None:
        """Send a metric, by a thread if an event loop is running."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self._send(metric)
            return
        with self._making:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="ehpc metrics", daemon=True)
                self._thread.start()
        try:
            self._queue.put_nowait(metric)
        except queue.Full:
            self._failed("the queue is full")

    def settle(self) -> None:
        """Wait until the thread has sent all metrics."""
        self._queue.join()

    def _work(self) -> None:
        while True:
            metric = self._queue.get()
            try:
                self._send(metric)
            finally:
                self._queue.task_done()

    def _send(self, metric: _Metric) -> None:
        method, name, value, tags = metric
        tags = {tag: _UNSAFE.sub("_", text) for tag, text in tags.items()}
        if not self._tagged:
            name = ".".join((name, *tags.values()))
        try:
            if self._client is None:
                self._client = stats()
            getattr(self._client, method)(name, value, tags=tags)
        except Exception as error:
            self._failed(f"{type(error).__name__}: {error}")

    def _failed(self, why: str) -> None:
        if not self._warned:
            self._warned = True
            log.warning("a metric could not be sent and is lost; further failures are not logged: %s", why)


_sender: _Sender | Literal[False] | None = None
"""None before the first metric, False if Airflow's metrics are off."""


def enabled() -> bool:
    """Return True if Airflow's metrics are on in this process."""
    return _current() is not None


def _send(method: Literal["incr", "gauge", "timing"], name: str, value: float, **tags: str) -> None:
    if (sender := _current()) is not None:
        sender.take((method, name, value, tags))


def _current() -> _Sender | None:
    global _sender
    if _sender is None:
        switches = ("statsd_on", "statsd_datadog_enabled", "otel_on")
        on = any(conf.getboolean("metrics", switch, fallback=False) for switch in switches)
        _sender = _Sender() if on else False
    return None if _sender is False else _sender
