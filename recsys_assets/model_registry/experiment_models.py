"""The models of experiments in the store: ``assets/experiment_model.<experiment>/dt=<as-of day>/model.bin``.

The partitions of ``experiment_model`` are experiments, while what is stored is as of a day like all else, so that
lineage leads from it and to it, and an erasure finds it. What there is to say of a model stands in its lineage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, cast

import dagster as dg

from recsys_assets.storage.lineage import Input, Lineage
from recsys_assets.storage.objects import sha256_bytes
from recsys_assets.storage.partitions import PartitionStore, partition_key

ASSET = "experiment_model"
MODEL_FILE = "model.bin"
EXPERIMENTS = dg.DynamicPartitionsDefinition(name="experiments")
"""One partition per file ``experiments/<name>.yaml`` of the landing zone."""


@dataclass(frozen=True)
class ExperimentModel:
    """A model of an experiment.

    Attributes:
        name: of the experiment.
        lineage: what made it; ``params`` holds the experiment, its threshold and its figures on held-out users.
    """

    name: str
    lineage: Lineage

    @property
    def input(self) -> Input:
        """How lineage names it."""
        return Input(self.lineage.asset, self.lineage.day, self.lineage.sha256)

    @property
    def facts(self) -> Mapping[str, Any]:
        """See ``lineage``."""
        return cast(Mapping[str, Any], self.lineage.params)

    @property
    def tags(self) -> dict[str, str]:
        """The tags by which its run in MLflow is found: equal bytes of equal configuration are one run."""
        return {"experiment": self.name, "config_sha256": self.facts["config_sha256"], "sha256": self.lineage.sha256}


def stored_as(experiment: str) -> str:
    """What the store calls the models of an experiment."""
    return f"{ASSET}.{experiment}"


def models_to_test(
    partitions: PartitionStore, experiments: Iterable[str], day: str, horizon: int
) -> list[ExperimentModel]:
    """The newest model of each experiment that may be tested on the window of a day.

    It is as of that day or earlier, and what it learned from ends before the window begins. That follows from the
    former, unless the horizon was another when it was trained.
    """
    cut = (date.fromisoformat(day) - timedelta(days=horizon)).isoformat()
    found: list[ExperimentModel] = []
    for name in sorted(experiments):
        for as_of in reversed(partitions.days(stored_as(name), MODEL_FILE)):
            lineage = partitions.read_lineage(stored_as(name), as_of) if as_of <= day else None
            if lineage and max(read.day for read in lineage.inputs) <= cut:
                found.append(ExperimentModel(name, lineage))
                break
    return found


def read_model_bytes(partitions: PartitionStore, one: ExperimentModel) -> bytes:
    """The bytes of a model.

    Raises:
        ValueError: they are not those of its record, because a write was cut off or the model is being made again.
    """
    data = partitions.store.get(partition_key(one.lineage.asset, one.lineage.day, MODEL_FILE))
    if sha256_bytes(data) != one.lineage.sha256:
        raise ValueError("its bytes are not those of its record: materialize experiment_model again")
    return data
