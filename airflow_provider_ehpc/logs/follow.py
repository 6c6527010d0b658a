"""Follow a job and its log to their end: one generator for the worker and for the triggerer.

It yields what has to be done (:mod:`airflow_provider_ehpc.logs.steps`) and is sent the results of calls and
polls.
Nothing here waits, sends or logs, so each driver is a few lines, and the triggers of a process share polls.

Invariants:

* A turn polls the state before it reads the log: a turn that saw the end has read the log after it.
* Bytes are passed on in order, each once; a cursor moves by the bytes received, never by those requested.
* After the end the log is read until nothing came for ``settle`` seconds: a node's last lines take a while to
  reach the place where the cloud reads them.
* The deadline of the wait holds for the log as well, with :data:`AFTER_DEADLINE` for the lines of the end.
* A turn reads on only while it gets something new, so no response makes it endless.
* A checkpoint comes after the lines that it counts as written, and once before any line. So a follower that
  starts from the last checkpoint of another writes every line that the other did not, and repeats at most
  what the other wrote behind it; it logs that first.
* A checkpoint has the time after which the next one comes, if there are lines to count. That time holds in
  the middle of a backlog as well, and if other streams have slowed down checkpoints meanwhile.
* An error in reading the log never ends the wait. It is counted, and logged when it begins and is over.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_ehpc.apis.call import ApiError
from airflow_provider_ehpc.apis.job import JobApi, JobRef, JobStatus, LogPosition
from airflow_provider_ehpc.logs.cursor import LogStream, LogTotals, SavedCursor, StreamMark
from airflow_provider_ehpc.logs.lines import stream_prefix
from airflow_provider_ehpc.logs.reader import LogReader, LogReading, Piece, same_path
from airflow_provider_ehpc.logs.rerun import RerunWatch
from airflow_provider_ehpc.logs.steps import Checkpoint, Emit, GetStatus, Pause, Step, Steps
from airflow_provider_ehpc.waiting.watch import JobWatch, Note, Outcome, Patience, Verdict

__all__ = [
    "LOG_OUTAGE",
    "Checkpoint",
    "CheckpointPolicy",
    "Emit",
    "GetStatus",
    "LogFollower",
    "Pause",
    "Step",
    "Steps",
]

LOG_OUTAGE = 300.0
"""Seconds for which reading an ended job's log may fail before its last lines are given up."""
AFTER_DEADLINE = 30.0
"""Seconds that are left for the last lines of a job that ends just before the wait's deadline."""
PROGRESS_EVERY = 10.0
"""Seconds between two states of a line that a job redraws with CR."""
PIECE = 16 * 1024
"""Bytes that become lines at once. Between two pieces a checkpoint may come: at the triggerer's narrow way to
the log, the 400 KiB of one reading can take a minute."""
_LATE = 1.1
"""How much later than promised a checkpoint may come: the pauses between turns are not exact."""


@dataclass(frozen=True, slots=True)
class _Checked:
    at: float
    every: float
    """Seconds after which the next one should come."""
    cursor: SavedCursor


class CheckpointPolicy:
    """How often checkpoints are made: as often as there is an occasion."""

    def every(self) -> float:
        """Return how many seconds should lie between two checkpoints."""
        return 0.0

    def free(self) -> bool:
        """Return True if an optional checkpoint can be made now."""
        return True


class LogFollower:
    """Follows one job.

    :param api: whose job it is.
    :param watch: judges the states.
    :param clock: epoch seconds.
    :param interval: seconds between two turns.
    :param settle: seconds without a new byte after which an ended job's log counts as complete.
    :param start: the position at which an earlier follower of the job stopped.
    :param pace: of the checkpoints; read at each.
    :param encoding: of the job's output, if the API returns bytes.
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
        pace: CheckpointPolicy | None = None,
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
        """True if the job was rerun, and nothing of the new run was read yet."""
        marks = start.streams if start else {}
        for name, mark in marks.items():
            self._streams[name] = LogStream(mark, self._encoding)
            self._reader.start(name, mark.position)
        twins = bool(marks) and marks.get("stdout") == marks.get("stderr")
        # What is known of an earlier process is that it read both streams, or one file under both names.
        self._reader.one_file = twins if marks else None
        self._last_notes: tuple[str, ...] = ()
        self._pace = pace or CheckpointPolicy()
        self._checked: _Checked | None = None
        self._unnoted: float | None = None
        """When the first line was written that no checkpoint counts yet."""
        self._behind = False
        self._log_fault = False
        self._last_byte = 0.0
        self._news = 0

    @property
    def cursor(self) -> SavedCursor:
        """How far the log is written when the step that was yielded last is done."""
        marks: dict[str, StreamMark] = {n: s.mark for n, s in self._streams.items() if s.mark is not None}
        if self._reader.one_file and "stdout" in marks:
            marks["stderr"] = marks["stdout"]
        every = self._pace.every()
        # Half a line is read, but not written.
        pending = sum(stream.assembler.pending for stream in self._streams.values())
        return SavedCursor(
            self._api.name,
            self._ref.as_dict(),
            marks,
            turn=self._interval * max(1, math.ceil(every / self._interval)),
            totals=replace(self.totals, bytes=self.totals.bytes - pending),
        )

    def steps(self) -> Steps:
        """Follow the job until its end is reached and its log is drained, or the wait is over."""
        if self._start:
            yield Note(_resumed(self._start))
            if self._start.streams and self._start.turn is not None:
                every = min(self._pace.every(), self._start.turn)
                self._checked = _Checked(self._clock(), every, self._start)
        yield from self._checkpoint()
        while True:
            verdict, notes = yield from self._look()
            if verdict is not None:
                break
            yield from notes
            behind = False
            if self._reruns.has_run:
                deadline = self._watch.terms.deadline
                behind = yield from self._read_log(math.inf if deadline is None else deadline)
                yield from self._show_progress()
            verdict, notes = self._watch.expired(self._clock(), self._patience.error), []
            if verdict is not None:
                break
            if not behind:
                yield from self._rest(self._until_next_turn())
        if verdict.outcome in (Outcome.REACHED, Outcome.FAILED):
            yield from self._drain()
            yield from self._flush()
        else:
            yield from self._show_halves()
        yield from self._checkpoint()
        # The news of the end comes last, below the lines that the job wrote before it.
        yield from notes
        yield Note(f"log of {self._ref}: {self.totals}")
        return verdict

    def _look(self) -> Generator[Step, Any, tuple[Verdict | None, list[Note]]]:
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
                news.append(Note(f"{self._ref} was rerun: {why}", warning=True))
        verdict, notes = self._watch.saw(result, now)
        if verdict is None:
            notes += self._watch.sign_of_life(now, f"; log so far: {self.totals}")
        return verdict, news + notes

    def _read_log(self, until: float) -> Generator[Step, Any, bool]:
        """Pass on new lines; return True if the turn's time was over before all of it was read.

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
            # Of a job that waits to be rerun there need not be a log.
            if not waiting:
                yield from self._log_failed(error)
            return None
        if self._log_fault:
            self._log_fault = False
            yield Note("the log can be read again, from where reading stopped")
        notes, self._last_notes = self._last_notes, reading.notes
        yield from (Note(text, warning=True) for text in dict.fromkeys(reading.notes) if text not in notes)
        # A waiting job whose file is another one has run since the last poll.
        rerun = self._rerun or waiting
        if not waiting and any(piece.changed or piece.data for piece in reading.pieces):
            self._rerun = False
        for piece in reading.pieces:
            yield from self._take(piece, rerun)
        return reading

    def _take(self, piece: Piece, rerun: bool) -> Generator[Step, Any, None]:
        stream = self._streams.setdefault(piece.stream, LogStream(encoding=self._encoding))
        if piece.stopped:
            yield Note(
                f"--- {piece.stream} is read no further: {piece.stopped}. Lines are missing here ---",
                warning=True,
            )
        elif piece.changed:
            yield from self._read_anew(piece.stream, piece.changed, rerun)
        elif piece.unsettled:
            self._news += 1
        elif stream.unproved:
            yield from self._recognise(stream, stream.unproved, piece)
        else:
            yield from self._write(piece.stream, piece.data, piece.position)

    def _write(
        self, name: str, data: bytes, position: LogPosition, written: int = 0
    ) -> Generator[Step, Any, None]:
        """Pass on the lines of what was read at ``position``, but for the first ``written`` bytes."""
        if len(data) > written:
            self._last_byte = self._clock()
            self._news += 1
        for begin in range(0, len(data), PIECE):
            piece = data[begin : begin + PIECE]
            old = min(len(piece), max(0, written - begin))
            self.totals.bytes += len(piece) - old
            lines = self._streams[name].feed(piece, position, begin, old)
            if lines:
                yield from self._emit(name, lines)
                if self._overdue():
                    yield from self._checkpoint()

    def _recognise(self, stream: LogStream, mark: StreamMark, chunk: Piece) -> Generator[Step, Any, None]:
        """Read what an earlier follower wrote last, to see that the stream is still the same."""
        self._news += 1
        fits = stream.fits(mark, chunk.data)
        if fits is None:
            return
        if not fits and isinstance(mark.position, int):
            self._reader.restart(chunk.stream)
            yield from self._read_anew(chunk.stream, "is not what was read before the restart", self._rerun)
            return
        data = bytes(stream.held)
        stream.begin_anew()
        if not fits:
            yield Note(
                f"--- {chunk.stream} does not go on as it was read before the restart: lines may be "
                "missing or repeated here ---",
                warning=True,
            )
        yield from self._write(chunk.stream, data, mark.position, mark.written if fits else 0)

    def _read_anew(self, name: str, why: str, rerun: bool) -> Generator[Step, Any, None]:
        self._news += 1
        yield from self._emit(name, self._streams[name].begin_anew())
        if rerun:
            text = f"--- {self._ref} was rerun; its log is read from the beginning ({name} {why}) ---"
        else:
            text = (
                f"--- {name} {why}: it was cut or replaced, perhaps by a rerun of the job, and is read again "
                "from its beginning ---"
            )
        yield Note(text, warning=True)

    def _show_progress(self) -> Generator[Step, Any, None]:
        """Show the last state of lines that are redrawn, now and then."""
        now = self._clock()
        for name, stream in self._streams.items():
            if now - stream.progress_at >= PROGRESS_EVERY and (state := stream.assembler.progress()):
                stream.progress_at = now
                yield Note(stream_prefix(name) + state)

    def _checkpoint(self) -> Generator[Step, Any, None]:
        cursor = self.cursor
        self._unnoted = None
        if self._checked is None or cursor != self._checked.cursor:
            # The first lines are noted at once: until then, all of them would come again.
            at = self._clock() if cursor.streams else -math.inf
            self._checked = _Checked(at, self._pace.every(), cursor)
            yield Checkpoint(cursor)

    def _overdue(self, ahead: float = 0.0) -> bool:
        """Return True if a line that no checkpoint counts is too old, or will be in ``ahead`` seconds."""
        if self._unnoted is None or self._checked is None:
            return False
        return self._clock() + ahead > self._unnoted + (self._checked.cursor.turn or 0.0) * _LATE

    def _rest(self, seconds: float) -> Generator[Step, Any, None]:
        checked = self._checked
        due = checked is None or self._clock() - checked.at >= checked.every
        if self._overdue(seconds) or (due and self._pace.free()):
            yield from self._checkpoint()
        yield Pause(seconds)

    def _emit(self, name: str, lines: list[str]) -> Generator[Step, Any, None]:
        if lines:
            self.totals.lines += len(lines)
            cut = sum(stream.assembler.cut for stream in self._streams.values())
            self.totals.cut_lines = self._cut_before + cut
            if self._unnoted is None:
                self._unnoted = self._clock()
            yield Emit(name, lines, self._behind)

    def _flush(self) -> Generator[Step, Any, None]:
        for name, stream in self._streams.items():
            yield from self._emit(name, stream.assembler.flush())

    def _show_halves(self) -> Generator[Step, Any, None]:
        """Show what there is of lines that may go on. As lines they would stand there twice: the next try
        reads them whole."""
        for name, stream in self._streams.items():
            for half in stream.assembler.flush():
                yield Note(f"--- {name} is left within a line, of which there is: {half}")

    def _drain(self) -> Generator[Step, Any, None]:
        ended = self._last_byte = self._clock()
        # The wait's deadline holds here too, for something else may go on writing to the file; but a job that
        # ended just before it has its last lines read.
        deadline = self._watch.terms.deadline
        give_up = math.inf if deadline is None else max(deadline, ended + self._settle + AFTER_DEADLINE)
        while True:
            asked, before = self._clock(), self._news
            behind = yield from self._read_log(give_up)
            now = self._clock()
            if self._log_fault and now - ended > LOG_OUTAGE:
                yield Note(
                    "the log could not be read to its end; its last lines are missing here", warning=True
                )
                return
            # Only a reading that gave nothing shows the end: writing what the one before gave may have taken
            # longer than the log needs to settle.
            quiet = not self._log_fault and self._news == before
            if quiet and asked - self._last_byte >= self._settle:
                return
            if now > give_up:
                yield Note(
                    "the log has not come to its end by the timeout; what follows is missing here",
                    warning=True,
                )
                return
            if not behind:
                yield from self._rest(min(self._interval, max(0.2, self._settle / 2)))

    def _log_failed(self, error: ApiError) -> Generator[Step, Any, None]:
        self.totals.errors += 1
        if not self._log_fault:
            self._log_fault = True
            yield Note(f"{error} The job continues; reading its log is retried.", warning=True)

    def _until_next_turn(self) -> float:
        deadline = self._watch.terms.deadline
        if deadline is None:
            return self._interval
        return max(0.2, min(self._interval, deadline - self._clock()))


def _resumed(start: SavedCursor) -> str:
    """Return the line that reports where a follower resumes, and how much may be repeated around it."""
    if start.turn is None:
        return f"--- resumed at {start}; all that was written behind it may be repeated ---"
    return f"--- resumed at {start}; up to one turn (about {start.turn:g} s) may be repeated ---"
