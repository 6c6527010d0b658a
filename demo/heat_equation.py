# SPDX-License-Identifier: Apache-2.0
"""The demonstration's job: heat spreading over a plate, by Jacobi iteration, with nothing but Python.

The left edge is held at 100 degrees and the others at 0. Each step replaces a point by the mean of its
neighbours until nothing changes; the residual is the largest change of a step.
"""

from __future__ import annotations

import sys
import time

SIZE = 48
STEPS = 40
SHADES = " .:-=+*#%@"


def main(seconds: float) -> None:
    """Iterate for about ``seconds`` and print the residual as it falls."""
    plate = [[100.0] + [0.0] * (SIZE - 1) for _ in range(SIZE)]
    print(f"heat equation on a plate of {SIZE} x {SIZE} points, left edge at 100 degrees", flush=True)
    for step in range(1, STEPS + 1):
        residual = 0.0
        for _ in range(10):
            new = [row[:] for row in plate]
            for i in range(1, SIZE - 1):
                above, here, below = plate[i - 1], plate[i], plate[i + 1]
                for j in range(1, SIZE - 1):
                    new[i][j] = (above[j] + below[j] + here[j - 1] + here[j + 1]) / 4
            rows = zip(plate, new, strict=True)
            residual = max(abs(a - b) for old, row in rows for a, b in zip(old, row, strict=True))
            plate = new
        mean = sum(map(sum, plate)) / SIZE**2
        print(f"step {step * 10:4d}   residual {residual:9.6f}   mean temperature {mean:7.4f}", flush=True)
        time.sleep(seconds / STEPS)
    print("the plate, from hot (@) to cold:")
    for row in plate[::6]:
        print("".join(SHADES[min(9, int(value / 10))] for value in row[::2]))
    print("温度场已收敛 ✓", flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0)
