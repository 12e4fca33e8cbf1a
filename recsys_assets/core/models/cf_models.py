"""The models that can be fitted on a matrix of users and items, by name: one line each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from recsys_assets.core.models import graph_filter, ials, item_models
from recsys_assets.core.models.factor_models import FactorModel, Linear
from recsys_assets.core.models.interactions import InteractionModel, Interactions
from recsys_assets.core.models.item_models import Neighbours


@dataclass(frozen=True)
class ModelParams:
    """How each model is fitted."""

    ials: ials.IalsParams = field(default_factory=ials.IalsParams)
    graph_filter: graph_filter.GraphFilterParams = field(default_factory=graph_filter.GraphFilterParams)
    ease: item_models.EaseParams = field(default_factory=item_models.EaseParams)
    rp3beta: item_models.Rp3BetaParams = field(default_factory=item_models.Rp3BetaParams)
    item_knn: item_models.ItemKnnParams = field(default_factory=item_models.ItemKnnParams)


Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Kind:
    """A kind of model: how it is fitted, and how it is made of its arrays."""

    fit: Callable[[Interactions, ModelParams], InteractionModel]
    of: Callable[[Arrays], InteractionModel]


def _folded(arrays: Arrays) -> FactorModel:
    vectors = arrays["vectors"]
    return FactorModel(vectors, ials.FoldIn(vectors, arrays["spread"], arrays["penalty"]))


def _linear(arrays: Arrays) -> FactorModel:
    return FactorModel(arrays["vectors"], Linear(arrays["down"]))


MODELS: Mapping[str, Kind] = {
    "ials": Kind(lambda matrix, params: ials.ials(matrix, params.ials), _folded),
    "graph_filter": Kind(lambda matrix, params: graph_filter.graph_filter(matrix, params.graph_filter), Neighbours.of),
    "low_pass": Kind(lambda matrix, params: graph_filter.low_pass(matrix, params.graph_filter), _linear),
    "ease": Kind(lambda matrix, params: item_models.ease(matrix, params.ease), Neighbours.of),
    "rp3beta": Kind(lambda matrix, params: item_models.rp3beta(matrix, params.rp3beta), Neighbours.of),
    "item_knn": Kind(lambda matrix, params: item_models.item_knn(matrix, params.item_knn), Neighbours.of),
}
