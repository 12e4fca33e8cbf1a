"""``recsys check FILES``: what event files hold, a ``dataset.toml`` that reads them, and what would be rejected.

What is found goes to the terminal, and the draft to standard output: ``recsys check events.csv > dataset.toml``. With
``--dataset`` the files are checked against a description that exists.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tomllib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import BinaryIO, Literal

import pyarrow as pa
import pyarrow.compute as pc

from recsys_assets.core.dataset import Dataset, DatasetError, load_dataset
from recsys_assets.core.events.batches import RawBatch
from recsys_assets.core.events.file_faults import DataFileError
from recsys_assets.core.events.ingest import parse_file
from recsys_assets.core.events.parse import Parsed
from recsys_assets.core.events.read import read_rows
from recsys_assets.core.events.vocabulary import UnknownValues
from recsys_assets.core.inspection.columns import ColumnFacts, facts_of, nested_facts, roles_of, texts_of
from recsys_assets.core.inspection.draft import REQUIRED, Inspected, draft, known_properties
from recsys_assets.core.inspection.sniff import sniff

ROWS = 200_000
_ISOLATED_DAYS = 30
_SHOWN = 4


@dataclass
class Outcome:
    """What became of the rows of all files of events."""

    days: Counter[date] = field(default_factory=Counter[date])
    users: set[object] = field(default_factory=set[object])
    items: set[object] = field(default_factory=set[object])
    pairs: Counter[tuple[object, object]] = field(default_factory=Counter[tuple[object, object]])
    rejected: Counter[str] = field(default_factory=Counter[str])


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; 0 if every file can be read and holds something the platform knows, else 1."""
    parser = argparse.ArgumentParser(prog="recsys check", description=__doc__)
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="csv, tsv, jsonl or parquet, also gz, xz, zst"
    )
    parser.add_argument("--dataset", help="check against this data set (a preset or a dataset.toml), draft nothing")
    parser.add_argument("--name", default="mine", help="of the data set that is drafted (default: %(default)s)")
    parser.add_argument(
        "--rows", type=int, default=ROWS, help="rows of each file to look at; 0: all (default: %(default)s)"
    )
    parser.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="user_id=NAME",
        help="which column is what, where its name does not tell; may be repeated",
    )
    asked = parser.parse_args(arguments)
    rows = asked.rows or sys.maxsize
    try:
        if asked.dataset is not None:
            return _check(asked.files, load_dataset(asked.dataset), rows)
        return _draft(asked.files, asked.name, rows, _stated(asked.column))
    except (DatasetError, ValueError) as error:
        _say(f"failed: {error}")
        return 1


def _stated(columns: Sequence[str]) -> dict[str, str]:
    parts = [part.partition("=") for part in columns]
    stated = {role: name for role, _, name in parts}
    known = {role for roles in REQUIRED.values() for role in roles} | {"event_type", "order_id", "quantity", "price"}
    if unknown := sorted(set(stated) - known):
        raise ValueError(f"--column {unknown[0]}: expected one of {', '.join(sorted(known))}, '=' and a column's name")
    return stated


def _draft(paths: Sequence[Path], name: str, rows: int, stated: dict[str, str]) -> int:
    inspected: list[Inspected] = []
    faults = 0
    for path in paths:
        try:
            file = inspect(path, rows, stated)
        except (DataFileError, OSError) as error:
            _say(f"{error}\n")
            faults += 1
        else:
            inspected.append(file)
            _say(_about(file))
    events = [file for file in inspected if file.kind == "events"]
    if not events:
        _say("no file of events was found, so nothing is drafted")
        return 1
    by_name = {path.name: path for path in paths}
    dataset = _dataset(draft(inspected, name, None))
    outcome = parsed([by_name[file.name] for file in events], dataset, rows)
    start = _first_day(outcome.days)
    repeats = not outcome.pairs or max(outcome.pairs.values()) > 1
    text = draft(inspected, name, start, repeats=repeats)
    sys.stdout.write(text)
    faults += _check(paths, _dataset(text), rows)
    return min(faults, 1)


def _check(paths: Sequence[Path], dataset: Dataset, rows: int) -> int:
    """Say what the data set makes of the files; 1 if it cannot read one of them."""
    faults = 0
    of_events: list[Path] = []
    for path in paths:
        kind = dataset.kind_of(path.name)
        if kind == "events":
            of_events.append(path)
        elif kind is None:
            faults += 1
            _say(f"{path.name}: the data set names no such file")
    try:
        _say(_summary(parsed(of_events, dataset, rows)))
        for path in paths:
            if dataset.kind_of(path.name) == "properties":
                _say(_properties(path, dataset, rows))
    except DataFileError as error:
        faults += 1
        _say(str(error))
    return min(faults, 1)


def inspect(path: Path, rows: int, stated: dict[str, str]) -> Inspected:
    """Look at a file.

    Args:
        path: of the file.
        rows: to look at.
        stated: the platform's name to the column's, for what a person knows better.

    Raises:
        DataFileError: it cannot be read.
    """
    with path.open("rb") as stream:
        spec, names, nested = sniff(stream, path.name)
    plain = {name: name for name in names if name not in nested}
    parts: dict[str, list[pa.Array]] = {name: [] for name in names}
    seen = 0
    with path.open("rb") as stream:
        for batch in _limited(read_rows(stream, path.name, spec, plain), rows):
            seen += batch.rows.num_rows
            texts = texts_of(batch.rows, path.name)
            for name in names:
                parts[name] += [texts[name]] if name in texts else []
    if not seen:
        raise DataFileError(f"{path.name}: has no row")
    texts = {name: pa.chunked_array(chunks, pa.string()) for name, chunks in parts.items() if chunks}
    columns = [facts_of(name, texts[name]) if name in texts else nested_facts(name, seen) for name in names]
    roles = roles_of(columns, stated, has_names=spec.column_names is None)
    return Inspected(path.name, spec, columns, roles, _property_values(roles, texts))


def _property_values(roles: Mapping[str, ColumnFacts], texts: Mapping[str, pa.ChunkedArray]) -> dict[str, ColumnFacts]:
    """What the values of prices and of availability are like, in a file of properties."""
    if not {"property", "value"} <= roles.keys():
        return {}
    stated, values = texts[roles["property"].name], texts[roles["value"].name]
    return {
        name: facts_of(raw, values.filter(pc.call_function("equal", [stated, pa.scalar(raw)])))
        for name, raw in known_properties(list(roles["property"].values)).items()
        if name in ("price", "available")
    }


def parsed(paths: Sequence[Path], dataset: Dataset, rows: int) -> Outcome:
    """What becomes of the rows of files of events."""
    outcome = Outcome()
    for path in paths:
        with path.open("rb") as stream:
            for result in _parsed("events", path, stream, dataset, rows):
                users, items = result.good["user_id"].to_pylist(), result.good["item_id"].to_pylist()
                outcome.days.update(result.good["dt"].to_pylist())
                outcome.users.update(users)
                outcome.items.update(items)
                outcome.pairs.update(zip(users, items, strict=True))
                outcome.rejected.update(result.rejected["reason"].to_pylist())
    outcome.users.discard(None)
    return outcome


def _properties(path: Path, dataset: Dataset, rows: int) -> str:
    good, ignored = 0, 0
    rejected: Counter[str] = Counter()
    unknown = UnknownValues()
    with path.open("rb") as stream:
        for result in _parsed("properties", path, stream, dataset, rows):
            good, ignored = good + result.good.num_rows, ignored + result.ignored
            rejected.update(result.rejected["reason"].to_pylist())
            for name, values in result.unknown.items():
                unknown.add(name, values)
    lines = [f"{path.name}: {good:,} properties; {ignored:,} that the data set does not name; {_counts(rejected)}"]
    lines += [
        f"  {name}: {sum(values.values()):,} rows with values that mean nothing that is known: {_some(values)}"
        for name, values in unknown.counts().items()
    ]
    return "\n".join(lines)


def _parsed(
    kind: Literal["events", "properties"], path: Path, stream: BinaryIO, dataset: Dataset, rows: int
) -> Iterator[Parsed]:
    """What becomes of the rows of a file, up to the batch that completes a number of them."""
    for batch, result in parse_file(kind, path.name, stream, dataset):
        yield result
        rows -= batch.num_rows
        if rows <= 0:
            return


def _limited(batches: Iterator[RawBatch], rows: int) -> Iterator[RawBatch]:
    """Batches up to the one that completes a number of rows."""
    for batch in batches:
        yield batch
        rows -= batch.num_rows
        if rows <= 0:
            return


def _first_day(days: Counter[date]) -> date | None:
    """The first day, without a few rows long before all others, such as times of 1970 or 2000."""
    ordered = sorted(days)
    for earlier, later in pairwise(ordered):
        few = days[earlier] <= max(1, median(days.values()) / 10)
        if later - earlier <= timedelta(days=_ISOLATED_DAYS) or not few:
            return earlier
    return ordered[-1] if ordered else None


def _dataset(text: str) -> Dataset:
    return Dataset.model_validate(tomllib.loads(text))


def _about(file: Inspected) -> str:
    """A file and its columns, for people."""
    spec = file.spec
    parts = [str(spec.format), spec.encoding if spec.format != "parquet" else ""]
    if spec.format in ("csv", "tsv"):
        parts += [f"separator {spec.separator_of(file.name)!r}", "no header" if spec.column_names else ""]
    rows = file.columns[0].rows
    width = max(len(column.name) for column in file.columns)
    becomes = {column.name: role for role, column in file.roles.items()}
    lines = [f"{file.name}: {', '.join(part for part in parts if part)}; {rows:,} rows looked at"]
    lines += [
        f"  {column.name:<{width}}  {becomes.get(column.name, '-'):<11}  {column.about}" for column in file.columns
    ]
    if file.item_properties:
        lines.append(
            f"  is not used: one row per item ({', '.join(file.item_properties.values())}); properties are read from "
            "rows of item, time, property and value; docs/own-data.md has the query that makes them"
        )
    elif file.kind is None:
        lines.append(
            f"  is not used: no column found for {', '.join(file.missing)}; --column {file.missing[0]}=NAME names one"
        )
    lines += [
        f"  every row counts as the same type of event; if {column.name!r} holds the types ({_some(column.values)}): "
        f"--column event_type={shlex.quote(column.name)}"
        for column in file.may_hold_types
    ]
    return "\n".join(lines) + "\n"


def _some(values: Collection[str]) -> str:
    return ", ".join(list(values)[:_SHOWN]) + (", …" if len(values) > _SHOWN else "")


def _summary(outcome: Outcome) -> str:
    events = sum(outcome.days.values())
    if not events:
        return f"0 events; {_counts(outcome.rejected)}"
    first, last = min(outcome.days), max(outcome.days)
    return (
        f"{events:,} events of {len(outcome.users):,} users and {len(outcome.items):,} items "
        f"on {len(outcome.days):,} days from {first} to {last}; {_counts(outcome.rejected)}"
    )


def _counts(rejected: Counter[str]) -> str:
    total = sum(rejected.values())
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in rejected.most_common())
    return f"{total:,} rejected ({reasons})" if total else "0 rejected"


def _say(text: str) -> None:
    with suppress(BrokenPipeError):
        sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    raise SystemExit(main())
