"""Group serving: the recommendations of each active user, and the release that the API reads."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.assets.candidates import candidate_parameters, feature_inputs, feature_reads
from recsys_assets.assets.promotion import partition_bytes, stored_promotion
from recsys_assets.assets.reranking import policy_text, reranking_policy
from recsys_assets.checks.partition import dense_ranks, not_empty, ordered_by
from recsys_assets.checks.release import check_release
from recsys_assets.core.engine import Frame
from recsys_assets.core.gate.promotion import Promotion
from recsys_assets.core.lists.nightly import recommend_in_parts
from recsys_assets.core.ranking.formats import suffix_of
from recsys_assets.io_managers.frame_writer import FrameWriter
from recsys_assets.io_managers.handles import Partitions, Staged
from recsys_assets.resources.store import StoreResource
from recsys_assets.storage.lists import write_lists
from recsys_assets.storage.partition_store import PartitionStore
from recsys_assets.storage.releases import Published
from recsys_assets.storage.served_lists import DEFAULT_FALLBACK, FALLBACK_FACT, SERVED_LISTS

Result = dg.MaterializeResult[Staged]
_RELEASED = (*(served.name for served in SERVED_LISTS), "served_ranker", "promotion", "ranker_evaluation")
"""The assets that a release is made from."""


def build(graph: GraphBuilder) -> list[dg.AssetsDefinition]:
    """The assets as of a day that the API serves."""
    settings, policy, params = graph.settings, reranking_policy(graph), candidate_parameters(graph)

    @graph.asset(
        "serving",
        reads={
            **dict.fromkeys(("candidates", "served_ranker", "promotion")),
            **feature_reads(graph, params),
        },
        kinds=("parquet", "catboost"),
        code_version="2",
        checks=("contract", "ranks_are_dense", "not_empty", "ordered_by_winner"),
    )
    def recommendations(context: dg.AssetExecutionContext, frames: FrameWriter, **upstream: Partitions) -> Result:
        """The best candidates of each active user, in the order of the winner of the evaluation, champion or generator.

        The fused generators order them until there is something to evaluate on. The re-ranking policy is applied
        (purchased items, categories, diversity, the quota of new items); `ranker_evaluation` shows its cost.
        """
        day = context.partition_key
        decided = stored_promotion(upstream["promotion"], day)
        model = partition_bytes(upstream["served_ranker"], day)
        pool = upstream["candidates"].frame().drop("dt")

        def ordered(day: str) -> Iterator[Frame]:
            return recommend_in_parts(
                frames.run,
                pool,
                feature_inputs(upstream, day),
                graph.day(day),
                graph.end(day),
                params,
                order_by=decided.order_by,
                model=model,
                ids=graph.ids,
                k=settings.recommendations_k,
                policy=policy,
            )

        return frames.write(
            context,
            ordered,
            partition_checks=[dense_ranks("user_id"), not_empty, ordered_by(decided.order_by)],
            params={"order_by": decided.order_by, "k": settings.recommendations_k, **asdict(policy)},
            metadata={
                "order_by": decided.order_by,
                "why": decided.why,
                "reranking": policy_text(policy),
                "champion": decided.after.champion.id if decided.after.champion else "none",
            },
        )

    @graph.asset(
        "serving",
        reads=dict.fromkeys(_RELEASED),
        kinds=("arrow",),
        code_version="2",
        checks=("serving_is_current",),
        pool="publishing",
        watched=True,
    )
    def release(
        context: dg.AssetExecutionContext,
        recommendations: Partitions,
        similar_items: Partitions,
        top_popular: Partitions,
        served_ranker: Partitions,
        promotion: Partitions,
        ranker_evaluation: Partitions,
        store: StoreResource,
    ) -> dg.MaterializeResult[Any]:
        """An immutable, verified set of files of one day. Serving follows it unless a newer day is served already."""
        day, serve = context.partition_key, settings.mode == "autonomous"
        upstream = (recommendations, similar_items, top_popular, served_ranker, promotion, ranker_evaluation)
        inputs = hashes(store.partitions(), [partitions.asset for partitions in upstream], day)
        tables = {lists.asset: table(lists, day) for lists in (recommendations, similar_items, top_popular)}
        decided = stored_promotion(promotion, day)
        facts = {
            "dataset": graph.dataset.name,
            "ids": {"user": graph.ids.user, "item": graph.ids.item},
            **facts_of(tables, decided),
            "inputs": inputs,
        }
        with tempfile.TemporaryDirectory(prefix="recsys-release-") as name:
            files = release_files(tables, served_ranker, decided, ranker_evaluation, day, Path(name))
            published = store.releases().publish(
                day, files, facts, lambda stored: check_release(stored, facts), serve=serve
            )
        return dg.MaterializeResult(
            metadata=described(published, facts),
            data_version=dg.DataVersion(published.manifest_sha256),
            check_results=[follows(store, day, published, served=serve)],
        )

    return [recommendations, release]


def hashes(partitions: PartitionStore, assets: list[str], day: str) -> dict[str, str]:
    """The hash of each asset's partition of a day, as its lineage record has it."""
    records = {asset: partitions.read_lineage(asset, day) for asset in assets}
    return {asset: record.sha256 for asset, record in records.items() if record}


def facts_of(tables: Mapping[str, pa.Table], decided: Promotion) -> dict[str, Any]:
    """Facts of the manifest: who ordered the lists, what users who are not known get, and the rows of each list."""
    sources = tables["recommendations"]["source"].unique().to_pylist()
    fallback = tables["top_popular"].filter(tables["top_popular"]["is_fallback"])["segment"].unique().to_pylist()
    champion = decided.after.champion
    return {
        "served_by": sources[0] if sources else None,
        "model": champion.id if champion and decided.order_by == "ranker" else None,
        FALLBACK_FACT: fallback[0] if fallback else DEFAULT_FALLBACK,
        "lists": {name: rows.num_rows for name, rows in tables.items()},
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
        **{f"{name}_rows": count for name, count in facts["lists"].items()},
    }


def table(partitions: Partitions, day: str) -> pa.Table:
    """A partition as stored: verified against its lineage, in its file's order."""
    path = partitions.file(day)
    if path is None:
        raise dg.Failure(f"{partitions.asset} has no partition {day} to release", allow_retries=False)
    return pq.ParquetFile(path).read()


def release_files(
    tables: Mapping[str, pa.Table],
    served_ranker: Partitions,
    decided: Promotion,
    ranker_evaluation: Partitions,
    day: str,
    folder: Path,
) -> dict[str, Path]:
    """The files of a release: memory-mappable lists, the model that ordered them, the decision and the evaluation."""
    paths: list[Path] = []
    for served in SERVED_LISTS:
        rows = tables[served.name]
        if served.source is not None:
            rows = rows.filter(pc.call_function("equal", [rows["source"], pa.scalar(served.source)]))
        paths += write_lists(rows, served.key, served.name, folder, item=served.item)
    evaluation = folder / "evaluation.json"
    evaluation.write_text(json.dumps(table(ranker_evaluation, day).to_pylist(), indent=1))
    decision = folder / "promotion.json"
    decision.write_text(decided.to_json())
    paths += [evaluation, decision]
    if model := partition_bytes(served_ranker, day):
        copy = folder / f"ranker{suffix_of(model)}"
        copy.write_bytes(model)
        paths.append(copy)
    return {path.name: path for path in paths}


def follows(store: StoreResource, day: str, published: Published, *, served: bool) -> dg.AssetCheckResult:
    """Check what is served after publishing: this day or a newer one, unless it waits for approval or was withdrawn."""
    releases = store.releases()
    releases.verify(published.release_id)
    pointer = releases.current()
    excused = not served or (pointer is not None and published.release_id in pointer.withdrawn)
    passed = excused or (pointer is not None and pointer.as_of >= day)
    return dg.AssetCheckResult(
        check_name="serving_is_current",
        passed=passed,
        metadata={"serving": pointer.release_id if pointer else "nothing yet", "published": published.reason},
    )
