"""The search finds a person in each kind of file that a store holds, and nobody whose id resembles the person's."""

from __future__ import annotations

import gzip
import html
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import catboost
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_assets.core.models.stored_arrays import to_bytes, write_mapped
from recsys_assets.erasure.person import Person
from recsys_assets.erasure.search import SearchError, holders, is_distinctive
from recsys_assets.ingest.suppression import UserId
from recsys_assets.storage.erasure_requests import ErasureRequest, write_request
from recsys_assets.storage.lists import list_files, write_lists
from recsys_assets_tests.erasure.test_erase import NAMES, NUMBERS
from recsys_assets_tests.erasure.toy import MemoryStore

ITEMS = pa.array([12, 70], pa.int64())


def parquet(**columns: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def npz(**arrays: Any) -> bytes:
    out = io.BytesIO()
    np.savez(out, allow_pickle=False, **arrays)
    return out.getvalue()


def mapped_model(**arrays: Any) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write_mapped(Path(folder) / "model", ITEMS, {name: np.asarray(values) for name, values in arrays.items()})
        return (Path(folder) / "model").read_bytes()


def keys_of_lists(user: UserId) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        table = pa.table({"user_id": [user], "item_id": [12], "rank": [1], "score": [1.0]})
        return write_lists(table, "user_id", "user_histories", Path(folder))[0].read_bytes()


def cbm(note: str) -> bytes:
    model = catboost.CatBoostRegressor(iterations=1, depth=1, verbose=False, allow_writing_files=False)
    model.fit([[0], [1]], [0, 1])
    model.get_metadata()["note"] = note
    with tempfile.TemporaryDirectory() as folder:
        model.save_model(f"{folder}/model.cbm")
        return Path(folder, "model.cbm").read_bytes()


def page(user: UserId) -> str:
    cell = html.escape(str(user))
    return f"<table><tr><th>item</th><th>user_id</th></tr><tr><td>9</td><td><b>{cell}</b></td></tr></table>"


KINDS: dict[str, Callable[[UserId], bytes]] = {
    "assets/visits/dt=2015-05-04/other.parquet": lambda u: parquet(user_id=[u]),
    "staging/events/0/rejected.parquet": lambda u: parquet(raw=[json.dumps({"visitorid": str(u)})]),
    "exports/columns.parquet": lambda u: parquet(visitorid=[str(u)]),
    f"releases/x/{list_files('user_histories')[0]}": keys_of_lists,
    "releases/x/model.arrow": lambda u: mapped_model(**{"als.user_ids": [u]} if u == 12 else {"note": f"user_id={u}"}),
    "assets/one/dt=2015-05-04/model.npz.zst": lambda u: to_bytes(
        ITEMS, {"params": np.frombuffer(json.dumps({"user_id": u}).encode(), np.uint8)}
    ),
    "assets/one/dt=2015-05-04/users.npz": lambda u: npz(user_id=np.asarray([u]), items=ITEMS.to_numpy()),
    "assets/one/dt=2015-05-04/text.npz": lambda u: npz(note=np.frombuffer(f"user_id {u}".encode(), np.uint8)),
    "assets/ranker/dt=2015-05-04/model.cbm": lambda u: cbm(f"user_id: {json.dumps(u)}"),
    "assets/one/dt=2015-05-04/report.html": lambda u: page(u).encode(),
    "assets/two/dt=2015-05-04/report.html": lambda u: f"<dt>user_id</dt> <dd>{html.escape(str(u))}</dd>".encode(),
    "releases/x/promotion.json": lambda u: json.dumps({"users": 12, "user_ids": ["z", 7, u]}, indent=1).encode(),
    "stated/within.json": lambda u: json.dumps({"why": json.dumps({"user_id": u})}).encode(),
    "tuning/study.journal": lambda u: f'{{"op": 1}}\n{{"op": 2, "user_id": {json.dumps(u)}}}\n'.encode(),
    "releases/x/placements.toml": lambda u: f"[rules]\nuser_ids = [\n  3,\n  {json.dumps(u)},\n]\n".encode(),
    "exports/mine.csv": lambda u: f"ts;visitorid;item\n1;{u};9\n2;71;12\n".encode(),
    "exports/mine.csv.gz": lambda u: gzip.compress(f"user_id\n{u}\n".encode()),
    "logs/run.txt": lambda u: f"the row of user_id {u}.\n".encode(),
}


@pytest.mark.parametrize(
    ("user", "other"),
    [(12, 1234), (12, 312), (12, -12), (9876543210, 98765432101), ("u-1234567", "u-12345678"), ("ann", "joanna")],
)
@pytest.mark.parametrize("key", KINDS)
def test_each_kind_of_file(key: str, user: UserId, other: UserId) -> None:
    person = Person(user, NUMBERS if isinstance(user, int) else NAMES)
    holding, resembling = MemoryStore({key: KINDS[key](user)}), MemoryStore({key: KINDS[key](other)})
    assert holders(holding, person) == {key: 1}
    assert holders(resembling, person) == {}


def test_a_number_is_the_person_only_where_users_are() -> None:
    store = MemoryStore(
        {
            "releases/x/evaluation.json": b'{"rows": 12, "users": 12, "items": [12], "user_id": 71}',
            "report.html": b"<table><tr><th>users</th><th>user_id</th></tr><tr><td>12</td><td>71</td></tr></table>",
            "mine.csv": b"item,visitorid\n12,71\n",
            "model.npz.zst": to_bytes(ITEMS, {"starts": np.asarray([12])}),
            "model.arrow": mapped_model(starts=[12]),
            "similar_items.keys.arrow": keys_of_lists(12),
            "data.parquet": parquet(user_id=[71], item_id=[12]),
        }
    )
    assert holders(store, Person(12, NUMBERS)) == {}


@pytest.mark.parametrize("text", ["x=u1234567", "é u1234567\\n", "/u1234567/", "a\\nu1234567", "u1234567, u1234567b"])
def test_an_id_that_nothing_else_can_be_is_found_wherever_it_stands(text: str) -> None:
    store = MemoryStore({"some.bin": b"\x00\x01" + text.encode(), "other": b"au1234567 u1234567@x u1234567.de"})
    assert holders(store, Person("u1234567", NAMES)) == {"some.bin": 1}
    titles = to_bytes(pa.array(["one", "bought by u1234567", "u12345678"]), {})
    assert holders(MemoryStore({"model": titles}), Person("u1234567", NAMES)) == {"model": 1}


def test_which_ids_are_distinctive() -> None:
    assert all(map(is_distinctive, [1234567890, "0f8fad5b-d9cb", "ann@example.org", "u12345"]))
    assert not any(map(is_distinctive, [0, 12, 123456789, -5, "12", "000000000012", "view", "recommendations", "u1"]))


def test_a_request_to_erase_names_the_person_and_a_damaged_file_is_named() -> None:
    store = MemoryStore()
    write_request(store, ErasureRequest("ann@example.org", "2015-05-04T00:00:00+00:00"))
    person = Person("ann@example.org", NAMES)
    assert holders(store, person) == {}
    store.put("assets/visits/dt=2015-05-04/data.parquet", b"PAR1 and no more")
    with pytest.raises(SearchError, match=r"data\.parquet: cannot be searched"):
        holders(store, person)
