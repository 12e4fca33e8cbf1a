"""Embeddings as files bring them: every form gives the same table, and every fault is named."""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_assets.core.catalog.embeddings import join_embeddings, parse_embeddings
from recsys_assets.core.contracts import IdTypes
from recsys_assets.core.dataset import EmbeddingsSpec
from recsys_assets.core.events.file_faults import DataFileError, SchemaError
from recsys_assets.core.events.read import read_rows

SPEC = EmbeddingsSpec.model_validate({"files": ["v*"], "columns": {"item_id": "sku", "embedding": "vector"}})
INTS, STRINGS = IdTypes(), IdTypes("string", "string")


def parsed(name: str, content: bytes, ids: IdTypes = INTS) -> pa.Table:
    return parse_embeddings(read_rows(io.BytesIO(content), name, SPEC, dict(SPEC.columns)), SPEC, ids, name)


def jsonl(*rows: Any) -> bytes:
    return "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows).encode()


def parquet(items: list[Any], vectors: pa.Array) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"sku": items, "vector": vectors, "more": [1] * len(items)}), sink)
    return sink.getvalue()


def test_every_form_gives_the_same_vectors():
    rows = [[1.0, -2.0, 0.5], [0.25, 8.0, 3.0]]
    files = {
        "v.jsonl": jsonl({"sku": 7, "vector": rows[0]}, {"vector": rows[1], "sku": "08", "more": 1}),
        "v.csv": b'vector,sku\n"[1, -2, 0.5]",7\n"[0.25,8e0,3]",8.0\n',
        "v.parquet": parquet([7, 8], pa.array(rows, pa.list_(pa.float64()))),
        "v1.parquet": parquet([7, 8], pa.array(rows, pa.list_(pa.float32(), 3))),
        "v2.parquet": parquet(["7", "8"], pa.array(rows, pa.large_list(pa.float32()))),
    }
    for name, content in files.items():
        assert parsed(name, content).to_pylist() == [
            {"item_id": 7, "embedding": rows[0]},
            {"item_id": 8, "embedding": rows[1]},
        ], name
    assert parsed("v.jsonl", files["v.jsonl"], STRINGS)["item_id"].to_pylist() == ["7", "08"]
    assert parsed("v.jsonl", b"").num_rows == 0


GOOD = {"sku": 1, "vector": [1, 2]}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"sku": "x", "vector": [1, 2]}, r"column 'sku' \(item_id\): expected int64, found a value like 'a' in row 1"),
        ({"vector": [1, 2]}, r"column 'sku' \(item_id\): expected int64, found nothing in row 1"),
        (
            {"sku": 1, "vector": [3, 4]},
            r"column 'sku' \(item_id\): expected each item once, found 1 of them more than once",
        ),
        (
            {"sku": 2, "vector": [1, 2, 3]},
            r"column 'vector' \(embedding\): expected 2 finite numbers, found a value like '\[9,9,9\]' in",
        ),
        (
            {"sku": 2, "vector": [1, None]},
            r"column 'vector' .*: expected 2 finite numbers, found a value like '\[9,aaaa\]' in row 1",
        ),
        (
            {"sku": 2, "vector": [1, 1e300]},
            r"column 'vector' .*: expected 2 finite numbers, found a value like '\[9,9a\+?999\]' in row 1",
        ),
        (
            {"sku": 2, "vector": [1, True]},
            r"column 'vector' .*: expected 2 finite numbers, found a value like '\[9,aaaa\]' in row 1",
        ),
        (
            {"sku": 2, "vector": "1 2"},
            r"column 'vector' .*: expected 2 finite numbers, found a value like '9 9' in row 1",
        ),
        ({"sku": 2}, r"column 'vector' \(embedding\): expected 2 finite numbers, found nothing in row 1"),
        ('{"sku": 2, "vec', r"row 1: not JSON, found"),
    ],
)
def test_a_fault_is_named_with_file_column_and_row(row: Any, message: str):
    with pytest.raises(SchemaError, match=rf"^v\.jsonl: {message}"):
        parsed("v.jsonl", jsonl(GOOD, row))


def test_a_column_of_another_kind_is_named():
    with pytest.raises(
        SchemaError, match=r"v\.parquet: column 'vector' \(embedding\): expected lists of numbers, found"
    ):
        parsed("v.parquet", parquet([7], pa.array([0.5])))
    with pytest.raises(
        SchemaError, match=r"v\.parquet: .*expected 2 finite numbers, found a list or an object in row 1"
    ):
        parsed("v.parquet", parquet([7, 8], pa.array([[1.0, 2.0], [float("nan"), 1.0]])))
    with pytest.raises(
        SchemaError, match=r"v\.jsonl: column 'vector' \(embedding\): expected a list of finite numbers"
    ):
        parsed("v.jsonl", jsonl({"sku": 1, "vector": []}))


def test_files_have_to_go_together():
    one, two = parsed("v1.jsonl", jsonl(GOOD)), parsed("v2.jsonl", jsonl({"sku": 2, "vector": [3, 4]}))
    assert join_embeddings({"v1.jsonl": one, "v2.jsonl": two}, INTS).num_rows == 2
    assert join_embeddings({}, INTS).num_rows == 0
    longer = parsed("v3.jsonl", jsonl({"sku": 3, "vector": [3, 4, 5]}))
    with pytest.raises(DataFileError, match=r"expected vectors of one length, found 2 in v1\.jsonl, 3 in v3\.jsonl"):
        join_embeddings({"v1.jsonl": one, "v3.jsonl": longer}, INTS)
    with pytest.raises(DataFileError, match=r"v1\.jsonl, v2\.jsonl: item_id: expected each item once, found 1"):
        join_embeddings({"v1.jsonl": one, "v2.jsonl": one}, INTS)
