"""Explanations in a release: what was written is what a request reads, by the place of the list."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from recsys_assets.core.contracts import IdType, IdTypes, arrow_schema, explanations_contract
from recsys_assets.storage.explanations import (
    EXPLANATIONS_FILE,
    LISTS,
    Contribution,
    Explanation,
    ExplanationFormatError,
    Explanations,
    write_explanations,
)

GENERATORS = ("covisit", "repeat")
FEATURES = ("ui_events", "covisit_rank", "item_price", "fused_score")


def row(user: Any, rank: int, rng: random.Random) -> dict[str, Any]:
    ranks = {f"{name}_rank": rng.choice([None, 1, 300, 65_535]) for name in GENERATORS}
    found = {"user_id": user, "item_id": rng.randrange(99), "rank": rank, **ranks, "others": 0.5, "baseline": -0.25}
    known = rng.randrange(4)
    for place in (1, 2, 3):
        found[f"feature_{place}"] = rng.choice(FEATURES) if place <= known else None
        found[f"value_{place}"] = rng.choice([None, 3.0]) if place <= known else None
        found[f"contribution_{place}"] = 2.0**-place if place <= known else None
    return found


def rows_of(users: list[Any], items: int) -> list[dict[str, Any]]:
    rng = random.Random(len(users))
    return [row(user, rank, rng) for user in users for rank in range(1, rng.randint(1, items) + 1)]


def table_of(rows: list[dict[str, Any]], ids: IdType = "int64") -> pa.Table:
    return pa.Table.from_pylist(rows, schema=arrow_schema(explanations_contract(GENERATORS), IdTypes(user=ids)))


def explanation(stored: dict[str, Any]) -> Explanation:
    places = [place for place in (1, 2, 3) if stored[f"feature_{place}"] is not None]
    return Explanation(
        {name: stored[f"{name}_rank"] for name in GENERATORS if stored[f"{name}_rank"] is not None},
        [Contribution(*(stored[f"{what}_{n}"] for what in ("feature", "value", "contribution"))) for n in places],
        stored["others"],
        stored["baseline"],
    )


@pytest.mark.parametrize("ids", ["int64", "string"])
@pytest.mark.parametrize(("users", "items"), [(3, 1), (LISTS, 4), (2 * LISTS + 5, 3), (0, 0)])
def test_a_list_finds_its_explanations(tmp_path: Path, ids: IdType, users: int, items: int) -> None:
    named: list[Any] = (
        [user * 7 for user in range(users)] if ids == "int64" else [f"u{user:05}" for user in range(users)]
    )
    rows = rows_of(named, items)
    keys = pa.array(named, pa.int64() if ids == "int64" else pa.large_string())
    path = write_explanations(table_of(rows, ids), keys, tmp_path)
    found = Explanations(path)
    assert found.lists == users
    expected: dict[Any, list[Explanation]] = {user: [] for user in named}
    for stored in rows:
        expected[stored["user_id"]].append(explanation(stored))
    for position in {*range(min(users, 5)), *range(LISTS - 2, LISTS + 2), users - 1} & {*range(users)}:
        assert found.of_list(position) == expected[named[position]]
    before = path.read_bytes()
    write_explanations(table_of(rows, ids), keys, tmp_path)
    assert path.read_bytes() == before


def test_explanations_of_other_users_and_other_files_are_refused(tmp_path: Path) -> None:
    table = table_of(rows_of([1, 2, 3], 2))
    for keys in ([1, 2], [1, 2, 4], [1, 2, 3, 4]):
        with pytest.raises(ExplanationFormatError, match=f"explanations: of 3 users.* {len(keys)}"):
            write_explanations(table, pa.array(keys, pa.int64()), tmp_path)
    broken = tmp_path / EXPLANATIONS_FILE
    broken.write_bytes(b"no arrow")
    with pytest.raises(ExplanationFormatError, match="not an Arrow IPC file"):
        Explanations(broken)
    with pa.OSFile(str(broken), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(ExplanationFormatError, match="explanations of format 1, found none"):
        Explanations(broken)
