"""Group ranking, beside the way: what MLflow shows of a ranker and of its gate."""

import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dagster as dg

from recsys_assets import model_registry
from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.assets.pictures import bar_chart
from recsys_assets.assets.promotion import headline, stored_promotion
from recsys_assets.core.gate.promotion import ModelRef, Promotion, Verdict
from recsys_assets.core.ranking.formats import BoostedLinear, Ranker, TreesOfCatBoost, read_model, suffix_of
from recsys_assets.core.ranking.tuning import Tuning
from recsys_assets.core.retrieval.params import Found, RetrievalParams
from recsys_assets.core.tuning.study import best_of
from recsys_assets.io_managers.partitions import Partitions
from recsys_assets.model_registry.state import current_registry_state
from recsys_assets.resources.store import StoreResource
from recsys_assets.resources.tracking import Recorded, Searched, Tracking, named_by
from recsys_assets.storage.lineage import Lineage, content_hash
from recsys_assets.storage.objects import canonical_json, sha256_bytes


def build(graph: GraphBuilder) -> list[dg.AssetsDefinition]:
    """The mirror in MLflow; nothing reads it, and it comes last, so that no list waits for it."""

    @graph.asset(
        "ranking",
        reads=dict.fromkeys(("ranker", "ranker_params", "retrieval_params", "ranker_evaluation", "promotion")),
        kinds=("mlflow",),
        checks=(),
        advisory=("tracked",),
        last=True,
    )
    def model_tracking(
        context: dg.AssetExecutionContext,
        ranker: Partitions,
        ranker_params: Partitions,
        retrieval_params: Partitions,
        ranker_evaluation: Partitions,
        promotion: Partitions,
        store: StoreResource,
        tracking: dg.ResourceParam[Tracking],
    ) -> dg.MaterializeResult[Any]:
        """A run in MLflow with the ranker of the day, its version in the registry, and the aliases of who stands.

        A search for parameters is a run too, with one below it for each trial. The aliases follow the newest day,
        whichever day this is. If MLflow is down, this says so and nothing else lacks anything; materialized again, it
        catches up.
        """
        day = context.partition_key
        decided = stored_promotion(promotion, day)
        lineage = store.partitions().read_lineage("ranker", day)
        path, params = ranker.file(day), ranker_params.file(day)
        if lineage is None or path is None or params is None:
            raise dg.Failure(f"there is no ranker of {day} to track", allow_retries=False)
        trained = path.read_bytes()
        evaluation = ranker_evaluation.frame().drop("dt").collect("polars").to_arrow()
        ndcg = headline(evaluation, "ndcg")
        metrics = {
            f"{metric}_at_10_{name}": value
            for metric in ("ndcg", "recall", "map", "mrr", "hit", "coverage", "novelty")
            for name, value in headline(evaluation, metric).items()
        }
        tuned = Tuning.from_json(params.read_text())
        metrics |= {"tuning_ndcg": best_of(tuned.trials).value} if tuned.trials else {}

        def write(mlflow: Any) -> None:
            mlflow.log_params(dict(lineage.params))
            mlflow.log_metrics({**metrics, **figures_of(decided)})
            mlflow.log_text(decided.to_json(), "promotion.json")
            log_plot(mlflow, "ndcg_at_10", "NDCG@10", ndcg)
            if trained and decided.model:
                log_plot(mlflow, "feature_importance", "Feature importance, %", importance_of(trained))
                log_model(mlflow, tracking, trained, decided.model, decided.verdict)

        tags = {**tags_of(decided, lineage, graph), "params_of": tuned.tuned_on or "defaults"}
        recorded = tracking.record(f"ranker {day}", tags, write)
        problem = recorded.problem or tracking.mirror(current_registry_state(store.open())[1]).problem
        if recorded.problem is None:
            for one in searches(tuned, retrieval_params.file(day)):
                problem = tracking.record_search(one, {"dataset": graph.dataset.name}).problem or problem
        return told(tracking, recorded, problem, decided)

    return [model_tracking]


def tags_of(decided: Promotion, lineage: Lineage, graph: GraphBuilder) -> dict[str, str]:
    """What a run in MLflow leads back to."""
    return {
        "partition": decided.as_of,
        "dataset": graph.dataset.name,
        "model_id": decided.model.id if decided.model else "none",
        "model_sha256": lineage.sha256,
        "lineage_sha256": content_hash(lineage),
        "code_version": f"{version('recsys-assets')}/{lineage.code_version}",
        "trained_by_dagster_run": lineage.run_id,
        "verdict": decided.verdict,
        "why": decided.gate.why[:5000],
        "champion": decided.after.champion.id if decided.after.champion else "none",
    }


def figures_of(decided: Promotion) -> dict[str, float]:
    """The gate's interval as metrics."""
    gate = decided.gate
    found = {"gate_gain": gate.gain, "gate_low": gate.low, "gate_high": gate.high, "gate_users": gate.users}
    return {name: float(value) for name, value in found.items() if value is not None}


def log_model(mlflow: Any, tracking: Tracking, trained: bytes, name: ModelRef, verdict: Verdict) -> None:
    """The ranker with the run that is open."""
    model = read_model(trained)
    if isinstance(model, TreesOfCatBoost | BoostedLinear):
        mlflow.log_metric("trees", model.tree_count)
    register_model(tracking, tracking.client(), mlflow.active_run().info.run_id, trained, name, verdict)


def register_model(
    tracking: Tracking, client: Any, run_id: str, trained: bytes, name: ModelRef, verdict: Verdict
) -> None:
    """A model of a run as a version in the registry, unless these bytes are one already."""
    if not tracking.tag_version(client, name, "verdict", verdict):
        tags = {**named_by(name), "partition": name.day, "verdict": verdict}
        with tempfile.TemporaryDirectory(prefix="recsys-model-") as folder:
            tracking.register(client, run_id, as_pyfunc(trained, Path(folder)), tags)


def as_pyfunc(trained: bytes, folder: Path) -> dict[str, Any]:
    """A stored model of any kind in MLflow's own form, with its signature: loaded from there, it scores the same.

    Args:
        trained: the stored model.
        folder: where it can lie until MLflow has copied it.

    Returns:
        What ``mlflow.pyfunc.save_model`` takes.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    path = folder / f"ranker{suffix_of(trained)}"
    path.write_bytes(trained)
    columns = dict.fromkeys(read_model(trained).columns)
    return {
        "python_model": str(CODE),
        "artifacts": {FILE: str(path)},
        "signature": ModelSignature(
            inputs=Schema([ColSpec(DataType.float, name) for name in columns]),
            outputs=Schema([ColSpec(DataType.double, "score")]),
        ),
        # Stated, since MLflow would find them by loading the model in a process of its own.
        "pip_requirements": [f"{package}=={version(package)}" for package in ("recsys-assets", "catboost", "numpy")],
    }


CODE, FILE = Path(model_registry.__file__).with_name("mlflow_flavor.py"), "ranker"
"""What MLflow runs to load a model, and what the stored model is called there."""


def importance_of(trained: bytes) -> dict[str, float]:
    """Importance of each feature, in percent; none where the model has no measure of it."""
    model = read_model(trained)
    if not isinstance(model, Ranker):
        return {}
    return dict(zip(model.columns, model.importance.tolist(), strict=True))


def log_plot(mlflow: Any, file: str, title: str, values: dict[str, float]) -> None:
    """A bar chart among the run's artifacts."""
    if values:
        with tempfile.TemporaryDirectory(prefix="recsys-plot-") as folder:
            path = Path(folder) / f"{file}.png"
            path.write_bytes(bar_chart(title, values))
            mlflow.log_artifact(str(path), "plots")


def searches(ranker: Tuning, retrieval: Path | None) -> list[Searched]:
    """The searches that found the parameters in force."""
    parts: dict[str, Tuning | Found] = {"ranker_params": ranker}
    found = RetrievalParams.from_json(retrieval.read_text()) if retrieval else None
    if found:
        parts |= {"als": found.als, "weights": found.weights}
    return [
        Searched(name, one.tuned_on, one.study, one.trials)
        for name, one in parts.items()
        if one.tuned_on and one.study and one.trials
    ]


def told(tracking: Tracking, recorded: Recorded, problem: str | None, decided: Promotion) -> dg.MaterializeResult[Any]:
    """What Dagster shows of it. Where MLflow is off, nothing is amiss."""
    state = problem or f"run {recorded.run_id} at {tracking.address}"
    return dg.MaterializeResult(
        metadata={"mlflow": state, "registered_model": tracking.registered_name, "verdict": decided.verdict},
        data_version=dg.DataVersion(sha256_bytes(canonical_json({"mlflow": state}))),
        check_results=[
            dg.AssetCheckResult(
                check_name="tracked",
                passed=problem in (None, "off"),
                severity=dg.AssetCheckSeverity.WARN,
                metadata={"mlflow": state},
            )
        ],
    )
