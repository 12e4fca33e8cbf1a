"""Examples in the form that CatBoost takes: groups with a positive, some of them apart to stop and to judge by."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys_assets.core.contracts import FEATURE_COLUMNS
from recsys_assets.core.evaluation.metrics import Bools, Floats, Ints

if TYPE_CHECKING:
    from catboost import Pool
else:  # it brings pandas and matplotlib along, seconds that loading the graph must not take
    Pool = Any


class NotEnoughExamples(ValueError):  # noqa: N818 - the state of a young data set, not a mistake
    """Too few users have a positive example to train on some and hold out others."""


def features(table: pa.Table) -> NDArray[np.float32]:
    """The feature matrix [rows, len(FEATURE_COLUMNS)] of candidates; null becomes NaN.

    CatBoost gets numpy, never a frame: its reader of Polars frames crashes on categorical columns.

    Raises:
        ValueError: a feature column is missing.
    """
    missing = [name for name in FEATURE_COLUMNS if name not in table.column_names]
    if missing:
        raise ValueError(f"candidates: feature columns expected but not found: {', '.join(missing)}")
    # Column after column, as the table lies in memory and as CatBoost reads it: twice as fast as row after row.
    matrix = np.empty((len(FEATURE_COLUMNS), table.num_rows), dtype=np.float32)
    for at, name in enumerate(FEATURE_COLUMNS):
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
    """Those to grow trees on, and those apart from them.

    Attributes:
        train: pool of the groups that the trees see.
        judge: pool of the others.
        group: [rows of ``judge``] code of the group.
        labels: [rows of ``judge``] 1 for a target.
        users_train: users with a positive that the trees see.
        users_judge: users with a positive among the others.
    """

    train: Pool
    judge: Pool
    group: Ints
    labels: Floats
    users_train: int
    users_judge: int


def split_by_users(examples: pa.Table, min_users: int, share: float, seed: int) -> Split:
    """Hold out some users, in all windows.

    Args:
        examples: table of contract RANKING_EXAMPLES, with ``dt`` where it holds several windows. Groups without a
            positive teach a ranking loss nothing and are left out. The order of the rows does not matter.
        min_users: fewest users with a positive that there have to be.
        share: of the users that is held out.
        seed: of the choice of users.

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
    return _split(rows, group, user, held_out(ids, share, seed)[user])


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
    return _split(rows, group, user, newest)


def _split(rows: pa.Table, group: Ints, user: Ints, apart: Bools) -> Split:
    from catboost import Pool

    matrix, labels = features(rows), _labels(rows)
    train, judge = (
        Pool(matrix[part], labels[part], group_id=group[part], feature_names=list(FEATURE_COLUMNS))
        for part in (~apart, apart)
    )
    users = [len(np.unique(user[part])) for part in (~apart, apart)]
    return Split(train, judge, group[apart], labels[apart], users[0], users[1])


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
