"""Why the first items of each list stand where they do: ranks of the generators, and the features that weighed most."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys_assets.core.contracts import (
    EXPLAINED_FEATURES,
    IdTypes,
    arrow_schema,
    explanations_contract,
    features_contract,
    generators_in,
)
from recsys_assets.core.engine import Engine, Frame
from recsys_assets.core.evaluation.metrics import Floats
from recsys_assets.core.ranking.arrays import Matrix
from recsys_assets.core.ranking.contributions import Explainer, ModelExplainer
from recsys_assets.core.ranking.formats import read_model
from recsys_assets.core.ranking.split import features
from recsys_assets.core.retrieval.candidates import split_inputs
from recsys_assets.core.retrieval.features import with_features
from recsys_assets.core.retrieval.protocol import CandidateParams, FeatureInputs

_PAIR = ["user_id", "item_id"]
_KEY = [*_PAIR, "rank"]
CONTRIBUTION_BITS, VALUE_BITS = 6, 11
"""Significant bits that are kept: contributions are within 0.8 %, and whole numbers up to 2048 as they are. With all 24
bits, a file is twice as large."""


@dataclass(frozen=True)
class FusedOrder:
    """The :class:`Explainer` of lists that a generator or the fusion orders.

    Where the generator has the item, its score is the whole score; elsewhere each generator has its share of the fused
    score.

    Attributes:
        by: 'fused' or a generator.
        weights: of the generators in the fusion.
        constant: of the fusion.
    """

    by: str
    weights: Mapping[str, float]
    constant: float
    baseline = 0.0

    @property
    def columns(self) -> tuple[str, ...]:
        """See :class:`Explainer`."""
        own = () if self.by == "fused" else (f"{self.by}_score",)
        return *own, *(f"{name}_rank" for name in self.weights)

    def contributions(self, matrix: Matrix) -> Floats:
        """See :class:`Explainer`."""
        ranks = matrix[:, -len(self.weights) :].astype(np.float64)
        shares = np.nan_to_num(np.array([*self.weights.values()]) / (self.constant + ranks))
        if self.by == "fused":
            return shares
        score = matrix[:, :1].astype(np.float64)
        own = ~np.isnan(score)
        return np.concatenate([np.where(own, score, 0.0), np.where(own, 0.0, shares)], axis=1)


def order_of(lists: Frame) -> str:
    """What ordered lists, as their column ``source`` says: past the end of a generator's list, the fusion does."""
    sources = lists.select("source").unique().collect(backend="polars")["source"].to_list()
    return next((source for source in sorted(sources) if source != "fused"), "fused")


def explainer_of(order_by: str, model: bytes, params: CandidateParams) -> Explainer:
    """What explains the scores of lists.

    Args:
        order_by: as for :func:`~recsys_assets.core.lists.recommend.recommend`.
        model: the stored ranker; only for 'ranker'.
        params: weights of the fusion as of the day.
    """
    if order_by == "ranker":
        return ModelExplainer(read_model(model))
    weights = {name: quota.weight for name, quota in params.quotas.items()}
    return FusedOrder(order_by, weights, params.fusion_constant)


def explain_in_parts(
    engine: Engine,
    lists: Frame,
    candidates: Frame,
    inputs: FeatureInputs,
    as_of: date,
    end: datetime,
    params: CandidateParams,
    *,
    explainer: Explainer,
    ids: IdTypes,
    most: int,
) -> Iterator[Frame]:
    """Explain the first items of each list (``EXPLANATIONS``); a part of the users at a time.

    Args:
        engine: where the frames run.
        lists: frame of contract RECOMMENDATIONS, as of day D.
        candidates: frame of contract CANDIDATES, as of D.
        inputs: what features are made of, as of the end of D.
        as_of: D.
        end: the instant at which D ends.
        params: windows and half-lives of the features.
        explainer: of what ordered the lists.
        ids: the data set's id types.
        most: items of a list that are explained.

    Returns:
        Frames that follow one another by user_id.
    """
    first = lists.filter(nw.col("rank") <= most).select(_KEY)
    for part, (listed, pairs) in split_inputs(engine, inputs, first, first, candidates):
        rows = pairs.join(listed, on=_PAIR, how="inner")
        if not set(explainer.columns) <= set(rows.collect_schema().names()):
            rows = with_features(engine, rows, part, as_of, end, params)
        yield explain_rows(engine, rows, explainer, ids)


def explain_rows(engine: Engine, rows: Frame, explainer: Explainer, ids: IdTypes) -> Frame:
    """Explain candidates one by one.

    Args:
        engine: that the frame belongs to.
        rows: user_id, item_id, rank, the ranks of generators, and what ``explainer`` takes.
        explainer: of what ordered the lists.
        ids: the data set's id types.

    Returns:
        Frame of contract EXPLANATIONS. Equal contributions are ordered as the columns of the explainer; features that
        add nothing are left out.
    """
    generators = generators_in(rows.collect_schema().names())
    schema = arrow_schema(explanations_contract(generators), ids)
    taken = [name for name in features_contract(generators).columns if name in explainer.columns]
    ranks = [f"{name}_rank" for name in generators]
    wanted = list(dict.fromkeys([*_KEY, *ranks, *taken]))
    return engine.map_batches(rows.select(wanted), _Explain(explainer, schema), schema)


@dataclass(frozen=True)
class _Explain:
    """The row function of :func:`explain_rows`."""

    explainer: Explainer
    schema: pa.Schema

    def __call__(self, table: pa.Table) -> pa.Table:
        explainer = self.explainer
        matrix = features(table, explainer.columns)
        added = explainer.contributions(matrix)
        rest = added.sum(axis=1)
        found: dict[str, Any] = {name: table[name] for name in self.schema.names if name in table.column_names}
        names, size, row = pa.array(explainer.columns, pa.string()), np.abs(added), np.arange(len(added))
        for place in range(1, EXPLAINED_FEATURES + 1):
            at = size.argmax(axis=1)  # of equal ones, the first
            nothing = size[row, at] <= 0
            contribution, value = rounded(added[row, at], CONTRIBUTION_BITS), rounded(matrix[row, at], VALUE_BITS)
            found[f"feature_{place}"] = names.take(pa.array(at, mask=nothing))
            found[f"value_{place}"] = pa.array(value, mask=nothing | np.isnan(value))
            found[f"contribution_{place}"] = pa.array(contribution, mask=nothing)
            rest -= np.where(nothing, 0.0, contribution)
            size[row, at] = -1.0
        found["others"] = pa.array(rounded(rest, CONTRIBUTION_BITS))
        found["baseline"] = pa.array(np.full(len(row), explainer.baseline, np.float32))
        return pa.table({name: found[name] for name in self.schema.names}).cast(self.schema)


def rounded(values: NDArray[np.floating[Any]], bits: int) -> NDArray[np.float32]:
    """Values with so many significant bits, as single precision, whose other bits compress to nothing."""
    mantissa, exponent = np.frexp(values.astype(np.float32))
    scale = np.float32(2**bits)
    return np.ldexp(np.round(mantissa * scale) / scale, exponent).astype(np.float32)
