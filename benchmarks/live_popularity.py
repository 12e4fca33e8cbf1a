"""Does the list of users who are not known gain from what happens during the day?

    python -m benchmarks.live_popularity [--regimes news,films] [--seed N]

Regimes of ``recsys_assets/sample/regimes`` are replayed. As of some days, the lists of the night are made by the
product's functions, windows found as the graph finds them. Each target of the day after is then looked for in the list
that an unknown user would have got at its moment: the one of last night, and the one that the API continues with the
events so far (``LiveSums``). What a user had is left out of both where the regime has no repeats.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import narwhals as nw
import numpy as np
import polars as pl

from benchmarks.report import table, write_section
from recsys_api.events.event import Event
from recsys_api.live import LiveSums, follows_live
from recsys_api.snapshot import Snapshot
from recsys_assets.core.activity.marts import EventWeights, item_activity, user_activity
from recsys_assets.core.engine import Frame
from recsys_assets.core.evaluation.bootstrap import Interval, intervals
from recsys_assets.core.models.popular import TRENDING, PopularParams, item_hours, top_popular
from recsys_assets.core.models.popular_windows import WindowParams, find_windows
from recsys_assets.sample.regimes.world import START
from recsys_assets.sample.regimes.write import REGIMES, Regime
from recsys_assets.storage.lists import Key, RankedItem
from recsys_assets.storage.served_lists import TRENDING_FACT

CUTS, K, DEPTH = 4, 10, 500
REFRESH = timedelta(minutes=5)
"""Between two lists of a replay; the API makes one every two seconds."""
HALF_LIVES = (0.5, 1, 2, 3, 6, 12, 24, 48)
"""Hours, beside the half-life that the graph finds."""
NIGHT, LAST_TREND, LIVE, SERVED = "last night's list", "last night's trending", "live", "as served"
_COLUMNS = ("user_id", "item_id", "event_type", "ts")


@dataclass
class Found:
    """What a regime says.

    Attributes:
        scores: list to user to NDCG and recall of each target.
        half_lives: in hours, that the graph found, by day.
        fallback: the segment of unknown users, by day.
    """

    scores: dict[str, dict[int, list[tuple[float, float]]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    half_lives: list[float] = field(default_factory=list)
    fallback: list[str] = field(default_factory=list)

    def means(self, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        """[users, 2] NDCG and recall of a list: means over the targets of each user."""
        return np.array([np.mean(scores, axis=0) for _, scores in sorted(self.scores[name].items())])


@dataclass(frozen=True)
class Night:
    """What is known at the end of a day.

    Attributes:
        end: the instant.
        lists: the items of unknown users and the trending ones, best first, of the windows that were found.
        trending: the scores of trending items by half-life in hours, the one that was found first.
        fallback: the segment of unknown users.
    """

    end: datetime
    lists: Mapping[str, Sequence[int]]
    trending: Mapping[float, Sequence[RankedItem]]
    fallback: str


def night(events: pl.DataFrame, end: datetime, regime: Regime, weights: EventWeights) -> Night:
    """The lists as of the end of a day, as the graph makes them."""
    search = WindowParams(horizon_days=regime.horizon_days or 7)
    before, day = events.filter(pl.col("ts") < end), (end - timedelta(days=1)).date()
    items, users = (_by_day(before, mart, weights) for mart in (item_activity, user_activity))
    recent = before.filter(pl.col("dt").is_in(search.hourly_dates(day)))
    hours = item_hours(_lazy(recent), weights, end)
    features = _lazy(before.select("item_id", category_id=pl.lit(None, pl.String), available=pl.lit(True)).unique())
    found = find_windows(items, hours, users, features, day, PopularParams(k=DEPTH), search).params

    def listed(params: PopularParams) -> pl.DataFrame:
        popular = top_popular(items, features, day, params, hours).collect(backend="polars").to_native()
        return cast(pl.DataFrame, popular).sort("segment", "rank")

    def trending(hours: float) -> list[RankedItem]:
        params = replace(found, trending_half_life=hours / 24, trending_days=max(3, math.ceil(hours / 3)))
        rows = listed(params).filter(segment=TRENDING).select("item_id", "score").rows()
        return [RankedItem(item, score, TRENDING) for item, score in rows]

    by_segment = listed(found)
    lists = {
        name: by_segment.filter(segment=segment)["item_id"].to_list()
        for name, segment in ((NIGHT, found.fallback), (LAST_TREND, TRENDING))
    }
    lives = dict.fromkeys((24 * found.trending_half_life, *HALF_LIVES))
    return Night(end, lists, {life: trending(life) for life in lives}, found.fallback)


def replay(known: Night, today: pl.DataFrame, had: Mapping[int, set[int]], weights: EventWeights, found: Found) -> None:
    """Look for each target of a day in the lists of its moment.

    Args:
        known: at the end of the day before.
        today: its events, in order of time.
        had: items of each user that are not shown again; what is read today is added.
        weights: of the event types.
        found: gets the scores.
    """
    stated = next(iter(known.trending))
    live = {
        **{f"{LIVE}, {life:g} h": sums(known, life, life, weights) for life in HALF_LIVES},
        **{f"{LIVE}, {life:g} h after the night's": sums(known, stated, life, weights) for life in HALF_LIVES},
        LIVE: sums(known, stated, stated, weights),
    }
    for now, arrived, asked in steps(today, known.end):
        lists: dict[str, Sequence[Key]] = {}
        for name, popular in live.items():
            popular.add(arrived, micros(now))
            lists[name] = [row.item_id for row in popular.trending(micros(now))]
        lists[SERVED] = lists[LIVE] if follows_live(known.fallback, stated / 24) else known.lists[NIGHT]
        for event in asked:
            user, item = cast(int, event.user_id), cast(int, event.item_id)
            if event.event_type in weights.targets and item not in had.get(user, ()):
                for name, listed in (*known.lists.items(), *lists.items()):
                    found.scores[name][user].append(score(listed, item, had.get(user, set())))
            if user in had:
                had[user].add(item)


def sums(known: Night, of_night: float, life: float, weights: EventWeights) -> LiveSums:
    """The API's sums, which go on from a night's trending items of one half-life by another; both in hours."""
    released = known.trending[of_night]
    facts = {TRENDING_FACT: life / 24}
    snapshot = SimpleNamespace(
        manifest=SimpleNamespace(facts=facts),
        rules=SimpleNamespace(end=micros(known.end), weights=weights.weights),
        top_popular=SimpleNamespace(get=lambda _segment, k: released[:k]),  # pyright: ignore[reportUnknownLambdaType]
    )
    return LiveSums(cast(Snapshot, snapshot))


def steps(today: pl.DataFrame, start: datetime) -> Iterator[tuple[datetime, list[Event], list[Event]]]:
    """Of each list of the day: its moment, the events since the one before, and those that meet it."""
    meets: dict[int, list[Event]] = defaultdict(list)
    for number, (user, item, kind, ts) in enumerate(today.select(_COLUMNS).iter_rows()):
        meets[(ts - start) // REFRESH].append(Event(str(number), user, item, kind, micros(ts)))
    arrived: list[Event] = []
    for step in range(max(meets, default=-1) + 1):
        yield start + step * REFRESH, arrived, meets[step]
        arrived = meets[step]


def score(listed: Sequence[Key], item: int, had: set[int]) -> tuple[float, float]:
    """NDCG and recall of one target in a list without what the user had."""
    place = 0
    for other in listed:
        if place == K:
            break
        if other == item:
            return 1 / math.log2(place + 2), 1.0
        place += other not in had
    return 0.0, 0.0


@dataclass(frozen=True)
class World:
    """A regime with what happened in it."""

    regime: Regime
    weights: EventWeights
    events: pl.DataFrame
    end: datetime

    def had(self, end: datetime) -> dict[int, set[int]]:
        """Items of each user up to a moment, where the regime shows none again; else nothing."""
        had: dict[int, set[int]] = defaultdict(set)
        if not self.regime.repeats:
            for user, item in self.events.filter(pl.col("ts") < end).select("user_id", "item_id").iter_rows():
                had[user].add(item)
            had.update({user: set() for user in set(self.events["user_id"]) - had.keys()})
        return had

    def day_from(self, start: datetime) -> pl.DataFrame:
        """The events of the 24 hours from a moment on, in order of time."""
        return self.events.filter(pl.col("ts").is_between(start, start + timedelta(days=1), "left"))


def world_of(name: str, seed: int) -> World:
    """Generate a regime."""
    regime = REGIMES[name]
    world, kinds = regime.make(seed), [kind for kind, _, _ in regime.types]
    targets = frozenset(kind for kind, _, target in regime.types if target)
    weights = EventWeights({kind: weight for kind, weight, _ in regime.types}, targets)
    millis = pl.Series(world.ms + int(START.timestamp()) * 1000)
    times = millis.cast(pl.Datetime("ms", "UTC")).cast(pl.Datetime("us", "UTC"))
    events = pl.DataFrame(
        {"user_id": world.user, "item_id": world.item, "event_type": pl.Series(kinds).gather(world.kind), "ts": times}
    ).with_columns(dt=pl.col("ts").dt.date(), session_id=pl.lit(None, pl.Int64))
    return World(regime, weights, events, START + timedelta(days=world.days))


def run(name: str, seed: int) -> Found:
    """Replay the last days of a regime."""
    world, found = world_of(name, seed), Found()
    for cut in reversed(range(1, CUTS + 1)):
        end = world.end - timedelta(days=cut)
        known = night(world.events, end, world.regime, world.weights)
        found.half_lives.append(next(iter(known.trending)))
        found.fallback.append(known.fallback)
        replay(known, world.day_from(end), world.had(end), world.weights, found)
    return found


def describe(found: Mapping[str, Found], seed: int) -> str:
    """Every list of every regime, and what the one that is served gains."""

    def paired(one: Found, first: str, second: str) -> Interval:
        return intervals(one.means(first)[:, :1] - one.means(second)[:, :1], level=0.95)[0]

    def text(gain: Interval) -> str:
        return f"{gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"

    head = ["regime", "users; targets", "found half-lives", "list of the night", "NDCG@10: night", "trending", "live"]
    head += ["served", "recall@10: night", "served", "served over the night's", "live over trending"]
    shown = (NIGHT, LAST_TREND, LIVE, SERVED)
    rows: list[list[str]] = []
    for name, one in found.items():
        means = {which: one.means(which).mean(axis=0) for which in shown}
        targets = sum(map(len, one.scores[LIVE].values()))
        lives = ["no end" if life > 24 * 365 else f"{life:g} h" for life in one.half_lives]
        rows.append([
            name, f"{len(one.scores[LIVE]):,}; {targets:,}", ", ".join(lives), ", ".join(one.fallback),
            *(f"{means[which][0]:.4f}" for which in shown), *(f"{means[which][1]:.4f}" for which in (NIGHT, SERVED)),
            text(paired(one, SERVED, NIGHT)), text(paired(one, LIVE, LAST_TREND)),
        ])  # fmt: skip
    names = [name for name in next(iter(found.values())).scores if name.startswith(LIVE)]
    every = [
        [name, *(f"{one.means(name)[:, 0].mean():.4f} ({text(paired(one, name, LIVE))})" for one in found.values())]
        for name in names
    ]
    return f"""\
Seed {seed}; the last {CUTS} days of each regime, each target looked for in the list of its moment; lists are
{REFRESH.seconds // 60} minutes old at most. Means over users; brackets: paired, 95 % bootstrap over users.

"Served" is the live list where the release states the trending items for unknown users or their half-life is below one
day, else last night's list.

{table(head, rows)}

Other half-lives: for the night's trending items and for what follows, or for what follows alone. NDCG@{K}, and in
brackets what it gains over the half-life that the graph found:

{table(["list", *found], every)}"""


def _by_day(events: pl.DataFrame, mart: Any, weights: EventWeights) -> Frame:
    parts = [
        mart(_lazy(part), weights).with_columns(dt=nw.lit(day)).collect(backend="polars").lazy()
        for (day,), part in events.partition_by("dt", as_dict=True).items()
    ]
    return nw.concat(parts, how="vertical")


def _lazy(events: pl.DataFrame) -> Frame:
    return nw.from_native(events.lazy())


def micros(moment: datetime) -> int:
    """Microseconds since 1970, UTC."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def main() -> None:
    """Replay, print, and write the section."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live_popularity", description=__doc__)
    parser.add_argument("--regimes", default=",".join(REGIMES), help="comma-separated: " + ", ".join(REGIMES))
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    names = asked.regimes.split(",")
    if unknown := sorted(set(names) - set(REGIMES)):
        parser.error(f"--regimes: unknown: {', '.join(unknown)}; there are {', '.join(REGIMES)}")
    text = describe({name: run(name, asked.seed) for name in names}, asked.seed)
    if set(names) == set(REGIMES):
        command = f"python -m benchmarks.live_popularity --seed {asked.seed}"
        write_section("live-popularity", "Live popularity", command, ("polars", "numpy"), text)
    else:
        print(text)


if __name__ == "__main__":
    main()
