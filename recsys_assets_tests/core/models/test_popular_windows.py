"""Windows that the data choose: equal to brute force, blind to the future, and right where the answer is known."""

import math
import random
from collections import defaultdict
from dataclasses import asdict, replace
from datetime import date, datetime, timedelta

import pyarrow as pa
import pytest

from recsys_assets.core.contracts import CLEAN_EVENTS, ITEM_FEATURES, IdTypes
from recsys_assets.core.models.popular import ALL_TIME, PopularParams, item_hours, top_popular
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
    horizon_days=2, fewest=1, days=(0.125, 1, 2, 4, ALL_TIME), half_lives=(0.25, 1.0, 2.0, ALL_TIME), cuts=2, k=4
)  # fmt: skip


def found(
    happened: list[Row],
    how: WindowParams,
    features: list[Row] | None = None,
    ids: IdTypes = INTS,
    stated: PopularParams = STATED,
) -> Windows:
    window = marts(happened, ids)
    dates = how.hourly_dates(DAY)
    hours = item_hours(frame([e for e in happened if e["dt"] in dates], CLEAN_EVENTS, ids), WEIGHTS, end_of(DAY))
    return find_windows(
        window.item_activity, hours, window.user_activity, frame(features or [], ITEM_FEATURES, ids), DAY, stated, how
    )


def ndcgs(windows: Windows) -> dict[tuple[str, float], float]:
    return {(row["segment"], row["days"]): row["ndcg"] for row in windows.scores.to_pylist()}


def discount(place: int) -> float:
    return 1 / math.log2(place + 2)


def scores_at(happened: list[Row], last: date, segment: str, days: float) -> tuple[dict[int, float], dict[int, float]]:
    """The weight of each item in a window that ends with a day, and in all time."""
    score, ever = defaultdict(float), defaultdict(float)
    for e in happened:
        age, hours = (last - e["dt"]).days, (end_of(last) - e["ts"]).total_seconds() // 3600
        if age < 0 or e["item_id"] % 9 == 0:
            continue
        weight = WEIGHTS.weights[e["event_type"]]
        ever[e["item_id"]] += weight
        if segment != "trending":
            score[e["item_id"]] += weight * (hours < days * 24 if days < 1 else age < days)
        elif days < 1:
            score[e["item_id"]] += weight * 0.5 ** (hours / 24 / days) * (age < 3)
        else:
            score[e["item_id"]] += weight * (1 if days == ALL_TIME else 0.5 ** (age / days) * (age < 8 * days))
    return score, ever


def test_the_ndcg_of_each_window_equals_brute_force():
    happened = events(seed=51, items=40)
    features = [
        {"item_id": n, "category_id": f"c{n % 3}" if n % 4 else None, "available": n % 9 > 0} for n in range(40)
    ]
    category = {row["item_id"]: row["category_id"] for row in features if row["category_id"]}
    expected, lists = defaultdict(list), defaultdict(list)
    for cut in (1, 2):
        last = DAY - timedelta(days=cut * 2)
        targets = defaultdict(lambda: defaultdict(set))
        for e in happened:
            if last < e["dt"] <= last + timedelta(days=2) and e["event_type"] == "buy" and e["user_id"] is not None:
                targets["any"][e["user_id"]].add(e["item_id"])
                if e["item_id"] in category:
                    targets["of each"][e["user_id"], category[e["item_id"]]].add(e["item_id"])
        for segment, ladder in (("all", SMALL.days), ("category:", SMALL.days), ("trending", SMALL.half_lives)):
            for days in ladder:
                score, ever = scores_at(happened, last, segment, days)
                order = sorted(ever, key=lambda item: (-score[item], -ever[item], item))
                by_id = sorted((item for item in score if score[item] > 0), key=lambda item: (-score[item], item))
                for key, items in targets["of each" if segment == "category:" else "any"].items():
                    listed = order if segment != "category:" else [i for i in by_id if category.get(i) == key[1]]
                    gain = sum(discount(place) for place, item in enumerate(listed[:4]) if item in items)
                    expected[segment, days].append(gain / sum(discount(n) for n in range(min(len(items), 4))))
                    lists[segment, days].append(len(listed[:4]))
    result = found(happened, SMALL, features)
    assert ndcgs(result) == {key: pytest.approx(sum(values) / len(values)) for key, values in expected.items()}
    assert {len(values) for values in expected.values()} == {len(expected["all", 1]), len(expected["category:", 1])}
    assert set(lists["all", 0.125]) == {4}, "a list goes on where its window ends"
    chosen = {row["segment"]: row for row in result.scores.to_pylist() if row["chosen"]}
    for segment, best in chosen.items():
        mine = [row["ndcg"] for row in result.scores.to_pylist() if row["segment"] == segment]
        assert best["ndcg"] == max(mine) > min(mine)
    asked = result.params.days, result.params.category_days, result.params.trending_half_life
    assert asked == tuple(chosen[segment]["days"] for segment in ("all", "category:", "trending"))
    assert result.params.fallback == ("trending" if chosen["trending"]["ndcg"] > chosen["all"]["ndcg"] else "all")


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
        assert set(ndcgs(result).values()) == {None}


def purchase(user: int, item: int, ts: datetime) -> Row:
    return {
        "user_id": user, "item_id": item, "event_type": "buy", "ts": ts, "session_id": int(ts.timestamp()),
        "dt": ts.date(),
    }  # fmt: skip


def news_and_classics() -> tuple[list[Row], list[Row]]:
    """Purchases of articles that live six hours, in ten days, and of classics, which are never dated, in fifty.

    Few buy classics, so that no day alone knows them, but many on the last day, so that there are users to judge by.
    """
    rng, news, classics = random.Random(1), list[Row](), list[Row]()
    for hour in range(-40 * 24, 10 * 24):
        ts = end_of(FIRST) + timedelta(hours=hour - 24, minutes=30)
        for user in range(12 if hour >= 0 else 0):
            news.append(purchase(user * 1000 + hour, max(hour - rng.randrange(6), 0) * 5 + rng.randrange(5), ts))
        for user in range(3 if hour < 9 * 24 else 80):
            (item,) = rng.choices(range(300), [1 / (10 + n) for n in range(300)])
            classics.append(purchase(user * 10_000 + hour, item, ts))
    return news, classics


def segments(happened: list[Row], params: PopularParams) -> dict[str, list[Row]]:
    hours = item_hours(frame(happened, CLEAN_EVENTS), WEIGHTS, end_of(DAY))
    listed = top_popular(marts(happened).item_activity, frame([], ITEM_FEATURES), DAY, params, hours)
    by_segment = defaultdict(list)
    for row in rows(listed, "segment", "rank"):
        by_segment[row["segment"]].append(row)
    return by_segment


def test_news_are_counted_in_hours_and_classics_in_all_time():
    news, classics = news_and_classics()
    how = WindowParams(horizon_days=1, cuts=3, k=25)
    short, long = found(news, how), found(classics, replace(how, cuts=1))
    assert (short.params.days, short.params.trending_half_life) <= (0.25, 0.25)
    assert short.params.trending_days == 3
    assert (long.params.days, long.at_the_end) == (ALL_TIME, ["all"])
    assert long.params.trending_half_life >= 30
    told = [line for line in long.markdown().splitlines() if "✓ at the end of the ladder" in line]
    assert [line.split(" | ")[:2] for line in told] == [["| all", "all time"]]
    listed = segments(news, short.params)
    for segment in ("all", "trending"):
        assert all(row["item_id"] // 5 >= 10 * 24 - 12 for row in listed[segment][:10]), "articles of the last hours"
        assert len(listed[segment]) == short.params.k, "the list goes on where the window ends"
        assert [row["score"] for row in listed[segment]] == sorted((r["score"] for r in listed[segment]), reverse=True)
    assert {name for name, items in listed.items() if any(row["is_fallback"] for row in items)} == {
        short.params.fallback
    }


def test_the_ends_of_a_ladder_are_told():
    news, classics = news_and_classics()
    ladder = WindowParams(horizon_days=1, cuts=3, k=25, days=(1, 3, 7), half_lives=(1.0, 2.0, 4.0))
    short, long = found(news, ladder), found(classics, replace(ladder, cuts=1))
    assert (short.params.days, short.params.trending_half_life) == (1, 1.0)
    assert (long.params.days, long.params.trending_half_life) == (7, 4.0)
    assert short.at_the_end == long.at_the_end == ["all", "trending"]
    inside = found(news, replace(ladder, days=(1 / 24, 0.125, 3), half_lives=(1 / 24, 2.0)))
    assert inside.at_the_end == ["trending"]
    assert inside.markdown().count("end of the ladder") == 1


def test_the_ladders_reach_from_one_hour_to_all_time():
    for ladder in (WindowParams().days, WindowParams().half_lives):
        assert list(ladder) == sorted(ladder)
        assert (ladder[0], ladder[-1]) == (1 / 24, ALL_TIME)


def test_the_fallback_is_the_better_list():
    """A half-life keeps the order of a long window where all is steady, and a window that of a fashion that ends."""
    news, _ = news_and_classics()
    for days, half_lives in (((7,), (0.125,)), ((0.25,), (14.0,))):
        how = WindowParams(horizon_days=1, cuts=3, k=25, days=days, half_lives=half_lives)
        result = found(news, how)
        measured = ndcgs(result)
        better = "trending" if measured["trending", half_lives[0]] > measured["all", days[0]] else "all"
        assert result.params.fallback == better == ("trending" if days == (7,) else "all")
        for segment, listed in segments(news, result.params).items():
            assert {row["is_fallback"] for row in listed} == {segment == better}


def test_hours_are_read_of_few_days():
    how = WindowParams(horizon_days=7, cuts=4)
    dates = how.hourly_dates(DAY)
    assert len(dates) == 5 * 3
    assert (min(dates), max(dates)) == (DAY - timedelta(days=how.hourly_days - 1), DAY)


@pytest.mark.parametrize("params", [PopularParams(trending_half_life=0.5), PopularParams(days=0.5)])
def test_hours_need_the_events_by_hour(params: PopularParams):
    given = marts(events(seed=54)).item_activity
    with pytest.raises(ValueError, match="by hour"):
        top_popular(given, frame([], ITEM_FEATURES), DAY, params)


def test_scores_are_shown_as_a_table():
    scores = [
        {"segment": "all", "days": 7.0, "ndcg": 0.25, "chosen": True},
        {"segment": "all", "days": float(ALL_TIME), "ndcg": 0.125, "chosen": False},
        {"segment": "category:", "days": 0.125, "ndcg": None, "chosen": True},
    ]
    windows = Windows(PopularParams(), pa.Table.from_pylist(scores))
    assert windows.at_the_end == ["all"], "what was not measured is no end"
    assert windows.markdown().splitlines() == [
        "| segment | window or half-life | NDCG of its lists | chosen |",
        "| --- | --- | --- | --- |",
        "| all | 7 d | 0.2500 | ✓ at the end of the ladder |",
        "| all | all time | 0.1250 |  |",
        "| category | 3 h | too few users | ✓ |",
    ]
