# SPDX-License-Identifier: Apache-2.0
"""How fast logs come through: on a worker beside a bare loop, of a job that writes fast, of fifty at once.

Run as ``python -m benchmarks.log_throughput``. It takes about twenty minutes, and 2 GB for the logs of twelve
tasks with 100 MB each. Everything runs in an Airflow of its own: the tasks on its worker, the fifty streams
in its triggerer. Exits with 1 where a promise is broken.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import plots
from benchmarks.log_streams import Streamed
from benchmarks.log_streams import measure as stream_many
from benchmarks.log_worker import Cost, Lag, cost_of_a_log, lag_of_a_stream

MOST_COST = 1.3
"""Of the bare loop's: what JobLogOperator may cost."""
LEAST_OF_CEILING = 0.8
"""Of the bare loop's lines a second: what has to come through where a job writes faster than that."""
LONGEST_STALL = 100.0
"""Milliseconds."""
LABELS = {
    "bare": "a bare loop over the lines",
    "single": "JobLogOperator, line by line",
    "ours": "JobLogOperator",
    "raw": "the API alone, nothing logged",
}
"""How a log of 100 MB is put into a task's own. With its default settings JobLogOperator puts lines together
when it has been behind for a turn; line by line it does the same work as the loop, and reads beside it."""


def worker(arguments: argparse.Namespace) -> tuple[list[str], dict[str, Cost]]:
    """Measure a log of a job that has ended."""
    megabytes, size = arguments.megabytes, arguments.line
    costs = cost_of_a_log(megabytes, size, arguments.rounds)
    lines = megabytes * 1e6 / size
    print(f"\nA log of {megabytes:g} MB in lines of {size} bytes, on a worker; median of {arguments.rounds}")
    print(f"{'':32}{'wall s':>9}{'task':>9}{'superv.':>9}{'lines/s':>10}{'MB/s':>8}{'wall':>8}{'CPU':>7}")
    print(f"{'':32}{'':9}{'CPU s':>9}{'CPU s':>9}{'':10}{'':8}{'ratio':>8}{'ratio':>7}")
    bare = costs["bare"]
    for kind, label in LABELS.items():
        cost = costs[kind]
        print(
            f"{label:32}{cost.wall:9.1f}{cost.cpu:9.1f}{cost.supervisor:9.1f}{lines / cost.wall:10,.0f}"
            f"{megabytes / cost.wall:8.1f}{cost.wall / bare.wall:8.2f}{cost.all_cpu / bare.all_cpu:7.2f}"
        )
    broken = [
        f"{LABELS[kind]}: {what} is {ratio:.2f} of the bare loop's"
        for kind in ("ours", "single")
        for what, ratio in (
            ("the time", costs[kind].wall / bare.wall),
            ("the processor time", costs[kind].all_cpu / bare.all_cpu),
        )
        if ratio > MOST_COST
    ]
    return broken, costs


def stream(arguments: argparse.Namespace) -> tuple[list[str], Lag]:
    """Measure the log of a job that writes fast, while it runs."""
    rate, seconds = arguments.pace, arguments.seconds
    lag = lag_of_a_stream(rate, arguments.line, seconds, arguments.interval)
    print(
        f"\nA job that writes {rate:,.0f} lines a second for {seconds:g} s, on a worker that reads every "
        f"{arguments.interval:g} s\n"
        f"lines                            {lag.lines:12,}{'' if lag.complete else '   NOT COMPLETE'}\n"
        f"in the task log after, median s  {lag.median:12.1f}\n"
        f"  the worst s                    {lag.worst:12.1f}\n"
        f"  the last line s                {lag.last:12.1f}"
    )
    # Who reads every few seconds is up to so many behind without falling behind.
    through = lag.lines / (seconds + max(0.0, lag.last - arguments.interval))
    print(f"lines a second that came through {through:12,.0f}, {through / rate:.0%} of the job's")
    broken = [] if lag.complete else ["the fast stream is not complete"]
    if through < LEAST_OF_CEILING * rate:
        broken.append(f"only {through:,.0f} lines a second came through")
    return broken, lag


def streams(arguments: argparse.Namespace) -> tuple[list[str], Streamed]:
    """Measure many streams in a triggerer."""
    count, rate = arguments.streams, arguments.rate
    seen = stream_many(count, rate, arguments.line, arguments.seconds, arguments.interval)
    each = seen.lines // count
    rows = [
        ("lines", f"{seen.lines:,}"),
        ("lines a second that came through", f"{seen.lines_a_second:,.0f}"),
        ("backlog when the jobs had ended, s", f"{seen.backlog_seconds:.1f}"),
        ("loop's worst stall, ms", f"{seen.stall:.0f}"),
        ("  of it processor time", f"{seen.busy:.0f}"),
        ("  of it garbage collection", f"{seen.collecting:.0f}"),
        (f"lines of {each:,} out by then, slowest", f"{seen.fewest:,}"),
        ("  median stream", f"{seen.median:,.0f}"),
        ("  fastest", f"{seen.most:,}"),
        ("runner, share of a core", f"{seen.runner:.0%}"),
        ("supervisor, share of a core", f"{seen.supervisor:.0%}"),
        ("requests a second", f"{seen.requests_a_second:.1f}"),
        ("streams that are not complete", f"{seen.incomplete}"),
    ]
    print(
        f"\n{count} streams of {rate:g} lines of {arguments.line} bytes a second for {seen.seconds:g} s, "
        f"in one triggerer that reads every {arguments.interval:g} s"
    )
    for name, value in rows:
        print(f"{name:40}{value:>12}")
    broken = []
    if seen.incomplete:
        broken.append(f"{seen.incomplete} streams are not complete")
    if seen.stall > LONGEST_STALL:
        broken.append(f"the event loop was held up for {seen.stall:.0f} ms")
    if seen.fewest < seen.median / 2:
        broken.append(f"a stream was starved: {seen.fewest:,} lines where the median has {seen.median:,.0f}")
    return broken, seen


def draw(path: Path, costs: dict[str, Cost] | None) -> None:
    """Draw what the ways to log a file cost."""
    if costs is None:
        raise SystemExit("--plot draws the part 'worker', which was not measured")
    kinds = {kind: label for kind, label in LABELS.items() if kind in costs}
    limit = MOST_COST * costs["bare"].wall
    wall = {label: costs[kind].wall for kind, label in kinds.items()}
    cpu = {label: costs[kind].all_cpu for kind, label in kinds.items()}
    plots.draw(
        path,
        [
            plots.Chart("Clock, seconds", wall, limit),
            plots.Chart("Processor, seconds", cpu, MOST_COST * costs["bare"].all_cpu),
        ],
        ours="JobLogOperator",
    )


def main() -> int:
    """Measure, print tables and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.log_throughput", description=__doc__)
    parts = {"worker": worker, "stream": stream, "streams": streams}
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--megabytes", type=float, default=100.0, help="of the worker's log (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of the worker's tasks (%(default)s)")
    parser.add_argument("--line", type=int, default=100, help="bytes of a line (%(default)s)")
    parser.add_argument("--pace", type=float, default=10_000.0, help="lines a second of the fast job")
    parser.add_argument("--streams", type=int, default=50)
    parser.add_argument("--rate", type=float, default=200.0, help="lines a second of each of them")
    parser.add_argument("--seconds", type=float, default=30.0, help="for which jobs write (%(default)s)")
    parser.add_argument("--interval", type=float, default=5.0, help="seconds between two readings")
    parser.add_argument("--plot", type=Path, help="an SVG file to draw the part 'worker' into")
    arguments = parser.parse_args()
    broken: list[str] = []
    costs = None
    for part in arguments.parts:
        measure: Callable[[argparse.Namespace], tuple[list[str], object]] = parts[part]
        more, found = measure(arguments)
        sys.stdout.flush()
        broken += more
        if part == "worker":
            costs = found
    if arguments.plot:
        draw(arguments.plot, costs)  # type: ignore[arg-type]
    for text in broken:
        print(f"BROKEN: {text}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
