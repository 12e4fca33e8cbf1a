from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from recsys_assets.storage.objects import (
    AlreadyExists,
    Conflict,
    InvalidKey,
    NotFound,
    ObjectStore,
    canonical_json,
    local_file,
    sha256_bytes,
    sha256_object,
)
from recsys_assets.storage.s3_options import S3Options
from recsys_assets.storage.uri import open_store
from recsys_assets_tests.s3_servers import BUCKET, S3Server, boto3_client

ODD_KEYS = ["a/b=1/c.txt", "blank and ü/100%20.csv", "x[1]*?#.tsv"]


def test_objects_come_back_as_they_were_put(store: ObjectStore, tmp_path: Path) -> None:
    big = os.urandom(17_000_000)  # three parts of a multipart upload
    source = tmp_path / "big"
    source.write_bytes(big)
    for key, data in zip(ODD_KEYS, [b"", b"one", source], strict=True):
        store.put(key, data)
    store.put(ODD_KEYS[1], b"two")
    assert [store.get(key) for key in ODD_KEYS] == [b"", b"two", big]
    assert sha256_object(store, ODD_KEYS[2]) == sha256_bytes(big)
    path, digest = local_file(store, ODD_KEYS[2], tmp_path / "new" / "copy")
    assert (path.read_bytes() == big, digest) == (True, sha256_bytes(big))
    store.create("created", source)
    assert store.get("created") == big


def test_a_missing_object_is_named(store: ObjectStore) -> None:
    store.put("folder/there", b"")
    for key in ("nothing", "folder/nothing", "folder"):
        for read in (store.get, store.get_with_etag, store.head, store.open):
            with pytest.raises(NotFound) as caught:
                read(key)
            assert store.uri(key) in str(caught.value)
            assert isinstance(caught.value, FileNotFoundError)
        assert not store.exists(key)
    store.delete("nothing")


def test_listing_is_complete_sorted_and_by_folder(store: ObjectStore, request: pytest.FixtureRequest) -> None:
    assert store.list() == store.list("none") == []
    before = datetime.now(UTC) - timedelta(seconds=5)
    more_than_a_page = 1005 if request.node.callspec.params["new_store"] == "ceph" else 105
    keys = [f"d/{number:04}" for number in range(more_than_a_page)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.put(key, key.encode()), [*keys, *ODD_KEYS, "d2/x", "d.x"]))
    assert [meta.key for meta in store.list("d")] == keys
    assert [meta.key for meta in store.list()] == sorted([*keys, *ODD_KEYS, "d2/x", "d.x"])
    (meta,) = store.list("d2")
    assert meta == store.head("d2/x")
    assert (meta.size, meta.etag) == (4, store.get_with_etag("d2/x")[1])
    assert before < meta.modified < datetime.now(UTC) + timedelta(seconds=5)
    store.delete("d2/x")
    assert store.list("d2") == []
    assert not store.exists("d2/x")


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/../b", ".", ".hidden", "a/.b", "a\\b", "a\nb"])
def test_keys_stay_inside_the_store(store: ObjectStore, key: str) -> None:
    for call in (store.get, store.head, store.exists, store.delete, store.local_path, lambda k: store.put(k, b"")):
        with pytest.raises(InvalidKey):
            call(key)


def test_create_and_replace_keep_their_conditions(store: ObjectStore) -> None:
    store.create("c", b"1")
    with pytest.raises(AlreadyExists, match="c exists"):
        store.create("c", b"2")
    store.replace("r", b"1", None)
    with pytest.raises(Conflict):
        store.replace("r", b"2", None)
    assert (store.get("c"), store.get("r")) == (b"1", b"1")

    _, first = store.get_with_etag("r")
    assert first == store.head("r").etag
    store.replace("r", b"2", first)
    data, second = store.get_with_etag("r")
    assert (data, second != first) == (b"2", True)
    with pytest.raises(Conflict):
        store.replace("r", b"3", first)
    with pytest.raises(Conflict):
        store.replace("missing", b"3", first)
    assert store.get("r") == b"2"
    assert not store.exists("missing")


def test_an_object_opens_as_a_seekable_file(store: ObjectStore) -> None:
    data = bytes(range(256)) * 20_000
    store.put("f", data)
    with store.open("f") as file:
        assert (file.readable(), file.seekable(), file.writable()) == (True, True, False)
        assert file.read(3) == data[:3]
        assert (file.seek(-5, os.SEEK_END), file.read()) == (len(data) - 5, data[-5:])
        assert (file.seek(1_000_000), file.read(10), file.tell()) == (1_000_000, data[1_000_000:1_000_010], 1_000_010)
        assert (file.seek(5, os.SEEK_CUR), file.read(1)) == (1_000_015, data[1_000_015:1_000_016])
        assert (file.seek(len(data) + 10), file.read(5)) == (len(data) + 10, b"")
    store.put("empty", b"")
    with store.open("empty") as file:
        assert file.read() == b""


def test_an_open_file_never_mixes_two_versions(store: ObjectStore) -> None:
    store.put("f", b"a" * 5_000_000)
    with store.open("f") as file:
        start = file.read(10)
        store.put("f", b"b" * 5_000_000)
        try:
            rest = file.read()
        except Conflict:
            return
        assert set(start + rest) == {ord("a")}


def test_polars_reads_uris(store: ObjectStore, tmp_path: Path) -> None:
    frame = pl.DataFrame({"user_id": [0, 1, 2]})
    frame.write_parquet(tmp_path / "frame.parquet")
    for day in ("2015-05-03", "2015-05-04"):
        store.put(f"assets/a/dt={day}/data.parquet", tmp_path / "frame.parquet")
    uris = [store.uri(meta.key) for meta in store.list("assets/a")]
    read = pl.scan_parquet(uris, hive_partitioning=True, storage_options=store.storage_options).collect()
    assert read["user_id"].to_list() == [0, 1, 2, 0, 1, 2]
    assert read["dt"].n_unique() == 2
    assert store.uri("assets/a/") == uris[0].split("/dt=")[0]


def increment(store: ObjectStore, times: int) -> None:
    for _ in range(times):
        while True:
            data, etag = store.get_with_etag("counter")
            try:
                store.replace("counter", str(int(data) + 1).encode(), etag)
                break
            except Conflict:
                continue


FORKED_INCREMENTS = """
import os, pathlib, sys
from recsys_assets.storage.local import LocalStore
from recsys_assets.storage.objects import Conflict
store = LocalStore(pathlib.Path(sys.argv[1]))
children = [pid for pid in (os.fork(), os.fork()) if pid]  # four processes
for _ in range(30):
    while True:
        data, etag = store.get_with_etag("counter")
        try:
            store.replace("counter", b"%d" % (int(data) + 1), etag)
            break
        except Conflict:
            continue
for pid in children:
    os.waitpid(pid, 0)
"""


def test_compare_and_swap_counts_every_increment(store: ObjectStore) -> None:
    store.put("counter", b"0")
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: increment(store, 10), range(6)))
    assert store.get("counter") == b"60"


def test_only_one_of_many_creates(store: ObjectStore) -> None:
    def create(number: int) -> int | None:
        try:
            store.create("only", str(number).encode())
        except AlreadyExists:
            return None
        return number

    with ThreadPoolExecutor(6) as pool:
        (winner,) = [number for number in pool.map(create, range(12)) if number is not None]
    assert store.get("only") == str(winner).encode()


def test_compare_and_swap_holds_between_processes(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.put("counter", b"0")
    subprocess.run([sys.executable, "-c", FORKED_INCREMENTS, tmp_path], check=True)
    assert store.get("counter") == b"120"


def test_a_killed_local_write_leaves_the_old_object_and_frees_the_lock(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.put("o", b"old")
    _, etag = store.get_with_etag("o")
    die = (
        "import os, signal, sys, pathlib\n"
        "from recsys_assets.storage.local import LocalStore\n"
        "pathlib.Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "LocalStore(pathlib.Path(sys.argv[1])).replace('o', b'new', sys.argv[2])\n"
    )
    assert subprocess.run([sys.executable, "-c", die, tmp_path, etag], check=False).returncode == -signal.SIGKILL
    assert store.get("o") == b"old"
    assert [meta.key for meta in store.list()] == ["o"]
    store.replace("o", b"new", etag)
    assert store.get("o") == b"new"


def test_local_objects_are_readable_files(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}")
    store.put("a/b", b"x")
    path = store.local_path("a/b")
    assert path is not None
    assert path == tmp_path / "a" / "b"
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    assert path.stat().st_mode == plain.stat().st_mode  # others may read what the umask lets them
    assert store.storage_options is None


@pytest.mark.parametrize("uri", ["", "file://host/x", "file://", "s3://", "s3:///x", "gs://b/x", "s3://key:secret@b/x"])
def test_bad_uris_are_refused_without_showing_them(uri: str) -> None:
    with pytest.raises(ValueError, match="expected file:///path, a path or s3://bucket/prefix") as caught:
        open_store(uri)
    assert "secret" not in str(caught.value)


def test_s3_options_come_from_the_environment_and_hide_secrets() -> None:
    env = {
        "AWS_ENDPOINT_URL": "http://s3:9000",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "the-key",
        "AWS_SECRET_ACCESS_KEY": "the-hidden",
        "AWS_SESSION_TOKEN": "the-pass",
    }
    options = S3Options.from_env(env)
    assert options == S3Options("http://s3:9000", "eu-west-1", "the-key", "the-hidden", "the-pass")
    assert options.for_polars() == {
        "aws_endpoint_url": "http://s3:9000",
        "aws_region": "eu-west-1",
        "aws_access_key_id": "the-key",
        "aws_secret_access_key": "the-hidden",
        "aws_session_token": "the-pass",
        "aws_allow_http": "true",
    }
    shown = repr(options) + repr(open_store("s3://b/p", options))
    assert "the-" not in shown
    assert S3Options.from_env({"AWS_ENDPOINT_URL": "https://s3"}).allow_http is False
    assert S3Options.from_env({"AWS_REGION": ""}).for_polars() is None


def test_without_any_credentials_the_error_says_what_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ValueError, match="s3://bucket/p: no S3 credentials; set AWS_ACCESS_KEY_ID"):
        open_store("s3://bucket/p", S3Options(region="us-east-1"))


def test_canonical_json_has_one_spelling() -> None:
    assert canonical_json({"b": (1, 0.5), "a": "ü"}) == '{"a":"ü","b":[1,0.5]}\n'.encode()
    assert canonical_json({10: 1, 9: 2}) == canonical_json(json.loads(canonical_json({9: 2, 10: 1})))  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))


@pytest.mark.s3_real
def test_a_wrong_secret_is_refused(ceph: S3Server) -> None:
    options = S3Options(ceph.options.endpoint, "us-east-1", ceph.options.access_key_id, "not it")
    with pytest.raises(Exception, match="SignatureDoesNotMatch"):
        open_store(f"s3://{BUCKET}/p", options).put("k", b"")


@pytest.mark.s3_real
def test_a_versioned_ceph_bucket_refuses_every_swap(ceph: S3Server) -> None:
    # Known of Ceph 16 and stated in S3Store's docstring: no swap is better than a lost one.
    client = boto3_client(ceph.options)
    client.create_bucket(Bucket="versioned")
    client.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    store = open_store("s3://versioned", ceph.options)
    store.create("k", b"1")
    with pytest.raises(AlreadyExists):
        store.create("k", b"2")
    with pytest.raises(Conflict):
        store.replace("k", b"2", store.head("k").etag)
    assert store.get("k") == b"1"
