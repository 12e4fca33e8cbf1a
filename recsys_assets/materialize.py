"""Brings the graph up to date with the landing zone in this process, oldest day first.

The runs are ordinary Dagster runs on the instance of DAGSTER_HOME, so the UI shows them like any other.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from pathlib import Path
from types import TracebackType

import dagster as dg
import pyarrow.parquet as pq

from recsys_assets.core.dataset import Dataset
from recsys_assets.definitions import build_definitions, build_resources
from recsys_assets.progress import Progress
from recsys_assets.resources.landing import LandingResource
from recsys_assets.resources.store import StoreResource
from recsys_assets.settings import Settings

_RANGE_START, _RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
_QUIET = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}


class MaterializeError(RuntimeError):
    """A run failed; the message names its steps and their errors."""


class Materializer:
    """Runs the jobs of the graph on the local instance."""

    def __init__(
        self, settings: Settings, dataset: Dataset, progress: Progress, instance: dg.DagsterInstance | None = None
    ):
        self._settings = settings
        self._progress = progress
        self._definitions = build_definitions(settings, dataset)
        self._instance = instance or dg.DagsterInstance.get()
        self._owns_instance = instance is None
        resources = build_resources(settings, dataset)
        self._store: StoreResource = resources["store"]
        self._landing: LandingResource = resources["landing"]
        self._stale: list[str] = []

    def __enter__(self) -> Materializer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._owns_instance:
            self._instance.dispose()

    def catch_up(self) -> str:
        """Materialize what the landing zone has and the store has not; returns the newest day.

        Raises:
            MaterializeError: a run failed, or the landing zone holds no event.
        """
        newest = self.catch_up_history()
        pointer = self._store.releases().current()
        if pointer is not None and pointer.as_of >= newest and not self._stale:
            self._progress.note(f"release {pointer.release_id} is up to date")
            return newest
        self.learn_from_the_past(newest)
        self.refresh([newest])
        return newest

    def catch_up_history(self) -> str:
        """Stage new files, materialize the days whose files changed; returns the newest day of the landing zone."""
        with self._progress.step(f"landing zone {self._settings.landing_uri}"):
            files_of = self._landing.files_by_day(self._progress.note)
        if not files_of:
            raise MaterializeError(f"no event in {self._settings.landing_uri}")
        store = self._store.partitions()
        self._stale = [
            day
            for day, files in sorted(files_of.items())
            if (known := store.read_lineage("clean_events", day)) is None or known.params.get("files") != files
        ]
        for first, last in _ranges(self._stale):
            with self._progress.step(f"events and marts {first} to {last}"):
                self._run("history", {_RANGE_START: first, _RANGE_END: last})
        return max(files_of)

    def learn_from_the_past(self, newest: str) -> None:
        """Materialize the earlier as-of days whose candidates the ranker of ``newest`` learns from, oldest first."""
        have = set(self._store.partitions().days("ranking_examples")) - set(self._stale)
        for day in training_days(self._settings, newest):
            if day not in have:
                with self._progress.step(f"examples as of {day}"):
                    self._run("examples", {"dagster/partition": day})

    def refresh(self, days: Iterable[str]) -> None:
        """Materialize everything as of each day, up to its release."""
        for day in days:
            with self._progress.step(f"release as of {day}"):
                self._run("refresh", {"dagster/partition": day})

    def someone(self, day: str) -> tuple[str, str, str]:
        """A user with recommendations, a user nobody knows, and an item to ask about."""
        with tempfile.TemporaryDirectory() as folder:
            path = self._store.partitions().fetch("recommendations", day, Path(folder))
            first = next(pq.ParquetFile(path).iter_batches(1, columns=["user_id", "item_id"])).to_pylist()
        if not first:
            raise MaterializeError(f"nobody has recommendations as of {day}")
        unknown = str(2**62) if isinstance(first[0]["user_id"], int) else "nobody-knows-me"
        return str(first[0]["user_id"]), unknown, str(first[0]["item_id"])

    def _run(self, job: str, tags: dict[str, str]) -> None:
        result = self._definitions.resolve_job_def(job).execute_in_process(
            instance=self._instance, tags=tags, run_config=_QUIET, raise_on_error=False
        )
        if result.success:
            return
        failures = [f"{event.step_key}: {_root_cause(event)}" for event in result.get_step_failure_events()]
        checks = [
            f"{check.asset_key.to_user_string()}: check {check.check_name} failed"
            for check in result.get_asset_check_evaluations()
            if not check.passed and check.severity is dg.AssetCheckSeverity.ERROR
        ]
        raise MaterializeError(f"run {result.run_id} of {job} {tags}: " + "; ".join(checks + failures))


def _root_cause(event: dg.DagsterEvent) -> str:
    """The message of the error that a step died of, without Dagster's wrapping."""
    error = event.step_failure_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error is not None else "no error was recorded"


def training_days(settings: Settings, newest: str) -> list[str]:
    """The as-of days before ``newest`` that its ranker and its evaluation look back on, oldest first.

    Examples of D-h, D-2h, … label the candidates of one horizon earlier, and D itself judges on the candidates of D-h.
    """
    last = date.fromisoformat(newest)
    assert settings.start_date is not None
    steps = range(settings.training_windows + 1, 0, -1)
    days = [last - timedelta(days=settings.horizon_days * step) for step in steps]
    return [day.isoformat() for day in days if day >= settings.start_date]


def _ranges(days: Sequence[str]) -> list[tuple[str, str]]:
    """Consecutive days as (first, last)."""
    ranges: list[tuple[str, str]] = []
    for day in days:
        follows = ranges and date.fromisoformat(day) - date.fromisoformat(ranges[-1][1]) == timedelta(days=1)
        if follows:
            ranges[-1] = (ranges[-1][0], day)
        else:
            ranges.append((day, day))
    return ranges
