"""Ids as positions: compact matrix indices for ids of any size and type."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Ints = npt.NDArray[np.int64]


def positions(ids: pa.ChunkedArray) -> tuple[pa.Array, Ints]:
    """The sorted distinct ids, and the position of each id among them."""
    distinct = ids.unique().sort()
    return distinct, lookup(ids, distinct)


def lookup(ids: pa.Array | pa.ChunkedArray, values: pa.Array) -> Ints:
    """The position of each id in ``values``, -1 where it is not among them."""
    options = pc.SetLookupOptions(value_set=values.cast(ids.type))
    places = pc.call_function("index_in", [ids], options)
    return places.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
