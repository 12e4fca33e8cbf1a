"""Group retrieval, its beginning: parameters that are searched on earlier days."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from importlib.metadata import version
from typing import Any

import dagster as dg
import pyarrow as pa

from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.assets.charts import search_metadata
from recsys_assets.assets.fit_context import fit_context
from recsys_assets.core.feature_names import MODEL_NAMES
from recsys_assets.core.models.als import AlsFitParams
from recsys_assets.core.ranking.examples import training_rows
from recsys_assets.core.retrieval.params import RetrievalParams, SearchResult, als_values
from recsys_assets.core.retrieval.protocol import CandidateParams
from recsys_assets.core.retrieval.tune_als import tune_als
from recsys_assets.core.retrieval.tune_weights import LabelledScores, ensemble_scores, fusion_scores, tune_weights
from recsys_assets.core.tuning.study import content_of, study_name
from recsys_assets.io_managers.frame_writer import FrameWriter
from recsys_assets.io_managers.handles import Partitions, Staged
from recsys_assets.model_registry.search_results import reused_result, search_of, stored_frame
from recsys_assets.partitions import window
from recsys_assets.resources.store import StoreResource
from recsys_assets.storage.lineage import Input

Result = dg.MaterializeResult[Staged]

_VERSION = "4"
"""Of the code that searches: another version searches again."""


def build(graph: GraphBuilder, candidate_params: CandidateParams) -> list[dg.AssetsDefinition]:
    """The parameters of matrix factorization and of the fusion of a day."""
    settings = graph.settings
    # The ranker of D is evaluated on (D-h, D]. So the searches are evaluated on (D-2h, D-h] and fit on what is before.
    past = window(max(settings.factors_days, settings.active_days) + settings.horizon_days, lag=settings.horizon_days)

    @graph.asset(
        "retrieval",
        reads={"user_activity": past, "bot_users": past},
        kinds=("json", "optuna"),
        code_version=_VERSION,
        checks=(),
        file="params.json",
    )
    def retrieval_params(
        context: dg.AssetExecutionContext,
        user_activity: Partitions,
        bot_users: Partitions,
        frames: FrameWriter,
        store: StoreResource,
    ) -> Result:
        """Parameters of matrix factorization and weights of the generators; searched anew once in a while.

        Weights are learned from the ranking examples of earlier windows, which lead back to earlier candidates: a
        dependency that this graph of assets cannot show, and that the lineage records do.
        """
        day = graph.day(context.partition_key)
        searches = _Searches(graph, candidate_params, day, store, frames, context.log.info)
        windows = len(searches.window_days)
        params = RetrievalParams(
            als=searches.reused("als") or searches.als(user_activity, bot_users),
            weights=searches.reused("weights", windows) or searches.weights(),
            ensemble=searches.reused("ensemble", windows) or searches.ensemble(),
        )
        return frames.write_bytes(
            context,
            params.to_json().encode(),
            params={
                "als_trials": settings.tuning_als_trials,
                "fusion_trials": settings.tuning_fusion_trials,
                "every_days": settings.tuning_every_days,
            },
            seed=settings.seed,
            metadata={
                **shown("als", "recall", params.als),
                **shown("weights", "NDCG@10", params.weights),
                **shown("ensemble", "NDCG@10", params.ensemble),
            },
            inputs=list(dict.fromkeys(searches.inputs)),
        )

    return [retrieval_params]


@dataclass(frozen=True)
class _Searches:
    """The searches of a day.

    Attributes:
        graph: has the settings.
        candidate_params: rules of the candidates, and the weights to start from.
        day: D.
        store: where the results and examples of earlier days are.
        frames: has the engine.
        log: takes a line per trial.
        inputs: partitions that were read past the IO manager, as the lineage names them.
    """

    graph: GraphBuilder
    candidate_params: CandidateParams
    day: date
    store: StoreResource
    frames: FrameWriter
    log: Callable[[str], None]
    inputs: list[Input] = field(default_factory=list[Input])

    @property
    def validation_end(self) -> date:
        """The last day of the window that a search is evaluated on."""
        return self.day - timedelta(days=self.graph.settings.horizon_days)

    @property
    def window_days(self) -> list[str]:
        """The training windows that are stored, by day, the oldest first; none where no trial is allowed."""
        settings = self.graph.settings
        steps = reversed(range(settings.training_windows if settings.tuning_fusion_trials else 0))
        days = [(self.validation_end - timedelta(days=step * settings.horizon_days)).isoformat() for step in steps]
        stored = set(self.store.partitions().days("ranking_examples"))
        return [day for day in days if day in stored]

    def reused(self, part: str, windows: int = 0) -> SearchResult | None:
        """The result of the latest earlier day of the period that searched; None where this day has to.

        Args:
            part: of the parameters.
            windows: fewest windows that the search read: while there are few, each further one tells much.
        """
        earlier = reused_result(
            self.store.partitions(),
            "retrieval_params",
            self.day,
            self.graph.settings,
            RetrievalParams.from_json,
            lambda params: bool(getattr(params, part).trials) and len(getattr(params, part).held_out) >= windows,
        )
        if earlier is None:
            return None
        params, read = earlier
        self.inputs.append(read)
        return getattr(params, part)

    def als(self, user_activity: Partitions, bot_users: Partitions) -> SearchResult:
        """Parameters of matrix factorization; the defaults where no trial is allowed."""
        settings, base = self.graph.settings, factors_parameters(self.graph)
        trials = settings.tuning_als_trials
        if not trials:
            return SearchResult(als_values(base))
        context = fit_context(
            self.graph,
            self.candidate_params,
            self.frames.run,
            self.validation_end.isoformat(),
            {"user_activity": user_activity.frame()},
            bot_users.frame(),
            settings.candidates_k,
        )
        return tune_als(
            context,
            self.validation_end - timedelta(days=settings.horizon_days),
            base,
            self.day.isoformat(),
            lambda content: search_of(settings, self._study("als", trials, content, base, context.k), trials, self.log),
            settings.min_evaluated_users,
        )

    def weights(self) -> SearchResult:
        """Weights of the generators; the defaults where no trial is allowed or there are no examples yet."""
        constant = self.candidate_params.fusion_constant
        base = {name: quota.weight for name, quota in self.candidate_params.quotas.items()}
        windows = self._windows(*(f"{name}_rank" for name in base))
        data = fusion_scores([*windows.values()], tuple(base), constant, self.graph.settings.seed)
        return self._tuned("weights", windows, data, base, constant)

    def ensemble(self) -> SearchResult:
        """Weights of the models of 'cf_ensemble', likewise; equal ones where nothing is learned."""
        base: dict[str, float] = dict.fromkeys(MODEL_NAMES, 1.0)
        if "cf_ensemble" not in self.candidate_params.quotas:
            return SearchResult(base)
        windows = self._windows("ui_events", *(f"ui_{name}" for name in MODEL_NAMES))
        data = ensemble_scores([*windows.values()], self.graph.settings.seed)
        return self._tuned("ensemble", windows, data, base)

    def _windows(self, *columns: str) -> dict[str, pa.Table]:
        """The examples of :attr:`window_days`, by day."""
        contract = self.graph.contracts["ranking_examples"]
        tables: dict[str, pa.Table] = {}
        for day in self.window_days:
            if stored := stored_frame(self.store, self.frames, contract, day):
                examples, read = stored
                self.inputs.append(read)
                rows = training_rows(examples.select("user_id", "item_id", "label", *columns))
                tables[day] = rows.sort("user_id", "item_id").collect(backend="polars").to_arrow()
        return tables

    def _tuned(
        self, of: str, windows: Mapping[str, pa.Table], data: LabelledScores, base: Mapping[str, float], *parts: object
    ) -> SearchResult:
        settings, trials = self.graph.settings, self.graph.settings.tuning_fusion_trials
        study = self._study(of, trials, *(content_of(rows) for rows in windows.values()), base, *parts)
        return tune_weights(data, base, self.day.isoformat(), study, trials, settings.min_evaluated_users, [*windows])

    def _study(self, of: str, trials: int, *parts: object) -> str:
        """The name of a search, by all that its result depends on."""
        settings = self.graph.settings
        budget = (trials, settings.tuning_seconds)
        return study_name(f"{of} {self.day}", *parts, version("recsys-assets"), _VERSION, budget, settings.seed)


def shown(part: str, measure: str, result: SearchResult) -> dict[str, Any]:
    """The metadata of a part for the UI."""
    about = {
        part: dg.MetadataValue.json(result.values),
        f"{part}_tuned_on": result.tuned_on or "not yet: the defaults",
        **{f"{part}_{name}": value for name, value in result.facts.items()},
    }
    return about | {f"{part}_{name}": value for name, value in search_metadata(measure, result.trials).items()}


def factors_parameters(graph: GraphBuilder) -> AlsFitParams:
    """The parameters of matrix factorization by the settings, which apply until a search has found better ones."""
    settings = graph.settings
    return AlsFitParams(
        factors=settings.factors,
        iterations=settings.als_iterations,
        half_life=settings.factors_half_life,
        seed=settings.seed,
    )


def stored_params(partitions: Partitions, day: str) -> RetrievalParams | None:
    """The parameters stored of a day; None where it was built before there were any."""
    path = partitions.file(day)
    return RetrievalParams.from_json(path.read_text()) if path else None
