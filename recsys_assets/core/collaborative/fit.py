"""The models that can be fitted on a matrix of users and items, by name: one line each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from recsys_assets.core.collaborative import graph_filter, ials, item_models
from recsys_assets.core.collaborative.interactions import Interactions, Model

MODELS: Mapping[str, Callable[[Interactions], Model]] = {
    "ials": lambda known: ials.Ials(known, ials.IalsParams()),
    "graph_filter": lambda known: graph_filter.GraphFilter(known, graph_filter.GraphFilterParams()),
    "ease": lambda known: item_models.Ease(known, item_models.EaseParams()),
    "rp3beta": lambda known: item_models.rp3beta(known, item_models.Rp3BetaParams()),
    "item_knn": lambda known: item_models.item_knn(known, item_models.ItemKnnParams()),
}


def fit_models(known: Interactions) -> dict[str, Callable[[], Model]]:
    """What fits each model that a catalogue of this size allows."""
    few = known.shape[1] <= item_models.EaseParams().most_items
    return {name: lambda fit=fit: fit(known) for name, fit in MODELS.items() if few or name != "ease"}
