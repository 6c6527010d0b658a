# SPDX-License-Identifier: Apache-2.0
"""Fifty chatty jobs whose logs one real triggerer streams: is it held up, and is every line there at last?"""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_ehpc.emulator.server import Emulator
from benchmarks.deferred_tasks import LOGS, LOOP, Plan
from benchmarks.numbered_lines import Writer, complete, lines_of, logged_by
from benchmarks.triggerers import Deferred, Watched, loop_notes, task_logs, wait_until

LONGEST_BACKLOG = 600.0
"""Seconds after the jobs' end for which the backlog is waited for."""


@dataclass
class Streamed:
    """What the streams cost. Shares are of a core, stalls in milliseconds, times in seconds."""

    lines: int = 0
    megabytes: float = 0.0
    seconds: float = 0.0
    """For which the jobs wrote."""
    requests_a_second: float = 0.0
    """While they wrote."""
    lines_a_second: float = 0.0
    """That came out of the triggerer while it was behind."""
    backlog_seconds: float = 0.0
    """From the jobs' last line until the last line was in the task log."""
    fewest: int = 0
    """Lines of the slowest stream that were in the task log when the jobs had written the last."""
    median: float = 0.0
    most: int = 0
    stall: float = 0.0
    """The event loop's worst by the clock, which holds the time that other processes took."""
    busy: float = 0.0
    """The most processor time between two turns of the loop: what is the triggerer's own of a stall."""
    collecting: float = 0.0
    """The longest garbage collection: it is in the stalls."""
    runner: float = 0.0
    supervisor: float = 0.0
    incomplete: int = 0
    """Streams of which a line is missing, comes twice or out of order."""


def measure(streams: int, rate: float, size: int, seconds: float, interval: float) -> Streamed:
    """Let ``streams`` jobs write ``rate`` lines of ``size`` bytes a second each, and stream their logs."""
    ready_in = 40 + 0.5 * streams
    end_at = time.time() + ready_in + seconds
    with (
        tempfile.TemporaryDirectory(prefix="ehpc-benchmark-") as directory,
        Emulator(Path(directory, "cloud"), scheduler="timetable") as emulator,
    ):
        jobs = [emulator.submit(f"run={end_at - time.time():.3f}") for _ in range(streams)]
        plan = Plan(interval=interval, logs=jobs)
        airflow = Deferred(Path(directory, "airflow"), plan, {"AIRFLOW_CONN_EHPC": emulator.connection_json})
        try:
            airflow.prepare()
            airflow.defer(LOGS, LOOP)
            airflow.airflow.start_component("triggerer")
            wait_until(lambda: loop_notes(airflow.loop_file), "the triggerer started", ready_in)
            note = loop_notes(airflow.loop_file)[-1]
            (triggerer,) = airflow.triggerers()
            writer = Writer([emulator.job(job).stdout_path for job in jobs], rate, size)
            # Each has looked at its job by then, and Airflow's own work of starting triggers is done.
            time.sleep(max(0.0, end_at - seconds - time.time()))
            if airflow.started(triggerer, LOGS) < streams:
                raise RuntimeError("the triggers did not start in time: this machine is too busy")
            watched = Watched(runner=note.runner, supervisor=note.supervisor)
            asked, began = emulator.requests.count(), time.time()
            writer.start(seconds).join()
            figures = Streamed(seconds=seconds, lines=streams * writer.written)
            figures.requests_a_second = (emulator.requests.count() - asked) / (time.time() - began)
            wait_until(lambda: not airflow.waiting(LOGS), "all lines were logged", LONGEST_BACKLOG)
            watched.end()
            notes = [note for note in loop_notes(airflow.loop_file) if note.at > began]
            logs = [lines_of(records) for _, records in task_logs(airflow.airflow, LOGS, triggerer)]
        finally:
            airflow.airflow.stop()
    last = max(lines[-1].logged for lines in logs if lines)
    figures.megabytes = figures.lines * size / 1e6
    figures.backlog_seconds = last - writer.ended_at
    figures.lines_a_second = figures.lines / (last - began)
    by_then = [logged_by(lines, writer.ended_at) for lines in logs]
    figures.fewest, figures.most = min(by_then), max(by_then)
    figures.median = statistics.median(by_then)
    until = [note for note in notes if note.at <= last]
    figures.stall = max(note.stall for note in until) * 1000
    figures.busy = max(note.busy for note in until) * 1000
    figures.collecting = max(note.collecting for note in until) * 1000
    figures.runner = watched.share("runner", began, last)
    figures.supervisor = watched.share("supervisor", began, last)
    figures.incomplete = streams - sum(complete(lines, writer.written) for lines in logs)
    return figures
