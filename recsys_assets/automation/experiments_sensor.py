"""The experiments' sensor: a file ``experiments/<name>.yaml`` that comes or changes becomes a model, one run each."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import dagster as dg

from recsys_assets import jobs
from recsys_assets.automation.cursors import read_cursor, write_cursor
from recsys_assets.automation.event_log import store_tag
from recsys_assets.automation.pause import paused
from recsys_assets.core.experiments.config import MOST_BYTES, ExperimentError, name_of, parse
from recsys_assets.ingest.landing import LandingZone
from recsys_assets.ingest.listing import LandingFile
from recsys_assets.model_registry.experiment_models import ASSET, experiments_of
from recsys_assets.resources.naming import Names
from recsys_assets.settings import Settings
from recsys_assets.storage.objects import NotFound

SECONDS = 30


@dataclass(frozen=True)
class Handled:
    """The state of a file.

    Attributes:
        etag: of the inspected content; empty if the file was deleted.
        sha256: of the content that was last requested.
        edition: how many contents were requested before it, so that a file that goes from A to B and back to A is
            three requests.
        fault: why the inspected content is not a valid experiment; empty if it is one.
    """

    etag: str = ""
    sha256: str = ""
    edition: int = 0
    fault: str = ""


@dataclass(frozen=True)
class ExperimentsCursor:
    """The state of the sensor between two ticks. It may be lost, since run keys name what was requested.

    Attributes:
        version: of this record.
        handled: by file.
        seen: etags of the files in the last tick. A file counts when the next tick finds it the same.
    """

    version: int = 1
    handled: Mapping[str, Handled] = field(default_factory=dict[str, Handled])
    seen: Mapping[str, str] = field(default_factory=dict[str, str])


def experiments_sensor(settings: Settings, generators: Sequence[str], job: jobs.Job) -> dg.SensorDefinition:
    """The sensor of a graph.

    Args:
        settings: where its store is.
        generators: names of those that the graph has.
        job: trains the model of an experiment.
    """
    tags, names = store_tag(settings.storage_uri), Names.of(settings)
    experiments = experiments_of(names)

    @dg.sensor(
        name=names("experiments_sensor"),
        job=job,
        minimum_interval_seconds=SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Requests a model for each new and edited file experiments/<name>.yaml of the landing zone.",
    )
    @names.bind
    def sensor(context: dg.SensorEvaluationContext, landing: dg.ResourceParam[LandingZone]) -> dg.SensorResult:
        if reason := paused(context.instance, names):
            return dg.SensorResult(skip_reason=reason)
        cursor = read_cursor(ExperimentsCursor, context.cursor)
        files = {file.name: file for file in landing.experiment_files()}
        handled = dict(cursor.handled)
        file_of_name: dict[str, str] = {}
        requests: list[dg.RunRequest] = []
        new_faults: list[str] = []
        waiting: list[str] = []
        for key, file in sorted(files.items()):
            before = handled.get(key, Handled())
            if before.etag != file.fingerprint:
                if cursor.seen.get(key) != file.fingerprint:
                    waiting.append(f"{key}: not whole yet")
                    continue
                handled[key] = inspect_file(landing, file, before, file_of_name, generators)
                if handled[key].fault:
                    new_faults.append(handled[key].fault)
            name = None if handled.get(key, Handled()).fault else _name(key)
            if name is None:
                continue
            file_of_name[name] = key
            if handled[key].edition != before.edition:
                requests.append(
                    dg.RunRequest(
                        run_key=f"{name}:{handled[key].sha256}:{handled[key].edition}", partition_key=name, tags=tags
                    )
                )
        partitions = set(context.instance.get_dynamic_partitions(str(experiments.name)))
        # A faulty file may have been an experiment: its model is kept until the file is repaired.
        removed = {
            name
            for key in handled
            if key not in files and (name := _name(key)) in partitions and name not in file_of_name
        }
        for key in [key for key in handled if key not in files]:
            handled[key] = replace(handled[key], etag="", sha256="", fault="")
        for fault in new_faults:
            context.log.warning(fault)
        faults = [state.fault for key, state in sorted(handled.items()) if state.fault and key in files]
        seen = {key: file.fingerprint for key, file in files.items()}
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else "; ".join([*faults, *waiting]) or "nothing is new among the experiments",
            cursor=write_cursor(ExperimentsCursor(handled=handled, seen=seen)),
            dynamic_partitions_requests=partitions_requests(
                experiments, set(file_of_name) - partitions, {name for name in removed if name}
            ),
            asset_events=[dg.AssetObservation(names.key(ASSET), description=fault) for fault in new_faults],
        )

    return sensor


def inspect_file(
    landing: LandingZone, file: LandingFile, before: Handled, file_of_name: Mapping[str, str], generators: Sequence[str]
) -> Handled:
    """The state of a file with new content; ``file_of_name`` holds the files that were read before it in this tick."""
    looked = replace(before, etag=file.fingerprint, fault="")
    try:
        name = name_of(file.name)
        if name is None:
            return looked
        if file.fault:
            raise ExperimentError(f"{file.name}: {file.fault}")
        if name in file_of_name:
            raise ExperimentError(f"{file.name}: name: {file_of_name[name]} is there too")
        if file.size > MOST_BYTES:
            raise ExperimentError(f"{file.name}: expected at most {MOST_BYTES} bytes, found {file.size}")
        data = landing.experiment_file(file.name)
        parse(data, file.name, generators)
    except ExperimentError as error:
        return replace(looked, fault=str(error))
    except NotFound:
        return before
    sha256 = hashlib.sha256(data).hexdigest()
    return looked if sha256 == before.sha256 else replace(looked, sha256=sha256, edition=before.edition + 1)


def partitions_requests(experiments: dg.DynamicPartitionsDefinition, new: set[str], removed: set[str]) -> list[Any]:
    """Requests to add and delete partitions, one per experiment."""
    added = [experiments.build_add_request(sorted(new))] if new else []
    return [*added, *([experiments.build_delete_request(sorted(removed))] if removed else [])]


def _name(key: str) -> str | None:
    try:
        return name_of(key)
    except ExperimentError:
        return None
