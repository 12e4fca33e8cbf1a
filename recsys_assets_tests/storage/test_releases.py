from __future__ import annotations

import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from recsys_assets.storage.objects import Conflict, NotFound, ObjectStore, sha256_bytes
from recsys_assets.storage.releases import DamagedRelease, Published, ReleaseCheck, Releases


class Publisher:
    """Publishes releases that differ in a word."""

    def __init__(self, store: ObjectStore, folder: Path):
        self.store, self.folder, self.releases = store, folder, Releases(store)

    def __call__(
        self,
        as_of: str,
        word: str = "x",
        check: ReleaseCheck | None = None,
        serve: bool = True,
        facts: Mapping[str, str] = {},
    ) -> Published:
        path = self.folder / f"{as_of}-{word}"
        if not path.exists():
            path.write_bytes(f"{as_of} {word}".encode())
        files = {"lists.arrow": path, "model.cbm": path}
        return self.releases.publish(as_of, files, {"dataset": "test", **facts}, check, serve=serve)

    def served(self) -> str:
        pointer = self.releases.current()
        assert pointer is not None
        return pointer.release_id


@pytest.fixture
def publish(store: ObjectStore, tmp_path: Path) -> Publisher:
    return Publisher(store, tmp_path)


def test_a_release_is_its_manifest(publish: Publisher, tmp_path: Path) -> None:
    assert publish.releases.current_with_etag() == (None, None)
    published = publish("2015-08-01")
    assert (published.moved, published.reason, published.generation) == (True, "published", 1)

    data = publish.store.get(f"releases/{published.release_id}/manifest.json")
    assert published.manifest_sha256 == sha256_bytes(data)
    assert published.release_id == f"2015-08-01-{sha256_bytes(data)[:12]}"
    entry = {"bytes": 12, "sha256": sha256_bytes(b"2015-08-01 x")}
    assert json.loads(data) == {
        "as_of": "2015-08-01",
        "facts": {"dataset": "test"},
        "files": [{"name": "lists.arrow", **entry}, {"name": "model.cbm", **entry}],
        "format_version": 1,
    }
    assert json.loads(publish.store.get("releases/current.json")) == {
        "release_id": published.release_id,
        "as_of": "2015-08-01",
        "manifest_sha256": published.manifest_sha256,
        "previous": None,
        "generation": 1,
        "withdrawn": [],
        "pinned": False,
        "rolled_back": 0,
    }
    assert publish.releases.manifest(published.release_id).sha256 == published.manifest_sha256
    assert publish.releases.list() == [published.release_id]
    fetched = publish.releases.fetch(published.release_id, tmp_path / "into")
    assert {name: path.read_bytes() for name, path in fetched.items()} == {
        "lists.arrow": b"2015-08-01 x",
        "model.cbm": b"2015-08-01 x",
    }


def test_publishing_what_is_current_changes_no_byte(publish: Publisher) -> None:
    first = publish("2015-08-01")
    before = publish.store.list()
    again = publish("2015-08-01")
    assert (again.release_id, again.moved, again.reason) == (first.release_id, False, "current")
    assert publish.store.list() == before


def test_the_pointer_moves_to_newer_days_only(publish: Publisher) -> None:
    publish("2015-08-02")
    older = publish("2015-08-01")
    assert (older.moved, older.reason, older.generation) == (False, "older", 1)
    newer = publish("2015-08-03")
    corrected = publish("2015-08-03", "y")
    assert (newer.moved, corrected.moved, publish.served()) == (True, True, corrected.release_id)
    pointer = publish.releases.current()
    assert pointer is not None
    assert (pointer.previous, pointer.generation) == (newer.release_id, 3)
    assert len(publish.releases.list()) == 4


def test_the_gate_sees_the_stored_bytes_and_can_refuse(publish: Publisher) -> None:
    good = publish("2015-08-01")
    seen: dict[str, bytes] = {}

    def refuse(files: Mapping[str, Path]) -> None:
        seen.update({name: path.read_bytes() for name, path in files.items()})
        raise ValueError("too few items")

    with pytest.raises(ValueError, match="too few items"):
        publish("2015-08-02", check=refuse)
    assert seen == {"lists.arrow": b"2015-08-02 x", "model.cbm": b"2015-08-02 x"}
    assert publish.served() == good.release_id
    assert publish.releases.list() == [good.release_id]
    assert publish("2015-08-02", check=lambda files: None).moved


def test_a_rollback_lasts_until_a_person_lifts_it(publish: Publisher) -> None:
    first, second, third = (publish(f"2015-08-0{day}") for day in (1, 2, 3))
    same_day = publish("2015-08-01", "y")
    pointer = publish.releases.rollback(first.release_id)
    assert (pointer.release_id, pointer.generation, pointer.previous) == (first.release_id, 4, third.release_id)
    assert set(pointer.withdrawn) == {second.release_id, third.release_id, same_day.release_id}
    assert pointer.pinned
    assert publish.releases.rollback(first.release_id) == pointer

    for day, word in (("2015-08-02", "x"), ("2015-08-02", "other inputs"), ("2015-08-04", "x")):
        again = publish(day, word)
        assert (again.moved, again.reason) == (False, "pinned")
    with pytest.raises(ValueError, match=f"{again.release_id} stays back: {first.release_id} is pinned; unpin it"):
        publish.releases.approve(again.release_id)
    assert publish.releases.current() == pointer

    publish.releases.pin(pinned=False)
    for day, word in (("2015-08-02", "x"), ("2015-08-03", "x"), ("2015-08-01", "y")):
        again = publish(day, word)
        assert (again.moved, again.reason) == (False, "withdrawn")
    assert publish.served() == first.release_id
    fixed = publish("2015-08-02", "fixed")
    assert (fixed.moved, publish.served()) == (True, fixed.release_id)
    assert not publish("2015-08-03").moved

    forward = publish.releases.rollback(third.release_id)
    assert third.release_id not in forward.withdrawn
    assert second.release_id in forward.withdrawn
    assert publish.releases.rollback().release_id == fixed.release_id
    with pytest.raises(ValueError, match="name the one to roll back to"):
        publish.releases.rollback()


def test_a_rollback_to_what_is_served_pins_it(publish: Publisher) -> None:
    first = publish("2015-08-01")
    assert publish.releases.rollback(first.release_id).pinned
    assert not publish("2015-08-02").moved


def test_publishing_that_began_before_a_rollback_does_not_undo_it(publish: Publisher) -> None:
    """Not even after the pin was lifted: the rollback could not withdraw a release that was not there yet."""
    first, _ = publish("2015-08-01"), publish("2015-08-02")

    def meanwhile(_: Mapping[str, Path]) -> None:
        publish.releases.rollback(first.release_id)
        publish.releases.pin(pinned=False)

    late = publish("2015-08-02", "in flight", check=meanwhile)
    assert (late.moved, late.reason, publish.served()) == (False, "late", first.release_id)
    other = publish("2015-08-02", "overtaken", check=lambda _: publish("2015-08-02", "faster") and None)
    assert (other.moved, other.reason) == (True, "published"), "another publisher is no rollback"


def test_what_must_not_be_served_is_replaced_by_the_same_day_pinned_or_not(publish: Publisher) -> None:
    first, _ = publish("2015-08-01"), publish("2015-08-02")
    publish.releases.rollback(first.release_id)
    clean = publish("2015-08-01", "clean")
    pointer = publish.releases.replace_served(clean.release_id)
    assert (pointer.release_id, pointer.pinned, pointer.previous) == (clean.release_id, True, first.release_id)
    with pytest.raises(ValueError, match="is not of the day"):
        publish.releases.replace_served(publish("2015-08-02", "y").release_id)
    assert publish.served() == clean.release_id


def test_a_release_can_wait_for_approval(publish: Publisher) -> None:
    waiting = publish("2015-08-01", serve=False)
    assert (waiting.moved, waiting.reason, waiting.generation) == (False, "waiting", 0)
    assert publish.releases.current() is None
    assert publish.releases.approve(waiting.release_id).release_id == waiting.release_id
    newer = publish("2015-08-02")
    assert publish.releases.approve(waiting.release_id).release_id == newer.release_id
    publish.releases.rollback(waiting.release_id)
    publish.releases.pin(pinned=False)
    with pytest.raises(ValueError, match="withdrawn by a rollback"):
        publish.releases.approve(newer.release_id)
    assert publish("2015-08-01", serve=False).reason == "current"


def test_damage_is_found_named_and_never_served(publish: Publisher, tmp_path: Path) -> None:
    old, new = publish("2015-08-01"), publish("2015-08-02")
    publish.store.put(f"releases/{old.release_id}/model.cbm", b"2015-08-01 ?")
    for act in (publish.releases.verify, publish.releases.rollback, publish.releases.approve):
        with pytest.raises(DamagedRelease, match=rf"{old.release_id}: missing or changed: model\.cbm"):
            act(old.release_id)
    with pytest.raises(DamagedRelease, match=r"model\.cbm: expected sha256"):
        publish.releases.fetch(old.release_id, tmp_path / "into")
    with pytest.raises(DamagedRelease, match="other bytes in a complete release"):
        publish("2015-08-01")
    publish.store.delete(f"releases/{old.release_id}/model.cbm")
    with pytest.raises(DamagedRelease, match=r"missing or changed: model\.cbm"):
        publish.releases.verify(old.release_id)
    publish("2015-08-01")  # a missing file comes back
    publish.releases.verify(old.release_id)

    key = f"releases/{old.release_id}/manifest.json"
    publish.store.put(key, publish.store.get(key).replace(b"test", b"tess"))
    with pytest.raises(DamagedRelease, match="its content has the id"):
        publish.releases.verify(old.release_id)
    with pytest.raises(DamagedRelease, match="another manifest"):
        publish("2015-08-01")
    assert publish.served() == new.release_id
    with pytest.raises(NotFound, match=r"2015-01-01-none/manifest\.json"):
        publish.releases.rollback("2015-01-01-none")


def test_bytes_that_change_while_publishing_are_refused(publish: Publisher) -> None:
    class Careless:
        """Stores other bytes than it is given."""

        def __getattr__(self, name: str):
            if name == "create":
                return lambda key, data: publish.store.create(key, b"other")
            return getattr(publish.store, name)

    path = publish.folder / "f"
    path.write_bytes(b"these")
    with pytest.raises(DamagedRelease, match="expected sha256"):
        Releases(Careless()).publish("2015-08-01", {"f": path}, {})  # type: ignore[arg-type]
    assert publish.releases.current() is None
    assert publish.releases.publish("2015-08-01", {"f": path}, {}).moved


def test_of_many_publishers_the_newest_day_wins(publish: Publisher) -> None:
    days = [f"2015-08-{day:02}" for day in (3, 9, 1, 7, 5, 8, 2, 6)]
    with ThreadPoolExecutor(len(days)) as pool:
        results = list(pool.map(publish, days))
    pointer = publish.releases.current()
    assert pointer is not None
    assert pointer.as_of == "2015-08-09"
    assert pointer.generation == sum(result.moved for result in results)
    assert len(publish.releases.list()) == len(days)
    assert all(result.moved or result.reason == "older" for result in results)


def test_publishers_of_the_same_release_agree(publish: Publisher) -> None:
    waiting = publish("2015-08-01", serve=False)
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(publish, ["2015-08-01"] * 6))
    assert {(result.release_id, result.generation) for result in results} == {(waiting.release_id, 1)}
    assert any(result.moved for result in results)
    publish.releases.verify(publish.served())


def test_a_swap_whose_answer_was_lost_counts_as_made(publish: Publisher) -> None:
    class Deaf:
        """Swaps, then reports a conflict, as a retried request may."""

        def __getattr__(self, name: str):
            return getattr(publish.store, name)

        def replace(self, key: str, data: bytes, etag: str | None) -> None:
            publish.store.replace(key, data, etag)
            raise Conflict(key)

    path = publish.folder / "f"
    path.write_bytes(b"")
    published = Releases(Deaf()).publish("2015-08-01", {"f": path}, {})  # type: ignore[arg-type]
    assert (published.moved, published.generation) == (True, 1)


def test_a_server_that_refuses_every_swap_is_told_apart_from_a_race(
    publish: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)

    class Stubborn:
        def __getattr__(self, name: str):
            return getattr(publish.store, name)

        def replace(self, key: str, data: bytes, etag: str | None) -> None:
            raise Conflict(key)

    path = publish.folder / "f"
    path.write_bytes(b"")
    with pytest.raises(Conflict, match="does this server keep If-Match"):
        Releases(Stubborn()).publish("2015-08-01", {"f": path}, {})  # type: ignore[arg-type]


def test_wrong_names_days_and_records_are_refused(publish: Publisher) -> None:
    path = publish.folder / "f"
    path.write_bytes(b"")
    for as_of, name, message in (
        ("2015-8-1", "f", "day '2015-8-1': expected YYYY-MM-DD"),
        ("2015-08-01", "manifest.json", "the name is the manifest's own"),
        ("2015-08-01", "../f", "name '../f': expected letters"),
        ("2015-08-01", "a/b", "name 'a/b': expected letters"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            publish.releases.publish(as_of, {name: path}, {})
    assert publish.store.list() == []
    publish.store.put("releases/current.json", b"{}")
    with pytest.raises(ValueError, match=r"current\.json: not a release pointer"):
        publish.releases.current()


def test_facts_with_numbers_as_keys_keep_the_id(publish: Publisher) -> None:
    published = publish("2015-08-01", facts={10: "ten", 9: "nine"})  # type: ignore[dict-item]
    assert publish.releases.verify(published.release_id).facts["9"] == "nine"


def test_a_deleted_release_is_gone_and_named_when_asked_for(publish: Publisher) -> None:
    old, new = publish("2015-08-01").release_id, publish("2015-08-02").release_id
    publish.store.put("releases/2015-08-03-0123456789ab/lists.arrow", b"never completed")
    with pytest.raises(ValueError, match=f"{new} is being served and cannot be deleted"):
        publish.releases.delete(new)
    assert publish.releases.leftovers() == ["2015-08-03-0123456789ab"]
    for one in (old, *publish.releases.leftovers()):
        publish.releases.delete(one)
        publish.releases.delete(one)
    assert {meta.key.split("/")[1] for meta in publish.store.list("releases")} == {"current.json", new}
    for act in (publish.releases.rollback, publish.releases.approve, publish.releases.verify):
        with pytest.raises(
            NotFound, match=f"{old} was never published, or was deleted when a person was erased; .*{new}"
        ):
            act(old)
    with pytest.raises(ValueError, match="no release before this one"):
        publish.releases.rollback()
    assert publish.served() == new
