"""Dagster's history of one store never shows under another."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from recsys_assets.cli.home import dagster_home

ROOT = Path(__file__).resolve().parents[2]


def test_each_store_has_an_instance_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    (tmp_path / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    books, shoes = (dagster_home(tmp_path, uri) for uri in ("file:///a/store", "s3://bucket/store"))
    assert books != shoes
    assert dagster_home(tmp_path, "file:///a/store") == books
    with dg.DagsterInstance.from_config(str(books)) as of_books:
        of_books.report_runless_asset_event(dg.AssetMaterialization("clean_events", partition="2025-01-01"))
    with dg.DagsterInstance.from_config(str(shoes)) as of_shoes:
        assert not of_shoes.get_materialized_partitions(dg.AssetKey("clean_events"))
        assert not of_shoes.all_asset_keys()
    with dg.DagsterInstance.from_config(str(dagster_home(tmp_path, "file:///a/store"))) as again:
        assert again.get_materialized_partitions(dg.AssetKey("clean_events")) == {"2025-01-01"}
        assert again.run_coordinator.dequeue_interval_seconds == 1, "the rest is as dagster.yaml has it"  # type: ignore[attr-defined]
    written = {path.relative_to(tmp_path).parts[:2] for path in tmp_path.rglob("*") if path.is_file()}
    assert {parts[0] for parts in written} == {".dagster", "dagster.yaml"}
    assert {parts[1] for parts in written if len(parts) > 1} == {books.name, shoes.name}


def test_a_stated_home_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "stated"))
    assert dagster_home(ROOT, "file:///a/store") == tmp_path / "stated"
