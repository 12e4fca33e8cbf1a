"""Write a regime: its event files and a ``dataset.toml`` in which nothing is tuned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import polars as pl

from recsys_assets.sample.config import SampleConfig
from recsys_assets.sample.files import csv_files
from recsys_assets.sample.generate import generate
from recsys_assets.sample.regimes import films, groceries, music, news, seasonal, tiny
from recsys_assets.sample.regimes.world import START, World

SHOP = "shop"
SHOP_EVENTS = 80_000


@dataclass(frozen=True)
class Regime:
    """A regime.

    Attributes:
        about: what it is, in a few words.
        make: gives the events of a seed.
        types: name, weight and whether it is a target, of each kind of event.
        repeats: whether what a user had may be recommended again.
        horizon_days: how long a list serves, where that is no week.
    """

    about: str
    make: Callable[[int], World]
    types: tuple[tuple[str, float, bool], ...]
    repeats: bool = True
    horizon_days: int | None = None


_PURCHASES = (("purchase", 1, True),)
_RATINGS = tuple((f"rating_{stars}", weight, stars >= 4) for stars, weight in enumerate((0.2, 0.5, 1, 3, 5), start=1))

REGIMES: Mapping[str, Regime] = {
    "news": Regime("articles live for hours", news.make, (("read", 1, True),), repeats=False, horizon_days=1),
    "films": Regime("ratings by taste and lasting popularity", films.make, _RATINGS, repeats=False),
    "groceries": Regime("weekly baskets of mostly the same items", groceries.make, _PURCHASES),
    "music": Regime("sessions of tracks of an artist, with repeats", music.make, (("play", 1, True),)),
    "seasonal": Regime("demand moves with a season of 90 days", seasonal.make, _PURCHASES),
    "tiny": Regime("300 users", tiny.make, (("view", 1, False), ("purchase", 5, True))),
}
"""The regimes beside the shop, which is the sample itself."""

NAMES = (SHOP, *REGIMES)


def write_regime(name: str, out_dir: Path, seed: int = 0) -> dict[str, int]:
    """Write the files of a regime, and ``dataset.toml`` beside them.

    Args:
        name: one of :data:`NAMES`.
        out_dir: directory for the files, created if needed; older files of these names are replaced.
        seed: equal seeds give equal bytes.

    Returns:
        Counts of events, users and items.
    """
    if name == SHOP:
        counts = generate(replace(SampleConfig(), events=SHOP_EVENTS, seed=seed), out_dir)
        preset = (files("recsys_assets") / "presets" / "retailrocket.toml").read_text("utf-8")
        (out_dir / "dataset.toml").write_text(preset, "utf-8")
        return {key: counts[key] for key in ("events", "users", "items")}
    regime = REGIMES[name]
    world = regime.make(seed)
    columns = {
        "user": world.user + 1,
        "item": world.item + 1,
        "event": pl.Series([kind for kind, _, _ in regime.types]).gather(world.kind),
        "ts": world.ms + int(START.timestamp()) * 1000,
        **({} if world.order is None else {"order": world.order + 1}),
    }
    with csv_files(out_dir, ("events.csv",), compress=False) as append:
        append["events.csv"](pl.DataFrame(columns))
    (out_dir / "dataset.toml").write_text(dataset_toml(name, regime, world), "utf-8")
    return {
        "events": len(world.user),
        "users": len(np.unique(world.user)),
        "items": len(np.unique(world.item)),
    }


def dataset_toml(name: str, regime: Regime, world: World) -> str:
    """The description of a regime as a data set: its files, its columns, and how long its lists serve."""
    lines = [
        f"# {name}, a generated regime: {regime.about}.",
        f'name = "{name}"',
        f"start_date = {world.start_date}",
        f"end_date = {world.end_date}       # the day after the last",
        f"repeats = {str(regime.repeats).lower()}",
        *([] if regime.horizon_days is None else ["", "[defaults]", f"horizon_days = {regime.horizon_days}"]),
        *["", "[events]", 'files = ["events*.csv*"]', 'time_unit = "ms"'],
        *["", "[events.columns]", 'user_id = "user"', 'item_id = "item"', 'event_type = "event"', 'ts = "ts"'],
        *([] if world.order is None else ['order_id = "order"']),
        *["", "[events.types]"],
        *(
            f"{kind} = {{ weight = {weight:g}, target = {str(target).lower()} }}"
            for kind, weight, target in regime.types
        ),
    ]
    return "\n".join(lines) + "\n"
