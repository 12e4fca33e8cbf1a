"""Every frame function of ``core``, each with a call on the frames of the suite: the one list that the suite runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import narwhals as nw
import pyarrow as pa

from recsys_assets.core import contracts, frames, parts, quality
from recsys_assets.core.activity import bots, marts, merge
from recsys_assets.core.catalog import features as catalog_features
from recsys_assets.core.engine import Frame
from recsys_assets.core.evaluation import compare, evaluator, window
from recsys_assets.core.experiments.window import with_targets
from recsys_assets.core.gate.rule import CONFIDENCE, pick_baseline
from recsys_assets.core.generator_registry import BUILT_IN
from recsys_assets.core.insight import backtest, counts, figures
from recsys_assets.core.lists import evaluation as list_evaluation
from recsys_assets.core.lists import recommend
from recsys_assets.core.models import als, covisitation, popular, similar_items
from recsys_assets.core.ranking import cross_validation, examples, model
from recsys_assets.core.retrieval import (
    by_embedding,
    candidates,
    content,
    features,
    generators,
    labelled,
    next_in_session,
    protocol,
    tune_als,
)
from recsys_assets.core.tuning.study import Budget, Search
from recsys_assets_tests.engines.event_functions import END, EVENT_FUNCTIONS
from recsys_assets_tests.engines.frames import CUT, LAST
from recsys_assets_tests.engines.function_inputs import (
    BOTS,
    CANDIDATES,
    COVISIT,
    FACTORS,
    HOURLY,
    LIST_LENGTH,
    POPULAR,
    STEADY,
    WEIGHTS,
    FunctionInputs,
    trained_model,
)
from recsys_assets_tests.engines.list_functions import LIST_FUNCTIONS, lists_and_reranked

GATE_RULE: dict[str, Any] = {"level": CONFIDENCE, "pick_baseline": pick_baseline}
Call = Callable[[FunctionInputs], Any]


def _report_inputs(inputs: FunctionInputs) -> figures.ReportInputs:
    counted = counts.event_counts(inputs["parsed_events"], inputs["clean_events"], inputs["rejected_events"])
    return figures.ReportInputs(counted.with_columns(dt=nw.lit(LAST)), inputs["user_activity"], inputs["bot_users"])


def _report(inputs: FunctionInputs) -> Any:
    return figures.figures(_report_inputs(inputs), LAST, figures.ReportParams("shop", WEIGHTS.weights, 5))


def _backtest_inputs(inputs: FunctionInputs) -> backtest.BacktestInputs:
    evaluation = inputs.engine.from_arrow(_evaluate(inputs)).with_columns(dt=nw.lit(LAST), k=nw.lit(10))
    lists = recommend.recommend(inputs["candidates"], "fused", k=5)
    by_day = {"2024-02-23": recommend.recommend(inputs["candidates"], "covisit", k=9), LAST.isoformat(): lists}
    return backtest.BacktestInputs(evaluation, {}, by_day)


def _read(inputs: FunctionInputs) -> evaluator.Lists:
    return inputs.evaluator.read(compare.lists_from_candidates(inputs["candidates"])["fused"], 3)


def _tune_als(inputs: FunctionInputs) -> Any:
    result = tune_als.tune_als(
        inputs.fit_context, CUT, FACTORS, str(LAST), lambda rows: Search(rows, Budget(2)), min_users=1
    )
    return pa.table(
        {"study": [result.study], **{name: [value] for name, value in (result.values | result.facts).items()}}
    )


def _evaluate(inputs: FunctionInputs) -> Any:
    lists = compare.lists_from_candidates(inputs["candidates"])
    contenders = {name: lists[name] for name in ("fused", "covisit")}
    popularity = evaluator.popularity(inputs["user_activity"])
    return compare.evaluate(
        contenders, inputs["targets"], inputs["users"], popularity, 30, (3,), resamples=20, **GATE_RULE
    )


def _window(inputs: FunctionInputs) -> window.Window:
    return window.collect_window(inputs["candidates"], inputs["user_activity"], CUT)


def _evaluate_window(inputs: FunctionInputs) -> Any:
    return window.evaluate_window(_window(inputs), inputs["candidates"], {"ranker": inputs["scores"]}, 1, **GATE_RULE)


def _shared_list(inputs: FunctionInputs, interacted: Frame | None = None) -> Frame:
    popular_items = inputs["top_popular"].filter(nw.col("segment") == popular.ALL)
    return generators.shared_list(inputs["users"], popular_items, nw.lit(LIST_LENGTH), interacted)


FUNCTIONS: Mapping[str, Call] = {
    **EVENT_FUNCTIONS,
    **LIST_FUNCTIONS,
    "activity.bots.bot_users": lambda inputs: bots.bot_users(inputs["clean_events"], BOTS),
    "activity.bots.without": lambda inputs: bots.without(inputs["clean_events"], inputs["bot_users"]),
    "activity.marts.EventWeights.target": lambda inputs: inputs["clean_events"].select(
        "event_type", x=WEIGHTS.target()
    ),
    "activity.marts.EventWeights.weight": lambda inputs: inputs["clean_events"].select(
        "event_type", x=WEIGHTS.weight()
    ),
    "activity.marts.item_activity": lambda inputs: marts.item_activity(inputs["clean_events"], WEIGHTS),
    "activity.marts.item_pairs": lambda inputs: marts.item_pairs(inputs["clean_events"], 7),
    "activity.marts.user_activity": lambda inputs: marts.user_activity(inputs["clean_events"], WEIGHTS),
    "activity.merge.merge_item_activity": lambda inputs: merge.merge_item_activity(inputs["item_activity"]),
    "activity.merge.merge_item_pairs": lambda inputs: merge.merge_item_pairs(inputs["item_pairs"]),
    "activity.merge.merge_user_activity": lambda inputs: merge.merge_user_activity(
        inputs["user_activity"].with_columns(twice=nw.col("weight") * 2.0), also=["twice"]
    ),
    "catalog.features.item_features": lambda inputs: catalog_features.item_features(
        inputs["item_properties"], inputs["item_activity"], inputs["tree"], END, LAST
    ),
    "evaluation.compare.evaluate": _evaluate,
    "evaluation.compare.evaluate_lists": lambda inputs: compare.evaluate_lists(
        inputs.evaluator, {"fused": recommend.recommend(inputs["candidates"], "fused")}, 30, resamples=20, **GATE_RULE
    ),
    "evaluation.compare.lists_from_candidates": lambda inputs: compare.lists_from_candidates(inputs["candidates"]),
    "evaluation.evaluator.Evaluator.__init__": lambda inputs: (inputs.evaluator.users, inputs.evaluator.targets),
    "evaluation.evaluator.Evaluator.read": _read,
    "evaluation.evaluator.popularity": lambda inputs: evaluator.popularity(inputs["user_activity"]),
    "lists.evaluation.with_final_lists": lambda inputs: list_evaluation.with_final_lists(
        _evaluate_window(inputs),
        _window(inputs),
        "fused",
        *lists_and_reranked(inputs, "fused"),
        inputs["item_features"],
    ),
    "evaluation.window.evaluate_window": _evaluate_window,
    "evaluation.window.collect_window": lambda inputs: (
        _window(inputs).evaluator.users,
        _window(inputs).catalogue_size,
    ),
    "evaluation.window.Contest.__init__": lambda inputs: window.Contest(
        _window(inputs), inputs["candidates"], {"ranker": inputs["scores"]}
    ).evaluate(0, **GATE_RULE),
    "ranking.cross_validation.earlier_contests": lambda inputs: cross_validation.earlier_contests(
        inputs.engine,
        [],
        lambda _: inputs["candidates"],
        inputs["user_activity"],
        1,
        model.RankerParams(),
        inputs.ids,
        lambda rows, _: rows,
    ),
    "evaluation.window.targets_after": lambda inputs: window.targets_after(inputs["user_activity"], CUT),
    "experiments.window.with_targets": lambda inputs: with_targets(inputs["ranking_examples"], inputs["targets"]),
    "frames.dense_rank": lambda inputs: frames.dense_rank(
        inputs["user_activity"], ["user_id"], "weight", ["item_id", "dt"]
    ),
    "frames.exact_sum": lambda inputs: (
        inputs["clean_events"]
        .group_by("item_id")
        .agg(
            price=frames.exact_sum(nw.when(nw.col("price").is_finite()).then(nw.col("price"))),
            weight=frames.exact_sum(WEIGHTS.weight()),
            less=frames.exact_sum(-WEIGHTS.weight()),
        )
    ),
    "frames.running_total": lambda inputs: inputs["user_activity"].select(
        "user_id", "item_id", "dt", x=frames.running_total(nw.col("events"), ["user_id"], ["dt", "item_id"])
    ),
    "frames.top_k": lambda inputs: frames.top_k(inputs["user_activity"], 2, [], "weight", ["user_id", "item_id", "dt"]),
    "frames.total": lambda inputs: inputs["user_activity"].group_by("item_id").agg(x=frames.total(nw.col("events"))),
    "insight.backtest.BacktestInputs.__init__": lambda inputs: vars(_backtest_inputs(inputs)),
    "insight.backtest.backtest": lambda inputs: backtest.backtest(
        _backtest_inputs(inputs), LAST, backtest.BacktestParams("shop")
    ),
    "insight.backtest.list_changes": lambda inputs: tuple(
        backtest.list_changes(before, recommend.recommend(inputs["candidates"], "covisit"), 4)
        for before in (None, recommend.recommend(inputs["candidates"], "fused"))
    ),
    "insight.counts.event_counts": lambda inputs: counts.event_counts(
        inputs["parsed_events"], inputs["clean_events"], inputs["rejected_events"]
    ),
    "insight.figures.ReportInputs.__init__": _report_inputs,
    "insight.figures.figures": _report,
    "parts.by_rows": lambda inputs: parts.by_rows(inputs.engine, "user_id", inputs["history"], inputs["users"])[0],
    "parts.of_users": lambda inputs: parts.of_users(inputs["targets"].select("user_id").unique(), inputs["history"])[0],
    "parts.by_users": lambda inputs: parts.by_users(inputs.engine, inputs["users"], inputs["history"])[0],
    "quality.audit": lambda inputs: (
        quality.audit(inputs.engine, inputs["clean_events"], contracts.CLEAN_EVENTS),
        quality.audit(
            inputs.engine, inputs["parsed_events"].with_columns(session_id=nw.lit(-1)), contracts.CLEAN_EVENTS
        ),
        quality.audit(inputs.engine, inputs["user_activity"], contracts.USER_ACTIVITY),
        quality.audit(
            inputs.engine, inputs["item_properties"].with_columns(property=nw.col("value")), contracts.ITEM_PROPERTIES
        ),
    ),
    "quality.gaps_in_rank": lambda inputs: (
        quality.gaps_in_rank(inputs["similar_items"], ("item_id", "source")),
        quality.gaps_in_rank(inputs["similar_items"], ("item_id",)),
        quality.gaps_in_rank(inputs["top_popular"].filter(nw.col("rank") != 2), ("segment",)),
    ),
    "ranking.examples.collect_training_rows": lambda inputs: examples.collect_training_rows(inputs["ranking_examples"]),
    "ranking.examples.label": lambda inputs: examples.label(inputs["featured"], inputs["targets"]),
    "ranking.examples.training_rows": lambda inputs: (
        examples.training_rows(inputs["ranking_examples"]),
        examples.training_rows(inputs["ranking_examples"].drop("dt"), negatives=2, spread=3, seed=1),
    ),
    "ranking.model.scores_by_model": lambda inputs: model.scores_by_model(
        inputs.engine, inputs["featured"], {"ranker": trained_model(), "champion": b""}, inputs.ids
    ),
    "ranking.model.score_candidates": lambda inputs: model.score_candidates(
        inputs.engine, inputs["featured"], trained_model(), inputs.ids
    ),
    "retrieval.by_embedding.fit": lambda inputs: by_embedding.fit(inputs.fit_context),
    "retrieval.candidates.retrieval_context": lambda inputs: inputs.derived_context.history,
    "retrieval.candidates.candidates": lambda inputs: candidates.candidates(
        inputs.engine, inputs.candidate_inputs, LAST, END, CANDIDATES, BUILT_IN
    ),
    "retrieval.candidates.fuse_again": lambda inputs: candidates.fuse_again(
        inputs["candidates"], {"popular": 2.0, "covisit": 0.5}, CANDIDATES.fusion_constant
    ),
    "retrieval.candidates.fuse": lambda inputs: candidates.fuse(inputs.generator_scores, CANDIDATES, BUILT_IN.names),
    "retrieval.candidates.split_inputs": lambda inputs: tuple(
        frame
        for part, _ in candidates.split_inputs(inputs.engine, inputs.candidate_inputs, inputs["users"])
        for frame in (part.user_activity, part.clicks)
    ),
    "retrieval.candidates.union": lambda inputs: candidates.union(inputs.derived_context, BUILT_IN),
    "retrieval.content.alike": lambda inputs: (
        content.alike(inputs["history"], inputs["item_features"], inputs.new_items, 2, 5),
        content.alike(
            inputs["history"], inputs["item_features"], inputs["item_features"].with_columns(newness=nw.lit(0.75)), 9, 9
        ),
    ),
    "retrieval.content.new_items": lambda inputs: inputs.new_items,
    "models.covisitation.covisit_in_parts": lambda inputs: next(
        covisitation.covisit_in_parts(inputs.engine, inputs["item_pairs"], inputs["item_activity"], COVISIT)
    ),
    "models.covisitation.covisit_similarity": lambda inputs: covisitation.covisit_similarity(
        inputs["item_pairs"], inputs["item_activity"], COVISIT
    ),
    "models.als.fit_factors": lambda inputs: als.fit_factors(inputs.engine, inputs["history"], FACTORS),
    "retrieval.candidates.inputs_of": lambda inputs: (
        candidates.inputs_of(inputs.candidate_inputs, inputs["targets"].select("user_id").unique()).user_activity
    ),
    "retrieval.features.model_scores": lambda inputs: features.model_scores(
        inputs.engine, inputs["candidates"], inputs["users"], inputs.feature_inputs, *inputs.as_of
    ),
    "retrieval.protocol.model_history": lambda inputs: protocol.model_history(
        inputs.feature_inputs, inputs["users"], *inputs.as_of
    ),
    "retrieval.protocol.weighted_pairs": lambda inputs: protocol.weighted_pairs(inputs["history"]),
    "retrieval.features.join_features": lambda inputs: features.join_features(
        inputs["candidates"].select("user_id", "item_id"), inputs["history"], inputs.candidate_inputs, *inputs.as_of
    ),
    "retrieval.features.with_features": lambda inputs: features.with_features(
        inputs.engine, inputs["candidates"], inputs.candidate_inputs, *inputs.as_of
    ),
    "retrieval.labelled.labelled_candidates": lambda inputs: tuple(
        labelled.labelled_candidates(inputs.engine, inputs.candidate_inputs, inputs["targets"], *inputs.as_of, BUILT_IN)
    ),
    "retrieval.protocol.active_history": lambda inputs: protocol.active_history(inputs.candidate_inputs, *inputs.as_of),
    "retrieval.protocol.active_users": lambda inputs: protocol.active_users(inputs["user_activity"], LAST, CANDIDATES),
    "retrieval.generators.category": lambda inputs: generators.category(
        inputs["history"], inputs["item_features"], inputs["top_popular"], 2, 5
    ),
    "retrieval.generators.category_shares": lambda inputs: generators.category_shares(
        inputs["history"], inputs["item_features"]
    ),
    "retrieval.generators.covisit": lambda inputs: generators.covisit(
        inputs["history"], inputs["similar_items"].filter(nw.col("source") == "covisit"), 4, 4, 3.0
    ),
    "retrieval.generators.shared_list": lambda inputs: (_shared_list(inputs), _shared_list(inputs, inputs["history"])),
    "retrieval.generators.repeat": lambda inputs: generators.repeat(inputs["history"], inputs["item_activity"], 0.35),
    "retrieval.generators.user_history": lambda inputs: generators.user_history(
        inputs["user_activity"], LAST, END, 4, 14.0
    ),
    "retrieval.next_in_session.fit_session_model": lambda inputs: inputs.session_links,
    "retrieval.next_in_session.fit_with_chosen_params": lambda inputs: inputs.chosen_session_links,
    "retrieval.next_in_session.recommend": lambda inputs: next_in_session.recommend(
        next_in_session.fit_session_model(inputs["clean_events"]), inputs["clean_events"], 7
    ),
    "models.popular.item_hours": lambda inputs: popular.item_hours(inputs["clean_events"], WEIGHTS, END),
    "models.popular.top_popular": lambda inputs: (
        popular.top_popular(inputs["item_activity"], inputs["item_features"], LAST, POPULAR),
        popular.top_popular(inputs["item_activity"], inputs["item_features"], LAST, HOURLY, inputs.item_hours),
        popular.top_popular(inputs["item_activity"], inputs["item_features"], LAST, STEADY),
    ),
    "models.popular_evaluation.Past.targets": lambda inputs: vars(inputs.popular_targets),
    "models.popular_windows.find_windows": lambda inputs: vars(inputs.popular_windows),
    "retrieval.protocol.CandidateInputs.with_users": lambda inputs: (
        inputs.candidate_inputs.with_users(*inputs.candidate_inputs.of_users).of_users
    ),
    "retrieval.protocol.FeatureInputs.__init__": lambda inputs: inputs.feature_inputs.of_users,
    "retrieval.protocol.FeatureInputs.with_users": lambda inputs: (
        inputs.feature_inputs.with_users(*inputs.feature_inputs.of_users).of_users
    ),
    "retrieval.protocol.CandidateInputs.__init__": lambda inputs: {
        **vars(inputs.candidate_inputs),
        "cf_ensemble": inputs.cf_ensemble.to_bytes(),
    },
    "retrieval.protocol.Derived.__init__": lambda inputs: protocol.derived(BUILT_IN, "covisit").recommend(
        inputs.retrieval_context, 4
    ),
    "retrieval.protocol.RetrievalContext.__init__": lambda inputs: inputs.retrieval_context.interacted,
    "retrieval.protocol.RetrievalContext.by_users": lambda inputs: inputs.retrieval_context.by_users(
        inputs["history"].select("user_id", "item_id"),
        lambda some: some.append_column("score", pa.array([float(some.num_rows > 0)] * some.num_rows)),
    ),
    "retrieval.protocol.RetrievalContext.not_interacted": lambda inputs: inputs.retrieval_context.not_interacted(
        inputs["history"]
    ),
    "retrieval.protocol.RetrievalContext.available": lambda inputs: inputs.retrieval_context.available(
        inputs["item_activity"]
    ),
    "retrieval.protocol.FitContext.__init__": lambda inputs: (
        inputs.fit_context.history(),
        inputs.fit_context.history(CUT),
        inputs.fit_context.targets(CUT),
        pa.table({"user_id": inputs.fit_context.users()}),
    ),
    "retrieval.protocol.derived": lambda inputs: protocol.derived(BUILT_IN, "category").recommend(
        inputs.retrieval_context, 4
    ),
    "models.similar_items.similar_in_parts": lambda inputs: next(
        similar_items.similar_in_parts(inputs.engine, inputs["covisit"], inputs["by_factors"], 4)
    ),
    "models.similar_items.similar_items": lambda inputs: similar_items.similar_items(
        inputs["covisit"], inputs["by_factors"], 4
    ),
    "retrieval.tune_als.tune_als": _tune_als,
}
"""Function (its module within ``core``, its class where it has one) to a call of it."""

OWN_RESULT: Mapping[str, frozenset[str]] = {
    # Spark fits by MLlib: other factors, no worse; what is made of given factors is the same everywhere.
    "spark": frozenset({"models.als.fit_factors", "retrieval.tune_als.tune_als"}),
}
"""Functions whose result is an engine's own."""
