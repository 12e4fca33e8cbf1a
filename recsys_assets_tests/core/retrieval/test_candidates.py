"""Candidates: the union of the generators, its ranks and features, and what must never be in it."""

import math
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import duckdb
import narwhals as nw
import pyarrow as pa
import pytest

from recsys_assets.core.catalog.features import item_features
from recsys_assets.core.contracts import (
    CLEAN_EVENTS,
    COVISITED_ITEMS,
    ITEM_EMBEDDINGS,
    ITEM_FACTORS,
    ITEM_FEATURES,
    TOP_POPULAR,
    IdTypes,
    arrow_schema,
    candidates_contract,
    features_contract,
)
from recsys_assets.core.engine import Frame
from recsys_assets.core.feature_names import FEATURES, MODEL_NAMES
from recsys_assets.core.generator_registry import BUILT_IN, GeneratorRegistry
from recsys_assets.core.models.als import AlsFitParams, fit_factors
from recsys_assets.core.models.covisitation import CovisitParams, covisit_similarity
from recsys_assets.core.models.popular import PopularParams, top_popular
from recsys_assets.core.retrieval import cf_ensemble
from recsys_assets.core.retrieval.candidates import (
    candidates,
    fuse,
    split_inputs,
)
from recsys_assets.core.retrieval.features import with_features
from recsys_assets.core.retrieval.generators import user_history
from recsys_assets.core.retrieval.next_in_session import fit_session_model
from recsys_assets.core.retrieval.protocol import (
    CandidateInputs,
    CandidateParams,
    GeneratorQuota,
    active_users,
    fitted,
    model_history,
)
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets_tests.core.world import (
    ENGINE,
    FIRST,
    INTS,
    STRINGS,
    Row,
    embeddings,
    end_of,
    events,
    fit_context_at,
    frame,
    marts,
    properties,
    property_frame,
    rows,
    stored,
    tree,
    written,
)

CANDIDATES = candidates_contract(BUILT_IN.names)
FEATURED = features_contract(BUILT_IN.names)
DAY = FIRST + timedelta(days=9)
END = end_of(DAY)
QUOTAS = {
    "popular": GeneratorQuota(6),
    "trending": GeneratorQuota(4, 0.5),
    "covisit": GeneratorQuota(8),
    "als": GeneratorQuota(7, 2.0),
    "repeat": GeneratorQuota(5, 3.0),
    "category": GeneratorQuota(3),
    "content": GeneratorQuota(4, 0.5),
    "cf_ensemble": GeneratorQuota(5, 1.5),
    "sessions": GeneratorQuota(4),
    "nearest": GeneratorQuota(6),
}
PARAMS = CandidateParams(
    quotas=QUOTAS, activity_days=7, active_days=2, popular_days=6, trending_days=2, repeat_half_life=3.0
)


def inputs(
    happened: list[Row], snapshots: list[Row], ids: IdTypes = INTS, registry: GeneratorRegistry = BUILT_IN
) -> CandidateInputs:
    """Everything candidates are made of, from events and property snapshots."""
    window = marts(happened, ids)
    features = stored(item_features(property_frame(snapshots, ids), window.item_activity, tree(), END, DAY))
    history = user_history(window.user_activity, DAY, END, 10, 5.0)
    weighed = history.with_columns(weight=nw.col("fresh_weight"))
    vectors = fit_factors(ENGINE, weighed, AlsFitParams(factors=4, iterations=3, num_threads=1))
    item_pairs, item_activity = (mart.filter(nw.col("dt") <= DAY) for mart in (window.item_pairs, window.item_activity))
    frames = {
        "user_activity": window.user_activity.filter(nw.col("dt") <= DAY),
        "clean_events": frame([e for e in happened if e["dt"] <= DAY], CLEAN_EVENTS, ids),
        "item_features": features,
        "item_embeddings": embeddings(ids),
    }
    context = fit_context_at(DAY, frames)
    return CandidateInputs(
        user_activity=window.user_activity,
        item_activity=window.item_activity,
        item_features=features,
        top_popular=stored(top_popular(window.item_activity, features, DAY, PopularParams(exclude_unavailable=False))),
        covisited_items=stored(covisit_similarity(item_pairs, item_activity, CovisitParams(20))),
        item_factors=ENGINE.from_arrow(vectors),
        cf_ensemble=cf_ensemble.fit(context.history(DAY)),
        clicks=frames["clean_events"],
        session_model=fit_session_model(frames["clean_events"]),
        fitted_models={name: fitted(registry, name).fit(context) for name in registry.fitted},
    )


def run(happened: list[Row], snapshots: list[Row], params: CandidateParams = PARAMS, ids: IdTypes = INTS):
    return candidates(ENGINE, inputs(happened, snapshots, ids), DAY, END, params, BUILT_IN)


def featured(candidate_inputs: CandidateInputs, params: CandidateParams = PARAMS) -> Frame:
    """Candidates with features."""
    pairs = candidates(ENGINE, candidate_inputs, DAY, END, params, BUILT_IN)
    return with_features(ENGINE, pairs, candidate_inputs, DAY, END, params)


@pytest.mark.parametrize("ids", [INTS, STRINGS])
def test_users_ranks_and_fusion(ids: IdTypes):
    happened = events(seed=31, ids=ids)
    found = rows(run(happened, properties(ids=ids), ids=ids), "user_id", "fused_rank")
    active = {e["user_id"] for e in happened if DAY - timedelta(days=1) <= e["dt"] <= DAY} - {None}
    assert {row["user_id"] for row in found} == active
    assert len({(row["user_id"], row["item_id"]) for row in found}) == len(found)
    by_user = defaultdict(list)
    for row in found:
        by_user[row["user_id"]].append(row)
        assert row["fused_score"] == pytest.approx(
            sum(QUOTAS[g].weight / (10 + row[f"{g}_rank"]) for g in QUOTAS if row[f"{g}_rank"] is not None)
        )
    for mine in by_user.values():
        assert [row["fused_rank"] for row in mine] == list(range(1, len(mine) + 1))
        assert mine == sorted(mine, key=lambda row: (-row["fused_score"], row["item_id"]))
        for name in QUOTAS:
            listed = sorted((r for r in mine if r[f"{name}_rank"] is not None), key=lambda r: r[f"{name}_rank"])
            assert [r[f"{name}_rank"] for r in listed] == list(range(1, len(listed) + 1))
            assert len(listed) <= QUOTAS[name].k
            if name not in ("popular", "trending"):  # Equal scores are in the order of the list, which knows more.
                assert listed == sorted(listed, key=lambda r: (-r[f"{name}_score"], r["item_id"]))
    for name, k in (("popular", QUOTAS["popular"].k), ("trending", 1), ("als", QUOTAS["als"].k)):
        assert all(sum(r[f"{name}_rank"] is not None for r in mine) == k for mine in by_user.values())
    assert all(any(row[f"{name}_rank"] is not None for row in found) for name in QUOTAS)
    assert 0 in by_user or ids is STRINGS, "0 is a user like any other"


@pytest.mark.parametrize("repeats", [True, False])
def test_the_fallback_gives_all_its_candidates_and_the_other_list_its_share(repeats: bool):
    given = inputs(events(seed=33, items=60), properties())
    params = replace(PARAMS, repeats=repeats, quotas={"popular": GeneratorQuota(6), "trending": GeneratorQuota(6)})
    for fallback, (popular, trending) in {"all": (6, 2), "trending": (3, 6)}.items():
        stated = replace(given, top_popular=given.top_popular.with_columns(is_fallback=nw.col("segment") == fallback))
        by_user = defaultdict(list)
        for row in rows(candidates(ENGINE, stated, DAY, END, params, BUILT_IN)):
            by_user[row["user_id"]].append(row)
        assert by_user
        for mine in by_user.values():
            found = [sum(row[f"{name}_rank"] is not None for row in mine) for name in ("popular", "trending")]
            assert found == [popular, trending]


def test_features_equal_brute_force():
    happened = [e for e in events(seed=32) if e["dt"] <= DAY]
    candidate_inputs = inputs(happened, properties())
    catalog = {row["item_id"]: row for row in rows(candidate_inputs.item_features)}
    weight = {"view": 1.0, "cart": 2.5, "buy": 6.0}

    def within(days: int, persist: Callable[[Row], bool] = lambda e: True) -> list[Row]:
        return [e for e in happened if (DAY - e["dt"]).days < days and persist(e)]

    def hours(some: list[Row]) -> float | None:
        return min(((END - e["ts"]).total_seconds() / 3600 for e in some), default=None)

    def age(some: list[Row]) -> int | None:
        return max(((DAY - e["dt"]).days for e in some), default=None)

    def buys(some: list[Row]) -> int:
        return sum(e["event_type"] == "buy" for e in some)

    def weigh(some: list[Row]) -> float:
        return sum(weight[e["event_type"]] for e in some)

    average = buys(within(6)) / len(within(6))
    candidate_rows = rows(featured(candidate_inputs), "user_id", "item_id")
    assert candidate_inputs.cf_ensemble
    known = model_history(candidate_inputs, active_users(candidate_inputs.user_activity, DAY, PARAMS), DAY, END, PARAMS)
    asked = pa.table({name: [row[name] for row in candidate_rows] for name in ("user_id", "item_id")})
    scored = cf_ensemble.score(candidate_inputs.cf_ensemble, known.collect("polars").to_arrow(), asked).to_pylist()
    model_scores = {(row["user_id"], row["item_id"]): row for row in scored}
    assert len(scored) > len(candidate_rows) / 2
    for row in random.Random(0).sample(candidate_rows, 60):
        user, item = row["user_id"], row["item_id"]
        mine = within(7, lambda e, user=user: e["user_id"] == user)
        pair = [e for e in mine if e["item_id"] == item]
        about = within(6, lambda e, item=item: e["item_id"] == item)
        identified = [e for e in about if e["user_id"] is not None]
        recent = [e for e in about if (DAY - e["dt"]).days < 2]
        category = catalog[item]["category_id"]
        alike = [e for e in mine if category and catalog[e["item_id"]]["category_id"] == category]
        priced = [e for e in mine if catalog[e["item_id"]]["price"]]
        spent, worth = sum(weight[e["event_type"]] * catalog[e["item_id"]]["price"] for e in priced), weigh(priced)
        last = max(mine, key=lambda e: (e["ts"].replace(microsecond=0), -e["item_id"]))
        expected = {
            "ui_events": len(pair),
            "ui_days": len({e["dt"] for e in pair}),
            "ui_targets": buys(pair),
            "ui_weight": weigh(pair),
            "ui_top_weight": max((weight[e["event_type"]] for e in pair), default=0),
            "ui_fresh_weight": sum(
                math.log2(1 + weigh([e for e in pair if e["dt"] == day])) * 0.5 ** ((DAY - day).days / 3)
                for day in {e["dt"] for e in pair}
            ),
            "ui_hours_since": hours(pair),
            "ui_days_since_first": age(pair),
            **{f"ui_{name}": model_scores.get((user, item), {}).get(name) for name in MODEL_NAMES},
            "user_events": len(mine),
            "user_items": len({e["item_id"] for e in mine}),
            "user_targets": buys(mine),
            "user_conversion": (buys(mine) + 20 * average) / (len(mine) + 20),
            "user_hours_since": hours(mine),
            "user_days_since_first": age(mine),
            "user_last_items": len({e["item_id"] for e in mine if e["dt"] == max(e["dt"] for e in mine)}),
            "user_category_share": weigh(alike) / weigh(mine),
            "item_events": len(about),
            "item_targets": buys(about),
            "item_users": len({(e["user_id"], e["dt"]) for e in identified}),
            "item_recent_users": len({(e["user_id"], e["dt"]) for e in identified if (DAY - e["dt"]).days < 2}),
            "item_conversion": (buys(about) + 20 * average) / (len(about) + 20) if about else None,
            "item_trend": weigh(recent) / weigh(about) if about else None,
            "item_hours_since": hours(about),
            "item_days_known": catalog[item]["days_known"],
            "item_available": float(catalog[item]["available"]),
            "item_price": catalog[item]["price"],
            "item_price_ratio": catalog[item]["price"] / (spent / worth) if catalog[item]["price"] and worth else None,
            "item_depth": catalog[item]["depth"],
            "item_category_is_last": float(
                category is not None and category == catalog[last["item_id"]]["category_id"]
            ),
        }
        assert list(expected) == list(FEATURES)
        for name, value in expected.items():
            assert row[name] == (None if value is None else pytest.approx(value, abs=1e-5)), name


@pytest.mark.parametrize("ids", [INTS, STRINGS])
def test_without_repeats_no_item_of_the_history_comes_back_and_the_lists_stay_full(ids: IdTypes):
    happened = events(seed=33, items=60, ids=ids)
    candidate_rows = rows(run(happened, properties(items=60, ids=ids), replace(PARAMS, repeats=False), ids))
    interacted = {(e["user_id"], e["item_id"]) for e in happened if e["dt"] <= DAY}
    old = {(e["user_id"], e["item_id"]) for e in happened if (DAY - e["dt"]).days >= PARAMS.activity_days}
    assert old - {(e["user_id"], e["item_id"]) for e in happened if 0 <= (DAY - e["dt"]).days < PARAMS.activity_days}
    assert candidate_rows
    assert not interacted & {(row["user_id"], row["item_id"]) for row in candidate_rows}
    assert all(row["repeat_rank"] is None for row in candidate_rows)
    for name in ("popular", "als", "cf_ensemble"):
        users = {row["user_id"] for row in candidate_rows}
        candidates_of_generator = sum(row[f"{name}_rank"] is not None for row in candidate_rows)
        assert candidates_of_generator == len(users) * QUOTAS[name].k, (
            f"{name} found others in the place of what was touched"
        )


def test_without_repeats_sessions_leave_out_what_was_clicked_before_the_last_clicks():
    """The session model sees a user's last 50 clicks; the history is longer."""
    happened = events(seed=37, items=90)
    template = next(e for e in happened if e["user_id"] is not None and e["dt"] == DAY)
    user = template["user_id"]
    happened += [
        {**template, "item_id": item, "ts": template["ts"] + timedelta(seconds=item), "source_row": 10_000 + item}
        for item in range(80)
    ]
    params = replace(PARAMS, repeats=False, quotas={**QUOTAS, "sessions": GeneratorQuota(40)})
    candidate_rows = rows(run(happened, properties(items=90), params))
    assert any(row["user_id"] == user and row["sessions_rank"] is not None for row in candidate_rows)
    interacted = {(e["user_id"], e["item_id"]) for e in happened if e["dt"] <= DAY}
    assert not interacted & {(row["user_id"], row["item_id"]) for row in candidate_rows}


def test_unavailable_items_are_in_no_list_unless_the_setting_keeps_them():
    happened, snapshots = events(seed=34), properties(seed=34)
    candidate_inputs = inputs(happened, snapshots)
    unavailable = {row["item_id"] for row in rows(candidate_inputs.item_features) if not row["available"]}
    assert unavailable
    assert not unavailable & {
        row["item_id"] for row in rows(candidates(ENGINE, candidate_inputs, DAY, END, PARAMS, BUILT_IN))
    }
    kept = rows(candidates(ENGINE, candidate_inputs, DAY, END, replace(PARAMS, exclude_unavailable=False), BUILT_IN))
    assert unavailable & {row["item_id"] for row in kept}


def test_the_future_and_the_order_of_rows_change_no_byte():
    happened, snapshots = events(seed=35), properties(seed=35)
    expected = written(run([e for e in happened if e["dt"] <= DAY], snapshots), CANDIDATES)
    shuffled = random.Random(3).sample(happened, len(happened))
    later = [e for e in happened if e["dt"] > DAY]
    assert later
    assert written(run(happened, snapshots), CANDIDATES) == expected
    assert written(run(shuffled, snapshots[::-1]), CANDIDATES) == expected
    past = featured(inputs([e for e in happened if e["dt"] <= DAY], snapshots))
    assert written(featured(inputs(happened, snapshots)), FEATURED) == written(past, FEATURED)


@pytest.mark.parametrize("ids", [INTS, STRINGS])
@pytest.mark.parametrize("repeats", [True, False])
def test_empty_inputs(ids: IdTypes, repeats: bool):
    params = replace(PARAMS, repeats=repeats)
    assert rows(run([], [], params, ids)) == []
    happened = events(seed=36, ids=ids)
    old = [e for e in happened if e["dt"] < DAY - timedelta(days=3)]
    assert rows(run(old, [], params, ids)) == [], "nobody was active"
    complete = inputs(happened, [], ids)
    without_embeddings = fit_context_at(DAY, {"item_embeddings": frame([], ITEM_EMBEDDINGS, ids, day=False)})
    bare = replace(
        complete,
        item_features=frame([], ITEM_FEATURES, ids),
        top_popular=frame([], TOP_POPULAR, ids),
        covisited_items=frame([], COVISITED_ITEMS, ids),
        item_factors=frame([], ITEM_FACTORS, ids),
        clicks=complete.clicks.head(0),
        session_model=fit_session_model(complete.clicks.head(0)),
        cf_ensemble=cf_ensemble.fit(fit_context_at(DAY, {"user_activity": complete.user_activity.head(0)}).history()),
        fitted_models={"nearest": fitted(BUILT_IN, "nearest").fit(without_embeddings)},
    )
    candidate_rows = rows(featured(bare, params))
    assert bool(candidate_rows) is repeats
    assert all(row["repeat_rank"] is not None and row["item_days_known"] is None for row in candidate_rows)


@pytest.mark.parametrize("ids", [INTS, STRINGS])
def test_parts_of_the_users_make_the_file_that_all_users_make(tmp_path: Path, ids: IdTypes):
    candidate_inputs, schema = inputs(events(seed=41, ids=ids), properties(ids=ids), ids), arrow_schema(CANDIDATES, ids)
    small = PolarsEngine()
    small.users_at_once = 2
    users = active_users(candidate_inputs.user_activity, DAY, PARAMS)
    parts = [part for part, _ in split_inputs(small, candidate_inputs, users)]
    assert len(parts) > 2
    candidates_of_parts = [candidates(small, part, DAY, END, PARAMS, BUILT_IN) for part in parts]
    whole = candidates(ENGINE, candidate_inputs, DAY, END, PARAMS, BUILT_IN)
    rows_of = [
        small.sink(frames, tmp_path / name, schema, CANDIDATES.sort_by)
        for name, frames in (("parts", iter(candidates_of_parts)), ("whole", whole))
    ]
    assert rows_of[0] == rows_of[1] > 0
    assert (tmp_path / "parts").read_bytes() == (tmp_path / "whole").read_bytes()


def test_fusion_runs_on_duckdb_alike():
    rng = random.Random(7)
    schema = pa.schema([("user_id", pa.int64()), ("item_id", pa.int64()), ("score", pa.float64())])
    tables = {
        name: pa.Table.from_pylist(
            [
                {"user_id": user, "item_id": item, "score": float(rng.randrange(5))}
                for user in range(5)
                for item in rng.sample(range(20), 9)
            ],
            schema=schema,
        )
        for name in QUOTAS
    }
    expected = rows(
        fuse({name: ENGINE.from_arrow(table) for name, table in tables.items()}, PARAMS, BUILT_IN.names),
        "user_id",
        "item_id",
    )
    with duckdb.connect() as connection:
        relations = {name: nw.from_native(connection.from_arrow(table)) for name, table in tables.items()}
        assert rows(fuse(relations, PARAMS, BUILT_IN.names), "user_id", "item_id") == expected
