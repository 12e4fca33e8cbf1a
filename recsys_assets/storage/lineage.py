"""The lineage record, which is stored beside the data of each partition."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from typing import Any, cast

from recsys_assets.storage.objects import Json, canonical_json, sha256_bytes

FORMAT_VERSION = 1
DATA_FILE = "data.parquet"


@dataclass(frozen=True, order=True)
class Input:
    """One partition that was read: its asset, its day and the hash of its bytes."""

    asset: str
    day: str
    sha256: str


@dataclass(frozen=True)
class Lineage:
    """A partition and everything that determines its bytes.

    Attributes:
        asset: name.
        day: ``YYYY-MM-DD``.
        rows: of the data; 0 where it is not a table.
        code_version: of the code that computed it.
        params: parameters that it depends on.
        seed: None if nothing in it is random.
        inputs: the partitions that it was computed from, in any order.
        run_id: the run that computed it; does not affect the content.
        file: name of the data file within the partition.
        sha256: hex, of the data file; empty until the partition is written.
        bytes: size of the data file; 0 until the partition is written.
        format_version: of this record.
        fingerprint: of what was stated and decides the bytes; see :mod:`recsys_assets.storage.stated`. Empty in records
            of versions that did not know it.
    """

    asset: str
    day: str
    rows: int
    code_version: str
    params: Mapping[str, Json] = field(default_factory=dict[str, Json])
    seed: int | None = None
    inputs: tuple[Input, ...] = ()
    run_id: str = ""
    file: str = DATA_FILE
    sha256: str = ""
    bytes: int = 0
    format_version: int = FORMAT_VERSION
    fingerprint: str = ""


def encode(lineage: Lineage) -> bytes:
    """Canonical JSON of a record: equal records give equal bytes."""
    return canonical_json(cast(Json, {**asdict(lineage), "inputs": [asdict(i) for i in sorted(lineage.inputs)]}))


def decode(data: bytes, uri: str) -> Lineage:
    """Read a record; ``ValueError`` names ``uri`` if it is invalid or of another format."""
    try:
        record: dict[str, Any] = json.loads(data)
        version = record["format_version"]
        if version != FORMAT_VERSION:
            raise ValueError(f"{uri}: lineage format_version: expected {FORMAT_VERSION}, found {version!r}")
        record["inputs"] = tuple(Input(**entry) for entry in record["inputs"])
        return Lineage(**record)
    except (KeyError, TypeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{uri}: not a lineage record: {error!r}") from error


def same_facts(first: Lineage, second: Lineage) -> bool:
    """Whether two records are equal except for the run."""
    return content_hash(first) == content_hash(second)


def content_hash(lineage: Lineage) -> str:
    """Hex SHA-256 of a record without the run: equal if the same data were computed from the same inputs."""
    return sha256_bytes(encode(replace(lineage, run_id="")))


def check_day(day: str) -> str:
    """Return the day if it is ``YYYY-MM-DD``, else raise ``ValueError``."""
    try:
        valid = date.fromisoformat(day).isoformat() == day
    except ValueError:
        valid = False
    if not valid:
        raise ValueError(f"day {day!r}: expected YYYY-MM-DD")
    return day


def check_name(name: str) -> str:
    """Return the name of an asset or a file if it is valid on every store, else raise ``ValueError``."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ValueError(f"name {name!r}: expected letters, digits, '.', '_' and '-', beginning with a letter or digit")
    return name
