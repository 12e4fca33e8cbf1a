"""The engines that the suite compares with Polars: DuckDB, and (``-m spark``) Spark on a cluster of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from recsys_assets.core.engine import Engine
from recsys_assets.engines.duckdb import DuckDBEngine


@pytest.fixture(scope="session")
def duckdb() -> Iterator[Engine]:
    opened = DuckDBEngine()
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def spark() -> Iterator[Engine]:
    from recsys_assets.engines.spark import SparkEngine
    from recsys_assets.engines.spark_session import ClusterSize, standalone_session

    with standalone_session(ClusterSize()) as session:
        yield SparkEngine(session)


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> Engine:
    """The engine that a test's parameter names."""
    named: Engine = request.getfixturevalue(request.param)
    return named
