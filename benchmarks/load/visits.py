"""Who visits what: users and items of an event log, so that the API is asked what real visitors ask."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import IO

USER, ITEM = ("user_id", "visitorid", "userid", "userId"), ("item_id", "itemid", "movieId")
"""Names of the columns: canonical, RetailRocket's, MovieLens'."""
MOST = 200_000

Visit = tuple[int | str, int | str]


class VisitsError(ValueError):
    """A log of events cannot be used; the message says why."""


def read_visits(path: Path, user_ids: str, item_ids: str, most: int = MOST) -> list[Visit]:
    """Users and items of the first events of a log, in its order.

    Args:
        path: CSV with a header or JSON lines, either also as ``.gz``.
        user_ids: type of the ids, ``int64`` or ``string``.
        item_ids: likewise.
        most: events to read.

    Raises:
        VisitsError: a column is missing, an id is of the other type, or there is no event.
        FileNotFoundError: there is no such file.
    """
    visits: list[Visit] = []
    with _opened(path) as lines:
        for number, row in enumerate(islice(_rows(path, lines), most), 1):
            user, item = (next((row[name] for name in names if name in row), None) for names in (USER, ITEM))
            if user is None or item is None:
                raise VisitsError(f"{path}: expected columns {USER[0]} and {ITEM[0]}, found {', '.join(row)}")
            try:
                visits.append((_typed(user, user_ids), _typed(item, item_ids)))
            except ValueError:
                raise VisitsError(f"{path}: event {number}: the release has int64 ids, found {user}, {item}") from None
    if not visits:
        raise VisitsError(f"{path} has no events")
    return visits


def _opened(path: Path) -> IO[str]:
    return gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8", newline="")


def _rows(path: Path, lines: IO[str]) -> Iterator[Mapping[str, object]]:
    if ".jsonl" in path.name or ".ndjson" in path.name:
        yield from (json.loads(line) for line in lines if line.strip())
    else:
        yield from csv.DictReader(lines)


def _typed(value: object, id_type: str) -> int | str:
    return str(value) if id_type == "string" else int(str(value))
