"""Every frame function of ``core``, each with a call on given frames: the one list that the suite runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import narwhals as nw
import pyarrow as pa

from recsys_assets.core import clock, contracts, frames, parts, quality
from recsys_assets.core.activity import bots, marts, merge
from recsys_assets.core.catalog import features as catalog
from recsys_assets.core.engine import Frame
from recsys_assets.core.evaluation import compare, window
from recsys_assets.core.evaluation import evaluator as evaluator
from recsys_assets.core.events import clean
from recsys_assets.core.experiments.window import with_targets
from recsys_assets.core.gate.rule import CONFIDENCE, pick_baseline
from recsys_assets.core.generator_registry import BUILT_IN
from recsys_assets.core.insight import backtest, counts, figures
from recsys_assets.core.lists import evaluation as listed
from recsys_assets.core.lists import new_items, recommend
from recsys_assets.core.lists import reranking as rules
from recsys_assets.core.models import als as factors
from recsys_assets.core.models import covisitation, popular, popular_windows
from recsys_assets.core.models import similar_items as similar
from recsys_assets.core.models.cf_models import MODELS
from recsys_assets.core.ranking import examples, model
from recsys_assets.core.retrieval import (
    by_embedding,
    candidates,
    cf_ensemble,
    content,
    features,
    generators,
    next_in_session,
    protocol,
)
from recsys_assets.core.retrieval import tune_als as als
from recsys_assets.core.tuning.study import Budget, Search
from recsys_assets_tests.engines import given as g
from recsys_assets_tests.engines.frames import CUT, LAST
from recsys_assets_tests.engines.given import FunctionInputs

END = g.end_of(LAST)
RULES = rules.RerankingPolicy(
    exclude_purchased=True,
    purchased_from=max(g.WEIGHTS.weights.values()),
    category_cap=3,
    diversity=0.3,
    new=new_items.NewItemQuota(0.5, 3),
)
GATE_RULE: dict[str, Any] = {"level": CONFIDENCE, "pick_baseline": pick_baseline}
Call = Callable[[FunctionInputs], Any]


def _report_inputs(given: FunctionInputs) -> figures.ReportInputs:
    counted = counts.event_counts(given["parsed_events"], given["clean_events"], given["rejected_events"])
    return figures.ReportInputs(counted.with_columns(dt=nw.lit(LAST)), given["user_activity"], given["bot_users"])


def _report(given: FunctionInputs) -> Any:
    return figures.figures(_report_inputs(given), LAST, figures.ReportParams("shop", g.WEIGHTS.weights, 5))


def _backtest_inputs(given: FunctionInputs) -> backtest.BacktestInputs:
    evaluation = given.engine.from_arrow(_evaluated(given)).with_columns(dt=nw.lit(LAST), k=nw.lit(10))
    lists = recommend.recommend(given["candidates"], "fused", k=5)
    two = {"2024-02-23": recommend.recommend(given["candidates"], "covisit", k=9), LAST.isoformat(): lists}
    return backtest.BacktestInputs(evaluation, {}, two)


def _evaluator(given: FunctionInputs) -> evaluator.Evaluator:
    return evaluator.Evaluator(given["targets"], evaluator.popularity(given["user_activity"]), given["users"])


def _read(given: FunctionInputs) -> evaluator.Lists:
    return _evaluator(given).read(compare.lists_from_candidates(given["candidates"])["fused"], 3)


def _tuned_als(given: FunctionInputs) -> Any:
    found = als.tune_als(given.known, CUT, g.FACTORS, str(LAST), lambda rows: Search(rows, Budget(2)), min_users=1)
    return pa.table({"study": [found.study], **{name: [value] for name, value in (found.values | found.facts).items()}})


def _evaluated(given: FunctionInputs) -> Any:
    lists = compare.lists_from_candidates(given["candidates"])
    two = {name: lists[name] for name in ("fused", "covisit")}
    known = evaluator.popularity(given["user_activity"])
    return compare.evaluate(two, given["targets"], given["users"], known, 30, (3,), resamples=20, **GATE_RULE)


def _window(given: FunctionInputs) -> window.Window:
    return window.collect_window(given["candidates"], given["user_activity"], CUT)


def _window_evaluated(given: FunctionInputs) -> Any:
    return window.evaluate_window(_window(given), given["candidates"], {"ranker": given["scores"]}, 1, **GATE_RULE)


def _ruled(given: FunctionInputs, order_by: str) -> tuple[Frame, Frame]:
    """Lists before and after rules."""
    rows, scores = given["candidates"], given["scores"] if order_by == "ranker" else None
    ruled = recommend.recommend(rows, order_by, scores, policy=RULES, item_features=given["item_features"])
    return recommend.recommend(rows, order_by, scores), ruled


def _generated(given: FunctionInputs) -> dict[str, Frame]:
    """A score of each generator, as ``fuse`` takes them."""
    rows = given["candidates"]
    return {
        name: rows.filter(~nw.col(f"{name}_score").is_null()).select(
            "user_id", "item_id", nw.col(f"{name}_score").cast(nw.Float64).alias("score")
        )
        for name in BUILT_IN.names
    }


def _asked(given: FunctionInputs) -> protocol.RetrievalContext:
    return candidates.retrieval_context(given.engine, given.inputs, LAST, END, g.CANDIDATES)


def _with_features(given: FunctionInputs) -> Frame:
    pairs = given["candidates"].select("user_id", "item_id")
    history, items, catalog = given["history"], given["item_activity"], given["item_features"]
    return features.with_features(pairs, history, items, catalog, given["cf_ensemble_scores"], LAST, END, 2)


def _new(given: FunctionInputs) -> Frame:
    return content.new_items(given["item_features"], given["item_activity"], 2, 1)


def _listed(given: FunctionInputs, interacted: Frame | None = None) -> Frame:
    best = given["top_popular"].filter(nw.col("segment") == popular.ALL)
    return generators.shared_list(given["users"], best, g.LISTED_K, interacted)


def _hours(given: FunctionInputs) -> Frame:
    return popular.item_hours(given["clean_events"], g.WEIGHTS, END)


def _windows(given: FunctionInputs) -> Any:
    marts_of = given["item_activity"], _hours(given), given["user_activity"]
    return vars(popular_windows.find_windows(*marts_of, given["item_features"], LAST, g.POPULAR, g.WINDOWS))


FUNCTIONS: Mapping[str, Call] = {
    "activity.bots.bot_users": lambda given: bots.bot_users(given["clean_events"], g.BOTS),
    "activity.bots.without": lambda given: bots.without(given["clean_events"], given["bot_users"]),
    "clock.days_before": lambda given: given["user_activity"].select(x=clock.days_before(nw.col("dt"), LAST)),
    "clock.epoch_day": lambda given: given["clean_events"].select(
        "ts", "dt", day=clock.epoch_day(nw.col("dt")), moment=clock.epoch_day(nw.col("ts"))
    ),
    "clock.half_life": lambda given: clock.last_days(given["user_activity"], LAST, 999).select(
        x=frames.exact_sum(clock.half_life(clock.days_before(nw.col("dt"), LAST), 2.5))
    ),
    "clock.hours_before": lambda given: given["clean_events"].select(
        "source_file", "source_row", x=clock.hours_before(nw.col("ts"), END)
    ),
    "clock.last_days": lambda given: clock.last_days(given["clean_events"], LAST, 2),
    "clock.wall_clock": lambda given: given["clean_events"].select(x=clock.wall_clock(nw.col("ts"))),
    "activity.marts.EventWeights.target": lambda given: given["clean_events"].select(
        "event_type", x=g.WEIGHTS.target()
    ),
    "activity.marts.EventWeights.weight": lambda given: given["clean_events"].select(
        "event_type", x=g.WEIGHTS.weight()
    ),
    "activity.marts.item_activity": lambda given: marts.item_activity(given["clean_events"], g.WEIGHTS),
    "activity.marts.item_pairs": lambda given: marts.item_pairs(given["clean_events"], 7),
    "activity.marts.user_activity": lambda given: marts.user_activity(given["clean_events"], g.WEIGHTS),
    "activity.merge.merge_item_activity": lambda given: merge.merge_item_activity(given["item_activity"]),
    "activity.merge.merge_item_pairs": lambda given: merge.merge_item_pairs(given["item_pairs"]),
    "activity.merge.merge_user_activity": lambda given: merge.merge_user_activity(
        given["user_activity"].with_columns(twice=nw.col("weight") * 2.0), also=["twice"]
    ),
    "catalog.features.item_features": lambda given: catalog.item_features(
        given["item_properties"], given["item_activity"], given["tree"], END, LAST
    ),
    "retrieval.cf_ensemble.learn_weights": lambda given: cf_ensemble.learn_weights(
        given.known, CUT, g.CF_ENSEMBLE, MODELS
    ),
    "retrieval.cf_ensemble.recommend": lambda given: cf_ensemble.recommend(given.known),
    "retrieval.cf_ensemble.scored": lambda given: cf_ensemble.scored(given.known, g.CF_ENSEMBLE),
    "evaluation.compare.evaluate": _evaluated,
    "evaluation.compare.evaluate_lists": lambda given: compare.evaluate_lists(
        _evaluator(given), {"fused": recommend.recommend(given["candidates"], "fused")}, 30, resamples=20, **GATE_RULE
    ),
    "evaluation.compare.lists_from_candidates": lambda given: compare.lists_from_candidates(given["candidates"]),
    "evaluation.evaluator.Evaluator.__init__": lambda given: (_evaluator(given).users, _evaluator(given).targets),
    "evaluation.evaluator.Evaluator.read": _read,
    "evaluation.evaluator.popularity": lambda given: evaluator.popularity(given["user_activity"]),
    "lists.evaluation.with_final_lists": lambda given: listed.with_final_lists(
        _window_evaluated(given), _window(given), "fused", *_ruled(given, "fused"), given["item_features"]
    ),
    "evaluation.window.evaluate_window": _window_evaluated,
    "evaluation.window.collect_window": lambda given: (_window(given).evaluator.users, _window(given).catalogue_size),
    "evaluation.window.targets_after": lambda given: window.targets_after(given["user_activity"], CUT),
    "events.clean.clean_day": lambda given: clean.clean_day(given["parsed_events"], clean.CleanParams()),
    "events.clean.clean_properties": lambda given: clean.clean_properties(given["parsed_properties"]),
    "events.clean.ingest_counts": lambda given: clean.ingest_counts(
        given["parsed_events"], given["clean_events"], given["rejected_events"]
    ),
    "experiments.window.with_targets": lambda given: with_targets(given["ranking_examples"], given["targets"]),
    "frames.dense_rank": lambda given: frames.dense_rank(
        given["user_activity"], ["user_id"], "weight", ["item_id", "dt"]
    ),
    "frames.exact_sum": lambda given: (
        given["clean_events"]
        .group_by("item_id")
        .agg(
            price=frames.exact_sum(nw.when(nw.col("price").is_finite()).then(nw.col("price"))),
            weight=frames.exact_sum(g.WEIGHTS.weight()),
            less=frames.exact_sum(-g.WEIGHTS.weight()),
        )
    ),
    "frames.running_total": lambda given: given["user_activity"].select(
        "user_id", "item_id", "dt", x=frames.running_total(nw.col("events"), ["user_id"], ["dt", "item_id"])
    ),
    "frames.top_k": lambda given: frames.top_k(given["user_activity"], 2, [], "weight", ["user_id", "item_id", "dt"]),
    "frames.total": lambda given: given["user_activity"].group_by("item_id").agg(x=frames.total(nw.col("events"))),
    "insight.backtest.BacktestInputs.__init__": lambda given: vars(_backtest_inputs(given)),
    "insight.backtest.backtest": lambda given: backtest.backtest(
        _backtest_inputs(given), LAST, backtest.BacktestParams("shop")
    ),
    "insight.backtest.list_changes": lambda given: tuple(
        backtest.list_changes(before, recommend.recommend(given["candidates"], "covisit"), 4)
        for before in (None, recommend.recommend(given["candidates"], "fused"))
    ),
    "insight.counts.event_counts": lambda given: counts.event_counts(
        given["parsed_events"], given["clean_events"], given["rejected_events"]
    ),
    "insight.figures.ReportInputs.__init__": _report_inputs,
    "insight.figures.figures": _report,
    "parts.by_rows": lambda given: parts.by_rows(given.engine, "user_id", given["history"], given["users"])[0],
    "parts.by_users": lambda given: parts.by_users(given.engine, given["users"], given["history"])[0],
    "quality.audit": lambda given: (
        quality.audit(given.engine, given["clean_events"], contracts.CLEAN_EVENTS),
        quality.audit(given.engine, given["parsed_events"].with_columns(session_id=nw.lit(-1)), contracts.CLEAN_EVENTS),
        quality.audit(given.engine, given["user_activity"], contracts.USER_ACTIVITY),
        quality.audit(
            given.engine, given["item_properties"].with_columns(property=nw.col("value")), contracts.ITEM_PROPERTIES
        ),
    ),
    "quality.gaps_in_rank": lambda given: (
        quality.gaps_in_rank(given["similar_items"], ("item_id", "source")),
        quality.gaps_in_rank(given["similar_items"], ("item_id",)),
        quality.gaps_in_rank(given["top_popular"].filter(nw.col("rank") != 2), ("segment",)),
    ),
    "ranking.examples.collect_training_rows": lambda given: examples.collect_training_rows(given["ranking_examples"]),
    "ranking.examples.label": lambda given: examples.label(given["candidates"], given["targets"]),
    "ranking.examples.training_rows": lambda given: (
        examples.training_rows(given["ranking_examples"]),
        examples.training_rows(given["ranking_examples"].drop("dt"), negatives=2, spread=3, seed=1),
    ),
    "lists.new_items.apply_new_item_quota": lambda given: new_items.apply_new_item_quota(
        recommend.recommend(given["candidates"], "fused"), given["candidates"], 6, new_items.NewItemQuota(0.34, 2)
    ),
    "ranking.model.score_candidates": lambda given: model.score_candidates(
        given.engine, given["candidates"], g.model(), given.ids
    ),
    "lists.reranking.apply_policy": lambda given: tuple(
        rules.apply_policy(
            recommend.recommend(given["candidates"], order_by), given["candidates"], given["item_features"], RULES
        )
        for order_by in ("fused", "covisit")
    ),
    "lists.reranking.categories_of": lambda given: rules.categories_of(given["item_features"]),
    "lists.recommend.recommend": lambda given: (
        recommend.recommend(given["candidates"], "ranker", given["scores"], 4),
        recommend.recommend(given["candidates"], "fused", k=3),
        recommend.recommend(given["candidates"], "covisit"),
        _ruled(given, "ranker")[1],
    ),
    "retrieval.by_embedding.recommend": lambda given: by_embedding.recommend(given.known),
    "retrieval.candidates.retrieval_context": lambda given: _asked(given).history,
    "retrieval.candidates.candidates": lambda given: candidates.candidates(
        given.engine, given.inputs, LAST, END, g.CANDIDATES, BUILT_IN
    ),
    "retrieval.candidates.fuse": lambda given: candidates.fuse(_generated(given), g.CANDIDATES, BUILT_IN.names),
    "retrieval.candidates.split_inputs": lambda given: tuple(
        frame
        for part in candidates.split_inputs(given.engine, given.inputs, LAST, g.CANDIDATES)
        for frame in (part.user_activity, part.user_factors)
    ),
    "retrieval.candidates.union": lambda given: candidates.union(_asked(given), BUILT_IN),
    "retrieval.content.alike": lambda given: (
        content.alike(given["history"], given["item_features"], _new(given), 2, 5),
        content.alike(
            given["history"], given["item_features"], given["item_features"].with_columns(newness=nw.lit(0.75)), 9, 9
        ),
    ),
    "retrieval.content.new_items": _new,
    "models.covisitation.covisit_in_parts": lambda given: next(
        covisitation.covisit_in_parts(given.engine, given["item_pairs"], given["item_activity"], g.COVISIT)
    ),
    "models.covisitation.covisit_similarity": lambda given: covisitation.covisit_similarity(
        given["item_pairs"], given["item_activity"], g.COVISIT
    ),
    "models.als.fit_factors": lambda given: vars(
        factors.fit_factors(given.engine, given["history"], g.FACTORS, given["users"])
    ),
    "retrieval.features.with_features": _with_features,
    "retrieval.generators.category": lambda given: generators.category(
        given["history"], given["item_features"], given["top_popular"], 2, 5
    ),
    "retrieval.generators.category_shares": lambda given: generators.category_shares(
        given["history"], given["item_features"]
    ),
    "retrieval.generators.covisit": lambda given: generators.covisit(
        given["history"], given["similar_items"].filter(nw.col("source") == "covisit"), 4, 4, 3.0
    ),
    "retrieval.generators.factors": lambda given: (
        generators.factors(
            given.engine, given["user_factors"], given["item_factors"], given["users"], 4, given["history"]
        ),
        generators.factors(given.engine, given["user_factors"], given["item_factors"], given["users"], 4, None),
    ),
    "retrieval.generators.shared_list": lambda given: (_listed(given), _listed(given, given["history"])),
    "retrieval.generators.repeat": lambda given: generators.repeat(given["history"], given["item_activity"], 0.35),
    "retrieval.generators.user_history": lambda given: generators.user_history(
        given["user_activity"], LAST, END, 4, 14.0
    ),
    "retrieval.next_in_session.recommend": lambda given: next_in_session.recommend(given.known),
    "models.popular.item_hours": lambda given: popular.item_hours(given["clean_events"], g.WEIGHTS, END),
    "models.popular.top_popular": lambda given: (
        popular.top_popular(given["item_activity"], given["item_features"], LAST, g.POPULAR),
        popular.top_popular(given["item_activity"], given["item_features"], LAST, g.HOURLY, _hours(given)),
    ),
    "models.popular_windows.find_windows": _windows,
    "retrieval.protocol.CandidateInputs.__init__": lambda given: {
        **vars(given.inputs),
        **given.inputs.fitted_candidates,
    },
    "retrieval.protocol.Derived.__init__": lambda given: protocol.derived(BUILT_IN, "covisit").recommend(
        given.asked, 4
    ),
    "retrieval.protocol.RetrievalContext.__init__": lambda given: given.asked.interacted,
    "retrieval.protocol.RetrievalContext.allowed": lambda given: given.asked.allowed(given["history"]),
    "retrieval.protocol.RetrievalContext.not_interacted": lambda given: given.asked.not_interacted(given["history"]),
    "retrieval.protocol.RetrievalContext.available": lambda given: given.asked.available(given["item_activity"]),
    "retrieval.protocol.FitContext.__init__": lambda given: (
        given.known.history(),
        given.known.history(CUT),
        given.known.targets(CUT),
        pa.table({"user_id": given.known.users()}),
        pa.table({"item_id": given.known.unavailable_items()}),
    ),
    "retrieval.protocol.derived": lambda given: protocol.derived(BUILT_IN, "category").recommend(given.asked, 4),
    "models.similar_items.similar_in_parts": lambda given: next(
        similar.similar_in_parts(given.engine, given["covisit"], given["by_factors"], 4)
    ),
    "models.similar_items.similar_items": lambda given: similar.similar_items(given["covisit"], given["by_factors"], 4),
    "retrieval.tune_als.tune_als": _tuned_als,
}
"""Function (its module within ``core``, its class where it has one) to a call of it."""

OWN_RESULT: Mapping[str, frozenset[str]] = {
    # Spark fits by MLlib: other factors, no worse; what is made of given factors is the same everywhere.
    "spark": frozenset({"models.als.fit_factors", "retrieval.tune_als.tune_als"}),
}
"""Functions whose result is an engine's own."""
