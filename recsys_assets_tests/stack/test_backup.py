"""The machine is lost: what docs/backup.md saves comes back elsewhere, and the same release is served.

PostgreSQL, the S3 server and the API of the stack are enough to see it.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from recsys_assets.storage.recommendations_table import RecommendationsTable
from recsys_assets.storage.releases import Releases
from recsys_assets.storage.uri import open_store
from recsys_assets_tests.api.publishing import Content, Id, publish
from recsys_assets_tests.compose import DOCKER
from recsys_assets_tests.postgres_server import USER
from recsys_assets_tests.stack.asking import KEY, bucket, eventually, get, login, post, served_events, serves, url_of
from recsys_assets_tests.stack.running import Stack, made_up, stack_in
from recsys_assets_tests.stack.visitors import view

pytestmark = pytest.mark.stack

DAY = "2015-06-01"
POINTER = "store/releases/current.json"
IN_CONTAINER = "docker compose -f docker/compose.yaml exec -T postgres "
COUNTED = {
    "dagster": "runs",
    "mlflow": "of_the_role",
    "events": "recsys_events",
    "recommendations": "recsys.recommendations",
}
"""A table of each database."""
SETTINGS = {"RECSYS_API_POLL_SECONDS": "0.5", "RECSYS_API_EXPORT_SECONDS": "1"}
USERS = range(30)
NEW = 177_000
"""A user whom the release does not know."""
_A_RUN = "import dagster as dg; dg.DagsterInstance.get().add_run(dg.DagsterRun('history'))"


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A release that the API serves, and something in each database."""
    folder, variables = tmp_path_factory.mktemp("stack"), {**made_up(), "RECSYS_API_WRITE_KEYS": KEY}
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("RECSYS_", "AWS_", "DAGSTER_", "PG"))]:
            patch.delenv(name)
        with stack_in(folder, variables, SETTINGS) as stack:
            stack.once("bucket")
            uri = (folder / "store").as_uri()
            lists: dict[Id, list[Id]] = {user: [(user + n) % 50 for n in range(20)] for user in USERS}
            publish(uri, DAY, Content(recommendations=lists, similar_items={1: [2, 3]}, top_popular={"all": [5, 6]}))
            for meta in open_store(uri).list():
                body = open_store(uri).get(meta.key)
                bucket(stack).put_object(Bucket="recsys", Key=f"store/{meta.key}", Body=body)
            table = RecommendationsTable(url_of(stack, "recommendations", "recommendations"), "recsys")
            table.follow(Releases(open_store(uri)))
            assert stack.run("code", [sys.executable, "-c", _A_RUN]).returncode == 0
            with contextlib.closing(login(stack, "mlflow", "mlflow")) as own, own, own.cursor() as cursor:
                cursor.execute("create table of_the_role (number int); insert into of_the_role values (1)")
            stack.start("api")
            eventually(lambda: serves(stack, DAY), 120, "the release is not served")
            yield stack


def run(stack: Stack, program: str, folder: Path) -> None:
    """Run the block of the page that runs a program of PostgreSQL, without containers, as the superuser."""
    page = (DOCKER.parent / "docs/backup.md").read_text()
    (block,) = [block for block in re.findall(r"```console\n(.*?)```", page, re.S) if f"postgres {program}" in block]
    lines = [re.sub(r"^[$>] ", "", line) for line in block.splitlines() if " stop " not in line]
    script = "\n".join(lines).replace(IN_CONTAINER, "")
    assert "docker" not in script
    login = {"PGHOST": "127.0.0.1", "PGUSER": USER, "PGPASSWORD": stack.variables["POSTGRES_PASSWORD"]}
    environment = {**os.environ, **stack.loopback.environment("postgres"), **login}
    shell = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(shell, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def copied(stack: Stack) -> dict[str, bytes]:
    """What the bucket holds; the pointer is read first."""
    pages = bucket(stack).get_paginator("list_objects_v2").paginate(Bucket="recsys")
    keys = [item["Key"] for page in pages for item in page["Contents"]]
    names = [POINTER, *(key for key in keys if key != POINTER)]
    return {name: bucket(stack).get_object(Bucket="recsys", Key=name)["Body"].read() for name in names}


def rows(stack: Stack) -> dict[str, int]:
    """How many there are in a table of each database."""
    found: dict[str, int] = {}
    for role, table in COUNTED.items():
        with contextlib.closing(login(stack, role, role)) as connection, connection.cursor() as cursor:
            cursor.execute(f"select count(*) from {table}")
            found[role] = (cursor.fetchone() or (0,))[0]
    return found


def answers(stack: Stack) -> dict[str, bytes]:
    """What the API says, by path. Each recommendation has an id of its own, which is left out."""
    paths = ["/popular", "/similar/1", f"/events/{NEW}", *(f"/recommendations/{user}?k=10" for user in USERS)]
    found = {path: _read(stack, path) for path in paths}
    return {path: re.sub(rb'"recommendation_id":"\w+",', b"", body) for path, body in found.items()}


def _read(stack: Stack, path: str) -> bytes:
    request = Request(stack.loopback.address("api") + path, headers={"X-API-Key": KEY})
    with urlopen(request, timeout=30) as answer:
        return answer.read()


def posted(stack: Stack, events: list[dict[str, Any]]) -> set[str]:
    """Post events, and wait until landing files have them; returns their ids."""
    ids = set(post(stack, "/events", events)["event_ids"])
    eventually(lambda: ids <= set(served_events(stack)), 120, "events do not become landing files")
    return ids


def test_the_same_release_is_served_elsewhere_after_the_machine_is_lost(stack: Stack, tmp_path: Path) -> None:
    saved = posted(stack, [{**view(n), "user_id": NEW, "event_id": f"saved-{n}"} for n in range(3)])
    before, answered, counted = get(stack, "/release"), answers(stack), rows(stack)
    assert counted == {"dagster": 1, "mlflow": 1, "events": 3, "recommendations": 20 * len(USERS)}
    assert all(f'"{one}"'.encode() in answered[f"/events/{NEW}"] for one in saved)
    (tmp_path / "backup").mkdir()
    run(stack, "pg_dump", tmp_path)
    assert {path.name for path in (tmp_path / "backup").iterdir()} == {f"{role}.dump" for role in COUNTED}
    # An event between dump and copy is in a landing file that the dumped database does not know of.
    between = posted(stack, [{**view(3), "event_id": "between"}])
    objects = copied(stack)

    for service in stack.running.values():
        service.kill()

    with stack_in(tmp_path / "elsewhere", stack.variables, SETTINGS) as other:
        other.once("bucket")
        run(other, "pg_restore", tmp_path)
        assert rows(other) == counted
        for key in [*(key for key in objects if key != POINTER), POINTER]:
            bucket(other).put_object(Bucket="recsys", Key=key, Body=objects[key])
        other.start("api")
        eventually(lambda: serves(other, DAY), 120, "the restored release is not served")
        assert {**get(other, "/release"), "loaded_at": before["loaded_at"]} == before
        assert answers(other) == answered
        later = posted(other, [{**view(9), "user_id": NEW, "event_id": "after"}])
        assert saved | between | later <= set(served_events(other)), "a landing file was written over"
