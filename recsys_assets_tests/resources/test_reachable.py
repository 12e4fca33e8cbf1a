"""Whether MLflow can be reached is known in seconds, and no password is told."""

from __future__ import annotations

import socket
import sqlite3
from pathlib import Path

import pytest

from recsys_assets.resources.reachable import probe, without_password


def test_a_file_is_made_and_what_is_no_database_is_refused(tmp_path: Path) -> None:
    probe(f"sqlite:///{tmp_path}/new/runs.db")
    (tmp_path / "text.db").write_text("not a database " * 100)
    with pytest.raises(sqlite3.Error):
        probe(f"sqlite:///{tmp_path}/text.db")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        probe(f"sqlite:///{tmp_path}/file/runs.db")


@pytest.mark.parametrize("scheme", ["http", "postgresql", "postgresql+psycopg2"])
def test_somebody_has_to_listen(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        probe(f"{scheme}://me:secret@127.0.0.1:{port}/mlflow")
    with pytest.raises(ConnectionRefusedError):
        probe(f"{scheme}://me:secret@127.0.0.1:{port}/mlflow")


def test_passwords_are_not_told() -> None:
    uri = "postgresql://me:p%40ss@db/mlflow"
    assert without_password(uri, uri) == "postgresql://me:***@db/mlflow"
    assert without_password("cannot log in with p@ss", uri) == "cannot log in with ***"
    assert without_password("sqlite:////tmp/runs.db", "sqlite:////tmp/runs.db") == "sqlite:////tmp/runs.db"
