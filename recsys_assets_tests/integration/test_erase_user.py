"""The job erase_user on the whole graph: afterwards it is as if the person had never been there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from recsys_assets.automation.runs import InProcessRunner, MaterializeError
from recsys_assets.erasure.person import Person
from recsys_assets.erasure.search import holders
from recsys_assets_tests.integration.conftest import DAY
from recsys_assets_tests.integration.test_graph import copy_of, read
from recsys_assets_tests.integration.world import World, dagster_in, make_world

pytestmark = pytest.mark.graph

SOMEBODY = 1294
"""Of the sample's busiest: acts in every training window and on the last day."""
NOT_DERIVED = ("clean_events", "rejected_events", "event_counts", "data_report")
"""They say which row of which file something was, or how many rows a file had."""


def erase(world: World, user: Any) -> dg.ExecuteInProcessResult:
    return (
        world.definitions()
        .resolve_job_def("erase_user")
        .execute_in_process(
            instance=world.instance,
            run_config={"ops": {"erase": {"config": {"user_id": str(user), "wait_minutes": 0}}}},
            raise_on_error=False,
        )
    )


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    [output] = [event for event in result.all_events if event.is_successful_output]
    return {name: value.value for name, value in output.step_output_data.metadata.items()}


def problem(result: dg.ExecuteInProcessResult) -> str:
    [failure] = result.get_step_failure_events()
    error = failure.step_failure_data.error
    assert error is not None
    return error.message


def derived(world: World) -> dict[str, str]:
    return {
        name: sha
        for name, sha in world.hashes("assets").items()
        if not name.endswith("_lineage.json") and name.split("/")[1] not in NOT_DERIVED
    }


@pytest.fixture
def without(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world built from landing files that never held the person."""
    folder = tmp_path_factory.mktemp("without")
    with dagster_in(tmp_path_factory.mktemp("dagster")) as instance:
        world = make_world(folder, instance)
        for path in sample.iterdir():
            lines = path.read_text().splitlines(keepends=True)
            if path.name == "events.csv":
                lines = [lines[0], *(line for line in lines[1:] if line.split(",")[1] != str(SOMEBODY))]
            (world.landing / path.name).write_text("".join(lines))
        with world.materializer() as materializer:
            assert materializer.catch_up() == DAY
        yield world


def test_afterwards_it_is_as_if_the_person_had_never_been_there(
    built: World, without: World, tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = copy_of(built, tmp_path, instance)
    old = world.store.releases().current()
    assert old is not None
    assert SOMEBODY in read(world, "recommendations", DAY)["user_id"]

    rebuild, calls = InProcessRunner.rebuild, []

    def cut_off(self: InProcessRunner, day: str, assets: list[str], tags: dict[str, str]) -> None:
        calls.append(day)
        if len(calls) == 4:
            raise MaterializeError("the disk is full")
        rebuild(self, day, assets, tags)

    monkeypatch.setattr(InProcessRunner, "rebuild", cut_off)
    first = erase(world, SOMEBODY)
    assert not first.success
    assert "the disk is full; something of the person is left: erase_user goes on" in problem(first)

    second = erase(world, SOMEBODY)
    assert second.success
    assert derived(world) == derived(without)
    assert len({name.split("/")[1] for name in derived(world)}) >= 14
    kept = ["user_id", "item_id", "event_type", "ts", "session_id"]
    assert read(world, "clean_events").select(kept).equals(read(without, "clean_events").select(kept))
    now, expected = world.store.releases().current(), without.store.releases().current()
    assert now is not None
    assert expected is not None
    assert now.release_id == expected.release_id != old.release_id
    assert world.store.releases().list() == [now.release_id]

    told = metadata(second)
    assert told["found"] is True
    assert told["serving"] == now.release_id
    assert told["releases_deleted"] == [old.release_id]
    table = {row.data["asset"]: row.data for row in told["rewritten"].records}
    assert table["user_activity"]["rows before"] > table["user_activity"]["rows after"]
    assert {"candidates", "explanations", "ranker", "item_factors", "ranker_evaluation", "top_popular"} <= table.keys()
    raw = pl.read_csv(Path(built.settings.landing_uri.removeprefix("file://")) / "events.csv")
    assert told["staged_rows"] == raw["visitorid"].eq(SOMEBODY).sum()
    files = [path for path in (tmp_path / "store" / "erasures").iterdir() if not path.name.startswith(".")]
    assert not any(f'"{SOMEBODY}"' in path.read_text() for path in files)

    # The check says so, and what is taken in again stays without the person.
    history = world.run("history", DAY)
    assert SOMEBODY not in read(world, "clean_events", DAY)["user_id"]
    checks = [c for c in history.get_asset_check_evaluations() if c.check_name == "rows_add_up"]
    [check] = [check for check in checks if check.asset_key == dg.AssetKey("clean_events")]
    assert check.passed
    assert check.metadata["erased"].value == len(read(built, "clean_events", DAY).filter(pl.col("user_id") == SOMEBODY))


def test_an_unknown_person_and_a_wrong_id_are_told_so(
    built: World, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    world = copy_of(built, tmp_path, instance)
    before = world.hashes("assets", "releases", "staging")
    result = erase(world, 987_654_321)
    assert result.success
    assert (metadata(result)["found"], metadata(result)["staged_rows"]) == (False, 0)
    assert world.hashes("assets", "releases", "staging") == before
    assert "expected an id of type int64, found str that is none" in problem(erase(world, "ann"))
    rows = world.lineage("recommendations", DAY).rows  # stands in records and in the manifest
    assert holders(world.store.open(), Person(rows, world.dataset)) == {}


def test_it_does_not_begin_while_others_write(built: World, tmp_path: Path, instance: dg.DagsterInstance) -> None:
    world = copy_of(built, tmp_path, instance)
    job = world.definitions().resolve_job_def("refresh")
    other = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags={"dagster/partition": DAY})
    assert f"runs are in progress and may store rows of the person that they have read: {other.run_id}" in problem(
        erase(world, SOMEBODY)
    )
    assert SOMEBODY in read(world, "clean_events")["user_id"]


def test_ids_of_persons_are_not_put_into_the_event_log(built: World) -> None:
    for asset in ("clean_events", "rejected_events", "user_activity", "candidates", "recommendations", "explanations"):
        chosen = dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset))
        for record in built.instance.fetch_materializations(chosen, limit=100).records:
            assert record.asset_materialization is not None
            assert "preview" not in record.asset_materialization.metadata
    popular = built.instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=dg.AssetKey("top_popular")), limit=1
    )
    assert "preview" in popular.records[0].asset_materialization.metadata  # type: ignore[union-attr]
