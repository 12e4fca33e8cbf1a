"""Erasing on a small graph: what is left, what is rebuilt, and that it may die anywhere and be started again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recsys_assets.core.dataset import Dataset, load_dataset
from recsys_assets.erasure.erase import Eraser, ErasureError
from recsys_assets.erasure.person import Person
from recsys_assets.erasure.report import Erasure, Rewritten
from recsys_assets.erasure.search import holders
from recsys_assets.ingest.suppression import UserId, read_suppressed
from recsys_assets.model_registry.experiment_models import MODEL_FILE, stored_as
from recsys_assets.storage.lineage import Input, Lineage
from recsys_assets.storage.objects import ObjectStore, sha256_object
from recsys_assets.storage.partition_store import PartitionStore
from recsys_assets.storage.releases import Releases
from recsys_assets.storage.uri import open_store
from recsys_assets_tests.erasure.toy import DAYS, MemoryStore, Toy
from recsys_assets_tests.s3_servers import S3Server
from recsys_assets_tests.storage.faults import Crash, Points, crash

NUMBERS = load_dataset("retailrocket")
NAMES = NUMBERS.model_copy(update={"ids": replace(NUMBERS.ids, user="string")})
NOON = 1430740800000
HEADER = "timestamp,visitorid,event,itemid,transactionid"
# Day, user, item: user 0 acts on the first two days and shares item 1 with others; only user 0 knows item 5.
EVENTS = [(0, 0, 1), (0, 1, 1), (0, 1, 2), (1, 0, 5), (1, 2, 1), (2, 1, 2), (2, 2, 3), (3, 1, 1), (3, 2, 3)]


def landing(events: Iterable[tuple[int, Any, int]]) -> bytes:
    rows = [f"{NOON + day * 86_400_000},{user},view,{item}," for day, user, item in events]
    return "\n".join([HEADER, *rows]).encode()


def made(store: ObjectStore, dataset: Dataset = NUMBERS, events: Any = EVENTS, **options: Any) -> Toy:
    toy = Toy(store, dataset, landing(events), **options)
    toy.build()
    return toy


def erase(toy: Toy, user: UserId, store: ObjectStore | None = None, rounds: int = 0) -> Erasure:
    waits = [True] * rounds
    eraser = Eraser(
        store or toy.store,
        Person(user, toy.dataset),
        toy.rebuild,
        lambda _: None,
        lambda: bool(waits) and waits.pop(),
    )
    return eraser.run()


def content(store: ObjectStore, *folders: str) -> dict[str, str]:
    metas = [meta for folder in folders for meta in store.list(folder)]
    return {meta.key: sha256_object(store, meta.key) for meta in metas if meta.key != "releases/current.json"}


def data(store: ObjectStore) -> dict[str, str]:
    return {key: sha for key, sha in content(store, "assets", "releases").items() if not key.endswith("_lineage.json")}


@pytest.mark.parametrize(
    ("dataset", "name"), [(NUMBERS, lambda user: user), (NAMES, lambda user: f"u{user}")], ids=["int64", "string"]
)
def test_it_is_as_if_the_person_had_never_been_there(dataset: Dataset, name: Any) -> None:
    events = [(day, name(user), item) for day, user, item in EVENTS]
    toy = made(MemoryStore(), dataset, events)
    never = made(MemoryStore(), dataset, [event for event in events if event[1] != name(0)])
    old = Releases(toy.store).list()

    erasure = erase(toy, name(0))

    expected = {key: sha for key, sha in data(never.store).items() if not key.startswith("releases/")}
    assert {key: sha for key, sha in data(toy.store).items() if not key.startswith("releases/")} == expected
    assert holders(toy.store, Person(name(0), dataset)) == {}
    # Partitions that nothing of the person reached are left alone, and so are their releases.
    assert toy.ran == [
        (DAYS[0], ("clean_events", "recommendations", "totals", "trend", "visits")),
        (DAYS[1], ("clean_events", "recommendations", "totals", "trend", "visits")),
        (DAYS[2], ("recommendations", "trend")),
    ]
    assert erasure.releases_deleted == tuple(old[:3])
    assert Releases(toy.store).list() == old[3:]
    assert erasure.staged_rows == 2
    assert Rewritten("clean_events", 2, 5, 3) in erasure.rewritten
    text = toy.store.get(f"erasures/{read_suppressed(toy.store).token(name(0))}.json").decode()
    assert not any(day in json.dumps(json.loads(text) | {"releases_deleted": [], "serving": ""}) for day in DAYS)
    assert erase(toy, name(0)) == erasure, "a second time there is nothing to do, and the report stays"


@pytest.mark.parametrize("serve", [True, False], ids=["autonomous", "manual"])
def test_the_release_being_served_is_replaced(serve: bool) -> None:
    toy = made(MemoryStore())
    toy.serve = serve
    releases = Releases(toy.store)
    old = releases.rollback(releases.list()[1])  # the day on which user 0 is in the lists
    assert old.previous is not None
    erasure = erase(toy, 0)
    now = releases.current()
    assert now is not None
    assert (now.as_of, now.release_id != old.release_id, now.previous, now.pinned) == (DAYS[1], True, None, True)
    assert erasure.serving == now.release_id
    releases.verify(now.release_id)
    assert old.release_id in erasure.releases_deleted
    with pytest.raises(FileNotFoundError, match=f"{old.release_id} was never published, or was deleted when"):
        releases.rollback(old.release_id)
    with pytest.raises(ValueError, match="no release before this one"):
        releases.rollback()


def test_somebody_unknown_is_kept_out_from_then_on() -> None:
    toy = made(MemoryStore())
    before = content(toy.store, "assets", "releases", "staging")
    erasure = erase(toy, 99)
    assert (erasure.status, erasure.staged_rows, erasure.rewritten, toy.ran) == ("done", 0, (), [])
    assert content(toy.store, "assets", "releases", "staging") == before
    toy.data = landing([*EVENTS, (3, 99, 1)])
    toy.rebuild(DAYS[3], ["clean_events"])
    assert holders(toy.store, Person(99, NUMBERS)) == {}


def test_s3(moto: S3Server) -> None:
    expected = made(MemoryStore())
    erase(expected, 0)
    toy = made(open_store(f"s3://{moto.bucket}/prefix", moto.options))
    erase(toy, 0)
    assert data(toy.store) == data(expected.store)
    assert erase(toy, 0).status == "done"


class Dying:
    """A store at whose writes a process dies, before or after."""

    def __init__(self, store: ObjectStore, points: Points):
        self._store, self._points = store, points

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._store, name)
        return self._points.around(name, value) if name in ("put", "create", "replace", "delete") else value


def test_it_may_die_anywhere_and_is_finished_by_the_next() -> None:
    begun = MemoryStore()
    made(begun)
    Releases(begun).rollback(Releases(begun).list()[1])
    whole = Toy(MemoryStore(begun.objects), NUMBERS, landing(EVENTS))
    report = erase(whole, 0)
    died = 0
    for point in range(1, 500):
        kept = MemoryStore(begun.objects)
        store: Any = Dying(kept, Points(point, crash))
        toy = Toy(store, NUMBERS, landing(EVENTS))
        try:
            erase(toy, 0)
        except Crash:
            died += 1
        else:
            break
        toy.store = kept
        assert erase(toy, 0) == report, f"died at point {point}"
        assert data(toy.store) == data(whole.store), f"died at point {point}"
        assert holders(toy.store, Person(0, NUMBERS)) == {}
    assert died > 40


def test_what_others_wrote_meanwhile_is_found_and_what_cannot_be_removed_is_named() -> None:
    toy = made(MemoryStore())
    outdated = {meta.key: toy.store.get(meta.key) for meta in toy.store.list("assets/visits")}
    expected = made(MemoryStore())
    erase(expected, 0)

    rebuild = toy.rebuild

    def raced(day: str, assets: list[str]) -> None:
        rebuild(day, assets)
        if day == DAYS[2]:  # a run that had read the old events stores them now, lineage and all
            for key, old in outdated.items():
                toy.store.put(key, old)
            toy.rebuild = rebuild

    toy.rebuild = raced
    erasure = erase(toy, 0, rounds=1)
    assert erasure.status == "done"
    assert data(toy.store) == data(expected.store)

    toy.rebuild = lambda day, assets: None  # nothing is rebuilt
    key = "assets/visits/dt=2015-05-04/data.parquet"
    toy.store.put(key, outdated[key])
    with pytest.raises(ErasureError, match=r"1 stored files still hold the person: assets/visits/dt=2015-05-04"):
        erase(toy, 0)


@pytest.mark.parametrize("dies", [False, True])
def test_models_of_experiments_that_learned_from_the_person_go_and_others_stay(
    dies: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = made(MemoryStore())
    partitions = PartitionStore(toy.store)
    path = tmp_path / "model.bin"
    path.write_bytes(b"model")
    for name, learned_from in (("touched", DAYS[0]), ("clean", DAYS[3])):
        read = partitions.read_lineage("trend", learned_from)
        assert read is not None
        inputs = (Input("trend", learned_from, read.sha256),)
        lineage = Lineage(stored_as(name), DAYS[3], 0, "1", inputs=inputs, file=MODEL_FILE)
        partitions.write(lineage.asset, lineage.day, path, lineage)
    if dies:
        with monkeypatch.context() as patched:
            patched.setattr(PartitionStore, "delete", _deletes_and_dies)
            with pytest.raises(Crash):
                erase(toy, 0)
    erasure = erase(toy, 0)
    left = {meta.key.split("/")[1] for meta in toy.store.list("assets") if "experiment_model" in meta.key}
    assert left == {stored_as("clean")}
    (gone,) = [one for one in erasure.rewritten if one.asset == stored_as("touched")]
    assert (gone.partitions, gone.rows_after) == (1, 0)
    assert all("experiment_model" not in asset for _, assets in toy.ran for asset in assets)


def _deletes_and_dies(self: PartitionStore, asset: str, day: str) -> None:
    for meta in self.store.list(f"assets/{asset}/dt={day}"):
        self.store.delete(meta.key)
    raise Crash
