"""One release, verified and memory-mapped, from which all requests are answered."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from recsys_api.copies import Copies, KeepGoing, SnapshotError
from recsys_api.expressions import Filters
from recsys_api.online import OnlineModels
from recsys_api.visitor import EventRules, known_types
from recsys_assets.core.placements.config import PLACEMENTS_FILE, Placements, parse_placements
from recsys_assets.storage.catalogue import CATALOGUE_FILE, Catalogue
from recsys_assets.storage.explanations import EXPLANATIONS_FILE, Explanation, Explanations
from recsys_assets.storage.lists import Key, RankedItem, RankedLists, list_files
from recsys_assets.storage.manifest import Manifest, Pointer, decode_manifest
from recsys_assets.storage.objects import Json, ObjectStore, sha256_bytes
from recsys_assets.storage.releases import MANIFEST, ROOT
from recsys_assets.storage.served_lists import (
    DEFAULT_FALLBACK,
    FALLBACK_FACT,
    HORIZON_FACT,
    POPULAR,
    SERVED_LISTS,
    SERVED_MODELS,
    TRENDING,
    model_file,
)


@dataclass(frozen=True)
class Snapshot:
    """An immutable release: its pointer, manifest, id types, mapped lists and catalogue, models and placements.

    ``fallback`` is the segment of ``top_popular`` for users who are not known. ``catalogue`` knows no item where the
    release is from before there were catalogues, and says so (``released``).
    ``explanations`` is None where it has none.

    Items may have changed since. Then ``catalogue``, ``filters`` and ``online`` know it; ``changed`` names the fields
    of each item with the time of their change (microseconds since 1970); and ``withdrawn`` are the items that lists of
    the release may hold and that must not be shown, since they are not available any more.

    ``copies`` are the files that are mapped, by name. ``instead_of`` is the current release, where that is damaged and
    this one is served in its place.
    """

    pointer: Pointer
    manifest: Manifest
    user_ids: str
    item_ids: str
    recommendations: RankedLists
    similar_items: RankedLists
    top_popular: RankedLists
    user_histories: RankedLists
    catalogue: Catalogue
    filters: Filters
    online: OnlineModels
    rules: EventRules
    placements: Placements
    explanations: Explanations | None
    fallback: str
    loaded_at: datetime
    changed: Mapping[Key, Mapping[str, int]] = field(default_factory=dict[Key, Mapping[str, int]])
    withdrawn: frozenset[Key] = frozenset()
    copies: Mapping[str, Path] = field(default_factory=dict[str, Path])
    instead_of: str | None = None

    @property
    def release_id(self) -> str:
        """Id of the release."""
        return self.pointer.release_id

    def popular(self, k: int, segment: str | None = None) -> list[RankedItem]:
        """The most popular items of a segment, by default the fallback's, with the source that the API names."""
        segment = segment or self.fallback
        source = TRENDING if segment == TRENDING else POPULAR
        rows = self.top_popular.get(segment, k + len(self.withdrawn))
        if self.withdrawn:
            rows = [row for row in rows if row[0] not in self.withdrawn][:k]
        return [RankedItem(item_id, score, source) for item_id, score, _ in rows]

    def similar(self, item_id: Key, k: int) -> list[RankedItem]:
        """At most ``k`` available items that go with an item."""
        return self.online.similar_to(item_id, k)

    def explained(self, user: Key) -> list[Explanation]:
        """Why the first items of a user's list stand where they do, best first; none where the release does not say."""
        place = self.recommendations.position(user)
        return [] if place is None or self.explanations is None else self.explanations.of_list(place)

    @property
    def as_of(self) -> str:
        """Last day whose events the release includes, ``YYYY-MM-DD``."""
        return self.manifest.as_of

    @cached_property
    def event_types(self) -> frozenset[str] | None:
        """The event types of the data set; None where the release does not state them."""
        return known_types(self.manifest.facts)

    @cached_property
    def as_listed(self) -> bool:
        """Whether lists of users may be shown as they are: no item of them is withdrawn, and no rule is about all."""
        rules = self.rules
        return rules.repeats and not rules.exclude_purchased and not self.placements.rules and not self.withdrawn

    @property
    def age_seconds(self) -> float:
        """Time since the release's last day ended; releases that do not state when are reckoned in UTC."""
        ended = self.rules.end / 1e6
        if not ended:
            day = date.fromisoformat(self.as_of) + timedelta(days=1)
            ended = datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
        return time.time() - ended

    @property
    def beyond_horizon(self) -> bool | None:
        """Whether the lists serve longer than they were judged for; None where the release does not state how long."""
        days: Any = self.manifest.facts.get(HORIZON_FACT)
        return None if days is None else self.age_seconds > days * 86_400


def load_snapshot(
    store: ObjectStore, pointer: Pointer, copies: Copies, keep_going: KeepGoing = lambda: True
) -> Snapshot:
    """Verify, copy and map the release that a pointer names.

    Args:
        store: contains the release.
        pointer: names the release and the digest of its manifest.
        copies: where copies of its files are, or will be.
        keep_going: called before every chunk that is read; False cancels.

    Raises:
        SnapshotError: the manifest or a file does not match its digest, or they are inconsistent.
        FileNotFoundError: the manifest or a file is missing.
        ValueError: the manifest or a file has another format.
        LoadStoppedError: ``keep_going`` returned False.
    """
    release_id = pointer.release_id
    manifest = _manifest(store, f"{ROOT}/{release_id}/{MANIFEST}", pointer)
    released = {file.name: file for file in manifest.files}
    paths: dict[str, Path] = {}

    def fetch(file: str) -> Path:
        if file not in released:
            raise SnapshotError(f"release {release_id}: the manifest lists no file {file}")
        paths[file] = copies.fetch(store, f"{ROOT}/{release_id}/{file}", released[file], release_id, keep_going)
        return paths[file]

    lists: dict[str, RankedLists] = {}
    for name in (served.name for served in SERVED_LISTS):
        first, *_ = [fetch(file) for file in list_files(name)]
        lists[name] = RankedLists.open(first.parent, name)
    user_ids, item_ids = _id_types(manifest, release_id, lists)
    fallback = str(manifest.facts.get(FALLBACK_FACT, DEFAULT_FALLBACK))
    if FALLBACK_FACT in manifest.facts and fallback not in lists["top_popular"]:
        raise SnapshotError(f"release {release_id}: top_popular has no segment {fallback!r}, which the manifest names")
    catalogue = Catalogue.open(fetch(CATALOGUE_FILE)) if CATALOGUE_FILE in released else Catalogue.absent(item_ids)
    if catalogue.item_type != item_ids:
        raise SnapshotError(
            f"release {release_id}: catalogue: by the manifest ids must be {item_ids}, found {catalogue.item_type}"
        )
    rules = EventRules.of(manifest)
    available = catalogue if rules.exclude_unavailable else Catalogue.absent(item_ids)
    models = {file: fetch(file) for file in map(model_file, SERVED_MODELS) if file in released}
    placements = Placements()
    if PLACEMENTS_FILE in released:
        text = fetch(PLACEMENTS_FILE).read_text("utf-8")
        placements = parse_placements(text, f"release {release_id}: {PLACEMENTS_FILE}", catalogue.item_type)
    explanations = Explanations(fetch(EXPLANATIONS_FILE)) if EXPLANATIONS_FILE in released else None
    return Snapshot(
        pointer,
        manifest,
        user_ids,
        item_ids,
        recommendations=lists["recommendations"],
        similar_items=lists["similar_items"],
        top_popular=lists["top_popular"],
        user_histories=lists["user_histories"],
        catalogue=catalogue,
        filters=Filters(catalogue, date.fromisoformat(manifest.as_of)),
        online=OnlineModels.open(models, manifest.facts, lists["similar_items"], available),
        rules=rules,
        placements=placements,
        explanations=explanations,
        fallback=fallback,
        loaded_at=datetime.now(UTC),
        copies=paths,
    )


def _manifest(store: ObjectStore, key: str, pointer: Pointer) -> Manifest:
    data = store.get(key)
    if (digest := sha256_bytes(data)) != pointer.manifest_sha256:
        raise SnapshotError(f"{store.uri(key)}: the pointer says sha256 {pointer.manifest_sha256}, found {digest}")
    return decode_manifest(data, store.uri(key))


def _id_types(manifest: Manifest, release_id: str, lists: Mapping[str, RankedLists]) -> tuple[str, str]:
    """The user and item id types in the manifest, which must equal those of the lists."""
    recorded: Json = manifest.facts.get("ids")
    ids = recorded if isinstance(recorded, Mapping) else {}
    user, item = str(ids.get("user")), str(ids.get("item"))
    types = {"user": user, "item": item, "string": "string"}
    for served in SERVED_LISTS:
        name, expected = served.name, (types[served.key_type], item)
        actual = (lists[name].key_type, lists[name].item_type)
        if actual != expected:
            raise SnapshotError(
                f"release {release_id}: {name}: by the manifest (key, item) must be {expected}, found {actual}"
            )
    return user, item
