"""Group serving: the recommendations of each active user, and the release that the API reads."""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.assets.promotion import stored_promotion
from recsys_assets.assets.rules import in_words, rules_of
from recsys_assets.checks.gates import dense_ranks, not_empty, ordered_by
from recsys_assets.checks.release import gate
from recsys_assets.core.engine import Frame
from recsys_assets.core.gate.promotion import Promotion
from recsys_assets.core.lists.recommend import recommend
from recsys_assets.core.parts import by_users
from recsys_assets.core.ranking.formats import suffix_of
from recsys_assets.core.ranking.model import score_candidates
from recsys_assets.io_managers.frame_writer import FrameWriter
from recsys_assets.io_managers.handles import Partitions, Staged
from recsys_assets.resources.store import StoreResource
from recsys_assets.storage.lists import write_lists
from recsys_assets.storage.releases import Published

Result = dg.MaterializeResult[Staged]
LISTS = ("recommendations", "similar_items", "top_popular")


def build(graph: GraphBuilder) -> list[dg.AssetsDefinition]:
    """What users of the platform get, as of a day."""
    settings, rules = graph.settings, rules_of(graph)

    @graph.asset(
        "serving",
        reads={"candidates": None, "served_ranker": None, "promotion": None, "item_features": None},
        kinds=("parquet", "catboost"),
        checks=("contract", "ranks_are_dense", "not_empty", "ordered_by_winner"),
    )
    def recommendations(
        context: dg.AssetExecutionContext,
        candidates: Partitions,
        served_ranker: Partitions,
        promotion: Partitions,
        item_features: Partitions,
        frames: FrameWriter,
    ) -> Result:
        """The best candidates of each active user, ordered by whoever won the evaluation: the champion or a generator.

        The fused generators order them as long as there is nothing to judge on. The rules of lists are kept (items
        bought, categories, variety, the share of new items); ``ranker_evaluation`` says what they cost.
        """
        decided = stored_promotion(promotion, context.partition_key)
        proposed, known = candidates.frame().drop("dt"), item_features.frame().drop("dt")
        path = served_ranker.file(context.partition_key)
        trained = path.read_bytes() if path else b""

        def ordered(_: str) -> Iterator[Frame]:
            for (part,) in by_users(frames.run, proposed, proposed):
                scores = score_candidates(frames.run, part, trained, graph.ids) if trained else None
                yield recommend(part, decided.order_by, scores, settings.recommendations_k, rules, known)

        return frames.write(
            context,
            ordered,
            gates=[dense_ranks("user_id"), not_empty, ordered_by(decided.order_by)],
            params={"order_by": decided.order_by, "k": settings.recommendations_k, **asdict(rules)},
            metadata={
                "order_by": decided.order_by,
                "why": decided.why,
                "rules": in_words(rules),
                "champion": decided.after.champion.id if decided.after.champion else "none",
            },
        )

    @graph.asset(
        "serving",
        reads={
            "recommendations": None,
            "similar_items": None,
            "top_popular": None,
            "served_ranker": None,
            "promotion": None,
            "ranker_evaluation": None,
        },
        kinds=("arrow",),
        checks=("follows_the_gate",),
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
        day = context.partition_key
        given = (recommendations, similar_items, top_popular, served_ranker, promotion, ranker_evaluation)
        lineage = {one.asset: store.partitions().read_lineage(one.asset, day) for one in given}
        tables = {one.asset: table(one, day) for one in (recommendations, similar_items, top_popular)}
        decided = stored_promotion(promotion, day)
        served_by = tables["recommendations"]["source"].unique().to_pylist()
        rows = {name: one.num_rows for name, one in tables.items()}
        facts = {
            "dataset": graph.dataset.name,
            "ids": {"user": graph.ids.user, "item": graph.ids.item},
            "served_by": served_by[0] if served_by else None,
            "model": decided.after.champion.id if decided.after.champion and decided.order_by == "ranker" else None,
            "lists": rows,
            "inputs": {asset: record.sha256 for asset, record in lineage.items() if record},
        }
        with tempfile.TemporaryDirectory(prefix="recsys-release-") as name:
            files = release_files(tables, served_ranker, decided, ranker_evaluation, day, Path(name))
            published = store.releases().publish(
                day, files, facts, lambda bytes_read: gate(bytes_read, facts), serve=settings.mode == "autonomous"
            )
        return dg.MaterializeResult(
            metadata={
                "release_id": published.release_id,
                "served": published.moved,
                "why": published.reason,
                "generation": published.generation,
                "served_by": facts["served_by"],
                "model": facts["model"] or "none",
                **{f"{name}_rows": count for name, count in rows.items()},
            },
            data_version=dg.DataVersion(published.manifest_sha256),
            check_results=[follows(store, day, published, served=settings.mode == "autonomous")],
        )

    return [recommendations, release]


def table(one: Partitions, day: str) -> pa.Table:
    """A partition as stored: verified against its lineage, in its file's order."""
    path = one.file(day)
    if path is None:
        raise dg.Failure(f"{one.asset} has no partition {day} to release", allow_retries=False)
    return pq.ParquetFile(path).read()


def release_files(
    tables: dict[str, pa.Table],
    served_ranker: Partitions,
    decided: Promotion,
    ranker_evaluation: Partitions,
    day: str,
    folder: Path,
) -> dict[str, Path]:
    """The files of a release: memory-mappable lists, what ordered them, what the gate decided, and the evaluation."""
    similar = tables["similar_items"]
    fused = similar.filter(pc.call_function("equal", [similar["source"], pa.scalar("fused")]))
    paths = [
        *write_lists(tables["recommendations"], "user_id", "recommendations", folder),
        *write_lists(fused, "item_id", "similar_items", folder, item="similar_item_id"),
        *write_lists(tables["top_popular"], "segment", "top_popular", folder),
    ]
    evaluation = folder / "evaluation.json"
    evaluation.write_text(json.dumps(table(ranker_evaluation, day).to_pylist(), indent=1))
    paths.append(evaluation)
    decision = folder / "promotion.json"
    decision.write_text(decided.to_json())
    paths.append(decision)
    if (model := served_ranker.file(day)) is not None and model.stat().st_size:
        stored = model.read_bytes()
        copy = folder / f"ranker{suffix_of(stored)}"
        copy.write_bytes(stored)
        paths.append(copy)
    return {path.name: path for path in paths}


def follows(store: StoreResource, day: str, published: Published, *, served: bool) -> dg.AssetCheckResult:
    """What is served after publishing: this day or a newer one, unless it waits for approval or was withdrawn."""
    releases = store.releases()
    releases.verify(published.release_id)
    pointer = releases.current()
    excused = not served or (pointer is not None and published.release_id in pointer.withdrawn)
    passed = excused or (pointer is not None and pointer.as_of >= day)
    return dg.AssetCheckResult(
        check_name="follows_the_gate",
        passed=passed,
        metadata={"serving": pointer.release_id if pointer else "nothing yet", "published": published.reason},
    )
