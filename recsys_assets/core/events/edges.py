"""Parse the rows of files of the category tree to its edges."""

from __future__ import annotations

from collections.abc import Collection

import narwhals as nw
import pyarrow as pa

from recsys_assets.core.events.batches import STRAY_QUOTE, TOO_LONG, RawBatch, refuse_broken
from recsys_assets.core.events.columns import texts, whole_id
from recsys_assets.core.events.file_faults import SchemaError
from recsys_assets.core.file_specs import CategoriesSpec

EDGES = pa.schema(
    [
        *(("category_id", pa.string()), ("parent_id", pa.string())),
        *(("source_file", pa.string()), ("source_row", pa.int64())),
    ]
)
"""Edges of the category tree, child to parent, and where they stand."""


def parse_categories(batch: RawBatch, spec: CategoriesSpec, source_file: str) -> pa.Table:
    """Edges of the category tree: category_id and parent_id as strings, ``213.0`` as ``213``; and where they stand.

    Raises:
        SchemaError: a row is broken, or an id is none; a part of a tree is of no use.
    """
    refuse_broken(batch, source_file)
    frame = texts(batch, dict(spec.columns), source_file)
    names = ("category_id", "parent_id")
    lines = nw.any_horizontal(*(nw.col(name).str.contains(r"[\r\n]") for name in names), ignore_nulls=True)
    fault = nw.when("long").then(nw.lit(TOO_LONG)).when("stray").then(nw.lit(STRAY_QUOTE))
    fault = fault.when(lines).then(nw.lit("an id of several lines"))
    ids = [whole_id(nw.col(name)).alias(name) for name in names]
    table = frame.select(*ids, nw.lit(source_file).alias("source_file"), "source_row", fault.alias("fault")).collect()
    for row, told in table.filter(~nw.col("fault").is_null()).select("source_row", "fault").head(1).iter_rows():
        raise SchemaError(f"{source_file}: row {row}: {told}")
    return table.to_arrow().select(EDGES.names).cast(EDGES)


def likely_edges(batch: RawBatch, spec: CategoriesSpec, known: Collection[str]) -> list[int]:
    """Numbers of the rows that are likely edges of a tree: a category below a root, or below one that is known.

    Where nothing stands for the parent, the category is a known one, or a number as all of them are.

    Args:
        batch: raw rows.
        spec: the names of the columns, and the words for roots.
        known: categories that rows of the tree name.
    """
    frame = texts(batch, dict(spec.columns), "")
    parents = sorted({*known, *(word.lower() for word in spec.root if word)})
    parent = whole_id(nw.col("parent_id"))
    is_known = parent.is_in(parents) | parent.str.to_lowercase().is_in(parents)
    category = whole_id(nw.col("category_id"))
    is_root = parent.is_null() & category.is_in(sorted(known))
    if all(one.isdecimal() for one in known):
        is_root = is_root | (parent.is_null() & category.str.contains(r"^[0-9]+$"))
    is_edge = ~category.str.contains(r"\s") & (is_known | is_root)
    return frame.filter(is_edge).select("source_row").collect()["source_row"].to_list()
