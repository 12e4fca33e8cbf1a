"""Dagster's UI as people use it: the lineage, a backfill of days, and runs that were started on the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from recsys_assets.cli.services import Service, free_port, wait_until_ready
from recsys_assets.definitions import build_resources
from recsys_assets.resources.store import StoreResource
from recsys_assets.settings import load_settings
from recsys_assets.storage.lineage import Lineage
from recsys_assets_tests.integration.world import SMALL
from recsys_assets_tests.test_definitions import GROUPS

pytestmark = pytest.mark.stack

ROOT = Path(__file__).resolve().parents[2]
DAGSTER = str(Path(sys.executable).with_name("dagster"))
DAYS = [f"2015-05-{day}" for day in range(28, 31)]
"""As few as can be: each is many runs, and most of a run is the start of its process."""
NEXT_DAY = "2015-05-31"
ASKED_FOR = {"backtest_report", *GROUPS["experiments"]}
"""Made by themselves, once what they tell of is there."""
ASSETS = sorted(set().union(*GROUPS.values()) - {"raw_events", *ASKED_FOR})
BESIDE_THE_RELEASE = {
    *("rejected_events", "event_counts", "data_report", "model_tracking"),
    *GROUPS["feedback"],
    *ASKED_FOR,
}
"""What no recommendation is made of, for people to look at."""
SECONDS_TO_BACKFILL = 1200

LAUNCH = """mutation ($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
BACKFILL = """query ($id: String!) { partitionBackfillOrError(backfillId: $id) {
    ... on PartitionBackfill { status error { message } } } }"""
RUNS = """{ runsOrError { ... on Runs { results { status assetSelection { path } tags { key value } } } } }"""
ASSET_NODES = """{ assetNodes { assetKey { path } groupName dependencyKeys { path } assetPartitionStatuses {
    ... on TimePartitionStatuses { ranges { startKey endKey status } } } } }"""


@dataclass
class Run:
    status: str
    assets: list[str]
    tags: dict[str, str]


@dataclass
class UI:
    """``dagster dev`` on a landing zone with a sample and an empty store."""

    service: Service

    def ask(self, query: str, **variables: Any) -> Any:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = Request(f"{self.service.url}/graphql", body, {"Content-Type": "application/json"})
        with urlopen(request, timeout=60) as answer:
            answered = json.load(answer)
        assert "errors" not in answered, answered
        return answered["data"]

    def assets(self) -> dict[str, Any]:
        return {"/".join(node["assetKey"]["path"]): node for node in self.ask(ASSET_NODES)["assetNodes"]}

    def runs(self) -> list[Run]:
        return [
            Run(
                run["status"],
                sorted("/".join(key["path"]) for key in run["assetSelection"]),
                {tag["key"]: tag["value"] for tag in run["tags"]},
            )
            for run in self.ask(RUNS)["runsOrError"]["results"]
        ]

    @property
    def store(self) -> StoreResource:
        return build_resources(*load_settings())["store"]

    def lineage(self, asset: str, day: str) -> Lineage:
        found = self.store.partitions().read_lineage(asset, day)
        assert found is not None
        return found

    def served(self) -> str:
        """The day of the release that the API would follow."""
        pointer = self.store.releases().current()
        assert pointer is not None
        return pointer.as_of


@pytest.fixture(scope="module")
def ui(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UI]:
    home = tmp_path_factory.mktemp("home")
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(ROOT / name, home)
    # Nothing but the backfill is to run.
    # A horizon below the number of days: the newest day then learns from a day of the same backfill.
    settings = {**SMALL, "horizon_days": 1, "automation": "off", "landing_uri": sample, "storage_uri": home / "store"}
    port = free_port(0)
    command = [DAGSTER, "dev", "-h", "127.0.0.1", "-p", str(port)]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        for name in [name for name in os.environ if name.startswith("RECSYS_")]:
            patch.delenv(name)
        for name, value in settings.items():
            patch.setenv(f"RECSYS_{name.upper()}", str(value))
        patch.setenv("DAGSTER_HOME", str(home))
        with Service("Dagster UI", command, f"http://127.0.0.1:{port}", home / "ui.log") as service:
            wait_until_ready(service, "/server_info")
            yield UI(service)


@pytest.fixture(scope="module")
def backfilled(ui: UI) -> UI:
    """All assets over three days, and those days alone.

    Days are named for each asset. Named once for all, they would be those of the first assets, and Dagster would add
    every later day whose window reads them.
    """
    days = {"ranges": [{"start": DAYS[0], "end": DAYS[-1]}]}
    params = {"partitionsByAssets": [{"assetKey": {"path": [name]}, "partitions": days} for name in ASSETS]}
    launched = ui.ask(LAUNCH, params=params)["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    deadline = time.monotonic() + SECONDS_TO_BACKFILL
    while True:
        found = ui.ask(BACKFILL, id=launched["backfillId"])["partitionBackfillOrError"]
        statuses = [run.status for run in ui.runs()]
        if found["status"] == "COMPLETED_SUCCESS":
            return ui
        log = ui.service.log.read_text()[-4000:]
        assert found["status"] == "REQUESTED", f"{found}, runs: {statuses}\n{log}"
        assert "FAILURE" not in statuses, f"a run failed: {statuses}\n{log}"
        assert time.monotonic() < deadline, f"still {found}, runs: {statuses}\n{log}"
        time.sleep(1)


def test_lineage_shows_every_group_from_the_raw_events_to_the_release(ui: UI) -> None:
    nodes = ui.assets()
    assert {group: {k for k, node in nodes.items() if node["groupName"] == group} for group in GROUPS} == GROUPS
    reached, queue = set[str](), ["release"]
    while queue:
        if (name := queue.pop()) not in reached:
            reached.add(name)
            queue += ["/".join(key["path"]) for key in nodes[name]["dependencyKeys"]]
    assert reached == nodes.keys() - BESIDE_THE_RELEASE


def test_backfill_materializes_the_days_asked_for_and_no_others(backfilled: UI) -> None:
    asked_for = [{"startKey": DAYS[0], "endKey": DAYS[-1], "status": "MATERIALIZED"}]
    nodes = backfilled.assets()
    assert {name: nodes[name]["assetPartitionStatuses"]["ranges"] for name in ASSETS} == dict.fromkeys(
        ASSETS, asked_for
    )


def test_backfill_cleans_all_days_in_one_run_and_releases_each_by_itself(backfilled: UI) -> None:
    runs = [run for run in backfilled.runs() if "dagster/backfill" in run.tags]
    assert {run.status for run in runs} == {"SUCCESS"}

    def spans(asset: str) -> list[tuple[str, str]]:
        return sorted(
            (run.tags["dagster/asset_partition_range_start"], run.tags["dagster/asset_partition_range_end"])
            for run in runs
            if asset in run.assets
        )

    assert spans("clean_events") == [(DAYS[0], DAYS[-1])]
    assert spans("release") == [(day, day) for day in DAYS]


def test_backfilled_days_were_built_oldest_first(backfilled: UI) -> None:
    """What a day reads of the days before it was there; the newest release is served, whichever ended last."""
    marts = {read.day for read in backfilled.lineage("candidates", DAYS[0]).inputs if read.asset == "user_activity"}
    assert marts == {DAYS[0]}
    marts = {read.day for read in backfilled.lineage("candidates", DAYS[-1]).inputs if read.asset == "user_activity"}
    assert marts == set(DAYS)
    learned_from = [
        read for read in backfilled.lineage("ranking_examples", DAYS[-1]).inputs if read.asset == "item_factors"
    ]
    assert [(read.day, read.sha256) for read in learned_from] == [
        (DAYS[1], backfilled.lineage("item_factors", DAYS[1]).sha256)
    ]
    assert backfilled.served() == DAYS[-1]


def test_runs_of_the_command_line_show_in_the_ui(backfilled: UI) -> None:
    run = subprocess.run(
        [
            DAGSTER,
            "asset",
            "materialize",
            "-m",
            "recsys_assets.definitions",
            "--select",
            "*release",
            "--partition",
            NEXT_DAY,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    newest = backfilled.runs()[0]
    assert (newest.status, newest.tags["dagster/partition"]) == ("SUCCESS", NEXT_DAY)
    ranges = backfilled.assets()["release"]["assetPartitionStatuses"]["ranges"]
    assert [(one["startKey"], one["endKey"]) for one in ranges] == [(DAYS[0], NEXT_DAY)]
    assert backfilled.served() == NEXT_DAY
