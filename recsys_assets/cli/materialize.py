"""Brings the graph up to date with the landing zone in this process, oldest day first.

The runs are ordinary Dagster runs on the instance of DAGSTER_HOME, so the UI shows them like any other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from types import TracebackType

import dagster as dg
from botocore.exceptions import ClientError

from recsys_assets import jobs
from recsys_assets.automation.rebuild import Looks, OtherSettings, as_of_assets, refusal
from recsys_assets.automation.runs import InProcessRunner, MaterializeError
from recsys_assets.automation.staleness import Span, history_tags, marts_of, ranges
from recsys_assets.checks.release import COMPLETE
from recsys_assets.cli.progress import Progress
from recsys_assets.cli.showcase import Showcase, showcase, who_orders
from recsys_assets.core.dataset import Dataset
from recsys_assets.core.generator_registry import GeneratorRegistry
from recsys_assets.definitions import build_definitions
from recsys_assets.ingest.accepted import Accepted, read_accepted
from recsys_assets.ingest.file_rows import file_rows, summed
from recsys_assets.ingest.quarantine import lacking, sentence, waiting
from recsys_assets.partitions import daily, examples_lacking, how_to_make, span, training_days
from recsys_assets.resources.landing import LandingResource
from recsys_assets.resources.naming import Names
from recsys_assets.resources.store import StoreResource
from recsys_assets.settings import Settings
from recsys_assets.storage.manifest import Pointer
from recsys_assets.storage.objects import ObjectStore
from recsys_assets.storage.stated import Change, described

_TRACKING = ("model_tracking",)
_TELLING = ("data_report", "feedback_report", *_TRACKING)
"""What tells people of a day, and nothing is made from."""
_FILES_TOLD = 20
_UPLOAD_HOURS = 24
"""Age from which an unfinished upload to S3 is one of a dead process: no upload takes a day."""
FIRST_WINDOWS = 2
"""Training windows of the very first release, where somebody waits for it."""


class OtherSettingsFound(MaterializeError):  # noqa: N818
    """No release was made, since days were made with other settings; the message says which, and what to do."""


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
        self._names = Names.of(settings)
        marts = marts_of(self._definitions.resolve_all_asset_specs(), self._names)
        as_of = as_of_assets(self._definitions.assets or (), self._names)
        self._looks = Looks(settings, daily(settings, dataset), marts, as_of)
        self._instance = instance or dg.DagsterInstance.get()
        self._owns_instance = instance is None
        self._runner = InProcessRunner(self._definitions, self._instance, settings.storage_uri, self._names)
        resources = self._definitions.resources or {}
        self._store: StoreResource = resources[self._names("store")]
        self._landing: LandingResource = resources[self._names("landing")]
        self._sweep(self._store.open())  # another data set's is refused before anything is read
        self._first: str | None = None
        self._other: OtherSettings | None = None
        self._outdated: list[str] = []
        self._done: set[str] = set()
        self._untold: dict[str, tuple[str, ...]] = {}

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
                :data:`FIRST_WINDOWS` training windows and before the reports; :meth:`build_all_windows` and
                :meth:`tell` go on from there.

        Raises:
            OtherSettingsFound: days that the release would read were made with other settings.
            MaterializeError: a run failed, or the landing zone holds no event that can be used.
        """
        newest = self.catch_up_history()
        pointer = self._store.releases().current()
        if self._other:
            raise OtherSettingsFound(refusal(self._other, pointer.release_id if pointer else None))
        remade = self._made_otherwise(newest)
        if pointer is not None and pointer.as_of >= newest and not self._outdated and not remade:
            self._progress.note(f"release {pointer.release_id} is up to date")
            return newest
        if remade:
            self._progress.note(f"the newest day follows other settings: {described(remade)}")
        self.build_training_windows(newest, FIRST_WINDOWS if first_answer and pointer is None else None)
        self.refresh([newest], first_answer=first_answer and pointer is None)
        return newest

    def catch_up_or_keep(self) -> str | None:
        """:meth:`catch_up` for a first answer; None where what is served stays, since history follows other settings.

        Raises:
            MaterializeError: as of :meth:`catch_up`; for other settings only where nothing is served.
        """
        try:
            return self.catch_up(first_answer=True)
        except OtherSettingsFound as found:
            if self.served() is None:
                raise
            self._progress.note(str(found))
            return None

    def rebuild(self) -> str:
        """Materialize again what was made with other settings, and the release; returns the newest day.

        Raises:
            MaterializeError: as of :meth:`catch_up`.
        """
        accepted, _ = self._accept()
        newest = self._newest(accepted)
        partitions = self._store.partitions()
        history = self._looks.history(accepted, partitions)
        other = self._looks.other_settings(accepted, partitions, history)
        self._progress.note(str(other) if other else "every earlier day is made with the settings of now")
        for run in self._looks.plan(accepted, history, other):
            with self._progress.step(run.title):
                self._runner.run(run.job, run.tags)
        self._outdated = []
        self._first = self._first_day(accepted)
        self.build_training_windows(newest)
        self.refresh([newest])
        return newest

    def _made_otherwise(self, newest: str) -> list[Change]:
        """What is stated otherwise since the newest day was made, if it was."""
        partitions = self._store.partitions()
        record = partitions.read_lineage("recommendations", newest)
        return sorted(partitions.changes(record)) if record else []

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
        self.tell()

    def catch_up_history(self) -> str:
        """Stage new files, materialize the days whose files changed; returns the newest day of the landing zone.

        Days that were made with other settings stay as they are; :meth:`rebuild` makes them again.
        """
        accepted, new = self._accept()
        newest = self._newest(accepted)
        self._first = self._first_day(accepted)
        partitions = self._store.partitions()
        history = self._looks.history(accepted, partitions)
        self._outdated = history.outdated
        for begin, last in ranges(self._outdated, accepted.changed):
            with self._progress.step(f"events and marts {begin} to {last}") as advance:
                self._runner.run("history", history_tags(begin, last), advance=advance)
        self._tell_rows(accepted, new, span(self._looks.days))
        self._other = self._looks.other_settings(accepted, partitions, history)
        return newest

    def _sweep(self, store: ObjectStore) -> None:
        """Remove what killed writes have left."""
        try:
            for left in store.sweep(hours=_UPLOAD_HOURS):
                self._progress.note(f"removed what a killed write had left: {left}")
        except ClientError as error:  # who may write may not be allowed to list uploads
            self._progress.note(f"unfinished uploads were not looked for: {error}")

    def _accept(self) -> tuple[Accepted, set[str]]:
        """Stage what is new in the landing zone; what counts now, and the names of the files that are new."""
        for run in self._runner.end_dead_runs():
            self._progress.note(f"run {run} was left by a process that was killed, and is ended")
        with self._progress.step(f"landing zone {self._settings.landing_uri}"):
            landing = self._landing.zone()
            before = landing.accepted().files
            accepted = landing.accept(landing.changes(), self._progress.note)
        new = {name for name, file in accepted.files.items() if file != before.get(name)}
        return accepted, new

    def _newest(self, accepted: Accepted) -> str:
        newest = self._looks.newest(accepted)
        if newest is None:
            raise MaterializeError(self._nothing_found(accepted))
        return newest

    def _first_day(self, accepted: Accepted) -> str:
        """The first day with events that the graph has a partition for."""
        return next(day for day in accepted.event_days() if day >= span(self._looks.days)[0])

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
            with self._progress.step(f"examples as of {day}") as advance:
                self._runner.run("examples", {"dagster/partition": day}, advance=advance)
            self._done.add(day)

    def refresh(self, days: Iterable[str], *, first_answer: bool = False) -> None:
        """Materialize everything as of each day, up to its release; MLflow comes with :meth:`tell`.

        Where somebody waits for the first answer, the reports come with it too. A release that lacks too much waits
        for a person; that is told and no failure.
        """
        graph = self._definitions.resolve_asset_graph()
        later = _TELLING if first_answer else _TRACKING
        chosen = jobs.refreshed(self._names) - self._names.assets(*later)
        for day in days:
            with self._progress.step(f"release as of {day}") as advance:
                try:
                    self._runner.run("refresh", {"dagster/partition": day}, sorted(chosen.resolve(graph)), advance)
                except MaterializeError as error:
                    if error.stopped_by != ("release", COMPLETE):
                        raise
                    lacks = lacking(read_accepted(self._store.open()), day, self._settings.missing_share)
                    self._progress.note(
                        f"the release as of {day} waits, because files are set aside: {lacks.told()}. Mend or remove "
                        "them, or go on without them: recsys landing acknowledge FILE"
                    )
            self._done.add(day)
            self._untold[day] = later

    def tell(self) -> None:
        """Make the reports that are left, and record in MLflow what was refreshed; serving need not wait for it."""
        while self._untold:
            day = next(iter(self._untold))
            assets = list(map(self._names.key, self._untold.pop(day)))
            with self._progress.step(f"{'MLflow' if len(assets) == 1 else 'reports and MLflow'} as of {day}"):
                self._runner.run("refresh", {"dagster/partition": day}, assets)

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

    def _nothing_found(self, accepted: Accepted | None = None) -> str:
        files = waiting(accepted) if accepted else {}
        return (f"set aside: {sentence(files)}; " if files else "") + (
            f"no event in the landing zone {self._settings.landing_uri} (RECSYS_LANDING_URI): data set "
            f"{self._dataset.name!r} expects files named {', '.join(self._dataset.events.files)} there"
        )
