"""Bots are separated from people by rates: by hand, on generated shops, and on real events of people."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import narwhals as nw
import polars as pl
import pytest

from recsys_assets.core.activity.bots import BotRule, bot_users, without
from recsys_assets.core.contracts import BOT_USERS, CLEAN_EVENTS, IdTypes
from recsys_assets.sample.generate import SampleConfig, generate
from recsys_assets_tests.core.world import INTS, STRINGS, Row, frame, rows, written

REAL = Path(__file__).resolve().parents[4] / "shared" / "data"
START = datetime(2024, 2, 29, 3, tzinfo=UTC)
RULE = BotRule()


def acts(user: int | str | None, seconds: list[int]) -> list[Row]:
    return [
        {"user_id": user, "item_id": n, "event_type": "view", "ts": START + timedelta(seconds=at), "session_id": 0}
        for n, at in enumerate(seconds)
    ]


def shoppers(count: int = 50) -> list[Row]:
    """People who look at three things, half a minute each."""
    begins = {user: 60 * user % 80_000 for user in range(1000, 1000 + count)}
    return [row for user, begin in begins.items() for row in acts(user, [begin, begin + 31, begin + 75])]


def flagged(events: list[Row], rule: BotRule = RULE, ids: IdTypes = INTS) -> dict[int | str, str]:
    flagged = bot_users(frame(events, CLEAN_EVENTS, ids, day=False), rule)
    return {row["user_id"]: row["reason"] for row in rows(flagged)}


def test_figures_by_hand():
    """40 acts 3 s apart: 20 moments in each of two minutes; the shoppers' pace is 3 in two minutes."""
    crawler = acts(0, [3 * n for n in range(40)]) + acts(0, [0, 0, 3])
    (flagged,) = rows(bot_users(frame(crawler + shoppers(49), CLEAN_EVENTS, day=False), RULE))
    typical = flagged.pop("typical_pace")
    by_hand = {"user_id": 0, "reason": "pace", "pace": 20.0, "events": 43, "moments": 40, "minutes": 2, "hours": 1}
    assert flagged == by_hand
    assert typical == pytest.approx((20 + 49 * 1.5) / 50, abs=1e-6)


@pytest.mark.parametrize(
    ("seconds", "reason"),
    [
        pytest.param([2 * n for n in range(300)], "pace", id="crawls for ten minutes"),
        pytest.param([3600 * n for n in range(24)], "hours", id="polls every hour"),
        pytest.param([180 * n for n in range(480)], "hours", id="slow but never asleep"),
        pytest.param([0] * 300, None, id="an order of 300 lines"),
        pytest.param([20 * (n // 5) for n in range(500)], None, id="pages of film ratings sent at once"),
        pytest.param([12 * n for n in range(400)], None, id="clicks through news for 80 minutes"),
        pytest.param(list(range(29)), None, id="too little to judge by"),
        pytest.param([3600 * n + 7 * m for n in range(18) for m in range(20)], None, id="a long day at the shop"),
    ],
)  # fmt: skip
def test_who_is_a_bot(seconds: list[int], reason: str | None):
    expected = {7: reason} if reason else {}
    assert flagged(acts(7, seconds) + shoppers()) == expected
    assert flagged(acts(7, seconds) + shoppers(), BotRule(enabled=False)) == {}


def test_where_everybody_is_fast_nobody_is_a_bot():
    """A service where people swipe: the same pace that gives a crawler away in a shop is a person's here."""
    swipes = [row for user in range(20) for row in acts(user, [3 * n + user for n in range(120)])]
    assert flagged(swipes) == {}
    assert flagged(swipes[:120] + shoppers()) == {0: "pace"}


@pytest.mark.parametrize("ids", [INTS, STRINGS])
def test_rows_of_nobody_stay_and_ids_keep_their_type(ids: IdTypes):
    name: Callable[[int | None], int | str | None] = (lambda n: n) if ids is INTS else (lambda n: n and f"u{n}")
    records = [
        *acts(name(5), [2 * n for n in range(200)]),
        *acts(name(None), list(range(3000))),
        *[{**row, "user_id": name(row["user_id"])} for row in shoppers()],
    ]
    records = [{**row, "item_id": name(3)} for row in records]
    events = frame(records, CLEAN_EVENTS, ids, day=False)
    bots = bot_users(events, RULE)
    left = without(events, nw.concat([bots, bots]))
    assert len(rows(bots)) == 1
    assert len(rows(left)) == len(records) - 200
    shuffled = bot_users(frame(records[::-1], CLEAN_EVENTS, ids, day=False), RULE)
    assert written(bots, BOT_USERS, ids) == written(shuffled, BOT_USERS, ids)


def test_no_events_no_bots():
    assert flagged([]) == {}


def test_the_samples_bots_are_found_and_nobody_else(tmp_path: Path):
    """Bots of the sample look at two pages in five seconds and never buy."""
    generate(SampleConfig(events=60_000, days=20, heavy_share=0.001), tmp_path)
    events = pl.read_csv(tmp_path / "events.csv").select(
        user_id="visitorid", event_type="event", ts=pl.from_epoch("timestamp", "ms")
    )
    flagged = by_day(events.with_columns(ts=pl.col("ts") - timedelta(hours=3)))
    users = flagged["user_id"].unique().to_list()
    assert len(users) > 3
    theirs = events.filter(pl.col("user_id").is_in(users))
    assert set(theirs["event_type"]) == {"view"}
    gap = theirs.sort("user_id", "ts").select((pl.col("ts").diff().over("user_id").dt.total_seconds()).median()).item()
    assert gap <= 4


def real(folder: str) -> pl.DataFrame:
    if folder == "ml-100k":
        data = pl.read_csv(
            REAL / folder / "u.data",
            separator="\t",
            has_header=False,
            new_columns=["user_id", "item_id", "rating", "s"],
        )
        return data.select("user_id", ts=pl.from_epoch("s", "s"))
    if folder == "online-retail":
        return pl.read_parquet(REAL / folder / "purchases_2009-2011.parquet").select(user_id="user", ts="ts")
    data = pl.read_csv(REAL / folder / "sample_views.csv", separator="\t")
    return data.select("user_id", ts=pl.from_epoch(pl.col("timestamp").cast(pl.Float64).cast(pl.Int64), "s"))


@pytest.mark.parametrize("folder", ["ml-100k", "online-retail", "retailrocket"])
def test_real_people_are_no_bots(folder: str):
    if not (REAL / folder).exists():
        pytest.skip(f"{REAL / folder} is not there")
    events = real(folder).filter(pl.col("user_id") != 0)
    assert by_day(events).height == 0


def by_day(events: pl.DataFrame) -> pl.DataFrame:
    days = events.with_columns(dt=pl.col("ts").dt.date()).partition_by("dt")
    flagged = [bot_users(nw.from_native(day.lazy()), RULE).collect(backend="polars").to_native() for day in days]
    return pl.concat(flagged)
