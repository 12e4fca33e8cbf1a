"""The pictures of the data report. Each title says what is seen; each function takes figures and gives a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from statistics import median
from typing import Any

from recsys_assets.core.insight.figures import Figures, change
from recsys_assets.core.insight.svg import WIDTH, Canvas, compact, percent, sparkline, sparkline_rows

LEFT, RIGHT = 20.0, WIDTH - 20.0
_MOST_ROWS = 8


@dataclass(frozen=True)
class Picture:
    """A drawn chart.

    Args:
        name: of what it shows.
        canvas: with everything drawn.
        height: in pixels.
        sparkline: the gist of it as an SVG of a few hundred characters.
    """

    name: str
    canvas: Canvas
    height: float
    sparkline: str


def pictures(figures: Figures) -> list[Picture]:
    """The pictures that these figures call for, in the order of reading."""
    drawn = [volumes(figures)]
    if len(figures["funnel"]) > 1 and figures["funnel"][0]["users"]:
        drawn.append(funnel(figures))
    drawn += [tail(figures["users"], "users"), concentration(figures["items"])]
    if sum(figures["drift"]["hour"]["before"]) and sum(figures["drift"]["hour"]["day"]):
        drawn.append(drift(figures["drift"]["hour"], figures["as_of"], "hour"))
        if len(figures["drift"]["event_type"]["names"]) > 1:
            drawn.append(drift(figures["drift"]["event_type"], figures["as_of"], "event_type"))
    if figures["rows"]["reasons"]:
        drawn.append(rejected(figures["rows"]))
    if figures["bots"]["users"]:
        drawn.append(bots(figures))
    return drawn


def volumes(figures: Figures) -> Picture:
    """Events per day: a row of bars for each event type, each on its own scale, since views outnumber purchases."""
    days: list[str] = figures["days"]
    types = figures["volumes"]["types"]
    total = [sum(counts) for counts in zip(*(one["events"] for one in types), strict=True)]
    ratio = change(total)
    against = "" if ratio is None else f", {percent(abs(ratio - 1))} {'above' if ratio >= 1 else 'below'} the median"
    canvas = Canvas(
        f"{total[-1]:,} events on {say(days[-1])}{against}", "Events per day; dashed: median of the days before"
    )
    shown: list[tuple[str, list[int]]] = [("all events", total)] if len(types) > 1 else []
    shown += [(one["type"], one["events"]) for one in types[: _MOST_ROWS - 1]]
    y = 66.0
    for name, counts in shown:
        day_bars(canvas, y, name, counts, days)
        y += 74
    canvas.text(130, y + 6, say(days[0]))
    if len(days) > 1:
        canvas.text(RIGHT - 62, y + 6, say(days[-1]), anchor="end")
    return Picture(
        "events_per_day", canvas, y + 20, sparkline(canvas.title, total, ends=(say(days[0]), say(days[-1])), last=True)
    )


def day_bars(canvas: Canvas, top: float, name: str, counts: Sequence[int], days: Sequence[str]) -> None:
    """One small multiple: name on the left, the day's figure on the right."""
    left, right, height = 130.0, RIGHT - 62, 54.0
    most = max(counts) or 1
    step = (right - left) / len(counts)
    canvas.text(LEFT, top + 26, _short(name, 15), "ink b")
    canvas.text(LEFT, top + 43, f"most {compact(max(counts))}")
    canvas.line([(left, top + height + 0.5), (right, top + height + 0.5)], "grid")
    gap = 0.2 * step if len(counts) > 1 else step - min(step, 40.0)
    for n, (count, day) in enumerate(zip(counts, days, strict=True)):
        tall = height * count / most
        kind = "strong" if n == len(counts) - 1 else "bar"
        canvas.bar(left + n * step, top + height - tall, step - gap, tall, kind, f"{day}: {count:,}")
    if len(counts) > 1:
        level = top + height - height * median(counts[:-1]) / most
        canvas.line([(left, level), (right, level)], "dash")
    canvas.text(RIGHT, top + 34, compact(counts[-1]), "ink b", "end")


def funnel(figures: Figures) -> Picture:
    """How far people come: a bar for each step, as wide as the users who came at least that far."""
    steps = figures["funnel"]
    first, last = steps[0], steps[-1]
    canvas = Canvas(
        f"{percent(last['users'] / first['users'])} of users come as far as {last['step']}",
        f"Users (and user-item pairs) that came at least so far in {len(figures['days'])} days, bots left out",
    )
    y, left, right = 66.0, 150.0, RIGHT - 140
    for n, step in enumerate(steps):
        wide = (right - left) * step["users"] / first["users"]
        canvas.text(LEFT, y + 20, _short(step["step"], 18), "ink b")
        canvas.bar(left, y, wide, 30, "strong" if n else "bar", f"{step['users']:,} users, {step['pairs']:,} pairs")
        canvas.text(left + wide + 8, y + 14, f"{step['users']:,} users", "ink")
        pairs = f"{step['pairs']:,} pairs"
        before = steps[n - 1]["users"] if n else 0
        canvas.text(left + wide + 8, y + 28, f"{percent(step['users'] / before)} go on, {pairs}" if before else pairs)
        y += 46
    small = sparkline_rows(canvas.title, [(step["step"], step["users"], f"{step['users']:,} users") for step in steps])
    return Picture("funnel", canvas, y + 6, small)


def tail(figures: Figures, who: str) -> Picture:
    """How many users (items) have 1, 2, 3 to 4, 5 to 8, … events."""
    buckets = figures["histogram"]
    ones = percent(buckets[0]["count"] / figures["count"]) if figures["count"] else "none"
    canvas = Canvas(
        f"{ones} of {figures['count']:,} {who} have one event, the median {figures['median']:,}",
        f"{who.capitalize()} by number of events; 99 % have at most {figures['p99']:,}, the most: {figures['most']:,}",
    )
    top, height, left = 86.0, 130.0, LEFT + 10
    most = max((bucket["count"] for bucket in buckets), default=1) or 1
    step = min((RIGHT - left) / max(len(buckets), 1), 90.0)
    canvas.line([(LEFT, top + height + 0.5), (RIGHT, top + height + 0.5)], "grid")
    for n, bucket in enumerate(buckets):
        tall = height * bucket["count"] / most
        x = left + n * step
        named = _range(bucket)
        canvas.bar(x, top + height - tall, 0.8 * step, tall, "strong", f"{named} events: {bucket['count']:,} {who}")
        canvas.text(x + 0.4 * step, top + height - tall - 6, compact(bucket["count"]), "ink", "middle")
        canvas.text(x + 0.4 * step, top + height + 17, named, "", "middle")
    canvas.text(RIGHT, top + height + 35, f"events per {who.removesuffix('s')}", "", "end")
    ends = (_range(buckets[0]), _range(buckets[-1])) if buckets else ("", "")
    small = sparkline(canvas.title, [bucket["count"] for bucket in buckets], ends=ends)
    return Picture(f"events_per_{who.removesuffix('s')}", canvas, top + height + 48, small)


def concentration(figures: Figures) -> Picture:
    """The share of events that the busiest items hold."""
    canvas = Canvas(
        f"The top 1 % of {figures['count']:,} items hold {percent(figures['top_1_percent_share'])} of the events",
        f"Gini {figures['gini']:.2f} (0: all alike, 1: one has everything); dashed: all alike",
    )
    left, top, wide, height = 80.0, 70.0, RIGHT - 100, 190.0
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = top + height * (1 - share)
        canvas.line([(left, y), (left + wide, y)], "grid")
        canvas.text(left - 8, y + 4, f"{100 * share:.0f} %", "", "end")
        canvas.text(left + wide * share, top + height + 18, f"{100 * share:.0f} %", "", "middle")
    canvas.line([(left, top + height), (left + wide, top)], "dash")
    if figures["count"]:
        canvas.line([(left + wide * x, top + height * (1 - y)) for x, y in figures["curve"]], "curve")
    canvas.text(left + wide, top + height + 36, "items, the busiest first; upwards: share of events", "", "end")
    small = sparkline(canvas.title, [], [*figures["curve"][:-1:2], (1.0, 1.0)], ("busiest items", "all items"))
    return Picture("item_concentration", canvas, top + height + 48, small)


def drift(figures: Figures, as_of: str, of: str) -> Picture:
    """The day's mix (bars) against that of the days before (line or marks)."""
    names: list[str] = figures["names"]
    what = "hour of the day" if of == "hour" else "event type"
    said = {"stable": "as before", "moderate": "somewhat unlike before", "major": "unlike before"}[figures["verdict"]]
    canvas = Canvas(
        f"The mix by {what} is {said}",
        f"PSI {figures['psi']:.3f} (moderate from 0.1, major from 0.25; by chance up to {figures['chance']:.3f})",
    )
    day, before = _shares(figures["day"]), _shares(figures["before"])
    if of != "hour":
        return _drift_rows(canvas, names, day, before, as_of)
    top, height, step = 84.0, 110.0, (RIGHT - LEFT) / 24
    most = max(*day, *before) or 1
    canvas.line([(LEFT, top + height + 0.5), (RIGHT, top + height + 0.5)], "grid")
    for n, share in enumerate(day):
        tall = height * share / most
        kind = "strong" if figures["verdict"] == "stable" else "warn"
        tip = f"{n:02}:00: {percent(share)}, before {percent(before[n])}"
        canvas.bar(LEFT + n * step, top + height - tall, 0.8 * step, tall, kind, tip)
        if n % 3 == 0:
            canvas.text(LEFT + (n + 0.4) * step, top + height + 17, f"{n:02}", "", "middle")
    canvas.line(
        [(LEFT + (n + 0.4) * step, top + height * (1 - share / most)) for n, share in enumerate(before)], "line"
    )
    canvas.text(LEFT, top - 10, f"highest bar: {percent(max(day))} of the day's events")
    canvas.text(RIGHT, top + height + 34, f"bars: {say(as_of)}; line: the days before; hour in UTC", "", "end")
    usual = [((n + 0.5) / 24, share / max(max(day), share)) for n, share in enumerate(before)]
    return Picture(
        "drift_by_hour", canvas, top + height + 46, sparkline(canvas.title, day, usual, ("00:00 UTC", "23:00"))
    )


def _drift_rows(
    canvas: Canvas, names: Sequence[str], day: Sequence[float], before: Sequence[float], as_of: str
) -> Picture:
    y, left, wide = 66.0, 150.0, RIGHT - 300
    most = max(*day, *before) or 1
    order = sorted(range(len(names)), key=lambda n: (-before[n], names[n]))[: 2 * _MOST_ROWS]
    for n in order:
        canvas.text(LEFT, y + 16, _short(names[n], 18), "ink b")
        canvas.bar(left, y, wide * day[n] / most, 13, "strong")
        canvas.bar(left, y + 14, wide * before[n] / most, 6, "second")
        canvas.text(RIGHT, y + 14, f"{percent(day[n])}, before {percent(before[n])}", "", "end")
        y += 32
    canvas.text(RIGHT, y + 12, f"wide: {say(as_of)}; narrow: the days before", "", "end")
    small = sparkline_rows(
        canvas.title, [(names[n], day[n], f"{percent(day[n])}, before {percent(before[n])}") for n in order]
    )
    return Picture("drift_by_event_type", canvas, y + 24, small)


def rejected(figures: Figures) -> Picture:
    """Rejected rows by reason."""
    window = figures["window"]
    rows, whole = window["rejected"], sum(window.values())
    canvas = Canvas(
        f"{rows:,} of {whole:,} rows ({percent(rows / whole)}) were rejected", "Rejected rows of the window by reason"
    )
    return _rows(canvas, "rejected_rows", [(one["reason"], one["rows"]) for one in figures["reasons"]], "warn")


def bots(figures: Figures) -> Picture:
    """Flagged users by day."""
    found = figures["bots"]
    canvas = Canvas(
        f"{found['users']:,} users act like programs: {percent(found['share'])} of the events",
        "Flagged users per day; they are kept and served, and left out of training; dashed: median",
    )
    day_bars(canvas, 66, "bots", found["by_day"], figures["days"])
    canvas.text(130, 140, say(figures["days"][0]))
    canvas.text(RIGHT - 62, 140, say(figures["days"][-1]), anchor="end")
    small = sparkline(
        canvas.title, found["by_day"], ends=(say(figures["days"][0]), say(figures["days"][-1])), last=True
    )
    return Picture("bots_per_day", canvas, 152, small)


def _rows(canvas: Canvas, name: str, rows: Sequence[tuple[str, int]], kind: str) -> Picture:
    """Horizontal bars, largest first."""
    y, left, wide = 66.0, 230.0, RIGHT - 320
    most = max(value for _, value in rows)
    for label, value in rows[:_MOST_ROWS]:
        canvas.text(LEFT, y + 14, _short(label, 32), "ink")
        canvas.bar(left, y, wide * value / most, 20, kind, f"{label}: {value:,}")
        canvas.text(left + wide * value / most + 8, y + 14, f"{value:,}", "ink b")
        y += 30
    if len(rows) > _MOST_ROWS:
        canvas.text(LEFT, y + 12, f"and {len(rows) - _MOST_ROWS} more")
        y += 20
    small = sparkline_rows(canvas.title, [(label, value, f"{value:,}") for label, value in rows])
    return Picture(name, canvas, y + 8, small)


def _shares(counts: Sequence[int]) -> list[float]:
    whole = sum(counts) or 1
    return [count / whole for count in counts]


def _range(bucket: dict[str, Any]) -> str:
    low, high = compact(bucket["from"]), compact(bucket["to"])
    return low if low == high else f"{low}-{high}"


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def say(day: str) -> str:
    """A day as people say it: 3 May."""
    when = date.fromisoformat(day)
    return f"{when.day} {_MONTHS[when.month - 1]}"


# Not by strftime, whose words follow the locale of the machine.
_MONTHS = ("Jan", "Feb", "March", "April", "May", "June", "July", "Aug", "Sept", "Oct", "Nov", "Dec")
