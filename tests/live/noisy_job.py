# SPDX-License-Identifier: Apache-2.0
"""A job that writes what jobs should not write: sizes and bytes that break readers of logs.

``python noisy_job.py BYTES`` writes about that many to the standard output, in uneven bursts: Chinese text,
emoji, CRLF, a line of 1 MB, raw binary, control characters, and an end without a newline.
"""

from __future__ import annotations

import random
import sys
import time


def noise(size: int) -> list[bytes]:
    """Return about ``size`` bytes in pieces; the same for the same size."""
    chance = random.Random(size)
    kinds = (
        "求解器已收敛,残差为 1.0e-6;网格单元数 1048576".encode(),
        "第 {n} 步 🚀🧪 élan naïve Ωμέγα — step {n}".encode(),
        b"plain ASCII line with a tab\there and a bare \r carriage return",
        b"windows line\r",
        b"",
        "分隔符   和 \u0085 都不是换行".encode(),
        b"\x1b[32mgreen\x1b[0m \x00\x01\x02 \x7f",
    )
    pieces: list[bytes] = [b"L" * 1_000_000 + "长".encode() * 20_000 + b"\n"]
    written = len(pieces[0])
    number = 0
    while written < size:
        number += 1
        if chance.random() < 0.002:
            # Airflow's logging masks whatever begins like a JSON web token, "eyJ": not ours to test.
            piece = chance.randbytes(chance.randrange(1, 4000)).replace(b"J", b"j") + b"\n"
        else:
            line = chance.choice(kinds).replace(b"{n}", str(number).encode())
            piece = line * chance.randrange(1, 4) + f" {number}".encode() + b"\n"
            if chance.random() < 0.1:
                piece = piece[:-1] + b"\r\n"
        pieces.append(piece)
        written += len(piece)
    pieces.append("最后一行没有换行".encode())
    return pieces


def main() -> None:
    """Write it, cutting the bursts wherever it happens to be."""
    data = b"".join(noise(int(sys.argv[1])))
    chance = random.Random(1)
    position = 0
    while position < len(data):
        size = chance.choice((1, 7, 333, 4096, 65_537, 1_000_003))
        sys.stdout.buffer.write(data[position : position + size])
        sys.stdout.buffer.flush()
        position += size
        if chance.random() < 0.02:
            time.sleep(0.05)


if __name__ == "__main__":
    main()
