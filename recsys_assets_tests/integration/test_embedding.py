"""The graph in somebody else's Dagster project: two data sets as components, beside an asset of the project's own."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from recsys_assets.automation.staleness import history_tags
from recsys_assets.cli.materialize import Materializer
from recsys_assets.definitions import build_definitions
from recsys_assets.sample.generate import SampleConfig, generate
from recsys_assets.settings import load_settings
from recsys_assets.storage.partition_store import PartitionStore
from recsys_assets.storage.releases import Releases
from recsys_assets.storage.uri import open_store
from recsys_assets_tests.integration.world import SMALL, Silent, dagster_in

DAYS = 12
NEWEST = "2015-05-14"
FEW = {**SMALL, "generators": "popular,covisit", "horizon_days": 2, "training_windows": 1, "tuning_trials": 1}
UP_TO_EXAMPLES = (
    *("top_popular", "covisited_items", "item_factors", "item_features"),
    *("retrieval_params", "ranking_examples"),
)
PROJECT = """
[project]
name = "host"
version = "0.1.0"
[tool.dg]
directory_type = "project"
[tool.dg.project]
root_module = "host"
registry_modules = ["recsys_assets"]
"""
DEFINITIONS = '''
from pathlib import Path
import dagster as dg

class Nothing(dg.IOManager):
    def handle_output(self, context, obj): ...
    def load_input(self, context): ...

@dg.asset
def release() -> None:
    """Of the project itself, with a name that the recommender has too."""

@dg.definitions
def defs() -> dg.Definitions:
    own = dg.Definitions([release], executor=dg.in_process_executor, resources={"io_manager": Nothing(), "store": 1})
    return dg.Definitions.merge(dg.load_from_defs_folder(path_within_project=Path(__file__).parent), own)
'''


def with_all_there_is(folder: Path, name: str) -> dict[str, Any]:
    """Settings by which a graph has its tables and lineage events too; nothing here opens the database."""
    events = (folder / f"{name}.ndjson").as_uri()
    return {**FEW, "recommendations_url": "postgresql://nobody@127.0.0.1/none", "openlineage_url": events}


def dg_command(project: Path, *arguments: str, **variables: str) -> str:
    """What `dg` prints, run in a project with further variables."""
    nothing = {"DG_CLI_CONFIG": str(project / "none.toml"), "DAGSTER_HOME": ""}
    paths = os.pathsep.join([str(Path(__file__).parents[2]), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    program = "from dagster_dg_cli.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, *arguments],
        cwd=project,
        env={**os.environ, **nothing, "PYTHONPATH": paths, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two components, the first as `dg scaffold` writes it but for small settings."""
    root = tmp_path_factory.mktemp("project")
    (root / "host/defs").mkdir(parents=True)
    (root / "pyproject.toml").write_text(PROJECT)
    (root / "host/__init__.py").touch()
    (root / "host/defs/__init__.py").touch()
    (root / "host/definitions.py").write_text(DEFINITIONS)
    dg_command(root, "scaffold", "defs", "recsys_assets.RecommenderComponent", "shop_a")
    scaffolded = yaml.safe_load((root / "host/defs/shop_a/defs.yaml").read_text())
    for name, seed in (("shop_a", 1), ("shop_b", 2)):
        attributes = {key: str(of).replace("shop_a", name) for key, of in scaffolded["attributes"].items()}
        folder = root / "host/defs" / name
        folder.mkdir(exist_ok=True)
        written = {"type": scaffolded["type"], "attributes": {**attributes, "settings": with_all_there_is(root, name)}}
        (folder / "defs.yaml").write_text(yaml.safe_dump(written))
        generate(SampleConfig(events=3_000, days=DAYS, seed=seed), root / attributes["landing"])
    return root


@pytest.fixture(scope="module")
def definitions(project: Path) -> Iterator[dg.Definitions]:
    sys.path.insert(0, str(project))
    try:
        yield importlib.import_module("host.definitions").defs()
    finally:
        sys.path.remove(str(project))


def test_dg_lists_all_of_both_data_sets_under_their_prefixes(project: Path) -> None:
    listed = json.loads(dg_command(project, "list", "defs", "--json"))
    flat = build_definitions(*load_settings(**with_all_there_is(project, "flat")))
    graph = flat.resolve_asset_graph()
    bare = {key.to_user_string() for key in graph.get_all_asset_keys()}
    found = {asset["asset_key"] for asset in listed["assets"]}
    assert found == {"release", *(f"{shop}/{name}" for shop in ("shop_a", "shop_b") for name in bare)}
    checks = {key.to_user_string() for key in graph.asset_check_keys}
    assert {check["key"] for check in listed["asset_checks"]} == {
        f"{s}/{c}" for s in ("shop_a", "shop_b") for c in checks
    }
    for kind, of in (("jobs", flat.jobs), ("sensors", flat.sensors), ("schedules", flat.schedules)):
        own = {f"{shop}__{one.name}" for shop in ("shop_a", "shop_b") for one in of or ()}  # type: ignore[union-attr]
        assert {one["name"] for one in listed[kind]} == own
    groups = {asset["group_name"] for asset in listed["assets"]}
    assert {"shop_a__serving", "shop_b__serving"} <= groups


def lineage_events(
    definitions: dg.Definitions, instance: dg.DagsterInstance, name: str, file: Path
) -> list[dict[str, Any]]:
    """What the sensor of a data set sends in a tick."""
    repository, store = definitions.get_repository_def(), f"{name}__store"
    resources = {store: (definitions.resources or {})[store]}
    with dg.build_sensor_context(instance=instance, repository_def=repository, resources=resources) as context:
        repository.get_sensor_def(f"{name}__openlineage_sensor").evaluate_tick(context)
    return list(map(json.loads, file.read_text("utf-8").splitlines()))


@pytest.mark.graph
def test_two_data_sets_live_side_by_side_and_each_keeps_to_its_own(
    project: Path, definitions: dg.Definitions, tmp_path: Path
) -> None:
    with dagster_in(tmp_path) as instance:
        places = {name: project / f"data/{name}" for name in ("landing", "store")}
        settings, dataset = load_settings(
            key_prefix="shop_a", landing_uri=str(places["landing"] / "shop_a"),
            storage_uri=str(places["store"] / "shop_a"), **FEW,
        )  # fmt: skip
        with Materializer(settings, dataset, Silent(), instance) as materializer:
            assert materializer.catch_up() == NEWEST
            materializer.tell()
        assert instance.get_materialized_partitions(dg.AssetKey(["shop_a", "release"])) == {NEWEST}
        first = history_tags("2015-05-03", NEWEST)
        history = definitions.resolve_job_def("shop_b__history")
        assert history.execute_in_process(instance=instance, tags=first).success
        assert {key.path[0] for key in instance.all_asset_keys()} == {"shop_a", "shop_b"}
        stores = {name: PartitionStore(open_store((places["store"] / name).as_uri())) for name in ("shop_a", "shop_b")}
        events = {name: stored.read_lineage("clean_events", NEWEST) for name, stored in stores.items()}
        assert len({record.sha256 for record in events.values() if record}) == 2
        released = {name: Releases(stored.store).list() for name, stored in stores.items()}
        assert {name: [one[:10] for one in of] for name, of in released.items()} == {"shop_a": [NEWEST], "shop_b": []}
        for name in stores:
            sent = lineage_events(definitions, instance, name, project / f"{name}.ndjson")
            assert {event["job"]["namespace"] for event in sent} == {(places["store"] / name).as_uri()}
            made = {output["name"] for event in sent for output in event["outputs"]}
            assert {"clean_events", "item_pairs"} <= made
            assert ("release" in made) == (name == "shop_a")
        # The first data set is complete. The second lacks an earlier as-of day first, and its own policy asks for it.
        requested = dg.evaluate_automation_conditions(definitions, instance)
        due = {one.key.to_user_string() for one in requested.results if one.true_subset.size}
        assert due == {f"shop_b/{name}" for name in UP_TO_EXAMPLES}


def test_flat_keys_merge_into_definitions_of_others() -> None:
    @dg.asset
    def orders() -> None: ...

    flat = build_definitions(*load_settings(**FEW), standalone=False)
    merged = dg.Definitions.merge(dg.Definitions([orders], executor=dg.multiprocess_executor), flat)
    dg.Definitions.validate_loadable(merged)
    keys = {key.to_user_string() for key in merged.resolve_asset_graph().get_all_asset_keys()}
    assert {"orders", "release"} <= keys


@pytest.mark.graph
def test_dg_launches_assets_of_this_repository(tmp_path: Path) -> None:
    """With a prefix, too, and with the history in the home that is named."""
    generate(SampleConfig(events=2_000, days=DAYS, seed=5), tmp_path / "landing")
    (tmp_path / "home").mkdir()
    stated = {
        "RECSYS_LANDING_URI": str(tmp_path / "landing"),
        "RECSYS_STORAGE_URI": str(tmp_path / "store"),
        "RECSYS_MLFLOW_TRACKING_URI": "off",
        "RECSYS_KEY_PREFIX": "shop",
        "DAGSTER_HOME": str(tmp_path / "home"),
    }
    root, two = Path(__file__).parents[2], 'key:"shop/clean_events" or key:"shop/item_activity"'
    dg_command(root, "launch", "--assets", two, "--partition", NEWEST, **stated)
    with dg.DagsterInstance.from_config(str(tmp_path / "home")) as instance:
        for name in ("clean_events", "item_activity"):
            assert instance.get_materialized_partitions(dg.AssetKey(["shop", name])) == {NEWEST}
    partitions = PartitionStore(open_store(str(tmp_path / "store")))
    assert partitions.days("item_activity") == [NEWEST]
