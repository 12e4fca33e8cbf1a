"""Group ranking, after the gate: the model that orders the lists, trained on the newest window too."""

from typing import Any

import dagster as dg

from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.assets.promotion import stored_promotion
from recsys_assets.assets.ranking import training_table, write_ranker
from recsys_assets.core.gate.promotion import ModelRef
from recsys_assets.core.ranking import model
from recsys_assets.core.ranking.formats import read_model
from recsys_assets.core.ranking.split import NotEnoughExamples
from recsys_assets.io_managers.frame_writer import FrameWriter
from recsys_assets.io_managers.handles import Partitions, Staged
from recsys_assets.partitions import window
from recsys_assets.resources.store import StoreResource
from recsys_assets.resources.tracking import Tracking
from recsys_assets.storage.lineage import Input
from recsys_assets.storage.partition_store import PartitionStore

Result = dg.MaterializeResult[Staged]


def build(graph: GraphBuilder) -> list[dg.AssetsDefinition]:
    """The model that orders the lists of a day."""
    settings = graph.settings
    horizon = settings.horizon_days

    @graph.asset(
        "ranking",
        reads={
            "ranking_examples": window(horizon * (settings.training_windows - 1) + 1),
            "champion": None,
            "promotion": None,
        },
        kinds=("catboost",),
        checks=(),
        file="model.cbm",
    )
    def served_ranker(
        context: dg.AssetExecutionContext,
        ranking_examples: Partitions,
        champion: Partitions,
        promotion: Partitions,
        frames: FrameWriter,
        store: StoreResource,
        tracking: dg.ResourceParam[Tracking],
    ) -> Result:
        """The model that orders the lists: the champion's parameters, trained again on the windows up to this day.

        The gate evaluates on the newest window, which no champion may be trained on; the served model should use it.
        An empty file where a generator orders the lists. With `RECSYS_REFIT=false`, or if the champion was an
        experiment, it is the champion as it was evaluated.
        """
        day = context.partition_key
        decided = stored_promotion(promotion, day)
        path = champion.file(day)
        evaluated = path.read_bytes() if path and decided.order_by == "ranker" else b""

        def as_evaluated(why: str) -> Result:
            return frames.write_bytes(context, evaluated, metadata={"refit": False, "why": why})

        name = decided.after.champion
        if not evaluated or name is None:
            return as_evaluated(f"{decided.order_by} orders the lists")
        if not settings.refit:
            return as_evaluated("RECSYS_REFIT is false")
        training = recipe(store.partitions(), name)
        if training is None:
            return as_evaluated(f"the parameters of {name.asset} {name.id} are not those of a ranker of this version")
        params, source = training
        try:
            with tracking.failures(f"served_ranker {day}", {"partition": day}, but=NotEnoughExamples):
                rows = training_table(ranking_examples, horizon)
                trained = model.train(rows, params, read_model(evaluated).columns)
        except NotEnoughExamples as reason:
            return as_evaluated(str(reason))
        metadata = {"refit": True, "champion": name.id}
        return write_ranker(context, frames, trained, params, metadata, (source,))

    return [served_ranker]


def recipe(partitions: PartitionStore, name: ModelRef) -> tuple[model.RankerParams, Input] | None:
    """The parameters that a ranker was trained with, and the partition that records them; None where that is gone."""
    lineage = partitions.read_lineage(name.asset, name.day)
    if name.asset != "ranker" or lineage is None or lineage.sha256 != name.sha256:
        return None
    params: Any = lineage.params
    try:
        return model.RankerParams(**params), Input(name.asset, name.day, lineage.sha256)
    except TypeError:
        return None
