"""Sessions: every score equals the definition, computed the slow way; order, blocks and ids change nothing."""

import math
import random
from collections import defaultdict
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from recsys_assets.core.models import next_items
from recsys_assets.core.models.next_items import NextItems, recommend
from recsys_assets.core.models.session_model import SessionModel, SessionParams
from recsys_assets.core.models.sessions import fit
from recsys_assets_tests.core.world import typed

# Small enough that every limit is met by the logs below.
TIGHT = SessionParams(
    session_clicks=6,
    recent_sessions=7,
    neighbours=5,
    first_links=4,
    links=6,
    repeat_sample=150,
    repeat_prior=2.0,
)
EVERYTHING = 1000

Sessions = dict[int, list[int]]
"""The items of each session, in the order of their clicks."""

Cell = tuple[str, int, int]
"""What the rate of returns depends on: the kind of session, the item's place in it, its clicks."""


def clicks(sessions: Sessions, ids: str = "int64") -> pa.Table:
    """A table of sessions, given the items of each; they begin one after the other and overlap."""
    rows = [
        {"session_id": typed(session, ids), "item_id": typed(item, ids), "ts": 10 * number + 7 * place}
        for number, (session, items) in enumerate(sessions.items())
        for place, item in enumerate(items)
    ]
    kind = pa.string() if ids == "string" else pa.int64()
    return pa.Table.from_pylist(rows, schema=pa.schema([("session_id", kind), ("item_id", kind), ("ts", pa.int64())]))


def with_equal_times(table: pa.Table) -> pa.Table:
    """The same clicks, as a clock saw them that ticks seldom."""
    return table.set_column(2, "ts", pc.call_function("divide", [table["ts"], 20]))


def random_sessions(seed: int, count: int = 60, items: int = 25) -> Sessions:
    """Sessions of up to nine clicks that return to their own items, numbered in no order."""
    rng = random.Random(seed)
    numbers = rng.sample(range(EVERYTHING), count)
    found = {}
    for number in numbers:
        session = [rng.randrange(items)]
        for _ in range(rng.randrange(9)):
            near = (session[-1] + rng.choice((1, 2, 5))) % items
            session.append(rng.choice(session) if rng.random() < 0.3 else near)
        found[number] = session
    return found


def as_lists(found: pa.Table) -> dict[Any, list[tuple[Any, float]]]:
    lists = defaultdict(list)
    for row in found.to_pylist():
        lists[row["session_id"]].append((row["item_id"], row["score"]))
        assert row["rank"] == len(lists[row["session_id"]])
    return dict(lists)


def last_seen(items: list[int], most: int) -> dict[int, int]:
    """Clicks since the last one on each item, the latest item first."""
    lags = {}
    for lag, item in enumerate(items[-most:][::-1]):
        lags.setdefault(item, lag)
    return lags


def cell(items: list[int], item: int, most: int) -> Cell:
    """What the session looks like to one of its items."""
    late = items[-most:]
    lags = last_seen(items, most)
    returns = any(late.count(other) > 1 for other in lags if other != item)
    kind = "alone" if len(lags) == 1 else "returned to another" if returns else "returned to no other"
    return kind, min(list(lags).index(item), 9), min(late.count(item), 5)


class Slow:
    """The definition in loops."""

    def __init__(self, sessions: Sessions, params: SessionParams) -> None:
        self.params = p = params
        table = clicks(sessions).to_pylist()
        ends = {number: max(row["ts"] for row in table if row["session_id"] == number) for number in sessions}
        self.log = [sessions[number] for number in sorted(sessions, key=lambda number: (ends[number], number))]
        self.seen = [last_seen(items, p.session_clicks) for items in self.log]
        self.age = [math.exp(-(len(self.log) - 1 - at) / (p.age_decay * len(self.log))) for at in range(len(self.log))]
        self.holders = {i: [at for at, s in enumerate(self.seen) if i in s] for s in self.log for i in s}
        self.links = self.linked()
        self.rates = self.returned()

    def linked(self) -> dict[int, dict[int, float]]:
        p = self.params
        met = defaultdict(float)
        for seen, age in zip(self.seen, self.age, strict=True):
            for one in seen:
                for other in seen:
                    steps = abs(list(seen).index(one) - list(seen).index(other))
                    if 0 < steps <= int(p.link_decay * -math.log(0.02)) + 1:
                        met[one, other] += age * math.exp(-(abs(seen[one] - seen[other]) - 1) / p.link_decay)
        degree = {i: sum(w for (one, _), w in met.items() if one == i) for i in self.holders}
        near = {i: {} for i in self.holders}
        for (one, other), weight in met.items():
            near[one][other] = weight / math.sqrt(degree[one] * degree[other])
        near = {i: strongest(found, p.first_links) for i, found in near.items()}
        far = {i: defaultdict(float) for i in near}
        for one, found in near.items():
            for middle, weight in found.items():
                for other, further in near[middle].items():
                    far[one][other] += weight * further
        return {i: strongest(found, p.links) for i, found in far.items()}

    def returned(self) -> dict[Cell, float]:
        seen, came = defaultdict(float), defaultdict(float)
        budget = self.params.repeat_sample
        for items in reversed(self.log):
            for place in reversed(range(1, len(items))):
                budget -= place
                if budget < 0:
                    break
                for item in last_seen(items[:place], self.params.session_clicks):
                    at = cell(items[:place], item, self.params.session_clicks)
                    for key in (at, at[1]):
                        seen[key] += 1
                        came[key] += item == items[place]
        prior = self.params.repeat_prior

        def rate(at: Cell) -> float:
            return (came[at] + prior * came[at[1]] / max(seen[at[1]], 1)) / (seen[at] + prior)

        return defaultdict(float) | {
            (kind, place, count): rate((kind, place, count))
            for kind in ("alone", "returned to another", "returned to no other")
            for place in range(10)
            for count in range(1, 6)
        }

    def scores(self, items: list[int]) -> dict[int, float]:
        p = self.params
        items = [item for item in items if item in self.holders]
        lags = last_seen(items, p.session_clicks)
        similar, meets = defaultdict(float), {}
        for item, lag in lags.items():
            rarity = math.log(1 + len(self.log) / max(len(self.holders[item]), 1))
            for at in self.holders[item][-p.recent_sessions :]:
                similar[at] += math.exp(-lag / p.click_decay) * rarity * self.age[at]
                meets.setdefault(at, item)
        near, linked = defaultdict(float), defaultdict(float)
        for at in sorted(similar, key=lambda at: (-similar[at], -at))[: p.neighbours]:
            for item, lag in self.seen[at].items():
                apart = abs(lag - self.seen[at][meets[at]])
                rarity = math.log(1 + len(self.log) / len(self.holders[item]))
                near[item] += similar[at] ** p.similarity_power * math.exp(-apart / p.distance_decay) * rarity
        for item, lag in lags.items():
            for other, weight in self.links[item].items():
                linked[other] += math.exp(-lag / p.click_decay) * weight
        parts = [
            (quota, {item: weight for item, weight in part.items() if item not in lags and weight > 0})
            for quota, part in ((p.neighbour_weight, near), (p.link_weight, linked))
        ]
        rates = {i: self.rates[cell(items, i, p.session_clicks)] if p.repeats else 0.0 for i in lags}
        quotas = sum(quota for quota, part in parts if part)
        left = max(1 - sum(rates.values()), 0.05)
        scores = defaultdict(float, rates)
        for quota, part in parts:
            for item, weight in part.items():
                scores[item] += left * quota / quotas * weight / sum(part.values())
        return {item: score for item, score in scores.items() if score > 0}


def strongest(weights: dict[int, float], most: int) -> dict[int, float]:
    least = sorted(weights.values())[-most] if len(weights) > most else 0.0
    return {item: weight for item, weight in weights.items() if weight >= least * (1 - 1e-12)}


VARIANTS = {
    "defaults": SessionParams(),
    "every limit binds": TIGHT,
    "without repeats": replace(TIGHT, repeats=False),
    "neighbours alone": replace(TIGHT, link_weight=0.0),
    "links alone": replace(TIGHT, neighbour_weight=0.0, link_decay=0.7),
    "nothing ages, so that ties go to the newest": replace(TIGHT, age_decay=1e30, first_links=99, links=99),
    "other weights": replace(TIGHT, click_decay=4.0, distance_decay=1.0, age_decay=0.2, neighbour_weight=3.0),
    "similarity counts more": replace(TIGHT, similarity_power=2.5),
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("seed", range(3))
def test_every_score_equals_the_definition(variant: str, seed: int) -> None:
    log, asked = random_sessions(seed), random_sessions(seed + 100, items=28)
    slow = Slow(log, VARIANTS[variant])
    found = as_lists(recommend(fit(clicks(log), VARIANTS[variant]), clicks(asked), EVERYTHING))
    expected = {session: scores for session, items in asked.items() if (scores := slow.scores(items))}
    assert found.keys() == expected.keys()
    for session, scores in expected.items():
        assert dict(found[session]) == pytest.approx(scores, rel=1e-6)
        assert found[session] == sorted(found[session], key=lambda pair: (-pair[1], pair[0]))


def test_an_item_of_clicks_that_do_not_count_is_known_and_has_no_company() -> None:
    log = {1: [7, 1, 2, 3, 4, 5, 6, 1], 2: [1, 2, 1], 3: [9, 9]}
    one = NextItems(fit(clicks(log), TIGHT))
    assert [item for item, _ in one([7], 9)] == [7]
    assert dict(one([7, 1], 9)) == pytest.approx(Slow(log, TIGHT).scores([7, 1]), rel=1e-6)


def test_a_list_is_the_same_alone_in_a_batch_and_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    model, asked = fit(clicks(random_sessions(1)), TIGHT), random_sessions(2)
    whole = as_lists(recommend(model, clicks(asked), 8))
    one = NextItems(model)
    assert {session: one(items, 8) for session, items in asked.items()} == whole
    monkeypatch.setattr(next_items, "_VISITS", 40)
    monkeypatch.setattr(next_items, "_SESSIONS", 7)
    assert as_lists(recommend(model, clicks(asked), 8)) == whole
    everything = as_lists(recommend(model, clicks(asked), EVERYTHING))
    assert {session: found[:8] for session, found in everything.items()} == whole
    assert max(map(len, everything.values())) > 8


@pytest.mark.parametrize("ids", ["int64", "string"])
def test_what_is_gone_leaves_its_place_to_the_next_and_the_scores_as_they_are(ids: str) -> None:
    model, asked = fit(clicks(random_sessions(1), ids), TIGHT), clicks(random_sessions(2), ids)
    gone = [typed(item, ids) for item in (3, 7, 11, 500)]
    everything = as_lists(recommend(model, asked, EVERYTHING))
    wanted = {session: [pair for pair in found if pair[0] not in gone][:8] for session, found in everything.items()}
    assert as_lists(recommend(model, asked, 8, pa.array(gone))) == wanted
    assert wanted != {session: found[:8] for session, found in everything.items()}


def test_the_order_of_rows_does_not_matter_and_stored_arrays_are_the_model(tmp_path: Path) -> None:
    log, asked = (with_equal_times(clicks(random_sessions(seed))) for seed in (3, 4))
    shuffled = log.take(pa.array(np.random.default_rng(0).permutation(len(log))))
    model, again = fit(log, TIGHT), fit(shuffled, TIGHT)
    stored: dict[str, Any] = {"params": model.params, "items": model.items}
    for field in fields(SessionModel)[2:]:
        array = getattr(model, field.name)
        assert array.tobytes() == getattr(again, field.name).tobytes(), field.name
        np.save(tmp_path / f"{field.name}.npy", array, allow_pickle=False)
        stored[field.name] = np.load(tmp_path / f"{field.name}.npy", mmap_mode="r", allow_pickle=False)
    backwards = asked.take(pa.array(np.arange(len(asked))[::-1]))
    assert recommend(SessionModel(**stored), backwards, 9).equals(recommend(model, asked, 9))


def test_string_ids_give_the_same_lists() -> None:
    log, asked = random_sessions(5), random_sessions(6)
    numbers = as_lists(recommend(fit(clicks(log), TIGHT), clicks(asked), 10))
    model = fit(clicks(log, "string"), TIGHT)
    texts = as_lists(recommend(model, clicks(asked, "string"), 10))
    assert texts.keys() == {typed(session, "string") for session in numbers}
    for session, found in numbers.items():
        # Sums are taken in the order of ids, which is another one: their last bits may differ.
        assert dict(texts[typed(session, "string")]) == pytest.approx({typed(i, "string"): score for i, score in found})
    assert NextItems(model)([typed(i, "string") for i in asked[min(asked)]], 10) == texts[typed(min(asked), "string")]


def test_what_is_linked_over_a_third_item_is_found_without_a_session_that_has_both() -> None:
    log = clicks({1: [10, 20], 2: [20, 30], 3: [40, 50]})
    assert {item for item, _ in NextItems(fit(log))([10], 5)} == {20, 30}
    assert {item for item, _ in NextItems(fit(log, SessionParams(link_weight=0.0)))([10], 5)} == {20}


def test_a_part_that_knows_nothing_leaves_the_word_to_the_other() -> None:
    """No item lies over one between of 40, and nobody has returned to anything."""
    assert NextItems(fit(clicks({1: [10, 20], 2: [20, 30], 3: [40, 50]})))([40], 5) == [(50, pytest.approx(1.0))]


def test_equal_scores_go_by_item() -> None:
    params = SessionParams(age_decay=1e30)  # no session is older than another
    for log in ({1: [5, 9], 2: [5, 3], 3: [5, 7]}, {1: [5, 7], 2: [5, 9], 3: [5, 3]}):
        found = NextItems(fit(clicks(log), params))([5], 2)
        assert [item for item, _ in found] == [3, 7]
        assert found[0][1] == found[1][1]


def test_returns_are_learned_from_how_sessions_went() -> None:
    """Who clicks an item twice goes back to the one before it, and nobody does otherwise."""
    one = NextItems(fit(clicks({n: [n % 5, 10 + n % 7, 10 + n % 7, n % 5] for n in range(200)})))
    for items, returns_to, not_to in (([2, 14, 14], 2, 14), ([2, 14], 14, 2)):
        scores = dict(one(items, EVERYTHING))
        assert scores[returns_to] > 0.9
        assert scores[not_to] < 0.05


@pytest.mark.parametrize("ids", ["int64", "string"])
def test_what_is_not_known_gives_nothing(ids: str) -> None:
    log = {1: [1, 2, 3], 2: [2, 3]}
    model = fit(clicks(log, ids))
    asked = clicks({7: [90, 91], 8: [90, 2, 91], 9: [2]}, ids)
    lists = as_lists(recommend(model, asked, 5))
    assert lists.keys() == {typed(8, ids), typed(9, ids)}
    assert lists[typed(8, ids)] == lists[typed(9, ids)]
    assert NextItems(model)([], 5) == NextItems(model)([typed(90, ids)], 5) == []
    assert recommend(model, asked, 0).num_rows == 0
    empty = fit(clicks({}, ids))
    for nothing in (recommend(model, clicks({}, ids), 5), recommend(empty, asked, 5)):
        assert nothing.num_rows == 0
        assert nothing.schema == recommend(model, asked, 5).schema


def test_the_newest_session_has_the_whole_weight_and_older_ones_lose_it_by_their_share() -> None:
    weights = SessionParams(age_decay=0.5).age_weights(np.array([0, 1, 3]), 4)
    assert weights.tolist() == pytest.approx([math.exp(-1.5), math.exp(-1.0), 1.0])
