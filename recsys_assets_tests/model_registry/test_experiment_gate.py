"""The best experiment before the gate: as a contender, and what people decided about it."""

from __future__ import annotations

from recsys_assets.core.gate.promotion import ModelRef, RegistryState
from recsys_assets.model_registry.experiment_gate import challenger
from recsys_assets.model_registry.experiment_models import ExperimentModel
from recsys_assets.model_registry.state import EXPERIMENT_CHALLENGER, StoredState
from recsys_assets.storage.lineage import Lineage

DAY = "2015-05-10"
BEST = ExperimentModel("ranks", Lineage("experiment_model.ranks", "2015-05-09", 9, "1", sha256="a" * 64))


def before(champion: ModelRef | None = None, waiting: ModelRef | None = None) -> StoredState:
    return StoredState(RegistryState(champion, waiting), b"", DAY, ())


def test_a_new_model_is_a_contender_of_the_day() -> None:
    assert challenger(BEST, before(), DAY) == ModelRef(DAY, "a" * 64, EXPERIMENT_CHALLENGER)
    assert challenger(BEST, before(ModelRef("2015-05-01", "b" * 64)), DAY) == ModelRef(
        DAY, "a" * 64, EXPERIMENT_CHALLENGER
    )
    assert challenger(None, before(), DAY) is None


def test_the_champion_is_no_contender_and_a_waiting_model_keeps_its_day() -> None:
    earlier = ModelRef("2015-05-08", "a" * 64, EXPERIMENT_CHALLENGER)
    assert challenger(BEST, before(champion=earlier), DAY) is None
    assert challenger(BEST, before(waiting=earlier), DAY) == earlier
