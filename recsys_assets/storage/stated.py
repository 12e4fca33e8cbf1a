"""What was stated and decides the bytes of assets, and how records of partitions are compared with it.

::

    stated/<hash>.json    what was stated for each asset and how it is named in records; create-only, one per change

A record of a partition carries the fingerprint of its asset. Equal fingerprints are current, at no further cost. Where
they differ, the stored document says which values were stated then, so that old and new ones can be named, and so that
a setting that is new in this version of the platform makes nothing outdated as long as it has its default.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, cast

from recsys_assets.storage.lineage import Lineage
from recsys_assets.storage.objects import AlreadyExists, Json, ObjectStore, canonical_json, sha256_bytes

FOLDER = "stated"
_ABSENT = "not stated"


class OtherSettingsError(RuntimeError):
    """Partitions that are to be read were made with other settings than those of now."""


@dataclass(frozen=True, order=True)
class Change:
    """A stated value that is another one now, both as text."""

    name: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.name}: {self.old} -> {self.new}"


UNRECORDED = Change("settings", "not recorded, by an earlier version of the platform", "recorded")
_UNKNOWN = Change("settings", "no longer recorded in this store", "recorded")


class Stated:
    """What is stated for the assets of a graph.

    Args:
        own: for each asset, the values that its own code reads, by name; its code version among them.
        upstream: for each asset, those that it is made of directly.
        defaults: names of values that nobody stated: they are the default of this version.
    """

    def __init__(
        self,
        own: Mapping[str, Mapping[str, Json]],
        upstream: Mapping[str, Iterable[str]],
        defaults: Iterable[str] = (),
    ):
        self._own = {asset: dict(values) for asset, values in own.items()}
        self._upstream = {asset: sorted(set(names)) for asset, names in upstream.items()}
        self.defaults = frozenset(defaults)
        self._statements: dict[str, dict[str, Json]] = {}

    @property
    def assets(self) -> list[str]:
        """Names of the assets."""
        return sorted(self._own)

    def statement(self, asset: str) -> Mapping[str, Json]:
        """All values that decide the bytes of an asset: its own and those of everything that it is made of."""
        asset = base_name(asset)
        if asset not in self._statements:
            values: dict[str, Json] = {}
            for name in self._made_of(asset):
                values |= self._own[name]
            self._statements[asset] = values
        return self._statements[asset]

    def fingerprint(self, asset: str) -> str:
        """Names a statement; 16 hex digits.

        Raises:
            KeyError: the graph has no such asset.
        """
        return sha256_bytes(canonical_json(self.statement(asset)))[:16]

    @cached_property
    def fingerprints(self) -> Mapping[str, str]:
        """The fingerprint of each asset."""
        return {asset: self.fingerprint(asset) for asset in self.assets}

    def document(self) -> dict[str, Json]:
        """As JSON, for :meth:`parse`."""
        return {
            "assets": {
                asset: {
                    "fingerprint": self.fingerprints[asset],
                    "values": self._own[asset],
                    "upstream": self._upstream.get(asset, []),
                }
                for asset in self.assets
            },
            "defaults": sorted(self.defaults),
        }

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Stated:
        """From the JSON of :meth:`document`."""
        assets: dict[str, dict[str, Any]] = document["assets"]
        return cls(
            {asset: entry["values"] for asset, entry in assets.items()},
            {asset: entry["upstream"] for asset, entry in assets.items()},
            document["defaults"],
        )

    def changes_since(self, before: Mapping[str, Json], asset: str) -> tuple[Change, ...]:
        """How an asset's statement differs from an earlier one; a new value that is its default is no change."""
        now = self.statement(asset)
        gone = [Change(name, _text(before[name]), _ABSENT) for name in before.keys() - now.keys()]
        new = [Change(name, _ABSENT, _text(now[name])) for name in now.keys() - before.keys() - self.defaults]
        other = [
            Change(name, _text(before[name]), _text(now[name]))
            for name in now.keys() & before.keys()
            if now[name] != before[name]
        ]
        return tuple(sorted([*gone, *new, *other]))

    def _made_of(self, asset: str) -> list[str]:
        """An asset and everything upstream of it; a circle, where a day reads an earlier one, does no harm."""
        found, left = {asset}, [asset]
        while left:
            for name in self._upstream.get(left.pop(), ()):
                if name in self._own and name not in found:
                    found.add(name)
                    left.append(name)
        return sorted(found)


class Statements:
    """What is stated now, compared with what the records of a store say.

    Args:
        store: keeps what was stated.
        now: what is stated now.
    """

    def __init__(self, store: ObjectStore, now: Stated):
        self._store, self.now = store, now
        self._kept = False
        self._changes = cache(self._compare)

    def keep(self) -> None:
        """Keep what is stated now beside what was stated before; done once."""
        if self._kept:
            return
        data = canonical_json(self.now.document())
        key = f"{FOLDER}/{sha256_bytes(data)[:16]}.json"
        try:
            if not self._store.exists(key):
                self._store.create(key, data)
        except AlreadyExists:
            pass
        self._kept = True

    def is_current(self, record: Lineage) -> bool:
        """Whether a partition was made with what is stated now."""
        return not self.changes(record)

    def changes(self, record: Lineage) -> tuple[Change, ...]:
        """What was stated otherwise when a partition was made; empty if it is current."""
        return self._changes(base_name(record.asset), record.fingerprint)

    def _compare(self, asset: str, fingerprint: str) -> tuple[Change, ...]:
        if fingerprint == self.now.fingerprints.get(asset):
            return ()
        if not fingerprint:
            return (UNRECORDED,)
        before = self._documents.get(fingerprint)
        return (_UNKNOWN,) if before is None else self.now.changes_since(before.statement(asset), asset)

    @cached_property
    def _documents(self) -> Mapping[str, Stated]:
        """What was stated before, by each fingerprint; read only where a fingerprint is another one."""
        found: dict[str, Stated] = {}
        for meta in self._store.list(FOLDER):
            document = cast("dict[str, Any]", json.loads(self._store.get(meta.key)))
            stated = Stated.parse(document)
            # As recorded: how fingerprints are computed may change with the platform.
            found |= {entry["fingerprint"]: stated for entry in document["assets"].values()}
        return found


def base_name(asset: str) -> str:
    """The asset that partitions are of: each experiment has a name of its own below ``experiment_model``."""
    return asset.split(".", 1)[0]


def described(changes: Iterable[Change], most: int = 5) -> str:
    """Changes as text, in one line."""
    listed = sorted(set(changes))
    more = f"; and {len(listed) - most} more" if len(listed) > most else ""
    return "; ".join(str(change) for change in listed[:most]) + more


def days_as_text(days: Iterable[str]) -> str:
    """How many days, and from when to when."""
    listed = sorted(set(days))
    if len(listed) <= 3:
        return ", ".join(listed)
    return f"{len(listed)} days, {listed[0]} to {listed[-1]}"


def _text(value: Json) -> str:
    """A value as a person would write it."""
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
