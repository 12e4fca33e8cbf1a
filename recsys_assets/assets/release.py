"""Group serving: the release that the API reads."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.assets.candidates import candidate_parameters
from recsys_assets.assets.placements import placements_file
from recsys_assets.assets.promotion import partition_bytes, stored_promotion
from recsys_assets.assets.reranking import reranking_policy
from recsys_assets.assets.retrieval_params import stored_params
from recsys_assets.checks.release import COMPLETE, check_release, complete
from recsys_assets.core.dataset import Dataset
from recsys_assets.core.gate.promotion import Promotion
from recsys_assets.core.models import stored_arrays
from recsys_assets.core.ranking.formats import suffix_of
from recsys_assets.core.retrieval.params import weights_in_force
from recsys_assets.core.retrieval.protocol import CandidateParams
from recsys_assets.ingest.accepted import read_accepted
from recsys_assets.ingest.quarantine import lacking, waiting
from recsys_assets.io_managers.handles import Partitions
from recsys_assets.resources.store import StoreResource
from recsys_assets.storage.catalogue_writer import with_listed, write_catalogue
from recsys_assets.storage.explanations import write_explanations
from recsys_assets.storage.lists import RankedLists, write_lists
from recsys_assets.storage.partition_store import PartitionStore
from recsys_assets.storage.releases import Published
from recsys_assets.storage.scratch import temporary_folder
from recsys_assets.storage.served_lists import (
    DEFAULT_FALLBACK,
    END_FACT,
    FALLBACK_FACT,
    HORIZON_FACT,
    MODEL_WEIGHTS_FACT,
    RULES_FACT,
    SERVED_LISTS,
    SERVED_MODELS,
    TRENDING_FACT,
    ServedList,
    model_file,
)

_LISTS = tuple(served.name for served in SERVED_LISTS)
_RELEASED = (*_LISTS, "item_features", "served_ranker", "promotion", "ranker_evaluation", "retrieval_params")
"""The assets that a release is made from, beside the models and the explanations that it may hold."""
_MODEL_OF = {"session_model": "sessions", "cf_ensemble": "cf_ensemble"}
"""The generator for which each served model is fitted."""


def build(graph: GraphBuilder) -> list[dg.AssetsDefinition]:
    """The release of a day."""
    serve = graph.settings.mode == "autonomous"
    params = candidate_parameters(graph)
    optional = [name for name in SERVED_MODELS if _MODEL_OF[name] in params.quotas]
    optional += ["explanations"] if graph.settings.explained_items else []

    @graph.asset(
        "serving",
        reads=dict.fromkeys((*_RELEASED, *optional)),
        kinds=("arrow",),
        code_version="4",
        checks=("serving_is_current", COMPLETE),
        advisory=("serving_follows",),
        pool="publishing",
    )
    def release(
        context: dg.AssetExecutionContext, store: StoreResource, **upstream: Partitions
    ) -> dg.MaterializeResult[Any]:
        """An immutable, verified set of files of one day. Serving follows to newer days, unless it is pinned.

        It states the landing files that it lacks because they are set aside, and waits if they are too large a share.
        """
        day = context.partition_key
        tables = released_tables({name: table(upstream[name], day) for name in (*_LISTS, "item_features")})
        decided = stored_promotion(upstream["promotion"], day)
        accepted = read_accepted(store.open())
        lacks = lacking(accepted, day, graph.settings.missing_share)
        served = serve and not lacks.held
        facts = {
            **facts_of_dataset(graph.dataset),
            **facts_of(tables, decided),
            **facts_of_requests(graph, params, store.partitions(), upstream, day),
            "inputs": hashes(store.partitions(), upstream, day),
            "quarantined": lacks.facts(),
        }
        with temporary_folder("release-") as name:
            files = release_files(tables, upstream, decided, day, Path(name))
            files |= placements_file(graph.settings, graph.dataset, Path(name))
            published = store.releases().publish(
                day, files, facts, lambda stored: check_release(stored, facts), serve=served
            )
        return dg.MaterializeResult(
            metadata={**described(published, facts), "lacks": lacks.told()},
            data_version=dg.DataVersion(published.manifest_sha256),
            check_results=[*is_served(store, day, published, serve=served), complete(lacks, waiting(accepted))],
        )

    return [release]


def hashes(partitions: PartitionStore, assets: Iterable[str], day: str) -> dict[str, str]:
    """The hash of each asset's partition of a day, as its lineage record has it."""
    records = {asset: partitions.read_lineage(asset, day) for asset in assets}
    return {asset: record.sha256 for asset, record in records.items() if record}


def facts_of_dataset(dataset: Dataset) -> dict[str, Any]:
    """Facts of the manifest that the data set states: its name, its id types, and what its events are worth."""
    return {
        "dataset": dataset.name,
        "ids": {"user": dataset.ids.user, "item": dataset.ids.item},
        "event_types": {
            name: {"weight": event.weight, "target": event.target} for name, event in dataset.event_types.items()
        },
    }


def facts_of(tables: Mapping[str, pa.Table], decided: Promotion) -> dict[str, Any]:
    """Facts of the manifest: who ordered the lists, what users who are not known get, and the rows of each list."""
    sources = tables["recommendations"]["source"].unique().to_pylist()
    fallback = tables["top_popular"].filter(tables["top_popular"]["is_fallback"])["segment"].unique().to_pylist()
    champion = decided.after.champion
    return {
        "served_by": sources[0] if sources else None,
        "model": champion.id if champion and decided.order_by == "ranker" and by_ranker(tables) else None,
        FALLBACK_FACT: fallback[0] if fallback else DEFAULT_FALLBACK,
        "lists": {name: rows.num_rows for name, rows in tables.items() if name in _LISTS},
        "items": tables["catalogue"].num_rows,
    }


def by_ranker(tables: Mapping[str, pa.Table]) -> bool:
    """Whether the ranker ordered the lists; one that the gate let through may have stood down."""
    return "ranker" in tables["recommendations"]["source"].unique().to_pylist()


def released_tables(stored: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """The lists by name as they are stored, and ``catalogue``: the features of items, and all items that lists name."""
    listed: list[pa.ChunkedArray] = []
    for served in SERVED_LISTS:
        rows = served_rows(served, stored[served.name])
        listed += [rows[served.item], *([rows[served.key]] if served.key_type == "item" else [])]
    return {**{name: stored[name] for name in _LISTS}, "catalogue": with_listed(stored["item_features"], listed)}


def served_rows(served: ServedList, stored: pa.Table) -> pa.Table:
    """The rows of an asset that its list is made of."""
    if served.source is not None:
        stored = stored.filter(pc.call_function("equal", [stored["source"], pa.scalar(served.source)]))
    if served.named_by != "source":
        stored = stored.set_column(stored.column_names.index("source"), "source", stored[served.named_by])
    return stored


def facts_of_requests(
    graph: GraphBuilder,
    params: CandidateParams,
    partitions: PartitionStore,
    upstream: Mapping[str, Partitions],
    day: str,
) -> dict[str, Any]:
    """Facts of the manifest for requests: when the day ends, how long its lists serve, rules, half-life and weights."""
    lineage = partitions.read_lineage("top_popular", day)
    found: Any = lineage.params.get("trending_half_life") if lineage else None
    weighted = weights_in_force(stored_params(upstream["retrieval_params"], day), params)
    return {
        END_FACT: graph.end(day).astimezone(UTC).isoformat(),
        HORIZON_FACT: graph.settings.horizon_days,
        RULES_FACT: {
            "repeats": params.repeats,
            "exclude_purchased": reranking_policy(graph).exclude_purchased,
            "exclude_unavailable": params.exclude_unavailable,
        },
        TRENDING_FACT: graph.settings.trending_half_life if found is None else float(found),
        MODEL_WEIGHTS_FACT: dict(weighted.ensemble_weights),
    }


def described(published: Published, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of a release in the UI."""
    return {
        "release_id": published.release_id,
        "served": published.moved,
        "why": published.reason,
        "generation": published.generation,
        "served_by": facts["served_by"],
        "model": facts["model"] or "none",
        FALLBACK_FACT: facts[FALLBACK_FACT],
        "items": facts["items"],
        **{f"{name}_rows": count for name, count in facts["lists"].items()},
    }


def table(partitions: Partitions, day: str) -> pa.Table:
    """A partition as stored: verified against its lineage, in its file's order."""
    path = partitions.file(day)
    if path is None:
        raise dg.Failure(f"{partitions.asset} has no partition {day} to release", allow_retries=False)
    return pq.ParquetFile(path).read()


def release_files(
    tables: Mapping[str, pa.Table], upstream: Mapping[str, Partitions], decided: Promotion, day: str, folder: Path
) -> dict[str, Path]:
    """The files of a release: what requests map, the model that ordered the lists, the decision and the evaluation."""
    paths = [write_catalogue(tables["catalogue"], folder)]
    for served in SERVED_LISTS:
        paths += write_lists(
            served_rows(served, tables[served.name]), served.key, served.name, folder, item=served.item
        )
    for name in SERVED_MODELS:
        if stored := partition_bytes(upstream[name], day) if name in upstream else b"":
            paths.append(folder / model_file(name))
            stored_arrays.write_mapped(paths[-1], *stored_arrays.from_bytes(stored))
    if "explanations" in upstream and day in upstream["explanations"].days:
        lists = RankedLists.open(folder, "recommendations")
        paths.append(write_explanations(table(upstream["explanations"], day), lists.keys, folder))
    evaluation = folder / "evaluation.json"
    evaluation.write_text(json.dumps(table(upstream["ranker_evaluation"], day).to_pylist(), indent=1))
    decision = folder / "promotion.json"
    decision.write_text(decided.to_json())
    paths += [evaluation, decision]
    model = partition_bytes(upstream["served_ranker"], day)
    if model and by_ranker(tables):
        copy = folder / f"ranker{suffix_of(model)}"
        copy.write_bytes(model)
        paths.append(copy)
    return {path.name: path for path in paths}


def is_served(store: StoreResource, day: str, published: Published, *, serve: bool) -> list[dg.AssetCheckResult]:
    """Checks of what is served after publishing.

    It is this day or a newer one, unless the release waits for an approval, or a person has withdrawn it or pinned
    another. A pin is a warning: new releases are built and not served.
    """
    releases = store.releases()
    releases.verify(published.release_id)
    pointer = releases.current()
    pinned = pointer is not None and pointer.pinned
    excused = not serve or pinned or published.reason == "late"
    withdrawn = pointer is not None and published.release_id in pointer.withdrawn
    passed = excused or withdrawn or (pointer is not None and pointer.as_of >= day)
    serving = pointer.release_id if pointer else "nothing yet"
    return [
        dg.AssetCheckResult(
            check_name="serving_is_current",
            passed=passed,
            metadata={"serving": serving, "published": published.reason},
        ),
        dg.AssetCheckResult(
            check_name="serving_follows",
            passed=not pinned,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"serving": serving, "pinned": pinned, "lifted_by": "the job unpin_release"},
        ),
    ]
