"""Group experiments: a model per file ``experiments/<name>.yaml`` of the landing zone."""

import json
import tempfile
import time
from collections.abc import Sequence
from datetime import date, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from recsys_assets.assets.builder import OWNERS, GraphBuilder
from recsys_assets.assets.pictures import bar_chart, bars
from recsys_assets.assets.ranking import learnable
from recsys_assets.core.engine import Frame
from recsys_assets.core.evaluation.threshold import best_threshold
from recsys_assets.core.evaluation.window import disjoint_windows
from recsys_assets.core.experiments import models
from recsys_assets.core.experiments.config import Experiment, ExperimentError, name_of, parse
from recsys_assets.core.experiments.metrics import Figure, figures, known
from recsys_assets.core.experiments.window import evaluated
from recsys_assets.core.ranking.formats import suffix_of
from recsys_assets.core.ranking.model import Scorer
from recsys_assets.core.ranking.split import NotEnoughExamples
from recsys_assets.ingest.landing import LandingZone
from recsys_assets.io_managers.frame_writer import FrameWriter
from recsys_assets.model_registry.experiment_models import ASSET, EXPERIMENTS, MODEL_FILE, ExperimentModel, stored_as
from recsys_assets.resources.store import StoreResource
from recsys_assets.resources.tracking import Recorded, Tracking
from recsys_assets.storage.lineage import Input, Lineage, content_hash
from recsys_assets.storage.objects import sha256_bytes
from recsys_assets.storage.partitions import PartitionStore

CODE_VERSION = "1"
EXAMPLES = "ranking_examples"


def build(graph: GraphBuilder) -> list[dg.AssetsDefinition]:
    """The model of an experiment."""
    horizon = graph.settings.horizon_days

    @dg.asset(
        name=ASSET,
        group_name="experiments",
        partitions_def=EXPERIMENTS,
        # Which days it reads is in the file, so it reads the store by itself, and its lineage says which days it read.
        deps=[dg.AssetDep(EXAMPLES, partition_mapping=dg.AllPartitionMapping())],
        pool=ASSET,
        kinds={"catboost", "scikitlearn", "mlflow"},
        owners=OWNERS,
        code_version=CODE_VERSION,
        tags={"recsys/grain": "experiment"},
        backfill_policy=dg.BackfillPolicy.multi_run(1),
    )
    def experiment_model(
        context: dg.AssetExecutionContext,
        landing: dg.ResourceParam[LandingZone],
        frames: FrameWriter,
        store: StoreResource,
        tracking: dg.ResourceParam[Tracking],
    ) -> dg.MaterializeResult[Any]:
        """The model that a file `experiments/<name>.yaml` describes, measured on users it did not learn from.

        It learns from the windows that the ranker of its as-of day would, so that day's own window is left to test on.
        """
        name = context.partition_key
        data, experiment = read_config(landing, name, graph.registry.names)
        partitions = store.partitions()
        as_of, windows = windows_of(experiment, partitions.days(EXAMPLES), horizon)
        schema = frames.schema_of(graph.contracts[EXAMPLES])
        frame = frames.run.scan([uri for _, uri in partitions.uris(EXAMPLES, windows)], schema)
        run_name, told = f"experiment {name}", {"experiment": name, "partition": as_of}
        started = time.monotonic()
        try:
            with tracking.failures(run_name, told, but=NotEnoughExamples):
                rows = learnable(frame)
                trained = models.train(rows, experiment)
        except NotEnoughExamples as reason:
            raise dg.Failure(f"experiment {name}: {reason}", allow_retries=False) from reason
        seconds = time.monotonic() - started
        threshold, found = measured(frame, rows, trained.data, experiment, graph.settings.seed)
        made = write_model(
            partitions,
            trained.data,
            Lineage(
                asset=stored_as(name),
                day=as_of,
                file=MODEL_FILE,
                rows=rows.num_rows,
                code_version=CODE_VERSION,
                params={
                    **experiment.facts(),
                    "config_sha256": sha256_bytes(data),
                    "horizon_days": horizon,
                    "windows": windows,
                    "threshold": threshold,
                    "validation": {one.metric: [known(one.value), known(one.low), known(one.high)] for one in found},
                },
                seed=experiment.seed,
                inputs=tuple(_input(partitions, day) for day in windows),
                run_id=context.run.run_id,
            ),
        )
        stored = ExperimentModel(name, made)
        measures = {
            **{f"{one.metric}_val": one.value for one in found if known(one.value) is not None},
            **({} if threshold is None else {"threshold": threshold}),
            "fit_seconds": seconds,
            "model_bytes": float(made.bytes),
            "training_rows": float(rows.num_rows),
        }

        def write(mlflow: Any) -> None:
            mlflow.log_params(flat(experiment, as_of, windows))
            mlflow.log_metrics(measures)
            mlflow.log_text(data.decode(), f"{name}.yaml")
            with tempfile.TemporaryDirectory(prefix="recsys-experiment-") as folder:
                path = Path(folder) / f"model{suffix_of(trained.data)}"
                path.write_bytes(trained.data)
                mlflow.log_artifact(str(path), "model")
                if trained.importance:
                    picture = Path(folder) / "importance.png"
                    picture.write_bytes(bar_chart("Feature importance", trained.importance))
                    mlflow.log_artifact(str(picture), "plots")

        recorded = tracking.add(stored.tags, lambda _client, _run: None)
        if recorded.run_id is None and recorded.problem is None:
            recorded = tracking.record(run_name, tags_of(stored, experiment, graph), write)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(made.sha256),
            metadata={
                **measures,
                "model": experiment.model,
                "about": experiment.about,
                "as_of": as_of,
                "windows": ", ".join(windows),
                "features": len(experiment.features),
                "params": dg.MetadataValue.json(experiment.params.model_dump()),
                "importance": bars("Feature importance", trained.importance),
                "uri": dg.MetadataValue.path(store.open().uri(f"assets/{made.asset}/dt={as_of}/{MODEL_FILE}")),
                "sha256": made.sha256,
                "mlflow": state_of(recorded, tracking),
            },
        )

    return [experiment_model]


def read_config(landing: LandingZone, name: str, generators: Sequence[str]) -> tuple[bytes, Experiment]:
    """The file of an experiment, and what it says.

    Raises:
        dagster.Failure: there is no such file, or it is at fault.
    """
    for meta in landing.experiment_files():
        try:
            if name_of(meta.key) == name:
                data = landing.experiment_file(meta.key)
                return data, parse(data, meta.key, generators)
        except ExperimentError as error:
            if Path(meta.key).stem == name:
                raise dg.Failure(str(error), allow_retries=False) from error
    raise dg.Failure(f"there is no file experiments/{name}.yaml in the landing zone", allow_retries=False)


def windows_of(experiment: Experiment, days: list[str], horizon: int) -> tuple[str, list[str]]:
    """The as-of day of an experiment, and the days of the examples that it learns from.

    Args:
        experiment: which says how many, and as of when.
        days: of the examples that exist.
        horizon: days; the newest window ends as long before the as-of day.
    """
    as_of = experiment.as_of.isoformat() if experiment.as_of else max(days, default="")
    newest = (date.fromisoformat(as_of) - timedelta(days=horizon)).isoformat() if as_of else ""
    windows = disjoint_windows([day for day in days if day <= newest], horizon)[-experiment.training_windows :]
    if not windows:
        when = f"as of {as_of}, which would end {horizon} days before it" if as_of else "yet"
        raise dg.Failure(
            f"experiment {experiment.name}: there are no examples to learn from {when}", allow_retries=False
        )
    return as_of, windows


def measured(
    frame: Frame, rows: pa.Table, data: bytes, experiment: Experiment, seed: int
) -> tuple[float | None, list[Figure]]:
    """The threshold of a model, chosen on the held-out users of the training windows, and its figures on them.

    All of their candidates count here, as on the test window, and not the sample that models learn from. Without a
    threshold (None) nothing is predicted.
    """
    everything = frame.sort("dt", "user_id", "item_id").collect(backend="polars").to_arrow()
    users = pa.array(models.held_out_users(rows, experiment), everything.schema.field("user_id").type)
    held = everything.filter(pc.call_function("is_in", [everything["user_id"]], pc.SetLookupOptions(users)))
    lists, scores = evaluated(held), Scorer(data, held.column_names).score(held)
    threshold = best_threshold(lists.labels, scores)
    return known(threshold), figures(lists, scores, threshold, experiment.metrics, seed=seed)


def write_model(partitions: PartitionStore, data: bytes, lineage: Lineage) -> Lineage:
    """Store a model with its lineage; returns the record as stored."""
    with tempfile.TemporaryDirectory(prefix="recsys-experiment-") as folder:
        path = Path(folder) / MODEL_FILE
        path.write_bytes(data)
        partitions.write(lineage.asset, lineage.day, path, lineage)
    stored = partitions.read_lineage(lineage.asset, lineage.day)
    if stored is None:
        raise RuntimeError(f"{lineage.asset} of {lineage.day} was stored and is not there")
    return stored


def flat(experiment: Experiment, as_of: str, windows: list[str]) -> dict[str, str]:
    """What MLflow shows of an experiment as parameters."""
    facts = experiment.facts()
    params = {f"params.{name}": str(value) for name, value in facts.pop("params").items()}
    lists = {name: ", ".join(facts.pop(name)) for name in ("features", "metrics")}
    return {**{k: str(v) for k, v in facts.items()}, **lists, **params, "as_of": as_of, "windows": ", ".join(windows)}


def tags_of(one: ExperimentModel, experiment: Experiment, graph: GraphBuilder) -> dict[str, str]:
    """What a run in MLflow leads back to."""
    return {
        **one.tags,
        "partition": one.lineage.day,
        "dataset": graph.dataset.name,
        "kind": experiment.model,
        "target": experiment.target,
        "about": experiment.about or "-",
        "lineage_sha256": content_hash(one.lineage),
        "code_version": f"{version('recsys-assets')}/{CODE_VERSION}",
        "trained_by_dagster_run": one.lineage.run_id,
        "config": json.dumps(experiment.facts())[:5000],
    }


def state_of(recorded: Recorded, tracking: Tracking) -> str:
    """What became of recording, for people."""
    return recorded.problem or f"run {recorded.run_id} at {tracking.address}"


def _input(partitions: PartitionStore, day: str) -> Input:
    lineage = partitions.read_lineage(EXAMPLES, day)
    return Input(EXAMPLES, day, lineage.sha256 if lineage else "")
