"""What tests ask of the running services: the bucket, the API, PostgreSQL, Dagster, Prometheus."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable
from math import isnan
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import boto3
import psutil
import psycopg2

from recsys_assets.storage.objects import ObjectStore
from recsys_assets.storage.s3_options import S3Options
from recsys_assets.storage.uri import open_store
from recsys_assets_tests.stack.running import Stack

KEY = "a-write-key-of-the-tests"


def eventually(holds: Callable[[], bool], seconds: float, otherwise: str | Callable[[], str]) -> None:
    """Ask until it is so, or fail saying what is so instead."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, otherwise if isinstance(otherwise, str) else otherwise()
        time.sleep(0.5)


def bucket(stack: Stack) -> Any:
    """A client of the S3 server."""
    options = s3_options(stack)
    given = {"aws_access_key_id": options.access_key_id, "aws_secret_access_key": options.secret_access_key}
    return boto3.client("s3", "us-east-1", endpoint_url=options.endpoint, **given)


def s3_options(stack: Stack) -> S3Options:
    """Where the S3 server is, with the keys of the code server."""
    environment = stack.loopback.environment("code")
    keys = (environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"])
    return S3Options(environment["AWS_ENDPOINT_URL"], "us-east-1", *keys)


def store_of(stack: Stack) -> ObjectStore:
    """The store of the platform."""
    return open_store(stack.loopback.environment("code")["RECSYS_STORAGE_URI"], s3_options(stack))


def get(stack: Stack, path: str, name: str = "api") -> Any:
    """A JSON document of a service."""
    with urlopen(stack.loopback.address(name) + path, timeout=30) as answer:
        return json.load(answer)


def post(stack: Stack, path: str, document: Any, name: str = "api") -> Any:
    """What a service answers to a JSON document; None if nothing."""
    headers = {"Content-Type": "application/json", "X-API-Key": KEY}
    request = Request(stack.loopback.address(name) + path, json.dumps(document).encode(), headers)
    with urlopen(request, timeout=60) as answer:
        return json.loads(answer.read() or "null")


def graphql(stack: Stack, query: str) -> Any:
    """What Dagster's webserver answers."""
    return post(stack, "/graphql", {"query": query}, "webserver")["data"]


def prometheus(stack: Stack, path: str, **params: str) -> Any:
    """What Prometheus answers, below ``/api/v1``."""
    answer = get(stack, f"/api/v1/{path}?{urlencode(params)}", "prometheus")
    assert answer["status"] == "success", (params, answer)
    return answer["data"]


def series(stack: Stack, query: str) -> list[dict[str, Any]]:
    """What a query gives now."""
    return prometheus(stack, "query", query=query)["result"]


def has(stack: Stack, query: str) -> bool:
    """Whether a query gives a number."""
    return any(not isnan(float(one["value"][1])) for one in series(stack, query))


def rules_of(stack: Stack) -> list[dict[str, Any]]:
    """The rules that Prometheus evaluates."""
    return [rule for group in prometheus(stack, "rules")["groups"] for rule in group["rules"]]


def alarming(stack: Stack) -> set[str]:
    """Alerts that are pending or fire."""
    return {rule["name"] for rule in rules_of(stack) if rule["type"] == "alerting" and rule["state"] != "inactive"}


def login(stack: Stack, role: str, database: str) -> psycopg2.extensions.connection:
    """A connection to PostgreSQL."""
    return psycopg2.connect(url_of(stack, role, database))


def url_of(stack: Stack, role: str, database: str) -> str:
    """Where PostgreSQL has a database, with the password of a role."""
    password = stack.variables[f"{role.upper()}_DB_PASSWORD"]
    return f"postgresql://{role}:{password}@127.0.0.1:{stack.loopback.ports['postgres']}/{database}"


def serves(stack: Stack, day: str) -> bool:
    """Whether the API serves the release of a day."""
    try:
        return get(stack, "/release")["as_of"] == day
    except (HTTPError, OSError):
        return False


def built(stack: Stack, day: str) -> bool:
    """Whether the events of a day are in the store."""
    prefix = f"store/assets/item_activity/dt={day}/"
    return bool(bucket(stack).list_objects_v2(Bucket="recsys", Prefix=prefix)["KeyCount"])


def served_events(stack: Stack) -> list[str]:
    """Ids of the events that have come back as landing files."""
    listed = bucket(stack).list_objects_v2(Bucket="recsys", Prefix="landing/served/events-").get("Contents", [])
    bodies = [bucket(stack).get_object(Bucket="recsys", Key=one["Key"])["Body"].read() for one in listed]
    return [json.loads(line)["event_id"] for body in bodies for line in gzip.decompress(body).splitlines()]


def workers_of(stack: Stack) -> list[psutil.Process]:
    """The processes of the API that answer: a process which imports for all has forked them."""
    service = stack.running["api"]
    everyone = psutil.Process(service.pid).children(recursive=True)
    return [process for process in everyone if process.ppid() != service.pid and process.status() != "zombie"]
