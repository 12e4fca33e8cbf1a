"""Jobs: selections of the graph that people, schedules and ``make run`` start."""

import dagster as dg

from recsys_assets.resources.store import StoreResource

history = dg.define_asset_job(
    "history",
    selection=dg.AssetSelection.tag("recsys/grain", "day"),
    description="Events, properties and marts of the days given; a range of days runs as one run.",
)

examples = dg.define_asset_job(
    "examples",
    selection=dg.AssetSelection.assets("ranking_examples").upstream() - dg.AssetSelection.tag("recsys/grain", "day"),
    description="Candidates and labelled examples of one past day, from which later rankers learn.",
)

refresh = dg.define_asset_job(
    "refresh",
    selection=dg.AssetSelection.assets("release").upstream() - dg.AssetSelection.tag("recsys/grain", "day"),
    description="Everything as of one day, from marts to the release.",
)


class ReleaseChoice(dg.Config):
    """Which release to serve."""

    release_id: str


@dg.op
def point_back(context: dg.OpExecutionContext, config: ReleaseChoice, store: StoreResource) -> None:
    """Verify every byte of a release and serve it; releases of its day or later are withdrawn."""
    pointer = store.releases().rollback(config.release_id)
    context.log.info(f"serving {pointer.release_id}, generation {pointer.generation}")


@dg.op
def approve(context: dg.OpExecutionContext, config: ReleaseChoice, store: StoreResource) -> None:
    """Verify every byte of a waiting release and serve it, unless a newer one is served."""
    pointer = store.releases().approve(config.release_id)
    context.log.info(f"serving {pointer.release_id}, generation {pointer.generation}")


@dg.job(description="Serve an older release again. Config: ops.point_back.config.release_id.")
def rollback_release() -> None:
    """Move serving back."""
    point_back()


@dg.job(description="Serve a release that waits (RECSYS_MODE=manual). Config: ops.approve.config.release_id.")
def approve_release() -> None:
    """Move serving forward."""
    approve()
