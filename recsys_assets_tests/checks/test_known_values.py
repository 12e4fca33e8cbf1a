"""The check that tells of values that nobody mapped."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import narwhals as nw
import polars as pl
import pytest

from recsys_assets.assets.events import known_values
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets.ingest.landing import LandingZone
from recsys_assets.ingest.listing import LandingFile, Listing
from recsys_assets.storage.local import LocalStore
from recsys_assets_tests.ingest.hostile import shop


@pytest.mark.parametrize("words", [(), ("lieferbar", "im zulauf")], ids=["not mapped", "mapped"])
def test_values_that_nobody_mapped_are_a_warning_with_the_values_and_their_rows(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    landing, said = LocalStore(tmp_path / "landing"), []
    lines = [
        f"{n},2025-01-0{1 + n % 2},stock,{word}" for n, word in enumerate(["lieferbar", "lieferbar", "im zulauf", "0"])
    ]
    data = "\n".join(["item,time,property,value", *lines]).encode()
    landing.put("props.csv", data)
    zone = LandingZone(
        shop(properties={"availability": {"available": words}}),
        LocalStore(tmp_path / "store"),
        lambda: landing,
        lambda wanted, under: Listing((LandingFile("", "props.csv", len(data), "1"),), {}),
        PolarsEngine().scan,
    )
    zone.accept(zone.changes(), said.append)
    result = known_values(zone, "properties")("2025-01-01", nw.from_native(pl.LazyFrame()))
    assert (result.passed, result.severity) == (bool(words), dg.AssetCheckSeverity.WARN)
    told = [line for line in said if "mean nothing" in line]
    if words:
        assert (result.metadata["rows"].value, told) == (0, [])
    else:
        assert result.metadata["props.csv"].value == {"available": {"im zulauf": 1, "lieferbar": 2}}
        assert len(told) == 1
        assert told[0].startswith("props.csv: available: 3 rows with values that mean nothing")
        assert "lieferbar" not in told[0], "logs hold no values"
