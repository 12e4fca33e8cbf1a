"""Data for the scale benchmark: RetailRocket-shaped events of any number, as staging leaves them, a file a day."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from recsys_assets.core.contracts import ITEM_FEATURES, IdTypes, arrow_schema
from recsys_assets.core.events.parse import PARSED_EVENTS
from recsys_assets.sample.catalog import Catalog, make_catalog, spread_ids
from recsys_assets.sample.config import DAY_MS, SampleConfig
from recsys_assets.sample.events import EventStream
from recsys_assets.sample.generate import EVENT_TYPES
from recsys_assets.sample.visitors import SLICE_MS
from recsys_assets.sample.visits import Rows

DAYS = 138
_ROW_GROUP = 131_072


def days_of(folder: Path) -> list[date]:
    """The days that were generated into a folder, ascending."""
    return sorted(date.fromisoformat(path.name.removeprefix("dt=")) for path in (folder / "events").iterdir())


def events_file(folder: Path, day: date) -> Path:
    """Parsed events (``PARSED_EVENTS``) of a day."""
    return folder / "events" / f"dt={day}" / "rows.parquet"


def features_file(folder: Path) -> Path:
    """Item features (``ITEM_FEATURES``) as of the last day."""
    return folder / "item_features" / f"dt={days_of(folder)[-1]}" / "data.parquet"


def generate(events: int, folder: Path, days: int = DAYS) -> None:
    """Write the events and the item features of a shop; nothing where they are already there.

    Memory follows the catalogue (0.18 items an event) and half a day of events.

    Args:
        events: how many.
        folder: ``events/dt=<day>/rows.parquet`` and ``item_features.parquet`` go here
            (in hive folders), then ``counts.json``.
        days: how many days they are spread over.
    """
    done = folder / "counts.json"
    if done.exists():
        return
    catalog = make_catalog(SampleConfig(events=events, days=days))
    stream = EventStream(catalog)
    rows = 0
    for index, table in enumerate(_daily(stream)):
        path = events_file(folder, catalog.config.start + timedelta(days=index))
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, row_group_size=_ROW_GROUP, compression="zstd")
        rows += table.num_rows
    features = _features(catalog)
    features_file(folder).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(features, features_file(folder), row_group_size=_ROW_GROUP, compression="zstd")
    seen = int(np.count_nonzero(stream.seen))
    done.write_text(json.dumps({"events": rows, "users": stream.users, "items": seen, "features": features.num_rows}))


def _daily(stream: EventStream) -> Iterator[pa.Table]:
    """The events of each day; a visit that lasts past its half-day waits for the day that it reaches."""
    config = stream.catalog.config
    waiting: list[pl.DataFrame] = []
    for index, (users, rows) in enumerate(stream.slices(), start=1):
        waiting.append(_frame(stream.catalog, users, rows))
        if index * SLICE_MS % DAY_MS == 0:
            yield _table(waiting, config, index * SLICE_MS // DAY_MS - 1)


def _table(waiting: list[pl.DataFrame], config: SampleConfig, day: int) -> pa.Table:
    frame = pl.concat(waiting)
    today = pl.col("ts").dt.epoch("ms") < config.start_ms + (day + 1) * DAY_MS
    waiting[:] = [frame.filter(~today)]
    name = f"events-{config.start + timedelta(days=day)}.csv"
    shaped = (
        frame.filter(today)
        .with_row_index("source_row")
        .with_columns(
            pl.lit(None, pl.Float64).alias("quantity"),
            pl.lit(None, pl.Float64).alias("price"),
            pl.lit(None, pl.String).alias("brand"),
            pl.lit(None, pl.String).alias("title"),
            pl.lit(name).alias("source_file"),
            pl.col("source_row").cast(pl.Int64),
        )
    )
    schema = arrow_schema(PARSED_EVENTS, IdTypes())
    return shaped.select(schema.names).to_arrow().cast(schema)


def _frame(catalog: Catalog, users: np.ndarray, rows: Rows) -> pl.DataFrame:
    types = pl.Series(EVENT_TYPES)
    return pl.DataFrame(
        {
            "user_id": spread_ids(users, catalog.config.events),
            "item_id": spread_ids(rows.item, catalog.id_space),
            "event_type": types.gather(rows.kind),
            "ts": rows.ms,
            "order_id": rows.order,
        }
    ).with_columns(
        (pl.col("ts") * 1000).cast(pl.Datetime("us", "UTC")), pl.col("order_id").replace(-1, None).cast(pl.String)
    )


def _features(catalog: Catalog) -> pa.Table:
    """Category and availability of every item that was ever described, by item."""
    items = np.flatnonzero(catalog.first_snapshot < 127)
    start = catalog.config.start
    frame = pl.DataFrame(
        {
            "item_id": spread_ids(items, catalog.id_space),
            "category_id": catalog.tree.ids[catalog.category[catalog.shelf(items)]],
            "available": catalog.is_available(items, len(catalog.config.snapshots_ms) - 1),
        }
    )
    shaped = frame.sort("item_id").select(
        "item_id",
        pl.col("category_id").cast(pl.String),
        pl.lit(None, pl.String).alias("root_id"),
        pl.lit(None, pl.Int64).alias("depth"),
        "available",
        pl.lit(None, pl.Float64).alias("price"),
        pl.lit(None, pl.String).alias("brand"),
        pl.lit(None, pl.String).alias("title"),
        pl.lit(start).alias("first_seen"),
        pl.lit(catalog.config.days, pl.Int64).alias("days_known"),
    )
    return shaped.to_arrow().cast(arrow_schema(ITEM_FEATURES, IdTypes()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale_data", description=__doc__)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--days", type=int, default=DAYS)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    generate(given.events, given.out, given.days)
