# SPDX-License-Identifier: Apache-2.0
"""Bar charts of measurements, as SVG for the docs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

OURS = "#0b6fa4"
OTHERS = "#9aa5ad"
LIMIT = "#b3261e"
COLUMNS = 3
"""Charts beside each other, so that a page shows them in a legible size."""


class Chart(NamedTuple):
    """One group of bars.

    :param title: what is measured, with its unit.
    :param values: by label, in the order of drawing.
    :param limit: a value that ours must stay below; drawn as a line.
    """

    title: str
    values: Mapping[str, float]
    limit: float | None = None


def draw(path: Path, charts: Sequence[Chart], *, ours: str) -> None:
    """Draw charts into an SVG file.

    :param ours: the label whose bar is drawn in colour.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # Text stays text: it can be searched, and the file is small. The same figures give the same file.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "ehpc", "font.size": 9})
    most = max(len(chart.values) for chart in charts)
    columns = min(len(charts), COLUMNS)
    rows = -(-len(charts) // columns)
    figure = Figure(figsize=(3.4 * columns, rows * (0.9 + 0.34 * most)), layout="constrained")
    for number, chart in enumerate(charts, 1):
        axes = figure.add_subplot(rows, columns, number)
        colours = [OURS if label.startswith(ours) else OTHERS for label in chart.values]
        bars = axes.barh(list(chart.values), list(chart.values.values()), color=colours, height=0.66)
        axes.bar_label(
            bars,
            [f"{value:,.3g}" if value < 100 else f"{value:,.0f}" for value in chart.values.values()],
            padding=3,
        )
        axes.invert_yaxis()
        axes.set_title(chart.title, loc="left", fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.margins(x=0.22)
        if chart.limit is not None:
            axes.axvline(
                chart.limit, color=LIMIT, linewidth=1, linestyle="--", label=f"limit {chart.limit:g}"
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
