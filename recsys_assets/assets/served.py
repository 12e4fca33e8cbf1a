"""Group ranking, after the gate: the model that orders the lists, trained on the newest window too."""

from typing import Any

import dagster as dg

from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.assets.order import PRESENT
from recsys_assets.assets.promotion import partition_bytes, stored_promotion
from recsys_assets.assets.ranking import training_table, write_ranker
from recsys_assets.core.gate.promotion import ModelRef
from recsys_assets.core.ranking import model
from recsys_assets.core.ranking.formats import read_model
from recsys_assets.core.ranking.presence import shares_present
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
        experiment, it is the champion as it was evaluated. Its record states which columns the examples had.
        """
        day = context.partition_key
        decided = stored_promotion(promotion, day)
        evaluated = partition_bytes(champion, day) if decided.order_by == "ranker" else b""
        recorded: dict[str, Any] = {}

        def as_evaluated(why: str) -> Result:
            return frames.write_bytes(context, evaluated, params=recorded, metadata={"refit": False, "why": why})

        name = decided.after.champion
        if not evaluated or name is None:
            return as_evaluated(f"{decided.order_by} orders the lists")
        columns, rows = read_model(evaluated).columns, training_table(ranking_examples, horizon)
        recorded[PRESENT] = shares_present(rows, columns)
        if not settings.refit:
            return as_evaluated("RECSYS_REFIT is false")
        training = recipe(store.partitions(), name)
        if training is None:
            return as_evaluated(f"the parameters of {name.asset} {name.id} are not those of a ranker of this version")
        params, source = training
        try:
            with tracking.failures(f"served_ranker {day}", {"partition": day}, but=NotEnoughExamples):
                trained = model.train(rows, params, columns)
        except NotEnoughExamples as reason:
            return as_evaluated(str(reason))
        return write_ranker(context, frames, trained, params, {"refit": True, "champion": name.id}, (source,), recorded)

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
