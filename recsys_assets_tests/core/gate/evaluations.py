"""Evaluations of one window with chosen figures."""

from __future__ import annotations

import pyarrow as pa

from recsys_assets.core.contracts import RANKER_EVALUATION, IdTypes, arrow_schema

Interval = tuple[float, float, float]
"""Value, low and high."""


def evaluation_of(
    users: int = 100,
    *,
    ranker: Interval | None = None,
    champion: Interval | None = None,
    over_champion: Interval | None = None,
    popular: Interval = (-0.05, -0.06, -0.04),
) -> pa.Table:
    """An evaluation with these gains: of models over their baseline, of the ranker over the champion, of the generator
    'popular' over the fused ones, whose NDCG@10 is 0.1.
    """
    fused = 0.1
    best = fused + popular[0] if popular[1] > 0 else fused
    rows = [("fused", "ndcg", (fused, fused - 0.01, fused + 0.01))]
    rows.append(("popular", "ndcg", (fused + popular[0], fused + popular[1], fused + popular[2])))
    rows.append(("popular", "ndcg_gain_over_fused", popular))
    for model, gain in (("ranker", ranker), ("champion", champion)):
        if gain is not None:
            rows.append((model, "ndcg", (best + gain[0], best + gain[1], best + gain[2])))
            rows.append((model, "ndcg_gain", gain))
    if over_champion is not None:
        rows.append(("ranker", "ndcg_gain_over_champion", over_champion))
    records = [
        {"model": model, "metric": metric, "k": 10, "value": value, "low": low, "high": high, "users": users}
        for model, metric, (value, low, high) in rows
    ]
    return pa.Table.from_pylist(records, schema=arrow_schema(RANKER_EVALUATION, IdTypes()))
