"""Jobs, as started by people, schedules, sensors and ``make run``."""

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import dagster as dg

from recsys_assets.assets.promotion import GATE
from recsys_assets.core.gate.promotion import ApprovalDecision, ModelRef
from recsys_assets.ingest.landing import LandingZone
from recsys_assets.ingest.quarantine import waiting
from recsys_assets.model_registry.decisions import ApprovalRecord, ApprovalRecords
from recsys_assets.model_registry.experiment_models import ASSET
from recsys_assets.model_registry.experiment_validation import VALIDATION
from recsys_assets.model_registry.state import EXPERIMENT_CHALLENGER, EXPERIMENT_PROMOTION, current_registry_state
from recsys_assets.resources.naming import Names
from recsys_assets.resources.store import StoreResource
from recsys_assets.resources.tracking import Tracking

WAITS = "waits_for_a_person"
"""Metadata of an observation of ``raw_events``: what has newly been set aside or held, and why."""
RAW = "raw_events"
_TOLD = 100
AT_ONCE = {"dagster/priority": "100"}
"""Of jobs that a person waits for: they are ahead of whatever else is queued."""

HISTORY = "history"
EXAMPLES = "examples"
REFRESH = "refresh"
STAGE_LANDING = "stage_landing"
TRAIN_EXPERIMENT = "train_experiment"
VALIDATE_EXPERIMENTS = "validate_experiments"

Job = Any
"""A job, or one whose assets are found when the graph is complete; Dagster does not export the type of the latter."""


def examples_of(names: Names) -> dg.AssetSelection:
    """What one past day of labelled examples is made of."""
    return names.assets("ranking_examples").upstream() - dg.AssetSelection.tag(names.grain, "day")


def refreshed(names: Names) -> dg.AssetSelection:
    """What is made as of one day."""
    last = names.assets("release", "data_report", "feedback_report", "model_tracking")
    return last.upstream() - dg.AssetSelection.tag(names.grain, "day")


def build(names: Names) -> dict[str, Job]:
    """The jobs of a graph by their bare names; those that need more of it are beside what they do."""
    return {**_asset_jobs(names), **_release_jobs(names), **_model_jobs(names)}


def _asset_jobs(names: Names) -> dict[str, Job]:
    """Jobs that materialize assets, and the one that takes files in."""
    validated = (VALIDATION, EXPERIMENT_CHALLENGER, EXPERIMENT_PROMOTION, "model_comparison")
    selected = {
        HISTORY: (
            dg.AssetSelection.tag(names.grain, "day"),
            "Events, properties and marts of the days given; a range of days runs as one run.",
        ),
        EXAMPLES: (
            examples_of(names),
            "Fits as of one past day, and the labelled examples from which later rankers learn.",
        ),
        REFRESH: (
            refreshed(names),
            "Everything as of one day, from marts to the release, the reports of data and feedback, and MLflow.",
        ),
        "backtest": (
            names.assets("backtest_report"),
            "One report on the as-of days up to the day given, as far as they were made.",
        ),
        TRAIN_EXPERIMENT: (
            names.assets(ASSET),
            "The model of one experiment; the experiments sensor starts it for new and edited files.",
        ),
        VALIDATE_EXPERIMENTS: (
            names.assets(*validated),
            "Experiments on the test window of one day, the best of them before the gate, and their comparison.",
        ),
    }
    return {
        STAGE_LANDING: names.job(
            STAGE_LANDING,
            accepting(names),
            pool="landing",
            description="Read the files that the landing sensor found whole; it starts this by itself.",
        ),
        **{
            name: dg.define_asset_job(names(name), selection=selection, description=description)
            for name, (selection, description) in selected.items()
        },
    }


def _release_jobs(names: Names) -> dict[str, Job]:
    """Jobs that move the pointer."""
    ops = {
        "rollback_release": (
            point_back,
            "Serve an older release and keep it until unpin_release. Config: ops.point_back.config.release_id.",
        ),
        "pin_release": (pin, "Keep serving the current release, whatever is published, until unpin_release."),
        "unpin_release": (unpin, "Follow new releases again, after a rollback or pin_release."),
        "approve_release": (
            approve,
            "Serve a release that waits (RECSYS_MODE=manual). Config: ops.approve.config.release_id.",
        ),
    }
    return {name: names.job(name, op, description=about, tags=AT_ONCE) for name, (op, about) in ops.items()}


def _model_jobs(names: Names) -> dict[str, Job]:
    """Jobs that decide about a challenger."""
    ops = {
        "approve_model": (
            promote,
            "Promote the challenger that waits (RECSYS_MODE=manual). Config: ops.promote.config.model_id.",
        ),
        "reject_model": (
            archive,
            "Archive the challenger that waits; it never becomes champion. Config: ops.archive.config.model_id.",
        ),
    }
    return {name: names.job(name, op, description=about, pool=GATE) for name, (op, about) in ops.items()}


class Changes(dg.Config):
    """Complete files of the landing zone: name to digest; an empty digest stands for a deleted file."""

    files: dict[str, str]


def accepting(names: Names) -> Callable[..., None]:
    """The op of ``stage_landing``."""

    def accept_files(context: dg.OpExecutionContext, config: Changes, landing: dg.ResourceParam[LandingZone]) -> None:
        """Read new and changed files, split them by day, and accept them; those at fault are set aside by name."""
        changes = landing.changes()
        unaccepted = {name: changes[name] for name in config.files if name in changes}
        whole = {name: file for name, file in unaccepted.items() if config.files[name] == (file.digest if file else "")}
        before = waiting(landing.accepted())
        accepted = landing.accept(whole, context.log.info)
        if news := {name: why for name, why in waiting(accepted).items() if before.get(name) != why}:
            metadata = {WAITS: dict(islice(news.items(), _TOLD))}
            context.log_event(dg.AssetObservation(names.key(RAW), metadata=metadata))
        context.log.info(f"generation {accepted.generation}: {len(whole)} of {len(config.files)} files changed")

    return accept_files


class ReleaseChoice(dg.Config):
    """The release to serve."""

    release_id: str


def point_back(context: dg.OpExecutionContext, config: ReleaseChoice, store: StoreResource) -> None:
    """Verify every byte of a release, serve it and pin it; releases of its day or later are withdrawn."""
    pointer = store.releases().rollback(config.release_id)
    context.log.info(f"serving {pointer.release_id}, generation {pointer.generation}, pinned: unpin_release lifts it")


def pin(context: dg.OpExecutionContext, store: StoreResource) -> None:
    """Keep serving the current release, whatever is published."""
    context.log.info(f"{store.releases().pin().release_id} is pinned: unpin_release lifts it")


def unpin(context: dg.OpExecutionContext, store: StoreResource) -> None:
    """Let serving follow new releases again."""
    context.log.info(f"{store.releases().pin(pinned=False).release_id} is served until the next release")


def approve(context: dg.OpExecutionContext, config: ReleaseChoice, store: StoreResource) -> None:
    """Verify every byte of a waiting release and serve it, unless a newer one is served."""
    pointer = store.releases().approve(config.release_id)
    context.log.info(f"serving {pointer.release_id}, generation {pointer.generation}")


class ModelChoice(dg.Config):
    """The challenger to decide about."""

    model_id: str


def promote(
    context: dg.OpExecutionContext, config: ModelChoice, store: StoreResource, tracking: dg.ResourceParam[Tracking]
) -> None:
    """Make a waiting challenger the champion, from the newest as-of day on."""
    _decide(context, config.model_id, "approved", store)
    tracking.mirror(current_registry_state(store.open())[1])


def archive(
    context: dg.OpExecutionContext, config: ModelChoice, store: StoreResource, tracking: dg.ResourceParam[Tracking]
) -> None:
    """Reject a waiting challenger; the champion stays."""
    model = _decide(context, config.model_id, "rejected", store)
    tracking.archive(model)
    tracking.mirror(current_registry_state(store.open())[1])


def _decide(
    context: dg.OpExecutionContext, model_id: str, decision: ApprovalDecision, store: StoreResource
) -> ModelRef:
    """Record the decision about the waiting challenger, and the run that made it.

    Raises:
        dagster.Failure: another model waits, or none.
    """
    newest, registry_state = current_registry_state(store.open())
    waiting = registry_state.challenger
    if newest is None or waiting is None or waiting.id != model_id:
        waiting_id = waiting.id if waiting else "none"
        raise dg.Failure(
            f"model {model_id} does not wait for an approval; waiting is: {waiting_id}", allow_retries=False
        )
    at = datetime.now(UTC).isoformat(timespec="seconds")
    ApprovalRecords(store.open()).record(ApprovalRecord(model_id, decision, newest, context.run_id, at))
    # The gate of an experiment comes after that of its day, so that the next day's is the first that it can count for.
    effect = (
        f"run refresh of {newest} to have it at once" if waiting.asset == "ranker" else "the next day's gate has it"
    )
    context.log.info(f"model {model_id} is {decision}; it counts from {newest} on: {effect}")
    return waiting
