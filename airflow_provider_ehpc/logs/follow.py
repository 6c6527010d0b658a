# SPDX-License-Identifier: Apache-2.0
"""Follow a job and its log to their end: one generator for the worker and for the triggerer.

It yields what has to be done (:mod:`airflow_provider_ehpc.logs.steps`) and is sent the results of calls and
polls. Nothing here waits, sends or logs, so each driver is a few lines, and the triggers of a process share
polls.

Invariants:

* A cycle polls the state before it reads the log: a cycle that saw the end has read the log after it.
* Bytes are passed on in order, each once; a cursor moves by the bytes received, never by those requested.
* After the end, the log is read until nothing new came for ``settle`` seconds: a node's last lines take a
  while to reach the place where the cloud reads them.
* The deadline of the wait applies to the log as well, with :data:`AFTER_DEADLINE` for the last lines.
* A cycle reads on only while it gets something new, so no response makes it endless.
* A checkpoint comes after the lines that it counts as written, before anything else that takes time, and once
  before any line. So a follower that starts from another's last checkpoint writes every line that the other
  did not. It repeats at most what the other wrote after that checkpoint, and logs this first.
* The driver decides which checkpoints are saved, and when. Each states within how many seconds another one
  counts the lines after it.
* An error in reading the log never ends the wait. It is counted, and logged when it begins and is over.
* The marker of a captured exit code is removed from the lines. Its code decides how the job ended if the
  cloud does not report it. A code that was not read is left to the worker, which reads the end of the log.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any

from airflow_provider_ehpc.apis.call import ApiError
from airflow_provider_ehpc.apis.job import JobApi, JobRef, JobStatus, LogPosition
from airflow_provider_ehpc.logs.cursor import LogStream, LogTotals, SavedCursor, StreamMark
from airflow_provider_ehpc.logs.lines import stream_prefix
from airflow_provider_ehpc.logs.marker import ExitCodeFilter
from airflow_provider_ehpc.logs.reader import LogReader, LogReading, Piece, same_path
from airflow_provider_ehpc.logs.rerun import RerunWatch
from airflow_provider_ehpc.logs.steps import Checkpoint, Emit, GetStatus, Pause, Step, Steps
from airflow_provider_ehpc.waiting.captured import with_exit_code
from airflow_provider_ehpc.waiting.watch import JobWatch, Note, Outcome, Patience, Verdict

__all__ = [
    "LOG_OUTAGE",
    "Checkpoint",
    "Emit",
    "GetStatus",
    "LogFollower",
    "Pause",
    "Step",
    "Steps",
]

LOG_OUTAGE = 300.0
"""Seconds for which reading an ended job's log may fail before the follower gives up its last lines."""
AFTER_DEADLINE = 30.0
"""Seconds after the wait's deadline for reading the last lines of a job that ended just before it."""
PROGRESS_EVERY = 10.0
"""Seconds between two states of a line that a job redraws with CR."""
PIECE = 16 * 1024
"""Bytes that are made into lines at once. A checkpoint may come between two pieces: the triggerer's channel
to the log is so slow that the 400 KiB of one reading can take a minute."""


class LogFollower:
    """Follow one job and its log.

    :param api: the job's API.
    :param watch: decides from the job's states when the wait is over.
    :param clock: returns epoch seconds.
    :param interval: seconds between two cycles.
    :param settle: seconds without a new byte after which an ended job's log counts as complete.
    :param start: the position at which an earlier follower of the job stopped.
    :param save_delay: returns the number of seconds within which a saved checkpoint counts a written line.
    :param encoding: the encoding of the job's output, if the API returns bytes.
    """

    def __init__(
        self,
        api: JobApi,
        ref: JobRef,
        watch: JobWatch,
        *,
        clock: Callable[[], float],
        interval: float,
        settle: float,
        start: SavedCursor | None = None,
        save_delay: Callable[[], float] = lambda: 0.0,
        encoding: str = "utf-8",
    ) -> None:
        self.totals = replace(start.totals) if start else LogTotals()
        self._cut_before = self.totals.cut_lines
        self._api = api
        self._ref = ref
        self._watch = watch
        self._patience = Patience()
        self._clock = clock
        self._interval = interval
        self._settle = settle
        self._reader = LogReader(api, ref)
        self._streams: dict[str, LogStream] = {}
        self._start = start
        self._encoding = "utf-8" if api.log_limits.text else encoding
        self._reruns = RerunWatch()
        self._rerun = False
        """True if the job was rerun and no output of the new run has been read yet."""
        marks = start.streams if start else {}
        for name, mark in marks.items():
            self._streams[name] = LogStream(mark, self._encoding)
            self._reader.start(name, mark.position)
        twins = bool(marks) and marks.get("stdout") == marks.get("stderr")
        # The saved position shows whether the earlier process read two files, or one file under both names.
        self._reader.one_file = twins if marks else None
        self._last_notes: tuple[str, ...] = ()
        self._save_delay = save_delay
        self._reached = start
        """The last checkpoint."""
        self._behind = False
        self._log_fault = False
        self._last_byte = 0.0
        self._changes = 0
        self._exit_code = ExitCodeFilter(watch.conditions.exit_token)

    @property
    def one_file(self) -> bool:
        """True if stdout and stderr are the same file. It is read as stdout."""
        return bool(self._reader.one_file)

    @property
    def streams(self) -> list[str]:
        """The names of the streams that were found so far."""
        both = ["stdout", "stderr"] if self.one_file else []
        return list(dict.fromkeys([*both, *self._streams]))

    @property
    def cursor(self) -> SavedCursor:
        """The log position after the step that was yielded last."""
        marks: dict[str, StreamMark] = {n: s.mark for n, s in self._streams.items() if s.mark is not None}
        if self._reader.one_file and "stdout" in marks:
            marks["stderr"] = marks["stdout"]
        # An incomplete line has been read, but not written.
        pending = sum(stream.assembler.pending for stream in self._streams.values())
        return SavedCursor(
            self._api.name,
            self._ref.as_dict(),
            marks,
            # A reading brings what the job wrote in an interval.
            cycle=self._interval * max(1, math.ceil(self._save_delay() / self._interval)),
            totals=replace(self.totals, bytes=self.totals.bytes - pending),
        )

    def steps(self) -> Steps:
        """Follow the job until it has ended and its log is read to the end, or until the wait is over."""
        if self._start:
            yield Note(_resumed(self._start))
        yield from self._checkpoint()
        while True:
            verdict, notes = yield from self._get_status()
            if verdict is not None:
                break
            yield from notes
            behind = False
            if self._reruns.has_run:
                deadline = self._watch.conditions.deadline
                behind = yield from self._read_log(math.inf if deadline is None else deadline)
                yield from self._show_progress()
            verdict, notes = self._watch.expired(self._clock(), self._patience.error), []
            if verdict is not None:
                break
            if not behind:
                yield Pause(self._until_next_cycle())
        yield from (note for note in notes if note.header)
        notes = [note for note in notes if not note.header]
        if verdict.outcome in (Outcome.REACHED, Outcome.FAILED):
            yield from self._drain()
            yield from self._flush()
            # The members of an array have logs of their own.
            code, status = self._exit_code.code, self._watch.status
            if code is not None and status is not None and not status.array:
                verdict, judged = self._watch.captured(with_exit_code(status, code))
                notes += judged
        else:
            yield from self._show_incomplete_lines()
        # The end is logged last, below the lines that the job wrote before it.
        yield from notes
        yield Note(f"log of {self._ref}: {self.totals}")
        return verdict

    def _get_status(self) -> Generator[Step, Any, tuple[Verdict | None, list[Note]]]:
        result: JobStatus | ApiError | None = yield GetStatus()
        now = self._clock()
        if isinstance(result, ApiError):
            return self._patience.failed(result, now)
        news = self._patience.answered(now)
        if result is not None:
            self._reader.paths_agree = same_path(result.stdout_path, result.stderr_path) is True
            if same_path(result.stdout_path, result.stderr_path) is not None:
                self._reader.one_file = self._reader.paths_agree
            if why := self._reruns.saw(result):
                self._rerun = True
                self._exit_code.code = None
                news.append(Note(f"{self._ref} was rerun: {why}", warning=True))
        verdict, notes = self._watch.saw(result, now)
        if verdict is None:
            notes += self._watch.sign_of_life(now, f"; log so far: {self.totals}")
        return verdict, news + notes

    def _read_log(self, until: float) -> Generator[Step, Any, bool]:
        """Emit new lines; return True if the cycle's time was over before everything was read.

        :param until: epoch seconds at which the wait is over.
        """
        until = min(until, self._clock() + self._interval)
        while True:
            reading = yield from self._read_batch()
            if reading is None or not reading.more:
                self._behind = False
                return False
            if self._clock() > until:
                self._behind = True
                return True

    def _read_batch(self) -> Generator[Step, Any, LogReading | None]:
        waiting = self._reruns.waiting
        try:
            reading = yield from self._reader.read(rerun=self._rerun, waiting=waiting)
        except ApiError as error:
            # A job that waits for its rerun need not have a log.
            if not waiting:
                yield from self._log_failed(error)
            return None
        if self._log_fault and not reading.error:
            self._log_fault = False
            yield Note("the log can be read again; reading continues where it stopped")
        notes, self._last_notes = self._last_notes, reading.notes
        yield from (Note(text, warning=True) for text in dict.fromkeys(reading.notes) if text not in notes)
        # If a waiting job has another file than before, it has run since the last poll.
        rerun = self._rerun or waiting
        if not waiting and any(piece.changed or piece.data for piece in reading.pieces):
            self._rerun = False
        for piece in reading.pieces:
            yield from self._take(piece, rerun)
        if reading.error and not waiting:
            yield from self._log_failed(reading.error)
        return reading

    def _take(self, piece: Piece, rerun: bool) -> Generator[Step, Any, None]:
        stream = self._streams.setdefault(piece.stream, LogStream(encoding=self._encoding))
        if piece.stopped:
            yield Note(
                f"--- reading {piece.stream} was stopped: {piece.stopped}. Lines are missing here ---",
                warning=True,
            )
        elif piece.changed:
            yield from self._restart(piece.stream, piece.changed, rerun)
        elif piece.unsettled:
            self._changes += 1
        elif stream.unverified:
            yield from self._verify(stream, stream.unverified, piece)
        else:
            yield from self._write(piece.stream, piece.data, piece.position)

    def _write(
        self, name: str, data: bytes, position: LogPosition, written: int = 0
    ) -> Generator[Step, Any, None]:
        """Emit the lines of what was read at ``position``, without the first ``written`` bytes."""
        if len(data) > written:
            self._last_byte = self._clock()
            self._changes += 1
        for begin in range(0, len(data), PIECE):
            piece = data[begin : begin + PIECE]
            old = min(len(piece), max(0, written - begin))
            self.totals.bytes += len(piece) - old
            lines = self._streams[name].feed(piece, position, begin, old)
            if lines:
                yield from self._emit(name, lines)
                yield from self._checkpoint()

    def _verify(self, stream: LogStream, mark: StreamMark, chunk: Piece) -> Generator[Step, Any, None]:
        """Compare the stream with what an earlier follower wrote last, and continue behind that."""
        self._changes += 1
        fits = stream.fits(mark, chunk.data)
        if fits is None:
            return
        if not fits and isinstance(mark.position, int):
            self._reader.restart(chunk.stream)
            why = "differs from what was read before the restart"
            yield from self._restart(chunk.stream, why, self._rerun)
            return
        data = bytes(stream.held)
        stream.begin_anew()
        if not fits:
            yield Note(
                f"--- {chunk.stream} differs from what was read before the restart: lines may be missing or "
                "repeated here ---",
                warning=True,
            )
        yield from self._write(chunk.stream, data, mark.position, mark.written if fits else 0)

    def _restart(self, name: str, why: str, rerun: bool) -> Generator[Step, Any, None]:
        self._changes += 1
        yield from self._emit(name, self._streams[name].begin_anew())
        self._exit_code.code = None
        if rerun:
            text = f"--- {self._ref} was rerun; its log is read from the beginning ({name} {why}) ---"
        else:
            text = (
                f"--- {name} {why}: it was truncated or replaced, perhaps by a rerun of the job, and is read "
                "again from the beginning ---"
            )
        yield Note(text, warning=True)

    def _show_progress(self) -> Generator[Step, Any, None]:
        """Show the state of lines that the job redraws with CR, every :data:`PROGRESS_EVERY` seconds."""
        now = self._clock()
        for name, stream in self._streams.items():
            if now - stream.progress_at >= PROGRESS_EVERY and (state := stream.assembler.progress()):
                stream.progress_at = now
                yield Note(stream_prefix(name) + self._exit_code.half(state))

    def _checkpoint(self) -> Generator[Step, Any, None]:
        cursor = self.cursor
        if cursor != self._reached:
            self._reached = cursor
            yield Checkpoint(cursor)

    def _emit(self, name: str, lines: list[str]) -> Generator[Step, Any, None]:
        if lines := self._exit_code.lines(lines):
            self.totals.lines += len(lines)
            cut = sum(stream.assembler.cut for stream in self._streams.values())
            self.totals.cut_lines = self._cut_before + cut
            yield Emit(name, lines, self._behind)

    def _flush(self) -> Generator[Step, Any, None]:
        for name, stream in self._streams.items():
            yield from self._emit(name, stream.assembler.flush())

    def _show_incomplete_lines(self) -> Generator[Step, Any, None]:
        """Show the beginning of incomplete lines, marked as such: the next try writes these lines in full."""
        for name, stream in self._streams.items():
            for text in stream.assembler.flush():
                yield Note(f"--- incomplete last line of {name}: {self._exit_code.half(text)}")

    def _drain(self) -> Generator[Step, Any, None]:
        ended = self._last_byte = self._clock()
        # The wait's deadline applies here too, because something else may go on writing to the file. The last
        # lines of a job that ended just before the deadline are still read.
        deadline = self._watch.conditions.deadline
        give_up = math.inf if deadline is None else max(deadline, ended + self._settle + AFTER_DEADLINE)
        while True:
            requested, before = self._clock(), self._changes
            behind = yield from self._read_log(give_up)
            now = self._clock()
            if self._log_fault and now > min(ended + LOG_OUTAGE, give_up):
                yield Note(
                    "the log could not be read to the end; its last lines are missing here", warning=True
                )
                return
            # Only a reading without data shows the end: writing the data of the one before may have
            # taken longer than ``settle``.
            quiet = not self._log_fault and self._changes == before
            if quiet and requested - self._last_byte >= self._settle:
                return
            if now > give_up:
                yield Note(
                    "the log was still growing at the timeout; the rest is missing here",
                    warning=True,
                )
                return
            if not behind:
                yield Pause(min(self._interval, max(0.2, self._settle / 2)))

    def _log_failed(self, error: ApiError) -> Generator[Step, Any, None]:
        self.totals.errors += 1
        if not self._log_fault:
            self._log_fault = True
            yield Note(f"cannot read the log: {error} The job continues. Retrying.", warning=True)

    def _until_next_cycle(self) -> float:
        deadline = self._watch.conditions.deadline
        if deadline is None:
            return self._interval
        return max(0.2, min(self._interval, deadline - self._clock()))


def _resumed(start: SavedCursor) -> str:
    """Return the line that marks where a follower resumes, and how much may be repeated after it."""
    if start.cycle is None:
        return f"--- resumed at {start}; all lines written after it may be repeated ---"
    return f"--- resumed at {start}; up to one cycle (about {start.cycle:g} s) may be repeated ---"
