"""Which generator a recommendation is attributed to."""

from __future__ import annotations

import polars as pl

from recsys_assets.core.lists.attribution import with_generator
from recsys_assets.core.retrieval.protocol import CandidateParams, GeneratorQuota
from recsys_assets.engines.polars import PolarsEngine

ENGINE = PolarsEngine()
PARAMS = CandidateParams(
    quotas={
        "covisit": GeneratorQuota(10, 2.0),
        "popular": GeneratorQuota(10, 1.0),
        "trending": GeneratorQuota(10, 0.0),
    },
    fusion_constant=10.0,
)


def test_the_largest_share_of_the_fused_score_names_the_generator() -> None:
    rows = [
        (1, 1, 30, 1, None, "popular"),  # 2 / 40 < 1 / 11
        (1, 2, 5, 1, None, "covisit"),  # 2 / 15 > 1 / 11
        (1, 3, 12, 1, None, "covisit"),  # 2 / 22 = 1 / 11: the first
        (1, 4, None, 1, 1, "popular"),  # a generator of weight 0 adds candidates alone
        (2, 4, None, None, 3, "trending"),
    ]
    names = ["user_id", "item_id", "covisit_rank", "popular_rank", "trending_rank", "expected"]
    frame = pl.DataFrame(rows, schema=names, orient="row").with_columns(
        pl.lit(0.5).alias(f"{name}_score") for name in PARAMS.quotas
    )
    lists = frame.select("user_id", "item_id", "expected")
    found = with_generator(ENGINE.from_arrow(lists.to_arrow()), ENGINE.from_arrow(frame.to_arrow()), PARAMS)
    table = found.collect().to_native()
    assert len(table) == len(rows)
    assert (table["generator"] == table["expected"]).all()
