# SPDX-License-Identifier: Apache-2.0
"""Print a job's log as a log follower reads it."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING

from airflow_provider_ehpc.apis.call import ApiError, InvalidArgument
from airflow_provider_ehpc.apis.job import JobRef, JobState, JobStatus
from airflow_provider_ehpc.cli.terminal import Terminal
from airflow_provider_ehpc.cli.times import line_time
from airflow_provider_ehpc.logs.follow import Emit, GetStatus, LogFollower, Pause, Step
from airflow_provider_ehpc.logs.lines import stream_prefix
from airflow_provider_ehpc.summary import duration
from airflow_provider_ehpc.waiting.verdict import Note
from airflow_provider_ehpc.waiting.watch import JobWatch

if TYPE_CHECKING:
    from airflow_provider_ehpc.hooks.base import ApiHook
    from airflow_provider_ehpc.waiting.conditions import WaitConditions
    from airflow_provider_ehpc.waiting.verdict import Verdict

SETTLE = 5.0
"""Seconds without a new byte after which the followed log of a job that has ended counts as complete."""
Line = tuple[str, str]
"""The name of a stream, and one of its lines."""


class LogSelection:
    """Select the lines of a log to show.

    Lines that the job writes while the log is followed are newer than ``since`` and come after the ``tail``.
    So both stop applying once the log has been read up to its current end.

    :param stream: show only this stream; None for all.
    :param since: show each stream from the first line that begins with this time or a later one.
    :param tail: show only this number of last lines of each stream.
    :param zone: the time zone of times without one.
    """

    def __init__(
        self,
        stream: str | None = None,
        since: datetime | None = None,
        tail: int | None = None,
        *,
        zone: tzinfo = UTC,
    ) -> None:
        self.stream = stream
        self._since = since
        self._zone = zone
        self._begun: set[str] = set()
        """The streams that have had a line newer than ``since``."""
        self._tail = None if tail is None else min(tail, sys.maxsize)
        self._last: dict[str, deque[str]] = {}
        self.undated = 0
        """The number of lines without a time that were not shown."""
        self._dated = False

    def take(self, stream: str, lines: Sequence[str]) -> list[Line]:
        """Add lines of the log; return those to show now."""
        chosen = [line for line in lines if self._wants(stream, line)]
        if self._tail is None:
            return [(stream, line) for line in chosen]
        self._last.setdefault(stream, deque(maxlen=self._tail)).extend(chosen)
        return []

    def caught_up(self) -> list[Line]:
        """Return the lines to show once the log has been read up to its current end."""
        last, self._last, self._tail, self._since = self._last, {}, None, None
        if self._dated:
            self.undated = 0
        return [(stream, line) for stream, lines in last.items() for line in lines]

    def _wants(self, stream: str, line: str) -> bool:
        if self.stream not in (None, stream):
            return False
        if self._since is None or stream in self._begun:
            return True
        written = line_time(line, self._zone)
        self._dated |= written is not None
        if written is None or written < self._since:
            self.undated += written is None
            return False
        self._begun.add(stream)
        return True


def print_lines(terminal: Terminal, selection: LogSelection, lines: Sequence[Line]) -> None:
    """Print lines. If several streams may be shown, lines begin with the name of their stream."""
    if lines:
        several = selection.stream is None
        terminal.write(
            [terminal.prefixed(stream_prefix(stream) if several else "", line) for stream, line in lines]
        )


class LogPrinter:
    """Print one job's log.

    :param selection: selects the lines to print.
    :param follow: False to stop once the log has been read up to its current end.
    :param interval: seconds between two polls.
    :param first: the job's status if it is known already.
    """

    def __init__(
        self,
        hook: ApiHook,
        ref: JobRef,
        conditions: WaitConditions,
        terminal: Terminal,
        selection: LogSelection,
        *,
        follow: bool,
        interval: float,
        encoding: str = "utf-8",
        first: JobStatus | None = None,
    ) -> None:
        self._hook = hook
        self._ref = ref
        self._terminal = terminal
        self._selection = selection
        self._follow = follow
        self._first = first
        self._began = time.time()
        self._missing: str | None = None
        """What was last reported about a stream that was not found."""
        self._read = False
        """The log has been read up to its end, and is not followed."""
        self._watch = JobWatch(ref, conditions, self._began)
        self._follower = LogFollower(
            hook.api,
            ref,
            self._watch,
            # The deadline passes as soon as everything has been read.
            clock=lambda: conditions.deadline if self._read and conditions.deadline else time.time(),
            interval=interval,
            settle=SETTLE if follow else 0.0,
            encoding=encoding,
        )

    @property
    def unreadable(self) -> bool:
        """True if reading the log failed."""
        return self._follower.totals.errors > 0

    def run(self) -> Verdict:
        """Print the log and return how the wait ended.

        :raises InvalidArgument: if the log was read, and the selected stream was not found.
        """
        verdict = self._hook.drive(self._follower.steps(), self._do)
        self._catch_up()
        if missing := self._missing_stream():
            raise InvalidArgument(missing)
        if not (self._follow or self.unreadable or self._follower.streams):
            state = self._watch.status.state if self._watch.status else JobState.UNKNOWN
            self._terminal.info("%s has no log: its state is %s", self._ref, state)
        return verdict

    def judged(self) -> JobStatus:
        """Return the job's last status. If no exit code was found, the policy determines the outcome.

        :raises LookupError: if the job was never seen.
        """
        status = self._watch.status
        if status is None:
            raise LookupError(f"{self._ref} was never seen")
        if status.outcome_assumed and status.exit_code is None:
            for note in self._watch.captured(status)[1]:
                note.log(self._terminal)
        return self._watch.status or status

    def _do(self, step: Step) -> JobStatus | ApiError | None:
        if isinstance(step, GetStatus):
            return self._watch.status if self._read else self._poll()
        if isinstance(step, Emit):
            wanted = self._selection.stream
            name = "stderr" if wanted == "stderr" and self._follower.one_file else step.stream
            print_lines(self._terminal, self._selection, self._selection.take(name, step.lines))
            self._terminal.progress(self._progress())
        elif isinstance(step, Note):
            # Without --follow, only notes about the log itself are relevant.
            if self._follow or step.warning or step.text.startswith("---"):
                step.log(self._terminal)
        elif isinstance(step, Pause):
            # An ended job's last line may be incomplete, and comes after the last pause.
            if not (self._watch.status and self._watch.status.state.terminal):
                self._catch_up()
            if self._follow:
                missing = self._missing_stream()
                if missing and missing != self._missing:
                    # Log files of ModelArts v1 may appear later.
                    self._terminal.warning("%s so far", missing)
                self._missing = missing
                self._terminal.pause(step.seconds, lambda _left: self._progress())
            self._read = not self._follow
        return None

    def _poll(self) -> JobStatus | ApiError | None:
        if self._first:
            first, self._first = self._first, None
            return first
        self._terminal.progress(self._progress())
        try:
            return self._hook.job_statuses([self._ref])[self._ref]
        except ApiError as error:
            if self._follow:
                return error
            raise

    def _catch_up(self) -> None:
        print_lines(self._terminal, self._selection, self._selection.caught_up())
        if self._selection.undated:
            self._terminal.warning(
                "--since left out %d lines: none of them begins with a time", self._selection.undated
            )
            self._selection.undated = 0

    def _missing_stream(self) -> str | None:
        wanted, found = self._selection.stream, self._follower.streams
        if wanted is None or not found or wanted in found:
            return None
        return f"--stream: {self._ref} has no stream {wanted!r}, only {', '.join(sorted(found))}"

    def _progress(self) -> str:
        state = self._watch.status.state if self._watch.status else "…"
        followed = duration(time.time() - self._began)
        return f"job {self._ref.job_id} {state}, followed for {followed}: {self._follower.totals}"
