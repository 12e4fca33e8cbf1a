"""Count the rows of a frame that violate its contract, lazily and on its own engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import narwhals as nw

from recsys_assets.core.contracts import Column, Contract
from recsys_assets.core.engine import Engine, Frame
from recsys_assets.core.parts import by_rows


@dataclass(frozen=True)
class Audit:
    """The number of rows, and the number that violates each rule (violated rules only)."""

    rows: int
    violations: dict[str, int]


def audit(engine: Engine, frame: Frame, contract: Contract) -> Audit:
    """Count a frame's rows and every kind of violation of its contract.

    Types need no check here: files are written in the contract's schema and a scan with another schema fails.
    """
    rules = dict(_rules(contract))
    columns = [nw.len().cast(nw.Int64).alias("rows")]
    columns += [rule.cast(nw.Int64).sum().alias(str(i)) for i, rule in enumerate(rules.values())]
    counts = frame.select(*columns).collect(backend="polars").row(0)
    violations = {name: int(count) for name, count in zip(rules, counts[1:], strict=True) if count}
    keys = frame.select(*contract.key)
    # Finding repeated keys takes memory for each key.
    large = engine.rows_at_once is not None and int(counts[0]) > engine.rows_at_once
    parts = by_rows(engine, contract.key[0], keys) if large else [(keys,)]
    if duplicates := sum(engine.repeated(part, contract.key) for (part,) in parts):
        violations[f"duplicate key ({', '.join(contract.key)})"] = duplicates
    return Audit(int(counts[0]), violations)


def gaps_in_rank(frame: Frame, by: tuple[str, ...]) -> int:
    """Number of groups whose ranks are not exactly 1..n."""
    groups = frame.group_by(*by).agg(n=nw.len().cast(nw.Int64), top=nw.col("rank").max(), low=nw.col("rank").min())
    broken = groups.filter((nw.col("n") != nw.col("top")) | (nw.col("low") != 1))
    return int(broken.select(n=nw.len()).collect(backend="polars").item())


def _rules(contract: Contract) -> Iterator[tuple[str, nw.Expr]]:
    for name, column in contract.columns.items():
        value = nw.col(name)
        if not column.nullable:
            yield f"{name} is null", value.is_null()
        if column.dtype in ("float64", "float32"):
            yield f"{name} is not finite", ~value.is_finite()
        yield from _ranges(name, column)


def _ranges(name: str, column: Column) -> Iterator[tuple[str, nw.Expr]]:
    value = nw.col(name)
    if column.ge is not None:
        yield f"{name} < {column.ge:g}", value < column.ge
    if column.le is not None:
        yield f"{name} > {column.le:g}", value > column.le
    if column.isin is not None:
        yield f"{name} is none of {', '.join(column.isin)}", ~value.is_in(list(column.isin))
