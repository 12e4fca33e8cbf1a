"""Runs every service of docker/compose.yaml that is ours as a process, by its very command and health check.

PostgreSQL is real; the S3 server is the one of the tests. Only host names and ports differ from the containers.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import boto3
import dagster as dg
import psycopg2
import pytest
from moto.server import ThreadedMotoServer

from recsys_assets.resources.tracking import Tracking, tracking_resource
from recsys_assets.settings import load_settings
from recsys_assets_tests.compose import DOCKER, resolved
from recsys_assets_tests.postgres_server import create_database, free_port, postgres_server

pytestmark = pytest.mark.stack
VARIABLES = {"POSTGRES_PASSWORD": "a-word", "S3_ACCESS_KEY": "someone", "S3_SECRET_KEY": "another-word"}
SERVICES = resolved(VARIABLES)["services"]
SECONDS_TO_HEALTH = 120


@dataclass
class Stack:
    """The addresses of this stack, and its running processes."""

    home: Path
    environment: dict[str, str]
    ports: dict[str, str]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def here(self, command: list[str]) -> list[str]:
        """A container's command with the ports of this stack."""
        for inside, outside in self.ports.items():
            command = [outside if word == inside else word.replace(f":{inside}/", f":{outside}/") for word in command]
        return command

    def environment_of(self, name: str) -> dict[str, str]:
        """What the container would see, with the addresses of this stack."""
        return {**os.environ, **SERVICES[name]["environment"], **self.environment}

    def run(self, name: str, command: list[str]) -> subprocess.CompletedProcess[str]:
        """Run a command to its end in the environment of a service."""
        return subprocess.run(
            self.here(command),
            cwd=self.home,
            env=self.environment_of(name),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self, name: str) -> None:
        """Start a service and wait until its own health check passes."""
        with (self.home / f"{name}.log").open("wb") as log:
            process = self.running[name] = subprocess.Popen(
                self.here(SERVICES[name]["command"]),
                cwd=self.home,
                env=self.environment_of(name),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + SECONDS_TO_HEALTH
        while (checked := self.run(name, SERVICES[name]["healthcheck"]["test"][1:])).returncode:
            said = (self.home / f"{name}.log").read_text()[-4000:]
            assert process.poll() is None, f"{name} ended:\n{said}"
            assert time.monotonic() < deadline, f"{name} is not healthy: {checked.stderr[-1000:]}\n{said}"
            time.sleep(1)

    def stop(self) -> None:
        """End all services, in reverse order, with all their children."""
        for process in reversed(self.running.values()):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def graphql(self, query: str) -> Any:
        """Ask the webserver."""
        request = Request(
            f"http://127.0.0.1:{self.ports['3000']}/graphql",
            json.dumps({"query": query}).encode(),
            {"Content-Type": "application/json"},
        )
        with urlopen(request, timeout=30) as answer:
            return json.load(answer)["data"]


@pytest.fixture(scope="module")
def postgres_port() -> Iterator[int]:
    """A PostgreSQL server as the compose file describes it: user, password, database."""
    with postgres_server(VARIABLES["POSTGRES_PASSWORD"]) as port:
        create_database(port, VARIABLES["POSTGRES_PASSWORD"], "dagster")
        yield port


@pytest.fixture(scope="module")
def stack(postgres_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All services, started in the order that the compose file asks for."""
    home = tmp_path_factory.mktemp("stack")
    for name in ("dagster.yaml", "workspace.yaml", "create_bucket.py"):
        shutil.copy(DOCKER / name, home)
    ports = {inside: str(free_port()) for inside in ("3000", "4000", "8000")}
    s3 = ThreadedMotoServer(port=0)
    s3.start()
    host, port = s3.get_host_and_port()
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "DAGSTER_HOME": str(home),
        "DAGSTER_POSTGRES_HOST": "127.0.0.1",
        "DAGSTER_POSTGRES_PORT": str(postgres_port),
        "DAGSTER_CODE_HOST": "127.0.0.1",
        "DAGSTER_CODE_PORT": ports["4000"],
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "RECSYS_EVENTS_URL": SERVICES["api"]["environment"]["RECSYS_EVENTS_URL"].replace(
            "postgres:5432", f"127.0.0.1:{postgres_port}"
        ),
    }
    stack = Stack(home, environment, ports)
    try:
        created = stack.run("bucket", SERVICES["bucket"]["command"])
        assert created.returncode == 0, created.stderr
        for name in ("code", "webserver", "daemon", "api"):
            stack.start(name)
        yield stack
    finally:
        stack.stop()
        s3.stop()


def test_webserver_shows_the_code_location(stack: Stack) -> None:
    entries = stack.graphql(
        "{ workspaceOrError { ... on Workspace { locationEntries { name loadStatus "
        "locationOrLoadError { ... on PythonError { message } } } } } }"
    )["workspaceOrError"]["locationEntries"]
    assert [(entry["name"], entry["loadStatus"]) for entry in entries] == [("recsys", "LOADED")]
    assert "message" not in entries[0]["locationOrLoadError"], entries
    nodes = stack.graphql("{ assetNodes { assetKey { path } } }")["assetNodes"]
    assert {"path": ["release"]} in [node["assetKey"] for node in nodes]


def test_daemons_are_healthy(stack: Stack) -> None:
    daemons = stack.graphql("{ instance { daemonHealth { allDaemonStatuses { daemonType healthy required } } } }")
    required = {
        status["daemonType"]: status["healthy"]
        for status in daemons["instance"]["daemonHealth"]["allDaemonStatuses"]
        if status["required"]
    }
    assert {"SENSOR", "SCHEDULER", "BACKFILL", "QUEUED_RUN_COORDINATOR", "MONITORING"} <= required.keys()
    assert all(required.values()), required


def test_api_lives_and_is_not_ready_without_a_release(stack: Stack) -> None:
    address = f"http://127.0.0.1:{stack.ports['8000']}"
    with urlopen(f"{address}/health/live", timeout=10) as answer:
        assert answer.status == 200
    with pytest.raises(HTTPError) as refused:
        urlopen(f"{address}/health/ready", timeout=10)
    assert refused.value.code == 503


def test_the_api_keeps_events_in_postgresql(stack: Stack, postgres_port: int) -> None:
    password = VARIABLES["POSTGRES_PASSWORD"]
    login = psycopg2.connect(host="127.0.0.1", port=postgres_port, user="dagster", password=password, dbname="dagster")
    with contextlib.closing(login), login.cursor() as cursor:
        cursor.execute("select count(*) from recsys_events")
        assert cursor.fetchone() == (0,)
    assert "cannot be stored" not in (stack.home / "api.log").read_text()


def test_logs_of_steps_reach_s3(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in stack.environment_of("code").items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.from_config(str(stack.home)) as instance:
        assert "Postgres" in type(instance.run_storage).__name__
        with instance.compute_log_manager.capture_logs(["some_run", "compute_logs", "some_step"]):
            print("a line of a step", flush=True)
    listed = boto3.client("s3").list_objects_v2(Bucket="recsys", Prefix="dagster/").get("Contents", [])
    assert any(item["Key"].endswith("some_step.out") for item in listed)


def test_mlflow_records_in_postgresql_and_s3(postgres_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient  # takes seconds, which the other tests need not

    password = VARIABLES["POSTGRES_PASSWORD"]
    uri = create_database(postgres_port, password, "mlflow")
    s3 = ThreadedMotoServer(port=0)
    s3.start()
    host, port = s3.get_host_and_port()
    for name, value in SERVICES["code"]["environment"].items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    boto3.client("s3").create_bucket(Bucket="recsys")
    settings, _ = load_settings(mlflow_tracking_uri=uri, mlflow_artifacts_uri="s3://recsys/mlflow")

    @dg.op
    def record(tracking: dg.ResourceParam[Tracking]) -> str:
        done = tracking.record("a run", {"partition": "2015-05-01"}, lambda mlflow: mlflow.log_text("yes", "note.txt"))
        assert done.problem is None
        return f"{done.run_id} at {tracking.address}"

    @dg.job
    def recording() -> None:
        record()

    told = recording.execute_in_process(resources={"tracking": tracking_resource(settings)}).output_for_node("record")
    assert password not in told
    run = MlflowClient(uri).get_run(told.split()[0])
    assert (run.info.status, run.data.tags["partition"]) == ("FINISHED", "2015-05-01")
    stored = boto3.client("s3").list_objects_v2(Bucket="recsys", Prefix="mlflow/")["Contents"]
    assert [item["Key"].rpartition("/")[2] for item in stored] == ["note.txt"]
    s3.stop()
