"""Which generator put each recommendation into its list."""

from __future__ import annotations

import narwhals as nw

from recsys_assets.core.contracts import generators_in
from recsys_assets.core.engine import Frame
from recsys_assets.core.retrieval.protocol import CandidateParams

_PAIR = ["user_id", "item_id"]
_LEAST_WEIGHT = 1e-9
"""Of a generator that adds candidates alone: it is named only where no other proposed the item."""


def with_generator(lists: Frame, candidates: Frame, params: CandidateParams) -> Frame:
    """Recommendations with the generator that has the largest share of the fused score; of equal ones, the first.

    Args:
        lists: user_id, item_id and further columns.
        candidates: frame of contract CANDIDATES with these pairs.
        params: weights of the fusion as of the day.

    Returns:
        The columns of ``lists`` and ``generator``.
    """
    named, largest = nw.lit(""), nw.lit(0.0)
    for name in generators_in(candidates.collect_schema().names()):
        quota = params.quotas.get(name)
        weight = max(quota.weight if quota else 0.0, _LEAST_WEIGHT)
        share = (weight / (params.fusion_constant + nw.col(f"{name}_rank").cast(nw.Float64))).fill_null(0.0)
        named = nw.when(share > largest).then(nw.lit(name)).otherwise(named)
        largest = nw.max_horizontal(largest, share)
    return lists.join(candidates.select(*_PAIR, generator=named), on=_PAIR, how="left")
