"""Whatever opens the store of the deployment checks its layout."""

from __future__ import annotations

from pathlib import Path

import pytest
from dagster_aws.s3 import S3Resource

from recsys_assets.cli.__main__ import main
from recsys_assets.resources.store import StoreResource
from recsys_assets.storage.layout import KEY, LayoutError


def test_a_store_is_marked_or_refused_when_it_is_opened(tmp_path: Path) -> None:
    StoreResource(uri=str(tmp_path / "new"), s3=S3Resource()).open()
    assert (tmp_path / "new" / KEY).exists()
    (tmp_path / "old" / "assets" / "top_popular").mkdir(parents=True)
    (tmp_path / "old" / "assets" / "top_popular" / "data.parquet").write_bytes(b"rows")
    store = StoreResource(uri=str(tmp_path / "old"), s3=S3Resource())
    for call in (store.open, store.partitions, store.releases, store.open):
        with pytest.raises(LayoutError, match="written by an earlier version"):
            call()


def test_make_run_says_it_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "store" / "assets" / "top_popular").mkdir(parents=True)
    (tmp_path / "store" / "assets" / "top_popular" / "data.parquet").write_bytes(b"rows")
    (tmp_path / "landing").mkdir()
    (tmp_path / "landing" / "events.csv").write_text("timestamp,visitorid,event,itemid,transactionid\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("RECSYS_STORAGE_URI", str(tmp_path / "store"))
    monkeypatch.setenv("RECSYS_LANDING_URI", str(tmp_path / "landing"))
    assert main(["smoke"]) == 1
    lines = [line for line in "".join(capsys.readouterr()).splitlines() if "failed:" in line]
    assert len(lines) == 1
    assert "written by an earlier version" in lines[0]
