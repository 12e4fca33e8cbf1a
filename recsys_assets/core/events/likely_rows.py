"""Whether lines are rows of a file, judged by what no text holds by chance: a time and ids in the right columns."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime

import narwhals as nw

from recsys_assets.core.dataset import Dataset, TimedFileSpec
from recsys_assets.core.events.batches import RawBatch
from recsys_assets.core.events.columns import timed
from recsys_assets.core.events.values import stated_id, to_id

SPAN = (date(1995, 1, 1), date(2100, 1, 1))
"""Days from which times of events may be expected, the last excluded."""


def micros(day: date) -> int:
    """The start of a day as microseconds since 1970, UTC."""
    return round(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000


def likely_rows(batch: RawBatch, columns: Mapping[str, str], spec: TimedFileSpec, dataset: Dataset) -> list[int]:
    """Numbers of the rows that have a time and ids, whatever else they hold: also rows that would be rejected.

    Args:
        batch: raw rows.
        columns: canonical to raw name.
        spec: how times are written.
        dataset: the types of its ids, and its first day.
    """
    frame, _ = timed(batch, columns, spec, "")
    first, end = min(dataset.start_date, SPAN[0]), dataset.end_date or SPAN[1]
    has_time = (nw.col("us") >= micros(first)) & (nw.col("us") < micros(end))
    found = ~to_id(stated_id(nw.col("item_id")), dataset.ids.item).is_null()
    if "user_id" in columns:
        user = nw.col("user_id")
        found = found & (user.is_null() | ~to_id(user, dataset.ids.user).is_null())
    return frame.filter(has_time & found).select("source_row").collect()["source_row"].to_list()
