"""Brings the graph up to date with the landing zone in this process, oldest day first.

The runs are ordinary Dagster runs on the instance of DAGSTER_HOME, so the UI shows them like any other.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable
from pathlib import Path
from types import TracebackType

import dagster as dg
import pyarrow.parquet as pq

from recsys_assets import jobs
from recsys_assets.automation.runs import InProcessRunner, MaterializeError
from recsys_assets.automation.staleness import (
    Span,
    history_tags,
    marts_of,
    newest_day,
    outdated_days,
    ranges,
    training_days,
)
from recsys_assets.checks.release import COMPLETE
from recsys_assets.cli.progress import Progress
from recsys_assets.core.activity.feedback import days_reached
from recsys_assets.core.dataset import Dataset
from recsys_assets.core.generator_registry import GeneratorRegistry
from recsys_assets.definitions import build_definitions, build_resources
from recsys_assets.ingest.accepted import Accepted, read_accepted
from recsys_assets.ingest.file_rows import file_rows, summed
from recsys_assets.ingest.quarantine import lacking, sentence, waiting
from recsys_assets.partitions import daily, span
from recsys_assets.resources.landing import LandingResource
from recsys_assets.resources.store import StoreResource
from recsys_assets.settings import Settings
from recsys_assets.storage.manifest import Pointer

_TRACKING = ("model_tracking",)
_FILES_TOLD = 20
FIRST_WINDOWS = 2
"""Training windows of the very first release, where somebody waits for it."""


class Materializer:
    """Runs the jobs of the graph on the local instance."""

    def __init__(
        self, settings: Settings, dataset: Dataset, progress: Progress, instance: dg.DagsterInstance | None = None
    ):
        self._settings = settings
        self._dataset = dataset
        self._progress = progress
        registry = GeneratorRegistry.installed()
        self._definitions = build_definitions(settings, dataset, registry=registry)
        self._marts = marts_of(self._definitions.resolve_all_asset_specs())
        self._instance = instance or dg.DagsterInstance.get()
        self._owns_instance = instance is None
        self._runner = InProcessRunner(self._definitions, self._instance, settings.storage_uri)
        resources = build_resources(settings, dataset, registry)
        self._store: StoreResource = resources["store"]
        self._landing: LandingResource = resources["landing"]
        self._first: str | None = None
        self._outdated: list[str] = []
        self._done: set[str] = set()
        self._untracked: list[str] = []

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
        if not any(file.kind == "events" for file in self._landing.zone().listing().values()):
            raise MaterializeError(self._nothing_found())

    def catch_up(self, *, first_answer: bool = False) -> str:
        """Materialize what the landing zone has and the store has not; returns the newest day.

        Args:
            first_answer: whether the first release of a store is to be there soon: it is made with the newest
                :data:`FIRST_WINDOWS` training windows, and :meth:`build_all_windows` goes on from there.

        Raises:
            MaterializeError: a run failed, or the landing zone holds no event that can be used.
        """
        newest = self.catch_up_history()
        pointer = self._store.releases().current()
        if pointer is not None and pointer.as_of >= newest and not self._outdated:
            self._progress.note(f"release {pointer.release_id} is up to date")
            return newest
        self.build_training_windows(newest, FIRST_WINDOWS if first_answer and pointer is None else None)
        self.refresh([newest])
        return newest

    def windows_left(self, newest: str) -> list[str]:
        """The as-of days of training windows that are not built yet, and those after them, oldest first.

        Weights of a day are learned on the windows before it, so all after the oldest missing one are built again: the
        result is the same as if they had been built in order.
        """
        days = training_days(self._settings, newest, self._first)
        stored = set(self._store.partitions().days("ranking_examples"))
        missing = next((at for at, day in enumerate(days) if day not in stored), len(days))
        return days[missing:]

    def build_all_windows(self, newest: str) -> None:
        """Materialize the training windows that a first answer left out, and the release of a day once more."""
        if left := self.windows_left(newest):
            self._progress.note(f"{len(left)} training windows are left; the next release learns from them too")
            self._done.difference_update(left)
            self._build_examples(left)
            self.refresh([newest])

    def catch_up_history(self) -> str:
        """Stage new files, materialize the days whose files changed; returns the newest day of the landing zone."""
        self._runner.cancel_orphan_runs()
        with self._progress.step(f"landing zone {self._settings.landing_uri}"):
            landing = self._landing.zone()
            before = landing.accepted().files
            accepted = landing.accept(landing.changes(), self._progress.note)
        new = {name for name, file in accepted.files.items() if file != before.get(name)}
        days = span(daily(self._settings, self._dataset))
        newest = newest_day(accepted, days)
        if newest is None:
            raise MaterializeError(self._nothing_found(accepted))
        self._first = next(day for day in accepted.event_days() if day >= days[0])
        reach = days_reached(self._settings.attribution_hours)
        self._outdated = outdated_days(accepted, self._store.partitions(), self._marts, days, reach=reach)
        for begin, last in ranges(self._outdated, accepted.changed):
            with self._progress.step(f"events and marts {begin} to {last}"):
                self._runner.run("history", history_tags(begin, last))
        self._tell_rows(accepted, new, days)
        return newest

    def _tell_rows(self, accepted: Accepted, names: Collection[str], days: Span) -> None:
        """What became of the rows of new files, a line each."""
        for rows in summed(file_rows(self._store.open(), accepted, names, days), _FILES_TOLD):
            self._progress.note(rows.told())
        outside = [day for day in accepted.event_days() if not days[0] <= day <= days[1]]
        if outside:
            self._progress.note(
                f"{len(outside):,} days with events, {outside[0]} to {outside[-1]}, are outside the dates of the "
                f"graph, {days[0]} to {days[1]} (RECSYS_START_DATE, RECSYS_END_DATE, today): they are not built"
            )

    def build_training_windows(self, newest: str, windows: int | None = None) -> None:
        """Materialize the earlier as-of days whose candidates the ranker of ``newest`` learns from, oldest first.

        Args:
            newest: the day of the ranker.
            windows: how many; None for those of the settings.
        """
        # Candidates read trailing windows, so a changed day makes every later as-of day outdated.
        changed = min(self._outdated, default="9999")
        stored = self._store.partitions().days("ranking_examples")
        built = {day for day in stored if day < changed} | self._done
        days = training_days(self._settings, newest, self._first, windows)
        self._build_examples([day for day in days if day not in built])

    def _build_examples(self, days: Iterable[str]) -> None:
        for day in days:
            with self._progress.step(f"examples as of {day}"):
                self._runner.run("examples", {"dagster/partition": day})
            self._done.add(day)

    def refresh(self, days: Iterable[str]) -> None:
        """Materialize everything as of each day, up to its release; MLflow comes with :meth:`track`.

        A release that lacks too much waits for a person; that is told and no failure.
        """
        graph = self._definitions.resolve_asset_graph()
        chosen = jobs.refresh.selection - dg.AssetSelection.assets(*_TRACKING)
        for day in days:
            with self._progress.step(f"release as of {day}"):
                try:
                    self._runner.run("refresh", {"dagster/partition": day}, sorted(chosen.resolve(graph)))
                except MaterializeError as error:
                    if error.stopped_by != ("release", COMPLETE):
                        raise
                    lacks = lacking(read_accepted(self._store.open()), day, self._settings.missing_share)
                    self._progress.note(
                        f"the release as of {day} waits, because files are set aside: {lacks.told()}. Mend or remove "
                        "them, or go on without them: python -m recsys_assets.cli.landing acknowledge FILE"
                    )
            self._done.add(day)
            if day not in self._untracked:
                self._untracked.append(day)

    def track(self) -> None:
        """Record in MLflow what was refreshed; a step of its own, so that serving need not wait for it."""
        while self._untracked:
            day = self._untracked.pop(0)
            with self._progress.step(f"MLflow as of {day}"):
                self._runner.run("refresh", {"dagster/partition": day}, [dg.AssetKey(name) for name in _TRACKING])

    def served(self) -> Pointer | None:
        """The release being served; None before the first, which may wait for an approval."""
        return self._store.releases().current()

    def waiting(self) -> list[str]:
        """The releases that could be approved while nothing is served."""
        return self._store.releases().list()

    def sample_user(self, day: str) -> tuple[str, str, str]:
        """A user with recommendations, the id of a user without any events, and an item."""
        with tempfile.TemporaryDirectory() as folder:
            path = self._store.partitions().fetch("recommendations", day, Path(folder))
            rows = next(pq.ParquetFile(path).iter_batches(1, columns=["user_id", "item_id"])).to_pylist()
        if not rows:
            raise MaterializeError(f"nobody has recommendations as of {day}")
        unknown = str(2**62) if isinstance(rows[0]["user_id"], int) else "nobody-knows-me"
        return str(rows[0]["user_id"]), unknown, str(rows[0]["item_id"])

    def _nothing_found(self, accepted: Accepted | None = None) -> str:
        files = waiting(accepted) if accepted else {}
        return (f"set aside: {sentence(files)}; " if files else "") + (
            f"no event in the landing zone {self._settings.landing_uri} (RECSYS_LANDING_URI): data set "
            f"{self._dataset.name!r} expects files named {', '.join(self._dataset.events.files)} there"
        )
