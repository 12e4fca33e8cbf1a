"""The models that can be fitted on a matrix of users and items, by name: one line each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from recsys_assets.core.models import graph_filter, ials, item_models
from recsys_assets.core.models.interactions import Interactions, Model


@dataclass(frozen=True)
class ModelParams:
    """How each model is fitted."""

    ials: ials.IalsParams = field(default_factory=ials.IalsParams)
    graph_filter: graph_filter.GraphFilterParams = field(default_factory=graph_filter.GraphFilterParams)
    ease: item_models.EaseParams = field(default_factory=item_models.EaseParams)
    rp3beta: item_models.Rp3BetaParams = field(default_factory=item_models.Rp3BetaParams)
    item_knn: item_models.ItemKnnParams = field(default_factory=item_models.ItemKnnParams)


MODELS: Mapping[str, Callable[[Interactions, ModelParams], Model]] = {
    "ials": lambda known, params: ials.Ials(known, params.ials),
    "graph_filter": lambda known, params: graph_filter.GraphFilter(known, params.graph_filter),
    "ease": lambda known, params: item_models.Ease(known, params.ease),
    "rp3beta": lambda known, params: item_models.rp3beta(known, params.rp3beta),
    "item_knn": lambda known, params: item_models.item_knn(known, params.item_knn),
}


def fit_models(known: Interactions, params: ModelParams | None = None) -> dict[str, Callable[[], Model]]:
    """What fits each model that a catalogue of this size allows."""
    how = params or ModelParams()
    few = known.shape[1] <= how.ease.most_items
    return {name: lambda fit=fit: fit(known, how) for name, fit in MODELS.items() if few or name != "ease"}
