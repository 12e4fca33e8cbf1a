"""Frame functions about events, what was shown, and times; :mod:`functions` has all others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import narwhals as nw

from recsys_assets.core import clock, contracts, frames
from recsys_assets.core.activity import feedback
from recsys_assets.core.engine import Frame
from recsys_assets.core.events import clean
from recsys_assets.core.insight import feedback as insight
from recsys_assets_tests.engines.frames import CUT, LAST
from recsys_assets_tests.engines.function_inputs import WEIGHTS, FunctionInputs, end_of

END = end_of(LAST)
ATTRIBUTION = feedback.AttributionParams(5, WEIGHTS.targets)


def _shown(inputs: FunctionInputs) -> Frame:
    """As if each view had been an impression of an answer that its order names, and all else a dislike."""
    view = nw.col("event_type") == "view"
    return (
        inputs["clean_events"]
        .filter(~nw.col("user_id").is_null())
        .with_columns(
            event_type=nw.when(view).then(nw.lit("impression")).otherwise(nw.lit("dislike")),
            recommendation_id=nw.col("order_id"),
            release_id=nw.lit(None, dtype=nw.String),
            placement=nw.col("event_type"),
            position=nw.col("source_row") % 25 + 1,
            source=nw.col("source_file"),
        )
        .select(*contracts.IMPRESSIONS.columns)
    )


def _attributed(inputs: FunctionInputs) -> Frame:
    answers = inputs["clean_events"].filter(~nw.col("order_id").is_null())
    named = answers.select("source_file", "source_row", nw.col("order_id").alias("recommendation_id"))
    return feedback.attribute(inputs["clean_events"], named, _shown(inputs), ATTRIBUTION)


def _feedback(inputs: FunctionInputs) -> Any:
    dated = [frame.with_columns(dt=nw.lit(CUT)) for frame in (_shown(inputs), _attributed(inputs))]
    return insight.feedback(dated[0], dated[1], LAST, insight.FeedbackParams(5, 5, 1), inputs.engine.persist)


EVENT_FUNCTIONS: Mapping[str, Callable[[FunctionInputs], Any]] = {
    "activity.feedback.attribute": _attributed,
    "clock.days_before": lambda inputs: inputs["user_activity"].select(x=clock.days_before(nw.col("dt"), LAST)),
    "clock.epoch_day": lambda inputs: inputs["clean_events"].select(
        "ts", "dt", day=clock.epoch_day(nw.col("dt")), moment=clock.epoch_day(nw.col("ts"))
    ),
    "clock.epoch_micros": lambda inputs: inputs["clean_events"].select(
        "source_file", "source_row", x=clock.epoch_micros(nw.col("ts"))
    ),
    "clock.half_life": lambda inputs: clock.last_days(inputs["user_activity"], LAST, 999).select(
        x=frames.exact_sum(clock.half_life(clock.days_before(nw.col("dt"), LAST), 2.5))
    ),
    "clock.hours_before": lambda inputs: inputs["clean_events"].select(
        "source_file", "source_row", x=clock.hours_before(nw.col("ts"), END)
    ),
    "clock.last_days": lambda inputs: clock.last_days(inputs["clean_events"], LAST, 2),
    "clock.wall_clock": lambda inputs: inputs["clean_events"].select(x=clock.wall_clock(nw.col("ts"))),
    "events.clean.clean_day": lambda inputs: clean.clean_day(inputs["parsed_events"], clean.CleanParams()),
    "events.clean.clean_impressions": lambda inputs: clean.clean_impressions(_shown(inputs)),
    "events.clean.clean_properties": lambda inputs: clean.clean_properties(inputs["parsed_properties"]),
    "events.clean.ingest_counts": lambda inputs: clean.ingest_counts(
        inputs["parsed_events"], inputs["clean_events"], inputs["rejected_events"]
    ),
    "insight.feedback.feedback": _feedback,
    "insight.feedback.outcomes": lambda inputs: insight.outcomes(_shown(inputs), _attributed(inputs)),
}
"""As :data:`functions.FUNCTIONS`."""
