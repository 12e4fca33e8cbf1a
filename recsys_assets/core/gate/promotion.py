"""The life of a model: challenger, gate, champion.

Whoever is champion as of a day follows from what was stored up to that day and from what people had decided by then,
and from nothing that moves, so that a backfill finds the champion of its day and a re-run the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pyarrow as pa

from recsys_assets.core.evaluation.compare import OVER_CHAMPION, Decision, choose
from recsys_assets.core.evaluation.pooled_gain import DECISIVE_K, Gain

Mode = Literal["autonomous", "manual"]
ApprovalDecision = Literal["approved", "rejected"]
"""What a person decided about a challenger."""

Verdict = Literal["promoted", "waiting", "refused", "archived", "no model"]
"""What became of the model of a day: it is champion, waits for an approval, did not pass the gate, was rejected by a
person; or there was too little to train one."""


@dataclass(frozen=True, order=True)
class Model:
    """A model by the partition that it came from and the SHA-256 of its bytes.

    Attributes:
        day: of the partition.
        sha256: hex.
        asset: whose partition: ``ranker``, or ``experiment_challenger`` of an experiment.
    """

    day: str
    sha256: str
    asset: str = "ranker"

    @property
    def id(self) -> str:
        """What people call it: ``<day>-<beginning of the hash>``."""
        return f"{self.day}-{self.sha256[:12]}"


@dataclass(frozen=True)
class RegistryState:
    """The champion, which may order lists, and the challenger that waits for an approval."""

    champion: Model | None = None
    challenger: Model | None = None

    def after(self, approval: Callable[[Model], ApprovalDecision | None]) -> RegistryState:
        """What people made of the challenger.

        Args:
            approval: what was decided about a model; None if nothing was yet.
        """
        decided = approval(self.challenger) if self.challenger else None
        if decided is None:
            return self
        return RegistryState(self.challenger if decided == "approved" else self.champion)


@dataclass(frozen=True)
class Gate:
    """How the model of a day did against the champion, or against the generators where there is no champion.

    Attributes:
        passed: the whole 95 % interval of the gain is above zero, and the best generator is beaten too.
        against: 'champion', 'fused' or a generator; None where nothing was judged.
        gain: mean paired difference of NDCG@10 over the same users; None where nothing was judged.
        low: lower bound of its interval.
        high: upper bound of its interval.
        users: users judged.
        why: one sentence for people.
    """

    passed: bool
    against: str | None
    gain: float | None
    low: float | None
    high: float | None
    users: int
    why: str


def gate(evaluation: pa.Table, min_users: int, earlier: Sequence[Gain] = ()) -> Gate:
    """Whether the model of a day may become champion.

    It has to beat the champion on the users and the window on which both were judged, and, like the first model of
    all, whichever of fusion and best generator stands. Equal is not better: to beat is to have the whole interval of
    the paired difference above zero.

    Args:
        evaluation: table of contract RANKER_EVALUATION.
        min_users: with fewer users judged, no model passes.
        earlier: what rankers gained on earlier windows; see :func:`recsys_assets.core.evaluation.compare.choose`.
    """
    first = choose(evaluation, min_users, "ranker", earlier)
    rows = [row for row in evaluation.to_pylist() if row["k"] == DECISIVE_K and row["model"] == "ranker"]
    over = next((row for row in rows if row["metric"] == OVER_CHAMPION and row["value"] is not None), None)
    beats_generators = first.order_by == "ranker"
    if over is None:
        return Gate(beats_generators, first.baseline, first.gain, first.low, first.high, first.users, first.why)
    better = over["low"] > 0
    why = (
        f"it {'beat' if better else 'did not beat'} the champion in NDCG@10: difference {over['value']:+.4f} "
        f"[{over['low']:+.4f}, {over['high']:+.4f}]; {first.why}"
    )
    return Gate(better and beats_generators, "champion", over["value"], over["low"], over["high"], first.users, why)


@dataclass(frozen=True)
class Promotion:
    """What the gate of a day decided, on what grounds, and which models stand after it.

    Attributes:
        as_of: ``YYYY-MM-DD``.
        mode: whether a model that passed is promoted at once or waits.
        before: the standing that the model of the day met.
        model: the model of the day; None where there was too little to train one.
        gate: how it did.
        verdict: what became of it.
        after: the standing from then on.
        order_by: who orders the lists of this day: 'ranker' (the champion), 'fused' or a generator.
        why: one sentence on that for people.
    """

    as_of: str
    mode: Mode
    before: RegistryState
    model: Model | None
    gate: Gate
    verdict: Verdict
    after: RegistryState
    order_by: str
    why: str

    def to_json(self) -> str:
        """Readable JSON; equal decisions give equal text."""
        return json.dumps(asdict(self), indent=2, sort_keys=True)

    @staticmethod
    def from_json(text: str) -> Promotion:
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError: a part is missing or unknown.
        """
        found: dict[str, Any] = json.loads(text)
        try:
            found["gate"] = Gate(**found["gate"])
            found["model"] = _model(found["model"])
            for name in ("before", "after"):
                found[name] = RegistryState(**{role: _model(one) for role, one in found[name].items()})
            return Promotion(**found)
        except (TypeError, KeyError) as error:
            raise ValueError(f"promotion: not the JSON of a promotion: {error}") from error


def promote(
    as_of: str,
    mode: Mode,
    before: RegistryState,
    model: Model | None,
    approval: ApprovalDecision | None,
    evaluation: pa.Table,
    min_users: int,
    earlier: Sequence[Gain] = (),
) -> Promotion:
    """Decide about the model of a day, and who orders the lists of that day.

    Args:
        as_of: the day.
        mode: 'autonomous' promotes a model that passed the gate, 'manual' lets it wait.
        before: who stood before, with what people had decided.
        model: the model of the day, which the evaluation calls 'ranker'; None if there is none.
        approval: what people decided about that model, when the day is computed again.
        evaluation: table of contract RANKER_EVALUATION; ``before.champion`` is in it as 'champion'.
        min_users: with fewer users judged, nothing is decided by figures.
        earlier: what rankers gained over the generators on earlier windows.
    """
    evaluated = gate(evaluation, min_users, earlier)
    verdict, after = _outcome(mode, before, model, approval, evaluated)
    promoted = verdict == "promoted"
    decision: Decision = choose(evaluation, min_users, "ranker" if promoted else "champion", earlier)
    return Promotion(as_of, mode, before, model, evaluated, verdict, after, decision.order_by, decision.why)


def _outcome(
    mode: Mode, before: RegistryState, model: Model | None, approval: ApprovalDecision | None, evaluated: Gate
) -> tuple[Verdict, RegistryState]:
    if model is None:
        return "no model", before
    if not evaluated.passed:
        return "refused", before
    if approval == "rejected":
        return "archived", before
    if mode == "autonomous" or approval == "approved":
        return "promoted", RegistryState(model)
    return "waiting", RegistryState(before.champion, model)


def _model(found: dict[str, str] | None) -> Model | None:
    return Model(**found) if found else None
