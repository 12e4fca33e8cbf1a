"""The as-of join against its definition."""

import random
from typing import Any

import duckdb
import narwhals as nw
import polars as pl
import pytest

from recsys_assets.core.asof import as_of_join

LEFT = {"user": pl.Int64, "shop": pl.String, "t": pl.Int64, "n": pl.Int64}
RIGHT = {"user": pl.Int64, "shop": pl.String, "t": pl.Int64, "a": pl.Int64, "b": pl.String}


def random_rows(seed: int) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    rng = random.Random(seed)

    def key() -> tuple[int | None, str]:
        return rng.choice([0, 1, 2, None]), rng.choice("xy")

    left = [(*key(), rng.randrange(30), n) for n in range(80)]
    right = {(*key(), rng.randrange(30)): (rng.choice([None, 5, 6]), rng.choice([None, "p", "q"])) for _ in range(60)}
    return left, [(*k, *v) for k, v in right.items()]


def brute_force(left: list[tuple[Any, ...]], right: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    found = []
    for user, shop, t, n in left:
        earlier = [r for r in right if user is not None and r[:2] == (user, shop) and r[2] <= t]
        found.append((user, shop, t, n, *(max(earlier, key=lambda r: r[2])[3:] if earlier else (None, None))))
    return found


def joined(left: nw.LazyFrame, right: nw.LazyFrame) -> list[tuple[Any, ...]]:
    result = as_of_join(left, right, by=["user", "shop"], on="t", columns=["a", "b"])
    return sorted(
        result.collect(backend="polars").select("user", "shop", "t", "n", "a", "b").rows(), key=lambda r: r[3]
    )


@pytest.mark.parametrize("seed", range(5))
def test_equals_brute_force_on_polars_and_duckdb(seed: int):
    left, right = random_rows(seed)
    frames = [pl.DataFrame(left, LEFT, orient="row"), pl.DataFrame(right, RIGHT, orient="row")]
    lazy = [nw.from_native(df.lazy()) for df in frames]
    assert joined(*lazy) == brute_force(left, right)
    with duckdb.connect() as connection:
        relations = [nw.from_native(connection.from_arrow(df.to_arrow())) for df in frames]
        assert joined(*relations) == brute_force(left, right)


def test_a_row_of_nulls_is_a_row_and_equal_time_counts():
    left = nw.from_native(pl.LazyFrame({"k": [1, 1, 1], "t": [4, 5, 6]}))
    right = nw.from_native(pl.LazyFrame({"k": [1, 1], "t": [3, 5], "v": ["old", None]}))
    result = as_of_join(left, right, by=["k"], on="t", columns=["v"]).sort("t").collect()
    assert result["v"].to_list() == ["old", None, None]


def test_empty_sides():
    left = pl.LazyFrame({"k": [1], "t": [4]})
    right = pl.LazyFrame(schema={"k": pl.Int64, "t": pl.Int64, "v": pl.String})
    on = {"by": ["k"], "on": "t", "columns": ["v"]}
    assert as_of_join(nw.from_native(left), nw.from_native(right), **on).collect().rows() == [(1, 4, None)]
    assert as_of_join(nw.from_native(left.clear()), nw.from_native(right), **on).collect().rows() == []
