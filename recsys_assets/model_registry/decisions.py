"""Approval decisions about models: ``approvals/<model>.json``, written once and never changed.

A decision counts from the newest day that had a gate when it was made. So the champions of earlier days stay what they
were, and a backfill of those days finds the decisions that counted then.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from recsys_assets.core.gate.promotion import ApprovalDecision
from recsys_assets.storage.lineage import check_day, check_name
from recsys_assets.storage.objects import AlreadyExists, NotFound, ObjectStore, canonical_json

ROOT = "approvals"


@dataclass(frozen=True)
class ApprovalRecord:
    """One decision.

    Attributes:
        model_id: of the model.
        approval: what was decided.
        counts_from: first as-of day for which it counts, ``YYYY-MM-DD``.
        run_id: the Dagster run that recorded it.
        at: time of the decision, ISO 8601 in UTC.
    """

    model_id: str
    approval: ApprovalDecision
    counts_from: str
    run_id: str
    at: str


class ApprovalRecords:
    """The approval decisions of a store."""

    def __init__(self, store: ObjectStore):
        self.store = store

    def find(self, model_id: str) -> ApprovalRecord | None:
        """The decision about a model; None if there is none.

        Raises:
            ValueError: the stored file is not a decision.
        """
        key = _key(model_id)
        try:
            data = self.store.get(key)
        except NotFound:
            return None
        try:
            return ApprovalRecord(**json.loads(data))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self.store.uri(key)}: not an approval decision: {error}") from error

    def of_bytes(self, sha256: str) -> list[ApprovalRecord]:
        """The decisions about models with these bytes, of any day."""
        ending = f"-{sha256[:12]}.json"
        ids = [meta.key.removeprefix(f"{ROOT}/") for meta in self.store.list(ROOT) if meta.key.endswith(ending)]
        return [record for name in ids if (record := self.find(name.removesuffix(".json")))]

    def record(self, approval: ApprovalRecord) -> None:
        """Store a decision.

        Raises:
            ValueError: there is a decision about that model already.
        """
        check_day(approval.counts_from)
        try:
            self.store.create(_key(approval.model_id), canonical_json(asdict(approval)))
        except AlreadyExists as error:
            earlier = self.find(approval.model_id)
            raise ValueError(
                f"model {approval.model_id} was {earlier.approval if earlier else 'decided about'} before; that stays"
            ) from error


def _key(model_id: str) -> str:
    return f"{ROOT}/{check_name(model_id)}.json"
