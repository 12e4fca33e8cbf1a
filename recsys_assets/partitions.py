"""One daily partition set for the whole graph, and the windows that assets read of each other.

Partition D of an events asset holds the events of day D; partition D of every other asset holds what was known at the
end of day D. All assets share one set of partitions, so that any selection of them runs as one run.
"""

from __future__ import annotations

from datetime import date, datetime, time

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
