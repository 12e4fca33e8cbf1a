"""Erasing reaches what no listing shows: files of killed writes, unfinished uploads, versions of before."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_assets.erasure import erase as erasing
from recsys_assets.erasure.erase import ErasureError
from recsys_assets.storage.local import LocalStore
from recsys_assets.storage.scratch import temporary_root
from recsys_assets.storage.uri import open_store
from recsys_assets_tests.erasure.test_erase import erase, made
from recsys_assets_tests.s3_servers import S3Server
from recsys_assets_tests.storage.killed import TEMPORARY, WRITES, killed

PERSON, MARK = 0, "this row is of the person"


def rows_of_the_person() -> bytes:
    out = io.BytesIO()
    table = pa.table({"user_id": pa.array([PERSON], pa.int64()), "raw": [MARK]})
    pq.write_table(table, out, compression="none", use_dictionary=False)  # pyright: ignore[reportUnknownMemberType]
    return out.getvalue()


def holding(*folders: Path) -> list[Path]:
    """Every file below some folders that has the row, whatever its name."""
    return [
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and MARK.encode() in path.read_bytes()
    ]


@pytest.fixture(autouse=True)
def _does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasing, "_LOOK_SECONDS", 0.0)


def test_leftovers_of_every_kind_of_write_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, system, file = tmp_path / "store", tmp_path / "tmp", tmp_path / "file"
    system.mkdir()
    file.write_bytes(rows_of_the_person())
    toy = made(LocalStore(root))
    monkeypatch.setattr("tempfile.tempdir", str(system))
    assert temporary_root().parent == system
    kinds = [(kind, root) for kind in WRITES] + [(kind, system) for kind in TEMPORARY]
    for kind, folder in kinds:
        killed(kind, folder, file)
        for left in holding(folder):  # the next process would sweep it
            left.replace(tmp_path / f"kept-{kind}")
    # As if all had died at once.
    for kind, folder in kinds:
        where = (folder / ".scratch" if folder == root else temporary_root()) / f"{kind}dead"
        where.mkdir(parents=True)
        where.with_name(f"{where.name}.lock").touch()
        (tmp_path / f"kept-{kind}").replace(where / "rows")
    before = root / "assets/visits/dt=2015-05-04" / f".data.parquet.{'a' * 32}.tmp"
    before.write_bytes(rows_of_the_person())
    assert len(holding(root, system)) == len(kinds) + 1
    erase(toy, PERSON)
    assert holding(root, system) == []


@pytest.mark.parametrize("name", ["assets/visits/dt=2015-05-04/.hidden", ".somewhere/else", "releases/.rows.parquet"])
def test_a_hidden_file_that_nobody_knows_is_found(name: str, tmp_path: Path) -> None:
    toy = made(LocalStore(tmp_path))
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(rows_of_the_person())
    with pytest.raises(ErasureError, match=name):
        erase(toy, PERSON)
    (tmp_path / name).unlink()
    assert erase(toy, PERSON).status == "done"


@pytest.mark.parametrize("key", ["exports/mine.bin", "assets/visits/old.parquet", "staging/accepted/x/data"])
def test_a_table_in_an_odd_place_is_found_whatever_its_name(key: str, tmp_path: Path) -> None:
    toy = made(LocalStore(tmp_path))
    toy.store.put(key, rows_of_the_person())
    with pytest.raises(ErasureError, match=key):
        erase(toy, PERSON)


@pytest.mark.parametrize("versioning", [False, True])
def test_unfinished_uploads_and_versions_of_before_are_removed(moto: S3Server, versioning: bool) -> None:
    options = moto.options
    client: Any = boto3.client(
        "s3",
        endpoint_url=options.endpoint,
        region_name=options.region,
        aws_access_key_id=options.access_key_id,
        aws_secret_access_key=options.secret_access_key,
    )
    if versioning:
        status = {"Status": "Enabled"}
        client.put_bucket_versioning(Bucket=moto.bucket, VersioningConfiguration=status)
    toy = made(open_store(f"s3://{moto.bucket}/mine", options))
    for key in ("mine/assets/visits/dt=2015-05-04/data.parquet", "others/file"):
        upload = client.create_multipart_upload(Bucket=moto.bucket, Key=key)
        part = {"Bucket": moto.bucket, "Key": key, "UploadId": upload["UploadId"], "PartNumber": 1}
        client.upload_part(**part, Body=rows_of_the_person())
    toy.store.put("staging/note", rows_of_the_person())
    toy.store.put("staging/note", b"nothing")
    erase(toy, PERSON)
    assert toy.store.unlisted() == []
    assert [upload["Key"] for upload in client.list_multipart_uploads(Bucket=moto.bucket)["Uploads"]] == ["others/file"]
    versions = client.list_object_versions(Bucket=moto.bucket, Prefix="mine/")["Versions"]
    held = [
        client.get_object(Bucket=moto.bucket, Key=v["Key"], VersionId=v["VersionId"])["Body"].read() for v in versions
    ]
    assert not any(MARK.encode() in data for data in held)
