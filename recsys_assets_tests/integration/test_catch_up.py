"""What a second ``make run`` starts: what new files call for, and nothing else."""

from __future__ import annotations

import os
import shutil
from datetime import date
from functools import partial
from pathlib import Path

import dagster as dg
import pytest

from recsys_assets.automation.runs import InProcessRunner
from recsys_assets.cli import materialize
from recsys_assets_tests.integration.conftest import DAY
from recsys_assets_tests.integration.world import World, make_world

pytestmark = pytest.mark.graph

Started = list[tuple[str, ...]]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """Jobs and their days, recorded instead of run."""
    calls: Started = []
    monkeypatch.setattr(
        InProcessRunner, "run", lambda _, job, tags, *assets, advance=None: calls.append((job, *tags.values()))
    )
    return calls


def second_run(world: World) -> None:
    with world.materializer() as materializer:
        materializer.catch_up()


def test_where_nothing_is_new_nothing_runs(built: World, started: Started) -> None:
    second_run(built)
    assert started == []


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("item_properties_part3.csv", "timestamp,itemid,property,value\n1432123200000,1,categoryid,1"),
        ("events_late.csv", "timestamp,visitorid,event,itemid,transactionid\n1432123200000,7,view,1,"),
    ],
)
def test_a_late_file_is_built_with_all_that_read_its_day(
    name: str, row: str, built: World, sample: Path, started: Started, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    world = make_world(tmp_path, instance)
    shutil.copytree(built.folder / "store", tmp_path / "store")
    for path in sample.iterdir():
        os.link(path, world.landing / path.name)  # the same files, not copies that would count as new
    (world.landing / name).write_text(row)
    second_run(world)
    assert started == [
        ("history", "2015-05-20", "2015-05-20"),
        ("examples", "2015-05-22"),
        ("examples", "2015-05-27"),
        ("refresh", DAY),
    ]


def test_days_outside_the_stated_span_are_left_alone(
    sample: Path, started: Started, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    span = {"start_date": date(2015, 5, 10), "end_date": date(2015, 5, 20)}
    second_run(make_world(tmp_path, instance, landing_uri=str(sample), **span))
    assert started == [
        ("history", "2015-05-10", "2015-05-19"),
        ("examples", "2015-05-14"),
        ("refresh", "2015-05-19"),
    ]


def test_a_first_answer_comes_early_and_what_follows_equals_what_is_built_in_order(
    built: World, sample: Path, tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(materialize, "FIRST_WINDOWS", 1)
    world = make_world(tmp_path, instance, landing_uri=str(sample))
    with world.materializer() as materializer:
        assert materializer.catch_up(first_answer=True) == DAY
        first, left = materializer.served(), materializer.windows_left(DAY)
        assert first is not None
        assert len(left) == 3, "the oldest window, and those after it, which learn from it"
        reported = partial(world.store.partitions().days, "data_report")
        assert reported() == [], "an answer waits for no report"
        materializer.tell()
        assert reported() == [DAY]
        materializer.build_all_windows(DAY)
        assert materializer.windows_left(DAY) == []
        last, in_order = materializer.served(), built.store.releases().current()
        assert last is not None
        assert in_order is not None
        assert first.release_id != last.release_id == in_order.release_id
    with world.materializer() as materializer:
        materializer.catch_up(first_answer=True)
        materializer.build_all_windows(DAY)
        assert materializer.served() == last, "nothing is left to do"
