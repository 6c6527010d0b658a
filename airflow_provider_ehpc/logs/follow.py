"""Following a job to its end and its log with it: one generator for the worker and for the triggerer.

It yields what has to be done (an :class:`ApiCall`, :class:`Emit`, :class:`Note`, :class:`Checkpoint`,
:class:`Pause`) and is sent the answers of the calls. Nothing here waits, sends or logs, so each driver is a
few lines.

Invariants:

* In a turn the state is looked at before the log is read: a turn that saw the end has read the log after it.
* Bytes are passed on in order, each once; a cursor moves by the bytes received, never by those asked for.
* After the end the log is read until nothing came for ``settle`` seconds: what a node wrote last takes a
  while to arrive where the cloud reads it.
* The deadline of the wait holds for the log as well, with :data:`LOG_OUTAGE` for the lines of the end.
* A checkpoint comes after the lines that it counts as written, and once before any line. So a follower that
  starts from the last checkpoint of another writes every line that the other did not, and repeats at most
  what the other wrote behind it; it says so first.
* A fault in reading the log never ends the wait. It is counted, and said when it begins and when it is over.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias

from airflow_provider_ehpc.apis.call import ApiCall, ApiError, NotFound
from airflow_provider_ehpc.apis.job import JobApi, JobRef, LogBatch, LogChunk
from airflow_provider_ehpc.logs.cursor import LogStream, SavedCursor, StreamMark
from airflow_provider_ehpc.logs.reader import LogReader
from airflow_provider_ehpc.polling.watch import JobWatch, Note, Outcome, Patience, Verdict

LOG_OUTAGE = 300.0
"""Seconds for which an ended job's log is asked for in vain before its end is given up."""


@dataclass(frozen=True, slots=True)
class Emit:
    """Complete lines of one stream, in order."""

    stream: str
    lines: list[str]


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing to do for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The lines up to here are written: the place to start from, should this process end."""

    cursor: SavedCursor


Step: TypeAlias = ApiCall[Any] | Emit | Note | Checkpoint | Pause
Steps: TypeAlias = Generator[Step, Any, Verdict]


@dataclass(slots=True)
class LogTotals:
    """What was read of a log."""

    bytes: int = 0
    lines: int = 0
    cut_lines: int = 0
    errors: int = 0

    def __str__(self) -> str:
        text = f"{self.lines:,} lines, {self.bytes:,} bytes"
        if self.cut_lines:
            text += f", {self.cut_lines:,} of the lines cut"
        return text + (f", {self.errors:,} failed readings" if self.errors else "")


class LogFollower:
    """Follows one job.

    :param api: whose job it is.
    :param watch: judges the states.
    :param clock: epoch seconds.
    :param interval: seconds between two turns.
    :param settle: seconds without a new byte after which an ended job's log counts as complete.
    :param first_pause: seconds before the first turn.
    :param start: where an earlier follower of the job stopped.
    :param checkpoint_every: seconds between two checkpoints, at least; they come at the end of a turn.
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
        first_pause: float = 0.0,
        start: SavedCursor | None = None,
        checkpoint_every: float = 0.0,
    ) -> None:
        self.totals = LogTotals()
        self._api = api
        self._ref = ref
        self._watch = watch
        self._patience = Patience()
        self._clock = clock
        self._interval = interval
        self._settle = settle
        self._first_pause = first_pause
        self._reader = LogReader(api, ref)
        self._streams: dict[str, LogStream] = {}
        self._start = start
        for name, mark in (start.streams if start else {}).items():
            self._streams[name] = LogStream(mark)
            self._reader.cursor = self._reader.cursor.moved(name, mark.position)
        self._checkpoint_every = checkpoint_every
        self._checked: tuple[float, SavedCursor] | None = None
        self._log_fault = False
        self._last_byte = 0.0
        self._news = 0

    def steps(self) -> Steps:
        """Follow the job until its end is reached and its log is drained, or the wait is over."""
        if self._start:
            turn = max(self._interval, self._checkpoint_every)
            yield Note(f"--- resumed at {self._start}; up to one turn (about {turn:g} s) may be repeated ---")
        yield from self._checkpoint()
        if self._first_pause:
            yield Pause(self._first_pause)
        while True:
            verdict, notes = yield from self._look()
            if verdict is not None:
                break
            yield from notes
            # A job that is not known yet has no log: asking for it would only bring a second error.
            behind = (yield from self._read_log()) if self._watch.status else False
            yield from self._checkpoint()
            verdict, notes = self._watch.expired(self._clock()), []
            if verdict is not None:
                break
            if not behind:
                yield Pause(self._until_next_turn())
        if verdict.outcome in (Outcome.REACHED, Outcome.FAILED):
            yield from self._drain()
        yield from self._flush()
        yield from self._checkpoint(now=True)
        # The news of the end comes last, below the lines that the job wrote before it.
        yield from notes
        yield Note(f"log of {self._ref}: {self.totals}")
        return verdict

    def _look(self) -> Generator[Step, Any, tuple[Verdict | None, list[Note]]]:
        try:
            status = yield from self._api.job_status(self._ref)
        except NotFound as error:
            if error.code == "ClusterNotFound":
                return Verdict(Outcome.ERROR, str(error), error=error.as_dict()), []
            return self._watch.saw(None, self._clock())
        except ApiError as error:
            return self._patience.failed(error, self._clock())
        news = self._patience.answered(self._clock())
        verdict, notes = self._watch.saw(status, self._clock())
        if verdict is None:
            notes += self._watch.sign_of_life(self._clock(), f"; log so far: {self.totals}")
        return verdict, news + notes

    def _read_log(self) -> Generator[Step, Any, bool]:
        """Pass on what is new; return whether the turn's time was over before all of it was read."""
        begun = self._clock()
        while True:
            batch = yield from self._read_batch()
            if batch is None or not batch.more:
                return False
            if self._clock() - begun > self._interval:
                return True

    def _read_batch(self) -> Generator[Step, Any, LogBatch | None]:
        try:
            batch = yield from self._reader.read()
        except ApiError as error:
            yield from self._log_failed(error)
            return None
        if self._log_fault:
            self._log_fault = False
            yield Note("the log can be read again, from where reading stopped")
        yield from (Note(text, warning=True) for text in batch.notes)
        for chunk in batch.chunks:
            yield from self._take(chunk)
        return batch

    def _take(self, chunk: LogChunk) -> Generator[Step, Any, None]:
        stream = self._streams.setdefault(chunk.stream, LogStream())
        position = self._reader.cursor.position(chunk.stream)
        shorter = isinstance(position, int) and stream.truncated(chunk, position)
        if stream.unproved:
            yield from self._recognise(stream, stream.unproved, chunk)
            return
        if shorter:
            yield from self._read_anew(
                chunk.stream, f"is now {chunk.size:,} bytes long where {position:,} were read"
            )
            return
        self._reader.cursor = self._reader.cursor.moved(chunk.stream, chunk.next)
        self._count(len(chunk.data))
        yield from self._emit(chunk.stream, stream.feed(chunk.data, position))

    def _recognise(self, stream: LogStream, mark: StreamMark, chunk: LogChunk) -> Generator[Step, Any, None]:
        """Read what an earlier follower wrote last, to see that the stream is still the same."""
        self._reader.cursor = self._reader.cursor.moved(chunk.stream, chunk.next)
        self._news += 1
        fits = stream.fits(mark, chunk.data)
        if fits is None:
            return
        if not fits and isinstance(mark.position, int):
            yield from self._read_anew(chunk.stream, "is not what was read before the restart")
            return
        data = bytes(stream.held)
        stream.begin_anew()
        if not fits:
            yield Note(
                f"--- {chunk.stream} does not go on as it was read before the restart: lines may be "
                "missing or repeated here ---",
                warning=True,
            )
        written = mark.written if fits else 0
        self._count(len(data) - written)
        yield from self._emit(chunk.stream, stream.feed(data, mark.position, written))

    def _read_anew(self, name: str, why: str) -> Generator[Step, Any, None]:
        self._news += 1
        yield from self._emit(name, self._streams[name].begin_anew())
        yield Note(
            f"--- {name} {why}: it was cut or replaced, and is read again from its beginning ---",
            warning=True,
        )
        self._reader.cursor = self._reader.cursor.moved(name, 0)

    def _count(self, size: int) -> None:
        if size:
            self._last_byte = self._clock()
            self.totals.bytes += size
            self._news += 1

    def _checkpoint(self, now: bool = False) -> Generator[Step, Any, None]:
        marks: dict[str, StreamMark] = {n: s.mark for n, s in self._streams.items() if s.mark is not None}
        cursor = SavedCursor(self._api.name, self._ref.as_dict(), marks)
        if self._checked is not None:
            at, before = self._checked
            if cursor == before or not (now or self._clock() - at >= self._checkpoint_every):
                return
        # The first lines are noted at once: until then, all of them would come again.
        self._checked = self._clock() if marks else -math.inf, cursor
        yield Checkpoint(cursor)

    def _emit(self, stream: str, lines: list[str]) -> Generator[Step, Any, None]:
        if lines:
            self.totals.lines += len(lines)
            self.totals.cut_lines = sum(s.assembler.cut for s in self._streams.values())
            yield Emit(stream, lines)

    def _flush(self) -> Generator[Step, Any, None]:
        for name, stream in self._streams.items():
            yield from self._emit(name, stream.assembler.flush())

    def _drain(self) -> Generator[Step, Any, None]:
        ended = self._last_byte = self._clock()
        # The wait's deadline holds here too, for something else may go on writing to the file; but a job that
        # ended just before it has its last lines read.
        give_up = max(ended + LOG_OUTAGE, self._watch.terms.deadline or math.inf)
        while True:
            asked, before = self._clock(), self._news
            behind = yield from self._read_log()
            yield from self._checkpoint()
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
                yield Pause(min(self._interval, max(0.2, self._settle / 2)))

    def _log_failed(self, error: ApiError) -> Generator[Step, Any, None]:
        self.totals.errors += 1
        if not self._log_fault:
            self._log_fault = True
            yield Note(f"{error} The job goes on; its log is asked for again.", warning=True)

    def _until_next_turn(self) -> float:
        deadline = self._watch.terms.deadline
        if deadline is None:
            return self._interval
        return max(0.2, min(self._interval, deadline - self._clock()))
