"""The fitted session model and its file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recsys_assets.core.ids import Ints
from recsys_assets.core.models import stored_arrays

Indices = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

CHOSEN = ("link_weight", "distance_decay", "similarity_power", "click_decay")
"""Parameters of the prediction that are chosen by the data; the last one costs most to change."""


@dataclass(frozen=True)
class SessionParams:
    """Parameters of the fit and of the prediction; those in ``CHOSEN`` may be chosen by the data.

    Args:
        session_clicks: how many of a session's last clicks count; a longer session is hardly a person's.
        recent_sessions: newest sessions of each item that are candidates for neighbours.
        neighbours: most similar candidates that are used.
        click_decay: clicks after which a click's weight has fallen to 1/e.
        distance_decay: clicks between a neighbour's item and the click that it shares with the session, after which
            the item's weight has fallen to 1/e.
        similarity_power: exponent of a neighbour's similarity in the weight of its items.
        link_decay: the same as ``distance_decay`` between two items of a session.
        age_decay: age of a session, as a share of all sessions, at which its weight has fallen to 1/e.
        first_links: links per item that are followed to further items.
        links: links per item in the model.
        neighbour_weight: weight of the neighbours in scores of items new to the session.
        link_weight: weight of the links.
        repeats: whether items of the session may be recommended.
        repeat_sample: newest pairs of a click and an earlier one on which the repeat rates are counted.
        repeat_prior: weight of the prior of a rate, in examples.
    """

    session_clicks: int = 50
    recent_sessions: int = 500
    neighbours: int = 200
    click_decay: float = 1.5
    distance_decay: float = 4.0
    similarity_power: float = 1.0
    link_decay: float = 3.0
    age_decay: float = 1.0
    first_links: int = 60
    links: int = 100
    neighbour_weight: float = 1.0
    link_weight: float = 1.5
    repeats: bool = True
    repeat_sample: int = 2_000_000
    repeat_prior: float = 10.0

    def age_weights(self, sessions: Ints, count: int) -> Doubles:
        """Weight of each session by its age. ``sessions`` are positions among ``count``; the last is the newest."""
        return np.exp((sessions + 1 - count) / (count * self.age_decay))


@dataclass(frozen=True)
class SessionModel:
    """A fitted model. Every field but the first is one Arrow or numpy array, which can be stored and memory-mapped.

    Attributes:
        params: of the fit; those that only prediction uses may be replaced.
        items: ids, ascending; other fields refer to an item by its position here.
        rarity: log(1 + sessions / sessions with it) of each item.
        session_starts: offsets of the visits of each session, the oldest session first.
        visit_items: item of each visit.
        visit_lags: clicks of the session after the visit.
        visit_sessions: session of each visit.
        item_starts: offsets of each item in ``item_visits``.
        item_visits: visits of each item, the newest first.
        link_starts: offsets of the links of each item.
        link_items: the linked item.
        link_weights: weight of each link.
        repeat_rates: see :func:`~recsys_assets.core.models.session_parts.fit_repeat_rates`.
    """

    params: SessionParams
    items: pa.Array
    rarity: Doubles
    session_starts: Ints
    visit_items: Indices
    visit_lags: Indices
    visit_sessions: Indices
    item_starts: Ints
    item_visits: Indices
    link_starts: Ints
    link_items: Indices
    link_weights: Floats
    repeat_rates: Doubles


_ARRAYS = tuple(field.name for field in fields(SessionModel) if field.name not in ("params", "items"))


def to_bytes(model: SessionModel) -> bytes:
    """The file; equal models give equal bytes."""
    params = np.asarray(json.dumps(asdict(model.params), sort_keys=True))
    return stored_arrays.to_bytes(model.items, {"params": params, **{name: getattr(model, name) for name in _ARRAYS}})


def from_bytes(data: bytes) -> SessionModel:
    """The model that :func:`to_bytes` wrote.

    Raises:
        ValueError: the file is of another version: a part or a parameter is missing or unknown.
    """
    return of(*stored_arrays.from_bytes(data))


def of(items: pa.Array, arrays: Mapping[str, npt.NDArray[Any]]) -> SessionModel:
    """The model of the arrays of a file.

    Raises:
        ValueError: they are of another version: a part or a parameter is missing or unknown.
    """
    try:
        params = SessionParams(**json.loads(str(arrays["params"])))
        return SessionModel(params, items, **{name: arrays[name] for name in _ARRAYS})
    except (KeyError, TypeError) as error:
        raise ValueError(f"session model: {error}; fit it again") from None
