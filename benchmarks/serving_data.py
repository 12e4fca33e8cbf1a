"""Releases of any size for the benchmark of the API, written by the product's own writers."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recsys_assets.core.models import session_model
from recsys_assets.core.models.sessions import fit
from recsys_assets.core.models.stored_arrays import from_bytes, write_mapped
from recsys_assets.storage.catalogue_writer import write_catalogue
from recsys_assets.storage.lists import list_files, write_lists
from recsys_assets.storage.releases import Published, Releases
from recsys_assets.storage.served_lists import model_file
from recsys_assets.storage.uri import open_store

Ints = npt.NDArray[np.int64]
DAY = "2015-08-02"
_GENERATORS = ("ranker", "cf_ensemble", "sessions", "popular", "content")
_SIMILAR, _POPULAR, _HISTORY, _CLICKS = 20, 200, 10, 4
_CATEGORIES = 1000
_FACTS = {
    "ids": {"user": "int64", "item": "int64"},
    "event_types": {"view": {"weight": 1.0, "target": False}, "purchase": {"weight": 5.0, "target": True}},
    "as_of_end": f"{DAY}T23:59:59+00:00",
}


@dataclass(frozen=True)
class Size:
    """Size of a release.

    Attributes:
        users: with ids 0, 1, ….
        length: of a user's list.
        items: likewise.
        sessions: in the session index.
    """

    users: int
    length: int
    items: int
    sessions: int


def write_release(folder: Path, size: Size) -> dict[str, Path]:
    """The files of a release, by name."""
    rng = np.random.default_rng(0)
    users, items = np.arange(size.users), np.arange(size.items)
    categories = pa.array([f"category:{number}" for number in range(_CATEGORIES)])
    segments = pa.concat_arrays([pa.array(["all"]), categories.take(pa.array(_text_order(_CATEGORIES)))])
    paths = [
        *_lists("recommendations", pa.array(users), size.length, size.items, rng, _GENERATORS, folder),
        *_lists("similar_items", pa.array(items), _SIMILAR, size.items, rng, ("fused",), folder),
        *_lists("top_popular", segments, _POPULAR, size.items, rng, ("popular",), folder),
        *_lists("user_histories", pa.array(users), _HISTORY, size.items, rng, ("interaction",), folder),
        write_catalogue(_catalogue(size.items, rng), folder),
        _session_index(size, rng, folder),
    ]
    return {path.name: path for path in paths}


def publish_both(store: str, size: Size) -> tuple[Published, Published]:
    """Publish two releases of one size.

    The scores of the first are below 1, those of the second above 2, so that an answer of both shows itself. The second
    shares all other files, and is the one that is served at the end.

    Args:
        store: URI.
        size: of each.
    """
    releases = Releases(open_store(store))
    with tempfile.TemporaryDirectory(prefix="release-") as name, tempfile.TemporaryDirectory(prefix="other-") as other:
        files = write_release(Path(name), size)
        first = releases.publish(DAY, files, _FACTS)
        rng = np.random.default_rng(1)
        users = pa.array(np.arange(size.users))
        paths = _lists("recommendations", users, size.length, size.items, rng, _GENERATORS, Path(other), 2.0)
        second = releases.publish(DAY, {**files, **{path.name: path for path in paths}}, _FACTS)
    return first, second


def file_sizes(release: Path) -> dict[str, int]:
    """Bytes of the recommendations, of the session index and of all files of a release."""
    sizes = {path.name: path.stat().st_size for path in release.iterdir()}
    return {
        "recommendations": sum(sizes[file] for file in list_files("recommendations")),
        "session index": sizes[model_file("session_model")],
        "all": sum(sizes.values()),
    }


def _lists(
    name: str,
    keys: pa.Array,
    length: int,
    items: int,
    rng: np.random.Generator,
    sources: Sequence[str],
    folder: Path,
    above: float = 0.0,
) -> list[Path]:
    """Lists of distinct items: a random first one, from which steps that have no common divisor lead on."""
    count = len(keys)
    step = items // (length + 1)
    ranks = np.arange(1, length + 1)
    listed = ((rng.integers(0, items, count)[:, None] + ranks * step) % items).ravel()
    rank = np.tile(ranks, count)
    table = pa.table(
        {
            "key": keys.take(pa.array(np.repeat(np.arange(count), length))),
            "rank": rank,
            "item_id": listed,
            "score": (above + 1.0 / (1 + rank)).astype(np.float32),
            "source": pa.array(list(sources)).take(pa.array((listed + rank) % len(sources))),
        }
    )
    return write_lists(table, "key", name, folder)


def _text_order(count: int) -> Ints:
    """Numbers in the order of their decimal text, as keys of lists must be."""
    return np.argsort(np.arange(count).astype(np.str_))


def _catalogue(items: int, rng: np.random.Generator) -> pa.Table:
    category = rng.integers(0, _CATEGORIES, items)
    names = pa.array([str(number) for number in range(_CATEGORIES)])
    return pa.table(
        {
            "item_id": np.arange(items),
            "category_id": names.take(pa.array(category)),
            "root_id": names.take(pa.array(category % 20)),
            "depth": np.full(items, 2),
            "available": rng.random(items) < 0.95,
            "price": np.round(rng.lognormal(3.0, 1.0, items), 2),
            "first_seen": pa.array(rng.integers(15_000, 16_600, items).astype(np.int32)).cast(pa.date32()),
        }
    )


def _session_index(size: Size, rng: np.random.Generator, folder: Path) -> Path:
    """The index of sessions that stay near a first item, drawn by Zipf's law."""
    rows = size.sessions * _CLICKS
    first = (rng.zipf(1.2, size.sessions) % size.items) * 7919
    near = np.repeat(first, _CLICKS) + rng.integers(0, 30, rows)
    sessions = pa.table(
        {
            "session_id": np.repeat(np.arange(size.sessions), _CLICKS),
            "item_id": near % size.items,
            "ts": np.arange(rows),
        }
    )
    path = folder / model_file("session_model")
    write_mapped(path, *from_bytes(session_model.to_bytes(fit(sessions))))
    return path
