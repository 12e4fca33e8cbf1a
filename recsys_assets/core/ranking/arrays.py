"""The feature matrix that stored models score, and the file of plain arrays that holds most of them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys_assets.core.evaluation.metrics import Floats

Matrix = NDArray[np.float32]
"""[rows, columns of the model]; null is NaN."""


def filled(column: NDArray[np.floating[Any]], median: float) -> Floats:
    """A column as float64 with a median in place of NaN."""
    return np.where(np.isnan(column), median, column).astype(np.float64)


def arrays_of(model: Any) -> dict[str, NDArray[Any]]:
    """The attributes of a model, a dataclass, as arrays."""
    return {field.name: np.asarray(getattr(model, field.name)) for field in fields(model)}


def write_arrays(kind: str, arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """A model as an uncompressed ``.npz``, into which numpy writes no time: equal models give equal bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, kind=np.asarray(kind), **arrays)
    return buffer.getvalue()


def read_arrays(data: bytes) -> tuple[str, dict[str, Any]]:
    """The kind of a model that :func:`write_arrays` wrote, and its attributes."""
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        arrays: dict[str, Any] = {name: stored[name] for name in stored.files}
    kind, arrays["columns"] = str(arrays.pop("kind")), tuple(arrays["columns"].tolist())
    return kind, arrays
