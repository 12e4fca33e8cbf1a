"""Group serving: the recommendations of each active user, and the release that the API reads."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.assets.candidates import (
    activity_read,
    candidate_parameters,
    feature_inputs,
    feature_reads,
    history_days,
)
from recsys_assets.assets.promotion import partition_bytes, stored_promotion
from recsys_assets.assets.reranking import policy_text, reranking_policy
from recsys_assets.assets.retrieval_params import stored_params
from recsys_assets.checks.partition import dense_ranks, not_empty, ordered_by
from recsys_assets.checks.release import check_release
from recsys_assets.core.engine import Frame
from recsys_assets.core.gate.promotion import Promotion
from recsys_assets.core.lists.histories import user_histories as recent_items
from recsys_assets.core.lists.nightly import recommend_in_parts
from recsys_assets.core.models import stored_arrays
from recsys_assets.core.ranking.formats import suffix_of
from recsys_assets.core.retrieval.params import weights_in_force
from recsys_assets.core.retrieval.protocol import CandidateParams
from recsys_assets.io_managers.frame_writer import FrameWriter
from recsys_assets.io_managers.handles import Partitions, Staged
from recsys_assets.partitions import MOST_DAYS
from recsys_assets.resources.store import StoreResource
from recsys_assets.storage.lists import write_lists
from recsys_assets.storage.partition_store import PartitionStore
from recsys_assets.storage.releases import Published
from recsys_assets.storage.served_lists import (
    DEFAULT_FALLBACK,
    END_FACT,
    FALLBACK_FACT,
    MODEL_WEIGHTS_FACT,
    RULES_FACT,
    SERVED_LISTS,
    SERVED_MODELS,
    TRENDING_FACT,
    model_file,
)

Result = dg.MaterializeResult[Staged]
_RELEASED = (*(served.name for served in SERVED_LISTS), "served_ranker", "promotion", "ranker_evaluation")
"""The assets that a release is made from, beside the models that it holds."""
_MODEL_OF = {"session_model": "sessions", "cf_ensemble": "cf_ensemble"}
"""The generator for which each served model is fitted."""
_HISTORY_ITEMS = 50
"""Items of a user's history in a release where repeats are allowed; models of sessions look no further back."""


def build(graph: GraphBuilder) -> list[dg.AssetsDefinition]:
    """The assets as of a day that the API serves."""
    settings, policy, params = graph.settings, reranking_policy(graph), candidate_parameters(graph)

    @graph.asset(
        "serving",
        reads={
            **dict.fromkeys(("candidates", "served_ranker", "promotion", "retrieval_params")),
            **feature_reads(graph, params),
        },
        kinds=("parquet", "catboost"),
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
        weighted = weights_in_force(stored_params(upstream["retrieval_params"], day), params)

        def ordered(day: str) -> Iterator[Frame]:
            return recommend_in_parts(
                frames.run,
                pool,
                feature_inputs(upstream, day),
                graph.day(day),
                graph.end(day),
                weighted,
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
        reads={"user_activity": activity_read(graph, params)},
        kinds=("parquet", settings.engine),
        checks=("contract", "ranks_are_dense"),
    )
    def user_histories(context: dg.AssetExecutionContext, user_activity: Partitions, frames: FrameWriter) -> Result:
        """The last items of each user and what the user purchased, which the API continues with fresh events."""
        days = history_days(params) if params.repeats else MOST_DAYS

        def histories(day: str) -> Frame:
            return recent_items(
                user_activity.frame(),
                graph.day(day),
                graph.end(day),
                days=days,
                half_life_days=params.factors_half_life,
                purchased_from=policy.purchased_from,
                most=_HISTORY_ITEMS if params.repeats else None,
            )

        return frames.write(
            context,
            histories,
            partition_checks=[dense_ranks("user_id")],
            params={"days": days, "half_life": params.factors_half_life, "purchased_from": policy.purchased_from},
            metadata=user_activity.facts,
        )

    models = [name for name in SERVED_MODELS if _MODEL_OF[name] in params.quotas]

    @graph.asset(
        "serving",
        reads=dict.fromkeys((*_RELEASED, "retrieval_params", *models)),
        kinds=("arrow",),
        checks=("serving_is_current",),
        pool="publishing",
        watched=True,
    )
    def release(
        context: dg.AssetExecutionContext, store: StoreResource, **upstream: Partitions
    ) -> dg.MaterializeResult[Any]:
        """An immutable, verified set of files of one day. Serving follows it unless a newer day is served already."""
        day, serve = context.partition_key, settings.mode == "autonomous"
        inputs = hashes(store.partitions(), list(upstream), day)
        tables = {served.name: table(upstream[served.name], day) for served in SERVED_LISTS}
        decided = stored_promotion(upstream["promotion"], day)
        facts = {
            "dataset": graph.dataset.name,
            "ids": {"user": graph.ids.user, "item": graph.ids.item},
            **facts_of(tables, decided),
            END_FACT: graph.end(day).astimezone(UTC).isoformat(),
            RULES_FACT: {"repeats": params.repeats, "exclude_purchased": policy.exclude_purchased},
            TRENDING_FACT: trending_half_life(store.partitions(), day, settings.trending_half_life),
            MODEL_WEIGHTS_FACT: model_weights(upstream["retrieval_params"], params, day),
            "inputs": inputs,
        }
        with tempfile.TemporaryDirectory(prefix="recsys-release-") as name:
            files = release_files(tables, upstream, decided, day, Path(name))
            published = store.releases().publish(
                day, files, facts, lambda stored: check_release(stored, facts), serve=serve
            )
        return dg.MaterializeResult(
            metadata=described(published, facts),
            data_version=dg.DataVersion(published.manifest_sha256),
            check_results=[follows(store, day, published, served=serve)],
        )

    return [recommendations, user_histories, release]


def trending_half_life(partitions: PartitionStore, day: str, stated: float) -> float:
    """Days in which the weight of an event halves for what is trending, as `top_popular` of the day has it."""
    lineage = partitions.read_lineage("top_popular", day)
    found: Any = lineage.params.get("trending_half_life") if lineage else None
    return stated if found is None else float(found)


def model_weights(retrieval_params: Partitions, params: CandidateParams, day: str) -> dict[str, float]:
    """The weights of the models of 'cf_ensemble' as of a day."""
    return dict(weights_in_force(stored_params(retrieval_params, day), params).ensemble_weights)


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
    tables: Mapping[str, pa.Table], upstream: Mapping[str, Partitions], decided: Promotion, day: str, folder: Path
) -> dict[str, Path]:
    """The files of a release: lists and models to be mapped, the model that ordered them, decision and evaluation."""
    paths = [path for name in SERVED_MODELS for path in _mapped_model(upstream.get(name), day, folder)]
    for served in SERVED_LISTS:
        rows = tables[served.name]
        if served.source is not None:
            rows = rows.filter(pc.call_function("equal", [rows["source"], pa.scalar(served.source)]))
        if served.named_by != "source":
            rows = rows.set_column(rows.column_names.index("source"), "source", rows[served.named_by])
        paths += write_lists(rows, served.key, served.name, folder, item=served.item)
    evaluation = folder / "evaluation.json"
    evaluation.write_text(json.dumps(table(upstream["ranker_evaluation"], day).to_pylist(), indent=1))
    decision = folder / "promotion.json"
    decision.write_text(decided.to_json())
    paths += [evaluation, decision]
    if model := partition_bytes(upstream["served_ranker"], day):
        copy = folder / f"ranker{suffix_of(model)}"
        copy.write_bytes(model)
        paths.append(copy)
    return {path.name: path for path in paths}


def _mapped_model(partitions: Partitions | None, day: str, folder: Path) -> list[Path]:
    """The file of a fitted model that requests map; none where the day has no such model."""
    stored = partition_bytes(partitions, day) if partitions else b""
    if partitions is None or not stored:
        return []
    path = folder / model_file(partitions.asset)
    stored_arrays.write_mapped(path, *stored_arrays.from_bytes(stored))
    return [path]


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
