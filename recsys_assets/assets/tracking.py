"""Group ranking: the copy of rankers and of the gate's decisions in MLflow."""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa

from recsys_assets import model_registry
from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.assets.promotion import headline, stored_promotion
from recsys_assets.core.gate.promotion import ModelRef, Promotion, Verdict
from recsys_assets.core.insight.model_charts import bar_chart
from recsys_assets.core.ranking.formats import BoostedLinear, Ranker, TreesOfCatBoost, read_model, suffix_of
from recsys_assets.core.ranking.tuning import RankerSearchResult
from recsys_assets.core.retrieval.params import RetrievalParams, SearchResult
from recsys_assets.core.tuning.study import best_of
from recsys_assets.io_managers.handles import Partitions
from recsys_assets.model_registry.state import current_registry_state
from recsys_assets.resources.store import StoreResource
from recsys_assets.resources.tracking import Recorded, Searched, Tracking, named_by
from recsys_assets.storage.lineage import Lineage, content_hash
from recsys_assets.storage.objects import canonical_json, sha256_bytes
from recsys_assets.storage.scratch import temporary_folder


@dataclass(frozen=True)
class DayRanker:
    """The ranker of a day with everything that its run in MLflow shows.

    Args:
        model: the stored model; empty if none was trained.
        lineage: of the stored model.
        search: the search for its parameters, and its result.
        evaluation: ``RANKER_EVALUATION`` of the day.
        promotion: the gate's decision on it.
    """

    model: bytes
    lineage: Lineage
    search: RankerSearchResult
    evaluation: pa.Table
    promotion: Promotion

    def tags(self, dataset: str) -> dict[str, str]:
        """Tags of the run: where its content comes from."""
        promotion = self.promotion
        return {
            "partition": promotion.as_of,
            "dataset": dataset,
            "model_id": promotion.model.id if promotion.model else "none",
            "model_sha256": self.lineage.sha256,
            "lineage_sha256": content_hash(self.lineage),
            "code_version": f"{version('recsys-assets')}/{self.lineage.code_version}",
            "trained_by_dagster_run": self.lineage.run_id,
            "verdict": promotion.verdict,
            "why": promotion.gate.why[:5000],
            "champion": promotion.after.champion.id if promotion.after.champion else "none",
            "params_of": self.search.tuned_on or "defaults",
        }

    def metrics(self) -> dict[str, float]:
        """Metrics of all models at 10, the gate's interval, the best value of the search."""
        gate = self.promotion.gate
        decision = {"gate_gain": gate.gain, "gate_low": gate.low, "gate_high": gate.high, "gate_users": gate.users}
        return {
            **{
                f"{metric}_at_10_{name}": value
                for metric in ("ndcg", "recall", "map", "mrr", "hit", "coverage", "novelty")
                for name, value in headline(self.evaluation, metric).items()
            },
            **({"tuning_ndcg": best_of(self.search.trials).value} if self.search.trials else {}),
            **{name: float(value) for name, value in decision.items() if value is not None},
        }

    def write(self, mlflow: Any, tracking: Tracking) -> None:
        """Log everything into the run that is open."""
        mlflow.log_params(dict(self.lineage.params))
        mlflow.log_metrics(self.metrics())
        mlflow.log_text(self.promotion.to_json(), "promotion.json")
        log_plot(mlflow, "ndcg_at_10", "NDCG@10", headline(self.evaluation, "ndcg"))
        if self.model and self.promotion.model:
            log_plot(mlflow, "feature_importance", "Feature importance, %", feature_importance(self.model))
            log_model(mlflow, tracking, self.model, self.promotion.model, self.promotion.verdict)


def build(graph: GraphBuilder) -> list[dg.AssetsDefinition]:
    """The copy of rankers and decisions in MLflow; nothing reads it, and it runs last, so that no list waits for it."""

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
        """A run in MLflow with the ranker of the day, its version in the registry, and the aliases of the models.

        A search for parameters is a run too, with a child run for each trial. The aliases follow the newest day,
        whichever day this is. If MLflow is down, the asset warns and nothing else is affected; materializing it again
        catches up.
        """
        day = context.partition_key
        day_ranker = read_day_ranker(day, ranker, ranker_params, ranker_evaluation, promotion, store)
        retrieval = retrieval_params.file(day)
        recorded, problem = record(tracking, store, day_ranker, retrieval, graph.dataset.name)
        return result(tracking, recorded, problem, day_ranker.promotion)

    return [model_tracking]


def read_day_ranker(
    day: str,
    ranker: Partitions,
    ranker_params: Partitions,
    ranker_evaluation: Partitions,
    promotion: Partitions,
    store: StoreResource,
) -> DayRanker:
    """Read the ranker of a day and what belongs to it.

    Raises:
        Failure: there is no ranker of that day.
    """
    lineage = store.partitions().read_lineage("ranker", day)
    model, params = ranker.file(day), ranker_params.file(day)
    if lineage is None or model is None or params is None:
        raise dg.Failure(f"there is no ranker of {day} to track", allow_retries=False)
    return DayRanker(
        model.read_bytes(),
        lineage,
        RankerSearchResult.from_json(params.read_text()),
        ranker_evaluation.frame().drop("dt").collect("polars").to_arrow(),
        stored_promotion(promotion, day),
    )


def record(
    tracking: Tracking, store: StoreResource, day_ranker: DayRanker, retrieval: Path | None, dataset: str
) -> tuple[Recorded, str | None]:
    """Record the run of a ranker, then the aliases and the searches; without the run, none of these.

    Args:
        tracking: where MLflow is.
        store: has the registry state that the aliases follow.
        day_ranker: what the run shows.
        retrieval: the stored ``retrieval_params`` of the day, if any.
        dataset: name of the data set, a tag of every run.

    Returns:
        The run, and what went wrong anywhere, or None.
    """
    name = f"ranker {day_ranker.promotion.as_of}"
    recorded = tracking.record(name, day_ranker.tags(dataset), lambda mlflow: day_ranker.write(mlflow, tracking))
    if recorded.problem:
        return recorded, recorded.problem
    problem = tracking.mirror(current_registry_state(store.open())[1]).problem
    for search in searches(day_ranker.search, retrieval):
        problem = tracking.record_search(search, {"dataset": dataset}).problem or problem
    return recorded, problem


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
        with temporary_folder("model-") as folder:
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


def feature_importance(trained: bytes) -> dict[str, float]:
    """Importance of each feature, in percent; none where the model has no measure of it."""
    model = read_model(trained)
    if not isinstance(model, Ranker):
        return {}
    return dict(zip(model.columns, model.importance.tolist(), strict=True))


def log_plot(mlflow: Any, file: str, title: str, values: dict[str, float]) -> None:
    """A bar chart among the run's artifacts."""
    if values:
        with temporary_folder("plot-") as folder:
            path = Path(folder) / f"{file}.png"
            path.write_bytes(bar_chart(title, values))
            mlflow.log_artifact(str(path), "plots")


def searches(ranker: RankerSearchResult, retrieval: Path | None) -> list[Searched]:
    """The searches whose results are the parameters in force."""
    results: dict[str, RankerSearchResult | SearchResult] = {"ranker_params": ranker}
    if retrieval:
        params = RetrievalParams.from_json(retrieval.read_text())
        results |= {"als": params.als, "weights": params.weights, "ensemble": params.ensemble}
    return [
        Searched(name, result.tuned_on, result.study, result.trials)
        for name, result in results.items()
        if result.tuned_on and result.study and result.trials
    ]


def result(
    tracking: Tracking, recorded: Recorded, problem: str | None, promotion: Promotion
) -> dg.MaterializeResult[Any]:
    """What Dagster shows of a run in MLflow. MLflow being off is no problem."""
    state = problem or f"run {recorded.run_id} at {tracking.address}"
    return dg.MaterializeResult(
        metadata={"mlflow": state, "registered_model": tracking.registered_name, "verdict": promotion.verdict},
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
