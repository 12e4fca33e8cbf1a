"""The lists of all active users in one pass over parts of them: candidates, features, scores, re-ranking."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime

from recsys_assets.core.contracts import IdTypes
from recsys_assets.core.engine import Engine, Frame
from recsys_assets.core.lists.attribution import with_generator
from recsys_assets.core.lists.recommend import recommend
from recsys_assets.core.lists.reranking import RerankingPolicy
from recsys_assets.core.ranking.model import score_candidates
from recsys_assets.core.retrieval.candidates import split_inputs
from recsys_assets.core.retrieval.features import with_features
from recsys_assets.core.retrieval.protocol import CandidateParams, FeatureInputs


def recommend_in_parts(
    engine: Engine,
    candidates: Frame,
    inputs: FeatureInputs,
    as_of: date,
    end: datetime,
    params: CandidateParams,
    *,
    order_by: str,
    model: bytes,
    ids: IdTypes,
    k: int,
    policy: RerankingPolicy,
) -> Iterator[Frame]:
    """The final lists (``RECOMMENDATIONS``); features live as long as the scores of a part are computed.

    Args:
        engine: where the frames run.
        candidates: frame of contract CANDIDATES, as of day D.
        inputs: what features are made of, as of the end of D.
        as_of: D.
        end: the instant at which D ends.
        params: windows and half-lives of the features, and the weights of the fusion as of D.
        order_by: as for :func:`~recsys_assets.core.lists.recommend.recommend`.
        model: the stored ranker; empty where none orders the lists.
        ids: the data set's id types.
        k: most items of a user.
        policy: of the re-ranking.

    Returns:
        Frames that follow one another by user_id.
    """
    for part, (pairs,) in split_inputs(engine, inputs, candidates, candidates):
        rows = pairs
        if model or policy.any:
            rows = with_features(engine, pairs, part, as_of, end, params)
            if model and policy.any:
                rows = engine.persist(rows)  # read for the scores and for the policy
        scores = score_candidates(engine, rows, model, ids) if model else None
        lists = recommend(rows if policy.any else pairs, order_by, scores, k, policy, inputs.item_features)
        yield with_generator(lists, pairs, params)
