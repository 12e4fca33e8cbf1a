"""Read a landing file as batches of raw and parsed rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Literal

from recsys_assets.core.dataset import Dataset, DatasetError
from recsys_assets.core.events.parse import Parsed, event_columns, parse_events, parse_properties
from recsys_assets.core.events.read import RawBatch, read_rows


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
    if kind != "properties":
        for batch in read_rows(stream, name, dataset.events, event_columns(dataset)):
            yield batch, parse_events(batch, dataset, name)
        return
    spec = dataset.properties
    if spec is None:
        raise DatasetError(f"{name}: data set {dataset.name!r} has no [properties]")
    for batch in read_rows(stream, name, spec, dict(spec.columns)):
        yield batch, parse_properties(batch, dataset, spec, name)
