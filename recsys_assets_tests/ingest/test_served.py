"""Events that were posted to the API come back as training data, of every data set and without its naming them."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from recsys_api.settings import Settings
from recsys_assets.core.dataset import Dataset, load_dataset
from recsys_assets.core.events.clean import CleanParams, clean_day
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets.erasure.person import Person, forget_staged
from recsys_assets.erasure.search import holders
from recsys_assets.ingest.landing import LandingZone
from recsys_assets.ingest.listing import list_landing
from recsys_assets.ingest.served import forget_served
from recsys_assets.ingest.suppression import suppress
from recsys_assets.storage.local import LocalStore
from recsys_assets_tests.api.conftest import client_of, eventually
from recsys_assets_tests.api.publishing import Content, publish

ROCKET = load_dataset("retailrocket").model_copy(update={"end_date": None})
RETAIL = load_dataset("online_retail").model_copy(update={"end_date": None})
DAY = "2026-01-01"
NAME = "served/events-000000000001-000000000009.jsonl.gz"
ITEMS = "served/items-000000000001-000000000009.jsonl.gz"
ROW = {
    "user_id": 1,
    "item_id": 2,
    "event_type": "view",
    "ts": f"{DAY}T12:00:00.000001Z",
    "order_id": None,
    "quantity": None,
    "price": None,
    "recommendation_id": None,
}


def zone(dataset: Dataset, folder: Path) -> LandingZone:
    landing = LocalStore(folder / "landing")
    store = LocalStore(folder / "store")
    return LandingZone(
        dataset, store, lambda: landing, partial(list_landing, landing), PolarsEngine().scan, most_deleted=0.0
    )


def put(folder: Path, name: str, *rows: dict[str, Any]) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    LocalStore(folder / "landing").put(name, gzip.compress(lines.encode()))


def clean(landing: LandingZone, day: str) -> list[dict[str, Any]]:
    return clean_day(landing.events(day), CleanParams()).collect().rows(named=True)


def test_a_posted_event_lands_in_the_clean_events_of_its_day(tmp_path: Path) -> None:
    uris: dict[str, Any] = {
        "storage_uri": (tmp_path / "releases").as_uri(),
        "landing_uri": (tmp_path / "landing").as_uri(),
    }
    types = {name: {"weight": kind.weight, "target": kind.target} for name, kind in ROCKET.event_types.items()}
    publish(uris["storage_uri"], "2015-08-02", Content({1: [2]}, {}, {"all": [2]}), event_types=types)
    ts = datetime.now(UTC) - timedelta(days=1)
    buy = {"user_id": 7, "item_id": 2, "event_type": "transaction", "order_id": "o1", "quantity": 2, "price": 9.5}
    with client_of(Settings(**uris, api_open_writes=True, api_export_seconds=0.1)) as client:
        shown = {"recommendation_id": "a", "release_id": "r", "placement": "home", "position": 3, "source": "sessions"}
        seen = {"user_id": 7, "item_id": 2, "event_type": "impression", "ts": ts.isoformat(), **shown}
        posted = [{**buy, "ts": ts.isoformat(), "recommendation_id": "a"}, seen]
        assert client.post("/events", json=posted).json()["accepted"] == 2
        eventually(lambda: len(list((tmp_path / "landing" / "served").glob("*.jsonl.gz"))) == 2)
    landing = zone(ROCKET, tmp_path)
    accepted = landing.accept(landing.changes())
    assert [file.kind for file in accepted.files.values()] == ["events", "impressions"]
    day = (ts - timedelta(hours=ROCKET.boundary_hours)).date().isoformat()
    (row,) = clean(landing, day)
    assert {name: row[name] for name in (*buy, "ts")} == {**buy, "ts": ts}, "the impression is no event"
    (impression,) = landing.impressions(day).collect().rows(named=True)
    assert {name: impression[name] for name in seen} == {**seen, "ts": ts}
    (answer,) = landing.answers(day).collect().rows(named=True)
    assert answer == {**{name: row[name] for name in ("source_file", "source_row")}, "recommendation_id": "a"}
    assert landing.changes() == {}


@pytest.mark.parametrize("dataset", [ROCKET, RETAIL], ids=["int64, without quantities", "one type, quantities"])
def test_served_files_have_our_columns_whatever_other_files_have(dataset: Dataset, tmp_path: Path) -> None:
    (name,) = list(dataset.event_types)[:1]
    ids = {side: "7" if getattr(dataset.ids, side) == "string" else 7 for side in ("user", "item")}
    rows = [
        {**ROW, "user_id": ids["user"], "item_id": ids["item"], "event_type": name},
        {**ROW, "user_id": ids["user"], "item_id": ids["item"], "event_type": name, "quantity": 1.5, "price": 0.0},
        {**ROW, "user_id": ids["user"], "item_id": ids["item"], "event_type": "nothing of the kind"},
    ]
    put(tmp_path, NAME, *rows)
    landing = zone(dataset, tmp_path)
    landing.accept(landing.changes())
    events = clean(landing, DAY)
    assert [(e["user_id"], e["item_id"], e["event_type"], e["source_file"]) for e in events] == [
        (ids["user"], ids["item"], name, NAME)
    ] * 2
    assert sorted((e["quantity"], e["price"]) for e in events if e["quantity"]) == [(1.5, 0.0)]
    (rejected,) = landing.rejected(DAY).collect().rows(named=True)
    assert rejected["reason"] == "unknown event type"


def test_patterns_of_a_data_set_do_not_reach_into_the_folder_of_the_api() -> None:
    events = ROCKET.events.model_copy(update={"files": ("events-*", "*.jsonl.gz", "served/*")})
    greedy = ROCKET.model_copy(update={"events": events})
    for dataset in (ROCKET, greedy):
        assert dataset.kind_of(NAME) == "events"
        assert dataset.of_file(NAME).events.columns.user_id == "user_id"
        assert dataset.kind_of("served/impressions-1-2.jsonl.gz") == "impressions"
        for other in (".events-1-2.jsonl.gz.x.tmp", "events-1-2.jsonl.gz.tmp", "x.csv"):
            assert dataset.kind_of(f"served/{other}") is None
    assert greedy.of_file("events-1.jsonl") is greedy


def test_live_events_of_other_days_hold_nothing_up_and_columns_do_not_differ(tmp_path: Path) -> None:
    ended = ROCKET.model_copy(update={"end_date": date(2025, 1, 1)})
    put(tmp_path, NAME, ROW, ROW)
    put(tmp_path, "served/events-000000000010-000000000010.jsonl.gz", {**ROW, "event_type": "other"}, ROW)
    (tmp_path / "landing" / "events.csv").write_text(
        "timestamp,visitorid,event,itemid,transactionid\n1735300800000,3,view,1,\n"
    )
    landing = zone(ended, tmp_path)
    accepted = landing.accept(landing.changes())
    assert {name: file.days for name, file in accepted.files.items() if file.days} == {"events.csv": ("2024-12-27",)}
    assert len(clean(landing, "2024-12-27")) == 1

    landing = zone(ROCKET, tmp_path)
    landing.accept(landing.changes())
    assert {row["source_file"] for row in clean(landing, DAY)} == {NAME}, (
        "the second file repeats an event of the first"
    )
    assert landing.differences(DAY) == landing.differences("2024-12-27") == {}


SHOWN = "served/impressions-000000000001-000000000009.jsonl.gz"
IMPRESSION = {
    "user_id": 1,
    "item_id": 2,
    "event_type": "impression",
    "ts": ROW["ts"],
    "recommendation_id": "a",
    "release_id": None,
    "placement": None,
    "position": None,
    "source": None,
}


def test_impressions_are_of_days_like_events_and_what_they_reject_is_counted(tmp_path: Path) -> None:
    ended = ROCKET.model_copy(update={"end_date": date(2026, 1, 2)})
    late = {**IMPRESSION, "ts": "2026-01-02T12:00:00Z"}
    put(tmp_path, SHOWN, IMPRESSION, {**IMPRESSION, "event_type": "dislike"}, {**IMPRESSION, "user_id": "x"}, late)
    landing = zone(ended, tmp_path)
    accepted = landing.accept(landing.changes())
    assert accepted.files[SHOWN].days == (DAY,)
    assert set(accepted.changed) == {DAY}
    assert accepted.event_days() == [], "a day on which something was shown is no day with events"
    assert [row["event_type"] for row in landing.impressions(DAY).collect().rows(named=True)] == [
        "impression",
        "dislike",
    ]
    assert len(landing.rejected(DAY, "impressions").collect()) == 2
    assert landing.rejected(DAY).collect().is_empty()
    assert landing.served_rejections("impressions") == {"time outside the allowed span": 1, "unparsable user_id": 1}
    assert landing.served_rejections("events") == {}


def test_a_person_is_erased_from_served_files_too(tmp_path: Path) -> None:
    put(tmp_path, NAME, ROW, {**ROW, "user_id": 5}, {**ROW, "user_id": 5, "event_type": "unknown"})
    put(tmp_path, SHOWN, IMPRESSION, {**IMPRESSION, "user_id": 5}, {**IMPRESSION, "user_id": 5, "event_type": "x"})
    landing = zone(ROCKET, tmp_path)
    landing.accept(landing.changes())
    store, person = LocalStore(tmp_path / "store"), Person(5, ROCKET)
    assert sum(holders(store, person).values()) == 4, "an event, an impression, and a rejected row of each"
    suppress(store, 5)
    assert [after.erased for _, after in forget_staged(store, person)] == [2, 2]
    assert holders(store, person) == {}
    put(tmp_path, "served/events-000000000010-000000000011.jsonl.gz", {**ROW, "user_id": 5}, {**ROW, "user_id": 6})
    seen = [{**IMPRESSION, "user_id": user} for user in (5, 6)]
    put(tmp_path, "served/impressions-000000000010-000000000011.jsonl.gz", *seen)
    landing = zone(ROCKET, tmp_path)
    landing.accept(landing.changes())
    assert [row["user_id"] for row in clean(landing, DAY)] == [1, 6]
    assert landing.impressions(DAY).collect()["user_id"].to_list() == [1, 6]
    assert landing.erased(DAY, "impressions") == 3
    assert holders(store, person) == {}


@pytest.mark.parametrize("user", [5, "5"])
def test_files_of_the_api_forget_a_person_and_no_other_file_is_touched(user: int | str, tmp_path: Path) -> None:
    impressions, copy = "served/impressions-000000000001-000000000009.jsonl.gz", "other/events-1.jsonl.gz"
    others = [{**ROW, "user_id": 5.5, "item_id": user}, {**ROW, "user_id": "5" if user == 5 else 5}, ROW]
    for name in (NAME, impressions, copy):
        put(tmp_path, name, others[0], {**ROW, "user_id": user}, *others[1:], {**ROW, "user_id": user})
    put(tmp_path, "served/events-000000000010-000000000010.jsonl.gz", {**ROW, "user_id": user})
    landing = LocalStore(tmp_path / "landing")
    before = {meta.key: meta.etag for meta in landing.list()}
    served = [name for name in before if name.startswith("served/")]
    assert sorted(forget_served(landing, served, user).values()) == [1, 2, 2]
    for name in (NAME, impressions):
        assert [json.loads(line) for line in gzip.decompress(landing.get(name)).splitlines()] == others
    assert landing.head(copy).etag == before[copy]
    assert forget_served(landing, served, user) == {}


def test_what_is_left_of_a_file_is_accepted_at_once(tmp_path: Path) -> None:
    lonely = "served/events-000000000010-000000000010.jsonl.gz"
    put(tmp_path, NAME, {**ROW, "user_id": 5}, ROW)
    put(tmp_path, lonely, {**ROW, "user_id": 5})
    landing = zone(ROCKET, tmp_path)
    landing.accept(landing.changes())
    zone(ROCKET, tmp_path).forget_served(5)
    landing = zone(ROCKET, tmp_path)
    assert landing.changes() == {}
    assert landing.accepted().deletions == (), "what an erasure rewrites has not vanished"
    assert [(row["user_id"], row["source_file"]) for row in clean(landing, DAY)] == [(1, NAME)]
    assert landing.files().files[lonely].days == ()


def changed(item: int | str, name: str, value: str, time: str = "12:00:00") -> dict[str, Any]:
    return {"item_id": item, "ts": f"{DAY}T{time}.000001Z", "property": name, "value": value}


@pytest.mark.parametrize("dataset", [ROCKET, RETAIL], ids=["with properties", "without"])
def test_changes_of_items_are_properties_of_every_data_set(dataset: Dataset, tmp_path: Path) -> None:
    item = "7" if dataset.ids.item == "string" else 7
    put(tmp_path, ITEMS, changed(item, "price", "9.5"), changed(item, "price", "8"), changed(item, "available", "0"))
    put(tmp_path, ITEMS.replace("01-", "10-"), changed(item, "price", "7.25", "13:00:00"), changed(item, "x", "1"))
    landing = zone(dataset, tmp_path)
    accepted = landing.accept(landing.changes())
    assert {file.kind for file in accepted.files.values()} == {"properties"}
    assert landing.changes() == {}
    rows = landing.properties(DAY).collect().rows(named=True)
    found = {(row["property"], row["ts"].hour): row["value"] for row in rows if row["item_id"] == item}
    assert found == {("price", 12): "8", ("available", 12): "0", ("price", 13): "7.25"}, (
        "of one moment, the last counts"
    )


def test_erasing_a_person_leaves_changes_of_items_alone(tmp_path: Path) -> None:
    put(tmp_path, ITEMS, changed(5, "price", "5"))
    put(tmp_path, NAME, {**ROW, "user_id": 5})
    landing = LocalStore(tmp_path / "landing")
    before = landing.get(ITEMS)
    notes: list[str] = []
    zone(ROCKET, tmp_path).forget_served(5, notes.append)
    assert notes == [f"{NAME}: 1 lines taken out"]
    assert landing.get(ITEMS) == before
