"""What visitors do today, and what changes in the catalogue, is served at once and is part of tomorrow's release."""

from __future__ import annotations

import gzip
import json
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import dagster as dg
import polars as pl
import pytest
from fastapi.testclient import TestClient

from recsys_api.settings import Settings
from recsys_assets_tests.api.conftest import client_of, eventually
from recsys_assets_tests.integration.test_erase_user import erase
from recsys_assets_tests.integration.world import World, make_world

pytestmark = pytest.mark.graph

NEXT_DAY = "2015-06-02"
NOON = datetime(2015, 6, 2, 12, tzinfo=UTC)
VISITOR, NEW_ITEM = 987_654_321, 987_654_321


@pytest.fixture
def world(built: World, sample: Path, tmp_path: Path, instance: dg.DagsterInstance) -> World:
    """A copy of the built world with a landing zone of its own."""
    shutil.copytree(sample, tmp_path / "landing")
    shutil.copytree(built.folder / "store", tmp_path / "store")
    return make_world(tmp_path, instance)


@pytest.fixture
def at_noon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The clock of the API is in the day after the release."""
    real = time.time_ns
    behind = real() - int(NOON.timestamp() * 1e9)
    monkeypatch.setattr(time, "time_ns", lambda: real() - behind)
    yield
    monkeypatch.undo()


def answer(client: TestClient, user: int) -> dict[str, Any]:
    response = client.get(f"/recommendations/{user}?k=20")
    assert response.status_code == 200, response.text
    return response.json()


def seen(answer: dict[str, Any], place: int) -> dict[str, Any]:
    """The event that an item of an answer was shown."""
    item = answer["items"][place]
    return {
        "user_id": VISITOR,
        "event_type": "impression",
        "placement": "home",
        "position": item["rank"],
        **{name: item[name] for name in ("item_id", "source")},
        **{name: answer[name] for name in ("recommendation_id", "release_id")},
    }


def partition(world: World, asset: str) -> list[dict[str, Any]]:
    return pl.read_parquet(world.folder / "store" / "assets" / asset / f"dt={NEXT_DAY}" / "*.parquet").to_dicts()


def expect_attributed(world: World, answer: dict[str, Any], items: list[Any]) -> None:
    """The click goes to the very impression that it names, down to its row in the landing zone."""
    found = {(row["item_id"], row["event_type"]): row for row in partition(world, "attribution")}
    assert set(found) == {*((item, "view") for item in items), (items[1], "transaction")}
    click = found[items[0], "view"]
    assert click["attributed_by"] == "recommendation_id"
    wanted = seen(answer, 0)
    names = ("user_id", "item_id", "placement", "position", "source", "recommendation_id", "release_id")
    assert {name: click[name] for name in names} == {name: wanted[name] for name in names}
    lines = gzip.decompress((world.landing / click["impression_file"]).read_bytes()).splitlines()
    line = json.loads(lines[click["impression_row"]])
    assert {name: line[name] for name in wanted} == wanted
    assert [found[items[1], kind]["attributed_by"] for kind in ("view", "transaction")] == ["last_touch"] * 2
    assert found[items[1], "transaction"]["target"] is True

    lineage = world.lineage("attribution", NEXT_DAY)
    assert {source.asset for source in lineage.inputs} == {"impressions", "clean_events"}
    shown = world.lineage("impressions", NEXT_DAY)
    assert shown.rows == 4
    files = world.folder.glob("store/staging/impressions/*/index.json")
    names_of_files = {path.parent.name: json.loads(path.read_bytes())["name"] for path in files}
    assert names_of_files == dict.fromkeys(cast("list[str]", shown.params["files"]), click["impression_file"])


def known(client: TestClient, item: int) -> dict[str, Any]:
    body = client.get(f"/items/{item}").json()
    return {name: body[name] for name in ("known", "available", "price", "category", "changed")}


def test_what_happens_today_changes_the_next_answer_and_the_release_of_tomorrow(world: World, at_noon: None) -> None:
    settings = Settings(
        storage_uri=world.settings.storage_uri,
        landing_uri=world.settings.landing_uri,
        events_url=f"sqlite:///{world.folder}/events.sqlite",  # type: ignore[arg-type]
        api_open_writes=True,
        api_export_seconds=0.2,
        api_poll_seconds=0.1,
    )
    with client_of(settings) as client:
        before = answer(client, VISITOR)
        assert before["personalised"] is False
        items = [item["item_id"] for item in before["items"][:3]]
        shown = [seen(before, place) for place in range(3)]
        # The item was shown before, and again by another answer afterwards: the click names the one that caused it.
        other = {**shown[0], "recommendation_id": "another", "placement": "cart"}
        assert client.post("/events", json=[*shown, other]).status_code == 200
        answered = {"recommendation_id": before["recommendation_id"]}
        events: list[dict[str, Any]] = [{"user_id": VISITOR, "item_id": item, "event_type": "view"} for item in items]
        events[0] |= answered
        events += [{"user_id": VISITOR, "item_id": items[1], "event_type": "transaction"}]
        assert client.post("/events", json=events).status_code == 200
        after = answer(client, VISITOR)
        assert after["personalised"] is True
        assert [item["item_id"] for item in after["items"]] != [item["item_id"] for item in before["items"]]
        gone = after["items"][-1]["item_id"]
        assert known(client, gone)["available"] is True
        assert client.put(f"/items/{gone}", json={"available": False, "price": 12.5}).status_code == 200
        new = {"item_id": NEW_ITEM, "category": "1051", "price": 3, "brand": "Ada", "title": "A new thing"}
        assert client.put("/items", json=[new]).status_code == 200
        category = known(client, gone)["category"]
        assert known(client, gone) | {"changed": set(known(client, gone)["changed"])} == {
            "known": True, "available": False, "price": 12.5, "category": category, "changed": {"available", "price"},
        }  # fmt: skip
        assert gone not in [item["item_id"] for item in answer(client, VISITOR)["items"]]
        eventually(lambda: len(list(world.landing.glob("served/*"))) == 3)
    files = sorted(path.name.partition("-")[0] for path in world.landing.glob("served/*"))
    assert files == ["events", "impressions", "items"]

    day_ms = 86_400_000
    shop = pl.read_csv(world.landing / "events.csv", infer_schema=False).with_columns(
        pl.col("timestamp").cast(pl.Int64)
    )
    last = shop.filter(pl.col("timestamp") >= pl.col("timestamp").max() - day_ms)
    last.with_columns(pl.col("timestamp") + day_ms).write_csv(world.landing / "events-of-the-shop.csv")
    with world.materializer() as materializer:
        assert materializer.catch_up() == NEXT_DAY
    clean = pl.read_parquet(world.folder / "store" / "assets" / "clean_events" / f"dt={NEXT_DAY}" / "*.parquet")
    mine = clean.filter(pl.col("user_id") == VISITOR)
    assert sorted(mine["item_id"]) == sorted([*items, items[1]]), "an impression is no event of the data set"
    expect_attributed(world, before, items)

    features = pl.read_parquet(world.folder / "store" / "assets" / "item_features" / f"dt={NEXT_DAY}" / "*.parquet")
    (row,) = features.filter(pl.col("item_id") == gone).rows(named=True)
    assert (row["available"], row["price"], row["category_id"]) == (False, 12.5, category)
    (row,) = features.filter(pl.col("item_id") == NEW_ITEM).rows(named=True)
    assert (row["available"], row["price"], row["category_id"]) == (True, 3.0, "1051")
    assert (row["brand"], row["title"]) == ("Ada", "A new thing")

    with client_of(settings) as client:
        assert client.get("/release").json()["as_of"] == NEXT_DAY
        assert known(client, gone) == {
            "known": True, "available": False, "price": 12.5, "category": category, "changed": {},
        }, "the release knows by itself"  # fmt: skip
        new = client.get(f"/items/{NEW_ITEM}").json()
        assert (new["known"], new["brand"], new["title"]) == (True, "Ada", "A new thing")
        assert gone not in [item["item_id"] for item in answer(client, VISITOR)["items"]]
        tomorrow = client.get(f"/recommendations/{VISITOR}?k=20&mode=offline").json()
        assert tomorrow["mode"] == "offline", "the visitor has a list of their own"
        names = {file["name"] for file in client.get(f"/lineage/{world.served_release()}").json()["landing_files"]}
        assert {name.partition("-")[0] for name in names if name.startswith("served/")} == {
            "served/events",
            "served/items",
        }

    assert metadata_of_report(world)["not_final"] == 4, "of the day itself: something may follow from them yet"
    assert erase(world, VISITOR).success
    for asset in ("clean_events", "impressions", "attribution"):
        assert not [row for row in partition(world, asset) if row["user_id"] == VISITOR], asset
    assert world.lineage("impressions", NEXT_DAY).rows == 0
    for path in (*world.landing.glob("served/events-*"), *world.landing.glob("served/impressions-*")):
        assert str(VISITOR).encode() not in gzip.decompress(path.read_bytes()), path.name
    checks = world.run("history", NEXT_DAY).get_asset_check_evaluations()
    erased = {check.asset_key.to_user_string(): check for check in checks if check.check_name == "rows_add_up"}
    assert {name: check.passed for name, check in erased.items()} == {"clean_events": True, "impressions": True}


def metadata_of_report(world: World) -> dict[str, Any]:
    wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey("feedback_report"), asset_partitions=[NEXT_DAY])
    (record,) = world.instance.fetch_materializations(wanted, limit=1).records
    assert record.asset_materialization is not None
    return {name: value.value for name, value in record.asset_materialization.metadata.items()}
