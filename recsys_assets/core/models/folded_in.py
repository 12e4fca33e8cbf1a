"""The ensemble for one history at a time, without the cost of tables."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.sparse import csr_matrix

from recsys_assets.core.ids import IdIndex
from recsys_assets.core.models import cf_ensemble
from recsys_assets.core.models.cf_ensemble import CfEnsemble
from recsys_assets.core.models.interactions import LEAST_ITEMS, Bools


class FoldedIn:
    """Recommends what :func:`~recsys_assets.core.models.cf_ensemble.candidates` would to a user with the history.

    Args:
        model: fitted.
        weights: of its models by name; 1 where a model has none.
    """

    def __init__(self, model: CfEnsemble, weights: Mapping[str, float]) -> None:
        self._model = model
        self._weights = {name: weights.get(name, 1.0) for name in model.models}
        self.items = IdIndex(model.items)

    def __call__(
        self, history: Mapping[int | str, float], k: int, excluded: Bools | None = None
    ) -> list[tuple[int | str, float]]:
        """The ``k`` best items that are not in the history, and their scores.

        Args:
            history: item_id to weight, above 0; unknown items are ignored. Nothing is recommended to a history of fewer
                than two known ones.
            k: items.
            excluded: [items of the model] True where an item is left out.
        """
        places = self.items.places(history)
        known = places >= 0
        if known.sum() < LEAST_ITEMS:
            return []
        order = np.argsort(places[known])
        columns = places[known][order]
        weights = np.fromiter(history.values(), np.float32, len(history))[known][order]
        row = csr_matrix((weights, columns, [0, len(columns)]), shape=(1, len(self.items)))
        unavailable = None if excluded is None else np.flatnonzero(excluded)
        found = cf_ensemble.candidates(self._model, row, k, unavailable)
        totals = cf_ensemble.weighted(found, self._weights, self._model)
        best = cf_ensemble.best_of(found, totals, k)
        return list(zip(self.items.take(found.columns[best].tolist()), totals[best].tolist(), strict=True))
