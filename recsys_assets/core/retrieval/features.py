"""Features of candidates, all as of the end of day D (``FEATURES``)."""

from __future__ import annotations

from datetime import date, datetime

import narwhals as nw
import pyarrow as pa
import pyarrow.compute as pc

from recsys_assets.core.activity.merge import merge_item_activity
from recsys_assets.core.clock import days_before, hours_before, last_days
from recsys_assets.core.engine import Engine, Frame
from recsys_assets.core.feature_names import FEATURES, MODEL_NAMES
from recsys_assets.core.frames import exact_sum, top_k
from recsys_assets.core.retrieval.generators import category_shares
from recsys_assets.core.retrieval.protocol import (
    CandidateParams,
    FeatureInputs,
    active_history,
    arrow_type,
    model_history,
)

_PRIOR_EVENTS = 20.0
"""Events at the average conversion that are added to each item and each user, so that a single target event is not a
conversion of 1."""


def with_features(
    engine: Engine, candidates: Frame, inputs: FeatureInputs, as_of: date, end: datetime, params: CandidateParams
) -> Frame:
    """Add the features to candidates: ``features_contract``. The features of a user do not depend on the others.

    Args:
        engine: where the frames run.
        candidates: frame of contract CANDIDATES.
        inputs: as of the end of D.
        as_of: D.
        end: the instant at which D ends.
        params: windows and half-lives.
    """
    users, history = active_history(inputs, as_of, end, params)

    def add(pairs: Frame) -> Frame:
        scores = model_scores(engine, pairs, users, inputs, as_of, end, params)
        return join_features(pairs, history, inputs, as_of, end, params, scores)

    return engine.add_columns(candidates, ["user_id", "item_id"], add)


def model_scores(
    engine: Engine,
    pairs: Frame,
    users: Frame,
    inputs: FeatureInputs,
    as_of: date,
    end: datetime,
    params: CandidateParams,
) -> Frame | None:
    """What the models of users and items say of pairs; None where there are no models.

    Args:
        engine: where the frames run.
        pairs: user_id, item_id and any further columns.
        users: user_id of the users of the pairs.
        inputs: as of the end of D.
        as_of: D.
        end: the instant at which D ends.
        params: window and half-life of the histories.

    Returns:
        user_id, item_id and a score of each of ``MODEL_NAMES``, of the pairs that the models know.
    """
    if inputs.cf_ensemble is None:
        return None
    from recsys_assets.core.retrieval.cf_ensemble import score  # SciPy: loading the graph must not take it

    model = inputs.cf_ensemble
    asked = pairs.select("user_id", "item_id", weight=nw.lit(None, nw.Float64))
    history = model_history(inputs, users, as_of, end, params)
    both = nw.concat([history, asked], how="vertical")

    def scored(rows: pa.Table) -> pa.Table:
        known = rows["weight"].is_valid()
        of_pairs = rows.filter(pc.call_function("invert", [known])).drop_columns(["weight"])
        history = rows.filter(known).sort_by([("user_id", "ascending"), ("item_id", "ascending")])
        return score(model, history, of_pairs)

    types = [(name, arrow_type(dtype)) for name, dtype in both.collect_schema().items() if name != "weight"]
    return engine.map_users(both, scored, pa.schema([*types, *((name, pa.float32()) for name in MODEL_NAMES)]))


def join_features(
    pairs: Frame,
    history: Frame,
    inputs: FeatureInputs,
    as_of: date,
    end: datetime,
    params: CandidateParams,
    scores: Frame | None = None,
) -> Frame:
    """Join the features to pairs. Counts are 0 where nothing happened; times and shares are null.

    Features are cast to single precision before the join: there are far fewer users and items than pairs.

    Args:
        pairs: user_id, item_id and any further columns.
        history: :func:`~recsys_assets.core.retrieval.generators.user_history` of the users of the pairs.
        inputs: as for :func:`with_features`.
        as_of: D.
        end: the instant at which D ends.
        params: windows and half-lives.
        scores: :func:`model_scores` of the pairs; None where there are no models.
    """
    memoize, item_features = inputs.memoize, inputs.item_features
    popularity = last_days(inputs.item_activity, as_of, params.popular_days)
    catalog = memoize("catalog", item_features.select("item_id", "category_id", "price"))
    totals = memoize(
        "totals", popularity.select(*(nw.col(name).sum().alias(f"__{name}") for name in ("events", "targets")))
    )
    shares = category_shares(history, catalog).select(
        "user_id", "category_id", nw.col("share").cast(nw.Float32).alias("user_category_share")
    )
    wide = (
        _with_scores(pairs.join(_pair_features(history, as_of), on=["user_id", "item_id"], how="left"), scores)
        .join(_user_features(history, totals, catalog, as_of), on="user_id", how="left")
        .join(
            memoize("items", _items(item_features, popularity, as_of, end, params.trending_days)),
            on="item_id",
            how="left",
        )
        .join(shares, on=["user_id", "category_id"], how="left")
        .with_columns(
            item_price_ratio=(nw.col("item_price") / nw.col("__price")).cast(nw.Float32),
            item_category_is_last=(nw.col("category_id") == nw.col("__category")).cast(nw.Float32),
        )
        .drop("category_id", "__price", "__category")
    )
    counts = [name for name in FEATURES if name in _COUNTS]
    # The zero is double precision, and some engines widen to it.
    return wide.with_columns(nw.col(*counts).fill_null(0.0).cast(nw.Float32))


_COUNTS = frozenset(
    f"{kind}_{what}"
    for kind, whats in {
        "ui": ("events", "days", "targets", "weight", "top_weight", "fresh_weight"),
        "user": ("events", "items", "targets", "category_share"),
        "item": ("events", "targets", "users", "recent_users", "category_is_last"),
    }.items()
    for what in whats
)


def _pair_features(history: Frame, as_of: date) -> Frame:
    features = history.with_columns(days_since_first=days_before(nw.col("first_day"), as_of))
    names = ("events", "days", "targets", "weight", "top_weight", "fresh_weight", "hours_since", "days_since_first")
    return features.select("user_id", "item_id", *(nw.col(name).cast(nw.Float32).alias(f"ui_{name}") for name in names))


def _with_scores(pairs: Frame, scores: Frame | None) -> Frame:
    if scores is None:
        return pairs.with_columns(**{f"ui_{name}": nw.lit(None, nw.Float32) for name in MODEL_NAMES})
    named = scores.select("user_id", "item_id", *(nw.col(name).alias(f"ui_{name}") for name in MODEL_NAMES))
    return pairs.join(named, on=["user_id", "item_id"], how="left")


def _user_features(history: Frame, totals: Frame, catalog: Frame, as_of: date) -> Frame:
    """Features of users, with the price and the category that items are compared to."""
    average = nw.col("__targets") / nw.col("__events").cast(nw.Float64)
    users = (
        history.group_by("user_id")
        .agg(
            nw.col("events").sum().alias("user_events"),
            nw.len().alias("user_items"),
            nw.col("targets").sum().alias("user_targets"),
            nw.col("hours_since").min().alias("user_hours_since"),
            nw.col("first_day").min().alias("__first"),
            nw.col("last_day").max().alias("__last"),
        )
        .join(totals, how="cross")
        .with_columns(
            user_conversion=(nw.col("user_targets") + _PRIOR_EVENTS * average)
            / (nw.col("user_events") + _PRIOR_EVENTS),
            user_days_since_first=days_before(nw.col("__first"), as_of),
        )
    )
    of_last_day = history.join(users.select("user_id", "__last"), on="user_id", how="inner").filter(
        nw.col("last_day") == nw.col("__last")
    )
    last_items = of_last_day.group_by("user_id").agg(nw.len().alias("user_last_items"))
    single = _single(users.drop("__first", "__last", "__events", "__targets"), ["user_id"])
    return (
        single.join(_single(last_items, ["user_id"]), on="user_id", how="left")
        .join(_mean_price(history, catalog), on="user_id", how="left")
        .join(_last_category(history, catalog), on="user_id", how="left")
    )


def _mean_price(history: Frame, catalog: Frame) -> Frame:
    priced = catalog.filter(nw.col("price") > 0).select("item_id", "price")
    spent = history.join(priced, on="item_id", how="inner").group_by("user_id")
    weighed = spent.agg(
        exact_sum(nw.col("price") * nw.col("weight")).alias("__sum"), exact_sum(nw.col("weight")).alias("__weight")
    )
    return weighed.filter(nw.col("__weight") > 0).select(
        "user_id", (nw.col("__sum") / nw.col("__weight")).alias("__price")
    )


def _last_category(history: Frame, catalog: Frame) -> Frame:
    last = top_k(
        history.with_columns(__fresh=-nw.col("hours_since")), 1, by=["user_id"], score="__fresh", ties=["item_id"]
    )
    categories = catalog.select("item_id", nw.col("category_id").alias("__category"))
    return last.join(categories, on="item_id", how="inner").select("user_id", "__category")


def _single(frame: Frame, others: list[str]) -> Frame:
    """All columns but the others as float32."""
    names = [name for name in frame.collect_schema().names() if name not in others]
    return frame.select(*others, nw.col(*names).cast(nw.Float32))


def _items(item_features: Frame, popularity: Frame, as_of: date, end: datetime, trending_days: int) -> Frame:
    """Features of items from catalogue and activity in one table: a join of the pairs is expensive."""
    catalog = _catalog_features(item_features)
    activity = _item_features(popularity, as_of, end, trending_days)
    items = nw.concat([catalog.select("item_id"), activity.select("item_id")], how="vertical").unique()
    return items.join(_single(catalog, ["item_id", "category_id"]), on="item_id", how="left").join(
        _single(activity, ["item_id"]), on="item_id", how="left"
    )


def _item_features(popularity: Frame, as_of: date, end: datetime, trending_days: int) -> Frame:
    merged = merge_item_activity(popularity)
    recent = (
        last_days(popularity, as_of, trending_days)
        .group_by("item_id")
        .agg(exact_sum(nw.col("weight")).alias("__recent"), nw.col("users").sum().alias("item_recent_users"))
    )
    everything = merged.select(nw.col("events").sum().alias("__events"), nw.col("targets").sum().alias("__targets"))
    average = nw.col("__targets") / nw.col("__events").cast(nw.Float64)
    return (
        merged.join(recent, on="item_id", how="left")
        .join(everything, how="cross")
        .select(
            "item_id",
            nw.col("events").alias("item_events"),
            nw.col("targets").alias("item_targets"),
            nw.col("users").alias("item_users"),
            "item_recent_users",
            _smoothed(nw.col("targets"), nw.col("events"), average).alias("item_conversion"),
            nw.when(nw.col("weight") > 0)
            .then(nw.col("__recent").fill_null(0.0) / nw.col("weight"))
            .alias("item_trend"),
            hours_before(nw.col("last_ts"), end).alias("item_hours_since"),
        )
    )


def _smoothed(targets: nw.Expr, events: nw.Expr, average: nw.Expr) -> nw.Expr:
    return (targets + _PRIOR_EVENTS * average) / (events + _PRIOR_EVENTS)


def _catalog_features(item_features: Frame) -> Frame:
    return item_features.select(
        "item_id",
        "category_id",
        nw.col("days_known").alias("item_days_known"),
        nw.col("available").alias("item_available"),
        nw.col("price").alias("item_price"),
        nw.col("depth").alias("item_depth"),
    )
