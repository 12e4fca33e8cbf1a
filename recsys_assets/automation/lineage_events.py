"""OpenLineage events of a materialization, by the specification 2-0-2: https://openlineage.io/spec/2-0-2/OpenLineage.json.

One Dagster run writes many assets, and OpenLineage knows one job for a run. So each materialization is a run of its
own, with the Dagster run as its parent; its id follows from run, asset and day, so that an event which is sent twice is
the same event. What checks found belongs to an input by the specification: it is told as a run of ``<asset>.checks``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID, uuid5

import dagster as dg

from recsys_assets.storage.lineage import Lineage
from recsys_assets.storage.objects import Json

PRODUCER = "urn:recsys-assets"
_EVENT = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
_FACETS = "https://openlineage.io/spec/facets"
_OURS, _READ = f"{PRODUCER}:facets:partition:1", f"{PRODUCER}:facets:partitions:1"
"""Of our own facets, which docs/lineage-events.md describes."""
_NAMESPACE = UUID("6f5e9f0c-3b0e-5d53-9a57-0f3a3f1f6d11")
"""Of the ids of runs."""

Facets = dict[str, Json]


@dataclass(frozen=True)
class Made:
    """A materialization.

    Attributes:
        namespace: address of the store.
        asset: its name.
        day: of the partition; None: it has none.
        nominal: when the day begins and ends; None without a day.
        run_id: of the Dagster run.
        job: of the Dagster run.
        started: when the Dagster run began, seconds of Unix time.
        ended: when the asset was written, likewise.
        inputs: names of the assets that it is made from, where ``lineage`` does not say.
        columns: name, type and description of each, where it is a table.
        version: its data version; None: unknown.
        lineage: the record of the partition, if this run wrote it last.
        checks: what its checks found.
    """

    namespace: str
    asset: str
    day: str | None
    nominal: tuple[datetime, datetime] | None
    run_id: str
    job: str
    started: float
    ended: float
    inputs: Sequence[str] = ()
    columns: Sequence[tuple[str, str, str | None]] = ()
    version: str | None = None
    lineage: Lineage | None = None
    checks: Sequence[dg.AssetCheckEvaluation] = ()


def events_of(made: Made) -> list[dict[str, Json]]:
    """START and COMPLETE of a materialization, and of its checks if there are any."""
    output = {**_dataset(made, made.asset, _facets(made)), "outputFacets": _statistics(made)}
    events = _run(made, made.asset, {"inputs": _inputs(made), "outputs": [output]})
    if made.checks:
        checked = {**_dataset(made, made.asset, {}), "inputFacets": _assertions(made.checks)}
        events += _run(made, f"{made.asset}.checks", {"inputs": [checked], "outputs": []})
    return events


def _run(made: Made, job: str, datasets: Mapping[str, Json]) -> list[dict[str, Json]]:
    """The two events of a run; datasets are known at its end."""
    facets: Facets = {
        "parent": _facet(
            "1-2-0/ParentRunFacet",
            run={"runId": made.run_id},
            job={"namespace": made.namespace, "name": made.job},
        ),
        "processing_engine": _facet("1-1-1/ProcessingEngineRunFacet", version=dg.__version__, name="dagster"),
    }
    if made.nominal:
        begin, end = (_time(moment.timestamp()) for moment in made.nominal)
        facets["nominalTime"] = _facet("1-0-1/NominalTimeRunFacet", nominalStartTime=begin, nominalEndTime=end)
    kind = _facet("2-0-4/JobTypeJobFacet", processingType="BATCH", integration="DAGSTER", jobType="ASSET")
    whole: dict[str, Json] = {
        "run": {"runId": str(uuid5(_NAMESPACE, f"{made.run_id} {job} {made.day}")), "facets": facets},
        "job": {"namespace": made.namespace, "name": job, "facets": {"jobType": kind}},
        "producer": PRODUCER,
        "schemaURL": _EVENT,
    }
    none: dict[str, Json] = {"inputs": [], "outputs": []}
    start = {"eventType": "START", "eventTime": _time(min(made.started, made.ended)), **whole, **none}
    return [start, {"eventType": "COMPLETE", "eventTime": _time(made.ended), **whole, **datasets}]


def _inputs(made: Made) -> list[Json]:
    """Each asset that was read, with the partitions and hashes where they are known."""
    if made.lineage is None:
        return [_dataset(made, asset, {}) for asset in made.inputs]
    read: dict[str, dict[str, str]] = {}
    for source in made.lineage.inputs:
        read.setdefault(source.asset, {})[source.day] = source.sha256
    return [
        _dataset(made, asset, {"recsys_partitions": {"_producer": PRODUCER, "_schemaURL": _READ, "sha256": hashes}})
        for asset, hashes in sorted(read.items())
    ]


def _facets(made: Made) -> Facets:
    """What is known of the dataset that was written."""
    facets: Facets = {}
    if made.columns:
        fields = [
            {"name": name, "type": kind, **({"description": about} if about else {})}
            for name, kind, about in made.columns
        ]
        facets["schema"] = _facet("1-2-0/SchemaDatasetFacet", fields=fields)
    if made.version:
        facets["version"] = _facet("1-0-1/DatasetVersionDatasetFacet", datasetVersion=made.version)
    if made.lineage:
        facets["recsys_partition"] = {
            "_producer": PRODUCER,
            "_schemaURL": _OURS,
            "day": made.lineage.day,
            "sha256": made.lineage.sha256,
            "fingerprint": made.lineage.fingerprint,
            "codeVersion": made.lineage.code_version,
            "seed": made.lineage.seed,
        }
    return facets


def _statistics(made: Made) -> Facets:
    if made.lineage is None:
        return {}
    rows, size = made.lineage.rows, made.lineage.bytes
    return {"outputStatistics": _facet("1-0-2/OutputStatisticsOutputDatasetFacet", rowCount=rows, size=size)}


def _assertions(checks: Sequence[dg.AssetCheckEvaluation]) -> Facets:
    found = [
        {"assertion": check.check_name, "success": check.passed, "severity": check.severity.value.lower()}
        for check in checks
    ]
    return {"dataQualityAssertions": _facet("1-1-0/DataQualityAssertionsDatasetFacet", assertions=found)}


def _dataset(made: Made, asset: str, facets: Facets) -> dict[str, Json]:
    return {"namespace": made.namespace, "name": asset, "facets": facets}


def _facet(schema: str, **fields: Json) -> dict[str, Json]:
    name = schema.rpartition("/")[2]
    return {"_producer": PRODUCER, "_schemaURL": f"{_FACETS}/{schema}.json#/$defs/{name}", **fields}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
