"""The landing zone on S3 is listed through dagster-aws, and holds what the store there says it holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys_assets.definitions import build_resources
from recsys_assets.ingest.landing import LandingZone
from recsys_assets.settings import load_settings
from recsys_assets.storage.uri import open_store
from recsys_assets_tests.s3_servers import S3Server


@pytest.mark.parametrize("prefix", ["", "/drop/here"])
def test_a_listing_of_s3_says_what_the_store_does(
    moto: S3Server, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", str(moto.options.endpoint))
    monkeypatch.setenv("AWS_DEFAULT_REGION", str(moto.options.region))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", str(moto.options.access_key_id))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", str(moto.options.secret_access_key))
    uri = f"s3://{moto.bucket}{prefix}"
    there = open_store(uri, moto.options)
    for name in ("events.csv", "old/events_1.csv.gz", "notes.txt", "experiments/order.yaml"):
        there.put(name, name.encode())
    if prefix:
        open_store(f"s3://{moto.bucket}", moto.options).put("drop/here_not/events.csv", b"of others")

    settings, dataset = load_settings(landing_uri=uri, storage_uri=str(tmp_path))
    zone: LandingZone = build_resources(settings, dataset)["landing"].zone()
    expected = {meta.key: (meta.size, meta.etag) for meta in there.list() if meta.key.endswith((".csv", ".csv.gz"))}
    assert {name: (file.size, file.fingerprint) for name, file in zone.listing().items()} == expected
    assert [file.name for file in zone.experiment_files()] == ["experiments/order.yaml"]
