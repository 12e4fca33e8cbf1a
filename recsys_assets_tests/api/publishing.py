"""Releases for tests of the API."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from recsys_assets.core.contracts import IdTypes, arrow_schema, explanations_contract
from recsys_assets.core.models import session_model
from recsys_assets.core.models.session_model import SessionParams
from recsys_assets.core.models.sessions import fit as fit_sessions
from recsys_assets.core.models.stored_arrays import from_bytes, write_mapped
from recsys_assets.core.retrieval.cf_ensemble import fit as fit_ensemble
from recsys_assets.storage.catalogue import COLUMNS, OPTIONAL, KnownItem
from recsys_assets.storage.catalogue_writer import write_catalogue
from recsys_assets.storage.explanations import write_explanations
from recsys_assets.storage.lists import RankedLists, write_lists
from recsys_assets.storage.releases import Releases
from recsys_assets.storage.served_lists import model_file
from recsys_assets.storage.uri import open_store

Id = int | str


@dataclass(frozen=True)
class Content:
    """What a release says, as plain lists of items, best first."""

    recommendations: Mapping[Id, Sequence[Id]]
    similar_items: Mapping[Id, Sequence[Id]] = field(default_factory=dict)
    top_popular: Mapping[str, Sequence[Id]] = field(default_factory=dict)
    user_histories: Mapping[Id, Sequence[Id]] = field(default_factory=dict)
    ids: Mapping[str, str] = field(default_factory=lambda: {"user": "int64", "item": "int64"})
    fallback: str | None = None
    items: Sequence[KnownItem] | None = None
    """The catalogue, ascending; None: a release from before there were catalogues."""
    purchased: Mapping[Id, Sequence[Id]] = field(default_factory=dict)
    """Items of the histories that are purchases."""
    sessions: Sequence[Sequence[Id]] = ()
    """Sessions that the models are fitted on, each also the history of a user; none: a release without models."""
    placements: str | None = None
    """Content of ``placements.toml``."""
    explained: int = 0
    """Items of each list that are explained, as :func:`explanations_table` does; 0: a release without explanations."""


def write_content(content: Content, folder: Path) -> dict[str, Path]:
    """The files of a release."""
    user, item = (getattr(pa, content.ids[side])() for side in ("user", "item"))
    paths: list[Path] = []
    for name, key, lists in (
        ("recommendations", user, content.recommendations),
        ("similar_items", item, content.similar_items),
        ("top_popular", pa.string(), content.top_popular),
        ("user_histories", user, content.user_histories),
    ):
        rows = [(k, rank, i, 1 / rank) for k, items in sorted(lists.items()) for rank, i in enumerate(items, 1)]
        fields = [("key", key), ("rank", pa.int64()), ("item_id", item), ("score", pa.float64())]
        table = pa.table({n: pa.array([row[c] for row in rows], t) for c, (n, t) in enumerate(fields)})
        if name != "top_popular":
            source = {"recommendations": "ranker", "similar_items": "fused", "user_histories": "interaction"}[name]
            bought = content.purchased if name == "user_histories" else {}
            sources = ["purchase" if row[2] in bought.get(row[0], ()) else source for row in rows]
            table = table.append_column("source", pa.array(sources, pa.string()))
        paths += write_lists(table, "key", name, folder)
    if content.items is not None:
        paths.append(write_catalogue(catalogue_table(content.items), folder))
    if content.sessions:
        paths += write_models(content.sessions, folder)
    if content.explained:
        lists = RankedLists.open(folder, "recommendations")
        paths.append(write_explanations(explanations_table(content), lists.keys, folder))
    if content.placements is not None:
        paths.append(folder / "placements.toml")
        paths[-1].write_text(content.placements)
    return {path.name: path for path in paths}


def write_models(sessions: Sequence[Sequence[Id]], folder: Path) -> list[Path]:
    """The models of a release, fitted on sessions: each is one user's."""
    rows = [
        (number, item, 10 * number + place) for number, items in enumerate(sessions) for place, item in enumerate(items)
    ]
    clicks = pa.table({name: [row[c] for row in rows] for c, name in enumerate(("session_id", "item_id", "ts"))})
    pairs = {(number, item): 1.0 for number, item, _ in rows}
    history = {
        "user_id": [user for user, _ in pairs],
        "item_id": [item for _, item in pairs],
        "weight": [*pairs.values()],
    }
    models = {
        "session_model": session_model.to_bytes(fit_sessions(clicks, SessionParams(repeats=False))),
        "cf_ensemble": fit_ensemble(pa.table(history)).to_bytes(),
    }
    paths: list[Path] = []
    for name, stored in models.items():
        paths.append(folder / model_file(name))
        write_mapped(paths[-1], *from_bytes(stored))
    return paths


def explanations_table(content: Content) -> pa.Table:
    """The first items of each list: ``repeat`` gave each a rank beyond that of its place, and one feature weighed."""
    stated = {"covisit_rank": None, "feature_1": "ui_events", "value_1": 3.0, "others": 0.25, "baseline": -1.0}
    rows = [
        {**stated, "user_id": user, "item_id": item, "rank": n, "repeat_rank": n + 6, "contribution_1": 1 / 2**n}
        for user, items in sorted(content.recommendations.items())
        for n, item in enumerate(items[: content.explained], 1)
    ]
    ids: Any = content.ids
    return pa.Table.from_pylist(rows, schema=arrow_schema(explanations_contract(("covisit", "repeat")), IdTypes(**ids)))


def catalogue_table(items: Sequence[KnownItem]) -> pa.Table:
    """Items as the table that a catalogue is written from."""
    ids = pa.string() if items and isinstance(items[0].item_id, str) else pa.int64()
    text = pa.string()
    types = (ids, text, text, pa.int64(), pa.bool_(), pa.float64(), pa.date32(), text, text)
    rows = [astuple(item) for item in items]
    columns = zip((*COLUMNS, *OPTIONAL), types, strict=True)
    return pa.table({name: pa.array([row[c] for row in rows], t) for c, (name, t) in enumerate(columns)})


def releases_at(uri: str) -> Releases:
    return Releases(open_store(uri))


def publish(uri: str, as_of: str, content: Content, **more_facts: Any) -> str:
    """Publish content as a release; returns its id."""
    facts = {
        "dataset": "test",
        "ids": dict(content.ids),
        "served_by": "ranker",
        "inputs": {"recommendations": "ab" * 32},
        **({"fallback_segment": content.fallback} if content.fallback else {}),
        **more_facts,
    }
    with tempfile.TemporaryDirectory() as folder:
        files = write_content(content, Path(folder))
        return releases_at(uri).publish(as_of, files, facts).release_id
