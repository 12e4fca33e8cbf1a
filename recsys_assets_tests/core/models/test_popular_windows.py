"""Windows that the data choose: equal to brute force, blind to the future, and right where the answer is known."""

import random
from collections import defaultdict
from dataclasses import asdict, replace
from datetime import datetime, timedelta

import pyarrow as pa
import pytest

from recsys_assets.core.contracts import CLEAN_EVENTS, ITEM_FEATURES, IdTypes
from recsys_assets.core.models.popular import PopularParams, item_hours, top_popular
from recsys_assets.core.models.popular_windows import WindowParams, Windows, find_windows
from recsys_assets_tests.core.world import (
    FIRST,
    INTS,
    STRINGS,
    WEIGHTS,
    Row,
    end_of,
    events,
    frame,
    marts,
    rows,
)

DAY = FIRST + timedelta(days=9)
STATED = PopularParams(days=5, trending_days=4, trending_half_life=3.0)
SMALL = WindowParams(
    horizon_days=2, fewest=1, days=(1, 2, 4), half_lives=(0.25, 1.0, 2.0), cuts=2, k=4, category_k=2
)  # fmt: skip


def found(
    happened: list[Row],
    how: WindowParams,
    features: list[Row] | None = None,
    ids: IdTypes = INTS,
    stated: PopularParams = STATED,
) -> Windows:
    window = marts(happened, ids)
    hours = item_hours(frame(happened, CLEAN_EVENTS, ids), WEIGHTS, end_of(DAY))
    return find_windows(
        window.item_activity, hours, window.user_activity, frame(features or [], ITEM_FEATURES, ids), DAY, stated, how
    )


def recalls(windows: Windows) -> dict[tuple[str, float], float]:
    return {(row["segment"], row["days"]): row["recall"] for row in windows.scores.to_pylist()}


def test_recalls_equal_brute_force():
    happened = events(seed=51, items=40)
    features = [
        {"item_id": n, "category_id": f"c{n % 3}" if n % 4 else None, "available": n % 9 > 0} for n in range(40)
    ]
    category = {row["item_id"]: row["category_id"] for row in features if row["category_id"]}
    hits, users = defaultdict(float), defaultdict(int)
    for segment, ladder, step in (
        ("all", SMALL.days, 2),
        ("category:", SMALL.days, 2),
        ("trending", SMALL.half_lives, 1),
    ):
        for cut in (1, 2):
            last = DAY - timedelta(days=cut * step)
            purchased = defaultdict(set)
            for e in happened:
                if (
                    last < e["dt"] <= last + timedelta(days=step)
                    and e["event_type"] == "buy"
                    and e["user_id"] is not None
                ):
                    purchased[e["user_id"]].add(e["item_id"])
            for days in ladder:
                score = defaultdict(float)
                for e in happened:
                    age = (last - e["dt"]).days
                    hours = (end_of(last) - e["ts"]).total_seconds() // 3600
                    if age < 0 or e["item_id"] % 9 == 0:
                        continue
                    if segment != "trending":
                        score[e["item_id"]] += WEIGHTS.weights[e["event_type"]] * (age < days)
                    elif days < 1:
                        score[e["item_id"]] += WEIGHTS.weights[e["event_type"]] * 0.5 ** (hours / 24 / days) * (age < 3)
                    else:
                        score[e["item_id"]] += WEIGHTS.weights[e["event_type"]] * 0.5 ** (age / days) * (age < 8 * days)
                order = sorted((item for item in score if score[item] > 0), key=lambda item: (-score[item], item))
                best = set(order[:4])
                if segment == "category:":
                    best = {i for c in ("c0", "c1", "c2") for i in [i for i in order if category.get(i) == c][:2]}
                hits[segment, days] += sum(len(items & best) / len(items) for items in purchased.values())
                users[segment, days] += len(purchased)
    result = found(happened, SMALL, features)
    assert recalls(result) == {key: pytest.approx(hits[key] / users[key], abs=1e-5) for key in hits}
    for segment in ("all", "category:", "trending"):
        mine = [row for row in result.scores.to_pylist() if row["segment"] == segment]
        (chosen,) = [row for row in mine if row["chosen"]]
        assert chosen["recall"] == max(row["recall"] for row in mine) > min(row["recall"] for row in mine)
    asked = result.params.days, result.params.category_days, result.params.trending_half_life
    assert asked == tuple(row["days"] for row in result.scores.to_pylist() if row["chosen"])


@pytest.mark.parametrize("ids", [INTS, STRINGS])
def test_the_future_changes_nothing(ids: IdTypes):
    happened = events(seed=52, ids=ids)
    now = found([e for e in happened if e["dt"] <= DAY], SMALL, ids=ids)
    later = found(happened, SMALL, ids=ids)
    assert now.params == later.params
    assert now.scores == later.scores


@pytest.mark.parametrize("ids", [INTS, STRINGS])
def test_with_too_few_users_what_was_stated_stays(ids: IdTypes):
    for happened in ([], events(seed=53, ids=ids)):
        result = found(happened, replace(SMALL, fewest=10_000), ids=ids)
        assert asdict(result.params) == {**asdict(STATED), "category_days": STATED.days}
        assert set(recalls(result).values()) == {None}


def purchase(user: int, item: int, ts: datetime) -> Row:
    return {
        "user_id": user, "item_id": item, "event_type": "buy", "ts": ts, "session_id": int(ts.timestamp()),
        "dt": ts.date(),
    }  # fmt: skip


def test_news_are_counted_in_hours_and_classics_in_months():
    """An article lives six hours; classics are never dated, so that the longest window knows them best."""
    rng, news, classics = random.Random(1), list[Row](), list[Row]()
    for hour in range(10 * 24):
        ts = end_of(FIRST) + timedelta(hours=hour - 24, minutes=30)
        for user in range(12):
            news.append(purchase(user * 1000 + hour, max(hour - rng.randrange(6), 0) * 5 + rng.randrange(5), ts))
            if user < 3:
                (item,) = rng.choices(range(300), [1 / (10 + n) for n in range(300)])
                classics.append(purchase(user * 1000 + hour, item, ts))
    how = WindowParams(horizon_days=1, days=(1, 3, 7), half_lives=(0.125, 0.5, 1.0, 4.0), cuts=3, k=25)
    short, long = found(news, how).params, found(classics, how).params
    assert (short.days, short.trending_half_life, short.trending_days) == (1, 0.125, 3)
    assert (long.days, long.trending_half_life) == (7, 4.0)
    listed = top_popular(
        marts(news).item_activity,
        frame([], ITEM_FEATURES),
        DAY,
        short,
        item_hours(frame(news, CLEAN_EVENTS), WEIGHTS, end_of(DAY)),
    )
    trending = [row["item_id"] for row in rows(listed, "rank") if row["segment"] == "trending"]
    assert all(item // 5 >= 10 * 24 - 12 for item in trending[:10]), "the articles of the last hours"


def test_hours_need_the_events_by_hour():
    given = marts(events(seed=54)).item_activity
    with pytest.raises(ValueError, match="by hour"):
        top_popular(given, frame([], ITEM_FEATURES), DAY, PopularParams(trending_half_life=0.5))


def test_scores_are_shown_as_a_table():
    scores = [
        {"segment": "all", "days": 7.0, "recall": 0.25, "chosen": True},
        {"segment": "category:", "days": 0.125, "recall": None, "chosen": False},
    ]
    assert Windows(PopularParams(), pa.Table.from_pylist(scores)).markdown().splitlines() == [
        "| segment | window or half-life | recall of its lists | chosen |",
        "| --- | --- | --- | --- |",
        "| all | 7 d | 0.2500 | ✓ |",
        "| category | 3 h | too few users |  |",
    ]
