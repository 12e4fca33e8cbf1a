"""Examples in the form that CatBoost takes: groups with a positive, some held out for early stopping and validation."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys_assets.core.contracts import feature_columns, generators_in
from recsys_assets.core.evaluation.metrics import Bools, Floats, Ints, hits_at, ndcg


class NotEnoughExamples(ValueError):  # noqa: N818 - the state of a young data set, not an error
    """Too few users have a positive example to train on some and hold out others."""


def all_features(table: pa.Table) -> tuple[str, ...]:
    """The features of candidates or examples, in the order of the contract with the generators that the table has."""
    return feature_columns(generators_in(table.column_names))


def features(table: pa.Table, columns: Sequence[str]) -> NDArray[np.float32]:
    """The feature matrix [rows, columns] of candidates; null becomes NaN.

    CatBoost gets numpy, never a frame: its reader of Polars frames crashes on categorical columns.

    Raises:
        ValueError: a feature column is missing.
    """
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise ValueError(f"candidates: feature columns expected but not found: {', '.join(missing)}")
    # Column by column, as the table lies in memory and as CatBoost reads it: twice as fast as row by row.
    matrix = np.empty((len(columns), table.num_rows), dtype=np.float32)
    for at, name in enumerate(columns):
        matrix[at] = table.column(name).cast(pa.float32(), safe=False).to_numpy()
    return matrix.T


def held_out(users: Sequence[int] | Sequence[str], share: float, seed: int) -> Bools:
    """Mask of the held-out users: a share of some distinct users, at least one, the first by a hash of seed and id."""
    hashes = [hashlib.blake2b(f"{seed}:{user}".encode(), digest_size=8).digest() for user in users]
    mask = np.zeros(len(users), dtype=np.bool_)
    mask[sorted(range(len(users)), key=hashes.__getitem__)[: max(1, round(share * len(users)))]] = True
    return mask


@dataclass(frozen=True)
class Split:
    """Examples of groups with a positive, some for training and some held out.

    A group (a list to order) is one user in one window.

    Attributes:
        rows: the examples, sorted.
        group: [rows] code of the group.
        user: [rows] code of the user.
        held_out: [rows] whether the group is held out, for early stopping and validation.
        columns: the features.
    """

    rows: pa.Table
    group: Ints
    user: Ints
    held_out: Bools
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
        """CatBoost's pools of training and of held-out rows.

        Args:
            start: [rows] scores whose residual the trees fit; None to start from zero.
        """
        from catboost import Pool

        training, held_out = (
            Pool(
                self.matrix[part],
                self.labels[part],
                group_id=self.group[part],
                feature_names=list(self.columns),
                baseline=None if start is None else start[part],
            )
            for part in (~self.held_out, self.held_out)
        )
        return training, held_out

    def of(self, rows: Bools) -> Split:
        """The split of some rows [rows] only; they must be whole groups, or the lists change."""
        return Split(
            self.rows.filter(pa.array(rows)), self.group[rows], self.user[rows], self.held_out[rows], self.columns
        )

    def users(self, *, held_out: bool) -> int:
        """Number of users with a positive, on one side of the split."""
        return len(np.unique(self.user[self.held_out == held_out]))

    def held_out_ids(self) -> list[int] | list[str]:
        """The users who are held out."""
        ids: list[int] | list[str] = self.rows.column("user_id").filter(pa.array(self.held_out)).unique().to_pylist()
        return ids

    def ndcg(self, scores: Floats, k: int) -> Floats:
        """NDCG [held-out lists], ideal over the positives among the candidates.

        Args:
            scores: [held-out rows]; rows are sorted so that ties are ordered by item_id.
            k: length of the lists.
        """
        labels = self.labels[self.held_out]
        _, group = np.unique(self.group[self.held_out], return_inverse=True)
        hits = hits_at(group, labels > 0, scores, k)
        return ndcg(hits, np.bincount(group, weights=labels).astype(np.int64), k)


def split_by_users(
    examples: pa.Table, min_users: int, share: float, seed: int, columns: Sequence[str] | None = None
) -> Split:
    """Hold out some users, in all windows.

    Args:
        examples: table of contract RANKING_EXAMPLES, with ``dt`` where it holds several windows. Groups without a
            positive do not change a ranking loss and are left out. The order of the rows does not matter.
        min_users: least number of users with a positive.
        share: of the users to hold out.
        seed: of the choice of users.
        columns: the features; None for all that the examples have.

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
    feature_names = all_features(examples) if columns is None else tuple(columns)
    return Split(rows, group, user, held_out(ids, share, seed)[user], feature_names)


def split_by_time(examples: pa.Table, min_users: int, share: float) -> Split | None:
    """Hold out the newest window; None where it or the older windows have too few users with a positive.

    Args:
        examples: as for :func:`split_by_users`.
        min_users: least number of users with a positive before the newest window.
        share: of that number, required within the newest window.
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
    return Split(rows, group, user, newest, all_features(examples))


def _groups(examples: pa.Table) -> tuple[pa.Table, Ints, Ints, list[int] | list[str]]:
    """Sorted rows of groups with a positive, codes of group and user [rows], and the users' ids."""
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
