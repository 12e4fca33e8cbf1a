"""The registry state as of a day, read from the partitions of earlier days and the approval decisions in the store.

The gate of a day reads what the gate of the latest earlier day left. Dagster does not know this dependency: it would
make each as-of day wait for the one before, which need not exist. The lineage records name what was read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from recsys_assets.core.gate.promotion import ApprovalDecision, ModelRef, Promotion, RegistryState
from recsys_assets.model_registry.decisions import ApprovalRecords
from recsys_assets.storage.lineage import Input
from recsys_assets.storage.objects import NotFound, ObjectStore, sha256_bytes
from recsys_assets.storage.partition_store import PartitionStore, partition_key

_LATER = "9999-12-31"

EXPERIMENT_PROMOTION, EXPERIMENT_CHALLENGER = "experiment_promotion", "experiment_challenger"
"""Assets: the decision of the gate about a day's best experiment, and that experiment's model."""


@dataclass(frozen=True)
class StoredState:
    """The registry state before a day, as the store has it.

    Attributes:
        registry_state: including the approval decisions that count by then.
        champion: bytes of the champion; empty without one.
        since: the day whose gate left it; None before the first.
        inputs: the partitions that were read.
    """

    registry_state: RegistryState
    champion: bytes
    since: str | None
    inputs: tuple[Input, ...]

    def without_champion(self) -> StoredState:
        """The same for a champion that cannot be used."""
        return replace(self, registry_state=replace(self.registry_state, champion=None), champion=b"")


def registry_state_before(store: ObjectStore, day: str) -> StoredState:
    """The state that the latest gate before ``day`` left, with the approval decisions that count by ``day``."""
    for earlier in reversed([gated for gated in _gated(store) if gated < day]):
        state = _left_by(store, earlier)
        if state:
            return _after_approvals(store, _after_experiments(store, state, earlier), day)
    return StoredState(RegistryState(), b"", None, ())


def current_registry_state(store: ObjectStore) -> tuple[str | None, RegistryState]:
    """The newest day that had a gate, None if none had, and the state since then with every decision made so far."""
    state = registry_state_before(store, _LATER)
    return state.since, state.registry_state


def approval(store: ObjectStore, model: ModelRef, day: str) -> ApprovalDecision | None:
    """The approval decision about a model, if it counts for a day."""
    record = ApprovalRecords(store).find(model.id)
    return record.approval if record and record.counts_from <= day else None


def stored_file(store: ObjectStore, asset: str, day: str) -> tuple[bytes, Input] | None:
    """The bytes of a partition, and how lineage names them; None where the two do not match."""
    lineage = PartitionStore(store).read_lineage(asset, day)
    if lineage is None:
        return None
    try:
        data = store.get(partition_key(asset, day, lineage.file))
    except NotFound:
        return None
    sha256 = sha256_bytes(data)
    return (data, Input(asset, day, sha256)) if lineage.sha256 == sha256 else None


def rejected_before(store: ObjectStore, sha256: str, day: str) -> bool:
    """Whether a model with these bytes was rejected, for a day: an experiment may come back on any day."""
    records = ApprovalRecords(store).of_bytes(sha256)
    return any(record.approval == "rejected" and record.counts_from <= day for record in records)


def _gated(store: ObjectStore) -> list[str]:
    return PartitionStore(store).days("promotion")


def _left_by(store: ObjectStore, day: str) -> StoredState | None:
    """The state that the gate of a day left; None where storing it was interrupted."""
    record, model = stored_file(store, "promotion", day), stored_file(store, "champion", day)
    if record is None or model is None:
        return None
    registry_state = Promotion.from_json(record[0].decode()).after
    expected = registry_state.champion.sha256 if registry_state.champion else sha256_bytes(b"")
    if model[1].sha256 != expected:
        return None
    return StoredState(registry_state, model[0], day, (model[1], record[1]))


def _after_experiments(store: ObjectStore, state: StoredState, day: str) -> StoredState:
    """The state after the gate of a day's experiments, which follows the gate of the day.

    Its decision counts only if the state that it started from is the one that the gate of the day left.
    """
    record, model = stored_file(store, EXPERIMENT_PROMOTION, day), stored_file(store, EXPERIMENT_CHALLENGER, day)
    if record is None or model is None:
        return state
    decided = Promotion.from_json(record[0].decode())
    if decided.before != state.registry_state or decided.model is None or decided.model.sha256 != model[1].sha256:
        return state
    champion = model[0] if decided.verdict == "promoted" else state.champion
    return StoredState(decided.after, champion, state.since, (*state.inputs, model[1], record[1]))


def _after_approvals(store: ObjectStore, state: StoredState, day: str) -> StoredState:
    """The state after the approval decision about the challenger.

    The bytes of a challenger lie in the partition that trained it. If that was materialized again with other bytes,
    they are not the model that was approved.
    """
    after = state.registry_state.after(lambda model: approval(store, model, day))
    if after.champion == state.registry_state.champion or after.champion is None:
        return replace(state, registry_state=after)
    stored = stored_file(store, after.champion.asset, after.champion.day)
    if stored is None or stored[1].sha256 != after.champion.sha256:
        return replace(state, registry_state=RegistryState(state.registry_state.champion))
    return StoredState(after, stored[0], state.since, (*state.inputs, stored[1]))
