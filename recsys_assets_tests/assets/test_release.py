"""What a release is made of: files, facts of the manifest, hashes of what it was made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_assets.assets.release import facts_of, facts_of_dataset, hashes, release_files, released_tables, table
from recsys_assets.checks.release import ReleaseRefused, check_release
from recsys_assets.core.contracts import IdTypes, arrow_schema, explanations_contract
from recsys_assets.core.dataset import load_dataset
from recsys_assets.core.gate.promotion import ModelRef, Promotion, RegistryState
from recsys_assets.core.gate.rule import GateResult
from recsys_assets.core.placements.config import PlacementsError
from recsys_assets.core.ranking.formats import GeneratorOrder, suffix_of
from recsys_assets.io_managers.handles import Partitions
from recsys_assets.storage.catalogue import Catalogue, KnownItem
from recsys_assets.storage.explanations import (
    EXPLANATIONS_FILE,
    Explanation,
    ExplanationFormatError,
    Explanations,
    write_explanations,
)
from recsys_assets.storage.lineage import Lineage
from recsys_assets.storage.lists import RankedItem, RankedLists
from recsys_assets.storage.local import LocalStore
from recsys_assets.storage.objects import sha256_bytes
from recsys_assets.storage.partition_store import PartitionStore
from recsys_assets_tests.core.gate.evaluations import evaluation_of

DAY = "2015-05-10"
CHAMPION = ModelRef("2015-05-08", "a" * 64)
MODEL = GeneratorOrder("fused").to_bytes()
RECOMMENDATIONS = pa.table(
    {
        "user_id": [1, 1, 7],
        "item_id": [30, 10, 20],
        "rank": [1, 2, 1],
        "score": [0.75, 0.5, 0.625],
        "source": ["ranker"] * 3,
        "generator": ["covisit", "als", "popular"],
    }
)
SIMILAR = pa.table(
    {
        "item_id": [10, 10, 10, 20],
        "source": ["als", "covisit", "fused", "als"],
        "similar_item_id": [20, 30, 40, 50],
        "rank": [1, 1, 1, 1],
        "score": [0.125, 0.25, 0.375, 0.5],
        "generator": ["als", "covisit", "covisit", "als"],
    }
)
POPULAR = pa.table({"segment": ["all"], "item_id": [10], "rank": [1], "score": [3.0], "is_fallback": [True]})
HISTORIES = pa.table(
    {
        "user_id": [1, 7],
        "item_id": [20, 10],
        "rank": [1, 1],
        "score": [1.5, 2.0],
        "source": ["interaction", "purchase"],
    }
)
ITEMS = pa.table(
    {
        "item_id": [10, 20],
        "category_id": ["shoes", None],
        "root_id": pa.array(["clothes", None]),
        "depth": pa.array([2, None], pa.int64()),
        "available": [True, False],
        "price": pa.array([9.5, None]),
        "brand": pa.array(["Ada", None]),
        "title": pa.array([None, None], pa.string()),
        "first_seen": [date(2015, 5, 1), date(2015, 5, 10)],
        "days_known": [10, 1],
    }
)
STORED = {
    "recommendations": RECOMMENDATIONS,
    "similar_items": SIMILAR,
    "top_popular": POPULAR,
    "user_histories": HISTORIES,
    "item_features": ITEMS,
}
TABLES = released_tables(STORED)


def decided(order_by: str = "ranker", champion: ModelRef | None = CHAMPION) -> Promotion:
    gate = GateResult(True, "fused", 0.1, 0.05, 0.2, 100, "it won")
    state = RegistryState(champion)
    return Promotion(DAY, "manual", state, None, gate, "no model", state, order_by, "it won")


def partitions(asset: str, files: Mapping[str, Path]) -> Partitions:
    def unread(_: object) -> object:
        raise AssertionError(f"{asset} is not scanned")

    return Partitions(asset, tuple(files), (), unread, lambda day: files[day])  # type: ignore[arg-type]


def explanations(*rows: tuple[int, int, int]) -> pa.Table:
    """Of (user, item, rank); ``als`` gave each item the rank that it has."""
    columns = ("user_id", "item_id", "rank", "als_rank", "others", "baseline")
    return pa.Table.from_pylist(
        [dict(zip(columns, (*row, row[2], 0.5, 0.0), strict=True)) for row in rows],
        schema=arrow_schema(explanations_contract(["als"]), IdTypes()),
    )


def released(
    folder: Path, model: bytes | None, tables: Mapping[str, pa.Table] = TABLES, explained: pa.Table | None = None
) -> dict[str, Path]:
    evaluation, stored = folder / "evaluation.parquet", folder / "model.bin"
    pq.write_table(evaluation_of(), evaluation)
    stored.write_bytes(model or b"")
    release = folder / "release"
    release.mkdir()
    upstream = {
        "served_ranker": partitions("served_ranker", {} if model is None else {DAY: stored}),
        "ranker_evaluation": partitions("ranker_evaluation", {DAY: evaluation}),
        "explanations": partitions("explanations", {}),
    }
    if explained is not None:
        pq.write_table(explained, folder / "explanations.parquet")
        upstream["explanations"] = partitions("explanations", {DAY: folder / "explanations.parquet"})
    return release_files(tables, upstream, decided(), DAY, release)


def lists(files: Mapping[str, Path], name: str, key: int | str) -> list[RankedItem]:
    return RankedLists.open(files[f"{name}.keys.arrow"].parent, name).get(key, 100)


def test_the_files_hold_the_lists_that_are_served(tmp_path: Path) -> None:
    files = released(tmp_path, MODEL)
    assert {path.name for path in files.values()} == set(files)
    assert lists(files, "recommendations", 1) == [(30, 0.75, "covisit"), (10, 0.5, "als")]
    assert lists(files, "similar_items", 10) == [(40, 0.375, "covisit")], "the fused similarity only"
    assert lists(files, "similar_items", 20) == []
    assert lists(files, "top_popular", "all") == [(10, 3.0, "top_popular")]


def test_the_model_the_decision_and_the_evaluation_are_in_it(tmp_path: Path) -> None:
    files = released(tmp_path, MODEL)
    assert files[f"ranker{suffix_of(MODEL)}"].read_bytes() == MODEL
    assert Promotion.from_json(files["promotion.json"].read_text()) == decided()
    assert json.loads(files["evaluation.json"].read_text()) == evaluation_of().to_pylist()


def test_the_first_items_of_the_lists_are_explained_where_the_day_has_explanations(tmp_path: Path) -> None:
    files = released(tmp_path, MODEL, explained=explanations((1, 30, 1), (1, 10, 2), (7, 20, 1)))
    found = Explanations(files[EXPLANATIONS_FILE])
    assert [found.of_list(at) for at in (0, 1)] == [
        [Explanation({"als": 1}, [], 0.5, 0.0), Explanation({"als": 2}, [], 0.5, 0.0)],
        [Explanation({"als": 1}, [], 0.5, 0.0)],
    ]
    check_release(files, facts_of(TABLES, decided()))
    (tmp_path / "without").mkdir()
    assert EXPLANATIONS_FILE not in released(tmp_path / "without", MODEL)


def test_explanations_of_other_lists_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExplanationFormatError, match="of 1 users"):
        released(tmp_path, MODEL, explained=explanations((1, 30, 1), (1, 10, 2)))
    (tmp_path / "other").mkdir()
    files = released(tmp_path / "other", MODEL)
    fewer = write_explanations(explanations((1, 30, 1)), pa.array([1]), files["catalogue.arrow"].parent)
    with pytest.raises(ReleaseRefused, match="explanations: of 1 lists, there are 2"):
        check_release({**files, EXPLANATIONS_FILE: fewer}, facts_of(TABLES, decided()))


@pytest.mark.parametrize("model", [None, b""])
def test_without_a_model_there_is_no_file_of_it(tmp_path: Path, model: bytes | None) -> None:
    assert [name for name in released(tmp_path, model) if name.startswith("ranker")] == []


def test_equal_content_gives_equal_files(tmp_path: Path) -> None:
    contents: list[dict[str, bytes]] = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        contents.append({file: path.read_bytes() for file, path in released(tmp_path / name, MODEL).items()})
    assert contents[0] == contents[1]


@pytest.mark.parametrize(
    ("order_by", "champion", "model"),
    [("ranker", CHAMPION, CHAMPION.id), ("fused", CHAMPION, None), ("popular", None, None)],
)
def test_the_manifest_names_the_model_only_where_it_orders(
    order_by: str, champion: ModelRef | None, model: str | None
) -> None:
    facts = facts_of(TABLES, decided(order_by, champion))
    assert facts == {
        "served_by": "ranker",
        "model": model,
        "fallback_segment": "all",
        "lists": {"recommendations": 3, "similar_items": 4, "top_popular": 1, "user_histories": 2},
        "items": 4,
    }


def test_a_day_without_recommendations_was_ordered_by_nobody() -> None:
    facts = facts_of({**TABLES, "recommendations": RECOMMENDATIONS.slice(0, 0)}, decided())
    assert (facts["served_by"], facts["lists"]["recommendations"]) == (None, 0)


def test_the_manifest_names_the_list_of_unknown_users_and_no_release_lacks_it(tmp_path: Path) -> None:
    both = pa.concat_tables(
        [
            POPULAR.set_column(4, "is_fallback", pa.array([False])),
            POPULAR.set_column(0, "segment", pa.array(["trending"])),
        ]
    )
    tables = {**TABLES, "top_popular": both}
    facts = facts_of(tables, decided())
    assert facts["fallback_segment"] == "trending"
    (tmp_path / "stated").mkdir()
    check_release(released(tmp_path / "stated", MODEL, tables), facts)
    (tmp_path / "lacks").mkdir()
    with pytest.raises(ReleaseRefused, match="no segment 'trending': unknown users"):
        check_release(released(tmp_path / "lacks", MODEL), {**facts, "lists": facts_of(TABLES, decided())["lists"]})


def test_the_manifest_states_what_events_are_worth() -> None:
    facts = facts_of_dataset(load_dataset("retailrocket"))
    assert (facts["dataset"], facts["ids"]) == ("retailrocket", {"user": "int64", "item": "int64"})
    assert facts["event_types"] == {
        "view": {"weight": 1.0, "target": False},
        "addtocart": {"weight": 5.0, "target": True},
        "transaction": {"weight": 10.0, "target": True},
    }


def test_the_catalogue_has_the_features_of_items_and_every_item_that_is_served(tmp_path: Path) -> None:
    catalogue = Catalogue.open(released(tmp_path, MODEL)["catalogue.arrow"])
    assert catalogue.item_ids.to_pylist() == [10, 20, 30, 40], "30 and 40 are in lists only, 50 in what is not served"
    assert catalogue.item(10) == KnownItem(10, "shoes", "clothes", 2, True, 9.5, date(2015, 5, 1), "Ada")
    assert catalogue.item(20) == KnownItem(20, None, None, None, False, None, date(2015, 5, 10))
    assert catalogue.item(30) == KnownItem(30, None, None, None, True, None, None)


def test_a_release_that_serves_an_item_of_which_its_catalogue_knows_nothing_is_refused(tmp_path: Path) -> None:
    lacking = {**TABLES, "catalogue": TABLES["catalogue"].slice(1)}
    with pytest.raises(ReleaseRefused, match="recommendations: 1 items are not in the catalogue, such as 10"):
        check_release(released(tmp_path, MODEL, lacking), facts_of(lacking, decided()))
    with pytest.raises(ReleaseRefused, match="catalogue: 3 items were published, 4 were computed"):
        check_release({"any": tmp_path / "release" / "any"}, facts_of(TABLES, decided()))


def test_placements_are_checked_as_they_were_stored(tmp_path: Path) -> None:
    files = released(tmp_path, MODEL)
    facts = {**facts_of_dataset(load_dataset("retailrocket")), **facts_of(TABLES, decided())}
    path = tmp_path / "release" / "placements.toml"
    path.write_text("[places.home]\ngoal = 'transaction'")
    check_release({**files, "placements.toml": path}, facts)
    path.write_text("[places.home]\ngoal = 'sale'")
    with pytest.raises(PlacementsError, match=r"places\.home\.goal"):
        check_release({**files, "placements.toml": path}, facts)


def test_a_missing_partition_is_named() -> None:
    with pytest.raises(dg.Failure, match=f"similar_items has no partition {DAY} to release"):
        table(partitions("similar_items", {}), DAY)


def test_the_hashes_are_those_of_the_records_of_the_day(tmp_path: Path) -> None:
    store, staged = PartitionStore(LocalStore(tmp_path / "store")), tmp_path / "data.json"
    for asset, day in (("a", DAY), ("b", "2015-05-09")):
        staged.write_text(asset)
        store.write(asset, day, staged, Lineage(asset, day, 0, "1", file=staged.name))
    assert hashes(store, ["a", "b", "c"], DAY) == {"a": sha256_bytes(b"a")}
