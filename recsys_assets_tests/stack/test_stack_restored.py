"""The machine is lost: what docs/backup.md saves comes back elsewhere, and the same release is served."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from recsys_assets_tests.compose import DOCKER
from recsys_assets_tests.postgres_server import USER
from recsys_assets_tests.stack.conftest import (
    KEY,
    ROLES,
    SETTINGS,
    bucket,
    eventually,
    get,
    login,
    post,
    served_events,
    serves,
    view,
)
from recsys_assets_tests.stack.running import Stack, stack_in

pytestmark = pytest.mark.stack

POINTER = "store/releases/current.json"
IN_CONTAINER = "docker compose -f docker/compose.yaml exec -T postgres "
TABLES = {"dagster": ["runs", "event_logs"], "mlflow": ["runs", "metrics"], "events": ["recsys_events"]}
USERS = range(1, 100)
NEW = 177_000
"""A user whom the release does not know, with posted events alone."""


def commands(program: str) -> str:
    """The commands of the page's block that runs a program of PostgreSQL, for a machine without containers."""
    page = (DOCKER.parent / "docs/backup.md").read_text()
    (block,) = [block for block in re.findall(r"```console\n(.*?)```", page, re.S) if f"postgres {program}" in block]
    lines = [re.sub(r"^[$>] ", "", line) for line in block.splitlines()]
    assert IN_CONTAINER in block
    return "\n".join(line for line in lines if " stop " not in line).replace(IN_CONTAINER, "")


def run(stack: Stack, program: str, folder: Path) -> None:
    """Run a block of the page against the stack's PostgreSQL, as its superuser."""
    environment = {
        **os.environ,
        **stack.loopback.environment("postgres"),
        "PGHOST": "127.0.0.1",
        "PGUSER": USER,
        "PGPASSWORD": stack.variables["POSTGRES_PASSWORD"],
    }
    shell = ["bash", "-euo", "pipefail", "-c", commands(program)]
    done = subprocess.run(shell, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def copied(stack: Stack) -> dict[str, bytes]:
    """What the bucket holds, the pointer as the first."""
    pages = bucket(stack).get_paginator("list_objects_v2").paginate(Bucket="recsys")
    keys = [item["Key"] for page in pages for item in page["Contents"] if not item["Key"].startswith("dagster/")]
    names = [POINTER, *(key for key in keys if key != POINTER)]
    return {name: bucket(stack).get_object(Bucket="recsys", Key=name)["Body"].read() for name in names}


def answers(stack: Stack) -> dict[str, bytes]:
    """What the API says, by path. Each recommendation has an id of its own, which is left out."""
    paths = ["/popular?k=20", *(f"/similar/{item}?k=10" for item in range(1, 6))]
    found = {path: _read(stack, path) for path in [*paths, *(f"/recommendations/{user}?k=10" for user in USERS)]}
    return {path: re.sub(rb'"recommendation_id":"\w+",', b"", body) for path, body in found.items()}


def events_of(stack: Stack, user: int) -> Any:
    return json.loads(_read(stack, f"/events/{user}"))["events"]


def counts(stack: Stack) -> dict[str, int]:
    found: dict[str, int] = {}
    for database, tables in TABLES.items():
        with contextlib.closing(login(stack, database, database)) as connection, connection.cursor() as cursor:
            for table in tables:
                cursor.execute(f"select count(*) from {table}")
                found[f"{database}.{table}"] = (cursor.fetchone() or (0,))[0]
    return found


def _read(stack: Stack, path: str) -> bytes:
    request = Request(stack.loopback.address("api") + path, headers={"X-API-Key": KEY})
    with urlopen(request, timeout=30) as answer:
        return answer.read()


def test_the_same_release_is_served_elsewhere_after_the_machine_is_lost(
    stack: Stack, released: dict[str, Any], tmp_path: Path
) -> None:
    for name in ("daemon", "code"):
        if name in stack.running:
            stack.running[name].kill()
    posted = post(stack, [{**view(n), "user_id": NEW, "event_id": f"saved-{n}"} for n in range(3)])["event_ids"]
    eventually(lambda: set(posted) <= set(served_events(stack)), 60, "events do not become landing files")
    before, known, rows = get(stack, "/release"), events_of(stack, NEW), counts(stack)
    assert {event["event_id"] for event in known} == set(posted)
    # Users that the release does not know get what trends at the moment, whose scores fall from second to second.
    answered = {path: body for path, body in answers(stack).items() if b'"mode":"fallback"' not in body}
    assert sum(path.startswith("/recommendations/") for path in answered) > 5
    (tmp_path / "backup").mkdir()
    run(stack, "pg_dump", tmp_path)
    assert {path.name for path in (tmp_path / "backup").iterdir()} == {f"{role}.dump" for role in ROLES}
    # An event between dump and copy is in a landing file that the dumped database does not know of.
    between = post(stack, [{**view(3), "event_id": "between"}])["event_ids"]
    eventually(lambda: set(between) <= set(served_events(stack)), 60, "the event does not become a landing file")
    saved = copied(stack)

    for service in stack.running.values():
        service.kill()

    with stack_in(tmp_path / "elsewhere", stack.variables, SETTINGS) as other:
        other.once("bucket")
        run(other, "pg_restore", tmp_path)
        assert {name: counts(other)[name] for name in rows} == rows
        for key in [*(key for key in saved if key != POINTER), POINTER]:
            bucket(other).put_object(Bucket="recsys", Key=key, Body=saved[key])
        other.start("api")
        eventually(lambda: serves(other, before["as_of"]), 60, "the restored release is not served")
        assert {**get(other, "/release"), "loaded_at": before["loaded_at"]} == before
        assert events_of(other, NEW) == known
        assert {path: body for path, body in answers(other).items() if path in answered} == answered
        later = post(other, [{**view(9), "user_id": NEW, "event_id": "after"}])["event_ids"]
        eventually(lambda: set(later) <= set(served_events(other)), 60, "the event does not become a landing file")
        assert {*posted, *between, *later} <= set(served_events(other)), "a landing file was written over"
