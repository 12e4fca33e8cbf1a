"""Write the four files of a RetailRocket-shaped data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from recsys_assets.sample.catalog import make_catalog, spread_ids
from recsys_assets.sample.config import SampleConfig
from recsys_assets.sample.events import EventStream, slice_sizes
from recsys_assets.sample.files import csv_files
from recsys_assets.sample.properties import block_count, property_rows

EVENT_TYPES = ("view", "addtocart", "transaction")
FILES = ("events.csv", "item_properties_part1.csv", "item_properties_part2.csv", "category_tree.csv")

Progress = Callable[[str, int, int], None]
"""Called with a file's name, the parts of it that are done, and how many there are."""


def generate(
    config: SampleConfig, out_dir: Path, progress: Progress | None = None, *, compress: bool = False
) -> dict[str, int]:
    """Write ``events.csv``, ``item_properties_part1.csv``, ``item_properties_part2.csv`` and ``category_tree.csv``.

    Time goes by half a day and the catalogue by a block of items: memory follows the size of the catalogue (about 100
    bytes an item while it is drawn) and the visitors who are still to return, not the number of rows. 100
    million events with 18 million items take about 1.4 GB. Files get their names when all are complete.

    Args:
        config: size, seed and shape. Equal configurations give equal bytes.
        out_dir: directory for the files, created if needed; older files of these names are replaced.
        progress: told about every finished part.
        compress: write ``.csv.gz``.

    Returns:
        Counts: rows of each file by its stem, events by type, users, items, items with events, orders, snapshots.
    """
    report = progress or (lambda _name, _done, _total: None)
    catalog = make_catalog(config)
    stream = EventStream(catalog)
    counts = dict.fromkeys((Path(name).stem for name in FILES), 0)
    types, slices = pl.Series(EVENT_TYPES), len(slice_sizes(config))
    with csv_files(out_dir, FILES, compress) as append:
        tree = catalog.tree
        parents = np.where(tree.parents < 0, -1, tree.ids[tree.parents])
        nodes = pl.DataFrame({"categoryid": tree.ids, "parentid": parents}).sort("categoryid")
        append["category_tree.csv"](nodes.with_columns(pl.col("parentid").replace(-1, None)))
        counts["category_tree"] = len(nodes)
        for done, (users, rows) in enumerate(stream.slices(), start=1):
            append["events.csv"](
                pl.DataFrame(
                    {
                        "timestamp": rows.ms,
                        "visitorid": spread_ids(users, config.events),
                        "event": types.gather(rows.kind),
                        "itemid": spread_ids(rows.item, catalog.id_space),
                        "transactionid": rows.order,
                    }
                ).with_columns(pl.col("transactionid").replace(-1, None))
            )
            counts["events"] += len(users)
            report("events.csv", done, slices)
        for done, (part1, part2) in enumerate(property_rows(catalog), start=1):
            append["item_properties_part1.csv"](part1)
            append["item_properties_part2.csv"](part2)
            counts["item_properties_part1"] += len(part1)
            counts["item_properties_part2"] += len(part2)
            report("item_properties", done, block_count(catalog))
    return {
        **counts,
        **dict(zip(EVENT_TYPES, stream.kinds.tolist(), strict=True)),
        "users": stream.users,
        "items": catalog.size,
        "items_with_events": int(np.count_nonzero(stream.seen)),
        "orders": stream.orders,
        "snapshots": len(config.snapshots_ms),
    }
