"""The lists of all users: parts of the users give the same file, and a ranker orders by the scores of its features."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys_assets.core.contracts import RECOMMENDATIONS, arrow_schema
from recsys_assets.core.generator_registry import BUILT_IN
from recsys_assets.core.lists.attribution import with_generator
from recsys_assets.core.lists.nightly import recommend_in_parts
from recsys_assets.core.lists.recommend import recommend
from recsys_assets.core.lists.reranking import RerankingPolicy
from recsys_assets.core.ranking.model import score_candidates
from recsys_assets.core.retrieval.candidates import candidates
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets_tests.core.retrieval.test_candidates import DAY, END, PARAMS, featured, inputs
from recsys_assets_tests.core.world import ENGINE, INTS, events, properties, stored
from recsys_assets_tests.engines.function_inputs import trained_model

NO_POLICY = RerankingPolicy()


@pytest.mark.parametrize("order_by", ["ranker", "fused", "covisit"])
def test_parts_of_the_users_make_the_file_that_all_users_make(tmp_path: Path, order_by: str) -> None:
    given = inputs(events(seed=51), properties())
    pairs = stored(candidates(ENGINE, given, DAY, END, PARAMS, BUILT_IN))
    stored_model = trained_model() if order_by == "ranker" else b""
    scores = score_candidates(ENGINE, featured(given), stored_model, INTS) if stored_model else None
    expected = with_generator(recommend(pairs, order_by, scores, 8), pairs, PARAMS)
    small = PolarsEngine()
    small.users_at_once = 2
    schema = arrow_schema(RECOMMENDATIONS, INTS)
    assert ENGINE.sink(expected, tmp_path / "expected", schema, RECOMMENDATIONS.sort_by) > 0
    for engine in (ENGINE, small):
        found = recommend_in_parts(
            engine,
            pairs,
            given,
            DAY,
            END,
            PARAMS,
            order_by=order_by,
            model=stored_model,
            ids=INTS,
            k=8,
            policy=NO_POLICY,
        )
        engine.sink(found, tmp_path / "found", schema, RECOMMENDATIONS.sort_by)
        assert (tmp_path / "found").read_bytes() == (tmp_path / "expected").read_bytes()
