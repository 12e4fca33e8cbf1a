"""The pictures of the backtest report: how models did over the days, what the gate decided, how lists changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import fsum

from recsys_assets.core.evaluation.compare import FINAL_LISTS
from recsys_assets.core.insight.charts import RIGHT, Picture, day_bars, say
from recsys_assets.core.insight.figures import Figures
from recsys_assets.core.insight.svg import Canvas, percent, sparkline
from recsys_assets.core.insight.timeline import END, HEIGHT, TOP, Line, Point, Timeline

_GLANCED = 20
"""Days in the small pictures, whose text may not be long."""

_MODELS = {
    "champion": Line("dash", "b"),
    "fused": Line("plain", "ink b", "muted"),
    "ranker": Line("line", "second b", "second"),
    FINAL_LISTS: Line("curve", "strong b", "strong"),
}
"""The models that a reader looks for; generators are thin lines."""

_CHANGES = {"users kept": Line("dash", "b"), "jaccard": Line("line", "second b"), "overlap": Line("curve", "strong b")}

_VERDICTS = {"promoted": "strong", "waiting": "second", "archived": "second"}

_TITLES = {"ndcg": "NDCG", "recall": "Recall", "coverage": "Coverage", "novelty": "Novelty", "diversity": "Diversity"}

_ABOUT = {
    "ndcg": "On the targets of the horizon that ended on each day; final: after the rules; shaded: 95 % interval",
    "recall": "Share of a user's targets among the first ten; shaded: 95 % interval",
    "coverage": "Share of the catalogue in the first ten of the users who were judged",
    "novelty": "Mean -log2 of the share of known users who have an item: higher is less popular",
    "diversity": "1 less the mean similarity of two items of a list: 1 in one category, 0.5 below one root",
}


def backtest_pictures(figures: Figures) -> list[Picture]:
    """The pictures that these figures call for, in the order of reading."""
    drawn = [over_time(figures, metric) for metric in _TITLES if figures["series"][metric]]
    if any(one and one["gain"] is not None for one in figures["gate"]):
        drawn.append(gate(figures))
    if any(one and one["kept"] for one in figures["lists"]):
        drawn.append(stability(figures))
    if any(figures["lists"]):
        drawn.append(lists_by_day(figures))
    return drawn


def over_time(figures: Figures, metric: str) -> Picture:
    """A metric of every model over the days."""
    days: list[str] = figures["days"]
    series: dict[str, list[Point | None]] = {
        name: [Point(day, *found) if found else None for day, found in zip(days, points, strict=True)]
        for name, points in figures["series"][metric].items()
    }
    write = percent if metric in ("recall", "coverage") else _three_digits
    compared = figures["compared"]
    told = ", ".join(f"{name} {write(mean)}" for name, mean in compared[metric].items())
    canvas = Canvas(f"{_TITLES[metric]}@{figures['k']}, mean of {_days(compared['days'])}: {told}", _ABOUT[metric])
    values = [
        end
        for name, points in series.items()
        for point in points
        if point
        for end in (point.value, *((point.low, point.high) if name in _MODELS and _MODELS[name].band else ()))
        if end is not None
    ]
    plot = Timeline(canvas, days, [*values, *([] if metric == "novelty" else [0.0])], write)
    plot.draw(series, _with_intervals(series))
    plot.dates(TOP + HEIGHT + 20)
    main = next(name for name in (*reversed(_MODELS), *series) if name in series)
    other = series.get("fused", []) if main != "fused" else []
    return Picture(f"{metric}_over_time", canvas, TOP + HEIGHT + 34, _small(canvas.title, days, series[main], other))


def gate(figures: Figures) -> Picture:
    """What the model of each day gained over whom it had to beat, and who ordered the lists."""
    days: list[str] = figures["days"]
    verdicts: Mapping[str, int] = figures["verdicts"]
    canvas = Canvas(
        f"The gate: {', '.join(f'{n} {verdict}' for verdict, n in verdicts.items())}",
        f"Gain in NDCG@{figures['k']} of each day's model over whom it had to beat, with its 95 % interval",
    )
    decided = {day: one for day, one in zip(days, figures["gate"], strict=True) if one}
    evaluated = {day: one for day, one in decided.items() if one["gain"] is not None}
    ends = [one[end] for one in evaluated.values() for end in ("low", "high")]
    plot = Timeline(canvas, days, [*ends, 0.0], lambda value: f"{value:+.2g}" if value else "0")
    canvas.line([(plot.x(days[0]), plot.y(0)), (plot.x(days[-1]), plot.y(0))], "dash")
    for day, one in evaluated.items():
        left, top, bottom = plot.x(day) - plot.step / 2, plot.y(one["high"]), plot.y(one["low"])
        about = f"{day}: {one['verdict']}, {one['gain']:+.4f} [{one['low']:+.4f}, {one['high']:+.4f}]"
        canvas.bar(left, top, plot.step, max(bottom - top, 1), _VERDICTS.get(one["verdict"], "bar"), about)
        canvas.line([(left, plot.y(one["gain"])), (left + plot.step, plot.y(one["gain"]))], "plain")
    strip = TOP + HEIGHT + 12
    for day, one in decided.items():
        kind = "strong" if one["order_by"] == "ranker" else "bar"
        canvas.bar(plot.x(day) - plot.step / 2, strip, plot.step, 10, kind, f"{day}: by {one['order_by']}")
    canvas.text(END + 12, strip + 9, "dark: lists by a model")
    for n, verdict in enumerate(verdicts):
        tone = _VERDICTS.get(verdict, "")
        canvas.text(END + 12, TOP + 14 + 16 * n, f"{verdict} {verdicts[verdict]}", f"{tone} b".strip())
    plot.dates(strip + 28)
    points = [Point(day, max(one["gain"], 0.0)) if (one := evaluated.get(day)) else None for day in days]
    return Picture("gate_over_time", canvas, strip + 40, _small(canvas.title, days, points))


def stability(figures: Figures) -> Picture:
    """How much of a user's list is the same on the next as-of day."""
    days: list[str] = figures["days"]
    changes = [(day, one) for day, one in zip(days, figures["lists"], strict=True)]
    series: dict[str, list[Point | None]] = {
        name: [Point(day, one[name]) if one and one["kept"] else None for day, one in changes]
        for name in ("overlap", "jaccard")
    }
    series["users kept"] = [
        Point(day, one["kept"] / one["users"]) if one and one["kept"] else None for day, one in changes
    ]
    overlaps = [point.value for point in series["overlap"] if point]
    canvas = Canvas(
        f"Lists of the same users overlap by {percent(fsum(overlaps) / len(overlaps))} from one as-of day to the next",
        "overlap: rank-biased; jaccard: shared over all items; users kept: share who had a list before",
    )
    plot = Timeline(canvas, days, [0.0, 1.0], percent)
    plot.draw(series, _CHANGES)
    plot.dates(TOP + HEIGHT + 20)
    small = _small(canvas.title, days, series["overlap"], series["jaccard"])
    return Picture("list_stability", canvas, TOP + HEIGHT + 34, small)


def lists_by_day(figures: Figures) -> Picture:
    """Users with a list, and items in the first places, of each day."""
    days: list[str] = figures["days"]
    lists: list[Figures | None] = figures["lists"]
    newest = next(one for one in reversed(lists) if one)
    canvas = Canvas(
        f"{newest['users']:,} users have {newest['items']:,} different items in their first {figures['k']} places",
        "By as-of day; dashed: median of the days before",
    )
    y = 66.0
    for name, key in (("users", "users"), ("items", "items"), ("new items", "new_items")):
        day_bars(canvas, y, name, [_count(one, key) for one in lists], days)
        y += 74
    canvas.text(130, y + 6, say(days[0]))
    if len(days) > 1:
        canvas.text(RIGHT - 62, y + 6, say(days[-1]), anchor="end")
    points = [Point(day, one["users"]) if one else None for day, one in zip(days, lists, strict=True)]
    return Picture("lists_by_day", canvas, y + 20, _small(canvas.title, days, points))


def _with_intervals(series: Mapping[str, Sequence[Point | None]]) -> dict[str, Line]:
    """The lines of the models, with an interval only where the metric has one."""
    bounded = {name for name, points in series.items() if any(point and point.low is not None for point in points)}
    return {name: line if name in bounded else Line(line.line, line.name) for name, line in _MODELS.items()}


def _small(title: str, days: Sequence[str], bars: Sequence[Point | None], line: Sequence[Point | None] = ()) -> str:
    """The last days as bars, and another series, up to the highest of them, as a line."""
    tall = [point.value if point else 0.0 for point in bars][-_GLANCED:]
    most = max(tall) or 1.0
    marks = [((n + 0.5) / len(tall), min(point.value / most, 1.0)) for n, point in enumerate(line[-_GLANCED:]) if point]
    shown = days[-_GLANCED:]
    return sparkline(title, tall, marks, ends=(say(shown[0]), say(shown[-1]) if len(shown) > 1 else ""), last=True)


def _count(lists: Figures | None, key: str) -> int:
    """A number of a day's lists; on the first of all days, every item would be new."""
    return 0 if lists is None or (key == "new_items" and lists["since"] is None) else lists[key]


def _days(count: int) -> str:
    return f"{count} days" if count != 1 else "one day"


def _three_digits(value: float) -> str:
    return f"{value:.3g}"
