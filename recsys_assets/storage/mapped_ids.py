"""Ids over the mapped bytes of an Arrow file: read a few of them, or find one among ascending ones, without a copy.

Python reads single values faster through a memoryview than from a numpy or Arrow array.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_INT64 = range(-(2**63), 2**63)
_MANY = 8
"""Ids from which on numpy finds them faster than Python, by the time that one call of it takes."""

Key = int | str


def view(array: pa.Array) -> memoryview[Any]:
    """Numbers without nulls over the bytes of the array."""
    # Not to_numpy: it imports pandas where that is installed.
    return np.from_dlpack(array).data


def mapped_ids(array: pa.Array) -> IntegerIds | StringIds:
    """Ids of type int64 or large_string, without nulls and not a slice."""
    return IntegerIds(array) if pa.types.is_int64(array.type) else StringIds(array)


class IntegerIds:
    """Ids of type int64."""

    __slots__ = ("_array", "_values")
    type: Literal["int64"] = "int64"

    def __init__(self, array: pa.Array) -> None:
        self._array: npt.NDArray[Any] = np.from_dlpack(array)
        self._values = view(array)

    def at(self, positions: list[int]) -> list[int]:
        """The ids at some positions."""
        values = self._values
        return [values[at] for at in positions]

    def position(self, key: Key) -> int | None:
        """Position of an id among ascending ones; None if it is unknown, as strings and numbers beyond int64 are."""
        if isinstance(key, str) or key not in _INT64:
            return None
        values = self._values
        low = bisect_left(values, key)
        return low if low < len(values) and values[low] == key else None

    def positions(self, keys: Sequence[Key]) -> npt.NDArray[np.int64]:
        """The positions of several ids, as :meth:`position`; -1 is unknown."""
        array = self._array
        wanted = np.array(keys) if len(keys) >= _MANY and len(array) else None
        if wanted is None or wanted.dtype != np.int64:  # with strings or numbers beyond int64 it has another type
            return _each(self.position, keys)
        low = np.searchsorted(array, wanted)
        low[low == len(array)] = 0
        return np.where(array[low] == wanted, low, -1)


class StringIds:
    """Ids of type large_string, a sequence of UTF-8: its order by byte is that of str by code point."""

    __slots__ = ("_length", "_offsets", "_text")
    type: Literal["string"] = "string"

    def __init__(self, array: pa.Array) -> None:
        _, offsets, text = array.buffers()
        self._length = len(array)
        self._offsets: memoryview[int] = memoryview(offsets or b"").cast("q")
        self._text = memoryview(text or b"")

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, position: int) -> bytes:
        return self._text[self._offsets[position] : self._offsets[position + 1]].tobytes()

    def at(self, positions: list[int]) -> list[str]:
        """The ids at some positions."""
        text, offsets = self._text, self._offsets
        return [str(text[offsets[at] : offsets[at + 1]], "utf-8") for at in positions]

    def position(self, key: Key) -> int | None:
        """Position of an id among ascending ones; None if it is unknown, as numbers are."""
        if not isinstance(key, str):
            return None
        wanted = key.encode("utf-8", "surrogatepass")
        low = bisect_left(self, wanted)
        return low if low < self._length and self[low] == wanted else None

    def positions(self, keys: Sequence[Key]) -> npt.NDArray[np.int64]:
        """The positions of several ids, as :meth:`position`; -1 is unknown."""
        return _each(self.position, keys)


def _each(position: Callable[[Key], int | None], keys: Sequence[Key]) -> npt.NDArray[np.int64]:
    return np.array([-1 if place is None else place for place in map(position, keys)], np.int64)
