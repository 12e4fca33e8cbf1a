"""The whole way on the services of docker/compose.yaml: from a landed file to the dashboards, and each of them killed.

PostgreSQL, Prometheus and Alertmanager are real, the S3 server is moto's. Tests use one stack, in the order of this
file. Grafana is not run: its part, from the JSON to the picture, is held by the types of its SDK (test_monitoring.py).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import psycopg2
import pytest
import yaml

from recsys_assets.sample.config import SampleConfig
from recsys_assets.sample.generate import generate
from recsys_assets.storage.partition_store import PartitionStore
from recsys_assets.storage.recommendations_table import RecommendationsTable
from recsys_assets.storage.releases import Releases
from recsys_assets_tests.automation.driver import FAST
from recsys_assets_tests.compose import DOCKER, raw
from recsys_assets_tests.stack.asking import (
    KEY,
    alarming,
    bucket,
    built,
    eventually,
    get,
    graphql,
    has,
    login,
    post,
    prometheus,
    rules_of,
    series,
    served_events,
    serves,
    store_of,
    url_of,
    workers_of,
)
from recsys_assets_tests.stack.running import Stack, made_up, stack_in
from recsys_assets_tests.stack.visitors import Visitor, view, visit
from recsys_assets_tests.test_monitoring import alerts, expressions, metrics_in
from recsys_assets_tests.test_recommendations_table import expect_equal
from recsys_assets_tests.webhook import Told, webhook

pytestmark = pytest.mark.stack

DAYS = SampleConfig(events=20_000, days=16, seed=3)
"""With fewer events there is no ranker for the gate to judge."""
LAST_DAY, NEXT_DAY = "2015-05-17", "2015-05-18"
SETTINGS = {
    **{f"RECSYS_{name.upper()}": str(value) for name, value in FAST.items()},
    "RECSYS_GENERATORS": "popular,covisit,repeat",
    "RECSYS_EXPLAINED_ITEMS": "0",
    "RECSYS_SENSOR_SECONDS": "2",
    "RECSYS_API_POLL_SECONDS": "0.5",
    "RECSYS_API_EXPORT_SECONDS": "1",
}
USERS = (1, 2, 900_000)
"""Two of the sample, and a stranger."""
EMPTY_UNTIL_SOMETHING_FAILS = {"serving: Errors by part"}
"""Panels of what went wrong in the API, where nothing has gone wrong yet."""
ROLES = ("dagster", "mlflow", "events", "recommendations")


@pytest.fixture(scope="module")
def told() -> Iterator[Told]:
    """Where the platform sends its messages."""
    with webhook() as told:
        yield told


@pytest.fixture(scope="module")
def stack(told: Told, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All services, started in the order that the compose file asks for."""
    variables = {**made_up(), "RECSYS_API_WRITE_KEYS": KEY}
    settings = {**SETTINGS, "RECSYS_NOTIFY_WEBHOOK_URL": told.url}
    with pytest.MonkeyPatch.context() as patch, ExitStack() as until:
        for name in [name for name in os.environ if name.startswith(("RECSYS_", "AWS_", "DAGSTER_", "PG"))]:
            patch.delenv(name)
        stack = until.enter_context(stack_in(tmp_path_factory.mktemp("stack"), variables, settings))
        with_less_patience(stack)
        stack.start_all(print)
        yield stack


def with_less_patience(stack: Stack) -> None:
    """Prometheus looks each second, and Alertmanager sends what is critical after one."""
    for name, wait in (
        ("prometheus", r"(scrape_interval|scrape_timeout|evaluation_interval): \d+s"),
        ("alertmanager", r"(group_wait): 10s"),
    ):
        (word,) = (word for word in stack.loopback.command(name) if word.startswith("--config.file="))
        file = Path(word.partition("=")[2])
        text, changed = re.subn(wait, r"\1: 1s", file.read_text())
        assert changed
        file.write_text(text)


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """The landing files: those of the first days, and one with the events of the last day."""
    with tempfile.TemporaryDirectory() as name:
        generate(DAYS, Path(name))
        found = {path.name: path.read_bytes() for path in Path(name).iterdir()}
    header, *rows = found.pop("events.csv").splitlines(keepends=True)
    ends = int(datetime.fromisoformat(f"{NEXT_DAY}T03:00+00:00").timestamp()) * 1000
    first = [row for row in rows if int(row.split(b",")[0]) < ends]
    found["events.csv"] = b"".join([header, *first])
    found[f"events_{NEXT_DAY}.csv"] = b"".join([header, *(row for row in rows if int(row.split(b",")[0]) >= ends)])
    return found


@pytest.fixture(scope="module")
def released(stack: Stack, files: dict[str, bytes]) -> dict[str, Any]:
    """The release that the API serves after the files of the first days have landed."""
    for name, content in files.items():
        if NEXT_DAY not in name:
            bucket(stack).put_object(Bucket="recsys", Key=f"landing/{name}", Body=content)
    eventually(lambda: serves(stack, LAST_DAY), 1800, "no release")
    return get(stack, "/release")


def test_a_role_reaches_its_own_database_only(stack: Stack) -> None:
    for role in ROLES:
        with contextlib.closing(login(stack, role, role)) as own, own.cursor() as cursor:
            cursor.execute("select rolsuper or rolcreatedb or rolcreaterole from pg_roles where rolname = %s", [role])
            assert cursor.fetchone() == (False,)
            cursor.execute("create table of_the_role (number int); drop table of_the_role")
        for other in {*ROLES, "postgres", "template1"} - {role}:
            with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
                login(stack, role, other)


def test_webserver_shows_the_code_location(stack: Stack) -> None:
    entries = graphql(
        stack,
        "{ workspaceOrError { ... on Workspace { locationEntries { name loadStatus "
        "locationOrLoadError { ... on PythonError { message } } } } } }",
    )["workspaceOrError"]["locationEntries"]
    assert [(entry["name"], entry["loadStatus"]) for entry in entries] == [("recsys", "LOADED")]
    assert "message" not in entries[0]["locationOrLoadError"], entries
    nodes = graphql(stack, "{ assetNodes { assetKey { path } } }")["assetNodes"]
    assert {"path": ["release"]} in [node["assetKey"] for node in nodes]


def test_daemons_are_healthy(stack: Stack) -> None:
    query = "{ instance { daemonHealth { allDaemonStatuses { daemonType healthy required } } } }"
    found = graphql(stack, query)["instance"]["daemonHealth"]["allDaemonStatuses"]
    required = {status["daemonType"]: status["healthy"] for status in found if status["required"]}
    assert {"SENSOR", "SCHEDULER", "BACKFILL", "QUEUED_RUN_COORDINATOR", "MONITORING"} <= required.keys()
    assert all(required.values()), required


def test_api_lives_and_is_not_ready_without_a_release(stack: Stack) -> None:
    address = stack.loopback.address("api")
    with urlopen(f"{address}/health/live", timeout=10) as answer:
        assert answer.status == 200
    with pytest.raises(HTTPError) as refused:
        urlopen(f"{address}/health/ready", timeout=10)
    assert refused.value.code == 503


def test_the_api_keeps_events_in_postgresql(stack: Stack) -> None:
    with contextlib.closing(login(stack, "events", "events")) as database, database.cursor() as cursor:
        cursor.execute("select count(*) from recsys_events")
        assert cursor.fetchone() == (0,)
    assert "cannot be stored" not in stack.log("api").read_text()


def test_a_landed_file_becomes_a_release_that_the_api_serves(stack: Stack, released: dict[str, Any]) -> None:
    pointer = json.loads(bucket(stack).get_object(Bucket="recsys", Key="store/releases/current.json")["Body"].read())
    assert (released["release_id"], released["as_of"]) == (pointer["release_id"], LAST_DAY)
    answer = get(stack, "/recommendations/1?k=5")
    assert answer["release_id"] == pointer["release_id"]
    assert len(answer["items"]) == 5


def test_the_tables_in_postgresql_equal_the_release(stack: Stack, released: dict[str, Any], tmp_path: Path) -> None:
    url = url_of(stack, "recommendations", "recommendations")
    table = RecommendationsTable(url, "recsys")

    def follows() -> bool:
        loaded = table.loaded()
        return loaded is not None and loaded.release_id == released["release_id"]

    eventually(follows, 300, "the tables do not follow the release")
    expect_equal(url, Releases(store_of(stack)), tmp_path)


def test_mlflow_has_the_run_and_keeps_files_in_s3(stack: Stack, released: dict[str, Any]) -> None:
    from mlflow import MlflowClient  # takes seconds, which the other tests need not

    client = MlflowClient(stack.loopback.address("mlflow"))
    experiment = client.get_experiment_by_name("retailrocket")
    assert experiment is not None
    assert experiment.artifact_location.startswith("mlflow-artifacts:")

    def statuses() -> set[str]:
        return {run.info.status for run in client.search_runs([experiment.experiment_id])}

    eventually(lambda: statuses() == {"FINISHED"}, 300, "MLflow has no run that ended")
    runs = client.search_runs([experiment.experiment_id])
    stored = bucket(stack).list_objects_v2(Bucket="recsys", Prefix="mlflow/")["Contents"]
    assert any(run.info.run_id in one["Key"] for run in runs for one in stored)
    with contextlib.closing(login(stack, "mlflow", "mlflow")) as database, database.cursor() as cursor:
        cursor.execute("select run_uuid from runs")
        # More of them come until the searches of the day are recorded.
        assert {run.info.run_id for run in runs} <= {found for (found,) in cursor.fetchall()}


def test_logs_of_steps_are_in_s3_and_nothing_is_written_beside_the_volumes(
    stack: Stack, released: dict[str, Any]
) -> None:
    listed = bucket(stack).list_objects_v2(Bucket="recsys", Prefix="dagster/").get("Contents", [])
    assert any(item["Key"].endswith(".err") for item in listed)
    # The file system of the containers is read-only, but for these.
    code = raw()["services"]["code"]
    volumes = [volume.split(":")[1] for volume in code["volumes"] if isinstance(volume, str)]
    writable = {Path(folder).name for folder in (*code["tmpfs"], *volumes)} | {"__pycache__"}
    assert {path.name for path in stack.loopback.home.iterdir() if path.suffix not in (".py", ".yaml")} <= writable


def test_posted_events_come_back_as_a_landing_file(stack: Stack, released: dict[str, Any]) -> None:
    posted = post(stack, "/events", [view(number) for number in range(3)])["event_ids"]
    eventually(lambda: set(posted) <= set(served_events(stack)), 300, "events do not come back")


@pytest.fixture(scope="module")
def watched(stack: Stack, released: dict[str, Any]) -> Stack:
    """The stack, with figures of the release and of visitors in Prometheus."""
    assert "prometheus" not in stack.absent, stack.absent
    # How large the store is is read at the start, and then every ten minutes.
    stack.running["metrics"].kill()
    stack.start("metrics")
    eventually(lambda: len(series(stack, "up == 1")) == 2, 300, "Prometheus does not reach what it is to scrape")
    visit(stack, USERS)
    # A rate is that of what comes after the first look.
    eventually(lambda: has(stack, "recsys_offline_share_count"), 300, "Prometheus sees no visitors")
    visit(stack, USERS)
    return stack


def test_every_query_of_the_dashboards_returns_data(watched: Stack) -> None:
    asked = [(panel, expr) for panel, exprs in expressions().items() for expr in exprs]
    assert len(asked) > 30
    silent: set[str] = set()

    def as_expected() -> bool:
        silent.clear()
        silent.update(panel for panel, expr in asked if not has(watched, expr))
        return silent == EMPTY_UNTIL_SOMETHING_FAILS

    eventually(as_expected, 300, lambda: f"without data: {silent}")


def test_the_instances_to_choose_from_are_found(watched: Stack) -> None:
    for name in ("serving", "pipeline"):
        board = json.loads((DOCKER / "grafana" / "dashboards" / f"{name}.json").read_text())
        (variable,) = (v for v in board["templating"]["list"] if v["name"] == "instance")
        found = re.fullmatch(r"label_values\((.+), instance\)", variable["query"])
        assert found is not None
        assert len(prometheus(watched, "label/instance/values", **{"match[]": found.group(1)})) == 1


def test_rules_are_loaded_and_evaluate(watched: Stack) -> None:
    written = yaml.safe_load((DOCKER / "prometheus" / "rules.yml").read_text())["groups"]
    rules = rules_of(watched)
    assert len(rules) == sum(len(group["rules"]) for group in written)
    assert {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] == "err"} == {}
    assert alarming(watched).isdisjoint(
        {"RecsysApiDown", "RecsysExporterDown", "RecsysFiguresNotRead", "RecsysQueueStuck", "RecsysReleaseNotLoaded"}
    )


def test_an_alert_reaches_the_webhook_of_the_settings_as_a_message(watched: Stack, told: Told) -> None:
    assert len(prometheus(watched, "alertmanagers")["activeAlertmanagers"]) == 1
    notes = {"summary": "The API does not answer", "runbook_url": "docs/runbook.md#recsysapidown"}
    alert = {"labels": {"alertname": "RecsysApiDown", "severity": "critical"}, "annotations": notes}
    post(watched, "/api/v2/alerts", [alert], "alertmanager")

    # Alerts of Prometheus itself arrive too: before there was a release, the API answered 503.
    def texts() -> list[str]:
        return [
            message["text"]
            for message in told.messages
            if message["event"] == "alert" and message["alerts"][0]["labels"]["alertname"] == "RecsysApiDown"
        ]

    eventually(lambda: bool(texts()), 300, "the alert does not arrive")
    assert texts() == ["[critical] RecsysApiDown: The API does not answer (docs/runbook.md#recsysapidown)"]


def test_the_figures_are_those_of_the_store(watched: Stack) -> None:
    def one(query: str) -> float:
        (found,) = series(watched, query)
        return float(found["value"][1])

    ended = "{ runsOrError(filter: {statuses: [SUCCESS]}) { ... on Runs { results { id } } } }"
    eventually(
        lambda: (
            one('sum(recsys_pipeline_runs{status="success"})') == len(graphql(watched, ended)["runsOrError"]["results"])
        ),
        300,
        "Prometheus does not count the runs of Dagster",
    )
    store = store_of(watched)
    pointer = Releases(store).current()
    assert pointer is not None
    assert series(watched, "recsys_pipeline_release_info")[0]["metric"]["release_id"] == pointer.release_id
    record = PartitionStore(store).read_lineage("clean_events", LAST_DAY)
    assert record is not None
    assert one(f'recsys_pipeline_event_rows{{day="{LAST_DAY}",outcome="clean"}}') == record.rows
    assert one("sum(recsys_pipeline_store_bytes)") == pytest.approx(sum(meta.size for meta in store.list()), rel=0.05)


def test_each_process_is_killed_and_nothing_is_lost(
    stack: Stack, released: dict[str, Any], files: dict[str, bytes]
) -> None:
    with Visitor(stack) as visitor:
        name = f"events_{NEXT_DAY}.csv"
        bucket(stack).put_object(Bucket="recsys", Key=f"landing/{name}", Body=files[name])
        running = "{ runsOrError(filter: {statuses: [STARTED]}) { ... on Runs { results { id } } } }"
        eventually(lambda: bool(graphql(stack, running)["runsOrError"]["results"]), 600, "no run starts")
        # The code server first, which takes the run along.
        for killed in sorted(set(stack.running) - {"api"}, key=lambda name: name != "code"):
            stack.running[killed].kill()
            time.sleep(1)
            stack.start(killed)
        workers = workers_of(stack)
        assert len(workers) == 2
        os.kill(workers[0].pid, signal.SIGKILL)
        eventually(lambda: len(workers_of(stack)) == 2, 300, "the worker does not come back")
        eventually(lambda: built(stack, NEXT_DAY), 1200, "the day that landed before the kills is not built")
    assert visitor.failures == []
    assert visitor.answers > 10
    assert len(visitor.stored) > 10
    eventually(lambda: visitor.stored <= set(served_events(stack)), 300, "events that were stored were lost")
    came_back = served_events(stack)
    assert len(came_back) == len(set(came_back)), "an event came back twice"


def test_a_release_that_cannot_be_loaded_is_an_alert_and_the_old_one_is_served(watched: Stack) -> None:
    """The last test: nobody mends the pointer."""
    served = get(watched, "/release")["release_id"]
    key = "store/releases/current.json"
    pointer = json.loads(bucket(watched).get_object(Bucket="recsys", Key=key)["Body"].read())
    nobody = {"release_id": f"{NEXT_DAY}-of-nobody", "manifest_sha256": "0" * 64}
    astray = {**pointer, **nobody, "generation": pointer["generation"] + 1}
    bucket(watched).put_object(Bucket="recsys", Key=key, Body=json.dumps(astray).encode())
    eventually(lambda: "RecsysReleaseNotLoaded" in alarming(watched), 300, "the alert is not pending")
    assert get(watched, "/release")["release_id"] == served
    asked = {name: expr for name, exprs in expressions().items() for expr in exprs}
    for panel in EMPTY_UNTIL_SOMETHING_FAILS:
        eventually(lambda panel=panel: has(watched, asked[panel]), 300, f"{panel} has no data")
    existing = set(prometheus(watched, "label/__name__/values"))
    exprs = [*(expr for exprs in expressions().values() for expr in exprs), *(rule["expr"] for rule in alerts())]
    named = {name for expr in exprs for name in metrics_in(expr)}
    assert len(named) > 30
    assert named - existing == set(), "dashboards and rules name metrics that do not exist"
