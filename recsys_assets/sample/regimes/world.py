"""What all regimes are made of: events as flat arrays, and draws without replacement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

START = datetime(2025, 1, 6, tzinfo=UTC)
"""The first instant of every regime, a Monday."""
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
_HOURLY = np.array([1, 1, 1, 1, 1, 2, 4, 6, 6, 5, 5, 5, 6, 6, 5, 5, 5, 6, 7, 8, 8, 7, 4, 2], np.float64)
HOURS = _HOURLY / _HOURLY.sum()
"""Share of a day's visits by the hour, in UTC."""


@dataclass(frozen=True)
class World:
    """The events of a regime and the truth that made them.

    Attributes:
        days: length of the range.
        user: of each event; events are in order of time, user, item and kind.
        item: of each event.
        ms: milliseconds since the start of the range.
        kind: of each event, as an index into the types of the regime.
        order: number of the order, -1 for none; None where the regime has no orders.
        truth: what was planted, by name; see the regime.
    """

    days: int
    user: Ints
    item: Ints
    ms: Ints
    kind: Ints
    order: Ints | None = None
    truth: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, days: int, rows: Mapping[str, list[Ints]], truth: Mapping[str, NDArray[Any]]) -> World:
        """A world of the parts of its columns, in any order."""
        columns = {name: np.concatenate(parts).astype(np.int64) for name, parts in rows.items()}
        kind = columns.setdefault("kind", np.zeros(len(columns["user"]), np.int64))
        by_time = np.lexsort((kind, columns["item"], columns["user"], columns["ms"]))
        ordered = {name: column[by_time] for name, column in columns.items()}
        return cls(days=days, truth=truth, **ordered)

    @property
    def start_date(self) -> str:
        """The first day."""
        return START.date().isoformat()

    @property
    def end_date(self) -> str:
        """The day after the last."""
        return (START.date() + timedelta(days=self.days)).isoformat()


def zipf(items: int, exponent: float) -> Floats:
    """Logarithm of the popularity of the items, the most popular first."""
    return -exponent * np.log(np.arange(1, items + 1))


def choose(rng: np.random.Generator, logits: Floats, counts: Ints) -> tuple[Ints, Ints]:
    """Draw items for each row without replacement, with chances of exp(logit), as the Gumbel trick does.

    Args:
        rng: source of randomness.
        logits: [rows, items]; minus infinity is never drawn.
        counts: [rows] how many to draw, as far as there are so many.

    Returns:
        Row and item of each draw; a row's draws follow one another, in the order drawn.
    """
    keys = logits + rng.gumbel(size=logits.shape)
    best = np.argsort(-keys, axis=1, kind="stable")
    place = np.arange(logits.shape[1]) < counts[:, None]
    row, at = np.nonzero(place & np.isfinite(np.take_along_axis(keys, best, axis=1)))
    return row, best[row, at]


def visit_times(rng: np.random.Generator, day: int, visits: int, longest_ms: int = 2 * HOUR_MS) -> Ints:
    """Begin of each visit of a day, early enough that it ends on that day."""
    hour = rng.choice(24, visits, p=HOURS)
    begin = hour * HOUR_MS + rng.integers(0, HOUR_MS, visits)
    return day * DAY_MS + np.minimum(begin, DAY_MS - longest_ms)


def places(row: Ints) -> Ints:
    """The place of each entry within its row, for rows whose entries follow one another."""
    return np.arange(len(row)) - np.searchsorted(row, row)
