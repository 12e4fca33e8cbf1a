"""The charts of the data report. Each title says what is seen; each function takes figures and gives a chart."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from recsys_assets.core.insight.drawing import (
    GRID,
    INK,
    MUTED,
    PALE,
    SECOND,
    STRONG,
    WARN,
    Chart,
    compact,
    day_label,
    evenly,
    new_figure,
    percent,
    shorten,
    styled,
    to_svg,
)
from recsys_assets.core.insight.figures import Figures, change
from recsys_assets.core.insight.sparkline import sparkline, sparkline_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MAX_ROWS = 8
_ROW_HEIGHT = 74


def data_charts(figures: Figures) -> list[Chart]:
    """The charts that these figures call for, in the order of reading."""
    charts = [events_per_day(figures)]
    if len(figures["funnel"]) > 1 and figures["funnel"][0]["users"]:
        charts.append(funnel(figures))
    charts += [tail(figures["users"], "users"), concentration(figures["items"])]
    if sum(figures["drift"]["hour"]["before"]) and sum(figures["drift"]["hour"]["day"]):
        charts.append(drift_by_hour(figures["drift"]["hour"], figures["as_of"]))
        if len(figures["drift"]["event_type"]["names"]) > 1:
            charts.append(drift_by_event_type(figures["drift"]["event_type"], figures["as_of"]))
    if figures["rows"]["reasons"]:
        charts.append(rejected_rows(figures["rows"]))
    if figures["bots"]["users"]:
        charts.append(bots_per_day(figures))
    return charts


def events_per_day(figures: Figures) -> Chart:
    """Events per day: bars for each event type, each on its own scale, since views outnumber purchases."""
    days: list[str] = figures["days"]
    types = figures["volumes"]["types"]
    total = [sum(counts) for counts in zip(*(volume["events"] for volume in types), strict=True)]
    ratio = change(total)
    compared = "" if ratio is None else f", {percent(abs(ratio - 1))} {'above' if ratio >= 1 else 'below'} the median"
    title = f"{total[-1]:,} events on {day_label(days[-1])}{compared}"
    rows = [("all events", total)] if len(types) > 1 else []
    rows += [(volume["type"], volume["events"]) for volume in types[: _MAX_ROWS - 1]]
    svg = bars_by_day(title, "Events per day; dashed: median of the days before", rows, days)
    return Chart("events_per_day", title, svg, sparkline(title, total, ends=_ends(days), last=True))


@styled
def bars_by_day(title: str, subtitle: str, rows: Sequence[tuple[str, Sequence[int]]], days: Sequence[str]) -> str:
    """Small multiples as SVG: a row of bars for each name, on its own scale, the last day's count at the right.

    Args:
        title: the main statement.
        subtitle: what is counted.
        rows: names, each with a count for every day.
        days: ``YYYY-MM-DD``, ascending.
    """
    figure, axes = new_figure(title, subtitle, _ROW_HEIGHT * len(rows) + 28, len(rows), sharex=True)
    for row, (name, counts) in zip(axes, rows, strict=True):
        _day_row(row, shorten(name, 18), counts)
    shown = evenly(0, len(days) - 1)
    axes[-1].set_xticks(shown, [day_label(days[n]) for n in shown])
    return to_svg(figure)


def _day_row(axes: Axes, name: str, counts: Sequence[int]) -> None:
    last, highest = len(counts) - 1, max(counts)
    axes.bar(range(len(counts)), counts, 0.8, color=[*[PALE] * last, STRONG])
    if last:
        axes.plot([-0.5, last + 0.5], [median(counts[:-1])] * 2, color=MUTED, linewidth=1, dashes=(4, 3))
    axes.set_xlim(-0.5 - (not last), last + 0.5 + (not last))
    axes.set_ylim(0, 1.05 * highest or 1)
    axes.set_yticks([0, highest] if highest else [0], ["0", compact(highest)] if highest else ["0"])
    axes.set_ylabel(name, rotation=0, ha="right", va="center", color=INK, fontweight="bold", fontsize=11)
    axes.annotate(
        compact(counts[-1]), (1, 0.5), (6, 0), xycoords="axes fraction", textcoords="offset points",
        va="center", fontweight="bold",
    )  # fmt: skip


@styled
def funnel(figures: Figures) -> Chart:
    """How far users go: a bar for each step, as long as the number of users who went at least that far."""
    steps: list[Figures] = figures["funnel"]
    first, last = steps[0], steps[-1]
    title = f"{percent(last['users'] / first['users'])} of users come as far as {last['step']}"
    subtitle = f"Users (and user-item pairs) that came at least so far in {len(figures['days'])} days, without bots"
    figure, (axes,) = new_figure(title, subtitle, 44 * len(steps) + 14)
    users = [step["users"] for step in steps]
    axes.barh(range(len(steps)), users, 0.66, color=[PALE, *[STRONG] * (len(steps) - 1)])
    for n, step in enumerate(steps):
        before = steps[n - 1]["users"] if n else 0
        share = f"{percent(step['users'] / before)} go on, " if before else ""
        text = f"{step['users']:,} users\n{share}{step['pairs']:,} pairs"
        axes.annotate(text, (step["users"], n), (7, 0), textcoords="offset points", va="center", fontsize=10.5)
    axes.set_yticks(range(len(steps)), [shorten(step["step"], 22) for step in steps], color=INK, fontweight="bold")
    axes.set_xlim(0, 1.6 * first["users"])
    _only_rows(axes, len(steps))
    rows = [(step["step"], step["users"], f"{step['users']:,} users") for step in steps]
    return Chart("funnel", title, to_svg(figure), sparkline_rows(title, rows))


@styled
def tail(figures: Figures, entities: str) -> Chart:
    """How many users (or items) have 1, 2, 3 to 4, 5 to 8, … events."""
    buckets: list[Figures] = figures["histogram"]
    entity = entities.removesuffix("s")
    ones = percent(buckets[0]["count"] / figures["count"]) if figures["count"] else "none"
    title = f"{ones} of {figures['count']:,} {entities} have one event, the median {figures['median']:,}"
    subtitle = (
        f"{entities.capitalize()} by number of events; 99 % have at most {figures['p99']:,}, "
        f"the maximum is {figures['most']:,}"
    )
    labels = [_range(bucket) for bucket in buckets]
    counts = [bucket["count"] for bucket in buckets]
    figure, (axes,) = new_figure(title, subtitle, 200)
    bars = axes.bar(range(len(counts)), counts, 0.8, color=STRONG)
    axes.bar_label(bars, [compact(count) for count in counts], padding=3)
    axes.set_xticks(range(len(counts)), labels, rotation=0 if len(labels) < 13 else 35)
    axes.set_xlim(-0.6, max(len(counts), 6) - 0.4)
    axes.set_ylim(0, 1.15 * max(counts, default=0) or 1)
    axes.set_yticks([])
    axes.set_xlabel(f"events per {entity}", loc="right")
    ends = (labels[0], labels[-1]) if labels else ("", "")
    return Chart(f"events_per_{entity}", title, to_svg(figure), sparkline(title, counts, ends=ends))


@styled
def concentration(figures: Figures) -> Chart:
    """The share of events that the most popular items hold."""
    share = percent(figures["top_1_percent_share"])
    title = f"The top 1 % of {figures['count']:,} items hold {share} of the events"
    subtitle = f"Gini {figures['gini']:.2f} (0: all items alike, 1: one item has all events); dashed: all items alike"
    figure, (axes,) = new_figure(title, subtitle, 250)
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, dashes=(4, 3))
    if figures["count"]:
        axes.plot(*zip(*figures["curve"], strict=True), color=STRONG, linewidth=2.5)
    axes.set(xlim=(0, 1), ylim=(0, 1.01), xlabel="share of items, most popular first", ylabel="share of events")
    quarters = [0, 0.25, 0.5, 0.75, 1]
    axes.set_xticks(quarters, [percent(quarter) for quarter in quarters])
    axes.set_yticks(quarters, [percent(quarter) for quarter in quarters])
    axes.grid(axis="y")
    small = sparkline(title, [], [*figures["curve"][:-1:2], (1.0, 1.0)], ("most popular items", "all items"))
    return Chart("item_concentration", title, to_svg(figure), small)


_VERDICTS = {"stable": "as before", "moderate": "somewhat unlike before", "major": "unlike before"}


def _drift_heading(figures: Figures, dimension: str) -> tuple[str, str]:
    thresholds = f"moderate from 0.1, major from 0.25; by chance up to {figures['chance']:.3f}"
    return f"The mix by {dimension} is {_VERDICTS[figures['verdict']]}", f"PSI {figures['psi']:.3f} ({thresholds})"


@styled
def drift_by_hour(figures: Figures, as_of: str) -> Chart:
    """The day's events by hour (bars) against those of the days before (line)."""
    title, subtitle = _drift_heading(figures, "hour of the day")
    day, before = _shares(figures["day"]), _shares(figures["before"])
    figure, (axes,) = new_figure(title, subtitle, 210)
    color = STRONG if figures["verdict"] == "stable" else WARN
    axes.bar(range(24), day, 0.8, color=color, label=day_label(as_of))
    axes.plot(range(24), before, color=SECOND if color == STRONG else INK, linewidth=2, label="the days before")
    axes.set_xticks(range(0, 24, 3), [f"{hour:02}:00" for hour in range(0, 24, 3)])
    axes.set_xlim(-0.6, 23.6)
    _percent_axis(axes, 1.25 * max(*day, *before))
    axes.set_ylabel("share of events")
    axes.set_xlabel("hour (UTC)", loc="right")
    axes.legend(loc="upper left", ncols=2)
    usual = [((n + 0.5) / 24, share / max(max(day), share)) for n, share in enumerate(before)]
    return Chart("drift_by_hour", title, to_svg(figure), sparkline(title, day, usual, ("00:00 UTC", "23:00")))


@styled
def drift_by_event_type(figures: Figures, as_of: str) -> Chart:
    """The day's events by type against those of the days before: two bars for each of the most frequent types."""
    title, subtitle = _drift_heading(figures, "event type")
    names: list[str] = figures["names"]
    day, before = _shares(figures["day"]), _shares(figures["before"])
    order = sorted(range(len(names)), key=lambda n: (-before[n], names[n]))[: 2 * _MAX_ROWS]
    figure, (axes,) = new_figure(title, subtitle, 36 * len(order) + 44)
    places = range(len(order))
    axes.barh([n - 0.17 for n in places], [day[n] for n in order], 0.34, color=STRONG, label=day_label(as_of))
    axes.barh([n + 0.2 for n in places], [before[n] for n in order], 0.24, color=SECOND, label="the days before")
    texts = [f"{percent(day[n])}, before {percent(before[n])}" for n in order]
    for place, (n, text) in enumerate(zip(order, texts, strict=True)):
        end = max(day[n], before[n])
        axes.annotate(text, (end, place), (7, 0), textcoords="offset points", va="center", fontsize=10.5)
    axes.set_yticks(places, [shorten(names[n], 22) for n in order], color=INK, fontweight="bold")
    axes.set_xlim(0, 1.45 * max(*day, *before) or 1)
    _only_rows(axes, len(order))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0), ncols=2, handlelength=1)
    small = sparkline_rows(title, [(names[n], day[n], text) for n, text in zip(order, texts, strict=True)])
    return Chart("drift_by_event_type", title, to_svg(figure), small)


@styled
def rejected_rows(figures: Figures) -> Chart:
    """Rejected rows by reason."""
    window: dict[str, int] = figures["window"]
    count, whole = window["rejected"], sum(window.values())
    title = f"{count:,} of {whole:,} rows ({percent(count / whole)}) were rejected"
    reasons: list[tuple[str, int]] = [(reason["reason"], reason["rows"]) for reason in figures["reasons"]]
    shown, more = reasons[:_MAX_ROWS], len(reasons) - _MAX_ROWS
    subtitle = "Rejected rows of the window by reason" + (f"; {more} more reasons are in the table" if more > 0 else "")
    figure, (axes,) = new_figure(title, subtitle, 30 * len(shown) + 16)
    bars = axes.barh(range(len(shown)), [rows for _, rows in shown], 0.66, color=WARN)
    axes.bar_label(bars, [f"{rows:,}" for _, rows in shown], padding=5, fontweight="bold")
    axes.set_yticks(range(len(shown)), [shorten(reason, 40) for reason, _ in shown], color=INK)
    axes.set_xlim(0, 1.15 * shown[0][1])
    _only_rows(axes, len(shown))
    small = sparkline_rows(title, [(reason, rows, f"{rows:,}") for reason, rows in reasons])
    return Chart("rejected_rows", title, to_svg(figure), small)


def bots_per_day(figures: Figures) -> Chart:
    """Flagged users by day."""
    bots = figures["bots"]
    title = f"{bots['users']:,} users act like programs: {percent(bots['share'])} of the events"
    subtitle = "Flagged users per day; they get recommendations, but training leaves them out; dashed: median"
    svg = bars_by_day(title, subtitle, [("bots", bots["by_day"])], figures["days"])
    small = sparkline(title, bots["by_day"], ends=_ends(figures["days"]), last=True)
    return Chart("bots_per_day", title, svg, small)


def _only_rows(axes: Axes, count: int) -> None:
    """Horizontal bars that carry their numbers: the first on top, no axis of values."""
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.spines["left"].set_visible(True)


def _percent_axis(axes: Axes, highest: float) -> None:
    axes.set_ylim(0, highest or 1)
    axes.yaxis.set_major_locator(_ticks())
    axes.yaxis.set_major_formatter(lambda value, _: percent(value))
    axes.grid(axis="y", color=GRID)


def _ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(5, steps=[1, 2, 5, 10])


def _shares(counts: Sequence[int]) -> list[float]:
    whole = sum(counts) or 1
    return [count / whole for count in counts]


def _range(bucket: Figures) -> str:
    low, high = compact(bucket["from"]), compact(bucket["to"])
    return low if low == high else f"{low}-{high}"


def _ends(days: Sequence[str]) -> tuple[str, str]:
    return day_label(days[0]), day_label(days[-1])
