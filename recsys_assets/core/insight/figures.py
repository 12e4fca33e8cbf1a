"""The figures of ``data_report``: computed from daily marts of the trailing month, as plain JSON values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from statistics import median
from typing import Any

import narwhals as nw

from recsys_assets.core.activity.bots import without
from recsys_assets.core.clock import last_days
from recsys_assets.core.engine import Frame
from recsys_assets.core.frames import total
from recsys_assets.core.insight.counts import CLEAN, DUPLICATE, REJECTED
from recsys_assets.core.insight.statistics import Drift, Tail

Figures = dict[str, Any]
"""JSON: what :func:`figures` returns."""

_FILES = 20


@dataclass(frozen=True)
class ReportInputs:
    """Daily marts of a window, each with ``dt``: EVENT_COUNTS, USER_ACTIVITY, BOT_USERS."""

    event_counts: Frame
    user_activity: Frame
    bot_users: Frame


@dataclass(frozen=True)
class ReportParams:
    """Parameters of the report.

    Args:
        dataset: name of the data set.
        weights: event type to weight; the funnel is in ascending order of weights.
        days: length of the window, the day included.
    """

    dataset: str
    weights: Mapping[str, float]
    days: int = 28


def figures(inputs: ReportInputs, as_of: date, params: ReportParams) -> Figures:
    """All figures of the report of one day; equal inputs give equal figures.

    Volumes, rows and drift count every event; funnel, tails and new users and items leave out bots.
    """
    counts = _rows(last_days(inputs.event_counts, as_of, params.days).select(*_COUNTS))
    bots = last_days(inputs.bot_users, as_of, params.days)
    activity = last_days(inputs.user_activity, as_of, params.days)
    people = without(activity, bots)
    present = {row["dt"] for row in counts}
    first = min(present, default=as_of)
    days = [first + timedelta(days=n) for n in range((as_of - first).days + 1)]
    return {
        "dataset": params.dataset,
        "as_of": as_of.isoformat(),
        "days": [day.isoformat() for day in days],
        "volumes": _volumes(counts, days, activity, params.weights),
        "funnel": _funnel(people, params.weights),
        "users": _tail(people, "user_id"),
        "items": _tail(people, "item_id"),
        "rows": _outcomes(counts, as_of),
        "bots": _bots(bots, days, sum(row["rows"] for row in counts if row["outcome"] == CLEAN)),
        "new": {"users": _new_entities(people, "user_id", as_of), "items": _new_entities(people, "item_id", as_of)},
        "drift": {
            "event_type": _drift(counts, as_of, "name", sorted(params.weights)),
            "hour": _drift(counts, as_of, "hour", list(range(24))),
        },
    }


_COUNTS = ("dt", "source_file", "outcome", "name", "hour", "rows")


def _rows(frame: Frame) -> list[dict[str, Any]]:
    return list(frame.collect(backend="polars").rows(named=True))


def _volumes(counts: list[dict[str, Any]], days: list[date], activity: Frame, weights: Mapping[str, float]) -> Figures:
    """Events by type and day, types by weight; distinct known users and items by day."""
    by: Counter[tuple[str, date]] = Counter()
    for row in counts:
        if row["outcome"] == CLEAN:
            by[row["name"], row["dt"]] += row["rows"]
    types = sorted(weights, key=lambda name: (weights[name], name))
    distinct = {
        column: {row["dt"]: row["n"] for row in _rows(activity.group_by("dt").agg(n=nw.col(column).n_unique()))}
        for column in ("user_id", "item_id")
    }
    return {
        "types": [{"type": name, "events": [by[name, day] for day in days]} for name in types],
        "users": [distinct["user_id"].get(day, 0) for day in days],
        "items": [distinct["item_id"].get(day, 0) for day in days],
    }


def _funnel(people: Frame, weights: Mapping[str, float]) -> list[Figures]:
    """The users and user-item pairs that reached each event type or a later one; types of one weight are one step."""
    steps = sorted({weight for weight in weights.values() if weight > 0})
    if not steps:
        return []
    deepest = people.group_by("user_id", "item_id").agg(nw.col("top_weight").max())
    reached = [(nw.col("top_weight") >= weight).cast(nw.Int64).alias(str(n)) for n, weight in enumerate(steps)]
    names = [str(n) for n in range(len(steps))]
    pairs = deepest.with_columns(*reached)
    users = pairs.group_by("user_id").agg(*(nw.col(name).max() for name in names))
    sums = [
        _rows(frame.select(*(total(nw.col(name)) for name in names)))[0] if names else {} for frame in (users, pairs)
    ]
    return [
        {
            "step": " or ".join(sorted(name for name, other in weights.items() if other == weight)),
            "weight": weight,
            "users": int(sums[0][str(n)] or 0),
            "pairs": int(sums[1][str(n)] or 0),
        }
        for n, weight in enumerate(steps)
    ]


def _tail(people: Frame, column: str) -> Figures:
    """The distribution of events over users or items in the window."""
    each = people.group_by(column).agg(total(nw.col("events")))
    sizes = _rows(each.group_by("events").agg(n=nw.len().cast(nw.Int64)))
    tail = Tail({row["events"]: row["n"] for row in sizes})
    return {
        "count": tail.entities,
        "events": tail.events,
        "median": tail.quantile(0.5),
        "p99": tail.quantile(0.99),
        "most": max(tail.counts, default=0),
        "top_1_percent_share": tail.top_share(0.01),
        "gini": tail.gini(),
        "histogram": [{"from": low, "to": high, "count": count} for low, high, count in tail.doubling()],
        "curve": [list(point) for point in tail.curve()],
    }


def _outcomes(counts: list[dict[str, Any]], as_of: date) -> Figures:
    """Outcomes of rows: on the day and in the window, by reason and by file."""
    day: Counter[str] = Counter()
    window: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    files: dict[str, Counter[str]] = {}
    for row in counts:
        window[row["outcome"]] += row["rows"]
        files.setdefault(row["source_file"], Counter())[row["outcome"]] += row["rows"]
        if row["dt"] == as_of:
            day[row["outcome"]] += row["rows"]
        if row["outcome"] == REJECTED:
            reasons[row["name"]] += row["rows"]
    worst = sorted(files.items(), key=lambda item: (-item[1][REJECTED], -item[1][DUPLICATE], item[0]))[:_FILES]
    return {
        "day": {name: day[name] for name in _OUTCOMES},
        "window": {name: window[name] for name in _OUTCOMES},
        "reasons": [
            {"reason": name, "rows": n} for name, n in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
        ],
        "files": [{"file": name, **{outcome: rows[outcome] for outcome in _OUTCOMES}} for name, rows in worst],
        "files_in_window": len(files),
    }


_OUTCOMES = (CLEAN, DUPLICATE, REJECTED)


def _bots(bots: Frame, days: list[date], events: int) -> Figures:
    """Flagged users by day and by reason, and their share of the events."""
    by = _rows(bots.group_by("dt", "reason").agg(total(nw.col("events")), n=nw.len().cast(nw.Int64)))
    users: Counter[date] = Counter()
    reasons: Counter[str] = Counter()
    for row in by:
        users[row["dt"]] += row["n"]
        reasons[row["reason"]] += row["n"]
    theirs = sum(row["events"] for row in by)
    return {
        "users": len(_rows(bots.select("user_id").unique())),
        "by_day": [users[day] for day in days],
        "user_days_by_reason": dict(sorted(reasons.items())),
        "events": theirs,
        "share": theirs / events if events else 0.0,
    }


def _new_entities(people: Frame, column: str, as_of: date) -> Figures:
    """Users or items of the day, and those of them that no earlier day of the window has."""
    firsts = people.group_by(column).agg(first=nw.col("dt").min(), last=nw.col("dt").max())
    seen = _rows(firsts.filter(nw.col("last") == as_of).group_by("first").agg(n=nw.len().cast(nw.Int64)))
    return {"day": sum(row["n"] for row in seen), "new": sum(row["n"] for row in seen if row["first"] == as_of)}


def _drift(counts: list[dict[str, Any]], as_of: date, column: str, names: list[Any]) -> Figures:
    """The day's mix against that of the days before it in the window."""
    sides: tuple[Counter[Any], Counter[Any]] = (Counter(), Counter())
    for row in counts:
        if row["outcome"] == CLEAN:
            sides[row["dt"] < as_of][row[column]] += row["rows"]
    day, before = (tuple(side[name] for name in names) for side in sides)
    drift = Drift(tuple(str(name) for name in names), day, before)
    return {
        "names": list(drift.names),
        "day": list(day),
        "before": list(before),
        "psi": drift.psi,
        "chance": drift.chance,
        "verdict": drift.verdict,
    }


def change(values: list[int]) -> float | None:
    """The ratio of the last value to the median of those before it; None without any."""
    middle = median(values[:-1]) if len(values) > 1 else 0
    return values[-1] / middle if middle else None
