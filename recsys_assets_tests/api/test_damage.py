"""Files that are damaged, before a release is loaded or while it is served: the last good one goes on, and says so."""

from __future__ import annotations

import gc
import logging
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from recsys_api import watching
from recsys_api.copies import Copies, SnapshotError
from recsys_api.reloader import Reloader
from recsys_api.settings import Settings
from recsys_api.watching import Watch, Watched
from recsys_assets.storage.manifest import ReleaseFile
from recsys_assets.storage.objects import sha256_bytes
from recsys_assets_tests.api.conftest import client_of, eventually
from recsys_assets_tests.api.publishing import Content, publish, releases_at
from recsys_assets_tests.api.test_metrics import by, samples
from recsys_assets_tests.api.test_server import Server, running

pytestmark = pytest.mark.faults

USERS = range(3000)
OLD = Content({user: [user, user + 1] for user in USERS}, {1: [2]}, {"all": [1, 2]})
NEW = Content({user: [user + 5000, user + 5001] for user in USERS}, {1: [3]}, {"all": [5000, 5001]})
ROWS = "recommendations.rows.arrow"


def released(store: str, release_id: str) -> Path:
    return Path(store.removeprefix("file://")) / "releases" / release_id


def flip(path: Path) -> None:
    """Change a byte, and set the file's times back."""
    before, mode = path.stat(), stat.S_IMODE(path.stat().st_mode)
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    with path.open("r+b") as file:  # the very file that is mapped, not another one in its place
        file.write(data)
    path.chmod(mode)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def truncate(path: Path) -> None:
    os.truncate(path, 100)


BEFORE: dict[str, Callable[[Path], None]] = {
    "flipped": lambda folder: flip(folder / ROWS),
    "truncated": lambda folder: truncate(folder / "top_popular.keys.arrow"),
    "empty": lambda folder: os.truncate(folder / "recommendations.keys.arrow", 0),
    "missing": lambda folder: (folder / ROWS).unlink(),
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
    "manifest changed": lambda folder: flip(folder / "manifest.json"),
}


def measured(client: TestClient) -> dict[Any, float]:
    return samples(client.get("/metrics").text)


@pytest.mark.parametrize("fault", BEFORE)
def test_a_start_with_a_damaged_release_serves_the_one_before_and_says_so(
    make_settings: Callable[..., Settings], store_uri: str, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = publish(store_uri, "2015-08-01", OLD), publish(store_uri, "2015-08-02", NEW)
    folder = released(store_uri, new)
    good = {path: path.read_bytes() for path in folder.iterdir()}
    BEFORE[fault](folder)
    with caplog.at_level(logging.WARNING), client_of(make_settings()) as client:
        ready = client.get("/health/ready").json()
        assert (ready["ready"], ready["release_id"], ready["instead_of"]) == (True, old, new)
        assert new in ready["problem"]
        release = client.get("/release").json()
        assert (release["release_id"], release["instead_of"]) == (old, new)
        answer = client.get("/recommendations/7?k=2").json()
        assert (answer["release_id"], [item["item_id"] for item in answer["items"]]) == (old, [7, 8])
        metrics = measured(client)
        assert metrics["recsys_release_instead", frozenset()] == 1
        assert by(metrics, "recsys_errors_total", "part")[("releases",)] >= 1
        assert f"serving release {old} instead of {new}, which cannot be loaded" in caplog.messages
        for path, data in good.items():
            path.write_bytes(data)
        well = {"ready": True, "release_id": new, "as_of": "2015-08-02", "instead_of": None, "problem": None}
        eventually(lambda: client.get("/health/ready").json() == well)
        assert measured(client)["recsys_release_instead", frozenset()] == 0


def test_a_release_that_was_withdrawn_is_no_stand_in(make_settings: Callable[..., Settings], store_uri: str) -> None:
    old, new = publish(store_uri, "2015-08-01", OLD), publish(store_uri, "2015-08-02", NEW)
    releases_at(store_uri).rollback(old)  # so the previous one is what was withdrawn
    flip(released(store_uri, old) / ROWS)
    reloader = Reloader(make_settings())
    reloader.refresh()
    assert reloader.current is None
    assert new not in (reloader.problem or "")


@pytest.fixture
def served(tmp_path: Path, store_uri: str) -> Iterator[tuple[Server, str]]:
    release_id = publish(store_uri, "2015-08-02", NEW)
    with running(tmp_path, store_uri) as server:
        eventually(lambda: server.get("/health/ready")[0] == 200)
        yield server, release_id


def test_a_store_whose_files_are_cut_short_while_they_are_served_ends_no_process(
    served: tuple[Server, str], store_uri: str
) -> None:
    """A process that reads a mapped file beyond its end is killed (SIGBUS): this one never is."""
    server, release_id = served
    for path in released(store_uri, release_id).glob("*.arrow"):
        os.truncate(path, 0)
    for user in USERS:
        status, answer = server.get(f"/recommendations/{user}?k=2", connection := server.connect())
        connection.close()
        assert (status, [item["item_id"] for item in answer["items"]]) == (200, [user + 5000, user + 5001])
    eventually(lambda: ROWS in (server.get("/health/ready")[1]["problem"] or ""))
    assert server.get("/health/ready")[1]["release_id"] == release_id
    assert server.process.poll() is None
    assert ROWS in server.log


def test_a_file_of_the_store_that_changes_is_told_until_it_is_mended(
    make_settings: Callable[..., Settings], store_uri: str
) -> None:
    release_id = publish(store_uri, "2015-08-02", NEW)
    with client_of(make_settings()) as client:
        file = released(store_uri, release_id) / ROWS
        flip(file)
        eventually(lambda: client.get("/health/ready").json()["problem"] is not None)
        ready = client.get("/health/ready").json()
        assert (ready["release_id"], f"releases/{release_id}/{ROWS}" in ready["problem"]) == (release_id, True)
        assert client.get("/recommendations/7?k=1").json()["items"][0]["item_id"] == 5007
        assert measured(client)["recsys_release_damaged_files_total", frozenset()] == 1
        flip(file)
        eventually(lambda: client.get("/health/ready").json()["problem"] is None)


def test_a_damaged_copy_is_made_anew_and_where_it_cannot_be_the_release_before_is_served(
    make_settings: Callable[..., Settings], store_uri: str, tmp_path: Path
) -> None:
    old, new = publish(store_uri, "2015-08-01", OLD), publish(store_uri, "2015-08-02", NEW)
    damages: list[None] = []
    settings = make_settings()
    one, other = Reloader(settings, on_damage=lambda: damages.append(None)), Reloader(settings)
    for reloader in (one, other):
        reloader.refresh()
    copy = next((tmp_path / "cache").rglob(f"{new}/{ROWS}"))
    flip(copy)
    one.refresh()
    other.refresh()
    assert len(damages) == 1
    assert sha256_bytes(copy.read_bytes()) == sha256_bytes((released(store_uri, new) / ROWS).read_bytes())
    for reloader in (one, other):  # the other one has mapped the bad copy, too, and sees that it was replaced
        assert reloader.current
        assert (reloader.current.release_id, reloader.problem) == (new, None)
        assert reloader.current.recommendations.get(2999, 2) == [(7999, 1.0, "ranker"), (8000, 0.5, "ranker")]
    eventually(lambda: gc.collect() >= 0 and f"{copy} (deleted)" not in Path("/proc/self/maps").read_text())
    flip(copy)
    flip(released(store_uri, new) / ROWS)
    one.refresh()
    assert one.current
    assert (one.current.release_id, one.current.instead_of) == (old, new)
    assert new in (one.problem or "")


def test_all_bytes_are_read_again_at_a_bounded_rate_though_nothing_shows_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a disk returns other bytes than were written: no time and no size tells."""
    now = [0.0]
    monkeypatch.setattr(watching, "_stamp", lambda path: (1, 1, 1, 1))  # pyright: ignore[reportUnknownLambdaType]
    monkeypatch.setattr(watching.time, "monotonic", lambda: now[0])
    files: list[Watched] = []
    for number in range(4):
        path = tmp_path / f"file {number}"
        data = bytes([number]) * (1 << 20)
        path.write_bytes(data)
        files.append(Watched(path, ReleaseFile(path.name, len(data), sha256_bytes(data)), path.name, False))
    watch, never = Watch(files, 1 << 20), Watch(files, 0)
    flip(files[3].path)
    found: list[int] = []
    for _ in range(6):
        now[0] += 1.0
        found.append(len(watch.look()))
        assert never.look() == {}
    assert found[:3] == [0, 0, 0], "a megabyte a second, and the fourth one is bad"
    assert found[5] == 1


def test_answers_tell_nothing_of_the_file_system(make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    store = tmp_path / "a store of ours"
    (tmp_path / "file").write_text("no folder")
    settings = make_settings(storage_uri=store.as_uri(), events_url=f"sqlite:///{tmp_path}/file/x y/events.sqlite")
    with client_of(settings, wait_ready=False) as client:
        told = [client.get("/health/ready"), client.get("/popular"), client.get("/events/1")]
        old, new = publish(store.as_uri(), "2015-08-01", OLD), publish(store.as_uri(), "2015-08-02", NEW)
        eventually(lambda: client.get("/health/ready").json()["release_id"] == new)
        truncate(released(str(store), new) / ROWS)
        eventually(lambda: client.get("/health/ready").json()["problem"] is not None)
        told.append(client.get("/health/ready"))
        (released(str(store), new) / "manifest.json").unlink()
        told += [client.get(f"/lineage/{new}"), client.get("/releases"), client.get(f"/lineage/{old}")]
        view = {"user_id": 1, "item_id": 1, "event_type": "view"}
        told.append(client.post("/events", json=view))
    for answer in told:
        assert not re.search(r"tmp|/home|file:|sqlite:|ours|pytest", answer.text), answer.text
    assert [answer.status_code for answer in told[:3]] == [503, 503, 403]
    assert f"releases/{new}/{ROWS}" in told[3].text


def test_copies_go_with_the_last_worker_that_uses_them(tmp_path: Path) -> None:
    store_uri = (tmp_path / "store").as_uri()
    release_id = publish(store_uri, "2015-08-02", NEW)
    store = releases_at(store_uri).store
    file = next(file for file in releases_at(store_uri).manifest(release_id).files if file.name == ROWS)
    first, second = Copies(tmp_path / "cache" / "one"), Copies(tmp_path / "cache" / "one")
    fetched = [
        copies.fetch(store, f"releases/{release_id}/{ROWS}", file, release_id, lambda: True)
        for copies in (first, second)
    ]
    assert fetched[0] == fetched[1]
    assert stat.S_IMODE(fetched[0].stat().st_mode) == 0o400
    first.close(remove=True)
    assert fetched[0].exists()
    second.close(remove=True)
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_copies_are_not_kept_where_others_may_write(store_uri: str, tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(mode)
    store = releases_at(store_uri).store
    with pytest.raises(SnapshotError, match="RECSYS_API_CACHE_DIR"):
        Copies(folder).fetch(store, "k", ReleaseFile("k", 1, "0"), "r", lambda: True)
    with pytest.raises(FileNotFoundError):  # a folder of its own in one of all is good
        Copies(folder / "own").fetch(store, "k", ReleaseFile("k", 1, "0"), "r", lambda: True)
