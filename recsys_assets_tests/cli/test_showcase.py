"""Whom ``make run`` shows, and what people read of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recsys_assets.cli.showcase import showcase
from recsys_assets.storage.lineage import Lineage
from recsys_assets.storage.local import LocalStore
from recsys_assets.storage.partition_store import PartitionStore

DAY = "2025-01-31"
HISTORIES = [
    (1, [(10, "interaction")]),
    (2, [(10, "interaction"), (11, "purchase"), (12, "interaction")]),
    (3, [(10, "interaction"), (11, "interaction"), (12, "interaction"), (13, "interaction")]),
    (4, [(99, "purchase"), (10, "purchase"), (11, "purchase"), (12, "purchase")]),
    (5, [(item, "purchase") for item in range(10, 60)]),
    (6, [(10, "purchase"), (11, "purchase"), (12, "purchase"), (13, "purchase")]),
]


def stored(folder: Path, **frames: dict[str, list[Any]]) -> PartitionStore:
    partitions = PartitionStore(LocalStore(folder / "store"))
    for asset, columns in frames.items():
        path = folder / f"{asset}.parquet"
        frame = pl.DataFrame(columns)
        frame.write_parquet(path)
        partitions.write(asset, DAY, path, Lineage(asset, DAY, rows=len(frame), code_version="1"))
    return partitions


def history_of(users: list[int]) -> dict[str, list[Any]]:
    rows = [
        (user, item, rank, source)
        for user, items in HISTORIES
        if user in users
        for rank, (item, source) in enumerate(items, start=1)
    ]
    return dict(zip(("user_id", "item_id", "rank", "source"), map(list, zip(*rows, strict=True)), strict=True))


def similar_and_titled() -> dict[str, dict[str, list[Any]]]:
    return {
        "similar_items": {"item_id": [10, 11, 12]},
        "item_features": {"item_id": [10, 11, 12], "title": ["Bold tent", "Fine lamp", None]},
    }


@pytest.mark.parametrize(
    ("users", "shown"),
    [
        ([1, 2, 3, 5], "2"),  # a purchase says more than one more item; 5 is a program
        ([1, 3], "3"),
        ([2, 4], "2"),  # nothing is similar to the last item of 4
        ([2, 6], "6"),
    ],
)
def test_the_user_whose_history_shows_most_is_shown(tmp_path: Path, users: list[int], shown: str) -> None:
    partitions = stored(
        tmp_path, recommendations={"user_id": users}, user_histories=history_of([*users, 6]), **similar_and_titled()
    )
    found = showcase(partitions, DAY)
    assert found is not None
    assert found.user_id == shown
    assert found.last_item == "10"


def test_people_read_titles_sources_and_what_was_bought(tmp_path: Path) -> None:
    partitions = stored(
        tmp_path, recommendations={"user_id": [2]}, user_histories=history_of([2]), **similar_and_titled()
    )
    found = showcase(partitions, DAY)
    assert found is not None
    known = {"items": [{"item_id": 11, "source": "covisit"}, {"item_id": 12, "source": "als"}]}
    lines = found.about(known, {"items": [{"item_id": 10, "source": "trending"}]}, {"items": [{"item_id": 11}]})
    assert lines == [
        "user 2 had, newest first:",
        "    Bold tent (10)",
        "    Fine lamp (11), bought",
        "    12",
        "and gets, each with what proposed it:",
        "    Fine lamp (11), covisit",
        "    12, als",
        "a user who is not known gets:",
        "    Bold tent (10), trending",
        "similar to Bold tent (10):",
        "    Fine lamp (11)",
    ]


def test_users_without_history_and_ids_of_text_work(tmp_path: Path) -> None:
    partitions = stored(
        tmp_path,
        recommendations={"user_id": ["b", "a"]},
        user_histories={"user_id": ["c"], "item_id": ["x"], "rank": [1], "source": ["purchase"]},
        similar_items={"item_id": ["x"]},
        item_features={"item_id": ["x"], "title": ["Tent"]},
    )
    found = showcase(partitions, DAY)
    assert found is not None
    assert (found.user_id, found.last_item) == ("a", "x")
    assert found.unknown_id == "nobody-knows-me"


def test_nobody_is_shown_where_nobody_has_a_list(tmp_path: Path) -> None:
    none: dict[str, list[Any]] = {"user_id": []}
    partitions = stored(tmp_path, recommendations=none, user_histories=history_of([2]), **similar_and_titled())
    assert showcase(partitions, DAY) is None
