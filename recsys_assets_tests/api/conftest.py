from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from recsys_api.app import create_app
from recsys_api.settings import Settings


@pytest.fixture
def store_uri(tmp_path: Path) -> str:
    return (tmp_path / "store").as_uri()


@pytest.fixture
def make_settings(tmp_path: Path, store_uri: str) -> Callable[..., Settings]:
    def make(**overrides: object) -> Settings:
        values: dict[str, Any] = {
            "storage_uri": store_uri,
            "landing_uri": (tmp_path / "landing").as_uri(),
            "api_poll_seconds": 0.05,
            "api_cache_dir": tmp_path / "cache",
            **overrides,
        }
        return Settings(**values)

    return make


@contextmanager
def client_of(settings: Settings, *, wait_ready: bool = True) -> Generator[TestClient]:
    """A client of a running application, by default once it serves a release."""
    with TestClient(create_app(settings)) as client:
        if wait_ready:
            eventually(lambda: client.get("/health/ready").status_code == 200)
        yield client


def eventually(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.02)
