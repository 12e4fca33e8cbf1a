"""What a ranker is about to score with, before it scores: the features of the candidates of some users."""

from __future__ import annotations

from datetime import date, datetime

import narwhals as nw
import pyarrow as pa

from recsys_assets.core.engine import Engine, Frame
from recsys_assets.core.parts import of_users
from recsys_assets.core.retrieval.candidates import inputs_of
from recsys_assets.core.retrieval.features import with_features
from recsys_assets.core.retrieval.protocol import CandidateParams, FeatureInputs

SAMPLED_USERS = 1000
"""Users whose candidates are looked at: with some fifty each, a column of one percent has hundreds of values."""


def sample_features(
    engine: Engine, candidates: Frame, inputs: FeatureInputs, as_of: date, end: datetime, params: CandidateParams
) -> pa.Table:
    """The candidates of up to twice :data:`SAMPLED_USERS` users with features, in no order.

    Args:
        engine: where the frames run.
        candidates: frame of contract CANDIDATES, as of day D.
        inputs: what features are made of, as of the end of D.
        as_of: D.
        end: the instant at which D ends.
        params: windows and half-lives of the features.

    Returns:
        Table of contract FEATURES of every n-th user in the order of their ids.
    """
    users = candidates.filter(nw.col("fused_rank") == 1).select("user_id").sort("user_id")
    ids = users.collect(backend="polars").to_arrow()
    some = engine.from_arrow(
        ids.take(pa.array(range(0, ids.num_rows, max(1, ids.num_rows // SAMPLED_USERS)), pa.int64()))
    )
    (pairs,) = of_users(some, candidates)
    rows = with_features(engine, pairs, inputs_of(inputs, some), as_of, end, params)
    return rows.collect(backend="polars").to_arrow()
