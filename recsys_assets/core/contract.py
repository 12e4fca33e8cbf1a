"""What a contract of a frame is; :mod:`recsys_assets.core.contracts` holds those of all frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa

IdType = Literal["int64", "string"]
DType = Literal["user", "item", "int64", "int32", "float64", "float32", "string", "bool", "date", "timestamp", "vector"]

_ARROW: dict[str, pa.DataType] = {
    "int64": pa.int64(),
    "int32": pa.int32(),
    "float64": pa.float64(),
    "float32": pa.float32(),
    "string": pa.string(),
    "bool": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "vector": pa.list_(pa.float32()),
}


@dataclass(frozen=True)
class IdTypes:
    """The id types that the data set states.

    Args:
        user: of users. Text ids are kept as they are written, without white space around them.
        item: of items.
    """

    user: IdType = "int64"
    item: IdType = "int64"


@dataclass(frozen=True)
class Column:
    """One column: its type, whether null is allowed, and the closed range or set its values lie in."""

    dtype: DType
    about: str
    nullable: bool = False
    ge: float | None = None
    le: float | None = None
    isin: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Contract:
    """One frame: columns in file order, the unique key, and the order of its rows."""

    name: str
    columns: Mapping[str, Column]
    key: tuple[str, ...]
    order: tuple[str, ...] = field(default=())
    """Columns to sort by when written; the key where empty. Always a total order, so that equal data is equal bytes."""

    @property
    def sort_by(self) -> tuple[str, ...]:
        """Columns that the rows are sorted by when written."""
        return self.order or self.key


def arrow_schema(contract: Contract, ids: IdTypes) -> pa.Schema:
    """The parquet schema of a contract for a data set's id types."""
    types = {**_ARROW, "user": _ARROW[ids.user], "item": _ARROW[ids.item]}
    return pa.schema(
        [pa.field(name, types[column.dtype], nullable=column.nullable) for name, column in contract.columns.items()]
    )
