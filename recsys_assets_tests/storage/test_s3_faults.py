"""S3 through a network and a server that fail: what passes is waited for, and what does not is told at once."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from obstore.exceptions import BaseError, PermissionDeniedError

from recsys_assets.core.engine import Engine
from recsys_assets.engines.duckdb import DuckDBEngine
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets.resources import landing
from recsys_assets.storage.objects import Conflict, NotFound, ObjectStore, sha256_object
from recsys_assets.storage.releases import Releases
from recsys_assets.storage.retries import BRIEF, PATIENT, Retries
from recsys_assets.storage.uri import open_store
from recsys_assets_tests.faulty_proxy import OK, FaultyProxy, faulty_proxy
from recsys_assets_tests.s3_servers import S3Server

pytestmark = pytest.mark.faults

QUICK = Retries(first=0.002, longest=0.02, told_after=0.0)


@pytest.fixture
def proxy(moto: S3Server) -> Iterator[FaultyProxy]:
    with faulty_proxy(moto) as proxy:
        yield proxy


def store_of(proxy: FaultyProxy, retries: Retries = QUICK) -> ObjectStore:
    return open_store(f"s3://{proxy.server.bucket}/some/prefix", proxy.server.options, retries)


def test_pauses_outlast_an_outage_of_a_minute_whatever_chance_has_it() -> None:
    assert sum(PATIENT.seconds(lambda: 0.0)) >= 60
    assert sum(PATIENT.seconds(lambda: 1.0)) <= 120
    average = list(PATIENT.seconds(lambda: 0.5))
    assert average[:4] == [0.25, 0.5, 1.0, 2.0], "twice as long each time"
    assert max(average) == PATIENT.longest
    assert len(set(PATIENT.seconds())) == PATIENT.pauses, "clients do not come back all at once"
    assert sum(BRIEF.seconds(lambda: 1.0)) < 5, "a server asks again soon"


@pytest.mark.parametrize("fault", ["reset", "500", "503", "timeout"])
def test_every_call_waits_until_an_outage_is_over(
    fault: str, proxy: FaultyProxy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, file = store_of(proxy), tmp_path / "file"
    file.write_bytes(b"from a file")
    calls: list[tuple[str, Any]] = [
        ("put", lambda: store.put("a", b"1")),
        ("get", lambda: store.get("a")),
        ("create", lambda: store.create("b", file)),
        ("exists", lambda: store.exists("b")),
        ("list", lambda: [meta.key for meta in store.list()]),
        ("hash", lambda: sha256_object(store, "b")),
        ("delete", lambda: store.delete("a")),
    ]
    if fault == "timeout":
        del calls[3]  # its answer has no body that could say so
    results: dict[str, Any] = {}
    for name, call in calls:
        outage = chain(repeat(fault, 10), repeat(OK))
        proxy.fault = lambda method, outage=outage: OK if (fault, method) == ("timeout", "HEAD") else next(outage)
        with caplog.at_level(logging.WARNING):
            caplog.clear()
            results[name] = call()
        assert f"s3://{proxy.server.bucket}/some/prefix" in caplog.text, f"{name} says what it waits for"
    assert (results["get"], results.get("exists", True), results["list"]) == (b"1", True, ["a", "b"])
    assert proxy.made[fault] == 10 * len(calls)


def test_a_server_that_is_not_there_for_a_while_is_waited_for(proxy: FaultyProxy, moto: S3Server) -> None:
    store_of(proxy).put("a", b"1")
    proxy.stop()
    back: list[FaultyProxy] = []

    def come_back() -> None:
        time.sleep(0.5)
        back.append(FaultyProxy(moto, proxy.port))

    thread = threading.Thread(target=come_back)
    thread.start()
    try:
        assert store_of(proxy, Retries(first=0.05, longest=0.5)).get("a") == b"1"
    finally:
        thread.join()
        back[0].stop()


def test_cut_bodies_all_pass(proxy: FaultyProxy, tmp_path: Path) -> None:
    """Three in ten, of every kind of read, and of publishing as a whole."""
    chance = random.Random(7)
    proxy.fault = lambda method: "cut" if method == "GET" and chance.random() < 0.3 else OK
    store, bodies = store_of(proxy), {f"k{n:02}": random.Random(n).randbytes(50_000) for n in range(40)}
    for key, body in bodies.items():
        store.put(key, body)
    assert {key: store.get(key) for key in bodies} == bodies
    with store.open("k00") as file:
        assert file.read() == bodies["k00"]
    assert [meta.key for meta in store.list()] == sorted(bodies)
    path = tmp_path / "lists"
    path.write_bytes(bodies["k01"])
    published = Releases(store).publish("2015-08-01", {"lists": path}, {})
    assert Releases(store).fetch(published.release_id, tmp_path / "into")["lists"].read_bytes() == bodies["k01"]
    assert proxy.made["cut"] > 15


def test_damaged_bytes_are_read_again(proxy: FaultyProxy, tmp_path: Path) -> None:
    store, path, body = store_of(proxy), tmp_path / "lists", random.Random(1).randbytes(1000)
    path.write_bytes(body)
    release = Releases(store).publish("2015-08-01", {"lists": path}, {}).release_id
    store.put("a", body)
    for read in (
        lambda: store.get("a"),
        lambda: Releases(store).fetch(release, tmp_path / "into")["lists"].read_bytes(),
    ):
        once = chain(["damaged"], repeat(OK))
        proxy.fault = lambda method, once=once: next(once) if method == "GET" else OK
        assert read() == body
    proxy.fault = lambda method: "damaged"
    assert store.get("a")[1:] == body[1:], "what comes twice is what is stored: not all etags are hashes"


def test_what_would_fail_again_is_told_at_once(proxy: FaultyProxy) -> None:
    store = store_of(proxy)
    store.put("a", b"1")
    etag = store.get_with_etag("a")[1]
    store.replace("a", b"2", etag)
    proxy.made.clear()
    with pytest.raises(NotFound):
        store.get("b")
    with pytest.raises(Conflict):
        store.replace("a", b"3", etag)
    assert proxy.made.total() == 2
    for fault, error in (("403", PermissionDeniedError), ("400", BaseError)):
        proxy.made.clear()
        proxy.fault = lambda method, fault=fault: fault
        with pytest.raises(error):
            store.get("a")
        assert proxy.made.total() == 1


@pytest.mark.parametrize("kind", [PolarsEngine, DuckDBEngine])
def test_engines_read_through_faults(
    kind: type[PolarsEngine | DuckDBEngine], proxy: FaultyProxy, tmp_path: Path
) -> None:
    path, store = tmp_path / "data.parquet", store_of(proxy)
    pq.write_table(pa.table({"n": list(range(1000))}), path)
    uris = [store.uri(f"assets/a/dt=2015-08-{day:02}/data.parquet") for day in range(1, 7)]
    for uri in uris:
        store.put(uri.removeprefix(store.uri() + "/"), path)
    chance = random.Random(3)
    faults = ("cut", "reset", "500", "503")
    proxy.fault = lambda method: chance.choice(faults) if chance.random() < 0.3 else OK
    engine: Engine = kind(store.storage_options)
    frame = engine.scan(uris, pa.schema([("n", pa.int64())]))
    assert frame.collect(backend="polars").shape == (6000, 2)
    assert proxy.made.total() > proxy.made[OK]


def test_listing_the_landing_zone_waits_too() -> None:
    refused = EndpointConnectionError(endpoint_url="http://127.0.0.1:9")
    busy, forbidden = (
        ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "ListObjectsV2")  # type: ignore[typeddict-item]
        for code, status in (("SlowDown", 503), ("AccessDenied", 403))
    )
    assert [landing.is_transient(error) for error in (refused, busy, forbidden)] == [True, True, False]
