"""The whole way on the services of docker/compose.yaml: from a landed file to Prometheus, and each of them killed.

PostgreSQL and Prometheus are real, the S3 server is moto's. Tests use one stack, in the order of this file.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil
import psycopg2
import pytest

from recsys_assets_tests.compose import raw
from recsys_assets_tests.stack.conftest import (
    LAST_DAY,
    NEXT_DAY,
    ROLES,
    bucket,
    eventually,
    get,
    login,
    post,
    served_events,
    view,
)
from recsys_assets_tests.stack.running import Stack

pytestmark = pytest.mark.stack


def built(stack: Stack, day: str) -> bool:
    """Whether the events of a day are in the store."""
    prefix = f"store/assets/item_activity/dt={day}/"
    return bool(bucket(stack).list_objects_v2(Bucket="recsys", Prefix=prefix)["KeyCount"])


def graphql(stack: Stack, query: str) -> Any:
    body, headers = json.dumps({"query": query}).encode(), {"Content-Type": "application/json"}
    with urlopen(Request(f"{stack.loopback.address('webserver')}/graphql", body, headers), timeout=60) as answer:
        return json.load(answer)["data"]


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


def test_mlflow_has_the_run_and_keeps_files_in_s3(stack: Stack, released: dict[str, Any]) -> None:
    from mlflow import MlflowClient  # takes seconds, which the other tests need not

    client = MlflowClient(stack.loopback.address("mlflow"))
    experiment = client.get_experiment_by_name("retailrocket")
    assert experiment is not None
    assert experiment.artifact_location.startswith("mlflow-artifacts:")

    def statuses() -> set[str]:
        return {run.info.status for run in client.search_runs([experiment.experiment_id])}

    eventually(lambda: statuses() == {"FINISHED"}, 120, "MLflow has no run that ended")
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
    writable = {Path(folder).name for folder in raw()["services"]["code"]["tmpfs"]} | {"__pycache__"}
    assert {path.name for path in stack.loopback.home.iterdir() if path.suffix not in (".py", ".yaml")} <= writable


def test_posted_events_come_back_as_a_landing_file(stack: Stack, released: dict[str, Any]) -> None:
    posted = post(stack, [view(number) for number in range(3)])["event_ids"]
    eventually(lambda: set(posted) <= set(served_events(stack)), 60, "events do not come back")


def test_prometheus_sees_the_api(stack: Stack, released: dict[str, Any]) -> None:
    assert "prometheus" not in stack.absent, stack.absent

    def found(query: str) -> list[dict[str, Any]]:
        return get(stack, f"/api/v1/query?query={query}", "prometheus")["data"]["result"]

    def up() -> bool:
        return {one["metric"]["job"] for one in found("up==1")} >= {"recsys-api", "recsys-pipeline"}

    eventually(up, 120, "Prometheus does not reach what it is to scrape")
    eventually(lambda: bool(found("sum(recsys_release_info)")), 60, "Prometheus does not see the release")


def test_each_process_is_killed_and_nothing_is_lost(
    stack: Stack, released: dict[str, Any], files: dict[str, bytes]
) -> None:
    with Visitor(stack) as visitor:
        name = f"events_{NEXT_DAY}.csv"
        bucket(stack).put_object(Bucket="recsys", Key=f"landing/{name}", Body=files[name])
        running = "{ runsOrError(filter: {statuses: [STARTED]}) { ... on Runs { results { id } } } }"
        eventually(lambda: bool(graphql(stack, running)["runsOrError"]["results"]), 300, "no run starts")
        # The code server first, which takes the run along.
        for killed in sorted(set(stack.running) - {"api"}, key=lambda name: name != "code"):
            stack.running[killed].kill()
            time.sleep(1)
            stack.start(killed)
        workers = workers_of(stack)
        assert len(workers) == 2
        os.kill(workers[0].pid, signal.SIGKILL)
        eventually(lambda: len(workers_of(stack)) == 2, 60, "the worker does not come back")
        eventually(lambda: built(stack, NEXT_DAY), 600, "the day that landed before the kills is not built")
    assert visitor.failures == []
    assert visitor.answers > 10
    assert len(visitor.stored) > 10
    eventually(lambda: visitor.stored <= set(served_events(stack)), 60, "events that were stored were lost")
    came_back = served_events(stack)
    assert len(came_back) == len(set(came_back)), "an event came back twice"


def workers_of(stack: Stack) -> list[psutil.Process]:
    """The processes of the API that answer: a process which imports for all has forked them."""
    service = stack.running["api"]
    everyone = psutil.Process(service.pid).children(recursive=True)
    return [process for process in everyone if process.ppid() != service.pid and process.status() != "zombie"]


class Visitor:
    """Asks the API and posts events without a pause, and keeps what was answered."""

    def __init__(self, stack: Stack) -> None:
        self.failures: list[str] = []
        self.answers = 0
        self.stored: set[str] = set()
        self._stack = stack
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._visit)

    def __enter__(self) -> Visitor:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _visit(self) -> None:
        number = 1000
        while not self._ended.wait(0.3):
            try:
                # As a proxy does: a connection that a dying worker has held is tried once more.
                for last in (False, True):
                    try:
                        assert get(self._stack, f"/recommendations/{number}")["items"]
                        break
                    except (ConnectionError, HTTPException):
                        if last:
                            raise
                self.answers += 1
            except (OSError, HTTPException, AssertionError) as error:
                self.failures.append(f"{type(error).__name__}: {error}")
            with contextlib.suppress(OSError, HTTPException):
                self.stored.update(post(self._stack, [view(number)])["event_ids"])
                number += 1
