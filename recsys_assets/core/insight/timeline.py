"""Lines over days, with names at the right end that do not cover one another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recsys_assets.core.insight.drawing import GRID, INK, MUTED, date_axis, day_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Style = Mapping[str, Any]

THIN: Style = {"color": MUTED, "linewidth": 0.8, "alpha": 0.7}
DASHED: Style = {"color": INK, "linewidth": 1.2, "dashes": (4, 2)}
_LABEL_GAP = 0.068
"""Between the baselines of two labels, as a share of the height of the axes; at least 200 points high."""


@dataclass(frozen=True)
class Point:
    """A figure of a day, with its interval where it has one."""

    day: str
    value: float
    low: float | None = None
    high: float | None = None


Series = Mapping[str, Sequence[Point | None]]


def draw_lines(
    axes: Axes,
    days: Sequence[str],
    series: Series,
    styles: Mapping[str, Style],
    label: Callable[[float], str],
    *,
    from_zero: bool = True,
) -> None:
    """A line for each series, its interval as a band, and its name with its last value at the right.

    Args:
        axes: to draw on.
        days: ``YYYY-MM-DD``, ascending, at least one; each stands where its date puts it.
        series: name to a figure of each day, at least one of them there; a missing one interrupts the line.
        styles: lines that stand out, the most important one last; the others are thin and below. Only those that
            have a style show their interval.
        label: how a value is written.
        from_zero: whether the axis of values begins at zero.
    """
    order = [*sorted(series.keys() - styles.keys()), *(name for name in styles if name in series)]
    for name in order:
        style = styles.get(name, THIN)
        for run in runs(series[name]):
            x = [day_number(point.day) for point in run]
            axes.plot(x, [point.value for point in run], marker="o" if len(run) == 1 else "", markersize=3.5, **style)
            bounded = [(point.low, point.high) for point in run if point.low is not None and point.high is not None]
            if name in styles and len(bounded) == len(run):
                low, high = zip(*bounded, strict=True)
                axes.fill_between(x, low, high, color=style["color"], alpha=0.14, linewidth=0)
    first, last = day_number(days[0]), day_number(days[-1])
    if from_zero:
        axes.set_ylim(bottom=0)
    axes.set_xlim(first - 0.5, last + 0.5)
    axes.yaxis.set_major_formatter(lambda value, _: label(value))
    axes.locator_params(axis="y", nbins=5)
    axes.grid(axis="y", color=GRID)
    date_axis(axes, days)
    _label_lines(axes, {name: runs(series[name])[-1][-1].value for name in order}, styles, label)


def _label_lines(
    axes: Axes, values: Mapping[str, float], styles: Mapping[str, Style], label: Callable[[float], str]
) -> None:
    low, high = axes.get_ylim()
    ordered = sorted(values, key=lambda name: (values[name], name))
    heights = spread([(values[name] - low) / (high - low) for name in ordered], _LABEL_GAP)
    for name, height in zip(ordered, heights, strict=True):
        style = styles.get(name, THIN)
        axes.annotate(
            f"{name} {label(values[name])}", (1, height), (6, 0), xycoords="axes fraction", textcoords="offset points",
            va="center", fontsize=10.5, color=style["color"], fontweight="bold" if name in styles else "normal",
        )  # fmt: skip


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Move ascending places apart until neighbours are at least ``gap`` from each other, from 0 upwards.

    They stay at most 1 where that many fit.
    """
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + gap if moved else 0.0))
    top = max(1.0, gap * (len(moved) - 1))
    for n in reversed(range(len(moved))):
        moved[n] = min(moved[n], top - gap * (len(moved) - 1 - n))
    return moved


def runs(points: Sequence[Point | None]) -> list[list[Point]]:
    """Stretches without a gap."""
    stretches: list[list[Point]] = [[]]
    for point in points:
        if point is None:
            stretches.append([])
        else:
            stretches[-1].append(point)
    return [stretch for stretch in stretches if stretch]
