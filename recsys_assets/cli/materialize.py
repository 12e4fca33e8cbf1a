"""Brings the graph up to date with the landing zone in this process, oldest day first.

The runs are ordinary Dagster runs on the instance of DAGSTER_HOME, so the UI shows them like any other.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType

import dagster as dg

from recsys_assets import jobs
from recsys_assets.automation.runs import InProcessRunner, MaterializeError
from recsys_assets.automation.staleness import history_tags, marts_of, newest_day, outdated_days, ranges
from recsys_assets.cli.progress import Progress
from recsys_assets.cli.showcase import Showcase, showcase, who_orders
from recsys_assets.core.activity.feedback import days_reached
from recsys_assets.core.dataset import Dataset
from recsys_assets.core.events.read import DataFileError
from recsys_assets.core.generator_registry import GeneratorRegistry
from recsys_assets.definitions import build_definitions, build_resources
from recsys_assets.partitions import daily, examples_lacking, how_to_make, span, training_days
from recsys_assets.resources.landing import LandingResource
from recsys_assets.resources.store import StoreResource
from recsys_assets.settings import Settings
from recsys_assets.storage.manifest import Pointer

_TRACKING = ("model_tracking",)
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
            MaterializeError: a run failed, a file cannot be used, or the landing zone holds no event.
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

    def build_as_of(self, days: Iterable[str]) -> None:
        """Materialize as-of days up to their releases, oldest first, each after the examples that its ranker lacks.

        Raises:
            MaterializeError: a run failed, or a day is not one of the data's.
        """
        newest = self.catch_up_history()
        for day in sorted(set(days)):
            if not str(self._first) <= day <= newest:
                raise MaterializeError(f"as-of day {day}: expected one from {self._first} to {newest}")
            stored = self._store.partitions().days("ranking_examples")
            if lacking := examples_lacking(self._settings, [day], stored, self._first):
                self._progress.note(f"{day} {how_to_make(lacking, [day])}")
            self.build_training_windows(day)
            self.refresh([day])
        self.track()

    def catch_up_history(self) -> str:
        """Stage new files, materialize the days whose files changed; returns the newest day of the landing zone."""
        for run in self._runner.end_dead_runs():
            self._progress.note(f"run {run} was left by a process that was killed, and is ended")
        with self._progress.step(f"landing zone {self._settings.landing_uri}"):
            landing = self._landing.zone()
            try:
                accepted = landing.accept(landing.changes(), self._progress.note)
            except DataFileError as error:
                raise MaterializeError(f"{self._settings.landing_uri}: {error}") from error
        days = span(daily(self._settings, self._dataset))
        newest = newest_day(accepted, days)
        if newest is None:
            raise MaterializeError(self._nothing_found())
        self._first = next(day for day in accepted.event_days() if day >= days[0])
        reach = days_reached(self._settings.attribution_hours)
        self._outdated = outdated_days(accepted, self._store.partitions(), self._marts, days, reach=reach)
        for begin, last in ranges(self._outdated, accepted.changed):
            with self._progress.step(f"events and marts {begin} to {last}") as advance:
                self._runner.run("history", history_tags(begin, last), advance=advance)
        return newest

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
            with self._progress.step(f"examples as of {day}") as advance:
                self._runner.run("examples", {"dagster/partition": day}, advance=advance)
            self._done.add(day)

    def refresh(self, days: Iterable[str]) -> None:
        """Materialize everything as of each day, up to its release; MLflow comes with :meth:`track`."""
        graph = self._definitions.resolve_asset_graph()
        chosen = jobs.refresh.selection - dg.AssetSelection.assets(*_TRACKING)
        for day in days:
            with self._progress.step(f"release as of {day}") as advance:
                self._runner.run("refresh", {"dagster/partition": day}, sorted(chosen.resolve(graph)), advance)
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

    def showcase(self, day: str) -> Showcase:
        """A user to look at, of a day's release.

        Raises:
            MaterializeError: nobody has recommendations.
        """
        shown = showcase(self._store.partitions(), day)
        if shown is None:
            raise MaterializeError(f"nobody has recommendations as of {day}")
        return shown

    def who_orders(self, day: str) -> str:
        """Who orders the lists of a day and why, in one sentence."""
        return who_orders(self._store.partitions(), day)

    def _nothing_found(self) -> str:
        return (
            f"no event in the landing zone {self._settings.landing_uri} (RECSYS_LANDING_URI): data set "
            f"{self._dataset.name!r} expects files named {', '.join(self._dataset.events.files)} there"
        )
