"""What ``make run`` shows of a finished release: a user with a history, that user's list, and what is similar to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from recsys_assets.core.gate.promotion import Promotion
from recsys_assets.storage.partition_store import PartitionStore
from recsys_assets.storage.scratch import temporary_folder

SHOWN = 5
_MOST_ITEMS = 30
"""Users with more items than this are rather resellers or programs than somebody to look at."""


@dataclass(frozen=True)
class Showcase:
    """A user to look at.

    Args:
        user_id: with recommendations of their own.
        history: the user's items, newest first, and whether each was purchased.
        titles: of all items that have one, by id.
        unknown_id: an id that no user has.
    """

    user_id: str
    history: Sequence[tuple[str, bool]]
    titles: Mapping[str, str]
    unknown_id: str

    @property
    def last_item(self) -> str:
        """The item that the user touched last."""
        return self.history[0][0]

    def named(self, item_id: object) -> str:
        """An item as people read it."""
        title = self.titles.get(str(item_id))
        return f"{title} ({item_id})" if title else str(item_id)

    def about(self, known: Mapping[str, Any], unknown: Mapping[str, Any], similar: Mapping[str, Any]) -> list[str]:
        """Lines for people.

        Args:
            known: answer of ``GET /recommendations`` for the user.
            unknown: the same for the id that no user has.
            similar: of ``GET /similar`` for the last item.
        """
        past = [f"{self.named(item)}{', bought' if bought else ''}" for item, bought in self.history[:SHOWN]]
        more = len(self.history) - len(past)
        return [
            f"user {self.user_id} had, newest first:",
            *_indented([*past, *([f"and {more} more"] if more else [])]),
            "and gets, each with what proposed it:",
            *_indented(f"{self.named(item['item_id'])}, {item['source']}" for item in known["items"]),
            "a user who is not known gets:",
            *_indented(f"{self.named(item['item_id'])}, {item['source']}" for item in unknown["items"]),
            f"similar to {self.named(self.last_item)}:",
            *_indented(self.named(item["item_id"]) for item in similar["items"]),
        ]


def showcase(partitions: PartitionStore, day: str) -> Showcase | None:
    """The user of a day whose history shows most: many items, but no program's; None if nobody has a list.

    Of users without a history only the id is shown.

    Args:
        partitions: of the store.
        day: as-of day of a release, ``YYYY-MM-DD``.
    """
    with temporary_folder("shown-") as folder:
        listed = _read(partitions, "recommendations", day, folder, ["user_id"]).unique()
        histories = _read(partitions, "user_histories", day, folder, ["user_id", "item_id", "rank", "source"])
        similar = _read(partitions, "similar_items", day, folder, ["item_id"]).unique()
        features = _read(partitions, "item_features", day, folder, ["item_id", "title"])
    if listed.is_empty():
        return None
    kind = listed["user_id"].dtype
    unknown = str(2**62) if kind == pl.Int64 else "nobody-knows-me"
    known = histories.join(listed, on="user_id", how="semi")
    # The last item must have similar ones, and what was purchased says more than what was looked at.
    answered = known.filter(pl.col("rank") == 1).join(similar, on="item_id", how="semi").select("user_id")
    users = (
        known.join(answered, on="user_id", how="semi")
        .group_by("user_id")
        .agg(items=pl.len(), bought=(pl.col("source") == "purchase").sum())
        .filter(pl.col("items") <= _MOST_ITEMS)
        .sort(pl.col("bought").clip(upper_bound=2), "items", "user_id", descending=[True, True, False])
    )
    user = users["user_id"][0] if len(users) else listed["user_id"].min()
    rows = known.filter(pl.col("user_id") == user).sort("rank")
    if rows.is_empty():
        return Showcase(str(user), [(str(similar["item_id"].min()), False)], {}, unknown)
    named = features.drop_nulls("title")
    return Showcase(
        str(user),
        [(str(item), source == "purchase") for item, source in rows.select("item_id", "source").iter_rows()],
        {str(item): title for item, title in named.iter_rows()},
        unknown,
    )


def who_orders(partitions: PartitionStore, day: str) -> str:
    """Who orders the lists of a day and why, in one sentence."""
    with temporary_folder("shown-") as folder:
        decided = Promotion.from_json(partitions.fetch("promotion", day, Path(folder)).read_text("utf-8"))
    return f"lists are ordered by {decided.order_by}: {decided.why}"


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _read(partitions: PartitionStore, asset: str, day: str, folder: str, columns: Sequence[str]) -> pl.DataFrame:
    return pl.read_parquet(partitions.fetch(asset, day, Path(folder)), columns=list(columns))
