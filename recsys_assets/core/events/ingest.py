"""Read a landing file as batches of raw and parsed rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import BinaryIO, Literal

import narwhals as nw
import pyarrow as pa

from recsys_assets.core.dataset import Dataset, DatasetError, TimedFileSpec
from recsys_assets.core.events.batches import RawBatch
from recsys_assets.core.events.file_faults import UnreadableFileError
from recsys_assets.core.events.likely_rows import likely_rows
from recsys_assets.core.events.parse import Parsed, event_columns, parse_events, parse_properties
from recsys_assets.core.events.read import read_rows


def parse_file(
    kind: Literal["events", "properties", "impressions"], name: str, stream: BinaryIO, dataset: Dataset
) -> Iterator[tuple[RawBatch, Parsed]]:
    """Read and parse the rows of one file, in order and in bounded memory.

    Args:
        kind: what the file holds.
        name: path relative to the landing zone; the ``source_file`` of the rows.
        stream: its bytes.
        dataset: defines how to read and parse it.

    Raises:
        DataFileError: the file cannot be read or lacks a column; names it.
        DatasetError: the data set has no files of this kind.
    """
    read = _events if kind != "properties" else _properties
    columns, spec, parse = read(name, dataset)
    is_row = partial(likely_rows, columns=columns, spec=spec, dataset=dataset)
    for batch in read_rows(stream, name, spec, columns, is_row):
        try:
            parsed = parse(batch)
        except (pa.ArrowException, nw.exceptions.NarwhalsError, UnicodeError, OverflowError) as error:
            # What these libraries say may quote the file.
            rows = f"rows from {batch.source_row[0]} on" if len(batch.source_row) else "rows"
            raise UnreadableFileError(f"{name}: {rows} cannot be parsed ({type(error).__name__})") from error
        yield batch, parsed


_Reading = tuple[Mapping[str, str], TimedFileSpec, Callable[[RawBatch], Parsed]]


def _events(name: str, dataset: Dataset) -> _Reading:
    return event_columns(dataset), dataset.events, lambda batch: parse_events(batch, dataset, name)


def _properties(name: str, dataset: Dataset) -> _Reading:
    spec = dataset.properties
    if spec is None:
        raise DatasetError(f"{name}: data set {dataset.name!r} has no [properties]")
    return dict(spec.columns), spec, lambda batch: parse_properties(batch, dataset, spec, name)
