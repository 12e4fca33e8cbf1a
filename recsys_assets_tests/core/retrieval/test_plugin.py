"""A generator that another package brings: found by its entry point, in a fresh interpreter, beside our own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGE = """
import numpy as np
import pandas as pd
import pyarrow as pa
from rectools.dataset import Dataset
from rectools.models import EASEModel

from recsys_assets.core.models.interactions import Interactions
from recsys_assets.core.models.stored_arrays import from_bytes, to_bytes
from recsys_assets.core.retrieval.protocol import FitContext, Fitted


def fit(context: FitContext) -> bytes:
    pairs = context.history().to_pandas().assign(datetime=pd.Timestamp(context.as_of))
    dataset = Dataset.construct(pairs)
    model = EASEModel(regularization=5.0).fit(dataset)
    items = dataset.item_id_map.external_ids
    order = np.argsort(items)
    return to_bytes(pa.array(items[order]), {"weights": np.asarray(model.weight)[np.ix_(order, order)]})


def recommend(state: bytes, history: pa.Table, k: int, exclude: pa.Array) -> pa.Table:
    items, arrays = from_bytes(state)
    known = Interactions.onto(history, items)
    scores = known.matrix @ arrays["weights"]
    scores[known.matrix.nonzero()] = -np.inf
    scores[:, np.isin(items.to_pylist(), exclude.to_pylist())] = -np.inf
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    rows = np.repeat(np.arange(len(best)), best.shape[1])
    return pa.table(
        {
            "user_id": known.users.take(pa.array(rows)),
            "item_id": items.take(pa.array(best.ravel())),
            "score": scores[rows, best.ravel()].astype(np.float64),
        }
    )


EASE = Fitted(about="EASE of RecTools.", fit=fit, recommend=recommend)
"""
PROGRAM = """
import json
from dataclasses import replace

from recsys_assets.core.retrieval.candidates import candidates
from recsys_assets.core.retrieval.protocol import GeneratorQuota
from recsys_assets.core.generator_registry import GeneratorRegistry
from recsys_assets.definitions import build_definitions
from recsys_assets.settings import load_settings
from recsys_assets_tests.core.retrieval import test_candidates as toy
from recsys_assets_tests.core.world import ENGINE, STRINGS, events, properties, rows

registry = GeneratorRegistry.installed()
graph = build_definitions(*load_settings(dataset="retailrocket")).resolve_asset_graph()
happened = events(seed=31, items=60, ids=STRINGS)
params = replace(toy.PARAMS, quotas={**toy.QUOTAS, "ease": GeneratorQuota(5, 1.0)})
given = toy.inputs(happened, properties(items=60, ids=STRINGS), STRINGS, registry)
found = candidates(ENGINE, given, toy.DAY, toy.END, params, registry)
columns = ("user_id", "item_id", "ease_score", "ease_rank", "fused_score")
print(json.dumps({
    "generators": registry.names,
    "assets": [key.to_user_string() for key in graph.get_all_asset_keys()],
    "touched": sorted({(e["user_id"], e["item_id"]) for e in happened if e["user_id"] and e["dt"] <= toy.DAY}),
    "rows": rows(found.select(*columns)),
}))
"""


def python(program: str, entry_point: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program where a package with an entry point is installed."""
    (folder / "shop_models.py").write_text(PACKAGE)
    about = folder / "shop_models-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: shop-models\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[recsys_assets.generators]\n{entry_point}\n")
    path = os.pathsep.join([str(folder), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_model_of_rectools_proposes_candidates_like_our_own(tmp_path: Path):
    done = python(PROGRAM, "ease = shop_models:EASE", tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["generators"][-1] == "ease"
    assert "ease_model" in found["assets"]
    interacted = {tuple(pair) for pair in found["touched"]}
    lists: dict[str, list[tuple[int, float]]] = {}
    for row in found["rows"]:
        if row["ease_rank"] is not None:
            assert (row["user_id"], row["item_id"]) not in interacted
            assert row["fused_score"] >= 1.0 / (10 + row["ease_rank"]) - 1e-6, "it has its voice in the fusion"
            lists.setdefault(row["user_id"], []).append((row["ease_rank"], row["ease_score"]))
    assert len(lists) > 10
    for mine in lists.values():
        mine.sort()
        assert [rank for rank, _ in mine] == [1, 2, 3, 4, 5]
        assert [score for _, score in mine] == sorted((score for _, score in mine), reverse=True)


SCHEMAS = """
import importlib.metadata
import json

groups = []
looked_up = importlib.metadata.entry_points


def entry_points(**selected):
    groups.append(selected.get("group"))
    return looked_up(**selected)


importlib.metadata.entry_points = entry_points

from recsys_assets.core import contracts
from recsys_assets import settings
from recsys_assets.core.generator_registry import BUILT_IN, GROUP

at_import = list(groups)

from recsys_assets.definitions import build_definitions

groups.clear()


def shown(**stated):
    definitions = build_definitions(*settings.load_settings(dataset="retailrocket"), **stated)
    specs = {spec.key.to_user_string(): spec for spec in definitions.resolve_all_asset_specs()}
    columns = specs["candidates"].metadata["dagster/column_schema"].columns
    fields = [definitions.resources[name].generators for name in ("frames", "io_manager")]
    return {"assets": list(specs), "columns": [column.name for column in columns], "resources": fields}


found, lookups = shown(), groups.count(GROUP)
ours = shown(registry=BUILT_IN)
print(json.dumps({
    "at_import": at_import,
    "lookups": [lookups, groups.count(GROUP)],
    "found": found,
    "ours": ours,
    "contract": list(contracts.candidates_contract(BUILT_IN.names).columns),
    "built_in": BUILT_IN.names,
}))
"""


def test_a_package_changes_the_schemas_of_the_graphs_built_with_it_alone(tmp_path: Path):
    done = python(SCHEMAS, "ease = shop_models:EASE", tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert set(told["at_import"]) <= {"pydantic"}, "contracts and settings ask for no entry point; pydantic for its own"
    assert told["lookups"] == [1, 1], "a graph asks once, and not at all where it is told"
    found, ours = told["found"], told["ours"]
    assert ours["columns"] == told["contract"]
    at = told["contract"].index("fused_score")
    assert found["columns"] == [*told["contract"][:at], "ease_score", "ease_rank", *told["contract"][at:]]
    assert ours["resources"] == [told["built_in"]] * 2
    assert found["resources"] == [[*told["built_in"], "ease"]] * 2
    assert set(found["assets"]) - set(ours["assets"]) == {"ease_model"}


LOAD = """
from recsys_assets.core.generator_registry import GeneratorRegistry
from recsys_assets.core.retrieval.protocol import fitted
fitted(GeneratorRegistry.installed(), "ease")
"""


@pytest.mark.parametrize(
    ("entry_point", "message"),
    [
        ("ease = shop_models:fit", "generator 'ease': shop_models:fit is a function, expected a Fitted"),
        ("ease = recsys_assets.core.retrieval.basic:POPULAR", "is a Derived, expected a Fitted"),
        ("popular = shop_models:EASE", "entry point 'popular' of recsys_assets.generators: expected a name of"),
        ("my-ease = shop_models:EASE", "entry point 'my-ease' of recsys_assets.generators: expected a name of"),
    ],
)
def test_an_entry_point_at_fault_is_named(entry_point: str, message: str, tmp_path: Path):
    done = python(LOAD, entry_point, tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
