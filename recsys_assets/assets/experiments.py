"""Group experiments: a model per file ``experiments/<name>.yaml`` of the landing zone."""

import json
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dagster as dg

from recsys_assets.assets.builder import OWNERS, GraphBuilder
from recsys_assets.assets.charts import bar_chart_metadata
from recsys_assets.core.engine import Frame
from recsys_assets.core.experiments import models
from recsys_assets.core.experiments.config import Experiment, ExperimentError, name_of, parse
from recsys_assets.core.experiments.training import TrainingResult, held_out_figures, training_windows
from recsys_assets.core.insight.model_charts import bar_chart
from recsys_assets.core.ranking.examples import collect_training_rows
from recsys_assets.core.ranking.formats import suffix_of
from recsys_assets.core.ranking.split import NotEnoughExamples
from recsys_assets.ingest.landing import LandingZone
from recsys_assets.io_managers.frame_writer import FrameWriter
from recsys_assets.model_registry.experiment_models import (
    ASSET,
    MODEL_FILE,
    ExperimentModel,
    stored_as,
    write_model,
)
from recsys_assets.resources.store import StoreResource
from recsys_assets.resources.tracking import Recorded, Tracking
from recsys_assets.storage.lineage import Input, Lineage, content_hash
from recsys_assets.storage.objects import sha256_bytes
from recsys_assets.storage.partition_store import PartitionStore
from recsys_assets.storage.scratch import TemporaryFolder

CODE_VERSION = "1"
EXAMPLES = "ranking_examples"


def build(graph: GraphBuilder) -> list[dg.AssetsDefinition]:
    """The model of an experiment."""
    settings = graph.settings

    @dg.asset(
        key=graph.names.key(ASSET),
        group_name=graph.names("experiments"),
        partitions_def=graph.experiments,
        # The file says which days are read, so the asset reads the store itself and records the days in its lineage.
        deps=graph.deps({EXAMPLES: dg.AllPartitionMapping()}),
        io_manager_key=graph.names("io_manager"),
        pool=graph.names(ASSET),
        kinds={"catboost", "scikitlearn", "mlflow"},
        owners=OWNERS,
        code_version=CODE_VERSION,
        tags={graph.names.grain: "experiment"},
        backfill_policy=dg.BackfillPolicy.multi_run(1),
    )
    @graph.names.bind
    def experiment_model(
        context: dg.AssetExecutionContext,
        landing: dg.ResourceParam[LandingZone],
        frames: FrameWriter,
        store: StoreResource,
        tracking: dg.ResourceParam[Tracking],
    ) -> dg.MaterializeResult[Any]:
        """The model that a file `experiments/<name>.yaml` describes, with metrics on users that were held out.

        It is trained on the windows that the ranker of its as-of day would be, so that day's window is left to test on.
        """
        name = context.partition_key
        config, experiment = read_config(landing, name, graph.registry.names)
        partitions = store.partitions()
        try:
            as_of, windows = training_windows(experiment, partitions.days(EXAMPLES), settings.horizon_days)
            uris = current_uris(partitions, windows)
            examples = frames.run.scan(uris, frames.schema_of(graph.contracts[EXAMPLES]))
            with tracking.failures(
                run_name(experiment), {"experiment": name, "partition": as_of}, but=NotEnoughExamples
            ):
                result, seconds = train(examples, experiment, as_of, windows, settings.seed)
        except NotEnoughExamples as reason:
            raise dg.Failure(f"experiment {name}: {reason}", allow_retries=False) from reason
        facts = result.facts(sha256_bytes(config), settings.horizon_days)
        lineage = lineage_of(partitions, result, facts, context.run.run_id)
        model = ExperimentModel(name, write_model(partitions, result.fitted.data, lineage))
        recorded = record(tracking, model, result, config, seconds, graph.dataset.name)
        uri = store.open().uri(f"assets/{model.lineage.asset}/dt={as_of}/{MODEL_FILE}")
        return dg.MaterializeResult(
            data_version=dg.DataVersion(model.lineage.sha256),
            metadata={
                **described(result, seconds),
                "uri": dg.MetadataValue.path(uri),
                "sha256": model.lineage.sha256,
                "mlflow": state_of(recorded, tracking),
            },
        )

    return [experiment_model]


def current_uris(partitions: PartitionStore, windows: Sequence[str]) -> list[str]:
    """Where the examples of some windows are.

    Raises:
        OtherSettingsError: some were made with other settings.
    """
    records = [partitions.read_lineage(EXAMPLES, day) for day in windows]
    partitions.refuse_other_settings(record for record in records if record)
    return [uri for _, uri in partitions.uris(EXAMPLES, windows)]


def read_config(landing: LandingZone, name: str, generators: Sequence[str]) -> tuple[bytes, Experiment]:
    """The file of an experiment, as bytes and parsed.

    Raises:
        dagster.Failure: there is no such file, or it is invalid.
    """
    for file in landing.experiment_files():
        try:
            if name_of(file.name) == name and not file.fault:
                data = landing.experiment_file(file.name)
                return data, parse(data, file.name, generators)
        except ExperimentError as error:
            if Path(file.name).stem == name:
                raise dg.Failure(str(error), allow_retries=False) from error
    raise dg.Failure(f"there is no file experiments/{name}.yaml in the landing zone", allow_retries=False)


def train(
    examples: Frame, experiment: Experiment, as_of: str, windows: Sequence[str], seed: int
) -> tuple[TrainingResult, float]:
    """Train an experiment and measure it on held-out users; also the seconds that training took."""
    started = time.monotonic()
    rows = collect_training_rows(examples)
    fitted = models.train(rows, experiment)
    seconds = time.monotonic() - started
    everything = examples.sort("dt", "user_id", "item_id").collect(backend="polars").to_arrow()
    threshold, figures = held_out_figures(everything, rows, fitted.data, experiment, seed)
    return TrainingResult(experiment, as_of, windows, fitted, rows.num_rows, threshold, figures), seconds


def lineage_of(partitions: PartitionStore, result: TrainingResult, facts: dict[str, Any], run_id: str) -> Lineage:
    """The lineage record of a trained model.

    Args:
        partitions: hold the examples that it was trained on.
        result: of the training.
        facts: of the result.
        run_id: of Dagster.
    """
    return Lineage(
        asset=stored_as(result.experiment.name),
        day=result.as_of,
        file=MODEL_FILE,
        rows=result.rows,
        code_version=CODE_VERSION,
        params=facts,
        seed=result.experiment.seed,
        inputs=tuple(_input(partitions, day) for day in result.windows),
        run_id=run_id,
    )


def record(
    tracking: Tracking, model: ExperimentModel, result: TrainingResult, config: bytes, seconds: float, dataset: str
) -> Recorded:
    """Record the training as a run in MLflow, unless this very model has one already."""

    def write(mlflow: Any) -> None:
        mlflow.log_params(result.params())
        mlflow.log_metrics({**result.metrics(), "fit_seconds": seconds})
        mlflow.log_text(config.decode(), f"{model.name}.yaml")
        with TemporaryFolder("experiment-") as folder:
            path = Path(folder) / f"model{suffix_of(result.fitted.data)}"
            path.write_bytes(result.fitted.data)
            mlflow.log_artifact(str(path), "model")
            if result.fitted.importance:
                chart = Path(folder) / "importance.png"
                chart.write_bytes(bar_chart("Feature importance", result.fitted.importance))
                mlflow.log_artifact(str(chart), "plots")

    recorded = tracking.add(model.tags, lambda _client, _run: None)
    if recorded.run_id is None and recorded.problem is None:
        recorded = tracking.record(run_name(result.experiment), tags_of(model, result.experiment, dataset), write)
    return recorded


def run_name(experiment: Experiment) -> str:
    """The name of its run in MLflow."""
    return f"experiment {experiment.name}"


def described(result: TrainingResult, seconds: float) -> dict[str, Any]:
    """The metadata of a trained model in the UI."""
    experiment = result.experiment
    return {
        **result.metrics(),
        "fit_seconds": seconds,
        "model": experiment.model,
        "about": experiment.about,
        "as_of": result.as_of,
        "windows": ", ".join(result.windows),
        "features": len(experiment.features),
        "params": dg.MetadataValue.json(experiment.params.model_dump()),
        "importance": bar_chart_metadata("Feature importance", result.fitted.importance),
    }


def tags_of(model: ExperimentModel, experiment: Experiment, dataset: str) -> dict[str, str]:
    """The tags of its run in MLflow, which lead back to its origin."""
    return {
        **model.tags,
        "partition": model.lineage.day,
        "dataset": dataset,
        "kind": experiment.model,
        "target": experiment.target,
        "about": experiment.about or "-",
        "lineage_sha256": content_hash(model.lineage),
        "code_version": f"{version('recsys-assets')}/{CODE_VERSION}",
        "trained_by_dagster_run": model.lineage.run_id,
        "config": json.dumps(experiment.facts())[:5000],
    }


def state_of(recorded: Recorded, tracking: Tracking) -> str:
    """The outcome of recording, for people."""
    return recorded.problem or f"run {recorded.run_id} at {tracking.address}"


def _input(partitions: PartitionStore, day: str) -> Input:
    lineage = partitions.read_lineage(EXAMPLES, day)
    return Input(EXAMPLES, day, lineage.sha256 if lineage else "")
