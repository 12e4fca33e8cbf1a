"""Why the first items of each list stand where they do, as a release holds it: ``explanations.arrow``.

The file has ``items`` rows for each list, in the order of the lists and of their ranks; those of a list that is shorter
are null. So the place of a row says what it is about, and neither users nor items are stored again. Few requests ask
why, so rows are compressed, in batches of :data:`LISTS` lists: a request unpacks one of them.

=================== ===============================================================================================
``<generator>_rank`` uint16, null where the generator did not propose the item
``feature_<n>``      uint16: which of the features in the metadata weighed most, second most, …; null where none did
``value_<n>``        float32, its value; null is unknown
``contribution_<n>`` float32, what it adds to the score
``others``           float32, what all other features add
=================== ===============================================================================================
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

EXPLANATIONS_FILE = "explanations.arrow"
FORMAT_VERSION = 1
LISTS = 1024
"""Lists of a batch."""
_FORMAT_KEY, _FACTS_KEY = b"recsys.explanations", b"recsys.explanations.facts"
_RANK, _FEATURE = "_rank", "feature_"


class ExplanationFormatError(ValueError):
    """A table cannot be written as explanations, or a file does not have the format."""


class Contribution(NamedTuple):
    """A feature that weighed.

    Attributes:
        name: of the feature.
        value: None is unknown.
        contribution: what it adds to the score.
    """

    name: str
    value: float | None
    contribution: float


class Explanation(NamedTuple):
    """Why an item stands where it does.

    Attributes:
        generators: those that proposed the item, by name, with the rank that each gave it.
        features: those that weighed most, the strongest first.
        others: what all other features add.
        baseline: the score without any contribution.
    """

    generators: dict[str, int]
    features: list[Contribution]
    others: float
    baseline: float


def write_explanations(table: pa.Table, lists: pa.Array, folder: Path) -> Path:
    """Write the explanations of a release; equal tables give equal bytes.

    Args:
        table: frame of contract EXPLANATIONS, sorted by its key.
        lists: the users that have lists, ascending, as the released lists have them.
        folder: of the file.

    Raises:
        ExplanationFormatError: the explanations are of other users than the lists.
    """
    ranks: NDArray[np.int64] = table["rank"].cast(pa.int64()).to_numpy()
    users = table["user_id"].filter(pa.array(ranks == 1)).cast(lists.type)
    if not users.equals(pa.chunked_array([lists])):
        raise ExplanationFormatError(f"explanations: of {len(users)} users, there are lists of {len(lists)} others")
    items = int(ranks.max(initial=0))
    place = np.full(len(users) * items, -1)
    place[(np.cumsum(ranks == 1) - 1) * items + ranks - 1] = np.arange(len(ranks))
    rows = table.take(pa.array(place, mask=place < 0))
    names, columns = _columns(rows)
    facts = {
        "baseline": float(table["baseline"][0].as_py()) if table.num_rows else 0.0,
        "features": names,
        "items": items,
        "lists": len(users),
    }
    metadata = {_FORMAT_KEY: str(FORMAT_VERSION).encode(), _FACTS_KEY: json.dumps(facts, sort_keys=True).encode()}
    narrow = pa.table(columns).replace_schema_metadata(metadata)
    path = folder / EXPLANATIONS_FILE
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, narrow.schema, options=options) as writer:
        for start in range(0, len(place), max(1, LISTS * items)):
            writer.write_batch(narrow.slice(start, LISTS * items).combine_chunks().to_batches()[0])
    return path


class Explanations:
    """The explanations of a release, mapped. Immutable.

    Args:
        path: of the file.

    Raises:
        FileNotFoundError: the file does not exist.
        ExplanationFormatError: it is not Arrow IPC, or of another format version.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._reader: Any = pa.ipc.open_file(pa.memory_map(str(path)))
        except pa.ArrowInvalid as error:
            raise ExplanationFormatError(f"{path}: not an Arrow IPC file: {error}") from error
        metadata = self._reader.schema.metadata or {}
        version = metadata.get(_FORMAT_KEY, b"none").decode()
        if version != str(FORMAT_VERSION):
            raise ExplanationFormatError(f"{path}: must be explanations of format {FORMAT_VERSION}, found {version}")
        facts = json.loads(metadata[_FACTS_KEY])
        self.lists: int = facts["lists"]
        """Number of lists."""
        self.items: int = facts["items"]
        """Items of a list that are explained."""
        self._features: list[str] = facts["features"]
        self._baseline: float = facts["baseline"]
        names = self._reader.schema.names
        self._generators = [name.removesuffix(_RANK) for name in names if name.endswith(_RANK)]
        self._places = [name.removeprefix(_FEATURE) for name in names if name.startswith(_FEATURE)]

    def of_list(self, position: int) -> list[Explanation]:
        """The explanations of the first items of a list, in the order of its ranks.

        Args:
            position: of the list among all, from 0.
        """
        batch, at = divmod(position, LISTS)
        rows = self._reader.get_batch(batch).slice(at * self.items, self.items).to_pylist()
        return [self._explanation(row) for row in rows if row["others"] is not None]

    def _explanation(self, row: dict[str, Any]) -> Explanation:
        ranks = {name: row[f"{name}{_RANK}"] for name in self._generators}
        return Explanation(
            {name: rank for name, rank in ranks.items() if rank is not None},
            [
                Contribution(self._features[feature], row[f"value_{place}"], row[f"contribution_{place}"])
                for place in self._places
                if (feature := row[f"{_FEATURE}{place}"]) is not None
            ],
            row["others"],
            self._baseline,
        )


def _columns(rows: pa.Table) -> tuple[list[str], dict[str, pa.ChunkedArray]]:
    """The names of all features, ascending, and the columns of the file."""
    named = [name for name in rows.column_names if name.startswith(_FEATURE)]
    names = sorted({name for column in named for name in rows[column].unique().to_pylist() if name is not None})
    lookup = pc.SetLookupOptions(value_set=pa.array(names, pa.string()))
    found: dict[str, pa.ChunkedArray] = {}
    for column in rows.column_names:
        values = rows[column]
        if column in named:
            found[column] = pc.call_function("index_in", [values], lookup).cast(pa.uint16())
        elif column.endswith(_RANK):
            found[column] = values.cast(pa.uint16())
        elif column not in ("user_id", "item_id", "rank", "baseline"):
            found[column] = values
    return names, found
