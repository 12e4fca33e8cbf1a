"""The contracts of all frames, each declared once.

A contract names a frame's columns, their types and ranges, the key that is unique and the order its rows are written
in. The parquet schema, the sort that makes files byte-identical, the blocking asset check, and the column table in the
Dagster UI all come from here. Ids keep the type that the data set states, so contracts say ``user`` and ``item`` and
:func:`arrow_schema` resolves them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

# With "as", which re-exports: contracts and their parts are imported from one module.
from recsys_assets.core.contract import Column as Column
from recsys_assets.core.contract import Contract as Contract
from recsys_assets.core.contract import IdType as IdType
from recsys_assets.core.contract import IdTypes as IdTypes
from recsys_assets.core.contract import arrow_schema as arrow_schema
from recsys_assets.core.event_contracts import ATTRIBUTION as ATTRIBUTION
from recsys_assets.core.event_contracts import CLEAN_EVENTS as CLEAN_EVENTS
from recsys_assets.core.event_contracts import EVENT_COUNTS as EVENT_COUNTS
from recsys_assets.core.event_contracts import IMPRESSIONS as IMPRESSIONS
from recsys_assets.core.event_contracts import ITEM, USER
from recsys_assets.core.event_contracts import REJECTED_EVENTS as REJECTED_EVENTS
from recsys_assets.core.feature_names import FEATURES

_COUNTS = {
    "events": Column("int64", "number of events", ge=1),
    "targets": Column("int64", "number of events whose type is a target", ge=0),
    "weight": Column("float64", "sum of the event types' weights", ge=0),
}

ITEM_PROPERTIES = Contract(
    "item_properties",
    {
        "item_id": ITEM,
        "ts": Column("timestamp", "time of the snapshot"),
        "property": Column("string", "what is stated", isin=("category", "available", "price", "brand", "title")),
        "value": Column(
            "string",
            "availability as 1 or 0, price as a number, all else as the data set writes it; null where a value of the"
            " first two means nothing that is known",
            nullable=True,
        ),
    },
    key=("item_id", "property", "ts"),
)

CATEGORY_TREE = Contract(
    "category_tree",
    {
        "category_id": Column("string", "category"),
        "parent_id": Column("string", "its parent; null for a root", nullable=True),
        "root_id": Column("string", "the root above it, or itself"),
        "depth": Column("int64", "1 for a root", ge=1),
        "path": Column("string", "ids from the root down, joined by '/'"),
    },
    key=("category_id",),
)

_EMBEDDING = Column("vector", "vector of the item, as long as any other")
ITEM_EMBEDDINGS = Contract("item_embeddings", {"item_id": ITEM, "embedding": _EMBEDDING}, key=("item_id",))

ITEM_FEATURES = Contract(
    "item_features",
    {
        "item_id": ITEM,
        "category_id": Column("string", "last known category", nullable=True),
        "root_id": Column("string", "root of that category; null for an orphan", nullable=True),
        "depth": Column("int64", "depth of that category", nullable=True, ge=1),
        "available": Column(
            "bool",
            "last stated availability; true where never stated, null where it means nothing known",
            nullable=True,
        ),
        "price": Column("float64", "last known price", nullable=True),
        "brand": Column("string", "last known brand", nullable=True),
        "title": Column("string", "last known title", nullable=True),
        "first_seen": Column("date", "first day with an event or a property within the windows read"),
        "days_known": Column("int64", "days from first_seen to D, counting both", ge=1),
    },
    key=("item_id",),
)

USER_ACTIVITY = Contract(
    "user_activity",
    {
        "user_id": USER,
        "item_id": ITEM,
        **_COUNTS,
        "top_weight": Column("float64", "largest single event weight: how deep in the funnel", ge=0),
        "last_ts": Column("timestamp", "time of the last event"),
    },
    key=("user_id", "item_id"),
)

ITEM_ACTIVITY = Contract(
    "item_activity",
    {
        "item_id": ITEM,
        **_COUNTS,
        "users": Column("int64", "distinct known users on the day", ge=0),
        "sessions": Column("int64", "distinct sessions on the day", ge=0),
        "last_ts": Column("timestamp", "time of the last event"),
    },
    key=("item_id",),
)

ITEM_PAIRS = Contract(
    "item_pairs",
    {
        "item_id": Column("item", "the smaller id of the pair"),
        "other_item_id": Column("item", "the larger id of the pair"),
        "sessions": Column("int64", "sessions that hold both", ge=1),
        "weight": Column("float64", "sum over those sessions of 1/log2(1 + items in the session)", ge=0),
    },
    key=("item_id", "other_item_id"),
)

BOT_USERS = Contract(
    "bot_users",
    {
        "user_id": USER,
        "reason": Column("string", "what no person does: the pace, or the hours", isin=("pace", "hours")),
        "pace": Column("float64", "moments per active minute", ge=1, le=60),
        "typical_pace": Column("float64", "mean pace of the users of the day", ge=1, le=60),
        "events": Column("int64", "number of events on the day", ge=1),
        "moments": Column("int64", "distinct seconds with an event", ge=1),
        "minutes": Column("int64", "distinct minutes with an event", ge=1),
        "hours": Column("int64", "distinct hours with an event", ge=1, le=24),
    },
    key=("user_id",),
)

TOP_POPULAR = Contract(
    "top_popular",
    {
        "segment": Column("string", "'all', 'trending' or 'category:<id>'"),
        "item_id": ITEM,
        "score": Column("float32", "popularity within the segment's window", ge=0),
        "rank": Column("int32", "1 is best, dense", ge=1),
        "is_fallback": Column("bool", "whether users who are not known get this segment"),
    },
    key=("segment", "rank"),
)

_FACTORS = Column("vector", "latent factors")

ITEM_FACTORS = Contract("item_factors", {"item_id": ITEM, "factors": _FACTORS}, key=("item_id",))

COVISITED_ITEMS = Contract(
    "covisited_items",
    {
        "item_id": ITEM,
        "similar_item_id": Column("item", "an item of the same sessions, never the item itself"),
        "score": Column("float64", "cosine of the sessions, shrunk", ge=0),
        "rank": Column("int64", "1 is best, dense within the item", ge=1),
    },
    key=("item_id", "rank"),
)

SIMILAR_ITEMS = Contract(
    "similar_items",
    {
        "item_id": ITEM,
        "source": Column("string", "which similarity", isin=("covisit", "als", "fused")),
        "similar_item_id": Column("item", "the neighbour, never the item itself"),
        "score": Column("float32", "cosine, or reciprocal rank fusion for 'fused'"),
        "rank": Column("int32", "1 is best, dense within item and source", ge=1),
        "generator": Column("string", "the similarity with the largest share of the score", isin=("covisit", "als")),
    },
    key=("item_id", "source", "rank"),
)

RANKER_EVALUATION = Contract(
    "ranker_evaluation",
    {
        "model": Column("string", "ranker (of the day), champion (before it), fused, a generator; final: re-ranked"),
        "metric": Column(
            "string",
            "recall, precision, ndcg, map, mrr, hit, coverage, novelty, diversity, candidate_recall, ndcg_gain, "
            "ndcg_gain_over_champion, ndcg_gain_over_fused",
        ),
        "k": Column("int64", "length of the list", ge=1),
        "value": Column("float64", "mean over the users (coverage: share of the catalogue)", nullable=True),
        "low": Column("float64", "2.5 % bound of the bootstrap over users", nullable=True),
        "high": Column("float64", "97.5 % bound of the bootstrap over users", nullable=True),
        "users": Column("int64", "users evaluated: candidates at D-h and a target in (D-h, D]", ge=0),
    },
    key=("model", "metric", "k"),
)

EXPERIMENT_VALIDATION = Contract(
    "experiment_validation",
    {
        "experiment": Column("string", "name of the experiment's file"),
        "trained_as_of": Column("string", "as-of day of the model, YYYY-MM-DD"),
        "model_record": Column("string", "SHA-256 of the model's lineage record: its bytes and all that made them"),
        "metric": Column("string", "as the experiment names it, and ndcg_at_10_gain over the fused generators"),
        "value": Column("float64", "on the test window", nullable=True),
        "low": Column("float64", "2.5 % bound over users", nullable=True),
        "high": Column("float64", "97.5 % bound over users", nullable=True),
        "users": Column("int64", "users judged: candidates at D-h and a target in (D-h, D]", ge=0),
    },
    key=("experiment", "metric"),
)

RECOMMENDATIONS = Contract(
    "recommendations",
    {
        "user_id": USER,
        "item_id": ITEM,
        "rank": Column("int32", "1 is best, dense", ge=1, le=100),
        "score": Column("float32", "score of the model that ordered the list, non-increasing in rank"),
        "source": Column("string", "what ordered the list: ranker, fused or a generator"),
        "generator": Column("string", "the generator with the largest share of the item's fused score"),
    },
    key=("user_id", "rank"),
)


USER_HISTORIES = Contract(
    "user_histories",
    {
        "user_id": USER,
        "item_id": ITEM,
        "rank": Column("int64", "1 is the newest, dense", ge=1),
        "score": Column("float64", "weight of the user's events with the item, which decays", ge=0),
        "source": Column("string", "whether the user purchased the item", isin=("purchase", "interaction")),
    },
    key=("user_id", "rank"),
)


def candidates_contract(generators: Iterable[str]) -> Contract:
    """Candidates with the scores and ranks of some generators, in their order; docstrings call it CANDIDATES."""
    columns: dict[str, Column] = {"user_id": USER, "item_id": ITEM}
    for generator in generators:
        columns[f"{generator}_score"] = Column("float32", f"score by {generator}", nullable=True)
        columns[f"{generator}_rank"] = Column("int32", f"rank by {generator}, 1 is best", nullable=True, ge=1)
    columns["fused_score"] = Column("float32", "reciprocal rank fusion of the generators", ge=0)
    columns["fused_rank"] = Column("int32", "rank by fused_score, dense within the user", ge=1)
    return Contract("candidates", columns, key=("user_id", "item_id"))


EXPLAINED_FEATURES = 3
"""Features of an explained item that are kept: those that weighed most."""


def explanations_contract(generators: Iterable[str]) -> Contract:
    """Why the first items of each list stand where they do, with the ranks that some generators gave them."""
    columns: dict[str, Column] = {"user_id": USER, "item_id": ITEM, "rank": RECOMMENDATIONS.columns["rank"]}
    for generator in generators:
        columns[f"{generator}_rank"] = Column("int32", f"rank by {generator}, 1 is best", nullable=True, ge=1)
    for place in range(1, EXPLAINED_FEATURES + 1):
        columns[f"feature_{place}"] = Column("string", f"the feature that weighed most, place {place}", nullable=True)
        columns[f"value_{place}"] = Column("float32", "its value; null is unknown", nullable=True)
        columns[f"contribution_{place}"] = Column("float32", "what it adds to the score", nullable=True)
    columns["others"] = Column("float32", "what all other features add")
    columns["baseline"] = Column("float32", "the score without any contribution; the sum of all is the score")
    return Contract("explanations", columns, key=("user_id", "rank"))


def features_contract(generators: Iterable[str]) -> Contract:
    """Candidates with the features of a ranker, which are joined where they are used and never stored for all users."""
    features = {name: Column("float32", about, nullable=True) for name, about in FEATURES.items()}
    return Contract("features", {**candidates_contract(generators).columns, **features}, key=("user_id", "item_id"))


def examples_contract(generators: Iterable[str]) -> Contract:
    """Candidates with features and a label; docstrings call it RANKING_EXAMPLES."""
    label = Column("int64", "1 if the user had a target event with the item", ge=0, le=1)
    return Contract(
        "ranking_examples", {**features_contract(generators).columns, "label": label}, key=("user_id", "item_id")
    )


def generators_in(columns: Iterable[str]) -> tuple[str, ...]:
    """The generators whose scores and ranks a frame of candidates or examples has, in the order of its columns."""
    names = tuple(columns)
    ranked = [name.removesuffix("_rank") for name in names if name.endswith("_rank") and name not in FEATURES]
    return tuple(name for name in ranked if name != "fused" and f"{name}_score" in names)


def feature_columns(generators: Iterable[str]) -> tuple[str, ...]:
    """The columns that are features of the ranker, in the order of its feature vector."""
    return tuple(
        name for name in features_contract(generators).columns if name not in ("user_id", "item_id", "fused_rank")
    )


@cache
def contracts_of(generators: tuple[str, ...]) -> Mapping[str, Contract]:
    """Every frame by its asset's name.

    Args:
        generators: names, as a :class:`~recsys_assets.core.generator_registry.GeneratorRegistry` has them.
    """
    contracts = (
        CLEAN_EVENTS,
        REJECTED_EVENTS,
        IMPRESSIONS,
        ATTRIBUTION,
        ITEM_PROPERTIES,
        CATEGORY_TREE,
        ITEM_EMBEDDINGS,
        ITEM_FEATURES,
        EVENT_COUNTS,
        USER_ACTIVITY,
        ITEM_ACTIVITY,
        ITEM_PAIRS,
        BOT_USERS,
        TOP_POPULAR,
        ITEM_FACTORS,
        COVISITED_ITEMS,
        SIMILAR_ITEMS,
        candidates_contract(generators),
        examples_contract(generators),
        RANKER_EVALUATION,
        EXPERIMENT_VALIDATION,
        RECOMMENDATIONS,
        explanations_contract(generators),
        USER_HISTORIES,
    )
    return {contract.name: contract for contract in contracts}
