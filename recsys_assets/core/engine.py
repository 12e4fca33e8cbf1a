"""The interface of engines, which run lazy frames.

Frame logic in ``core/`` is written with Narwhals and does not depend on the engine. Everything that differs between
engines is behind this protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import narwhals as nw
import pyarrow as pa

Frame = nw.LazyFrame
BatchFunction = Callable[[pa.Table], pa.Table]
Add = Callable[[Frame], Frame]
"""Argument of :meth:`Engine.add_columns`: adds columns and keeps the rows."""
Memoize = Callable[[str, Frame], Frame]
"""Takes a name and a frame and returns the frame, computed once however often the name comes up."""
Persist = Callable[[Frame], Frame]
"""Type of :meth:`Engine.persist`, for functions that read a frame twice."""


@dataclass(frozen=True)
class AlsParams:
    """Parameters of implicit ALS (Hu, Koren and Volinsky, 2008).

    Args:
        factors: length of a vector.
        iterations: alternations.
        regularization: L2 penalty.
        alpha: scale of the confidence in an interaction.
        seed: of the first vectors.
        num_threads: on one machine; 0 for all cores. The result does not depend on it.
    """

    factors: int = 64
    iterations: int = 15
    regularization: float = 1.0
    alpha: float = 3.0
    seed: int = 0
    num_threads: int = 0


@dataclass(frozen=True)
class Factors:
    """The fitted tables: user_id or item_id, and factors (list of float32); each sorted by id."""

    users: pa.Table
    items: pa.Table


def unchanged(frame: Frame) -> Frame:
    """The :data:`Persist` of engines that eliminate common subplans themselves."""
    return frame


def passthrough(_: str, frame: Frame) -> Frame:
    """The :data:`Memoize` of frames that a single plan reads."""
    return frame


def count_repeated(frame: Frame, key: Sequence[str]) -> int:
    """:meth:`Engine.repeated`, by grouping."""
    repeated = frame.group_by(*key).agg(n=nw.len()).filter(nw.col("n") > 1)
    return int(repeated.select(n=nw.len()).collect(backend="polars").item())


def as_one_frame(frame: Frame | Iterable[Frame]) -> Frame:
    """One frame, or the union of several."""
    return frame if isinstance(frame, nw.LazyFrame) else nw.concat(list(frame), how="vertical")


class Engine(Protocol):
    """Runs lazy frames."""

    name: str
    users_at_once: int | None
    """Users per part when a frame has many rows per user; None: all at once."""
    rows_at_once: int | None
    """Rows per part when they are ranked, so that they fit into memory; None: all at once."""

    def scan(self, uris: Sequence[str], schema: pa.Schema) -> Frame:
        """Lazily read parquet files of one schema.

        The hive day of each path (``…/dt=2015-05-03/…``) appears as a date column ``dt``. No files means an empty
        frame of the schema (with ``dt``).
        """
        ...

    def from_arrow(self, table: pa.Table) -> Frame:
        """A lazy frame over a table in memory."""
        ...

    def persist(self, frame: Frame) -> Frame:
        """The frame with its rows computed once, however often a plan reads them.

        The rows are released with the next :meth:`sink`, so they serve one output.
        """
        ...

    def add_columns(self, frame: Frame, by: Sequence[str], add: Add) -> Frame:
        """Apply ``add`` to a frame that fits into memory, such as a part of one.

        An engine may compute the rows first, ascending by ``by``, and add the columns then: sorting narrow rows costs
        less than sorting wide ones.
        """
        ...

    def repeated(self, frame: Frame, key: Sequence[str]) -> int:
        """Number of values of a key that occur in more than one row."""
        ...

    def map_batches(self, frame: Frame, function: BatchFunction, schema: pa.Schema) -> Frame:
        """Apply a row-wise Python function (Arrow table in, Arrow table of ``schema`` out) to batches of a frame."""
        ...

    def map_users(self, frame: Frame, function: BatchFunction, schema: pa.Schema) -> Frame:
        """Apply a Python function (Arrow table in, Arrow table of ``schema`` out) to tables of some users each.

        A table holds all rows of its users, in any order. What the function gives for a user must not depend on the
        others, since engines make tables of different users.
        """
        ...

    def sink(self, frame: Frame | Iterable[Frame], path: Path, schema: pa.Schema, sort_by: Sequence[str]) -> int:
        """Run a frame and write it as one parquet file, sorted, in exactly the schema; returns the row count.

        Equal data gives equal bytes, whatever the engine and the number of threads. Several frames make one file, as
        their union would; the sort keys of each must come before those of the next.
        """
        ...

    def factorize(self, pairs: Frame, params: AlsParams) -> Factors:
        """Latent factors of users and items by implicit ALS.

        Args:
            pairs: user_id, item_id (unique pairs) and weight (above 0). The confidence in a pair is
                alpha * log(1 + weight), against 1 for a pair without interaction.
            params: see :class:`AlsParams`.
        """
        ...

    def close(self) -> None:
        """Release connections, processes and temporary files. Frames of the engine cannot be used afterwards."""
        ...
