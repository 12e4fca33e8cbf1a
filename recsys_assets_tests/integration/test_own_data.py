"""A team's own data set, described as the README tells it: from its files to the answers that its shop gets."""

from __future__ import annotations

import gzip
import json
import random
import re
import shutil
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import dagster as dg
import polars as pl
import pytest
from fastapi.testclient import TestClient

from recsys_api.settings import Settings as ApiSettings
from recsys_assets.ingest.accepted import read_accepted
from recsys_assets_tests.api.conftest import client_of
from recsys_assets_tests.integration.world import World, dagster_in, make_world
from recsys_assets_tests.test_readme import dataset_example

START, DAYS = datetime(2025, 1, 1, tzinfo=UTC), 20
LAST = "2025-01-20"
WARM = "Zoë/Ωmega 1"
"""An id as a shop may have it: no ASCII, a slash, a space."""
TASTES = {taste: [f"{taste}/№{n}" for n in range(15)] for taste in ("crème", "schuhe")}
BAD = {
    "unknown event type": {"customer": "u1", "sku": "crème/№1", "action": "wishlist", "time": "2025-01-05T10:00:00Z"},
    "null item_id": {"customer": "u1", "action": "view", "time": "2025-01-05T10:00:00Z"},
    "unparsable ts": {"customer": "u1", "sku": "crème/№1", "action": "view", "time": "yesterday"},
    "time outside the allowed span": {"customer": "u1", "sku": "crème/№1", "action": "view", "time": "2024-12-31"},
}
EMBEDDINGS = """
[embeddings]
files = ["vectors*"]
columns = { item_id = "sku", embedding = "vector" }
"""
UNSEEN = {taste: f"{taste}/new" for taste in TASTES}
"""Items of which nothing is known but what they are like."""
SMALL = {"training_windows": 1, "tuning_trials": 1, "candidates_k": 20}


def shop_events() -> Iterator[dict[str, Any]]:
    """Shoppers of two tastes who look around and buy within them; every tenth event is of nobody in particular."""
    rng = random.Random(7)
    shoppers = [(WARM, "crème"), *((f"{taste}-{n}", taste) for taste in TASTES for n in range(20))]
    for day in range(DAYS):
        for shopper, taste in shoppers:
            if shopper != WARM and rng.random() < 0.5:
                continue
            time = START + timedelta(days=day, seconds=rng.randrange(80_000))
            for item in rng.sample(TASTES[taste], 4):
                time += timedelta(minutes=1)
                action = rng.choices(["view", "cart", "buy"], [6, 2, 1])[0]
                customer = "anonymous" if rng.random() < 0.1 else shopper
                yield {"customer": customer, "sku": item, "action": action, "time": time.isoformat(), "page": [1, "x"]}


def shop_vectors() -> Iterator[dict[str, Any]]:
    """Vectors by which the items of a taste, those that nobody ever saw among them, are alike."""
    rng = random.Random(3)
    for at, (taste, items) in enumerate(TASTES.items()):
        for item in (*items, UNSEEN[taste]):
            yield {"sku": item, "vector": [rng.gauss(1 if one == at else 0, 0.1) for one in range(3)]}


def write_gz(path: Path, rows: list[dict[str, Any]], *more: str) -> None:
    lines = [*(json.dumps(row, ensure_ascii=False) for row in rows), *more]
    path.write_bytes(gzip.compress("\n".join(lines).encode()))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("shop")
    (folder / "dataset.toml").write_text(dataset_example() + EMBEDDINGS)
    events = list(shop_events())
    random.Random(1).shuffle(events)  # files hold any days, in any order
    with dagster_in(tmp_path_factory.mktemp("dagster")) as instance:
        world = make_world(folder, instance, dataset=str(folder / "dataset.toml"), **SMALL)
        (world.landing / "old").mkdir()
        write_gz(world.landing / "events-1.jsonl.gz", [*events[::3], *BAD.values()], '{"customer": "cut o')
        write_gz(world.landing / "events-2.jsonl.gz", events[1::3])
        write_gz(world.landing / "old" / "events-3.jsonl.gz", events[2::3])
        (world.landing / "vectors.jsonl").write_text("\n".join(map(json.dumps, shop_vectors())))
        (world.landing / "notes.txt").write_text("not an event file: the data set does not name it")
        with world.materializer() as materializer:
            assert materializer.catch_up() == LAST
        yield world


@contextmanager
def api_of(world: World) -> Generator[TestClient]:
    with client_of(ApiSettings(storage_uri=world.settings.storage_uri, api_poll_seconds=0.05)) as client:
        yield client


def test_a_shop_gets_answers_for_its_own_ids(shop: World) -> None:
    with api_of(shop) as api:
        warm = api.get(f"/recommendations/{quote(WARM, safe='')}?k=5").json()
        cold = api.get("/recommendations/no-such-customer?k=5").json()
        similar = api.get(f"/similar/{quote('crème/№3', safe='')}?k=5").json()
        popular = api.get("/popular?k=5").json()
        release = api.get("/release").json()
    assert release["as_of"] == LAST
    assert release["facts"]["ids"] == {"user": "string", "item": "string"}
    assert (warm["user_id"], warm["personalised"]) == (WARM, True)
    assert [one["rank"] for one in warm["items"]] == [1, 2, 3, 4, 5]
    assert {one["item_id"] for one in warm["items"]} <= set(TASTES["crème"])
    assert not cold["personalised"]
    assert [one["item_id"] for one in cold["items"]] == [one["item_id"] for one in popular["items"]]
    assert {one["item_id"] for one in similar["items"]} <= {*TASTES["crème"]} - {"crème/№3"}
    assert len(similar["items"]) == 5


def test_embeddings_of_the_shop_find_what_nobody_touched(shop: World) -> None:
    assets = shop.folder / "store" / "assets"
    vectors = pl.read_parquet(assets / "item_embeddings" / f"dt={LAST}" / "*.parquet")
    assert {row["item_id"]: row["embedding"] for row in vectors.to_dicts()} == {
        row["sku"]: pytest.approx(row["vector"]) for row in shop_vectors()
    }
    candidates = pl.read_parquet(assets / "candidates" / f"dt={LAST}" / "*.parquet")
    unseen = candidates.filter(pl.col("item_id").is_in([*UNSEEN.values()]), pl.col("nearest_rank") == 1)
    tastes = ["crème" if user == WARM else user.split("-")[0] for user in unseen["user_id"]]
    assert set(zip(tastes, unseen["item_id"], strict=True)) == set(UNSEEN.items())


def test_rows_that_are_no_events_are_kept_with_their_reason(shop: World) -> None:
    assets = shop.folder / "store" / "assets"
    clean = pl.read_parquet(assets / "clean_events" / "dt=*" / "*.parquet")
    rejected = pl.read_parquet(assets / "rejected_events" / "dt=*" / "*.parquet")
    assert sorted(rejected["reason"]) == sorted([*BAD, "not JSON"])
    assert set(rejected["source_file"]) == {"events-1.jsonl.gz"}
    raw = {row["reason"]: json.loads(row["raw"]) for row in rejected.to_dicts() if row["reason"] in BAD}
    assert raw == BAD
    events = list(shop_events())
    assert len(clean) == len(events)
    assert clean["user_id"].null_count() == sum(event["customer"] == "anonymous" for event in events)
    assert set(clean["source_file"]) == {"events-1.jsonl.gz", "events-2.jsonl.gz", "old/events-3.jsonl.gz"}


NEW = [{"customer": WARM, "sku": "crème/№1", "action": "view", "time": "2025-01-21T08:00:00Z"}] * 300


def without_column(path: Path) -> None:
    write_gz(path, [{name: value for name, value in row.items() if name != "sku"} for row in NEW])


def truncated(path: Path) -> None:
    write_gz(path, NEW)
    path.write_bytes(path.read_bytes()[:-20])


def bad_vector(path: Path) -> None:
    path.with_name("vectors-2.jsonl").write_text('{"sku": "crème/№1", "vector": [1, 2, null]}')


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            bad_vector,
            r"vectors-2\.jsonl: column 'vector' \(embedding\): expected a list of finite numbers, found .* in row 0",
        ),
        (without_column, r"events-4\.jsonl\.gz: column 'sku' \(item_id\) is missing"),
        (truncated, r"events-4\.jsonl\.gz: cannot be read as jsonl"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_and_stops_nothing(
    damage: Any, message: str, shop: World, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    for name in ("landing", "store"):
        shutil.copytree(shop.folder / name, tmp_path / name)
    world = make_world(tmp_path, instance, dataset=shop.settings.dataset, **SMALL)
    damage(world.landing / "events-4.jsonl.gz")
    before = world.hashes("assets", "releases")
    with world.materializer() as materializer:
        assert materializer.catch_up() == LAST
        (told,) = read_accepted(world.store.open()).quarantined.items()
    assert re.match(message, f"{told[0]}: {told[1].reason}")
    assert world.run("history", LAST).success
    data = {name: sha for name, sha in world.hashes("assets", "releases").items() if "_lineage" not in name}
    assert data == {name: sha for name, sha in before.items() if "_lineage" not in name}
    with api_of(world) as api:
        assert api.get("/release").json()["as_of"] == LAST
