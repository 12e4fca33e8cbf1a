"""Which models stand as of a day, read from the partitions of earlier days and the rulings in the store.

The gate of a day reads what the gate of the latest earlier day left. That is no dependency that Dagster knows: it would
make every as-of day wait for the one before, and there need not be one. The lineage records name what was read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from recsys_assets.core.gate.promotion import ApprovalDecision, ModelRef, Promotion, RegistryState
from recsys_assets.io_managers.partitions import FILE_NAMES
from recsys_assets.model_registry.decisions import ApprovalRecords
from recsys_assets.storage.lineage import DATA_FILE, Input
from recsys_assets.storage.objects import NotFound, ObjectStore, sha256_bytes
from recsys_assets.storage.partitions import PartitionStore, partition_key

_LATER = "9999-12-31"

EXPERIMENT_PROMOTION, EXPERIMENT_CHALLENGER = "experiment_promotion", "experiment_challenger"
"""What the gate of a day's best experiment decided, and that experiment's model."""


@dataclass(frozen=True)
class StoredState:
    """What stood before a day.

    Attributes:
        registry_state: with what people had decided by then.
        champion: bytes of the champion; empty without one.
        since: the day whose gate left it; None before the first.
        inputs: the partitions that were read.
    """

    registry_state: RegistryState
    champion: bytes
    since: str | None
    inputs: tuple[Input, ...]

    def without_champion(self) -> StoredState:
        """The same where the champion cannot be used."""
        return replace(self, registry_state=replace(self.registry_state, champion=None), champion=b"")


def registry_state_before(store: ObjectStore, day: str) -> StoredState:
    """The standing that the gate of the latest day before ``day`` left, and the rulings that count by ``day``."""
    for earlier in reversed([one for one in _gated(store) if one < day]):
        found = _left_by(store, earlier)
        if found:
            return _ruled(store, _challenged(store, found, earlier), day)
    return StoredState(RegistryState(), b"", None, ())


def current_registry_state(store: ObjectStore) -> tuple[str | None, RegistryState]:
    """The newest day that had its gate, None if none had, and who stands since, with everything decided so far."""
    found = registry_state_before(store, _LATER)
    return found.since, found.registry_state


def approval(store: ObjectStore, model: ModelRef, day: str) -> ApprovalDecision | None:
    """What people decided about a model, as far as it counts for a day."""
    made = ApprovalRecords(store).find(model.id)
    return made.approval if made and made.counts_from <= day else None


def stored_file(store: ObjectStore, asset: str, day: str) -> tuple[bytes, Input] | None:
    """The bytes of a partition, and how lineage names them; None where the two do not match."""
    lineage = PartitionStore(store).read_lineage(asset, day)
    try:
        data = store.get(partition_key(asset, day, FILE_NAMES.get(asset, DATA_FILE)))
    except NotFound:
        return None
    sha256 = sha256_bytes(data)
    return (data, Input(asset, day, sha256)) if lineage and lineage.sha256 == sha256 else None


def rejected_before(store: ObjectStore, sha256: str, day: str) -> bool:
    """Whether people rejected these very bytes, as far as it counts for a day: an experiment may come back any day."""
    made = ApprovalRecords(store).of_bytes(sha256)
    return any(one.approval == "rejected" and one.counts_from <= day for one in made)


def _gated(store: ObjectStore) -> list[str]:
    return PartitionStore(store).days("promotion", FILE_NAMES["promotion"])


def _left_by(store: ObjectStore, day: str) -> StoredState | None:
    """What the gate of a day left; None where it was cut off while it was being stored."""
    record, model = stored_file(store, "promotion", day), stored_file(store, "champion", day)
    if record is None or model is None:
        return None
    registry_state = Promotion.from_json(record[0].decode()).after
    expected = registry_state.champion.sha256 if registry_state.champion else sha256_bytes(b"")
    if model[1].sha256 != expected:
        return None
    return StoredState(registry_state, model[0], day, (model[1], record[1]))


def _challenged(store: ObjectStore, found: StoredState, day: str) -> StoredState:
    """The same after the experiments that came before the gate once that day had a champion.

    What they came to counts as long as that day's standing is the one that they met.
    """
    record, model = stored_file(store, EXPERIMENT_PROMOTION, day), stored_file(store, EXPERIMENT_CHALLENGER, day)
    if record is None or model is None:
        return found
    decided = Promotion.from_json(record[0].decode())
    if decided.before != found.registry_state or decided.model is None or decided.model.sha256 != model[1].sha256:
        return found
    champion = model[0] if decided.verdict == "promoted" else found.champion
    return StoredState(decided.after, champion, found.since, (*found.inputs, model[1], record[1]))


def _ruled(store: ObjectStore, found: StoredState, day: str) -> StoredState:
    """The same after what people decided about the challenger.

    A challenger is kept where it was trained. Made again with other bytes, it is not the model that was approved.
    """
    after = found.registry_state.after(lambda model: approval(store, model, day))
    if after.champion == found.registry_state.champion or after.champion is None:
        return replace(found, registry_state=after)
    stored = stored_file(store, after.champion.asset, after.champion.day)
    if stored is None or stored[1].sha256 != after.champion.sha256:
        return replace(found, registry_state=RegistryState(found.registry_state.champion))
    return StoredState(after, stored[0], found.since, (*found.inputs, stored[1]))
