"""Turns frames of lists and targets into the arrays that the metrics need."""

from __future__ import annotations

from dataclasses import dataclass

import narwhals as nw
import numpy as np
import pyarrow as pa

from recsys_assets.core.engine import Frame
from recsys_assets.core.evaluation.metrics import Bools, Floats, Ints
from recsys_assets.core.frames import dense_rank

_PAIR = ["user_id", "item_id"]


@dataclass(frozen=True)
class Lists:
    """One contender's lists; row u of each array is the u-th user evaluated.

    Attributes:
        hits: [users, length] whether the item at that place is a target.
        self_information: [users, length] -log2 of the share of past users who have the item; NaN past the list's end.
        items: [entries] ids of the items at those places.
        owners: [entries] the row of the user whose list holds the item.
        places: [entries] their 1-based places.
        recalled: [users] number of targets anywhere in the list, however long it is.
        longest: places in the longest list.
    """

    hits: Bools
    self_information: Floats
    items: pa.ChunkedArray
    owners: Ints
    places: Ints
    recalled: Ints
    longest: int

    def coverage(self, k: int, catalogue_size: int) -> float:
        """Share of the catalogue that is in at least one list cut to k; 0 for an empty catalogue."""
        shown = len(self.items.filter(pa.array(self.places <= k)).unique())
        return shown / catalogue_size if catalogue_size else 0.0


def popularity(pairs: Frame) -> Frame:
    """How many users have each item, for novelty.

    Args:
        pairs: user_id, item_id of the time before the window; repeated pairs count once.

    Returns:
        Frame of item_id, ``users`` who have it, and ``known_users``, all distinct users (the same in each row).
    """
    distinct = pairs.select(_PAIR).unique(subset=_PAIR)
    all_users = distinct.select(known_users=nw.col("user_id").n_unique().cast(nw.Int64))
    return distinct.group_by("item_id").agg(users=nw.len().cast(nw.Int64)).join(all_users, how="cross")


class Evaluator:
    """The users and targets of one window; reads the lists of those users.

    Args:
        targets: user_id, item_id of the window's target events; repeated pairs count once.
        popular: frame as :func:`popularity` gives it.
        users: user_id of those who had candidates; None evaluates every user with a target.
    """

    def __init__(self, targets: Frame, popular: Frame, users: Frame | None = None):
        distinct = targets.select(_PAIR).filter(~nw.col("user_id").is_null()).unique(subset=_PAIR)
        if users is not None:
            distinct = distinct.join(users.select("user_id"), on="user_id", how="semi")
        self._plan = distinct
        self._targets = distinct.collect(backend="polars")
        counts = self._targets.group_by("user_id").agg(targets=nw.len()).sort("user_id")
        self._users = counts.with_row_index("u").with_columns(nw.col("u").cast(nw.Int64))
        self.users: list[int] | list[str] = counts["user_id"].to_list()
        self.targets: Ints = counts["targets"].to_numpy().astype(np.int64)
        self._popular = popular.collect(backend="polars")
        self._known_users = int(self._popular["known_users"].max()) if len(self._popular) else 0

    def read(self, lists: Frame, length: int) -> Lists:
        """Collect the lists of the users evaluated.

        Lists are ordered by rank, equal ranks by item_id; an item that occurs twice counts at its better rank.

        Args:
            lists: user_id, item_id, rank; on the engine that the targets came from.
            length: places to keep, at least 1.
        """
        of_users = lists.select(*_PAIR, "rank").join(self._plan.select("user_id").unique(), on="user_id", how="semi")
        best = of_users.collect(backend="polars").lazy().group_by(_PAIR).agg(up=-nw.col("rank").min())
        rows = (
            dense_rank(best, ["user_id"], "up", ["item_id"], name="place")
            .join(self._users.lazy().select("user_id", "u"), on="user_id")
            .join(self._targets.lazy().with_columns(hit=nw.lit(True)), on=_PAIR, how="left")
            .with_columns(nw.col("hit").fill_null(False))
            .filter((nw.col("place") <= length) | nw.col("hit") | (nw.col("place") == nw.col("place").max()))
            .join(self._popular.lazy().select("item_id", "users"), on="item_id", how="left")
            .with_columns(nw.col("users").fill_null(1))
            .sort("u", "place")
            .collect(backend="polars")
        )
        user, place, hit = (rows[name].to_numpy() for name in ("u", "place", "hit"))
        shown = place <= length
        at = (user[shown], place[shown] - 1)
        hits = np.zeros((len(self.targets), length), dtype=np.bool_)
        hits[at] = hit[shown]
        self_information = np.full(hits.shape, np.nan)
        if self._known_users:
            self_information[at] = -np.log2(rows["users"].to_numpy()[shown] / self._known_users)
        return Lists(
            hits=hits,
            self_information=self_information,
            items=rows.to_arrow().column("item_id").filter(pa.array(shown)),
            owners=user[shown],
            places=place[shown],
            recalled=np.bincount(user[hit], minlength=len(self.targets)),
            longest=int(place.max()) if len(place) else 0,
        )
