# SPDX-License-Identifier: Apache-2.0
"""A job whose every line can be checked from all others: ``python job.py SEED SECONDS [FILE]``.

It writes to both streams in bursts and with pauses, cut wherever it happens to be, in the middle of a
character too: lines of some bytes and of some ten thousand, Chinese, emoji, CRLF. The standard output ends
with a line that has no end. It ends earlier where there is a file of that name.
"""

from __future__ import annotations

import os
import random
import sys
import time

_TEXTS = (
    "plain text",
    "求解器已收敛,残差为 1.0e-6",
    "🚀🧪 élan naïve Ωμέγα",
    "a tab\tand a bare \r return",
    "",
)


def _line(chance: random.Random, name: str, number: int) -> bytes:
    text = chance.choice(_TEXTS)
    draw = chance.random()
    if draw < 0.01:
        text += "长" * chance.randrange(7_000, 20_000)
    elif draw < 0.05:
        text += "x" * chance.randrange(200, 4_000)
    return f"{name} {number} of the run {text}".encode() + (b"\r\n" if draw > 0.9 else b"\n")


def main() -> None:
    """Write lines for some seconds."""
    chance = random.Random(int(sys.argv[1]))
    end = time.monotonic() + float(sys.argv[2])
    streams = {"out": 1, "err": 2}
    numbers = dict.fromkeys(streams, 0)
    waiting = dict.fromkeys(streams, b"")
    while time.monotonic() < end and not any(map(os.path.exists, sys.argv[3:])):
        for _ in range(chance.choice((1, 1, 2, 3, 10, 30)) if chance.random() < 0.98 else 500):
            name = "err" if chance.random() < 0.25 else "out"
            numbers[name] += 1
            waiting[name] += _line(chance, name, numbers[name])
        for name, descriptor in streams.items():
            cut = chance.randrange(len(waiting[name]) + 1) if chance.random() < 0.4 else len(waiting[name])
            os.write(descriptor, waiting[name][:cut])
            waiting[name] = waiting[name][cut:]
        time.sleep(min(2.5, chance.expovariate(2.0)))
    for name, descriptor in streams.items():
        os.write(descriptor, waiting[name])
    os.write(1, f"out {numbers['out'] + 1} of the run 没有换行".encode())


if __name__ == "__main__":
    main()
