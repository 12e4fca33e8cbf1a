"""The models of experiments in the store: ``assets/experiment_model.<experiment>/dt=<as-of day>/model.bin``.

The partitions of ``experiment_model`` are experiments, but models are stored by as-of day like everything else, so that
lineage and erasure cover them. The lineage record of a model holds its configuration and figures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, cast

import dagster as dg

from recsys_assets.resources.naming import Names
from recsys_assets.storage.lineage import Input, Lineage
from recsys_assets.storage.objects import sha256_bytes
from recsys_assets.storage.partition_store import PartitionStore, partition_key
from recsys_assets.storage.scratch import TemporaryFolder

ASSET = "experiment_model"
MODEL_FILE = "model.bin"


@dataclass(frozen=True)
class ExperimentModel:
    """A model of an experiment.

    Attributes:
        name: of the experiment.
        lineage: of the model; ``params`` holds the experiment, its threshold and its figures on held-out users.
    """

    name: str
    lineage: Lineage

    @property
    def input(self) -> Input:
        """The model as an input of a lineage record."""
        return Input(self.lineage.asset, self.lineage.day, self.lineage.sha256)

    @property
    def facts(self) -> Mapping[str, Any]:
        """The ``params`` of its lineage."""
        return cast(Mapping[str, Any], self.lineage.params)

    @property
    def tags(self) -> dict[str, str]:
        """The tags that identify its run in MLflow: equal bytes of equal configuration are one run."""
        return {"experiment": self.name, "config_sha256": self.facts["config_sha256"], "sha256": self.lineage.sha256}


def experiments_of(names: Names) -> dg.DynamicPartitionsDefinition:
    """The partitions of the models: one per file ``experiments/<name>.yaml`` of the landing zone."""
    return dg.DynamicPartitionsDefinition(name=names("experiments"))


def stored_as(experiment: str) -> str:
    """The asset name under which the store holds the models of an experiment."""
    return f"{ASSET}.{experiment}"


def models_to_test(
    partitions: PartitionStore, experiments: Iterable[str], day: str, horizon: int
) -> list[ExperimentModel]:
    """The newest model of each experiment that may be tested on the window of a day.

    It is as of that day or earlier, and its training windows end before the test window begins. The latter follows from
    the former unless the horizon was different when it was trained.
    """
    cut = (date.fromisoformat(day) - timedelta(days=horizon)).isoformat()
    models: list[ExperimentModel] = []
    for name in sorted(experiments):
        for as_of in reversed(partitions.days(stored_as(name))):
            lineage = partitions.read_lineage(stored_as(name), as_of) if as_of <= day else None
            if lineage and max(read.day for read in lineage.inputs) <= cut:
                models.append(ExperimentModel(name, lineage))
                break
    return models


def write_model(partitions: PartitionStore, data: bytes, lineage: Lineage) -> Lineage:
    """Store a model with its lineage.

    Returns:
        The record as stored.
    """
    with TemporaryFolder("experiment-") as folder:
        path = Path(folder) / MODEL_FILE
        path.write_bytes(data)
        partitions.write(lineage.asset, lineage.day, path, lineage)
    stored = partitions.read_lineage(lineage.asset, lineage.day)
    if stored is None:
        raise RuntimeError(f"{lineage.asset} of {lineage.day} was stored and is not there")
    return stored


def read_model_bytes(partitions: PartitionStore, model: ExperimentModel) -> bytes:
    """The bytes of a model.

    Raises:
        ValueError: they do not match the lineage record: a write was interrupted, or the model is being trained again.
    """
    lineage = model.lineage
    data = partitions.store.get(partition_key(lineage.asset, lineage.day, MODEL_FILE))
    if sha256_bytes(data) != lineage.sha256:
        raise ValueError("its bytes are not those of its record: materialize experiment_model again")
    return data
