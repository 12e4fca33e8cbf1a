"""The whole graph, on local files: what users rely on from the landing zone to the release."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from recsys_assets.storage.explanations import EXPLANATIONS_FILE, Explanations
from recsys_assets.storage.lineage import Lineage
from recsys_assets.storage.releases import Releases
from recsys_assets_tests.integration.conftest import DAY
from recsys_assets_tests.integration.world import World, dagster_in, make_world, materialized

AS_OF = (
    "item_features", "top_popular", "item_factors", "covisited_items",
    "candidates", "ranking_examples", "cf_ensemble", "session_model", "ranker_params",
    "ranker", "ranker_evaluation", "served_ranker", "recommendations", "explanations", "similar_items",
)  # fmt: skip


def read(world: World, asset: str, day: str = "*") -> pl.DataFrame:
    return pl.read_parquet(world.folder / "store" / "assets" / asset / f"dt={day}" / "*.parquet")


def copy_of(world: World, folder: Path, instance: dg.DagsterInstance) -> World:
    shutil.copytree(world.folder / "store", folder / "store")
    return make_world(folder, instance, landing_uri=world.settings.landing_uri)


def test_no_row_is_lost(built: World, sample: Path) -> None:
    raw = pl.read_csv(sample / "events.csv")
    clean, rejected = read(built, "clean_events"), read(built, "rejected_events")
    distinct = raw.unique()
    assert len(raw) > len(distinct), "the sample holds exact duplicates"
    assert len(clean) + len(rejected) == len(distinct)
    assert clean["user_id"].min() == 0


def test_release_holds_what_the_assets_hold(built: World) -> None:
    releases = built.store.releases()
    pointer = releases.current()
    assert pointer is not None
    assert pointer.as_of == DAY
    manifest = releases.verify(pointer.release_id)
    facts: Any = manifest.facts
    for asset, sha256 in facts["inputs"].items():
        assert built.lineage(asset, DAY).sha256 == sha256
    lists = read(built, "recommendations", DAY)
    assert lists.group_by("user_id").agg(pl.col("rank").sort().eq(pl.int_range(1, pl.len() + 1)).all())["rank"].all()
    assert not lists.select("user_id", "item_id").is_duplicated().any()
    catalogue = pl.read_ipc(built.folder / "store" / "releases" / pointer.release_id / "catalogue.arrow")
    assert set(lists["item_id"]) <= set(catalogue["item_id"])
    features = read(built, "item_features", DAY).select(catalogue.columns).sort("item_id")
    known = catalogue.join(features, on="item_id", how="semi").with_columns(
        pl.col("category_id", "root_id").cast(pl.String)
    )
    assert known.equals(features)
    assert facts["event_types"]["transaction"] == {"weight": 10.0, "target": True}


def test_the_release_says_why_the_first_items_of_each_list_stand_there(built: World) -> None:
    pointer = built.store.releases().current()
    assert pointer is not None
    lists, pairs = read(built, "recommendations", DAY), read(built, "candidates", DAY)
    stored = read(built, "explanations", DAY)
    key = ["user_id", "item_id", "rank"]
    most = built.settings.explained_items
    assert stored.select(key).equals(lists.filter(pl.col("rank") <= most).sort("user_id", "rank").select(key))
    ranks = [name for name in stored.columns if name.endswith("_rank")]
    assert stored.join(pairs, on=["user_id", "item_id", *ranks], how="semi", nulls_equal=True).height == stored.height
    found = Explanations(built.folder / "store" / "releases" / pointer.release_id / EXPLANATIONS_FILE)
    for at, of_list in enumerate(stored.partition_by("user_id")[:50]):
        rows = of_list.to_dicts()
        explained = found.of_list(at)
        assert [one.generators for one in explained] == [
            {name.removesuffix("_rank"): row[name] for name in ranks if row[name] is not None} for row in rows
        ]
        assert [one.features[0].name for one in explained] == [row["feature_1"] for row in rows]
    sums = stored.select("user_id", "rank", total=pl.sum_horizontal("baseline", "others", "^contribution_.$"))
    both = sums.join(lists, on=["user_id", "rank"]).join(
        stored.select("user_id", "rank", "others"), on=["user_id", "rank"]
    )
    error = (both["total"] - both["score"]).abs() - both["others"].abs() / 64
    assert error.max() < 1e-5  # pyright: ignore[reportOperatorIssue]


def test_lineage_leads_from_the_release_to_the_landing_files(built: World) -> None:
    store = built.store.partitions()  # once: it takes a look at the whole graph

    def lineage(asset: str, day: str) -> Lineage:
        record = store.read_lineage(asset, day)
        assert record is not None, f"{asset} of {day} was not written"
        return record

    seen: set[tuple[str, str]] = set()
    queue = [("recommendations", DAY)]
    while queue:
        asset, day = queue.pop()
        if (asset, day) in seen:
            continue
        seen.add((asset, day))
        assert store.fetch(asset, day, built.folder).exists()
        for read_from in lineage(asset, day).inputs:
            upstream = lineage(read_from.asset, read_from.day)
            assert upstream.sha256 == read_from.sha256, f"{asset} {day} was built from other bytes of {read_from}"
            queue.append((read_from.asset, read_from.day))
    params: list[Any] = [lineage(asset, day).params for asset, day in seen if asset == "clean_events"]
    assert len({stated["files"][0] for stated in params}) == 1
    assert {asset for asset, _ in seen} >= {"clean_events", "item_properties", "category_tree", "ranker", *AS_OF[:6]}


def test_running_again_changes_no_byte_and_no_pointer(built: World) -> None:
    before = built.hashes("assets", "releases")
    assert built.run("refresh", DAY).success
    with built.materializer() as materializer:
        materializer.catch_up()
    history = built.definitions().resolve_job_def("history")
    tags = {"dagster/asset_partition_range_start": "2015-05-20", "dagster/asset_partition_range_end": DAY}
    assert history.execute_in_process(instance=built.instance, tags=tags).success
    assert built.hashes("assets", "releases") == before


PAST = "2015-05-27"
BOUNDARY_MS = 1432782000000  # 2015-05-28 03:00 UTC, when PAST ends


def as_of_past(world: World) -> dict[str, str]:
    with world.materializer() as materializer:
        materializer.catch_up_history()
        materializer.build_training_windows(PAST)
        materializer.refresh([PAST])
    return data_of(world, PAST)


@pytest.fixture(scope="module")
def undisturbed(built: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Hashes of every partition <= PAST, with the future there. What belongs to single days is as it was built."""
    with dagster_in(tmp_path_factory.mktemp("dagster")) as instance:
        world = copy_of(built, tmp_path_factory.mktemp("undisturbed"), instance)
        of_days = world.definitions().resolve_job_def("history").asset_layer.executable_asset_keys
        for stored in (world.folder / "store" / "assets").iterdir():
            if dg.AssetKey(stored.name) not in of_days:
                shutil.rmtree(stored)
        shutil.rmtree(world.folder / "store" / "tuning")
        return as_of_past(world)


@pytest.mark.parametrize("change", ["deleted", pytest.param("scrambled", marks=pytest.mark.graph)])
def test_nothing_from_the_future_leaks(
    change: str, undisturbed: dict[str, str], sample: Path, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    """Events and property snapshots after D are deleted or scrambled: not one byte of any partition <= D changes."""
    world = make_world(tmp_path, instance)
    rng = random.Random(1)
    for name in ("events.csv", "item_properties_part1.csv", "item_properties_part2.csv"):
        rows = pl.read_csv(sample / name, infer_schema=False)
        later = pl.col("timestamp").cast(pl.Int64) >= BOUNDARY_MS
        past, future = rows.filter(~later), rows.filter(later)
        assert len(future), name
        other = {"event": "view", "transactionid": None} if name == "events.csv" else {"value": "1"}
        items = rng.sample(future["itemid"].to_list(), len(future))
        scrambled = future.with_columns(pl.Series("itemid", items), **{k: pl.lit(v) for k, v in other.items()})
        # The past stays where it is in the file: source_row is compared too.
        assert rows.head(len(past)).equals(past) or name != "events.csv"
        (past if change == "deleted" else pl.concat([past, scrambled])).write_csv(world.landing / name)
    shutil.copy(sample / "category_tree.csv", world.landing)
    found = as_of_past(world)
    assert {key.split("/")[1] for key in found} >= {*AS_OF, "clean_events", "item_pairs"}
    assert found == undisturbed


def data_of(world: World, until: str) -> dict[str, str]:
    """Hashes of all data files of days up to one, but not of lineage, which names the landing files."""
    return {
        key: value
        for key, value in world.hashes("assets").items()
        if key.split("dt=")[1][:10] <= until and not key.endswith("_lineage.json")
    }


def test_a_day_alone_equals_the_day_in_a_range(built: World, tmp_path: Path, instance: dg.DagsterInstance) -> None:
    world = make_world(tmp_path, instance, landing_uri=built.settings.landing_uri)
    assert world.run("history", "2015-05-20").success
    alone = {k: v for k, v in world.hashes("assets").items() if not k.endswith("_lineage.json")}
    assert len(alone) == 11
    in_range = built.hashes("assets")
    assert alone == {key: in_range[key] for key in alone}


def test_a_failed_gate_leaves_the_old_release(built: World, tmp_path: Path, instance: dg.DagsterInstance) -> None:
    """The day after the data ends has no events within a short window: nothing to build on, nothing released."""
    world = copy_of(built, tmp_path, instance)
    world.settings = world.settings.model_copy(
        update={"popular_windows": "stated", "popular_days": 1, "trending_days": 1}
    )
    before = world.hashes("releases")
    assert world.run("history", "2015-06-20").success
    result = world.run("refresh", "2015-06-20")
    assert not result.success
    failed = {
        (c.asset_key.to_user_string(), c.check_name) for c in result.get_asset_check_evaluations() if not c.passed
    }
    assert ("top_popular", "not_empty") in failed
    assert not {"recommendations", "release"} & {e.step_key for e in result.get_step_success_events()}
    assert world.hashes("releases") == before


def test_older_days_are_released_but_not_served(built: World, tmp_path: Path, instance: dg.DagsterInstance) -> None:
    world = copy_of(built, tmp_path, instance)
    before = world.store.releases().current()
    assert world.run("refresh", "2015-05-22").success
    releases = world.store.releases()
    assert releases.current() == before
    older = next(one for one in releases.list() if one.startswith("2015-05-22"))
    job = world.definitions().resolve_job_def("rollback_release")
    config = {"ops": {"point_back": {"config": {"release_id": older}}}}
    assert job.execute_in_process(instance=instance, run_config=config).success
    assert world.served_release() == older
    # The withdrawn day is not served again by running it again, and the UI says that a person keeps another.
    again = world.run("refresh", DAY)
    assert again.success
    assert world.served_release() == older
    assert materialized(again)["release"]["why"].value == "pinned"
    checks = {check.check_name: check for check in again.get_asset_check_evaluations() if "serving" in check.check_name}
    assert {name: (check.passed, check.severity.value) for name, check in checks.items()} == {
        "serving_is_current": (True, "ERROR"),
        "serving_follows": (False, "WARN"),
    }
    assert checks["serving_follows"].metadata["serving"].value == older
    assert world.definitions().resolve_job_def("unpin_release").execute_in_process(instance=instance).success
    pointer = releases.current()
    assert pointer is not None
    assert not pointer.pinned


def test_manual_mode_waits_for_approval(built: World, tmp_path: Path, instance: dg.DagsterInstance) -> None:
    world = copy_of(built, tmp_path, instance)
    shutil.rmtree(tmp_path / "store" / "releases")
    world.settings = world.settings.model_copy(update={"mode": "manual"})
    assert world.run("refresh", DAY).success
    releases: Releases = world.store.releases()
    assert releases.current() is None
    (waiting,) = releases.list()
    job = world.definitions().resolve_job_def("approve_release")
    config = {"ops": {"approve": {"config": {"release_id": waiting}}}}
    assert job.execute_in_process(instance=instance, run_config=config).success
    assert world.served_release() == waiting


def test_first_day_is_served_by_the_fused_generators(
    built: World, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    world = make_world(tmp_path, instance, landing_uri=built.settings.landing_uri)
    for day in ("2015-05-19", "2015-05-20"):
        assert world.run("history", day).success
    result = world.run("refresh", "2015-05-20")
    assert result.success
    assert set(read(world, "recommendations")["source"]) == {"fused"}
    metadata = materialized(result)
    assert "nothing was judged" in metadata["recommendations"]["why"].value
    assert metadata["ranker"]["trained"].value is False
    manifest = world.store.releases().manifest(world.store.releases().list()[0])
    assert manifest.facts["served_by"] == "fused"


def test_evaluation_is_readable_without_python(built: World) -> None:
    releases = built.store.releases()
    files = releases.fetch(built.served_release(), built.folder)
    rows = json.loads(files["evaluation.json"].read_text())
    assert {row["model"] for row in rows} >= {"ranker", "fused", "popular", "covisit"}
