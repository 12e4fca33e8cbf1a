"""The metrics again, user by user in plain Python, and a random case of lists and targets."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class Case:
    """Interactions before a cut, targets after it, and the lists recommended at the cut."""

    known: pl.DataFrame
    targets: pl.DataFrame
    lists: pl.DataFrame

    def strings(self) -> Case:
        """The same with string ids."""
        text = [pl.format("u{}", "user_id").alias("user_id"), pl.format("i{}", "item_id").alias("item_id")]
        return Case(*(frame.with_columns(text) for frame in (self.known, self.targets, self.lists)))


def case(seed: int, users: int = 40, items: int = 60, longest: int = 30) -> Case:
    """Lists of 0 to ``longest`` items; targets with repeats, new items, users without a list and with user 0."""
    rng = random.Random(seed)

    def pairs(count: int, top: int) -> pl.DataFrame:
        return pl.DataFrame(
            [(rng.randrange(users), int(top * rng.random() ** 2)) for _ in range(count)],
            schema=["user_id", "item_id"],
            orient="row",
        )

    ranked = [
        (user, item, rank)
        for user in range(users)
        if rng.random() < 0.9
        for rank, item in enumerate(rng.sample(range(items), rng.randrange(longest)), start=1)
    ]
    lists = pl.DataFrame(ranked, schema=["user_id", "item_id", "rank"], orient="row")
    return Case(pairs(300, items), pairs(150, items + 5), lists)


def means(case: Case, k: int) -> dict[str, float]:
    """Every metric, as the mean over users with a target."""
    targets_of: dict[int, set[int]] = {}
    for user, item in case.targets.rows():
        targets_of.setdefault(user, set()).add(item)
    list_of: dict[int, list[int]] = {}
    for user, item, _ in sorted(case.lists.rows(), key=lambda row: (row[0], row[2], row[1])):
        list_of.setdefault(user, []).append(item)
    owners: dict[int, set[int]] = {}
    for user, item in case.known.rows():
        owners.setdefault(item, set()).add(user)
    user_count = len({user for user, _ in case.known.rows()})
    scores = [user_metrics(list_of.get(user, [])[:k], targets, k) for user, targets in targets_of.items()]
    values = {name: sum(score[name] for score in scores) / len(scores) for name in scores[0]}
    tops = [list_of[user][:k] for user in targets_of if list_of.get(user)]
    self_informations = [
        sum(-math.log2(len(owners.get(item, {-1})) / user_count) for item in top) / len(top) for top in tops
    ]
    values["novelty"] = sum(self_informations) / len(self_informations)
    values["coverage"] = len({item for top in tops for item in top}) / len(owners)
    hits = sum(len(targets & set(list_of.get(user, []))) for user, targets in targets_of.items())
    values["candidate_recall"] = hits / sum(map(len, targets_of.values()))
    return values


def user_metrics(top: Sequence[int], targets: set[int], k: int) -> Mapping[str, float]:
    """The metrics of one user."""
    hits = [item in targets for item in top]
    ideal = min(k, len(targets))
    return {
        "recall": sum(hits) / len(targets),
        "precision": sum(hits) / k,
        "ndcg": sum(h / math.log2(i + 2) for i, h in enumerate(hits)) / sum(1 / math.log2(i + 2) for i in range(ideal)),
        "map": sum(h * sum(hits[: i + 1]) / (i + 1) for i, h in enumerate(hits)) / ideal,
        "mrr": next((1 / (i + 1) for i, h in enumerate(hits) if h), 0.0),
        "hit": float(any(hits)),
    }
