"""Regimes: equal seeds give equal files, the platform takes every row, and the planted truth holds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recsys_assets.core.dataset import Dataset, load_dataset
from recsys_assets.core.events.parse import event_columns, parse_events
from recsys_assets.core.events.read import read_rows
from recsys_assets.sample.regimes import films, groceries, music, news, seasonal, tiny
from recsys_assets.sample.regimes.world import DAY_MS, HOUR_MS, World, choose
from recsys_assets.sample.regimes.write import NAMES, REGIMES, SHOP, write_regime

WORLDS = {name: regime.make(0) for name, regime in REGIMES.items()}


@pytest.mark.parametrize("name", REGIMES)
def test_equal_seeds_give_equal_files_of_which_every_row_is_good(name: str, tmp_path: Path) -> None:
    counts = write_regime(name, tmp_path / "one", 3)
    write_regime(name, tmp_path / "two", 3)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    dataset = load_dataset(tmp_path / "one" / "dataset.toml")
    assert good_rows(tmp_path / "one" / "events.csv", dataset) == counts["events"]


def test_the_shop_is_the_sample_with_its_description(tmp_path: Path) -> None:
    assert set(NAMES) - set(REGIMES) == {SHOP}
    counts = write_regime(SHOP, tmp_path)
    assert good_rows(tmp_path / "events.csv", load_dataset(tmp_path / "dataset.toml")) == counts["events"]


def good_rows(path: Path, dataset: Dataset) -> int:
    """The rows of a file of events, none of which is rejected."""
    rows = 0
    with path.open("rb") as stream:
        for batch in read_rows(stream, path.name, dataset.events, event_columns(dataset)):
            parsed = parse_events(batch, dataset, path.name)
            assert parsed.rejected.num_rows == 0
            rows += parsed.good.num_rows
    return rows


@pytest.mark.parametrize("name", REGIMES)
def test_another_seed_gives_other_events(name: str) -> None:
    other, world = REGIMES[name].make(1), WORLDS[name]
    assert len(other.user) != len(world.user) or (other.item != world.item).any()
    assert 0.8 < len(other.user) / len(world.user) < 1.25


def test_the_command_writes_a_regime_and_refuses_a_size_of_its_own(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "recsys_assets.sample", "--regime", "tiny", "--out", str(tmp_path)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert f"users: {len(np.unique(WORLDS['tiny'].user))}" in told
    assert {path.name for path in tmp_path.iterdir()} == {"events.csv", "dataset.toml"}
    refused = subprocess.run([*command, "--days", "3"], capture_output=True, text=True)
    assert refused.returncode == 2
    assert "--regime has its own size: leave out --days" in refused.stderr


@pytest.mark.parametrize("name", ["news", "films"])
def test_nobody_has_an_item_twice_where_repeats_are_off(name: str) -> None:
    assert not REGIMES[name].repeats
    assert repeat_share(WORLDS[name]) == 0


def repeat_share(world: World) -> float:
    """The share of events on an item that the user had before."""
    pairs = np.unique(np.stack([world.user, world.item]), axis=1).shape[1]
    return 1 - pairs / len(world.user)


def test_nobody_reads_an_article_before_its_birth_or_after_its_lifetime() -> None:
    world = WORLDS["news"]
    born, dies = world.truth["born_ms"], world.truth["dies_ms"]
    assert (world.ms >= born[world.item]).all()
    assert (world.ms < dies[world.item]).all()
    assert (dies - born).max() <= 60 * HOUR_MS
    age = (world.ms - born[world.item]) / HOUR_MS
    assert np.median(age) < 9, "most of the attention comes in the first hours"
    interest, topic = world.truth["interest"], world.truth["topic"]
    assert interest[world.user, topic[world.item]].mean() > 1.5 / news.TOPICS


def test_films_are_chosen_by_taste_and_rated_by_it() -> None:
    world = WORLDS["films"]
    affinity = world.truth["affinity"]
    assert affinity[world.user, world.item].mean() > affinity.mean() + 0.3
    assert np.corrcoef(affinity[world.user, world.item], world.kind)[0, 1] > 0.5
    first, second = (
        np.bincount(world.item[half], minlength=films.FILMS) for half in np.array_split(range(len(world.item)), 2)
    )
    assert np.corrcoef(first, second)[0, 1] > 0.95, "popularity lasts"


def test_most_of_a_basket_was_bought_before() -> None:
    world = WORLDS["groceries"]
    assert world.order is not None
    assert world.truth["staple"][world.user, world.item].mean() > 0.8
    seen = np.zeros((groceries.HOUSEHOLDS, groceries.PRODUCTS), np.bool_)
    early = world.ms < 35 * DAY_MS
    seen[world.user[early], world.item[early]] = True
    assert seen[world.user[~early], world.item[~early]].mean() > 0.75
    assert len(np.unique(np.stack([world.order, world.user, world.ms]), axis=1)[0]) == len(np.unique(world.order))


def test_listeners_stay_with_an_artist_and_play_tracks_again() -> None:
    world = WORLDS["music"]
    order = np.lexsort((world.ms, world.user))
    user, ms, artist = world.user[order], world.ms[order], world.truth["artist"][world.item[order]]
    follows = (np.diff(user) == 0) & (np.diff(ms) < HOUR_MS // 2)
    assert 0.8 < (np.diff(artist) == 0)[follows].mean() < 0.95
    assert repeat_share(world) > 0.5
    own = (world.truth["favourite"][user] == artist[:, None]).any(axis=1)
    assert own.mean() > 0.75
    assert music.FAVOURITES / music.ARTISTS < 0.1


def test_demand_moves_with_the_season() -> None:
    world = WORLDS["seasonal"]
    phase = (world.ms // DAY_MS - world.truth["peak"][world.item]) % seasonal.SEASON
    near = np.minimum(phase, seasonal.SEASON - phase) < seasonal.SEASON / 4
    assert near.mean() > 0.7


def test_a_tiny_shop_has_300_users_with_tastes() -> None:
    world = WORLDS["tiny"]
    assert 290 <= len(np.unique(world.user)) <= tiny.USERS == 300
    same = world.truth["user_group"][world.user] == world.truth["item_group"][world.item]
    assert same.mean() > 0.45
    assert 0.2 < (world.kind == tiny.PURCHASE).sum() / (world.kind == tiny.VIEW).sum() < 0.3


def test_draws_are_without_replacement_and_never_impossible() -> None:
    logits = np.zeros((3, 5))
    logits[1, 2:] = -np.inf
    row, item = choose(np.random.default_rng(0), logits, np.array([5, 5, 2]))
    assert np.bincount(row).tolist() == [5, 2, 2]
    assert sorted(item[row == 0]) == [0, 1, 2, 3, 4]
    assert sorted(item[row == 1]) == [0, 1]
