"""What visitors do today, and what changes in the catalogue, is served at once and is part of tomorrow's release."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from fastapi.testclient import TestClient

from recsys_api.settings import Settings
from recsys_assets_tests.api.conftest import client_of, eventually
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
        events = [{"user_id": VISITOR, "item_id": item, "event_type": "view"} for item in items]
        shown = {"recommendation_id": before["recommendation_id"], "placement": "home", "position": 1}
        events += [{"user_id": VISITOR, "item_id": items[0], "event_type": "impression", **shown}]
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
    assert sorted(mine["item_id"]) == sorted(items), "the impression is no event of the data set"

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
