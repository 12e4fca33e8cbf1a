"""``make sql``: every asset is a view, and a query gets an answer or an error, never a traceback."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_assets.cli import sql
from recsys_assets.core.contracts import CLEAN_EVENTS, IdTypes, arrow_schema
from recsys_assets.storage.lineage import Lineage
from recsys_assets.storage.objects import ObjectStore
from recsys_assets.storage.partition_store import PartitionStore
from recsys_assets.storage.releases import Releases
from recsys_assets.storage.uri import open_store
from recsys_assets_tests.s3_servers import S3Server

SCHEMA = arrow_schema(CLEAN_EVENTS, IdTypes("string", "int64"))


def fill(store: ObjectStore, folder: Path) -> None:
    """Two days of events of one user, an asset of empty days, and two releases."""
    when = datetime(2015, 5, 3, 23, 30, tzinfo=UTC)
    row: dict[str, Any] = dict.fromkeys(SCHEMA.names) | {"user_id": "o'neil", "item_id": 0, "ts": when}
    row |= {"event_type": "view", "source_file": "a.csv", "source_row": 0}
    partitions = PartitionStore(store)
    for asset, day, rows in (
        ("clean_events", "2015-05-03", [row]),
        ("clean_events", "2015-05-04", [row, row]),
        ("rejected_events", "2015-05-03", []),
    ):
        path = folder / f"{asset}-{day}.parquet"
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path)
        partitions.write(asset, day, path, Lineage(asset, day, len(rows), "1"))
    store.put("assets/clean_events/dt=2015-05-05/data.parquet", b"cut off before its lineage")
    store.put("assets/ranker/dt=2015-05-03/model.cbm", b"no table")
    for day in ("2015-05-03", "2015-05-04"):
        Releases(store).publish(day, {"lists": path}, {"served_by": "fused"})


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = tmp_path / "it's a store"
    fill(open_store(str(folder)), tmp_path)
    monkeypatch.setenv("RECSYS_STORAGE_URI", str(folder))
    return str(folder)


def test_assets_are_views_with_the_day_as_a_date(uri: str) -> None:
    connection = sql.connect(open_store(uri))

    def ask(question: str) -> list[tuple[Any, ...]]:
        return connection.execute(question).fetchall()

    assert ask("SELECT dt::VARCHAR, typeof(dt), count(*) FROM clean_events GROUP BY dt ORDER BY dt") == [
        ("2015-05-03", "DATE", 1),
        ("2015-05-04", "DATE", 2),
    ]
    assert ask("SELECT count(*) FROM clean_events WHERE user_id = 'o''neil' AND dt > DATE '2015-05-03'") == [(2,)]
    assert ask("SELECT DISTINCT typeof(ts), ts::VARCHAR FROM clean_events") == [
        ("TIMESTAMP WITH TIME ZONE", "2015-05-03 23:30:00+00")
    ]
    assert ask("SELECT count(*), max(ts) FROM rejected_events") == [(0, None)]
    assert ask("SELECT as_of::VARCHAR, served, served_by FROM releases ORDER BY 1") == [
        ("2015-05-03", False, "fused"),
        ("2015-05-04", True, "fused"),
    ]
    assert [name for (name,) in ask("SHOW TABLES")] == ["clean_events", "rejected_events", "releases"]


def test_s3(tmp_path: Path, moto: S3Server) -> None:
    store = open_store(f"s3://{moto.bucket}/some/prefix", moto.options)
    fill(store, tmp_path)
    assert sql.connect(store).execute("SELECT count(*), max(dt)::VARCHAR FROM clean_events").fetchall() == [
        (3, "2015-05-04")
    ]


def test_statements_are_answered_in_order(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert sql.main(["-c", "CREATE TABLE a AS SELECT 41 + 1 AS x; SELECT x FROM a; SELECT ts FROM clean_events"]) == 0
    out = capsys.readouterr().out
    assert out.index("42") < out.index("2015-05-03 23:30:00+00")


@pytest.mark.parametrize("script", ["SELECT * FROM nothing", "SELECT 1; SELEC 2", "SELECT 1/0 + ("])
def test_an_error_is_told_and_ends_with_1(uri: str, script: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert sql.main(["-c", script]) == 1
    err = capsys.readouterr().err
    assert "Error" in err
    assert "Traceback" not in err


def test_what_is_piped_in_is_run_and_no_row_is_left_out(
    uri: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("SELECT range AS n, repeat('y', 300) AS y\nFROM range(3000);"))
    assert sql.main([]) == 0
    out = capsys.readouterr().out
    assert all(f" {n} " in out for n in range(3000))
    assert "y" * 300 in out


def test_a_store_without_assets_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RECSYS_STORAGE_URI", str(tmp_path / "none"))
    assert sql.main(["-c", "SELECT 1"]) == 1
    assert "none holds no assets yet: 'make run' builds them" in capsys.readouterr().err


def test_the_prompt(uri: str, tmp_path: Path) -> None:
    """On a terminal: statements over several lines, an error that ends nothing, views, history, the end."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "recsys_assets.cli.sql"],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env={**os.environ, "HOME": str(tmp_path), "TERM": "dumb"},
    )
    os.close(follower)
    typed = ["SELECT 'a;", "b',", "6006 * 7007 AS y;", "SELECT nothing;", ".tables", "SELECT 7007 * 9009;", ".quit"]
    os.write(leader, "".join(f"{line}\n" for line in typed).encode())
    shown = b""
    try:
        while chunk := os.read(leader, 65536):
            shown += chunk
    except OSError:  # how Linux says that the other end is closed
        pass
    finally:
        os.close(leader)
    assert process.wait(60) == 0
    text = shown.decode()
    assert [text.index(part) for part in ("42084042", "Binder Error", "rejected_events", "63126063")] == sorted(
        text.index(part) for part in ("42084042", "Binder Error", "rejected_events", "63126063")
    )
    assert "Traceback" not in text
    assert "6006 * 7007 AS y;" in (tmp_path / ".recsys_sql_history").read_text()
