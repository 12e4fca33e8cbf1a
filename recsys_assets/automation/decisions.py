"""What a person decides about the landing zone: the job ``acknowledge``, and what its command shares with it."""

from collections.abc import Callable, Mapping, Sequence

import dagster as dg
from pydantic import Field

from recsys_assets.automation.staleness import newest_day
from recsys_assets.core.dataset import Dataset
from recsys_assets.ingest.landing import LandingZone
from recsys_assets.ingest.quarantine import lacking, sentence, waiting
from recsys_assets.partitions import daily, span
from recsys_assets.resources.naming import Names
from recsys_assets.resources.store import StoreResource
from recsys_assets.settings import Settings

Rebuild = Callable[[str, Sequence[str], Mapping[str, str]], None]
"""Materializes assets of a day again, in runs with the given tags; raises MaterializeError."""
Log = Callable[[str], None]


class Decision(dg.Config):
    """Files that are set aside and are gone on without, held days to take, and whether what vanished may go."""

    files: list[str] = Field(default_factory=list[str])
    days: list[str] = Field(default_factory=list[str])
    deletions: bool = False


def carry_out(
    decision: Decision,
    landing: LandingZone,
    store: StoreResource,
    settings: Settings,
    dataset: Dataset,
    rebuild: Rebuild,
    log: Log,
) -> None:
    """Record a decision, and publish the newest release if only that was missing.

    Raises:
        ValueError: names what does not wait for a person.
    """
    before = landing.accepted()
    after = landing.decide(decision.files, decision.days, deletions=decision.deletions)
    log(f"waiting for a person: {sentence(waiting(after))}")
    newest, most = newest_day(after, span(daily(settings, dataset))), settings.missing_share
    if newest is None or not lacking(before, newest, most).held or lacking(after, newest, most).held:
        return
    if any(release.startswith(newest) for release in store.releases().list()):
        rebuild(newest, ["release"], {})
        log(f"the release as of {newest} waits no longer")


def acknowledge_job(
    settings: Settings, dataset: Dataset, rebuild_on: Callable[[dg.DagsterInstance], Rebuild]
) -> dg.JobDefinition:
    """The job for a data set; it may start a run.

    Args:
        settings: the days of the graph, and what a release may lack.
        dataset: whose landing zone it is.
        rebuild_on: returns the function that rebuilds assets in runs on an instance.
    """

    def decide(
        context: dg.OpExecutionContext,
        config: Decision,
        landing: dg.ResourceParam[LandingZone],
        store: StoreResource,
    ) -> None:
        """Do what a person has decided."""
        try:
            carry_out(config, landing, store, settings, dataset, rebuild_on(context.instance), context.log.info)
        except ValueError as error:
            raise dg.Failure(str(error), allow_retries=False) from error

    return Names.of(settings).job(
        "acknowledge",
        decide,
        pool="landing",
        out=dg.Out(dg.Nothing),
        description="Go on without landing files that are set aside, take days that are held, let go of files that "
        "vanished and of rows that files lost. Config: ops.decide.config: files, days, deletions.",
    )
