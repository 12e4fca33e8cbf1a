"""From a release to the landing files behind it, by the lineage record of each partition."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from recsys_assets.storage.layout import ACCEPTED
from recsys_assets.storage.objects import Json, NotFound, ObjectStore
from recsys_assets.storage.partition_store import PartitionStore
from recsys_assets.storage.releases import Releases

MOST_PARTITIONS = 20_000
"""Most partitions of one answer."""


def trace(store: ObjectStore, release_id: str) -> dict[str, Any]:
    """Every partition that a release was made from, directly or not.

    Args:
        store: holds releases and partitions.
        release_id: of the release.

    Returns:
        ``release_id``, ``as_of``, ``inputs`` (the partitions that it was made from directly) and ``partitions``, each
        with its hash, code version, parameters, run and inputs. ``landing_files`` are the files behind them all.
        ``missing`` are partitions of which the store has no record any more, ``changed`` those that it has built again
        since: what is said of these is about the newer bytes. ``truncated`` if there are more than
        ``MOST_PARTITIONS``.

    Raises:
        NotFound: there is no such release.
    """
    manifest = Releases(store).manifest(release_id)
    partitions = PartitionStore(store)
    direct: Any = manifest.facts.get("inputs") or {}
    wanted: list[tuple[str, str, str]] = sorted((asset, manifest.as_of, sha) for asset, sha in direct.items())
    seen: set[tuple[str, str]] = set()
    records: list[dict[str, Any]] = []
    missing: list[dict[str, str]] = []
    changed: list[dict[str, str]] = []
    digests: set[str] = set()
    while wanted and len(records) < MOST_PARTITIONS:
        asset, day, sha = wanted.pop()
        if (asset, day) in seen:
            continue
        seen.add((asset, day))
        record = partitions.read_lineage(asset, day)
        if record is None:
            missing.append({"asset": asset, "day": day, "sha256": sha})
            continue
        if record.sha256 != sha:
            changed.append({"asset": asset, "day": day, "sha256": sha, "now": record.sha256})
        inputs = [{"asset": one.asset, "day": one.day, "sha256": one.sha256} for one in sorted(record.inputs)]
        records.append(
            {
                "asset": asset,
                "day": day,
                "sha256": record.sha256,
                "rows": record.rows,
                "code_version": record.code_version,
                "params": record.params,
                "run_id": record.run_id,
                "inputs": inputs,
            }
        )
        files = record.params.get("files")
        if isinstance(files, list):
            digests.update(str(digest) for digest in files)
        wanted += [(one.asset, one.day, one.sha256) for one in record.inputs]
    return {
        "release_id": release_id,
        "as_of": manifest.as_of,
        "inputs": [{"asset": asset, "day": manifest.as_of, "sha256": sha} for asset, sha in sorted(direct.items())],
        "partitions": sorted(records, key=lambda record: (record["asset"], record["day"])),
        "landing_files": _landing_files(store, digests),
        "missing": missing,
        "changed": changed,
        "truncated": bool(wanted),
    }


def _landing_files(store: ObjectStore, digests: Iterable[str]) -> list[dict[str, Json]]:
    """The landing files that partitions read, as they are accepted now.

    A file that was replaced since has a digest but no name.
    """
    try:
        accepted: Mapping[str, Any] = json.loads(store.get(ACCEPTED))["files"]
    except NotFound:
        accepted = {}
    named = {file["digest"]: file for file in accepted.values()}
    fields = ("name", "kind", "size", "content")
    return [
        {"digest": digest, **{field: named.get(digest, {}).get(field) for field in fields}}
        for digest in sorted(digests)
    ]
