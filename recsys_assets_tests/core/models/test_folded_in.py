"""One visitor's items by mapped models are those of the nightly call, for int64 and string ids."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from recsys_assets.core.ids import IdIndex
from recsys_assets.core.models import cf_ensemble, session_model, sessions
from recsys_assets.core.models.cf_ensemble import CfEnsemble
from recsys_assets.core.models.folded_in import FoldedIn
from recsys_assets.core.models.next_items import NextItems
from recsys_assets.core.models.stored_arrays import from_bytes, read_mapped, to_bytes, write_mapped
from recsys_assets.core.retrieval.cf_ensemble import recommend
from recsys_assets_tests.core.models.test_cf_models import ITEMS, interactions

WEIGHTS = {"ials": 2.0, "ease": 0.5, "rp3beta": 0.0}


@pytest.mark.parametrize("ids", [int, str])
def test_a_visitor_gets_what_the_night_gives(ids: Callable[[int], int | str], tmp_path: Path) -> None:
    write_mapped(tmp_path / "model.arrow", *from_bytes(cf_ensemble.fit(interactions(ids=ids)).to_bytes()))
    mapped = CfEnsemble.of(*read_mapped(tmp_path / "model.arrow"))
    visitor = FoldedIn(mapped, WEIGHTS)
    rng = np.random.default_rng(3)
    for user in range(20):
        items = rng.choice(ITEMS, 2 + user % 9, replace=False).tolist()
        history = {ids(item): 0.5 + place for place, item in enumerate(items)}
        rows = {"user_id": [user] * len(history), "item_id": list(history), "weight": list(history.values())}
        unavailable = [ids(item) for item in (1, 5, 999)]
        night = recommend(mapped, pa.table(rows), 6, WEIGHTS, pa.array(unavailable))
        excluded = np.isin(np.array(mapped.items.to_pylist()), unavailable)
        found = visitor({**history, ids(10**6): 1.0}, 6, excluded)
        assert [item for item, _ in found] == night["item_id"].to_pylist()
        assert [score for _, score in found] == night["score"].to_pylist()
    assert visitor({ids(3): 1.0}, 6) == visitor({}, 6) == []


@pytest.mark.parametrize("ids", [int, str])
def test_mapped_models_are_the_stored_ones(ids: Callable[[int], int | str], tmp_path: Path) -> None:
    clicks = pa.table(
        {
            "session_id": [1, 1, 2, 2, 3, 3],
            "item_id": [ids(item) for item in (1, 2, 2, 3, 1, 3)],
            "ts": [1, 2, 3, 4, 5, 6],
        }
    )
    stored = session_model.to_bytes(sessions.fit(clicks))
    write_mapped(tmp_path / "model.arrow", *from_bytes(stored))
    items, arrays = read_mapped(tmp_path / "model.arrow")
    assert to_bytes(items, arrays) == stored, "every array comes back with its type and shape"
    mapped, plain = session_model.of(items, arrays), session_model.from_bytes(stored)
    assert NextItems(mapped)([ids(1)], 5) == NextItems(plain)([ids(1)], 5) != []
    (tmp_path / "other.arrow").write_bytes(stored)
    with pytest.raises(ValueError, match="not the file of a fitted model"):
        read_mapped(tmp_path / "other.arrow")


@pytest.mark.parametrize("values", [[-(2**63), 0, 7, 2**63 - 1], ["", "a", "b", "ü😀"], []])
def test_places_of_ids(values: list[int | str]) -> None:
    kind = pa.int64() if values and isinstance(values[0], int) else pa.string()
    index = IdIndex(pa.array(values, kind))
    unknown: list[int | str] = [5, "5", 2**63, "zz"]
    assert index.places(values).tolist() == list(range(len(values)))
    assert index.places(unknown).tolist() == [-1] * 4
    assert index.take(range(len(values))) == values
