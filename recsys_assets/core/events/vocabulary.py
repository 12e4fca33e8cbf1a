"""Words of a file that mean something: whether an item is available. A word in no list is unknown, never guessed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from functools import cache

import pyarrow as pa
import pyarrow.compute as pc

from recsys_assets.core.dataset import AvailabilityWords
from recsys_assets.core.file_specs import AVAILABLE, UNAVAILABLE

YES, NO = "1", "0"
"""What the values of ``available`` become."""
MOST_UNKNOWN = 20
"""Distinct values that are kept of those that nobody mapped: enough to map them."""
_LONGEST_SHOWN = 60
OTHERS = "(others)"


def availability(text: str, words: AvailabilityWords) -> bool | None:
    """Whether an item whose property has this value can be bought; None if the value is in no list."""
    found = _meanings(words.available, words.unavailable).get(_normal(text))
    return None if found is None else found == YES


def available_values(texts: pa.Array, words: AvailabilityWords) -> pa.Array:
    """Values of ``available`` as :data:`YES` or :data:`NO`; null for those in no list."""
    coded = texts.dictionary_encode()
    meanings = _meanings(words.available, words.unavailable)
    found = [None if text is None else meanings.get(_normal(text)) for text in coded.dictionary.to_pylist()]
    return pa.array(found, pa.string()).take(coded.indices)


@cache
def _meanings(available: tuple[str, ...], unavailable: tuple[str, ...]) -> Mapping[str, str]:
    """Normal form of each word to its meaning; what the data set states wins over the words that all have."""
    lists = ((AVAILABLE, YES), (UNAVAILABLE, NO), (available, YES), (unavailable, NO))
    return {_normal(word): meaning for some, meaning in lists for word in some}


def _normal(text: str) -> str:
    """Without case, spaces, ``-``, ``_``, the address of schema.org, and the zeros of ``1.0``."""
    word = re.sub(r"^https?://(www\.)?schema\.org/", "", text.strip().lower())
    return re.sub(r"\.0+$", "", re.sub(r"[\s_-]+", "", word) or word)


class UnknownValues:
    """Counts values that nobody mapped, by column; of each column, the first :data:`MOST_UNKNOWN` by themselves."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = {}

    def add(self, column: str, values: pa.Array) -> None:
        """Count values; each is clipped."""
        for pair in pc.call_function("value_counts", [values]).to_pylist():
            counts = self._counts.setdefault(column, Counter())
            text = clipped(str(pair["values"]), _LONGEST_SHOWN)
            counts[text if text in counts or len(counts) < MOST_UNKNOWN else OTHERS] += pair["counts"]

    def counts(self) -> dict[str, dict[str, int]]:
        """Column to value to rows."""
        return {column: dict(sorted(counts.items())) for column, counts in sorted(self._counts.items())}


def clipped(text: str, most: int) -> str:
    """Text of at most so many characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
