"""Opens an engine by name. Only the chosen engine's library is imported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from recsys_assets.core.engine import Engine

if TYPE_CHECKING:
    from pyspark.sql import SparkSession  # pyright: ignore[reportMissingImports] comes with the extra 'spark'

EngineName = Literal["polars", "duckdb", "spark"]


def open_engine(
    name: EngineName,
    storage_options: Mapping[str, str] | None = None,
    *,
    memory_limit: str = "",
    spill_folder: str = "",
    session: SparkSession | None = None,
    shares_disk: bool = True,
) -> Engine:
    """The engine of a name; the caller closes it.

    Args:
        name: of the engine.
        storage_options: credentials and endpoint for ``s3://`` paths; None: none needed, or the engine finds them.
        memory_limit: DuckDB's memory before it spills, such as "8GB"; "" is its default.
        spill_folder: where DuckDB spills to; "" is the system's folder for temporary files.
        session: Spark session, which its opener closes; the other engines need none.
        shares_disk: whether Spark's cluster sees the files of this machine.

    Raises:
        ValueError: an unknown name, or Spark without a session.
    """
    if name == "polars":
        from recsys_assets.engines.polars import PolarsEngine

        return PolarsEngine(storage_options)
    if name == "duckdb":
        from recsys_assets.engines.duckdb import DuckDBEngine

        return DuckDBEngine(storage_options, memory_limit or None, Path(spill_folder) if spill_folder else None)
    if name == "spark":
        if session is None:
            raise ValueError("engine is 'spark', expected a session of a cluster, found none")
        from recsys_assets.engines.spark import SparkEngine

        return SparkEngine(session, shares_disk=shares_disk)
    raise ValueError(f"engine is {name!r}, expected 'polars', 'duckdb' or 'spark'")
