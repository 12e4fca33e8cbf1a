"""Frame functions over frames that Hypothesis draws."""

from __future__ import annotations

import pytest
from hypothesis import given

from recsys_assets.core.engine import Engine
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets_tests.engines.drawn import SETTINGS, raw_frames
from recsys_assets_tests.engines.frames import Raw
from recsys_assets_tests.engines.function_inputs import FunctionInputs, derived
from recsys_assets_tests.engines.functions import FUNCTIONS
from recsys_assets_tests.engines.same import assert_same, plain
from recsys_assets_tests.engines.test_conformance import TOLERANCE, functions_of

SLOW = (
    "evaluation.",
    "retrieval.candidates.candidates",
    "retrieval.candidates.union",
    "insight.figures.ReportInputs",
    "models.als.fit_factors",
)
"""Made of functions that run here anyway, at many times their cost."""


@pytest.mark.parametrize("engine", ["duckdb", pytest.param("spark", marks=pytest.mark.spark_all)], indirect=True)
@SETTINGS
@given(raw=raw_frames())
def test_an_engine_gives_what_polars_gives(engine: Engine, raw: Raw) -> None:
    tables = derived(raw)
    reference, other = FunctionInputs(PolarsEngine(), tables, raw.ids), FunctionInputs(engine, tables, raw.ids)
    for name in functions_of(engine.name):
        if not name.startswith(SLOW):
            function = FUNCTIONS[name]
            assert_same(plain(function(other)), plain(function(reference)), TOLERANCE[engine.name])
