"""Time as numbers, in the date functions that every engine has.

Engines differ in how dates and times subtract (Spark has no total seconds of an interval, DuckDB no epoch of a date),
but all of them name the year, the day of the year, the hour, the minute and the second.
"""

from __future__ import annotations

from datetime import date, datetime

import narwhals as nw

from recsys_assets.core.engine import Frame

_EPOCH = date(1970, 1, 1)
_LN2 = 0.6931471805599453


def wall_clock(ts: nw.Expr) -> nw.Expr:
    """A UTC timestamp without its zone: parts of one with a zone take DuckDB's calendar four times as long."""
    return ts.dt.replace_time_zone(None)


def epoch_day(day: nw.Expr) -> nw.Expr:
    """Days since 1970-01-01 of a date or UTC timestamp, as int64 (proleptic Gregorian; years from 1602 on)."""
    year = day.dt.year().cast(nw.Int64)
    leap_days = (year - 1969) // 4 - (year - 1901) // 100 + (year - 1601) // 400
    return (year - 1970) * 365 + leap_days + day.dt.ordinal_day().cast(nw.Int64) - 1


def epoch_micros(ts: nw.Expr) -> nw.Expr:
    """Microseconds since 1970 of a UTC timestamp, as int64."""
    ts = wall_clock(ts)
    seconds = (epoch_day(ts) * 24 + ts.dt.hour().cast(nw.Int64)) * 3600
    seconds = seconds + ts.dt.minute().cast(nw.Int64) * 60 + ts.dt.second().cast(nw.Int64)
    # Before 1970, some engines give negative microseconds of a second.
    return seconds * 1_000_000 + ts.dt.microsecond().cast(nw.Int64) % 1_000_000


def days_before(day: nw.Expr, as_of: date) -> nw.Expr:
    """Whole days from ``day`` to ``as_of``: 0 on the day itself."""
    return nw.lit((as_of - _EPOCH).days, dtype=nw.Int64) - epoch_day(day)


def hours_before(ts: nw.Expr, end: datetime) -> nw.Expr:
    """Hours from a UTC timestamp to the instant ``end``, to the second, as float64."""
    ts = wall_clock(ts)
    clock = ts.dt.hour().cast(nw.Int64) * 3600 + ts.dt.minute().cast(nw.Int64) * 60 + ts.dt.second().cast(nw.Int64)
    # Polars divides by a constant by multiplying with its reciprocal, whose last bits differ; so all do.
    return (nw.lit(int(end.timestamp()), dtype=nw.Int64) - epoch_day(ts) * 86400 - clock) * (1 / 3600)


def half_life(age: nw.Expr, half_life: float) -> nw.Expr:
    """Exponential decay: 1 at age 0, 0.5 at ``half_life`` (in the unit of ``age``)."""
    return (age * (-_LN2 / half_life)).exp()


def last_days(window: Frame, as_of: date, days: int) -> Frame:
    """The rows of a window whose ``dt`` is one of the ``days`` days that end with ``as_of``; never a later one."""
    first = date.fromordinal(max(as_of.toordinal() - days + 1, 1))
    return window.filter((nw.col("dt") >= first) & (nw.col("dt") <= as_of))
