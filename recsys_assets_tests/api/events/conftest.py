"""Stores of events on a real SQLite file and on a real PostgreSQL."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest

from recsys_api.events.event import Event
from recsys_assets_tests.postgres_server import create_database, postgres_server

PASSWORD = "a-word"
NOW = 1_767_225_600_000_000
"""2026-01-01, in microseconds since 1970."""

_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres_port() -> Iterator[int]:
    with postgres_server(PASSWORD) as port:
        yield port


@pytest.fixture(scope="session")
def postgres_url(postgres_port: int) -> str:
    return create_database(postgres_port, PASSWORD, "events")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.stack)])
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes URLs of empty stores."""

    def make() -> str:
        name = f"events{next(_numbers)}"
        if request.param == "sqlite":
            return f"sqlite:///{tmp_path / name}.sqlite"
        url: str = request.getfixturevalue("postgres_url")
        with contextlib.closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(f"create schema {name}")  # a database of its own would be megabytes of files
        return f"{url}?search_path={name}"

    return make


@pytest.fixture
def url(new_url: Callable[[], str]) -> str:
    return new_url()


def event(event_id: str, user_id: int | str = 1, item_id: int | str = 2, ts: int = 0, kind: str = "view") -> Event:
    return Event(event_id, user_id, item_id, kind, NOW + ts)
