"""What the parts of something large share."""

import pyarrow as pa
import pytest

from recsys_assets.core import parts
from recsys_assets.core.parts import Memo, of_users
from recsys_assets.engines.polars import PolarsEngine


def test_rows_are_made_when_a_name_first_comes_up_and_never_again() -> None:
    engine, made = PolarsEngine(), list[int]()

    def count(batch: pa.Table) -> pa.Table:
        made.append(batch.num_rows)
        return batch

    schema = pa.schema([("x", pa.int64())])
    frame = engine.map_batches(engine.from_arrow(pa.table({"x": [1, 2, 3]})), count, schema)
    once = Memo(engine)
    first = once("x", frame)
    made.clear()
    for again in (first, once("x", frame)):
        assert again.collect(backend="polars").to_arrow()["x"].to_pylist() == [1, 2, 3]
    assert not made
    once("another", frame)
    assert made


@pytest.mark.parametrize("most_listed", [0, 1, 1_000])
def test_rows_of_some_users_however_many_they_are(most_listed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_MOST_LISTED_USERS", most_listed)
    engine = PolarsEngine()
    frame = engine.from_arrow(pa.table({"user_id": ["a", "b", "b", "c"], "x": [1, 2, 3, 4]}))
    users = engine.from_arrow(pa.table({"user_id": ["b", "c", "z"]}))
    (found,) = of_users(users, frame)
    assert sorted(found.collect(backend="polars").to_arrow()["x"].to_pylist()) == [2, 3, 4]
    (none,) = of_users(users.head(0), frame)
    assert none.collect(backend="polars").to_arrow().num_rows == 0
