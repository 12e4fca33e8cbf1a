"""Examples in the form that CatBoost takes: groups with a positive, some of them apart to stop and to judge by."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys_assets.core.contracts import FEATURE_COLUMNS
from recsys_assets.core.evaluation.metrics import Bools, Floats, Ints, hits_at, ndcg


class NotEnoughExamples(ValueError):  # noqa: N818 - the state of a young data set, not a mistake
    """Too few users have a positive example to train on some and hold out others."""


def features(table: pa.Table, columns: Sequence[str] = FEATURE_COLUMNS) -> NDArray[np.float32]:
    """The feature matrix [rows, columns] of candidates; null becomes NaN.

    CatBoost gets numpy, never a frame: its reader of Polars frames crashes on categorical columns.

    Raises:
        ValueError: a feature column is missing.
    """
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise ValueError(f"candidates: feature columns expected but not found: {', '.join(missing)}")
    # Column after column, as the table lies in memory and as CatBoost reads it: twice as fast as row after row.
    matrix = np.empty((len(columns), table.num_rows), dtype=np.float32)
    for at, name in enumerate(columns):
        matrix[at] = table.column(name).cast(pa.float32(), safe=False).to_numpy()
    return matrix.T


def held_out(users: Sequence[int] | Sequence[str], share: float, seed: int) -> Bools:
    """Which of some distinct users are held out: a share of them, at least one, the first by a hash of seed and id."""
    hashes = [hashlib.blake2b(f"{seed}:{user}".encode(), digest_size=8).digest() for user in users]
    out = np.zeros(len(users), dtype=np.bool_)
    out[sorted(range(len(users)), key=hashes.__getitem__)[: max(1, round(share * len(users)))]] = True
    return out


@dataclass(frozen=True)
class Split:
    """Examples of groups with a positive, some to learn from and some apart.

    A group (a list to order) is one user in one window.

    Attributes:
        rows: the examples, sorted.
        group: [rows] code of the group.
        user: [rows] code of the user.
        apart: [rows] whether the group is held out, to stop and to judge by.
        columns: the features.
    """

    rows: pa.Table
    group: Ints
    user: Ints
    apart: Bools
    columns: tuple[str, ...]

    @cached_property
    def labels(self) -> Floats:
        """[rows] 1 for a target."""
        return _labels(self.rows)

    @cached_property
    def matrix(self) -> NDArray[np.float32]:
        """[rows, columns]; null is NaN."""
        return features(self.rows, self.columns)

    def pools(self, start: Floats | None = None) -> tuple[Any, Any]:
        """What CatBoost learns from, and what it stops by, as its pools.

        Args:
            start: [rows] scores that the trees are to correct; None where they start from nothing.
        """
        from catboost import Pool

        learn, evaluator = (
            Pool(
                self.matrix[part],
                self.labels[part],
                group_id=self.group[part],
                feature_names=list(self.columns),
                baseline=None if start is None else start[part],
            )
            for part in (~self.apart, self.apart)
        )
        return learn, evaluator

    def of(self, rows: Bools) -> Split:
        """The same of some rows [rows]; whole groups, or the lists change."""
        return Split(
            self.rows.filter(pa.array(rows)), self.group[rows], self.user[rows], self.apart[rows], self.columns
        )

    def users(self, *, apart: bool) -> int:
        """How many have a positive on one side."""
        return len(np.unique(self.user[self.apart == apart]))

    def ids_apart(self) -> list[int] | list[str]:
        """The users who are held out."""
        found: list[int] | list[str] = self.rows.column("user_id").filter(pa.array(self.apart)).unique().to_pylist()
        return found

    def ndcg(self, scores: Floats, k: int) -> Floats:
        """NDCG [lists held out], ideal over the positives among the candidates.

        Args:
            scores: [rows held out]; rows are sorted so that equal scores stand by item_id.
            k: length of the lists.
        """
        labels = self.labels[self.apart]
        _, group = np.unique(self.group[self.apart], return_inverse=True)
        hits = hits_at(group, labels > 0, scores, k)
        return ndcg(hits, np.bincount(group, weights=labels).astype(np.int64), k)


def split_by_users(
    examples: pa.Table, min_users: int, share: float, seed: int, columns: Sequence[str] = FEATURE_COLUMNS
) -> Split:
    """Hold out some users, in all windows.

    Args:
        examples: table of contract RANKING_EXAMPLES, with ``dt`` where it holds several windows. Groups without a
            positive teach a ranking loss nothing and are left out. The order of the rows does not matter.
        min_users: fewest users with a positive that there have to be.
        share: of the users that is held out.
        seed: of the choice of users.
        columns: the features.

    Raises:
        NotEnoughExamples: fewer than ``min_users`` users have a positive.
        ValueError: a feature column is missing.
    """
    rows, group, user, ids = _groups(examples)
    needed = max(2, min_users)
    if len(ids) < needed:
        raise NotEnoughExamples(
            f"ranking_examples: {needed} users with a positive example are needed to train and hold out, "
            f"found {len(ids)} (of {examples.num_rows} rows, {int(_labels(examples).sum())} are positive)"
        )
    return Split(rows, group, user, held_out(ids, share, seed)[user], tuple(columns))


def split_by_time(examples: pa.Table, min_users: int, share: float) -> Split | None:
    """Hold out the newest window; None where it or what is before it has too few users with a positive.

    Args:
        examples: as for :func:`split_by_users`.
        min_users: fewest users with a positive before the newest window.
        share: of that number, fewest in it.
    """
    if "dt" not in examples.column_names or not examples.num_rows:
        return None
    rows, group, user, _ = _groups(examples)
    if not rows.num_rows:
        return None
    day = rows.column("dt").to_numpy()
    newest = day == day.max()
    before, after = (len(np.unique(user[part])) for part in (~newest, newest))
    if before < min_users or after < min_users * share:
        return None
    return Split(rows, group, user, newest, FEATURE_COLUMNS)


def _groups(examples: pa.Table) -> tuple[pa.Table, Ints, Ints, list[int] | list[str]]:
    """Rows of groups with a positive, sorted, with codes of group and user [rows] and the users' ids."""
    day = _codes(examples.column("dt")) if "dt" in examples.column_names else np.zeros(examples.num_rows, np.int64)
    user = _codes(examples.column("user_id"))
    group = day * (user.max(initial=0) + 1) + user
    has_positive = np.bincount(group, weights=_labels(examples)) > 0 if len(group) else np.zeros(1, np.bool_)
    rows = examples.filter(pa.array(has_positive[group]))
    by = [name for name in ("dt", "user_id", "item_id") if name in rows.column_names]
    rows = rows.sort_by([(name, "ascending") for name in by])
    user = _codes(rows.column("user_id"))
    day = _codes(rows.column("dt")) if "dt" in rows.column_names else np.zeros(rows.num_rows, np.int64)
    ids = rows.column("user_id").unique().to_pylist()
    return rows, day * len(ids) + user, user, ids


def _codes(column: pa.ChunkedArray) -> Ints:
    """Codes 0, 1, … of the distinct values, in the order in which they appear."""
    encoded = column.combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int64)


def _labels(table: pa.Table) -> Floats:
    return table.column("label").to_numpy().astype(np.float64)
