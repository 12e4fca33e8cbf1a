"""The life of a model: challenger, gate, champion.

The champion as of a day follows from what was stored up to that day and from the approval decisions that count by then,
and from nothing else. So a backfill finds the champion of its day, and a re-run gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from recsys_assets.core.gate.rule import Decision, GateResult

Mode = Literal["autonomous", "manual"]
ApprovalDecision = Literal["approved", "rejected"]
"""What a person decided about a challenger."""

Verdict = Literal["promoted", "waiting", "refused", "archived", "no model"]
"""What became of the model of a day: it is champion; it waits for an approval; it did not pass the gate; a person
rejected it; or there was too little data to train one."""


@dataclass(frozen=True, order=True)
class ModelRef:
    """Names a stored model by the partition that holds it and the SHA-256 of its bytes.

    Attributes:
        day: of the partition, ``YYYY-MM-DD``.
        sha256: hex.
        asset: of the partition: ``ranker``, or ``experiment_challenger`` for an experiment.
    """

    day: str
    sha256: str
    asset: str = "ranker"

    @property
    def id(self) -> str:
        """The name that people use: ``<day>-<first 12 digits of the hash>``."""
        return f"{self.day}-{self.sha256[:12]}"


@dataclass(frozen=True)
class RegistryState:
    """The champion, which may order lists, and the challenger that waits for an approval."""

    champion: ModelRef | None = None
    challenger: ModelRef | None = None

    def after(self, approval: Callable[[ModelRef], ApprovalDecision | None]) -> RegistryState:
        """The state after the approval decision about the challenger, if there is one.

        Args:
            approval: gives the decision about a model; None if it is undecided.
        """
        decision = approval(self.challenger) if self.challenger else None
        if decision is None:
            return self
        return RegistryState(self.challenger if decision == "approved" else self.champion)


@dataclass(frozen=True)
class Promotion:
    """What the gate of a day decided, on what grounds, and the registry state after it.

    Attributes:
        as_of: ``YYYY-MM-DD``.
        mode: whether a model that passed is promoted at once or waits.
        before: the registry state before the gate.
        model: the model of the day; None if there was too little data to train one.
        gate: how it did.
        verdict: what became of it.
        after: the registry state after the gate.
        order_by: who orders the lists of this day: 'ranker' (the champion), 'fused' or a generator.
        why: one sentence for people on who orders the lists.
    """

    as_of: str
    mode: Mode
    before: RegistryState
    model: ModelRef | None
    gate: GateResult
    verdict: Verdict
    after: RegistryState
    order_by: str
    why: str

    @property
    def winner(self) -> str:
        """Who orders the lists, by the name that the evaluation of the day uses: the champion may be its 'ranker'."""
        if self.order_by != "ranker":
            return self.order_by
        return "ranker" if self.verdict == "promoted" else "champion"

    def to_json(self) -> str:
        """Readable JSON; equal decisions give equal text."""
        return json.dumps(asdict(self), indent=2, sort_keys=True)

    @staticmethod
    def from_json(text: str) -> Promotion:
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError: a part is missing or unknown.
        """
        fields: dict[str, Any] = json.loads(text)
        try:
            fields["gate"] = GateResult(**fields["gate"])
            fields["model"] = _model(fields["model"])
            for name in ("before", "after"):
                fields[name] = RegistryState(**{role: _model(model) for role, model in fields[name].items()})
            return Promotion(**fields)
        except (TypeError, KeyError) as error:
            raise ValueError(f"promotion: not the JSON of a promotion: {error}") from error


def promote(
    as_of: str,
    mode: Mode,
    before: RegistryState,
    model: ModelRef | None,
    approval: ApprovalDecision | None,
    decision: Decision,
) -> Promotion:
    """Turn the decision of the rule into what becomes of the model of a day, and who orders the lists of that day.

    Args:
        as_of: the day.
        mode: 'autonomous' promotes a model that passed the gate, 'manual' lets it wait.
        before: the registry state before the gate; its champion was evaluated as 'champion'.
        model: the model of the day, evaluated as 'ranker'; None if there is none.
        approval: the approval decision about that model, where the day is computed again.
        decision: what :func:`~recsys_assets.core.gate.rule.decide` made of the evaluation.
    """
    verdict, after = _outcome(mode, before, model, approval, decision.gate.passed)
    winner = decision.with_ranker if verdict == "promoted" else decision.with_champion
    return Promotion(as_of, mode, before, model, decision.gate, verdict, after, winner.order_by, winner.why)


def _outcome(
    mode: Mode, before: RegistryState, model: ModelRef | None, approval: ApprovalDecision | None, passed: bool
) -> tuple[Verdict, RegistryState]:
    if model is None:
        return "no model", before
    if not passed:
        return "refused", before
    if approval == "rejected":
        return "archived", before
    if mode == "autonomous" or approval == "approved":
        return "promoted", RegistryState(model)
    return "waiting", RegistryState(before.champion, model)


def _model(fields: dict[str, str] | None) -> ModelRef | None:
    return ModelRef(**fields) if fields else None
