"""A store after a change of settings: it is told by value, old and new are not mixed, and a person has it rebuilt."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from recsys_assets.assets.builder import DAILY
from recsys_assets.assets.stated import (
    READS,
    dataset_values,
    decides_nothing,
    is_read,
    setting_values,
    stated_name,
)
from recsys_assets.automation.runs import MaterializeError
from recsys_assets.automation.settings_sensor import CHECK
from recsys_assets.automation.staleness import history_of
from recsys_assets.cli.materialize import Materializer, OtherSettingsFound
from recsys_assets.core.dataset import Dataset, load_dataset, presets
from recsys_assets.core.generator_registry import GeneratorRegistry
from recsys_assets.definitions import build_definitions, specs_of, stated_of_graph
from recsys_assets.ingest.accepted import read_accepted
from recsys_assets.resources import landing as landing_resource
from recsys_assets.resources.naming import Names
from recsys_assets.settings import Settings, load_settings
from recsys_assets.storage.identity import IdentityError
from recsys_assets.storage.lineage import encode
from recsys_assets.storage.partition_store import LINEAGE_FILE, partition_key
from recsys_assets_tests.integration.world import SMALL, Silent, World, dagster_in

START = datetime(2025, 1, 1, tzinfo=UTC)
NEWEST, LATER = "2025-01-09", "2025-01-10"
TOML = """
name = "{name}"
start_date = 2025-01-01
[ids]
user = "{user}"
[events]
files = ["events*"]
time_unit = "iso"
columns = {{ user_id = "user", item_id = "item", event_type = "action", ts = "time" }}
[events.types]
view = {{ weight = 1 }}
buy = {{ weight = {buy}, target = true }}
"""
TINY = {**SMALL, "generators": "", "horizon_days": 3, "tuning_trials": 1, "tuning_fusion_trials": 4, "candidates_k": 15}


def rows_of(day: int) -> list[str]:
    """What shoppers of two tastes do on a day."""
    rng = random.Random(day)
    rows: list[str] = []
    for user in range(1, 15):
        at = START + timedelta(days=day, seconds=rng.randrange(3600, 80_000))
        for item in rng.sample(range(101, 107) if user % 2 else range(107, 113), 3):
            at += timedelta(seconds=60)
            rows.append(f"{user},{item},{rng.choice(['view', 'view', 'buy'])},{at.isoformat()}")
    return rows


def deliver(landing: Path, name: str, days: range) -> None:
    landing.mkdir(parents=True, exist_ok=True)
    rows = [row for day in days for row in rows_of(day)]
    (landing / name).write_text("\n".join(["user,item,action,time", *rows]) + "\n")


def shop_in(folder: Path, instance: dg.DagsterInstance, **changed: Any) -> World:
    """A world of a shop; settings, and values of its dataset.toml, may be others."""
    contract = {key: changed.pop(key, value) for key, value in {"name": "shop", "user": "int64", "buy": 5}.items()}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.toml").write_text(TOML.format(**contract))
    places = {"landing_uri": str(folder / "landing"), "storage_uri": str(folder / "store")}
    settings, dataset = load_settings(dataset=str(folder / "dataset.toml"), **places, **{**TINY, **changed})
    return World(folder, settings, dataset, instance)


Reads = dict[str, set[str]]


def recorders(reads: Reads) -> tuple[type[Settings], type[Dataset]]:
    """Settings and data sets that note which asset reads which field; reads outside of a step are not of one asset."""

    def note(name: str) -> None:
        context = dg.AssetExecutionContext.get() if _in_a_step() else None
        for key in context.selected_asset_keys if context else ():
            reads[key.to_user_string()].add(name)

    def _in_a_step() -> bool:
        try:
            dg.AssetExecutionContext.get()
        except Exception:  # Dagster has no question for it
            return False
        return True

    class RecordedSettings(Settings):
        def __getattribute__(self, name: str) -> Any:
            if name in Settings.model_fields:
                note(stated_name(name))
            return super().__getattribute__(name)

    class RecordedDataset(Dataset):
        def __getattribute__(self, name: str) -> Any:
            if name in Dataset.model_fields:
                note(name)
            return super().__getattribute__(name)

    return RecordedSettings, RecordedDataset


@pytest.fixture(scope="module")
def reads() -> Reads:
    return defaultdict(set)


@pytest.fixture(scope="module")
def built(reads: Reads, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Nine days of the shop; what the steps read of its settings was noted."""
    with dagster_in(tmp_path_factory.mktemp("dagster")) as instance, pytest.MonkeyPatch.context() as patch:
        world = shop_in(tmp_path_factory.mktemp("shop"), instance)
        deliver(world.landing, "events-1.csv", range(9))
        noted_settings, noted_dataset = recorders(reads)
        values = {name: getattr(world.settings, name) for name in Settings.model_fields}
        dataset = noted_dataset.model_construct(**{name: getattr(world.dataset, name) for name in Dataset.model_fields})
        patch.setattr(landing_resource, "load_dataset", lambda _: dataset)
        with Materializer(noted_settings.model_construct(**values), dataset, Silent(), instance) as materializer:
            assert materializer.catch_up() == NEWEST
        yield world


@pytest.fixture
def shop(built: World, tmp_path: Path) -> Iterator[World]:
    """A copy of what was built, on an instance of its own."""
    shutil.copytree(built.folder, tmp_path / "shop", dirs_exist_ok=True)
    with dagster_in(tmp_path / "dagster") as instance:
        yield shop_in(tmp_path / "shop", instance)


def test_steps_read_nothing_of_the_settings_that_their_fingerprints_do_not_have(built: World, reads: Reads) -> None:
    stated = stated_of_graph(built.settings, built.dataset, GeneratorRegistry.installed())
    assert {"RECSYS_SEED", "RECSYS_HORIZON_DAYS", "day_starts_at"} <= set().union(*reads.values()), (
        "nothing was recorded"
    )
    undeclared = {
        (asset, name)
        for asset, names in reads.items()
        for name in names
        if asset in stated.assets
        and not decides_nothing(name)
        and not any(known == name or known.startswith(f"{name}.") for known in stated.statement(asset))
    }
    assert undeclared == set()


@pytest.mark.parametrize("preset", presets())
def test_every_field_decides_some_asset_or_is_declared_to_decide_none(preset: str) -> None:
    settings, dataset = load_settings(dataset=preset)
    declared = [pattern for patterns in READS.values() for pattern in patterns if not pattern.startswith("!")]
    fields = {**setting_values(settings), **dataset_values(dataset)}
    assert [name for name in fields if not decides_nothing(name) and not is_read(name, declared)] == []


def test_assets_that_have_a_partition_for_each_day_with_files() -> None:
    settings, dataset = load_settings()
    specs = [spec for asset in build_definitions(settings, dataset).assets or () for spec in specs_of(asset)]  # type: ignore[arg-type]
    daily = {spec.key.to_user_string() for spec in specs if spec.tags.get(Names().grain) == "day"}
    # Nothing reads the rejected rows of a window; the tree is of the newest day.
    assert daily - {"rejected_events", "category_tree"} == DAILY


def test_a_change_is_told_by_value_and_mixed_with_nothing_until_a_rebuild_makes_a_fresh_store(
    shop: World, tmp_path: Path
) -> None:
    released = shop.served_release()
    changed = shop_in(shop.folder, shop.instance, buy=20)
    deliver(shop.landing, "events-2.csv", range(9, 10))
    before = changed.hashes("assets/user_activity/dt=2025-01-05", "assets/clean_events/dt=2025-01-05")

    with changed.materializer() as materializer:
        with pytest.raises(OtherSettingsFound) as told:
            materializer.catch_up()
        assert materializer.catch_up_or_keep() is None
        with pytest.raises(
            MaterializeError, match=r"item_activity of 9 days, 2025-01-01 to 2025-01-09: made with other"
        ):
            materializer.refresh([LATER])
    for part in (
        "events.types.buy.weight: 5.0 -> 20.0",
        "9 days, 2025-01-01 to 2025-01-09",
        "`make rebuild`",
        released,
    ):
        assert part in str(told.value)
    assert changed.served_release() == released
    assert changed.hashes("assets/user_activity/dt=2025-01-05", "assets/clean_events/dt=2025-01-05") == before

    with changed.materializer() as materializer:
        assert materializer.rebuild() == LATER
        assert materializer.catch_up() == LATER, "there is nothing left to do"
    assert changed.served_release() != released
    with dagster_in(tmp_path / "dagster of another") as instance:
        fresh = shop_in(tmp_path / "fresh", instance, buy=20)
        deliver(fresh.landing, "events-1.csv", range(9))
        deliver(fresh.landing, "events-2.csv", range(9, 10))
        with fresh.materializer() as materializer:
            materializer.catch_up()
    # What was as of a day that a fresh store does not look back on is left as it was.
    expected = files_of(fresh)
    assert {name: sha256 for name, sha256 in files_of(changed).items() if name in expected} == expected


def files_of(world: World) -> dict[str, str]:
    """The bytes of every frame."""
    root = world.folder / "store" / "assets"
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("data.parquet")
    }


def test_automation_shows_a_change_and_rebuilds_nothing(shop: World) -> None:
    unchanged, changed = sensed(shop, None), sensed(shop_in(shop.folder, shop.instance, attribution_hours=48), None)
    assert [evaluation.passed for evaluation in unchanged.asset_events] == [True]  # type: ignore[union-attr]
    (evaluation,) = changed.asset_events
    assert isinstance(evaluation, dg.AssetCheckEvaluation)
    assert (evaluation.check_name, evaluation.passed) == (CHECK, False)
    assert evaluation.metadata["days"].value == 9
    assert "RECSYS_ATTRIBUTION_HOURS: 24 -> 48" in str(evaluation.metadata["rebuild"].value)
    assert not changed.run_requests
    again = sensed(shop_in(shop.folder, shop.instance, attribution_hours=48), changed.cursor)
    assert isinstance(again, dg.SkipReason)
    assert "rebuild" in str(again.skip_message)


def test_a_new_way_to_read_files_rebuilds_no_history_by_itself(shop: World) -> None:
    accepted = read_accepted(shop.store.open())
    files = {name: replace(file, digest="read otherwise") for name, file in accepted.files.items()}
    read_anew = replace(accepted, files=files)
    other = shop_in(shop.folder, shop.instance, attribution_hours=48)
    found = [
        history_of(read_anew, world.store.partitions(), ["attribution"], ("2025-01-01", NEWEST), reach=1)
        for world in (shop, other)
    ]
    assert [len(history.outdated) for history in found] == [9, 0]
    assert [len(history.other_settings) for history in found] == [0, 9]


def sensed(world: World, cursor: str | None) -> Any:
    """What a tick of the sensor finds."""
    definitions = world.definitions()
    resources = dict(definitions.resources or {})
    with dg.build_sensor_context(
        world.instance, cursor=cursor, definitions=definitions, resources=resources
    ) as context:
        return definitions.resolve_sensor_def("settings_sensor")(context)


def test_a_setting_of_the_lists_alone_makes_the_newest_day_again_and_no_history(shop: World) -> None:
    released = shop.served_release()
    changed = shop_in(shop.folder, shop.instance, recommendations_k=5)
    before = changed.hashes("assets/item_activity", "assets/ranking_examples")
    with changed.materializer() as materializer:
        assert materializer.catch_up() == NEWEST
    assert changed.served_release() != released
    assert changed.hashes("assets/item_activity", "assets/ranking_examples") == before


def test_a_day_that_was_accepted_and_never_built_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    with dagster_in(tmp_path / "dagster") as instance:
        world = shop_in(tmp_path / "shop", instance)
        deliver(world.landing, "events-1.csv", range(9))
        with world.materializer() as materializer:
            zone = world.definitions().resources["landing"].zone()  # type: ignore[index]
            zone.accept(zone.changes())
            with pytest.raises(MaterializeError, match=r"never built; what reads it would take it for empty.*history"):
                materializer.refresh([NEWEST])
        assert world.store.releases().current() is None


def test_records_of_an_earlier_version_are_told_and_not_taken_as_current(shop: World) -> None:
    record = shop.lineage("user_activity", "2025-01-04")
    bare = encode(record).replace(f'"fingerprint":"{record.fingerprint}",'.encode(), b"")
    assert b"fingerprint" not in bare
    shop.store.open().put(partition_key("user_activity", "2025-01-04", LINEAGE_FILE), bare)
    with shop.materializer() as materializer, pytest.raises(OtherSettingsFound, match="by an earlier version"):
        materializer.catch_up()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"name": "shoes"}, "holds the data set 'shop'.*RECSYS_STORAGE_URI"),
        ({"user": "string"}, "user = 'int64'.*new store"),
    ],
)
def test_another_data_set_and_other_ids_are_refused_before_anything_is_read(
    shop: World, changed: dict[str, str], told: str
) -> None:
    before = shop.hashes("")
    with pytest.raises(IdentityError, match=told):
        shop_in(shop.folder, shop.instance, **changed).materializer()
    assert shop.hashes("") == before
    assert load_dataset(shop.folder / "dataset.toml").name == changed.get("name", "shop")
