"""One ``make run`` for a store: two would build the same days, and each would start sensors of its own."""

from __future__ import annotations

import os
from pathlib import Path

from recsys_assets.automation.locks import HeldLock, hold, holder_of
from recsys_assets.cli.services import LaunchError
from recsys_assets.storage.objects import sha256_bytes
from recsys_assets.storage.uri import open_store

LOCK = ".make-run.lock"


def only_one(storage_uri: str, command: str) -> HeldLock:
    """The lock of a store, to be kept as long as this process works on it; ``command`` is what others are told.

    A store on this machine has the lock in its folder. One on S3 has it in the home of the Dagster instance, so that
    others with the same home see it.

    Raises:
        LaunchError: another process works on it; the message names the process and since when.
    """
    path = _path(storage_uri)
    held = hold(path, command)
    if held is None:
        raise LaunchError(
            f"{holder_of(path)} works on {storage_uri} already: stop it first, or name another store with "
            "RECSYS_STORAGE_URI"
        )
    return held


def _path(storage_uri: str) -> Path:
    if not storage_uri.startswith("s3://"):
        return Path(open_store(storage_uri).uri()) / LOCK
    name = f"make-run-{sha256_bytes(storage_uri.encode())[:16]}.lock"
    return Path(os.environ["DAGSTER_HOME"]) / ".dagster" / name
