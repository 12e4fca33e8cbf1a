"""What two engines gave, side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl
import pyarrow as pa
from polars.testing import assert_frame_equal


def plain(result: Any) -> Any:
    """A result with its frames collected and sorted by all columns, so that it can be compared."""
    if isinstance(result, nw.LazyFrame):
        return plain(result.collect(backend="polars").to_native())
    if isinstance(result, pa.Table | pa.ChunkedArray):
        return plain(pl.from_arrow(result))
    if isinstance(result, pl.Series):
        return plain(result.to_frame("values"))
    if isinstance(result, pl.DataFrame):
        floats = [name for name, dtype in result.schema.items() if dtype.is_float() or dtype.is_nested()]
        return result.sort([*(name for name in result.columns if name not in floats), *floats])
    if isinstance(result, np.ndarray):
        return result.tolist()
    if dataclasses.is_dataclass(result):
        return plain(vars(result))
    if isinstance(result, Mapping):
        return {name: plain(value) for name, value in result.items()}
    if isinstance(result, list | tuple):
        return [plain(value) for value in result]
    return result


def assert_same(found: Any, expected: Any, tolerance: float = 0.0) -> None:
    """Both are equal: types, names, order of columns, every value; floats within a relative tolerance.

    Args:
        found: as :func:`plain` gives it.
        expected: likewise.
        tolerance: of floats; 0 asks for the same bits, but for NaN and the sign of 0.
    """
    assert type(found) is type(expected)
    if isinstance(expected, pl.DataFrame):
        assert_frame_equal(found, expected, check_exact=not tolerance, rel_tol=tolerance, abs_tol=tolerance)
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for name, value in expected.items():
            assert_same(found[name], value, tolerance)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other, tolerance)
    elif isinstance(expected, float):
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
    else:
        assert found == expected
