"""What the platform asks of an engine: the place where lazy frames run.

Frame logic in ``core/`` is written with Narwhals and never asks which engine it runs on. Everything that differs
between engines sits behind this protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import narwhals as nw
import pyarrow as pa

Frame = nw.LazyFrame
BatchFunction = Callable[[pa.Table], pa.Table]


class Engine(Protocol):
    """Runs lazy frames."""

    name: str

    def scan(self, uris: Sequence[str], schema: pa.Schema) -> Frame:
        """Lazily read parquet files of one schema.

        The hive day of each path (``…/dt=2015-05-03/…``) appears as a date column ``dt``. No files means an empty
        frame of the schema (with ``dt``).
        """
        ...

    def from_arrow(self, table: pa.Table) -> Frame:
        """A lazy frame over a table in memory."""
        ...

    def map_batches(self, frame: Frame, function: BatchFunction, schema: pa.Schema) -> Frame:
        """Apply a row-wise Python function (Arrow table in, Arrow table of ``schema`` out) to batches of a frame."""
        ...

    def sink(self, frame: Frame, path: Path, schema: pa.Schema, sort_by: Sequence[str]) -> int:
        """Run a frame and write it as one parquet file, sorted, in exactly the schema; returns the row count.

        Equal data gives equal bytes, whatever the engine and the number of threads.
        """
        ...
