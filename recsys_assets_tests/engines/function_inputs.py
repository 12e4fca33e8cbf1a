"""Inputs of each function under test: tables that the reference engine made of raw frames, on any engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any

import narwhals as nw
import pyarrow as pa

from recsys_assets.core import contracts
from recsys_assets.core.activity import marts
from recsys_assets.core.activity.bots import BotRule, bot_users
from recsys_assets.core.catalog.features import item_features
from recsys_assets.core.contracts import Contract, IdTypes, arrow_schema
from recsys_assets.core.engine import Engine, Frame
from recsys_assets.core.evaluation.evaluator import Evaluator, popularity
from recsys_assets.core.evaluation.window import targets_after
from recsys_assets.core.events import clean
from recsys_assets.core.events.parse import PARSED_EVENTS, PARSED_PROPERTIES
from recsys_assets.core.generator_registry import BUILT_IN
from recsys_assets.core.lists import new_items, reranking
from recsys_assets.core.models import als, covisitation, popular, popular_evaluation, popular_windows, similar_items
from recsys_assets.core.models.cf_ensemble import CfEnsemble
from recsys_assets.core.models.session_model import SessionModel
from recsys_assets.core.ranking import examples
from recsys_assets.core.ranking.model import RankerParams, score_candidates, train
from recsys_assets.core.retrieval import candidates, cf_ensemble, content, features, generators, protocol
from recsys_assets.core.retrieval.next_in_session import fit_session_model, fit_with_chosen_params
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets_tests.core.ranking import synthetic
from recsys_assets_tests.core.world import Row
from recsys_assets_tests.engines.frames import CUT, LAST, RAW, Raw, embedded
from recsys_assets_tests.engines.united import UNITED

# 3/2^21 lies between two units of an exact sum: which side a half is rounded to is one of the things that differ.
WEIGHTS = marts.EventWeights({"view": 1.0, "cart": 2.3, "buy": 6.0 + 3 / 2**21, "é😀": 0.1}, frozenset({"buy"}))
POPULAR = popular.PopularParams(days=4, trending_days=2, k=7)
HOURLY = popular.PopularParams(days=0.5, trending_half_life=0.25, k=7, category_days=2, fallback=popular.TRENDING)
STEADY = popular.PopularParams(days=popular.ALL_TIME, trending_half_life=popular.ALL_TIME, k=7)
POLICY = reranking.RerankingPolicy(
    exclude_purchased=True,
    purchased_from=max(WEIGHTS.weights.values()),
    category_cap=3,
    diversity=0.3,
    new=new_items.NewItemQuota(0.5, 3),
)
WINDOWS = popular_windows.WindowParams(
    horizon_days=1,
    fewest=1,
    days=(0.125, 1, 2, popular.ALL_TIME),
    half_lives=(0.25, 1.0, 2.0, popular.ALL_TIME),
    cuts=2,
    k=3,
)
COVISIT = covisitation.CovisitParams(k=6)
FACTORS = als.AlsFitParams(factors=4, iterations=3)
CANDIDATES = protocol.CandidateParams(
    quotas={name: protocol.GeneratorQuota(40, protocol.generator(BUILT_IN, name).weight) for name in BUILT_IN.names},
    activity_days=5,
    active_days=3,
    popular_days=4,
    trending_days=2,
)
BOTS = BotRule(per_minute=1.5, times_typical=1.0, moments=2, hours=3)
LIST_LENGTH = 5


def end_of(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)


@dataclass(frozen=True)
class FunctionInputs:
    """Tables by name, as frames of an engine."""

    engine: Engine
    tables: Mapping[str, pa.Table]
    ids: IdTypes
    _frames: dict[str, Frame] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Frame:
        if name not in self._frames:
            self._frames[name] = self.engine.from_arrow(self.tables[name])
        return self._frames[name]

    def undated(self, name: str) -> Frame:
        """As a single partition is read."""
        return self[name].drop("dt")

    @property
    def candidate_inputs(self) -> protocol.CandidateInputs:
        names = ("user_activity", "item_activity", "item_features", "top_popular", "item_factors")
        frames: dict[str, Any] = {name: self[name] for name in names}
        return protocol.CandidateInputs(
            covisited_items=self["covisit"],
            cf_ensemble=self.cf_ensemble,
            clicks=self["clean_events"],
            session_model=fit_session_model(self["clean_events"]),
            fitted_models={name: protocol.fitted(BUILT_IN, name).fit(self.fit_context) for name in BUILT_IN.fitted},
            **frames,
        )

    @property
    def feature_inputs(self) -> protocol.FeatureInputs:
        names = ("user_activity", "item_activity", "item_features")
        frames: dict[str, Any] = {name: self[name] for name in names}
        return protocol.FeatureInputs(cf_ensemble=self.cf_ensemble, **frames)

    @property
    def cf_ensemble(self) -> CfEnsemble:
        return cf_ensemble.fit(self.fit_context.history())

    @property
    def as_of(self) -> tuple[date, datetime, protocol.CandidateParams]:
        """The day of the candidates, its end, and their parameters."""
        return LAST, end_of(LAST), CANDIDATES

    @property
    def evaluator(self) -> Evaluator:
        return Evaluator(self["targets"], popularity(self["user_activity"]), self["users"])

    @property
    def generator_scores(self) -> dict[str, Frame]:
        """A score of each generator, as ``fuse`` takes them."""
        rows = self["candidates"]
        return {
            name: rows.filter(~nw.col(f"{name}_score").is_null()).select(
                "user_id", "item_id", nw.col(f"{name}_score").cast(nw.Float64).alias("score")
            )
            for name in BUILT_IN.names
        }

    @property
    def item_hours(self) -> Frame:
        return popular.item_hours(self["clean_events"], WEIGHTS, end_of(LAST))

    @property
    def popular_windows(self) -> popular_windows.Windows:
        activity = self["item_activity"], self.item_hours, self["user_activity"]
        return popular_windows.find_windows(*activity, self["item_features"], LAST, POPULAR, WINDOWS)

    @property
    def popular_targets(self) -> popular_evaluation.Targets:
        """What the lists of the categories are judged by."""
        features = self["item_features"]
        past = popular_evaluation.Past.read(
            self["item_activity"], self.item_hours, features, LAST, 3, keep_unavailable=False
        )
        categories = features.filter(~nw.col("category_id").is_null()).select("item_id", "category_id")
        return past.targets(self["user_activity"], LAST, 1, 2, 3, categories)

    @property
    def new_items(self) -> Frame:
        return content.new_items(self["item_features"], self["item_activity"], 2, 1)

    @property
    def session_links(self) -> pa.Table:
        """The links of the session model."""
        return _links(fit_session_model(self["clean_events"]))

    @property
    def chosen_session_links(self) -> pa.Table:
        """The links of the session model whose weights are chosen."""
        return _links(fit_with_chosen_params(self["clean_events"])[0])

    @property
    def derived_context(self) -> protocol.RetrievalContext:
        return candidates.retrieval_context(self.engine, self.candidate_inputs, *self.as_of)

    @property
    def retrieval_context(self) -> protocol.RetrievalContext:
        return protocol.RetrievalContext(
            self.engine, self.candidate_inputs, CANDIDATES, LAST, end_of(LAST), self["users"], self["history"]
        )

    @property
    def fit_context(self) -> protocol.FitContext:
        names = ("user_activity", "item_features", "clean_events", "item_embeddings")
        return protocol.FitContext(
            engine=self.engine,
            frames={name: self[name] for name in names if name in self.tables},
            as_of=LAST,
            end=end_of(LAST),
            active_days=3,
            horizon_days=2,
            half_life=14.0,
            repeats=True,
            k=7,
        )


@lru_cache(maxsize=1)
def trained_model() -> bytes:
    """A ranker of candidates."""
    return train(synthetic.examples(60, 10), RankerParams(iterations=5, min_users=5)).model


@lru_cache(maxsize=len(RAW) + len(UNITED))
def tables_of(name: str) -> tuple[Mapping[str, pa.Table], IdTypes]:
    """The tables of a raw frame; see :func:`derived`."""
    raw = (UNITED if name in UNITED else RAW)[name]()
    return derived(raw), raw.ids


def tables_of_days(raw: Raw) -> dict[str, pa.Table]:
    """What the graph makes of the raw rows of each day, and these rows."""
    tables = _raw_tables(raw)
    inputs = FunctionInputs(PolarsEngine(), tables, raw.ids)

    def keep_days(name: str, contract: Contract, source: str, function: Callable[[Frame], Frame]) -> None:
        """As partitions are when read: made a day at a time, with the day."""
        columns = [*contract.columns]
        parts = [inputs.engine.from_arrow(arrow_schema(contract, raw.ids).empty_table()).with_columns(dt=nw.lit(LAST))]
        for day in sorted(set(tables[source]["dt"].to_pylist())):
            rows = function(inputs[source].filter(nw.col("dt") == day).drop("dt"))
            parts.append(rows.select(*columns, nw.lit(day).alias("dt")))
        tables[name] = nw.concat(parts, how="vertical").collect(backend="polars").to_arrow()

    keep_days(
        "clean_events", contracts.CLEAN_EVENTS, "parsed_events", lambda day: clean.clean_day(day, clean.CleanParams())
    )
    keep_days("item_properties", contracts.ITEM_PROPERTIES, "parsed_properties", clean.clean_properties)
    keep_days("user_activity", contracts.USER_ACTIVITY, "clean_events", lambda day: marts.user_activity(day, WEIGHTS))
    keep_days("item_activity", contracts.ITEM_ACTIVITY, "clean_events", lambda day: marts.item_activity(day, WEIGHTS))
    keep_days("item_pairs", contracts.ITEM_PAIRS, "clean_events", marts.item_pairs)
    keep_days("bot_users", contracts.BOT_USERS, "clean_events", lambda day: bot_users(day, BOTS))
    return tables


def derived(raw: Raw) -> Mapping[str, pa.Table]:
    """Everything that the graph makes of raw rows, on the reference engine, stage by stage."""
    tables = tables_of_days(raw)
    inputs = FunctionInputs(PolarsEngine(), tables, raw.ids)

    def keep(name: str, frame: Frame | pa.Table) -> None:
        tables[name] = frame if isinstance(frame, pa.Table) else frame.collect(backend="polars").to_arrow()

    keep(
        "item_features",
        item_features(inputs["item_properties"], inputs["item_activity"], inputs["tree"], end_of(LAST), LAST),
    )
    keep("top_popular", popular.top_popular(inputs["item_activity"], inputs["item_features"], LAST, POPULAR))
    keep("covisit", covisitation.covisit_similarity(inputs["item_pairs"], inputs["item_activity"], COVISIT))
    keep("history", generators.user_history(inputs["user_activity"], LAST, end_of(LAST), 5, 14.0))
    keep("users", inputs["history"].select("user_id").unique())
    tables["item_factors"] = als.fit_factors(inputs.engine, inputs["history"], FACTORS)
    tables["by_factors"] = als.similar_by_factors(tables["item_factors"], 6)
    keep("similar_items", similar_items.similar_items(inputs["covisit"], inputs["by_factors"], 6))
    schema = arrow_schema(contracts.candidates_contract(BUILT_IN.names), raw.ids)
    keep(
        "pairs", candidates.candidates(inputs.engine, inputs.candidate_inputs, LAST, end_of(LAST), CANDIDATES, BUILT_IN)
    )
    tables["candidates"] = tables["pairs"].select(schema.names).cast(schema)
    keep(
        "featured",
        features.with_features(inputs.engine, inputs["candidates"], inputs.candidate_inputs, *inputs.as_of),
    )
    keep("targets", targets_after(inputs["user_activity"], CUT))
    keep("ranking_examples", examples.label(inputs["featured"], inputs["targets"]).with_columns(dt=nw.lit(LAST)))
    keep("scores", score_candidates(inputs.engine, inputs["featured"], trained_model(), raw.ids))
    return tables


def _raw_tables(raw: Raw) -> dict[str, pa.Table]:
    def table(rows: list[Row], contract: Contract, *extra: pa.Field) -> pa.Table:
        schema = arrow_schema(contract, raw.ids)
        fields = [pa.field(column.name, column.type) for column in schema]  # raw rows may break a contract
        return pa.Table.from_pylist(rows, schema=pa.schema([*fields, *extra]))

    day = pa.field("dt", pa.date32())
    return {
        "parsed_events": table(raw.events, PARSED_EVENTS, day),
        "parsed_properties": table(raw.properties, PARSED_PROPERTIES, day),
        "rejected_events": table(raw.rejected, contracts.REJECTED_EVENTS),
        "tree": table(raw.tree, contracts.CATEGORY_TREE),
        "item_embeddings": table(
            embedded(raw.ids) if raw.embeddings is None else raw.embeddings, contracts.ITEM_EMBEDDINGS
        ),
    }


def _links(model: SessionModel) -> pa.Table:
    return pa.table({"item": model.link_items, "weight": model.link_weights})
