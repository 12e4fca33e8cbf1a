"""Settings of the API: defaults, forms of an address, and errors that name the variable."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys_api.settings import SettingsError, load_settings


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DATASET", "STORAGE_URI", "API_POLL_SECONDS", "API_CACHE_DIR"):
        monkeypatch.delenv(f"RECSYS_{name}", raising=False)
    monkeypatch.chdir(tmp_path)


def test_defaults_serve_the_store_that_the_pipeline_fills(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert load_settings().storage_uri == (tmp_path / "data" / "store" / "retailrocket").as_uri()
    assert load_settings().api_poll_seconds == 5
    monkeypatch.setenv("RECSYS_DATASET", "movielens")
    monkeypatch.setenv("RECSYS_STORAGE_URI", "")
    assert load_settings().storage_uri == (tmp_path / "data" / "store" / "movielens").as_uri()


@pytest.mark.parametrize("uri", ["s3://bucket", "s3://bucket/some/prefix", "file:///srv/store"])
def test_addresses_stay_and_paths_become_addresses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, uri: str) -> None:
    monkeypatch.setenv("RECSYS_STORAGE_URI", uri)
    assert load_settings().storage_uri == uri
    monkeypatch.setenv("RECSYS_STORAGE_URI", "some store")
    assert load_settings().storage_uri == f"{tmp_path.as_uri()}/some%20store"


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("RECSYS_API_POLL_SECONDS", "0", "RECSYS_API_POLL_SECONDS: expected more than 0, found '0'"),
        ("RECSYS_API_POLL_SECONDS", "often", "RECSYS_API_POLL_SECONDS: expected a number"),
        ("RECSYS_STORAGE_URI", "gs://bucket", "RECSYS_STORAGE_URI: .*found one of scheme 'gs'"),
        ("RECSYS_STORAGE_URI", "s3:///prefix", "RECSYS_STORAGE_URI: .*s3://bucket/prefix"),
        ("RECSYS_STORAGE_URI", "file://relative/x", "RECSYS_STORAGE_URI: .*file:///path"),
        ("RECSYS_DATASET", "./my/dataset.toml", "RECSYS_STORAGE_URI must be set where RECSYS_DATASET is a file"),
    ],
)
def test_a_bad_value_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=message):
        load_settings()


def test_an_address_with_a_password_is_refused_without_showing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_STORAGE_URI", "s3://who:hunter2@bucket/x")
    with pytest.raises(SettingsError) as error:
        load_settings()
    assert "hunter2" not in str(error.value)
