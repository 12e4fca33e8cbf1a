"""For all tests."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from functools import cache, partial
from typing import Any

import pytest
from botocore.loaders import JSONFileLoader
from sqlalchemy import Engine, event

from recsys_assets_tests.s3_servers import S3Server, ceph_server, moto_server, with_new_bucket


@event.listens_for(Engine, "connect")
def do_not_wait_for_the_disk(connection: Any, _: object) -> None:
    """No database of a test is to outlive a power failure, and Dagster commits dozens of times for each step."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share a built graph come first.

    Side by side, a process that has nothing left takes tests from the end of another's list: it had to build its own.
    """
    items.sort(key=lambda item: "integration" not in item.path.parts)


@pytest.fixture(scope="session", autouse=True)
def descriptions_of_aws_are_parsed_once() -> Iterator[None]:
    """They are megabytes of JSON, for each session of boto3 anew, and each resource of a graph on S3 has its own."""
    once = cache(partial(JSONFileLoader.load_file, JSONFileLoader()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", lambda _, path: once(path))
        yield


@pytest.fixture(scope="session", autouse=True)
def copies_of_releases_go_with_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An API that no test has told otherwise keeps its copies here, not where that of this machine does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_API_CACHE_DIR", str(tmp_path_factory.mktemp("copies")))
        yield


@pytest.fixture(scope="session")
def moto_process() -> Iterator[S3Server]:
    """Started once: that takes seconds."""
    with moto_server() as server:
        yield server


@pytest.fixture(scope="session")
def ceph() -> Iterator[S3Server]:
    """Ceph's S3 server; started once, as moto's."""
    with ceph_server() as server:
        yield server


@pytest.fixture
def moto(moto_process: S3Server) -> S3Server:
    """moto's server with a bucket of the test's own."""
    return with_new_bucket(moto_process)
