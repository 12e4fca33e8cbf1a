"""Does the list of users who are known gain from what happens during the day, where popularity changes within hours?

    python -m benchmarks.regimes --regimes news --seed 0 --work FOLDER
    python -m benchmarks.live_known_users --work FOLDER

The second command reads the lists that the first has released, and replays the day after each release as
``live_popularity`` does: each target of a known user is looked for in their own list of the night, in what trends at
that moment, and in both in turns, which is what the API answers.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.live_popularity import LAST_TREND, LIVE, Found, World, micros, night, score, steps, sums, world_of
from benchmarks.report import table, write_section
from recsys_api.blend import blend
from recsys_assets.core.evaluation.bootstrap import intervals
from recsys_assets.storage.partition_store import PartitionStore
from recsys_assets.storage.uri import open_store

REGIME = "news"
OWN, TURNS, OWN_FIRST = "own list of the night", "live and own in turns, as served", "own and live in turns"
_DEEP = 20
"""Items of a blended list, of which ten are judged."""


def own_lists(store: PartitionStore, day: str) -> dict[int, list[int]]:
    """The released items of each user, best first."""
    [(_, uri)] = store.uris("recommendations", [day])
    rows = pl.read_parquet(uri, columns=["user_id", "item_id", "rank"])
    listed = rows.sort("user_id", "rank").group_by("user_id", maintain_order=True).agg("item_id")
    return dict(listed.iter_rows())


def replay(world: World, end: datetime, own: Mapping[int, Sequence[int]], found: Found) -> None:
    """Look for the targets of known users on the day from ``end`` on, in each list of their moment."""
    known = night(world.events, end, world.regime, world.weights)
    stated = next(iter(known.trending))
    found.half_lives.append(stated)
    live, had = sums(known, stated, stated, world.weights), world.had(end)
    for now, arrived, asked in steps(world.day_from(end), end):
        live.add(arrived, micros(now))
        trending = [row.item_id for row in live.trending(micros(now))]
        for event in asked:
            user, item = int(event.user_id), int(event.item_id)
            seen = had.get(user, set())
            if event.event_type in world.weights.targets and user in own and item not in seen:
                mine, popular = ([one for one in listed if one not in seen] for listed in (own[user], trending))
                for name, listed in (
                    (OWN, mine),
                    (LAST_TREND, known.lists[LAST_TREND]),
                    (TURNS, blend(popular, mine, _DEEP)),
                    (OWN_FIRST, blend(mine, popular, _DEEP)),
                    (LIVE, popular),
                ):
                    found.scores[name][user].append(score(listed, item, seen))
            if user in had:
                had[user].add(item)


def describe(found: Found, days: Sequence[str]) -> str:
    """Every list, and what it gains over the own one of the night."""
    own = found.means(OWN)
    rows: list[list[str]] = []
    for name in found.scores:
        means = found.means(name)
        gain = intervals(means[:, :1] - own[:, :1], level=0.95)[0]
        gained = "" if name == OWN else f"{gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
        rows.append([name, *(f"{value:.4f}" for value in np.mean(means, axis=0)), gained])
    targets = sum(map(len, found.scores[OWN].values()))
    lives = ", ".join(f"{life:g} h" for life in found.half_lives)
    return f"""\
Regime {REGIME}, seed 0: {len(own):,} known users, {targets:,} targets on the days after {", ".join(days)};
half-lives that the graph found: {lives}. Means over users; brackets: paired, 95 % bootstrap over users.

{table(["list", "NDCG@10", "recall@10", "NDCG over the own list"], rows)}"""


def main() -> None:
    """Replay, and write the section."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live_known_users", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="the folder of benchmarks.regimes")
    folder = parser.parse_args().work / REGIME / "store"
    store = PartitionStore(open_store(str(folder)))
    days = sorted(store.days("recommendations"))
    if not days:
        parser.error(f"--work: no released lists in {folder}: run benchmarks.regimes with it first")
    world, found = world_of(REGIME, 0), Found(defaultdict(lambda: defaultdict(list)))
    for day in days:
        replay(world, datetime.fromisoformat(f"{day}T00:00:00+00:00") + timedelta(days=1), own_lists(store, day), found)
    command = "python -m benchmarks.live_known_users --work FOLDER"
    write_section("live-known-users", "Live popularity for known users", command, ("polars",), describe(found, days))


if __name__ == "__main__":
    main()
