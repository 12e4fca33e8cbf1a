"""One daily partition set for the whole graph, and the windows that assets read of each other.

Partition D of an events asset holds the events of day D; partition D of every other asset holds what was known at the
end of day D. All assets share one set of partitions, so that any selection of them runs as one run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import date, datetime, time, timedelta

import dagster as dg

from recsys_assets.core.dataset import Dataset
from recsys_assets.settings import Settings

MOST_DAYS = 3650
"""Days that :func:`all_days` goes back where the data set has no end."""


def daily(settings: Settings, dataset: Dataset) -> dg.DailyPartitionsDefinition:
    """Days in the data set's own day boundary, from its first day to its end (or to now).

    Raises:
        ValueError: the settings state days that are none of the data set's, so that every row of them is rejected.
    """
    if settings.first_day < dataset.start_date:
        raise ValueError(
            f"RECSYS_START_DATE {settings.first_day} is before start_date {dataset.start_date} of data set "
            f"{dataset.name!r}, which rejects earlier rows: state the earlier day in its dataset.toml"
        )
    if dataset.end_date and (settings.end_date or date.max) > dataset.end_date:
        raise ValueError(
            f"RECSYS_END_DATE {settings.end_date} is after end_date {dataset.end_date} of data set {dataset.name!r}, "
            "which rejects later rows: state the later day in its dataset.toml"
        )
    # The last day ends at the day boundary of end_date: at its midnight, Dagster would leave that day out.
    end = datetime.combine(settings.end_date, time(dataset.boundary_hours)) if settings.end_date else None
    return dg.DailyPartitionsDefinition(
        start_date=settings.first_day.isoformat(),
        end_date=end,
        hour_offset=dataset.boundary_hours,
    )


def window(days: int, lag: int = 0) -> dg.TimeWindowPartitionMapping:
    """The ``days`` days that end ``lag`` days before D."""
    return dg.TimeWindowPartitionMapping(
        start_offset=-(days - 1) - lag, end_offset=-lag, allow_nonexistent_upstream_partitions=True
    )


def all_days(settings: Settings, lag: int = 0) -> dg.TimeWindowPartitionMapping:
    """All days that end ``lag`` days before D."""
    # Dagster steps back day by day where a day does not start at midnight, so no further than the data can reach.
    longest = (settings.end_date - settings.first_day).days if settings.end_date else MOST_DAYS
    return window(max(longest, 1), lag)


def span(partitions: dg.DailyPartitionsDefinition) -> tuple[str, str]:
    """The first and the last day that have a partition now: a day has one once it is over."""
    first, last = partitions.get_first_partition_key(), partitions.get_last_partition_key()
    return (first, last) if first and last else ("9999", "0000")


def training_days(settings: Settings, newest: str, first: str | None = None, windows: int | None = None) -> list[str]:
    """The as-of days before ``newest`` that its ranker and its evaluation look back on, oldest first.

    Examples of D-h, D-2h, … label the candidates of one horizon earlier, and D is evaluated on the candidates of D-h.

    Args:
        settings: horizon, windows, and the first day of the graph.
        newest: D.
        first: the first day with events, before which there is nothing to learn from.
        windows: how many training windows; None for those of the settings.
    """
    last = date.fromisoformat(newest)
    steps = range((windows or settings.training_windows) + 1, 0, -1)
    days = [(last - timedelta(days=settings.horizon_days * step)).isoformat() for step in steps]
    return [day for day in days if day >= max(settings.first_day.isoformat(), first or "")]


def examples_lacking(
    settings: Settings, days: Iterable[str], stored: Collection[str], first: str | None = None
) -> list[str]:
    """The as-of days whose ``ranking_examples`` some as-of days need and the store has not, oldest first.

    Args:
        settings: see :func:`training_days`.
        days: the as-of days that are to be made or judged.
        stored: the days of ``ranking_examples``.
        first: the first day with events.
    """
    needed = {past for day in days for past in training_days(settings, day, first)}
    return sorted(needed - set(stored))


def how_to_make(lacking: Iterable[str], days: Iterable[str]) -> str:
    """What to say where examples are missing: which, and the command that makes them."""
    return f"needs ranking_examples of {', '.join(lacking)}: `recsys as-of {' '.join(days)}` makes them, oldest first"
