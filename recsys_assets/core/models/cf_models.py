"""The models that can be fitted on a matrix of users and items, by name: one line each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from recsys_assets.core.models import graph_filter, ials, item_models
from recsys_assets.core.models.interactions import InteractionModel, Interactions


@dataclass(frozen=True)
class ModelParams:
    """How each model is fitted."""

    ials: ials.IalsParams = field(default_factory=ials.IalsParams)
    graph_filter: graph_filter.GraphFilterParams = field(default_factory=graph_filter.GraphFilterParams)
    ease: item_models.EaseParams = field(default_factory=item_models.EaseParams)
    rp3beta: item_models.Rp3BetaParams = field(default_factory=item_models.Rp3BetaParams)
    item_knn: item_models.ItemKnnParams = field(default_factory=item_models.ItemKnnParams)


MODELS: Mapping[str, Callable[[Interactions, ModelParams], InteractionModel]] = {
    "ials": lambda interactions, params: ials.Ials(interactions, params.ials),
    "graph_filter": lambda interactions, params: graph_filter.GraphFilter(interactions, params.graph_filter),
    "ease": lambda interactions, params: item_models.Ease(interactions, params.ease),
    "rp3beta": lambda interactions, params: item_models.rp3beta(interactions, params.rp3beta),
    "item_knn": lambda interactions, params: item_models.item_knn(interactions, params.item_knn),
}


def fit_models(
    interactions: Interactions, params: ModelParams | None = None
) -> dict[str, Callable[[], InteractionModel]]:
    """A function for each model that fits it; EASE only where the catalogue is small enough for it."""
    models = params or ModelParams()
    small = interactions.shape[1] <= models.ease.most_items
    return {name: lambda fit=fit: fit(interactions, models) for name, fit in MODELS.items() if small or name != "ease"}
