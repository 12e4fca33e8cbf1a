"""Group retrieval, its beginning: parameters that earlier days have taught."""

from dataclasses import replace
from datetime import timedelta
from importlib.metadata import version
from typing import Any

import dagster as dg

from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.assets.pictures import search_shown
from recsys_assets.core.activity import bots
from recsys_assets.core.models.als import FactorsParams
from recsys_assets.core.ranking.examples import training_rows
from recsys_assets.core.retrieval.params import Found, RetrievalParams
from recsys_assets.core.retrieval.protocol import CandidateParams, FitContext, GeneratorQuota
from recsys_assets.core.retrieval.tune_als import als_values, tune_als, with_values
from recsys_assets.core.retrieval.tune_fusion import ranked, tune_weights
from recsys_assets.core.tuning.study import Search, content_of, study_name
from recsys_assets.io_managers.frame_writer import FrameWriter
from recsys_assets.io_managers.partitions import Partitions, Staged
from recsys_assets.model_registry.search_results import reused_result, search_of, stored_frame
from recsys_assets.partitions import window
from recsys_assets.resources.store import StoreResource
from recsys_assets.storage.lineage import Input

Result = dg.MaterializeResult[Staged]

_VERSION = "1"
"""Of the code that searches: another one searches anew."""


def build(graph: GraphBuilder, candidate_params: CandidateParams) -> list[dg.AssetsDefinition]:
    """What matrix factorization and the fusion of a day work with."""
    settings = graph.settings
    horizon = settings.horizon_days
    als_base = factors_parameters(graph)
    weights_base = {name: quota.weight for name, quota in candidate_params.quotas.items()}
    # The ranker of D is judged on (D-h, D], so (D-2h, D-h] judges here, and what lies before it is learned from.
    past = window(max(settings.factors_days, settings.active_days) + horizon, lag=horizon)

    @graph.asset(
        "retrieval",
        reads={"user_activity": past, "bot_users": past},
        kinds=("json", "optuna"),
        code_version=_VERSION,
        checks=(),
    )
    def retrieval_params(
        context: dg.AssetExecutionContext,
        user_activity: Partitions,
        bot_users: Partitions,
        frames: FrameWriter,
        store: StoreResource,
    ) -> Result:
        """Parameters of matrix factorization and weights of the generators; searched anew once in a while.

        Weights are learned from the ranking examples of one horizon ago, which lead back to earlier candidates: a
        dependency that this graph of assets cannot show, and that the lineage records do.
        """
        day = graph.day(context.partition_key)
        validated = day - timedelta(days=horizon)
        after = validated - timedelta(days=horizon)
        read: list[Input] = []

        def kept(part: str) -> Found | None:
            """What the latest earlier day of the period found."""
            found = reused_result(
                store.open(),
                "retrieval_params",
                day,
                settings,
                RetrievalParams.from_json,
                lambda params: bool(getattr(params, part).trials),
            )
            if found is None:
                return None
            read.append(found[1])
            return getattr(found[0], part)

        def search(of: str, trials: int, *parts: object) -> Search:
            budget = (trials, settings.tuning_seconds)
            name = study_name(f"{of} {day}", *parts, version("recsys-assets"), _VERSION, budget, settings.seed)
            return search_of(settings, name, trials, context.log.info)

        def als() -> Found:
            if not settings.tuning_als_trials:
                return Found(als_values(als_base))
            bot_ids = bot_users.frame()
            known = FitContext(
                engine=frames.run,
                frames={"user_activity": bots.without(user_activity.frame(), bot_ids)},
                as_of=validated,
                end=graph.end(validated.isoformat()),
                active_days=settings.active_days,
                horizon_days=horizon,
                half_life=als_base.half_life,
                repeats=candidate_params.repeats,
                exclude_unavailable=False,
                k=settings.candidates_k,
                seed=settings.seed,
            )
            return tune_als(
                known,
                after,
                als_base,
                day.isoformat(),
                lambda content: search("als", settings.tuning_als_trials, content, als_base, known.k),
                settings.min_evaluated_users,
            )

        def weights() -> Found:
            trials = settings.tuning_fusion_trials
            contract = graph.contracts["ranking_examples"]
            examples = trials and stored_frame(store, frames, contract, validated.isoformat())
            if not examples:
                return Found(weights_base)
            read.append(examples[1])
            names = tuple(weights_base)
            columns = ["user_id", "item_id", "label", *(f"{name}_rank" for name in names)]
            rows = training_rows(examples[0].select(columns))
            table = rows.sort("user_id", "item_id").collect(backend="polars").to_arrow()
            constant = candidate_params.fusion_constant
            # Cheap to make again, and dear to store trial by trial.
            running = replace(search("weights", trials, content_of(table), weights_base, constant), storage="memory")
            data = ranked(table, names, constant, settings.seed)
            return tune_weights(data, weights_base, day.isoformat(), running, settings.min_evaluated_users)

        found = RetrievalParams(als=kept("als") or als(), weights=kept("weights") or weights())
        return frames.write_bytes(
            context,
            "retrieval_params",
            found.to_json().encode(),
            params={
                "als_trials": settings.tuning_als_trials,
                "fusion_trials": settings.tuning_fusion_trials,
                "every_days": settings.tuning_every_days,
            },
            seed=settings.seed,
            metadata={**shown("als", "recall", found.als), **shown("weights", "NDCG@10", found.weights)},
            inputs=list(dict.fromkeys(read)),
        )

    return [retrieval_params]


def shown(part: str, measure: str, found: Found) -> dict[str, Any]:
    """What the UI shows of a part."""
    about = {
        part: dg.MetadataValue.json(found.values),
        f"{part}_tuned_on": found.tuned_on or "not yet: the defaults",
        **{f"{part}_{name}": value for name, value in found.facts.items()},
    }
    return about | {f"{part}_{name}": value for name, value in search_shown(measure, found.trials).items()}


def factors_parameters(graph: GraphBuilder) -> FactorsParams:
    """How factors are fitted as long as no search has found better."""
    settings = graph.settings
    return FactorsParams(
        factors=settings.factors,
        iterations=settings.als_iterations,
        half_life=settings.factors_half_life,
        seed=settings.seed,
    )


def factors_in_force(stored: Partitions, day: str, base: FactorsParams) -> FactorsParams:
    """The parameters of factors of a day; the base where that day was built before there were any."""
    path = stored.file(day)
    return with_values(base, RetrievalParams.from_json(path.read_text()).als.values) if path else base


def weights_in_force(stored: Partitions, day: str, base: CandidateParams) -> CandidateParams:
    """The parameters of candidates with the weights of a day; the base where that day was built before there were any.

    A generator that the search did not know keeps its own weight.
    """
    path = stored.file(day)
    found = RetrievalParams.from_json(path.read_text()).weights.values if path else {}
    quotas = {name: GeneratorQuota(one.k, found.get(name, one.weight)) for name, one in base.quotas.items()}
    return replace(base, quotas=quotas)
