"""What the parts of something large share."""

import pyarrow as pa

from recsys_assets.core.parts import Memo
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
