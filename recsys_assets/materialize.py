"""Brings the graph up to date with the landing zone in this process, oldest day first.

The runs are ordinary Dagster runs on the instance of DAGSTER_HOME, so the UI shows them like any other.
"""

from __future__ import annotations

import tempfile
from collections.abc import Container, Iterable, Sequence
from datetime import date, timedelta
from pathlib import Path
from types import TracebackType

import dagster as dg
import pyarrow.parquet as pq

from recsys_assets.core.dataset import Dataset
from recsys_assets.core.events.read import DataFileError
from recsys_assets.definitions import build_definitions, build_resources
from recsys_assets.progress import Progress
from recsys_assets.resources.landing import LandingResource
from recsys_assets.resources.store import StoreResource
from recsys_assets.settings import Settings
from recsys_assets.storage.lineage import Input
from recsys_assets.storage.manifest import Pointer

_RANGE_START, _RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
# Errors are told once, as MaterializeError.
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class MaterializeError(RuntimeError):
    """A run failed; the message names its steps and their errors."""


class Materializer:
    """Runs the jobs of the graph on the local instance."""

    def __init__(
        self, settings: Settings, dataset: Dataset, progress: Progress, instance: dg.DagsterInstance | None = None
    ):
        self._settings = settings
        self._dataset = dataset
        self._progress = progress
        self._definitions = build_definitions(settings, dataset)
        self._instance = instance or dg.DagsterInstance.get()
        self._owns_instance = instance is None
        resources = build_resources(settings, dataset)
        self._store: StoreResource = resources["store"]
        self._landing: LandingResource = resources["landing"]
        self._stale: list[str] = []
        self._done: set[str] = set()

    def __enter__(self) -> Materializer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._owns_instance:
            self._instance.dispose()

    def expect_files(self) -> None:
        """Fail at once where the landing zone holds no event file: nothing could be built.

        Raises:
            MaterializeError: naming the landing zone and the files that the data set expects there.
        """
        if not self._landing.found("events"):
            raise MaterializeError(self._nothing_found())

    def catch_up(self) -> str:
        """Materialize what the landing zone has and the store has not; returns the newest day.

        Raises:
            MaterializeError: a run failed, a file cannot be used, or the landing zone holds no event.
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
            try:
                staged = self._landing.files_by_day(self._progress.note)
            except DataFileError as error:
                raise MaterializeError(f"{self._settings.landing_uri}: {error}") from error
        first, end = self._settings.start_date, self._settings.end_date
        files_of = {
            day: files
            for day, files in staged.items()
            if (first is None or day >= first.isoformat()) and (end is None or day < end.isoformat())
        }
        if not files_of:
            raise MaterializeError(self._nothing_found())
        self._stale = [day for day, files in sorted(files_of.items()) if not self._is_current(day, files)]
        for begin, last in _ranges(self._stale, files_of):
            with self._progress.step(f"events and marts {begin} to {last}"):
                self._run("history", {_RANGE_START: begin, _RANGE_END: last})
        return max(files_of)

    def learn_from_the_past(self, newest: str) -> None:
        """Materialize the earlier as-of days whose candidates the ranker of ``newest`` learns from, oldest first."""
        # Candidates read trailing windows: a day that changed makes every later as-of day stale.
        changed = min(self._stale, default="9999")
        stored = self._store.partitions().days("ranking_examples")
        have = {day for day in stored if day < changed} | self._done
        for day in training_days(self._settings, newest):
            if day not in have:
                with self._progress.step(f"examples as of {day}"):
                    self._run("examples", {"dagster/partition": day})
                self._done.add(day)

    def refresh(self, days: Iterable[str]) -> None:
        """Materialize everything as of each day, up to its release."""
        for day in days:
            with self._progress.step(f"release as of {day}"):
                self._run("refresh", {"dagster/partition": day})
            self._done.add(day)

    def served(self) -> Pointer | None:
        """The release being served; None before the first, which may wait for an approval."""
        return self._store.releases().current()

    def waiting(self) -> list[str]:
        """The releases that could be approved while nothing is served."""
        return self._store.releases().list()

    def someone(self, day: str) -> tuple[str, str, str]:
        """A user with recommendations, a user nobody knows, and an item to ask about."""
        with tempfile.TemporaryDirectory() as folder:
            path = self._store.partitions().fetch("recommendations", day, Path(folder))
            first = next(pq.ParquetFile(path).iter_batches(1, columns=["user_id", "item_id"])).to_pylist()
        if not first:
            raise MaterializeError(f"nobody has recommendations as of {day}")
        unknown = str(2**62) if isinstance(first[0]["user_id"], int) else "nobody-knows-me"
        return str(first[0]["user_id"]), unknown, str(first[0]["item_id"])

    def _is_current(self, day: str, files: list[str]) -> bool:
        """Whether a day was built from the files that it has now, and its marts from those very events."""
        read = self._store.partitions().read_lineage
        events, properties = read("clean_events", day), read("item_properties", day)
        if events is None or events.params.get("files") != files:
            return False
        if properties is None or properties.params.get("files") != self._landing.digests("properties", day):
            return False
        marts = [read(name, day) for name in ("user_activity", "item_activity", "item_pairs")]
        built_from = Input("clean_events", day, events.sha256)
        return all(mart is not None and built_from in mart.inputs for mart in marts)

    def _nothing_found(self) -> str:
        return (
            f"no event in the landing zone {self._settings.landing_uri} (RECSYS_LANDING_URI): data set "
            f"{self._dataset.name!r} expects files named {', '.join(self._dataset.events.files)} there"
        )

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
    steps = range(settings.training_windows + 1, 0, -1)
    days = [last - timedelta(days=settings.horizon_days * step) for step in steps]
    return [day.isoformat() for day in days if day >= settings.first_day]


def _ranges(days: Sequence[str], known: Container[str]) -> list[tuple[str, str]]:
    """Days as ranges (first, last), for one run each.

    A range goes on over days on which nothing happened (no file knows them): a run costs more than empty partitions.
    """
    ranges: list[tuple[str, str]] = []
    for day in days:
        if ranges and not any(between in known for between in _days_between(ranges[-1][1], day)):
            ranges[-1] = (ranges[-1][0], day)
        else:
            ranges.append((day, day))
    return ranges


def _days_between(first: str, last: str) -> list[str]:
    """The days after ``first`` and before ``last``."""
    start = date.fromisoformat(first)
    return [(start + timedelta(days=n)).isoformat() for n in range(1, (date.fromisoformat(last) - start).days)]
