"""The file of a model gives back the very arrays, whatever their type; rounded parameters keep 12 bits."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as draw

from recsys_assets.core.models.stored_arrays import SIGNIFICANT_BITS, from_bytes, rounded, to_bytes

ARRAYS = draw.arrays(
    st.sampled_from([np.int64, np.int32, np.uint8, np.float32, np.float64, np.bool_, np.dtype("<U3")]),
    draw.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=9),
)
IDS = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4).map(lambda ids: pa.array(ids, pa.int64())),
    st.lists(st.text(max_size=4), max_size=4).map(lambda ids: pa.array(ids, pa.string())),
)


@settings(max_examples=200, deadline=None)
@given(IDS, st.dictionaries(st.text(st.characters(codec="ascii", categories=["L"]), min_size=1), ARRAYS, max_size=4))
def test_reads_what_was_written(ids: pa.Array, arrays: dict[str, np.ndarray]) -> None:
    content = to_bytes(ids, arrays)
    assert content == to_bytes(ids, arrays)
    read_ids, read = from_bytes(content)
    assert read_ids.equals(ids)
    assert list(read) == list(arrays)
    for name, array in arrays.items():
        assert (read[name].dtype, read[name].shape) == (array.dtype, array.shape)
        assert read[name].tobytes() == array.tobytes()


def test_sorted_positions_and_rounded_parameters_take_a_fraction_of_their_bytes() -> None:
    rng = np.random.default_rng(0)
    positions = np.sort(rng.integers(0, 100_000, 50_000).astype(np.int32))
    vectors = rng.normal(size=50_000).astype(np.float32)
    assert len(to_bytes(pa.array([1]), {"positions": positions})) < positions.nbytes / 8
    assert len(to_bytes(pa.array([1]), {"vectors": rounded(vectors)})) < vectors.nbytes / 1.8


@given(draw.arrays(np.float32, 20, elements=st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False)))
def test_rounding_keeps_twelve_bits_and_is_done_once(values: np.ndarray) -> None:
    once, exact = rounded(values), values.astype(np.float64)
    assert np.all(np.abs(once - exact) <= np.abs(exact) * 2.0**-SIGNIFICANT_BITS)
    assert rounded(once).tobytes() == once.tobytes()
    assert rounded(-values).tobytes() == (-once).tobytes()
    assert np.all(once.view(np.uint32) % 2**SIGNIFICANT_BITS == 0)


@pytest.mark.parametrize("array", [np.arange(5), np.linspace(0, 1, 7)])
def test_other_types_are_not_rounded(array: np.ndarray) -> None:
    assert rounded(array) is array
