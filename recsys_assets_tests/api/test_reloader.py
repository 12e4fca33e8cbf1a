"""Following the pointer: a bad release leaves the old one served and says why; downloads are reused, memory let go."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import json
import logging
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from recsys_api.app import create_app
from recsys_api.copies import Copies, LoadStoppedError
from recsys_api.reloader import Reloader
from recsys_api.settings import Settings
from recsys_api.snapshot import Snapshot, load_snapshot
from recsys_api.watching import Watch, Watched
from recsys_assets.storage.manifest import encode_pointer
from recsys_assets.storage.releases import POINTER
from recsys_assets_tests.api.publishing import Content, publish, releases_at
from recsys_assets_tests.s3_servers import S3Server

GOOD = Content({0: [1, 2]}, {1: [2]}, {"all": [1]})
NEWER = Content({0: [3, 4]}, {3: [4]}, {"all": [3]})
NEWEST = Content({0: [5, 6]}, {5: [6]}, {"all": [5]})


def root(uri: str) -> Path:
    return Path(uri.removeprefix("file://"))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    rewrite(path, bytes(data))


def rewrite(path: Path, data: bytes) -> None:
    """Another file of the same name: a mapping of the old one keeps its bytes."""
    path.unlink()
    path.write_bytes(data)


def repoint(uri: str, **changes: object) -> None:
    pointer = root(uri) / "releases" / "current.json"
    rewrite(pointer, json.dumps({**json.loads(pointer.read_bytes()), **changes}).encode())


def drop_from_manifest(uri: str, folder: Path, name: str) -> None:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["files"] = [file for file in manifest["files"] if file["name"] != name]
    remanifest(uri, folder, manifest)


def remanifest(uri: str, folder: Path, manifest: dict[str, object]) -> None:
    """A manifest that the pointer agrees with."""
    data = json.dumps(manifest).encode()
    rewrite(folder / "manifest.json", data)
    repoint(uri, manifest_sha256=hashlib.sha256(data).hexdigest())


def with_manifest(**changes: object) -> Callable[[str, Path], None]:
    return lambda uri, folder: remanifest(
        uri, folder, {**json.loads((folder / "manifest.json").read_bytes()), **changes}
    )


FAULTS: dict[str, tuple[Callable[[str, Path], None], str]] = {
    "flipped byte": (lambda _, f: flip(f / "recommendations.rows.arrow"), "recommendations.rows.arrow"),
    "flipped byte in keys": (lambda _, f: flip(f / "top_popular.keys.arrow"), "top_popular.keys.arrow"),
    "flipped byte in entries": (lambda _, f: flip(f / "top_popular.entries.arrow"), "top_popular.entries.arrow"),
    "truncated": (lambda _, f: rewrite(f / "similar_items.rows.arrow", b""), "similar_items.rows.arrow"),
    "missing file": (lambda _, f: (f / "similar_items.keys.arrow").unlink(), "similar_items.keys.arrow"),
    "missing manifest": (lambda _, f: (f / "manifest.json").unlink(), "manifest.json"),
    "changed manifest": (lambda _, f: flip(f / "manifest.json"), "manifest.json: the pointer says sha256"),
    "wrong digest": (lambda u, _: repoint(u, manifest_sha256="0" * 64), f"the pointer says sha256 {'0' * 64}"),
    "not listed": (lambda u, f: drop_from_manifest(u, f, "top_popular.rows.arrow"), "no file top_popular.rows.arrow"),
    "unknown format": (with_manifest(format_version=99), "format_version: expected 1, found 99"),
    "other id types": (
        with_manifest(facts={"ids": {"user": "string", "item": "int64"}}),
        "recommendations: by the manifest (key, item) must be ('string', 'int64'), found ('int64', 'int64')",
    ),
    "no fallback": (
        with_manifest(facts={"ids": {"user": "int64", "item": "int64"}, "fallback_segment": "trending"}),
        "top_popular has no segment 'trending', which the manifest names",
    ),
    "no id types": (with_manifest(facts={}), "recommendations: by the manifest"),
    "not json": (lambda u, _: rewrite(root(u) / "releases" / "current.json", b"{"), "current.json: not JSON"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_release_leaves_the_old_one_served_and_logs_why(
    make_settings: Callable[..., Settings], store_uri: str, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    good = publish(store_uri, "2015-08-01", GOOD)
    reloader = Reloader(make_settings())
    reloader.refresh()
    assert reloader.current
    assert (reloader.current.release_id, reloader.problem) == (good, None)

    damage, message = FAULTS[fault]
    bad = publish(store_uri, "2015-08-02", NEWER)
    damage(store_uri, root(store_uri) / "releases" / bad)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            reloader.refresh()
    assert reloader.current.release_id == good
    assert reloader.current.recommendations.get(0, 9) == [(1, 1.0, "ranker"), (2, 0.5, "ranker")]
    assert reloader.problem
    assert message in reloader.problem
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 1, "once, not at every look"
    assert warnings[0].startswith(f"release {good} stays: ")

    if fault == "not json":
        return
    newest = publish(store_uri, "2015-08-03", NEWEST)
    reloader.refresh()
    assert (reloader.current.release_id, reloader.problem) == (newest, None)


def test_a_release_that_is_repaired_is_taken_without_a_move_of_the_pointer(
    make_settings: Callable[..., Settings], store_uri: str
) -> None:
    release_id = publish(store_uri, "2015-08-01", GOOD)
    file = root(store_uri) / "releases" / release_id / "similar_items.rows.arrow"
    flip(file)
    reloader = Reloader(make_settings(api_poll_seconds=0.001))
    reloader.refresh()
    assert reloader.current is None
    flip(file)
    for _ in range(1000):
        reloader.refresh()
        if reloader.current:
            break
        gc.collect()
    assert reloader.current
    assert reloader.problem is None


def test_a_store_that_cannot_be_reached_is_a_problem_until_it_can(
    make_settings: Callable[..., Settings], store_uri: str
) -> None:
    release_id = publish(store_uri, "2015-08-01", GOOD)
    reloader = Reloader(make_settings())
    reloader.refresh()
    hidden = root(store_uri).rename(root(store_uri).with_name("elsewhere"))
    reloader.refresh()
    assert reloader.current
    assert (reloader.current.release_id, bool(reloader.problem)) == (release_id, True)
    hidden.rename(root(store_uri))
    reloader.refresh()
    assert reloader.problem is None


def test_the_old_release_is_let_go_with_its_last_request(
    make_settings: Callable[..., Settings], store_uri: str
) -> None:
    old = publish(store_uri, "2015-08-01", GOOD)
    reloader = Reloader(make_settings())
    reloader.refresh()
    request = reloader.current
    assert request
    gone = weakref.ref(request)
    assert old in Path("/proc/self/maps").read_text()
    publish(store_uri, "2015-08-02", NEWER)
    reloader.refresh()
    assert request.recommendations.get(0, 1) == [(1, 1.0, "ranker")], "a request under way goes on with its release"
    del request
    gc.collect()
    assert gone() is None
    assert old not in Path("/proc/self/maps").read_text()


def test_a_worker_that_begins_takes_no_request_before_it_has_the_release(
    make_settings: Callable[..., Settings], store_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others share its port: a request that they could answer must not meet one that has nothing yet."""

    def slowly(*arguments: Any) -> Snapshot:
        time.sleep(0.5)
        return load_snapshot(*arguments)

    publish(store_uri, "2015-08-02", GOOD)
    monkeypatch.setattr("recsys_api.reloader.load_snapshot", slowly)
    with TestClient(create_app(make_settings())) as client:
        assert client.get("/popular").status_code == 200
        assert client.get("/health/ready").status_code == 200


def test_publishing_and_rolling_back_move_what_is_served(
    make_settings: Callable[..., Settings], store_uri: str
) -> None:
    first, reloader = publish(store_uri, "2015-08-01", GOOD), Reloader(make_settings())
    reloader.refresh()
    second = publish(store_uri, "2015-08-02", NEWER)
    reloader.refresh()
    assert reloader.current
    assert (reloader.current.release_id, reloader.current.pointer.previous) == (second, first)
    generation = reloader.current.pointer.generation
    releases_at(store_uri).rollback(first)
    reloader.refresh()
    assert reloader.current.release_id == first
    assert reloader.current.pointer.generation > generation


def test_loading_gives_up_when_the_application_stops(store_uri: str, tmp_path: Path) -> None:
    publish(store_uri, "2015-08-01", GOOD)
    releases = releases_at(store_uri)
    pointer = releases.current()
    assert pointer is not None
    with pytest.raises(LoadStoppedError):
        load_snapshot(releases.store, pointer, Copies(tmp_path / "cache" / "store"), keep_going=lambda: False)


def test_a_look_that_goes_on_while_the_application_stops_finds_the_copies(
    make_settings: Callable[..., Settings], store_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(store_uri, "2015-08-01", GOOD)
    looking, leaving, found = threading.Event(), threading.Event(), list[bool]()

    def slowly(watch: Watch) -> dict[Watched, str]:
        looking.set()
        leaving.wait(30)
        time.sleep(0.2)  # the application has gone on by then, if nothing makes it wait
        found.append(all(copy.exists() for copy in reloader.current.copies.values()) if reloader.current else False)
        return {}

    monkeypatch.setattr(Watch, "look", slowly)
    reloader = Reloader(make_settings(api_poll_seconds=0.01))

    async def run_and_stop() -> None:
        async with reloader.running():
            await asyncio.to_thread(looking.wait, 30)
            leaving.set()

    asyncio.run(run_and_stop())
    assert found == [True]


@pytest.fixture
def s3_uri(moto: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    for name, value in {
        "AWS_ENDPOINT_URL": moto.options.endpoint,
        "AWS_REGION": moto.options.region,
        "AWS_ACCESS_KEY_ID": moto.options.access_key_id,
        "AWS_SECRET_ACCESS_KEY": moto.options.secret_access_key,
    }.items():
        monkeypatch.setenv(name, str(value))
    return f"s3://{moto.bucket}/{tmp_path.name}"


def test_a_release_in_s3_is_downloaded_once_and_verified(
    make_settings: Callable[..., Settings], s3_uri: str, tmp_path: Path
) -> None:
    store, settings = releases_at(s3_uri).store, make_settings(storage_uri=s3_uri)
    first = publish(s3_uri, "2015-08-01", GOOD)
    reloader = Reloader(settings)
    reloader.refresh()
    assert reloader.problem is None
    assert reloader.current
    assert reloader.current.recommendations.get(0, 1) == [(1, 1.0, "ranker")]
    cached = next((tmp_path / "cache").rglob(f"{first}/recommendations.rows.arrow"))
    assert len(list(cached.parent.iterdir())) == 12, "the served files, and no temporary one"

    flip(cached)
    Reloader(settings).refresh()
    assert cached.read_bytes() == store.get(f"releases/{first}/{cached.name}"), "a damaged download is made again"

    store.delete(f"releases/{first}/{cached.name}")
    restarted = Reloader(settings)
    restarted.refresh()
    assert restarted.current, "a good download is used again"

    bad = publish(s3_uri, "2015-08-02", NEWER)
    key = f"releases/{bad}/top_popular.rows.arrow"
    store.put(key, store.get(key)[:-1] + b"x")
    reloader.refresh()
    assert (reloader.current.release_id, key in (reloader.problem or "")) == (first, True)

    newest = publish(s3_uri, "2015-08-03", NEWEST)
    reloader.refresh()
    assert reloader.current.release_id == newest
    assert {folder.name for folder in cached.parent.parent.iterdir()} <= {newest, bad}, "older downloads are removed"

    forgotten = replace(reloader.current.pointer, previous=None)
    store.put(POINTER, encode_pointer(forgotten))
    reloader.refresh()
    assert {folder.name for folder in cached.parent.parent.iterdir()} == {newest}, "so are those of a deleted release"


def test_a_store_in_s3_that_does_not_answer_is_a_problem_not_a_failure(
    make_settings: Callable[..., Settings], s3_uri: str
) -> None:
    reloader = Reloader(make_settings(storage_uri=s3_uri))
    reloader.refresh()
    assert reloader.problem == f"nothing has been published at {s3_uri}"
    elsewhere = Reloader(make_settings(storage_uri="s3://no-such-bucket/x"))
    elsewhere.refresh()
    assert elsewhere.problem
    assert elsewhere.current is None
