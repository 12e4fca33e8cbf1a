"""Charts of models and of searches as PNG files, which MLflow shows too."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from recsys_assets.core.insight.drawing import INK, MUTED, STRONG, shorten, styled, to_png
from recsys_assets.core.tuning.study import COMPLETE, PRUNED, Record


@styled
def bar_chart(title: str, values: Mapping[str, float], most: int = 20) -> bytes:
    """Horizontal bars, the largest on top.

    Args:
        title: above the bars.
        values: by name; at least one.
        most: how many of the largest are drawn.
    """
    from matplotlib.figure import Figure

    largest = sorted(values.items(), key=lambda item: item[1])[-most:]
    figure = Figure(figsize=(6.4, 0.6 + 0.28 * len(largest)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh([shorten(name, 40) for name, _ in largest], [value for _, value in largest], color=STRONG)
    axes.bar_label(bars, fmt="%.3g", padding=4)
    axes.set_title(title, fontweight="bold")
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.spines["left"].set_visible(True)
    axes.set_xticks([])
    axes.margins(x=0.12, y=0.01)
    return to_png(figure)


@styled
def search_chart(metric: str, trials: Sequence[Record]) -> bytes:
    """The value of each trial and the best so far; at least one trial."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6.4, 2.8), layout="constrained")
    axes = figure.subplots()
    for state, marker, color in ((COMPLETE, "o", STRONG), (PRUNED, "x", MUTED)):
        points = [(trial.trial + 1, trial.value) for trial in trials if trial.state == state]
        if points:
            axes.scatter(*zip(*points, strict=True), marker=marker, color=color, s=24, label=state)
    best = accumulate((trial.value if trial.state == COMPLETE else -math.inf for trial in trials), max)
    x = [trial.trial + 1 for trial in trials]
    axes.step(x, list(best), where="post", color=INK, linewidth=1, label="best so far")
    axes.set_title(f"{metric} of the trials", fontweight="bold")
    axes.set_xlabel("trial")
    axes.set_ylabel(metric)
    axes.grid(axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return to_png(figure)


@dataclass(frozen=True)
class Bar:
    """A value with an interval, where it has one."""

    value: float
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        bounds = "" if self.low is None or self.high is None else f" [{self.low:.4f}, {self.high:.4f}]"
        return f"{self.value:.4f}{bounds}" if bounds else f"{self.value:.3g}"


@styled
def bar_panels(title: str, panels: Mapping[str, Mapping[str, Bar]], baseline: str) -> bytes:
    """Panels of horizontal bars with intervals: in all of them the same names in the same order.

    Args:
        title: above all panels.
        panels: what each shows, by name.
        baseline: the name with which the others are compared: in grey, below them.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    every = {name for bars in panels.values() for name in bars}
    names = sorted(every, key=lambda name: (name == baseline, name), reverse=True)  # bars are drawn upwards
    colors = [MUTED if name == baseline else STRONG for name in names]
    across = min(3, len(panels))  # as wide as the window in which the UI shows it
    down = -(-len(panels) // across)
    size = (2.65 * across, 0.6 + down * (0.7 + 0.28 * len(names)))
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title, fontsize=13, fontweight="bold", x=0.01, ha="left")
    engine: Any = figure.get_layout_engine()
    engine.set(wspace=0.06)
    grid = figure.subplots(down, across, sharey=True, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, (panel, values) in zip(grid.flat, panels.items(), strict=False):
        bars = [values.get(name, Bar(math.nan)) for name in names]
        errors = [
            [math.nan if bar.low is None else max(0.0, bar.value - bar.low) for bar in bars],
            [math.nan if bar.high is None else max(0.0, bar.high - bar.value) for bar in bars],
        ]
        axes.xaxis.set_major_locator(MaxNLocator(3))
        labels = [shorten(name, 30) for name in names]
        axes.barh(range(len(names)), [bar.value for bar in bars], color=colors, xerr=errors, ecolor=INK, capsize=2)
        axes.set_yticks(range(len(names)), labels)
        axes.set_title(panel)
        axes.grid(axis="x")
    return to_png(figure)
