"""The graph as declared: what it holds, that every asset is described, and that changes of it are seen."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from recsys_assets.definitions import build_definitions
from recsys_assets.settings import load_settings

SNAPSHOT = Path(__file__).parent / "graph.json"
GATED = {"ranker_evaluation", "champion", "promotion"}
GROUPS = {
    "events": {"raw_events", "clean_events", "rejected_events"},
    "catalog": {"item_properties", "category_tree", "item_features"},
    "activity": {"bot_users", "user_activity", "item_activity", "item_pairs"},
    "feedback": {"impressions", "attribution", "feedback_report"},
    "retrieval": {
        "top_popular",
        "covisited_items",
        "similar_items",
        "item_factors",
        "candidates",
        "cf_ensemble",
        "session_model",
        "retrieval_params",
    },
    "ranking": {"ranking_examples", "ranker_params", "ranker", *GATED, "served_ranker", "model_tracking"},
    "serving": {"recommendations", "explanations", "user_histories", "release"},
    "insight": {"event_counts", "data_report", "backtest_report"},
    "experiments": {
        "experiment_model",
        "experiment_validation",
        "experiment_challenger",
        "experiment_promotion",
        "model_comparison",
    },
}


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return build_definitions(*load_settings(dataset="retailrocket"))


def describe(definitions: dg.Definitions) -> dict[str, Any]:
    """Everything about the graph that a change should not slip into."""
    assets = definitions.resolve_asset_graph()
    checks = sorted(key.to_user_string() for key in assets.asset_check_keys)
    found: dict[str, Any] = {}
    for key in sorted(assets.get_all_asset_keys()):
        node = assets.get(key)
        mappings = {
            parent.to_user_string(): str(node.partition_mappings.get(parent, "same day"))
            for parent in sorted(node.parent_keys)
        }
        found[key.to_user_string()] = {
            "group": node.group_name,
            "reads": mappings,
            "kinds": sorted(node.kinds),
            "owners": list(node.owners),
            "code_version": node.code_version,
            "backfill": str(node.backfill_policy),
            "checks": [check.split(":")[1] for check in checks if check.split(":")[0] == key.to_user_string()],
        }
    return found


def test_graph_is_as_recorded(definitions: dg.Definitions) -> None:
    """A change of the graph shows in review. RECORD_GRAPH=1 writes the record anew."""
    found = json.dumps(describe(definitions), indent=1) + "\n"
    if os.environ.get("RECORD_GRAPH"):
        SNAPSHOT.write_text(found)
    assert json.loads(found) == json.loads(SNAPSHOT.read_text()), "the graph changed: read it, then RECORD_GRAPH=1"


def test_every_asset_is_described(definitions: dg.Definitions) -> None:
    specs = {spec.key.to_user_string(): spec for spec in definitions.resolve_all_asset_specs()}
    assert {group: {k for k, s in specs.items() if s.group_name == group} for group in GROUPS} == GROUPS
    for name, spec in specs.items():
        # What the lineage page and the lists of assets show: one plain sentence that says what it is.
        first = re.split(r"\.\s|\.$", (spec.description or "").replace("\n", " "))
        assert len(first) > 1, f"{name}: no sentence that ends"
        assert 20 <= len(first[0]) <= 130, f"{name}: {first[0]!r}"
        assert first[0][0].isupper(), name
        assert spec.owners, name
        assert spec.kinds, name
        assert spec.code_version or name == "raw_events", name
        daily = spec.partitions_def == specs["release"].partitions_def
        assert daily != (name == "experiment_model"), f"{name}: all are daily but that, which has one per file"


def test_a_generator_whose_data_nobody_brings_is_left_out_and_asking_for_it_is_an_error(definitions: dg.Definitions):
    names = {key.to_user_string() for key in definitions.resolve_asset_graph().get_all_asset_keys()}
    assert not {"item_embeddings", "nearest_model"} & names
    with pytest.raises(ValueError, match=r"RECSYS_GENERATORS: 'nearest' reads item_embeddings, for which data set"):
        build_definitions(*load_settings(dataset="retailrocket", generators="popular,nearest"))
    with pytest.raises(ValueError, match=r"^RECSYS_GENERATORS: unknown: loudest; there are popular, .*, nearest "):
        build_definitions(*load_settings(dataset="retailrocket", generators="popular, loudest"))


def test_frames_have_a_blocking_contract_check(definitions: dg.Definitions) -> None:
    checks = {key.to_user_string() for key in definitions.resolve_asset_graph().asset_check_keys}
    models = {"ranker", "ranker_params", "retrieval_params", "champion", "promotion", "served_ranker", "model_tracking"}
    models |= {"session_model", "cf_ensemble", "experiment_model", "experiment_challenger", "experiment_promotion"}
    reports = {"data_report", "feedback_report", "backtest_report", "model_comparison"}
    not_frames = {"raw_events", "release", *reports, *models}
    for name in set().union(*GROUPS.values()) - not_frames:
        assert f"{name}:contract" in checks


SLOW = {
    "mlflow", "dagster_mlflow", "catboost", "sklearn", "scipy", "faiss", "optuna", "matplotlib", "pandas", "implicit",
    "polars", "duckdb", "pyspark", "recsys_assets.core.retrieval.cf_ensemble",
    "recsys_assets.core.retrieval.next_in_session", "recsys_assets.core.retrieval.by_embedding",
}  # fmt: skip


def test_loading_touches_neither_disk_nor_network(tmp_path: Path) -> None:
    """In a fresh interpreter, with sockets forbidden and the working folder read before and after."""
    program = (
        "import socket, sys\n"
        "def no(*a, **k): raise AssertionError('network at import')\n"
        "socket.socket.connect = no\n"
        "import recsys_assets.definitions as d\n"
        "specs = list(d.defs.resolve_all_asset_specs())\n"
        f"print(len(specs), *{SLOW} & {{*sys.modules}})\n"
    )
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["41"], "41 assets, and nothing imported that takes seconds"
    assert not list(tmp_path.iterdir())
