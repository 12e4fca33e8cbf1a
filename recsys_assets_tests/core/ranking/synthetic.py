"""Candidates with a planted rule that a ranker can learn and no generator knows."""

from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa

from recsys_assets.core.contracts import IdTypes, arrow_schema, feature_columns, features_contract
from recsys_assets.core.feature_names import FEATURES
from recsys_assets.core.generator_registry import BUILT_IN

FEATURED = features_contract(BUILT_IN.names)
FEATURE_COLUMNS = feature_columns(BUILT_IN.names)


def candidates(users: int, per_user: int, seed: int = 0, ids: IdTypes | None = None) -> tuple[pa.Table, np.ndarray]:
    """Candidates with features, sorted by its key, and per row whether the user goes on to act (about 2 of a user's).

    The user acts on items with a recent interaction and a high conversion: a product of two features that only the
    ranker sees. Generators know noisy hints of one of them.
    """
    ids = ids or IdTypes()
    rng = np.random.default_rng(seed)
    shape = (users, per_user)
    recent, converts = rng.random(shape), rng.random(shape)
    columns: dict[str, np.ndarray | pa.Array] = {}
    fused = np.zeros(shape)
    for at, name in enumerate(BUILT_IN.names):
        score = (recent if at % 2 else converts) + rng.normal(0, 0.6, shape)
        rank = (-score).argsort(axis=1).argsort(axis=1) + 1
        proposed = rank <= per_user // 2
        fused += np.where(proposed, 1 / (60 + rank), 0)
        columns[f"{name}_score"] = pa.array(score.ravel(), mask=~proposed.ravel())
        columns[f"{name}_rank"] = pa.array(rank.ravel(), mask=~proposed.ravel())
    columns["fused_score"] = fused.ravel()
    columns["fused_rank"] = ((-fused).argsort(axis=1, kind="stable").argsort(axis=1) + 1).ravel()
    for name in FEATURES:
        columns[name] = rng.random(users * per_user)
    columns["ui_hours_since"] = (100 * (1 - recent)).ravel()
    columns["item_conversion"] = converts.ravel()
    items = np.sort(rng.permuted(np.tile(np.arange(4 * per_user), (users, 1)), axis=1)[:, :per_user], axis=1)
    columns["user_id"] = _ids(np.repeat(np.arange(users), per_user), ids.user, "u")
    columns["item_id"] = _ids(items.ravel(), ids.item, "i")
    utility = recent * converts + rng.normal(0, 0.05, shape)
    acts = (-utility).argsort(axis=1).argsort(axis=1) < rng.integers(1, 4, (users, 1))
    schema = arrow_schema(FEATURED, ids)
    return pa.table({name: columns[name] for name in schema.names}).cast(schema), acts.ravel()


def examples(users: int, per_user: int, seed: int = 0, day: datetime.date | None = None) -> pa.Table:
    """The candidates with their labels and, where given, the day of the window."""
    table, acts = candidates(users, per_user, seed)
    table = table.append_column("label", pa.array(acts.astype(np.int64)))
    return table if day is None else table.append_column("dt", pa.array([day] * table.num_rows, pa.date32()))


def _ids(numbers: np.ndarray, kind: str, prefix: str) -> np.ndarray | list[str]:
    return [f"{prefix}{number:06d}" for number in numbers.tolist()] if kind == "string" else numbers
