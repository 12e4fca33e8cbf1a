"""How the files of a data set are written: their columns, and the forms of their times, numbers and words.

Whatever has one meaning is read without being stated. Whatever has several, such as ``01/02/2025`` or ``1,234``, is
read only where ``dataset.toml`` says how.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from recsys_assets.core.written_times import check_format, zone_of

Format = Literal["csv", "tsv", "jsonl", "parquet"]
TimeUnit = Literal["s", "ms", "us", "ns", "iso"]
Property = Literal["category", "available", "price", "brand", "title"]

COMPRESSIONS = ("gz", "xz", "zst")
AVAILABLE = (
    *("1", "true", "t", "yes", "y", "on", "available", "in stock", "limited availability", "low stock"),
    *("in store only", "online only", "made to order", "preorder", "presale", "backorder"),
)
"""Words that mean "can be bought or ordered" unless a data set says otherwise; those of schema.org and shop feeds."""
UNAVAILABLE = (
    *("0", "false", "f", "no", "n", "off", "unavailable", "not available", "out of stock", "oos"),
    *("sold out", "discontinued", "reserved"),
)
"""Words that mean the opposite."""
ROOTS = ("", "0", "-1", "null", "none", "nan", "n/a", "na", "\\N")
"""What stands for the parent of a root; no case."""

_SUFFIXES: dict[str, Format] = {
    "csv": "csv",
    "tsv": "tsv",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "parquet": "parquet",
}


class DatasetError(ValueError):
    """A data set cannot be found, or its file is not valid."""


class Model(BaseModel):
    """A part of a ``dataset.toml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FileSpec(Model):
    """Files of one kind in the landing zone and how their bytes are read.

    Args:
        files: patterns such as ``events*.csv*``; one without ``/`` is matched against the file's name, others against
            its path below the landing zone.
        format: of all files; None infers it from each name (``.csv.gz`` is csv).
        separator: between the fields of csv and tsv; None means ``,`` and tab. A first line ``sep=;``, as Excel writes
            it, is followed.
        quote: around fields that contain a separator or a newline; empty if quotes have no meaning. With it, an id with
            an odd number of quotes in it is taken for damage, and its row rejected.
        column_names: the columns in order, for csv and tsv without a header; None if the first line names them.
        encoding: of text files, by its name in Python. A byte order mark of UTF-8, UTF-16 or UTF-32 is followed.
    """

    files: tuple[str, ...] = Field(min_length=1)
    format: Format | None = None
    separator: str | None = Field(default=None, min_length=1, max_length=1)
    quote: str = Field(default='"', max_length=1)
    column_names: tuple[str, ...] | None = None
    encoding: str = "utf-8"

    @field_validator("encoding")
    @classmethod
    def _is_an_encoding(cls, encoding: str) -> str:
        try:
            "".encode(encoding)
        except LookupError as error:
            raise ValueError(
                "expected the name of a text encoding in Python, such as utf-8, cp1252 or utf-16"
            ) from error
        return encoding

    def matches(self, name: str) -> bool:
        """Whether the file at this path below the landing zone is one of them."""
        base = PurePosixPath(name).name
        return any(fnmatchcase(name if "/" in pattern else base, pattern) for pattern in self.files)

    def format_of(self, name: str) -> Format:
        """The format of a file.

        Raises:
            DatasetError: neither the data set nor the file's name states it.
        """
        if self.format is not None:
            return self.format
        parts = PurePosixPath(name).name.lower().split(".")
        suffix = parts[-2] if parts[-1] in COMPRESSIONS and len(parts) > 2 else parts[-1]
        if suffix not in _SUFFIXES:
            raise DatasetError(
                f"{name}: cannot tell the format from the name; state format (csv, tsv, jsonl or parquet)"
            )
        return _SUFFIXES[suffix]

    def separator_of(self, name: str) -> str:
        """The separator between the fields of a csv or tsv file."""
        return self.separator or ("\t" if self.format_of(name) == "tsv" else ",")


class NumberFormat(Model):
    """How prices and quantities are written; a value of another form is unknown, never another number.

    Args:
        decimal: before the decimals.
        thousands: between groups of three digits; empty if there is nothing between them. A space is also the
            non-breaking and the narrow one.
        affixes: texts before or after a number that do not change it, such as ``EUR`` or ``€``; any case.
    """

    decimal: Literal[".", ","] = "."
    thousands: Literal["", ".", ",", " ", "'", "_"] = ""
    affixes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _can_be_told_apart(self) -> Self:
        if self.decimal == self.thousands:
            raise ValueError(f"decimal and thousands must differ, found {self.decimal!r} for both")
        return self


class EventNumbers(NumberFormat):
    """How the numbers of events are written; a column that is written otherwise has a format of its own.

    Args:
        price: how prices are written, where that is another way; nothing of the other fields holds for them then.
        quantity: how quantities are written, likewise.
    """

    price: NumberFormat | None = None
    quantity: NumberFormat | None = None

    def of(self, column: Literal["price", "quantity"]) -> NumberFormat:
        """How the numbers of a column are written."""
        shared = NumberFormat(decimal=self.decimal, thousands=self.thousands, affixes=self.affixes)
        return (self.price if column == "price" else self.quantity) or shared


class TimedFileSpec(FileSpec):
    """Files with a time in each row.

    Args:
        time_unit: of ``ts``: units since 1970 (decimals allowed), or ``iso``: ISO 8601 text, also with `` UTC``, a
            short offset (``+00``), a zone (``[Europe/Berlin]``) or without separators (``20250131T235959Z``). Columns
            of times in parquet are read whatever is stated here.
        time_format: of ``ts``, in place of ``time_unit``: ``dd.mm.yyyy hh:mm:ss`` or the like, of ``yyyy``, ``yy``,
            ``mm``, ``mon`` (Jan), ``dd``, ``hh``, ``mm`` after hours, ``ss``, ``am`` (am or pm); days, months and
            hours also with one digit, seconds also with decimals.
        time_zone: of times that name none, such as ``Europe/Berlin``. An hour that the clock repeats in autumn is
            taken as the first of the two, and counted; a time that the clock skips in spring is rejected.
    """

    time_unit: TimeUnit | None = None
    time_format: str | None = None
    time_zone: str = "UTC"

    @field_validator("time_format")
    @classmethod
    def _is_a_format(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            check_format(pattern)
        return pattern

    @field_validator("time_zone")
    @classmethod
    def _is_a_zone(cls, zone: str) -> str:
        if zone_of(zone) is None:
            raise ValueError("expected a time zone such as Europe/Berlin or UTC")
        return zone

    @model_validator(mode="after")
    def _one_form_of_time(self) -> Self:
        if (self.time_unit is None) == (self.time_format is None):
            raise ValueError("state either time_unit (s, ms, us, ns or iso) or time_format")
        if self.time_zone != "UTC" and self.time_unit not in (None, "iso"):
            raise ValueError(f"time_zone has no meaning for units since 1970 (time_unit {self.time_unit!r})")
        return self


class PropertyColumns(Model):
    """The names in the files of the columns of item properties.

    Args:
        item_id: of the item.
        ts: of the time at which the value holds from.
        property: of the property's name.
        value: of its value.
    """

    item_id: str
    ts: str
    property: str
    value: str


class AvailabilityWords(Model):
    """What the values of the property ``available`` mean, beside the words of schema.org and shop feeds.

    Case, spaces, ``-``, ``_`` and the address of schema.org before a word do not matter. A value in no list is
    unknown: it is counted, and such an item counts as available only as one does whose availability was never stated.

    Args:
        available: further words for items that can be bought or ordered.
        unavailable: further words for items that cannot.
    """

    available: tuple[str, ...] = ()
    unavailable: tuple[str, ...] = ()


class PropertiesSpec(TimedFileSpec):
    """Files of item properties over time.

    Args:
        columns: the names of the columns.
        names: our name to the data set's, of properties that have a meaning; others are ignored.
        availability: what the values of ``available`` mean.
        numbers: how prices are written.
    """

    columns: PropertyColumns
    names: dict[Property, str] = Field(min_length=1)
    availability: AvailabilityWords = AvailabilityWords()
    numbers: NumberFormat = NumberFormat()


class CategoryColumns(Model):
    """The names in the files of the columns of the category tree.

    Args:
        category_id: of the category.
        parent_id: of the category above it.
    """

    category_id: str
    parent_id: str


class CategoriesSpec(FileSpec):
    """Files of the category tree.

    Args:
        columns: the names of the columns.
        root: what stands for the parent of a root, in any case, unless a row has it as its category. A category that
            is its own parent is a root too.
    """

    columns: CategoryColumns
    root: tuple[str, ...] = ROOTS


class EmbeddingColumns(Model):
    """The names in the files of the columns of item embeddings.

    Args:
        item_id: of the item.
        embedding: of its vector.
    """

    item_id: str
    embedding: str


class EmbeddingsSpec(FileSpec):
    """Files of item embeddings: a list of numbers per item, all of one length.

    Args:
        columns: the names of the columns.
    """

    columns: EmbeddingColumns
