"""Removes a person from everything that a store holds, and reports what it rewrote.

The order of steps makes it safe to be interrupted anywhere and started again: the person is put on the suppression
list, the plan is stored and then carried out, and the last step checks every stored file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from recsys_assets.erasure.person import Person, erased_rows, forget_staged
from recsys_assets.erasure.plan import Part, Stored
from recsys_assets.erasure.report import Affected, Erasure, read_erasure, write_erasure
from recsys_assets.erasure.search import holders
from recsys_assets.ingest.suppression import suppress
from recsys_assets.model_registry.experiment_models import stored_as
from recsys_assets.storage.manifest import Manifest
from recsys_assets.storage.objects import ObjectStore
from recsys_assets.storage.partition_store import PartitionStore
from recsys_assets.storage.releases import Releases
from recsys_assets.storage.scratch import sweep, temporary_root

Rebuild = Callable[[str, list[str]], None]
"""Day and assets: materialize them again, from what is stored."""


_NEVER = "9999-12-31"
_MORE_ROUNDS = 3
_LOOKS = 5
_LOOK_SECONDS = 1.0
"""Between two looks at what another process is still writing."""


class ErasureError(RuntimeError):
    """Rows of the person are left; the message names the files. A second start continues from there."""


@dataclass(frozen=True)
class Eraser:
    """Erases one person.

    Attributes:
        store: everything that the platform stores.
        person: the person to erase.
        rebuild: materializes assets as of a day; raises if that fails.
        note: called with a line per step.
        wait_for_other_runs: waits for runs that may still store rows which they have read; returns whether there were
            any.
    """

    store: ObjectStore
    person: Person
    rebuild: Rebuild
    note: Callable[[str], None]
    wait_for_other_runs: Callable[[], bool]

    def run(self) -> Erasure:
        """Erase, and return the record; nothing found is a record without rows, too.

        Raises:
            ErasureError: something is left.
        """
        token = suppress(self.store, self.person.id)
        erasure, stored = self._round(read_erasure(self.store, token), token)
        for _ in range(_MORE_ROUNDS):
            if not self.wait_for_other_runs():
                break
            erasure, stored = self._round(erasure, token)
        self._sweep()
        remaining = holders(self.store, self.person)
        if remaining:
            examples = ", ".join(f"{key} ({rows} rows)" for key, rows in sorted(remaining.items())[:10])
            raise ErasureError(f"{len(remaining)} stored files still hold the person: {examples}")
        serving = Releases(self.store).current()
        rows_after = {part: record.rows for part, record in stored.records.items()}
        erasure = erasure.finished(rows_after, erased_rows(self.store), serving.release_id if serving else None)
        write_erasure(self.store, token, erasure)
        self.store.sweep(history=True)  # the record as it was until now names the days of the person
        return erasure

    def _sweep(self) -> None:
        """Remove what no search of rows can look into: unfinished writes, and versions of before that a bucket keeps.

        Raises:
            ErasureError: something is left, since another process is writing it.
        """
        for left in [*self.store.sweep(history=True), *map(str, sweep(temporary_root()))]:
            self.note(f"removed: {left}")
        unlisted = self._unlisted()
        for _ in range(_LOOKS):
            if not unlisted:
                return
            time.sleep(_LOOK_SECONDS)
            unlisted = self._unlisted()
        if unlisted:
            raise ErasureError(
                f"{len(unlisted)} hidden files or unfinished writes are left, which may hold the person: "
                + ", ".join(unlisted[:10])
            )

    def _unlisted(self) -> list[str]:
        """What is in no listing; MLflow and Optuna keep files of their own in folders of the store, and no rows."""
        others = tuple(f"{self.store.uri(folder)}/" for folder in ("mlflow", "tuning"))
        return [name for name in self.store.unlisted() if not name.startswith(others)]

    def _round(self, erasure: Erasure, token: str) -> tuple[Erasure, Stored]:
        """Plan and carry out what is left to do."""
        holding_keys = holders(self.store, self.person)
        stored = Stored(PartitionStore(self.store))
        erasure = _planned(erasure, stored, _parts(holding_keys))
        if erasure.erased_before is None:
            erasure = replace(erasure, erased_before=erased_rows(self.store))
        write_erasure(self.store, token, erasure)
        for before, after in forget_staged(self.store, self.person):
            self.note(f"{before.name}: {after.erased - before.erased} rows taken out of what was staged of it")
        self._rebuild(erasure, stored, _parts(holding_keys))
        tainted = TaintedReleases(
            stored,
            since=min((part.day for part in erasure.affected), default=_NEVER),
            holding=frozenset(key.split("/")[1] for key in holding_keys if key.startswith("releases/")),
        )
        self._replace_served_release(tainted)
        for release in self._releases_to_delete(tainted):
            self.note(f"release {release} is deleted")
            erasure = replace(erasure, releases_deleted=tuple(sorted({*erasure.releases_deleted, release})))
            write_erasure(self.store, token, erasure)
            Releases(self.store).delete(release)
        return erasure, stored

    def _rebuild(self, erasure: Erasure, stored: Stored, with_rows: set[Part]) -> None:
        affected = {(part.asset, part.day) for part in erasure.affected} & stored.records.keys()
        # A partition without inputs does not show in its lineage that a write of it was interrupted.
        torn = {root for root in erasure.roots if root in stored.records and not stored.is_whole(root)}
        for day in sorted({day for _, day in affected}):
            due = stored.outdated({part for part in affected if part[1] == day}, with_rows | torn)
            for part in sorted(part for part in due if part[0].startswith(stored_as(""))):
                # The experiment's file may have changed since, so the model is not rebuilt by itself.
                self.note(f"{day}: {part[0]} is deleted, which learned from the person")
                PartitionStore(self.store).delete(*part)
                del stored.records[part]
                due.remove(part)
            if due:
                assets = sorted(asset for asset, _ in due)
                self.note(f"{day}: {', '.join(assets)}")
                self.rebuild(day, assets)
                stored.refresh(due)

    def _replace_served_release(self, tainted: TaintedReleases) -> None:
        """If the person contributed to the release being served, replace it by a clean one of the same day."""
        releases = Releases(self.store)
        current = releases.current()
        if current is None or not tainted.includes(releases.manifest(current.release_id)):
            return
        self.note(f"release {current.release_id} is served and is replaced")
        self.rebuild(current.as_of, ["release"])
        manifests = [releases.manifest(release) for release in releases.list() if release.startswith(current.as_of)]
        fresh = [manifest.release_id for manifest in manifests if not tainted.includes(manifest)]
        if not fresh:
            raise ErasureError(f"no release as of {current.as_of} replaces {current.release_id}, which is served")
        now = releases.current()
        if now and now.release_id == current.release_id:
            # Pinned, or RECSYS_MODE=manual: an erasure does not wait for a person.
            releases.replace_served(fresh[-1])

    def _releases_to_delete(self, tainted: TaintedReleases) -> list[str]:
        """Releases that the person contributed to, or may have, and leftovers of interrupted publishing."""
        releases = Releases(self.store)
        to_delete = [release for release in releases.list() if tainted.includes(releases.manifest(release))]
        return [*to_delete, *(releases.leftovers() if tainted.since != _NEVER or tainted.holding else ())]


def _planned(erasure: Erasure, stored: Stored, with_rows: set[Part]) -> Erasure:
    """The record with every partition that held the person, now or at the start, and everything that read those."""
    if erasure.status == "done" and not with_rows:
        return erasure
    # A person who was erased and came back is erased from the beginning.
    earlier = erasure if erasure.status == "running" else Erasure()
    affected = {(part.asset, part.day): part for part in earlier.affected}
    for part in sorted(stored.dependents({*with_rows, *earlier.roots})):
        if part not in affected:
            affected[part] = Affected(*part, stored.records[part].rows, part in with_rows)
        elif part in with_rows:
            affected[part] = replace(affected[part], held=True)
    return replace(earlier, affected=tuple(affected[part] for part in sorted(affected)))


@dataclass(frozen=True)
class TaintedReleases:
    """The releases that hold the person, or may hold what was learned from the person.

    Attributes:
        stored: the partitions without the person.
        since: first day to which the person may have contributed.
        holding: ids of releases in which the person was found.
    """

    stored: Stored
    since: str
    holding: frozenset[str]

    def includes(self, manifest: Manifest) -> bool:
        """Whether a release holds the person, or was made of other partitions than the ones that the day has now.

        The partitions that the day has now are clean. A release of other ones may hold what they had learned.
        """
        if manifest.release_id in self.holding or manifest.as_of < self.since:
            return manifest.release_id in self.holding
        inputs = cast(Mapping[str, Any], manifest.facts.get("inputs", {}))
        return not inputs or any(self.stored.sha256((asset, manifest.as_of)) != sha for asset, sha in inputs.items())


def _parts(keys: Mapping[str, int]) -> set[Part]:
    """The partitions among keys of stored files."""
    split = [key.split("/") for key in keys if key.startswith("assets/") and key.count("/") == 3]
    return {(asset, day.removeprefix("dt=")) for _, asset, day, _ in split}
