"""Landing files that are not of days, each read into one table: the category tree and the vectors of items.

::

    staging/categories/<digest>/edges.parquet     category_id, parent_id, source_file, source_row
    staging/embeddings/<digest>/vectors.parquet   ITEM_EMBEDDINGS

The digest names the file, its content and all that decides how it is read, as it does for files of days.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from recsys_assets.core.catalog.embeddings import parse_embeddings
from recsys_assets.core.dataset import Dataset
from recsys_assets.core.events.edges import EDGES, likely_edges, parse_categories
from recsys_assets.core.events.file_faults import DataFileError
from recsys_assets.core.events.parse import PARSER_VERSION
from recsys_assets.core.events.read import read_rows
from recsys_assets.core.events.swallowed_rows import IsRow
from recsys_assets.core.file_specs import CategoriesSpec
from recsys_assets.storage.objects import ObjectStore
from recsys_assets.storage.scratch import TemporaryFolder

UndatedKind = Literal["categories", "embeddings"]

_OBJECTS: Mapping[UndatedKind, str] = {"categories": "edges.parquet", "embeddings": "vectors.parquet"}


def table_key(kind: UndatedKind, digest: str) -> str:
    """Key of the table that a file became."""
    return f"staging/{kind}/{digest}/{_OBJECTS[kind]}"


def table_digest(kind: UndatedKind, name: str, fingerprint: str, dataset: Dataset) -> str:
    """Names what the table depends on."""
    spec = dataset.spec(kind)
    recipe = spec.model_dump_json() if spec else ""
    if kind == "embeddings":
        recipe += dataset.ids.item
    return hashlib.sha256("\0".join((str(PARSER_VERSION), name, fingerprint, recipe)).encode()).hexdigest()[:32]


def stage_table(
    kind: UndatedKind,
    name: str,
    digest: str,
    open_file: Callable[[], BinaryIO],
    dataset: Dataset,
    store: ObjectStore,
) -> None:
    """Read a landing file into one table, unless that was done before.

    Args:
        kind: what the file holds.
        name: path below the landing zone.
        digest: of :func:`table_digest`.
        open_file: gives the content; called only if the file was not read before.
        dataset: how it is read.
        store: where the table goes.

    Raises:
        DataFileError: the file cannot be used.
    """
    key = table_key(kind, digest)
    if store.exists(key):
        return
    with TemporaryFolder("staging-") as scratch:
        path = Path(scratch) / "staged.parquet"
        pq.write_table(_read(kind, name, open_file, dataset), path)
        store.put(key, path)


def read_table(kind: UndatedKind, digest: str, store: ObjectStore) -> pa.Table:
    """The table that was staged under a digest."""
    with store.open(table_key(kind, digest)) as stream:
        return pq.read_table(stream)


def table_rows(kind: UndatedKind, digest: str, store: ObjectStore) -> int:
    """The rows of the table that was staged under a digest; 0 if there is none."""
    if not store.exists(table_key(kind, digest)):
        return 0
    with store.open(table_key(kind, digest)) as stream:
        return pq.ParquetFile(stream).metadata.num_rows


def _read(kind: UndatedKind, name: str, open_file: Callable[[], BinaryIO], dataset: Dataset) -> pa.Table:
    tree, vectors = dataset.categories, dataset.embeddings
    if kind == "categories" and tree is not None:
        return _edges(name, open_file, tree)
    if kind == "embeddings" and vectors is not None:
        with open_file() as stream:
            return parse_embeddings(read_rows(stream, name, vectors, dict(vectors.columns)), vectors, dataset.ids, name)
    raise DataFileError(f"{name}: data set {dataset.name!r} has no [{kind}]")


def _edges(name: str, open_file: Callable[[], BinaryIO], tree: CategoriesSpec) -> pa.Table:
    """The edges of a file; it is read twice, since only who knows the categories can tell a row within a text."""

    def edges(is_row: IsRow | None = None) -> pa.Table:
        with open_file() as stream:
            batches = read_rows(stream, name, tree, dict(tree.columns), is_row)
            return pa.concat_tables([EDGES.empty_table(), *(parse_categories(batch, tree, name) for batch in batches)])

    found = edges()
    if not tree.quote or tree.format_of(name) not in ("csv", "tsv"):
        return found
    known = {*found["category_id"].to_pylist(), *found["parent_id"].to_pylist()} - {None}
    return edges(partial(likely_edges, spec=tree, known=known))
