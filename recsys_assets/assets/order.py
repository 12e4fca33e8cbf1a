"""Who orders the lists of a day: the winner of the gate, unless it cannot see what it was trained with."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.assets.promotion import partition_bytes, stored_promotion
from recsys_assets.core.lists.model_inputs import sample_features
from recsys_assets.core.ranking.presence import missing_columns, shares_present
from recsys_assets.core.retrieval.protocol import CandidateParams, FeatureInputs
from recsys_assets.io_managers.frame_writer import FrameWriter
from recsys_assets.io_managers.handles import Partitions
from recsys_assets.resources.store import StoreResource

PRESENT = "present"
"""The parameter in the lineage of ``served_ranker`` that states the shares of its training rows."""


@dataclass(frozen=True)
class Order:
    """Who orders the lists.

    Attributes:
        by: 'ranker', 'fused' or a generator.
        model: the stored ranker; empty where none orders.
        champion: the id of the champion, or 'none'.
        why: one sentence for people.
        missing: the columns that the ranker was trained with and does not see, with their shares in training and now.
        checked: what else the check tells.
    """

    by: str
    model: bytes
    champion: str
    why: str
    missing: Mapping[str, tuple[float, float]]
    checked: Mapping[str, Any]

    @property
    def recorded(self) -> dict[str, Any]:
        """The order in the lineage of the lists."""
        missing = {name: list(shares) for name, shares in self.missing.items()}
        return {"order_by": self.by, **({"missing": missing} if missing else {})}

    @property
    def told(self) -> dict[str, str]:
        """The order in the metadata of the lists."""
        return {"order_by": self.by, "why": self.why, "champion": self.champion}

    @property
    def check(self) -> dg.AssetCheckResult:
        """Whether the ranker sees what it was trained with; a warning, since the lists are made all the same."""
        shares = {name: {"training": before, "now": now} for name, (before, now) in self.missing.items()}
        return dg.AssetCheckResult(
            check_name="model_inputs_present",
            passed=not shares,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={**self.checked, **({"missing": dg.MetadataValue.json(shares)} if shares else {})},
        )


def order_in_force(
    graph: GraphBuilder,
    params: CandidateParams,
    frames: FrameWriter,
    store: StoreResource,
    upstream: Mapping[str, Partitions],
    inputs: FeatureInputs,
    day: str,
) -> Order:
    """Who orders the lists of a day.

    A ranker stands down where columns that it relied on in training have no values among the candidates: the fusion
    orders instead.

    Args:
        graph: of the assets.
        params: windows and weights as of the day.
        frames: runs the features of some users.
        store: has the record of the ranker.
        upstream: what ``recommendations`` read.
        inputs: of the features, likewise.
        day: of the lists.
    """
    decided = stored_promotion(upstream["promotion"], day)
    model = partition_bytes(upstream["served_ranker"], day)
    champion = decided.after.champion.id if decided.after.champion else "none"
    record = store.partitions().read_lineage("served_ranker", day)
    trained: Any = record.params.get(PRESENT, {}) if record and model else {}
    if not trained:
        note = "the record of the ranker does not state its training rows" if model else "no ranker orders the lists"
        return Order(decided.order_by, model, champion, decided.why, {}, {"note": note})
    pairs = upstream["candidates"].frame().drop("dt")
    at = graph.day(day), graph.end(day), params
    rows = sample_features(frames.run, pairs, inputs, *at)
    missing = missing_columns(trained, shares_present(rows, list(trained)))
    checked = {"rows": rows.num_rows, "columns": len(trained)}
    if not missing:
        return Order(decided.order_by, model, champion, decided.why, {}, checked)
    told = ", ".join(f"{name} ({before:.1%} of the rows, now {now:.1%})" for name, (before, now) in missing.items())
    why = f"the ranker stands down: it was trained with what is missing now: {told}"
    return Order("fused", b"", champion, why, missing, checked)
