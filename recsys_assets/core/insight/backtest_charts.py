"""The charts of the backtest report: how models did over the days, what the gate decided, how lists changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import fsum
from typing import TYPE_CHECKING

from recsys_assets.core.evaluation.compare import FINAL_LISTS
from recsys_assets.core.gate.rule import INTERVAL_TEXT
from recsys_assets.core.insight.data_charts import bars_by_day
from recsys_assets.core.insight.drawing import (
    GRID,
    INK,
    MUTED,
    PALE,
    SECOND,
    STRONG,
    Chart,
    date_axis,
    day_label,
    day_number,
    new_figure,
    percent,
    styled,
    to_svg,
)
from recsys_assets.core.insight.figures import Figures
from recsys_assets.core.insight.sparkline import sparkline
from recsys_assets.core.insight.timeline import DASHED, Point, Style, draw_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SPARKLINE_DAYS = 20
"""Days in a sparkline, whose text must stay short."""

_LEADING: Style = {"color": STRONG, "linewidth": 2.4}
_FOLLOWING: Style = {"color": SECOND, "linewidth": 2}
_MODELS: dict[str, Style] = {
    "champion": DASHED,
    "fused": {"color": INK, "linewidth": 1.3},
    "ranker": _FOLLOWING,
    FINAL_LISTS: _LEADING,
}
"""The models that stand out; generators are thin lines."""

_CHANGES: dict[str, Style] = {"users kept": DASHED, "jaccard": _FOLLOWING, "overlap": _LEADING}

_VERDICTS = {"promoted": STRONG, "waiting": SECOND, "archived": SECOND}

_TITLES = {"ndcg": "NDCG", "recall": "Recall", "coverage": "Coverage", "novelty": "Novelty", "diversity": "Diversity"}

_SUBTITLES = {
    "ndcg": f"Targets of the horizon that ended on each day; {FINAL_LISTS}: after re-ranking; shaded: {INTERVAL_TEXT}",
    "recall": f"Share of a user's targets among the first ten; shaded: {INTERVAL_TEXT}",
    "coverage": "Share of the catalogue in the first ten of the evaluated users",
    "novelty": "Mean self-information, -log2 of the share of users who have an item: higher is less popular",
    "diversity": "1 less the mean similarity of two items of a list: 0 in one category, 0.5 below one root",
}


def backtest_charts(figures: Figures) -> list[Chart]:
    """The charts that these figures call for, in the order of reading."""
    charts = [metric_over_time(figures, metric) for metric in _TITLES if figures["series"][metric]]
    if any(decision and decision["gain"] is not None for decision in figures["gate"]):
        charts.append(gate_over_time(figures))
    if any(lists and lists["kept"] for lists in figures["lists"]):
        charts.append(list_stability(figures))
    if any(figures["lists"]):
        charts.append(lists_by_day(figures))
    return charts


@styled
def metric_over_time(figures: Figures, metric: str) -> Chart:
    """A metric of every model over the days."""
    days: list[str] = figures["days"]
    series: dict[str, list[Point | None]] = {
        name: [Point(day, *values) if values else None for day, values in zip(days, points, strict=True)]
        for name, points in figures["series"][metric].items()
        # Generators that are not in use have no candidates, and recall nothing.
        if name in _MODELS or any(values and values[0] for values in figures["series"]["recall"][name])
    }
    label = percent if metric in ("recall", "coverage") else _three_digits
    compared = figures["compared"]
    means = ", ".join(f"{name} {label(mean)}" for name, mean in compared[metric].items())
    title = f"{_TITLES[metric]}@{figures['k']}, mean of {_count_of_days(compared['days'])}: {means}"
    figure, (axes,) = new_figure(title, _SUBTITLES[metric], max(250, 18 * len(series) + 40))
    draw_lines(axes, days, series, _MODELS, label, from_zero=metric != "novelty")
    main = next(name for name in (*reversed(_MODELS), *series) if name in series)
    other = series.get("fused", []) if main != "fused" else []
    return Chart(f"{metric}_over_time", title, to_svg(figure), _sparkline(title, days, series[main], other))


@styled
def gate_over_time(figures: Figures) -> Chart:
    """The gain of each day's model over its baseline, and whether a model ordered the lists."""
    from matplotlib.patches import Patch

    days: list[str] = figures["days"]
    verdicts: Mapping[str, int] = figures["verdicts"]
    title = f"The gate: {', '.join(f'{count} {verdict}' for verdict, count in verdicts.items())}"
    subtitle = (
        f"Gain in NDCG@{figures['k']} of each day's model over its baseline, with its {INTERVAL_TEXT}; "
        "below: whether a model orders the lists"
    )
    decisions = {day: decision for day, decision in zip(days, figures["gate"], strict=True) if decision}
    evaluated = {day: decision for day, decision in decisions.items() if decision["gain"] is not None}
    figure, (gains, orders) = new_figure(title, subtitle, 280, 2, sharex=True, height_ratios=(14, 1))
    width = 0.7 * min((day_number(later) - day_number(day) for day, later in pairwise(days)), default=1)
    for verdict in verdicts:
        _gains(gains, {day: gate for day, gate in evaluated.items() if gate["verdict"] == verdict}, verdict, width)
    gains.axhline(0, color=MUTED, linewidth=1, dashes=(4, 3))
    gains.set_xlim(day_number(days[0]) - 1, day_number(days[-1]) + 1)
    gains.yaxis.set_major_formatter(lambda value, _: f"{value:+.2g}" if abs(value) > 1e-12 else "0")
    gains.locator_params(axis="y", nbins=6)
    gains.grid(axis="y", color=GRID)
    gains.legend(loc="upper left", bbox_to_anchor=(1, 1), handlelength=1)
    colors = [STRONG if decision["order_by"] == "ranker" else PALE for decision in decisions.values()]
    orders.bar([day_number(day) for day in decisions], 1, width, color=colors)
    handles = [Patch(color=STRONG, label="lists by a model"), Patch(color=PALE, label="by something else")]
    orders.legend(handles=handles, loc="lower left", bbox_to_anchor=(1, 0), handlelength=1, borderaxespad=0)
    orders.set_yticks([])
    orders.spines["bottom"].set_visible(False)
    date_axis(orders, days)
    points = [Point(day, max(gate["gain"], 0.0)) if (gate := evaluated.get(day)) else None for day in days]
    return Chart("gate_over_time", title, to_svg(figure), _sparkline(title, days, points))


def _gains(axes: Axes, decisions: Mapping[str, Figures], verdict: str, width: float) -> None:
    """Intervals of the gains of one verdict as floating bars, with the gains as marks in them."""
    x = [day_number(day) for day in decisions]
    low = [decision["low"] for decision in decisions.values()]
    heights = [decision["high"] - decision["low"] for decision in decisions.values()]
    if x:
        label = f"{verdict} ({len(x)})"
        axes.bar(x, heights, width, low, color=_VERDICTS.get(verdict, PALE), label=label)
        values = [decision["gain"] for decision in decisions.values()]
        axes.hlines(values, [day - width / 2 for day in x], [day + width / 2 for day in x], color=INK, linewidth=1.2)


@styled
def list_stability(figures: Figures) -> Chart:
    """How much of a user's list is the same on the next as-of day."""
    days: list[str] = figures["days"]
    changes = [
        (day, lists if lists and lists["kept"] else None) for day, lists in zip(days, figures["lists"], strict=True)
    ]
    series: dict[str, list[Point | None]] = {
        name: [Point(day, lists[name]) if lists else None for day, lists in changes] for name in ("overlap", "jaccard")
    }
    series["users kept"] = [Point(day, lists["kept"] / lists["users"]) if lists else None for day, lists in changes]
    overlaps = [point.value for point in series["overlap"] if point]
    mean = percent(fsum(overlaps) / len(overlaps))
    title = f"Lists of the same users overlap by {mean} from one as-of day to the next"
    subtitle = "overlap: rank-biased; jaccard: shared over all items; users kept: share who had a list before"
    figure, (axes,) = new_figure(title, subtitle, 250)
    axes.set_ylim(0, 1.02)
    draw_lines(axes, days, series, _CHANGES, percent)
    small = _sparkline(title, days, series["overlap"], series["jaccard"])
    return Chart("list_stability", title, to_svg(figure), small)


def lists_by_day(figures: Figures) -> Chart:
    """Users with a list, and items in the first places, of each day."""
    days: list[str] = figures["days"]
    lists: list[Figures | None] = figures["lists"]
    newest = next(counts for counts in reversed(lists) if counts)
    title = f"{newest['users']:,} users have {newest['items']:,} different items in their first {figures['k']} places"
    rows = [
        (name, [_count(counts, key) for counts in lists])
        for name, key in (("users", "users"), ("items", "items"), ("new items", "new_items"))
    ]
    svg = bars_by_day(title, "By as-of day; dashed: median of the days before", rows, days)
    points = [Point(day, counts["users"]) if counts else None for day, counts in zip(days, lists, strict=True)]
    return Chart("lists_by_day", title, svg, _sparkline(title, days, points))


def _sparkline(title: str, days: Sequence[str], bars: Sequence[Point | None], line: Sequence[Point | None] = ()) -> str:
    """The last days as bars, and another series, up to the highest of them, as a line."""
    heights = [point.value if point else 0.0 for point in bars][-_SPARKLINE_DAYS:]
    highest = max(heights) or 1.0
    marks = [
        ((n + 0.5) / len(heights), min(point.value / highest, 1.0))
        for n, point in enumerate(line[-_SPARKLINE_DAYS:])
        if point
    ]
    shown = days[-_SPARKLINE_DAYS:]
    ends = (day_label(shown[0]), day_label(shown[-1]) if len(shown) > 1 else "")
    return sparkline(title, heights, marks, ends=ends, last=True)


def _count(lists: Figures | None, key: str) -> int:
    """A number of a day's lists; on the first of all days, every item would be new."""
    return 0 if lists is None or (key == "new_items" and lists["since"] is None) else lists[key]


def _count_of_days(count: int) -> str:
    return f"{count} days" if count != 1 else "one day"


def _three_digits(value: float) -> str:
    return f"{value:.3g}"
