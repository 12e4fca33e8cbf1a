"""What people look at to trust the data, in a whole graph: the report, the bots, changes at the landing."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from recsys_assets_tests.integration.conftest import DAY
from recsys_assets_tests.integration.world import World, dagster_in, make_world

pytestmark = pytest.mark.graph


def parts(world: World, asset: str) -> pl.DataFrame:
    return pl.read_parquet(world.folder / "store" / "assets" / asset / "dt=*" / "data.parquet", hive_partitioning=True)


CRAWLER = 99_999_999


@pytest.fixture(scope="session")
def crawled(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The sample with a crawler, a new user, who reads an item every three seconds on two days and buys the last."""
    folder = tmp_path_factory.mktemp("crawled")
    landing = folder / "landing"
    shutil.copytree(sample, landing)
    events = pl.read_csv(landing / "events.csv", infer_schema=False)
    items = events["itemid"].unique(maintain_order=True).head(400)
    end = int(events["timestamp"].cast(pl.Int64).max())  # type: ignore[arg-type]
    crawl = [
        f"{end - days * 86_400_000 - 3_600_000 + 3_000 * n},{CRAWLER},{'transaction' if n == 399 else 'view'},{item},"
        for days in (6, 1)
        for n, item in enumerate(items)
    ]
    (landing / "events-crawler.csv").write_text("\n".join([",".join(events.columns), *crawl]) + "\n")
    with dagster_in(tmp_path_factory.mktemp("dagster")) as instance:
        world = make_world(folder, instance, landing_uri=str(landing))
        with world.materializer() as materializer:
            assert materializer.catch_up() == DAY
        yield world


def test_bots_are_kept_and_served_and_teach_nothing(crawled: World, built: World) -> None:
    flagged = parts(crawled, "bot_users").filter(pl.col("user_id") == CRAWLER)
    assert (flagged["reason"].to_list(), flagged["events"].to_list()) == (["pace", "pace"], [400, 400])
    for asset, there in {
        "clean_events": True,
        "user_activity": True,
        "candidates": True,
        "recommendations": True,
        "ranking_examples": False,
    }.items():
        assert (CRAWLER in parts(crawled, asset)["user_id"].to_list()) is there, asset
    taught = ("item_activity", "item_pairs", "item_factors", "similar_items", "ranking_examples")
    for asset in taught:
        assert parts(crawled, asset).equals(parts(built, asset)), asset


def figures(world: World, day: str = DAY) -> dict[str, Any]:
    page = world.folder / "store" / "assets" / "data_report" / f"dt={day}" / "report.html"
    found = re.search(r'<script type="application/json" id="figures">(.*)</script>', page.read_text("utf-8"))
    assert found
    return json.loads(found[1])


def test_report_tells_what_is_in_the_store(crawled: World) -> None:
    told = figures(crawled)
    clean = parts(crawled, "clean_events")
    window = clean.filter(pl.col("dt") >= pl.lit(told["days"][0]).str.to_date())
    assert len(told["days"]) == crawled.settings.report_days
    assert told["rows"]["window"]["clean"] == window.height
    assert told["rows"]["day"]["rejected"] == 0
    assert {one["type"]: sum(one["events"]) for one in told["volumes"]["types"]} == dict(
        window.group_by("event_type").len().iter_rows()
    )
    assert told["bots"]["by_day"][-2] >= 1
    assert {file["file"] for file in told["rows"]["files"]} == {"events.csv", "events-crawler.csv"}


def test_report_is_a_picture_in_the_ui(crawled: World) -> None:
    event = crawled.instance.get_latest_materialization_event(dg.AssetKey("data_report"))
    assert event is not None
    assert event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert str(metadata["report"].value).startswith("![events_per_day](<data:image/svg+xml,")
    assert str(metadata["page"].value).endswith(f"data_report/dt={DAY}/report.html")
    assert metadata["events"].value == figures(crawled)["rows"]["day"]["clean"]


def test_a_new_column_is_a_warning(crawled: World, tmp_path: Path, instance: dg.DagsterInstance) -> None:
    for name in ("landing", "store"):
        shutil.copytree(crawled.folder / name, tmp_path / name)
    world = make_world(tmp_path, instance)
    (world.landing / "events-late.csv").write_text(
        "timestamp,visitorid,event,itemid,transactionid,shelf\n1433199600000,5,view,7,,top\n"
    )
    result = world.run("history", DAY)
    assert result.success
    (check,) = [one for one in result.get_asset_check_evaluations() if one.check_name == "schema"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert check.metadata["events-late.csv"].value == "new column 'shelf' (text)"
