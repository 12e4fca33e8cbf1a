"""Who stands before a day, as the partitions of earlier days and the rulings say."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys_assets.core.ranking.promotion import Gate, Mode, Model, Promotion, Standing
from recsys_assets.io_managers.partitions import FILE_NAMES
from recsys_assets.standing import standing_before, standing_now
from recsys_assets.storage.lineage import Lineage
from recsys_assets.storage.local import LocalStore
from recsys_assets.storage.objects import ObjectStore, sha256_bytes
from recsys_assets.storage.partitions import PartitionStore
from recsys_assets.storage.rulings import Ruling, Rulings

GATE = Gate(True, "fused", 0.1, 0.05, 0.2, 100, "it won")
MANUAL: Mode = "manual"


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return LocalStore(tmp_path / "store")


def put(store: ObjectStore, asset: str, day: str, content: bytes) -> Model:
    file = Path(store.uri()).parent / "staged"
    file.write_bytes(content)
    PartitionStore(store).write(asset, day, file, Lineage(asset, day, 0, "1", file=FILE_NAMES[asset]))
    return Model(day, sha256_bytes(content))


def gated(store: ObjectStore, day: str, champion: bytes, after: Standing) -> None:
    put(store, "champion", day, champion)
    decided = Promotion(
        day, MANUAL, Standing(), after.challenger, GATE, "waiting", after, "fused", "nobody is champion"
    )
    put(store, "promotion", day, decided.to_json().encode())


def approve(store: ObjectStore, model: Model, counts_from: str) -> None:
    Rulings(store).record(Ruling(model.id, "approved", counts_from, "run", "now"))


def test_the_latest_earlier_day_counts_whatever_lies_between(store: ObjectStore) -> None:
    assert standing_before(store, "2015-05-09").standing == Standing()
    old, new = Model("2015-05-01", sha256_bytes(b"old")), Model("2015-05-05", sha256_bytes(b"new"))
    gated(store, "2015-05-01", b"old", Standing(old))
    gated(store, "2015-05-05", b"new", Standing(new))
    for day, model, data in (("2015-05-05", old, b"old"), ("2015-05-06", new, b"new"), ("2015-06-30", new, b"new")):
        found = standing_before(store, day)
        assert (found.standing, found.champion) == (Standing(model), data)
        assert {(one.asset, one.day) for one in found.inputs} == {("champion", model.day), ("promotion", model.day)}
    assert standing_before(store, "2015-05-01").champion == b""
    assert standing_now(store) == ("2015-05-05", Standing(new))


def test_a_day_that_was_cut_off_is_passed_over(store: ObjectStore) -> None:
    old = Model("2015-05-01", sha256_bytes(b"old"))
    gated(store, "2015-05-01", b"old", Standing(old))
    gated(store, "2015-05-05", b"half", Standing(Model("2015-05-05", sha256_bytes(b"whole"))))
    found = standing_before(store, "2015-05-09")
    assert (found.since, found.champion) == ("2015-05-01", b"old")


def test_an_approval_counts_from_its_day_on_and_for_the_bytes_that_were_judged(store: ObjectStore) -> None:
    old, waiting = put(store, "ranker", "2015-05-01", b"old"), put(store, "ranker", "2015-05-05", b"new")
    gated(store, "2015-05-05", b"old", Standing(old, waiting))
    approve(store, waiting, "2015-05-08")
    assert standing_before(store, "2015-05-07").standing == Standing(old, waiting)
    found = standing_before(store, "2015-05-08")
    assert (found.standing, found.champion) == (Standing(waiting), b"new")
    assert ("ranker", "2015-05-05") in {(one.asset, one.day) for one in found.inputs}
    put(store, "ranker", "2015-05-05", b"made again")
    found = standing_before(store, "2015-05-08")
    assert (found.standing, found.champion) == (Standing(old), b"old")
