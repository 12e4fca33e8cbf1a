"""Jobs, as started by people, schedules, sensors and ``make run``."""

from datetime import UTC, datetime
from itertools import islice

import dagster as dg

from recsys_assets.assets.builder import GRAIN
from recsys_assets.assets.promotion import GATE
from recsys_assets.core.gate.promotion import ApprovalDecision, ModelRef
from recsys_assets.ingest.landing import LandingZone
from recsys_assets.ingest.quarantine import waiting
from recsys_assets.model_registry.decisions import ApprovalRecord, ApprovalRecords
from recsys_assets.model_registry.experiment_models import ASSET
from recsys_assets.model_registry.experiment_validation import VALIDATION
from recsys_assets.model_registry.state import EXPERIMENT_CHALLENGER, EXPERIMENT_PROMOTION, current_registry_state
from recsys_assets.resources.store import StoreResource
from recsys_assets.resources.tracking import Tracking

WAITS = "waits_for_a_person"
"""Metadata of an observation of ``raw_events``: what has newly been set aside or held, and why."""
_TOLD = 100

history = dg.define_asset_job(
    "history",
    selection=dg.AssetSelection.tag(GRAIN, "day"),
    description="Events, properties and marts of the days given; a range of days runs as one run.",
)

examples = dg.define_asset_job(
    "examples",
    selection=dg.AssetSelection.assets("ranking_examples").upstream() - dg.AssetSelection.tag(GRAIN, "day"),
    description="Fits as of one past day, and the labelled examples from which later rankers learn.",
)

refresh = dg.define_asset_job(
    "refresh",
    selection=dg.AssetSelection.assets("release", "data_report", "feedback_report", "model_tracking").upstream()
    - dg.AssetSelection.tag(GRAIN, "day"),
    description="Everything as of one day, from marts to the release, the reports of data and feedback, and MLflow.",
)

backtest = dg.define_asset_job(
    "backtest",
    selection=dg.AssetSelection.assets("backtest_report"),
    description="One report on the as-of days up to the day given, as far as they were made.",
)


train_experiment = dg.define_asset_job(
    "train_experiment",
    selection=dg.AssetSelection.assets(ASSET),
    description="The model of one experiment; the experiments sensor starts it for new and edited files.",
)

validate_experiments = dg.define_asset_job(
    "validate_experiments",
    selection=dg.AssetSelection.assets(VALIDATION, EXPERIMENT_CHALLENGER, EXPERIMENT_PROMOTION, "model_comparison"),
    description="Experiments on the test window of one day, the best of them before the gate, and their comparison.",
)


class Changes(dg.Config):
    """Complete files of the landing zone: name to digest; an empty digest stands for a deleted file."""

    files: dict[str, str]


@dg.op(pool="landing")
def accept_files(context: dg.OpExecutionContext, config: Changes, landing: dg.ResourceParam[LandingZone]) -> None:
    """Read new and changed files, split them by day, and accept them; those at fault are set aside by name."""
    changes = landing.changes()
    unaccepted = {name: changes[name] for name in config.files if name in changes}
    whole = {name: file for name, file in unaccepted.items() if config.files[name] == (file.digest if file else "")}
    before = waiting(landing.accepted())
    accepted = landing.accept(whole, context.log.info)
    if news := {name: why for name, why in waiting(accepted).items() if before.get(name) != why}:
        context.log_event(dg.AssetObservation("raw_events", metadata={WAITS: dict(islice(news.items(), _TOLD))}))
    context.log.info(f"generation {accepted.generation}: {len(whole)} of {len(config.files)} files changed")


@dg.job(description="Read the files that the landing sensor found whole; it starts this by itself.")
def stage_landing() -> None:
    """Accept files."""
    accept_files()


class ReleaseChoice(dg.Config):
    """The release to serve."""

    release_id: str


@dg.op
def point_back(context: dg.OpExecutionContext, config: ReleaseChoice, store: StoreResource) -> None:
    """Verify every byte of a release, serve it and pin it; releases of its day or later are withdrawn."""
    pointer = store.releases().rollback(config.release_id)
    context.log.info(f"serving {pointer.release_id}, generation {pointer.generation}, pinned: unpin_release lifts it")


@dg.op
def pin(context: dg.OpExecutionContext, store: StoreResource) -> None:
    """Keep serving the current release, whatever is published."""
    context.log.info(f"{store.releases().pin().release_id} is pinned: unpin_release lifts it")


@dg.op
def unpin(context: dg.OpExecutionContext, store: StoreResource) -> None:
    """Let serving follow new releases again."""
    context.log.info(f"{store.releases().pin(pinned=False).release_id} is served until the next release")


@dg.op
def approve(context: dg.OpExecutionContext, config: ReleaseChoice, store: StoreResource) -> None:
    """Verify every byte of a waiting release and serve it, unless a newer one is served."""
    pointer = store.releases().approve(config.release_id)
    context.log.info(f"serving {pointer.release_id}, generation {pointer.generation}")


AT_ONCE = {"dagster/priority": "100"}
"""Of jobs that a person waits for: they are ahead of whatever else is queued."""


@dg.job(
    tags=AT_ONCE,
    description="Serve an older release and keep it until unpin_release. Config: ops.point_back.config.release_id.",
)
def rollback_release() -> None:
    """Move serving back."""
    point_back()


@dg.job(tags=AT_ONCE, description="Keep serving the current release, whatever is published, until unpin_release.")
def pin_release() -> None:
    """Stay at a release."""
    pin()


@dg.job(tags=AT_ONCE, description="Follow new releases again, after a rollback or pin_release.")
def unpin_release() -> None:
    """Follow new releases."""
    unpin()


@dg.job(
    tags=AT_ONCE,
    description="Serve a release that waits (RECSYS_MODE=manual). Config: ops.approve.config.release_id.",
)
def approve_release() -> None:
    """Move serving forward."""
    approve()


class ModelChoice(dg.Config):
    """The challenger to decide about."""

    model_id: str


@dg.op(pool=GATE)
def promote(
    context: dg.OpExecutionContext, config: ModelChoice, store: StoreResource, tracking: dg.ResourceParam[Tracking]
) -> None:
    """Make a waiting challenger the champion, from the newest as-of day on."""
    _decide(context, config.model_id, "approved", store)
    tracking.mirror(current_registry_state(store.open())[1])


@dg.op(pool=GATE)
def archive(
    context: dg.OpExecutionContext, config: ModelChoice, store: StoreResource, tracking: dg.ResourceParam[Tracking]
) -> None:
    """Reject a waiting challenger; the champion stays."""
    model = _decide(context, config.model_id, "rejected", store)
    tracking.archive(model)
    tracking.mirror(current_registry_state(store.open())[1])


@dg.job(description="Promote the challenger that waits (RECSYS_MODE=manual). Config: ops.promote.config.model_id.")
def approve_model() -> None:
    """Promote a model."""
    promote()


@dg.job(
    description="Archive the challenger that waits; it never becomes champion. Config: ops.archive.config.model_id."
)
def reject_model() -> None:
    """Reject a model."""
    archive()


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
