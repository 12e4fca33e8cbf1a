"""What was made with other settings, how much work it is to make it again, and the job that does.

Nothing but a person has history built again: days of many months may take hours, and a setting may be changed back.
Until then days of old and new settings are not mixed, so that what is served stays.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import dagster as dg

from recsys_assets import jobs
from recsys_assets.automation.runs import InProcessRunner, MaterializeError
from recsys_assets.automation.staleness import (
    History,
    history_of,
    history_tags,
    newest_day,
    ranges,
)
from recsys_assets.core.activity.feedback import days_reached
from recsys_assets.ingest.accepted import Accepted
from recsys_assets.ingest.landing import LandingZone
from recsys_assets.partitions import span, training_days
from recsys_assets.resources.naming import Names, asset_name
from recsys_assets.resources.store import StoreResource
from recsys_assets.settings import Settings
from recsys_assets.storage.lineage import Lineage
from recsys_assets.storage.partition_store import REBUILD, PartitionStore
from recsys_assets.storage.stated import Change, days_as_text, described

_READERS = 16
JOB = "rebuild"


@dataclass(frozen=True)
class OtherSettings:
    """Partitions that the next release would read, and that were made with other settings.

    Attributes:
        history: those of daily assets, by day.
        examples: those of as-of assets, by the days that rankers learn from.
        changes: what is stated otherwise since.
    """

    history: Mapping[str, Sequence[Lineage]]
    examples: Mapping[str, Sequence[Lineage]]
    changes: Sequence[Change]

    def __bool__(self) -> bool:
        return bool(self.history or self.examples)

    def __str__(self) -> str:
        """What is not current, because of which change, and how much work it is."""
        parts = [
            f"{name} of {days_as_text(by_day)} ({_count(by_day)} partitions of "
            f"{', '.join(sorted({record.asset for records in by_day.values() for record in records}))})"
            for name, by_day in (("history", self.history), ("examples", self.examples))
            if by_day
        ]
        return f"made with other settings: {described(self.changes)}. Concerned: {'; '.join(parts)}"


@dataclass(frozen=True)
class Planned:
    """A run of a rebuild."""

    title: str
    job: str
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Looks:
    """Looks for what is not current in a graph.

    Attributes:
        settings: of the graph.
        days: its partitions.
        marts: names of its marts.
        as_of: names of the assets that an as-of day of examples is made of.
    """

    settings: Settings
    days: dg.DailyPartitionsDefinition
    marts: Sequence[str]
    as_of: Sequence[str]

    def history(self, accepted: Accepted, partitions: PartitionStore) -> History:
        """The daily assets of all days."""
        reach = days_reached(self.settings.attribution_hours)
        return history_of(accepted, partitions, self.marts, span(self.days), reach=reach)

    def newest(self, accepted: Accepted) -> str | None:
        """The newest day with events."""
        return newest_day(accepted, span(self.days))

    def other_settings(self, accepted: Accepted, partitions: PartitionStore, history: History) -> OtherSettings:
        """What the release of the newest day would read and was made with other settings."""
        learned_from = self.learned_from(accepted)
        parts = [(asset, day) for day in learned_from for asset in self.as_of]
        with ThreadPoolExecutor(_READERS) as pool:
            records = list(pool.map(lambda part: partitions.read_lineage(*part), parts))
        examples: dict[str, list[Lineage]] = {}
        for record in records:
            if record and partitions.changes(record):
                examples.setdefault(record.day, []).append(record)
        found = [record for by_day in (history.other_settings, examples) for of in by_day.values() for record in of]
        changes = sorted({change for record in found for change in partitions.changes(record)})
        return OtherSettings(history.other_settings, examples, changes)

    def learned_from(self, accepted: Accepted) -> list[str]:
        """The as-of days that the ranker of the newest day learns from, oldest first."""
        first, newest = span(self.days)[0], self.newest(accepted)
        if newest is None:
            return []
        return training_days(self.settings, newest, next(day for day in accepted.event_days() if day >= first))

    def plan(self, accepted: Accepted, history: History, other: OtherSettings) -> list[Planned]:
        """The runs that make everything current, in order; the release of the newest day comes after them."""
        days = sorted({*history.outdated, *history.other_settings})
        runs = [
            Planned(f"events and marts {first} to {last}", jobs.HISTORY, history_tags(first, last))
            for first, last in ranges(days, accepted.changed)
        ]
        # Candidates read trailing windows, and weights are learned on the windows before: all later ones follow.
        first = min([*days, *other.examples], default="9999")
        return runs + [
            Planned(f"examples as of {day}", jobs.EXAMPLES, {"dagster/partition": day})
            for day in self.learned_from(accepted)
            if day >= first
        ]


def rebuild_job(looks: Looks, runner_on: Callable[[dg.DagsterInstance], InProcessRunner]) -> dg.JobDefinition:
    """The job that makes again what was made with other settings; it starts further runs.

    Args:
        looks: find what is not current.
        runner_on: runs jobs of the graph on an instance.
    """

    def rebuild_history(
        context: dg.OpExecutionContext, landing: dg.ResourceParam[LandingZone], store: StoreResource
    ) -> None:
        """Build the days that are not current, then the release of the newest day."""
        accepted, partitions = landing.accepted(), store.partitions()
        history = looks.history(accepted, partitions)
        other, newest = looks.other_settings(accepted, partitions, history), looks.newest(accepted)
        if newest is None or not (other or history.outdated):
            context.log.info("every day is made with the settings of now")
            return
        context.log.info(str(other) if other else f"not built: {days_as_text(history.outdated)}")
        runner = runner_on(context.instance)
        release = Planned(f"release as of {newest}", jobs.REFRESH, {"dagster/partition": newest})
        try:
            for run in (*looks.plan(accepted, history, other), release):
                context.log.info(run.title)
                runner.run(run.job, run.tags)
        except MaterializeError as error:
            raise dg.Failure(f"{error}; `{JOB}` goes on when it is started again", allow_retries=False) from error

    return Names.of(looks.settings).job(
        JOB,
        rebuild_history,
        pool="landing",
        out=dg.Out(dg.Nothing),
        description="Build again what was made with other settings than those of now, and the newest release.",
    )


def refusal(other: OtherSettings, served: str | None) -> str:
    """What to tell a person who wants a release while history was made with other settings."""
    stays = f"release {served} stays served" if served else "nothing is served yet"
    return f"{other}. Old and new are not mixed, so no release is made and {stays}. {REBUILD}"


def _count(by_day: Mapping[str, Sequence[Lineage]]) -> int:
    return sum(map(len, by_day.values()))


def as_of_assets(assets: Iterable[object], names: Names) -> list[str]:
    """Of the definitions of a graph, those of assets that an as-of day of examples is made of."""
    made = [asset for asset in assets if isinstance(asset, dg.AssetsDefinition)]
    return sorted(asset_name(key) for key in jobs.examples_of(names).resolve(made))
