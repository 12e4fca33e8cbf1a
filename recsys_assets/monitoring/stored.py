"""What the store holds: how fresh it is, what the gate decided, how good models are, what waits, how large it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
from prometheus_client.metrics_core import Metric

from recsys_assets.core.evaluation.compare import FINAL_LISTS
from recsys_assets.core.evaluation.pooled_gain import DECISIVE_K
from recsys_assets.core.gate.promotion import Promotion
from recsys_assets.ingest.accepted import read_accepted
from recsys_assets.ingest.quarantine import waiting
from recsys_assets.monitoring.collector import gauge
from recsys_assets.storage.objects import ObjectStore
from recsys_assets.storage.partition_store import PartitionStore
from recsys_assets.storage.releases import Releases
from recsys_assets.storage.scratch import TemporaryFolder

DAYS = 14
"""Newest days that are shown by day."""
_MODELS = {FINAL_LISTS: "released", **{name: name for name in ("ranker", "champion", "fused", "popular")}}
"""Contenders that are shown, and what for: beside them there are a dozen generators."""
_FOLDERS = ("releases", "staging", "erasures")

EndOfDay = Callable[[str], datetime]


def freshness_figures(partitions: PartitionStore, end_of: EndOfDay, fresh_hours: int) -> Iterator[Metric]:
    """Up to when events are taken in, lists are made, and the release that is served knows them.

    Args:
        partitions: of the store.
        end_of: when a day ends.
        fresh_hours: the setting.
    """
    ends = gauge("newest_day_end_timestamp_seconds", "When the newest day ended: of events, lists and release.", "of")
    info = gauge("release_info", "The release that is served, and who ordered its lists.", "release_id", "ordered_by")
    pinned = gauge("release_pinned", "Whether the release that is served is pinned, so that newer ones wait.")
    limit = gauge("fresh_limit_seconds", "How old a release may get: RECSYS_FRESH_HOURS.")
    releases = Releases(partitions.store)
    pointer = releases.current()
    newest = {
        "events": next((day for day in reversed(partitions.days("clean_events")) if _has_rows(partitions, day)), None),
        "recommendations": max(partitions.days("recommendations"), default=None),
        "release": pointer.as_of if pointer else None,
    }
    for of, day in newest.items():
        if day is not None:
            ends.add_metric([of], end_of(day).astimezone(UTC).timestamp())
    if pointer:
        ordered_by = releases.manifest(pointer.release_id).facts.get("served_by")
        info.add_metric([pointer.release_id, str(ordered_by or "nobody")], 1)
        pinned.add_metric([], pointer.pinned)
    limit.add_metric([], 3600 * fresh_hours)
    yield from (ends, info, pinned, limit)


def gate_figures(partitions: PartitionStore) -> Iterator[Metric]:
    """What the gate decided on the newest days, and on how many of them in a row it let no ranker through."""
    info = gauge("gate_info", "Decision of the gate on its newest day.", "day", "verdict", "against", "ordered_by")
    passed = gauge("gate_passed", "Whether the ranker of a day passed the gate.", "day")
    gain = gauge(
        "gate_gain",
        f"Gain of the ranker of a day in NDCG@{DECISIVE_K} over what it had to beat, with its 95 % interval.",
        "day",
        "bound",
    )
    users = gauge("gate_users", "Users that the ranker of a day was evaluated on.", "day")
    refused = gauge("gate_refused_days", "Newest days in a row whose ranker did not pass the gate.")
    in_a_row, newest = 0, None
    for day, path in _files(partitions, "promotion"):
        newest = Promotion.from_json(path.read_text("utf-8"))
        gate = newest.gate
        in_a_row = in_a_row + 1 if newest.verdict == "refused" else 0
        passed.add_metric([day], gate.passed)
        users.add_metric([day], gate.users)
        for bound, value in (("mean", gate.gain), ("low", gate.low), ("high", gate.high)):
            if value is not None:
                gain.add_metric([day, bound], value)
    if newest is not None:
        against = newest.gate.against or "nobody"
        info.add_metric([newest.as_of, newest.verdict.replace(" ", "_"), against, newest.order_by], 1)
        refused.add_metric([], in_a_row)
    yield from (info, passed, gain, users, refused)


def quality_figures(partitions: PartitionStore) -> Iterator[Metric]:
    """NDCG and recall of the newest evaluated days: what was released, rankers, fused generators and popular items."""
    about = "of a contender on the targets of the horizon that ends with a day, mean over users"
    metrics = {
        "ndcg": gauge("model_ndcg", f"NDCG@k {about}.", "day", "model", "k"),
        "recall": gauge("model_recall", f"Recall@k {about}.", "day", "model", "k"),
    }
    users = gauge("evaluated_users", "Users that the contenders of a day were evaluated on.", "day")
    for day, path in _files(partitions, "ranker_evaluation"):
        rows = pq.read_table(path).to_pylist()
        users.add_metric([day], max((row["users"] for row in rows), default=0))
        for row in rows:
            model = _MODELS.get(row["model"])
            if model and row["metric"] in metrics and row["value"] is not None:
                metrics[row["metric"]].add_metric([day, model, str(row["k"])], row["value"])
    yield from (*metrics.values(), users)


def landing_figures(store: ObjectStore) -> Iterator[Metric]:
    """Files that are set aside, and what waits for a person."""
    accepted = read_accepted(store)
    aside = gauge("quarantined_files", "Landing files that are set aside.", "kind", "acknowledged")
    counts = Counter((file.kind, str(file.acknowledged).lower()) for file in accepted.quarantined.values())
    for kind in ("events", "properties", "categories", "embeddings", "impressions"):
        for acknowledged in ("false", "true"):
            aside.add_metric([kind, acknowledged], counts[kind, acknowledged])
    waits = gauge("waiting_for_a_person", "Files set aside, shrunk or vanished, and days held, that wait for a person.")
    waits.add_metric([], len(waiting(accepted)))
    files = gauge("accepted_files", "Landing files that count.", "kind")
    for kind, count in sorted(Counter(file.kind for file in accepted.files.values()).items()):
        files.add_metric([kind], count)
    yield from (aside, waits, files)


def size_figures(store: ObjectStore) -> Iterator[Metric]:
    """Bytes and objects of each asset, of the releases and of what else is stored; lists the whole store."""
    sizes, objects = Counter[str](), Counter[str]()
    for meta in store.list():
        first, _, rest = meta.key.partition("/")
        name = rest.partition("/")[0] if first == "assets" else first if first in _FOLDERS else "other"
        sizes[name] += meta.size
        objects[name] += 1
    stored = gauge("store_bytes", "Bytes in the store, by asset or folder.", "asset")
    count = gauge("store_objects", "Objects in the store, by asset or folder.", "asset")
    for family, values in ((stored, sizes), (count, objects)):
        for name, value in sorted(values.items()):
            family.add_metric([name], value)
        yield family


def newest_days(partitions: PartitionStore, asset: str) -> Sequence[str]:
    """The days that are shown by day, ascending."""
    return partitions.days(asset)[-DAYS:]


def _files(partitions: PartitionStore, asset: str) -> Iterator[tuple[str, Path]]:
    """The newest days of an asset with their files, ascending."""
    with TemporaryFolder("metrics-") as folder:
        for day in newest_days(partitions, asset):
            yield day, partitions.fetch(asset, day, Path(folder))


def _has_rows(partitions: PartitionStore, day: str) -> bool:
    record = partitions.read_lineage("clean_events", day)
    return record is not None and record.rows > 0
