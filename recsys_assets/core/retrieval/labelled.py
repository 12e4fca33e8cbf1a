"""Training examples of the ranker, by the functions that serve: only the users differ, and a label is added."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime

from recsys_assets.core.engine import Engine, Frame
from recsys_assets.core.generator_registry import GeneratorRegistry
from recsys_assets.core.ranking.examples import label
from recsys_assets.core.retrieval.candidates import candidates, inputs_of, split_inputs
from recsys_assets.core.retrieval.features import with_features
from recsys_assets.core.retrieval.protocol import CandidateInputs, CandidateParams, active_users


def labelled_candidates(
    engine: Engine,
    inputs: CandidateInputs,
    targets: Frame,
    as_of: date,
    end: datetime,
    params: CandidateParams,
    registry: GeneratorRegistry,
) -> Iterator[Frame]:
    """Candidates as of day D-h of the users who acted afterwards, with features and labels (``RANKING_EXAMPLES``).

    Less than one in a hundred users acts within a week, so these rows cost a fraction of the candidates of all users.

    Args:
        engine: where the frames run.
        inputs: as of the end of D-h.
        targets: user_id, item_id of the target events of the days (D-h, D], each pair once.
        as_of: D-h.
        end: the instant at which D-h ends.
        params: sizes and windows, with the weights as of D-h.
        registry: as for :func:`~recsys_assets.core.retrieval.candidates.candidates`.

    Returns:
        Frames that follow one another by user_id.
    """
    acted = inputs_of(inputs, targets.select("user_id").unique())
    for part, _ in split_inputs(engine, acted, active_users(acted.user_activity, as_of, params)):
        pairs = engine.persist(candidates(engine, part, as_of, end, params, registry))  # read for the scores too
        yield label(with_features(engine, pairs, part, as_of, end, params), targets)
