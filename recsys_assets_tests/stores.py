"""The stores that tests run on: local files, moto, and (``-m s3_real``) Ceph.

Tests of a package import these fixtures into its ``conftest``. Credentials come from the servers only: whatever
``AWS_*`` the environment has is taken away.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from recsys_assets.storage.objects import ObjectStore
from recsys_assets.storage.uri import open_store
from recsys_assets_tests.s3_servers import S3Server, with_new_bucket

NewStore = Callable[[], ObjectStore]
prefixes = itertools.count()


@pytest.fixture(scope="session")
def moto_bucket(moto_process: S3Server) -> S3Server:
    """One bucket for all stores of a session, which lie under prefixes of their own."""
    return with_new_bucket(moto_process)


@pytest.fixture(params=["local", "moto_bucket", pytest.param("ceph", marks=pytest.mark.s3_real)])
def new_store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NewStore:
    """Makes empty stores of one kind."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    if request.param == "local":
        return lambda: open_store((tmp_path / f"store {next(prefixes)}").as_uri())
    server: S3Server = request.getfixturevalue(request.param)
    return lambda: open_store(f"s3://{server.bucket}/some/prefix-{next(prefixes)}", server.options)


@pytest.fixture
def store(new_store: NewStore) -> ObjectStore:
    return new_store()
