"""Count the outcomes of the rows of one day, so that reports over a month read a few numbers per day."""

from __future__ import annotations

import narwhals as nw

from recsys_assets.core.clock import wall_clock
from recsys_assets.core.engine import Frame

CLEAN, DUPLICATE, REJECTED = "clean", "duplicate", "rejected"


def event_counts(rows: Frame, clean: Frame, rejected: Frame) -> Frame:
    """Rows of a day by file and outcome (``EVENT_COUNTS``).

    Args:
        rows: ``PARSED_EVENTS`` of the day, the input of cleaning.
        clean: ``CLEAN_EVENTS`` of the day.
        rejected: ``REJECTED_EVENTS`` of the day.
    """
    hour = wall_clock(nw.col("ts")).dt.hour().cast(nw.Int64).alias("hour")
    by_type = _counted(clean.select("source_file", nw.col("event_type").alias("name"), hour), CLEAN)
    none = nw.lit(None, dtype=nw.Int64).alias("hour")
    by_reason = _counted(rejected.select("source_file", nw.col("reason").alias("name"), none), REJECTED)
    count = nw.len().cast(nw.Int64)
    read = rows.group_by("source_file").agg(count.alias("__read"))
    cleaned = clean.group_by("source_file").agg(count.alias("__clean"))
    copies = (
        read.join(cleaned, on="source_file", how="left")
        .with_columns(rows=nw.col("__read") - nw.col("__clean").fill_null(0))
        .filter(nw.col("rows") > 0)
        .select(
            "source_file", nw.lit(DUPLICATE).alias("outcome"), nw.lit("exact duplicate").alias("name"), none, "rows"
        )
    )
    return nw.concat([by_type, by_reason, copies])


def _counted(rows: Frame, outcome: str) -> Frame:
    counted = rows.group_by("source_file", "name", "hour").agg(nw.len().cast(nw.Int64).alias("rows"))
    return counted.select("source_file", nw.lit(outcome).alias("outcome"), "name", "hour", "rows")
