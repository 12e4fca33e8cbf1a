"""One stack for the tests of this folder, what lands in it, and ways to ask it."""

from __future__ import annotations

import gzip
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import boto3
import psycopg2
import pytest

from recsys_assets.sample.config import SampleConfig
from recsys_assets.sample.generate import generate
from recsys_assets_tests.automation.driver import FAST
from recsys_assets_tests.stack.running import Stack, made_up, stack_in

KEY = "a-write-key-of-the-tests"
DAYS = SampleConfig(events=8_000, days=16, seed=3)
LAST_DAY, NEXT_DAY = "2015-05-17", "2015-05-18"
SETTINGS = {
    **{f"RECSYS_{name.upper()}": str(value) for name, value in FAST.items()},
    "RECSYS_GENERATORS": "popular,covisit,repeat",
    "RECSYS_EXPLAINED_ITEMS": "0",
    "RECSYS_SENSOR_SECONDS": "2",
    "RECSYS_API_POLL_SECONDS": "0.5",
    "RECSYS_API_EXPORT_SECONDS": "1",
}
ROLES = ("dagster", "mlflow", "events", "recommendations")


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All services, started in the order that the compose file asks for."""
    variables = {**made_up(), "RECSYS_API_WRITE_KEYS": KEY}
    with pytest.MonkeyPatch.context() as patch, ExitStack() as until:
        for name in [name for name in os.environ if name.startswith(("RECSYS_", "AWS_", "DAGSTER_", "PG"))]:
            patch.delenv(name)
        stack = until.enter_context(stack_in(tmp_path_factory.mktemp("stack"), variables, SETTINGS))
        stack.start_all(print)
        yield stack


@pytest.fixture(scope="package")
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


@pytest.fixture(scope="package")
def released(stack: Stack, files: dict[str, bytes]) -> dict[str, Any]:
    """The release that the API serves after the files of the first days have landed."""
    for name, content in files.items():
        if NEXT_DAY not in name:
            bucket(stack).put_object(Bucket="recsys", Key=f"landing/{name}", Body=content)
    eventually(lambda: serves(stack, LAST_DAY), 900, "no release")
    return get(stack, "/release")


def bucket(stack: Stack) -> Any:
    environment = stack.loopback.environment("code")
    names = {"aws_access_key_id": "AWS_ACCESS_KEY_ID", "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY"}
    given = {name: environment[variable] for name, variable in names.items()}
    return boto3.client("s3", "us-east-1", endpoint_url=environment["AWS_ENDPOINT_URL"], **given)


def get(stack: Stack, path: str, name: str = "api") -> Any:
    with urlopen(stack.loopback.address(name) + path, timeout=30) as answer:
        return json.load(answer)


def post(stack: Stack, events: list[dict[str, Any]]) -> Any:
    headers = {"Content-Type": "application/json", "X-API-Key": KEY}
    request = Request(f"{stack.loopback.address('api')}/events", json.dumps(events).encode(), headers)
    with urlopen(request, timeout=30) as answer:
        return json.load(answer)


def serves(stack: Stack, day: str) -> bool:
    try:
        return get(stack, "/release")["as_of"] == day
    except (HTTPError, OSError):
        return False


def served_events(stack: Stack) -> list[str]:
    """Ids of the events that have come back as landing files."""
    listed = bucket(stack).list_objects_v2(Bucket="recsys", Prefix="landing/served/events-").get("Contents", [])
    bodies = [bucket(stack).get_object(Bucket="recsys", Key=one["Key"])["Body"].read() for one in listed]
    return [json.loads(line)["event_id"] for body in bodies for line in gzip.decompress(body).splitlines()]


def login(stack: Stack, role: str, database: str) -> psycopg2.extensions.connection:
    return psycopg2.connect(
        host="127.0.0.1",
        port=stack.loopback.ports["postgres"],
        user=role,
        password=stack.variables[f"{role.upper()}_DB_PASSWORD"],
        dbname=database,
    )


def eventually(holds: Callable[[], bool], seconds: float, otherwise: str) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, otherwise
        time.sleep(1)


def view(number: int) -> dict[str, Any]:
    return {"user_id": 77_000 + number, "item_id": number + 1, "event_type": "view", "event_id": f"view-{number}"}
