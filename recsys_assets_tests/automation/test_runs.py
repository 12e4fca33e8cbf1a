"""Runs that start in this process are told of while they go on, and the UI's home page shows them afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from recsys_assets.automation.runs import LOCATION, InProcessRunner, MaterializeError

DAYS = dg.DailyPartitionsDefinition("2025-01-01", end_date="2025-02-01")
RANGE = {"dagster/asset_partition_range_start": "2025-01-03", "dagster/asset_partition_range_end": "2025-01-05"}


@dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
def events() -> None:
    pass


@dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run(), deps=[events])
def marts() -> None:
    pass


@dg.asset(partitions_def=DAYS, deps=[events])
def broken() -> None:
    raise ValueError("no such day")


DEFINITIONS = dg.Definitions(
    assets=[events, marts, broken],
    jobs=[
        dg.define_asset_job("history", [events, marts]),
        dg.define_asset_job("fails", [broken]),
    ],
)


def test_a_run_tells_how_far_it_is() -> None:
    told: list[tuple[int, int]] = []
    with dg.DagsterInstance.ephemeral() as instance:
        runner = InProcessRunner(DEFINITIONS, instance, "file:///store")
        runner.run("history", RANGE, advance=lambda done, total: told.append((done, total)))
    assert told == [(done, 6) for done in range(1, 7)], "two assets of three days"


@pytest.mark.parametrize("job", ["history", "fails"])
def test_the_home_page_of_the_ui_shows_a_run_by_its_code_location(job: str) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        try:
            InProcessRunner(DEFINITIONS, instance, "file:///store").run(job, {"dagster/partition": "2025-01-03"})
        except MaterializeError:
            assert job == "fails"
        (run,) = instance.get_runs()
    assert run.is_finished
    assert run.is_success is (job == "history")
    assert run.remote_job_origin is not None
    assert (run.remote_job_origin.location_name, run.remote_job_origin.job_name) == (LOCATION, job)


def test_the_workspace_names_that_location() -> None:
    workspace: dict[str, Any] = yaml.safe_load((Path(__file__).parents[2] / "workspace.yaml").read_text())
    assert [one["python_module"]["location_name"] for one in workspace["load_from"]] == [LOCATION]
