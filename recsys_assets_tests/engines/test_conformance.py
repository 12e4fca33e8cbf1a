"""Every frame function on every engine, over frames that are plain and frames that are out to break something."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import typing
from functools import cache, lru_cache
from typing import Any

import narwhals as nw
import pytest
import scipy.sparse as sp

import recsys_assets.core
from recsys_assets.core.engine import Engine
from recsys_assets.core.models.cf_ensemble import CfEnsemble
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets_tests.engines.frames import RAW
from recsys_assets_tests.engines.function_inputs import FunctionInputs, tables_of
from recsys_assets_tests.engines.functions import FUNCTIONS, OWN_RESULT
from recsys_assets_tests.engines.same import assert_same, plain
from recsys_assets_tests.engines.united import UNITED

TOLERANCE = {"duckdb": 0.0, "spark": 1e-9}
"""Relative, of floats: one library of mathematics is not the other's, down to the last bit."""
BEFORE_ANY_ENGINE = frozenset(
    {"engine", "events.columns", "events.values"}
    | {f"insight.{name}" for name in ("drawing", "data_charts", "backtest_charts", "model_charts", "timeline")}
)
"""Not frame logic: the protocol of engines, columns of landing files in memory, drawing."""


def functions_of(engine: str) -> list[str]:
    return sorted(FUNCTIONS.keys() - OWN_RESULT.get(engine, frozenset()))


# A job on Spark takes about as long for one row as for a thousand, so there the frames are run as one; that no row is
# among them stays a case of its own. Each by itself is for ``make test-spark-all``.
CASES = [
    pytest.param(engine, frames, function, marks=marks, id=f"{engine}-{frames}-{function}")
    for engine, names, marks in (
        ("duckdb", RAW, ()),
        ("spark", (*UNITED, "empty"), pytest.mark.spark),
        ("spark", sorted(RAW.keys() - {"empty"}), pytest.mark.spark_all),
    )
    for frames in names
    for function in functions_of(engine)
]


@pytest.mark.parametrize(("engine", "frames", "function"), CASES, indirect=["engine"])
def test_an_engine_gives_what_polars_gives(engine: Engine, frames: str, function: str) -> None:
    found = plain(FUNCTIONS[function](inputs_of(engine, frames)))
    assert_same(found, reference(function, frames), TOLERANCE[engine.name])


@lru_cache(maxsize=1)
def inputs_of(engine: Engine, frames: str) -> FunctionInputs:
    return FunctionInputs(engine, *tables_of(frames))


@cache
def reference(function: str, frames: str) -> Any:
    return plain(FUNCTIONS[function](FunctionInputs(PolarsEngine(), *tables_of(frames))))


def test_every_frame_function_is_in_the_list() -> None:
    """A new one joins the list, or nobody knows whether the other engines can run it."""
    assert sorted(FUNCTIONS) == sorted(frame_functions())


def frame_functions() -> list[str]:
    found: list[str] = []
    for module in pkgutil.walk_packages(recsys_assets.core.__path__, "recsys_assets.core."):
        place = module.name.removeprefix("recsys_assets.core.")
        if place in BEFORE_ANY_ENGINE:
            continue
        for name, member in vars(importlib.import_module(module.name)).items():
            if not name.startswith("_") and getattr(member, "__module__", None) == module.name:
                found += [f"{place}.{name}{rest}" for rest, code in callables(member) if takes_or_gives_frames(code)]
    return found


def callables(member: Any) -> list[tuple[str, Any]]:
    """A function, or the public methods of a class, by what follows the member's name."""
    if inspect.isfunction(member):
        return [("", member)]
    methods = vars(member).items() if inspect.isclass(member) else ()
    return [
        (f".{name}", method)
        for name, method in methods
        if inspect.isfunction(method) and (name == "__init__" or not name.startswith("_"))
    ]


ONLY_TYPES = {"CfEnsemble": CfEnsemble, "sp": sp}
"""What modules import for their types alone."""


def takes_or_gives_frames(function: Any) -> bool:
    """Lazy frames, or expressions over them, are among its parameters or its result."""

    seen: list[Any] = []  # types may hold themselves, as trees do

    def mentions(hint: Any) -> bool:
        if hint in seen:
            return False
        seen.append(hint)
        fields = typing.get_type_hints(hint, localns=ONLY_TYPES).values() if dataclasses.is_dataclass(hint) else ()
        return hint in (nw.LazyFrame, nw.Expr) or any(map(mentions, (*typing.get_args(hint), *fields)))

    return any(mentions(hint) for hint in typing.get_type_hints(function, localns=ONLY_TYPES).values())
