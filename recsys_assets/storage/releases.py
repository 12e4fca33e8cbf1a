"""Releases: immutable, hashed sets of files of one as-of day, and the pointer to the served one.

::

    releases/<as_of>-<hash>/<file>, …, manifest.json   create-only, the manifest last
    releases/current.json                              the pointer, moved by compare-and-swap

A release exists once its manifest does. Its name is the manifest's hash, so equal inputs give the same release. After a
crash before the pointer moves, the old release is still served; publishing the same inputs again reuses the files.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from recsys_assets.storage.lineage import check_day, check_name
from recsys_assets.storage.manifest import FORMAT_VERSION as FORMAT_VERSION
from recsys_assets.storage.manifest import (
    Manifest,
    Pointer,
    ReleaseFile,
    decode_manifest,
    decode_pointer,
    encode_manifest,
    encode_pointer,
)
from recsys_assets.storage.objects import (
    AlreadyExists,
    Conflict,
    Json,
    NotFound,
    ObjectStore,
    local_file,
    sha256_bytes,
    sha256_file,
    sha256_object,
)
from recsys_assets.storage.pointer import (
    Reason,
    after_delete,
    after_pin,
    after_publish,
    after_replace,
    after_rollback,
    why_needed,
)
from recsys_assets.storage.scratch import TemporaryFolder

ROOT = "releases"
POINTER = f"{ROOT}/current.json"
MANIFEST = "manifest.json"
_ATTEMPTS = 40  # to move the pointer; each failure means that another process moved it, or that the server is broken

ReleaseCheck = Callable[[Mapping[str, Path]], None]


class DamagedRelease(RuntimeError):  # noqa: N818
    """Stored bytes of a release do not match its manifest."""


@dataclass(frozen=True)
class Published:
    """The result of publishing.

    Attributes:
        release_id: the release, which is stored in any case.
        manifest_sha256: hash of its manifest.
        moved: whether this call made it current, or an equal call at the same moment.
        reason: why, or why not.
        generation: of the pointer afterwards; 0 without a pointer.
    """

    release_id: str
    manifest_sha256: str
    moved: bool
    reason: Reason
    generation: int


class Releases:
    """The releases of a store. Safe for concurrent publishers and readers."""

    def __init__(self, store: ObjectStore):
        self.store = store

    def publish(
        self,
        as_of: str,
        files: Mapping[str, Path],
        facts: Mapping[str, Json],
        check: ReleaseCheck | None = None,
        *,
        serve: bool = True,
    ) -> Published:
        """Store a release and make it current, unless a newer one is or a person has pinned or withdrawn it.

        A rollback that comes meanwhile wins: the release is stored, and does not become current.

        Args:
            as_of: ``YYYY-MM-DD``.
            files: local files by their names in the release.
            facts: JSON for the manifest; like the files it must not depend on time or run.
            check: gets the stored bytes, and raises to refuse them.
            serve: if False, the release waits for ``approve``.

        Raises:
            DamagedRelease: the release exists and is complete, but has other bytes; or the bytes read back differ from
                those sent.
        """
        since = self._generation()
        entries = sorted(_entry(name, path) for name, path in files.items())
        manifest = Manifest(check_day(as_of), tuple(entries), facts)
        for entry in manifest.files:
            self._upload(manifest, entry, files[entry.name])
        with TemporaryFolder("verifying-") as folder:
            stored = self._fetch(manifest, Path(folder))
            if check:
                check(stored)
        self._seal(manifest)
        if serve:
            pointer, moved, reason = self._move(lambda current: after_publish(manifest, current, since))
        else:
            pointer, moved = self.current(), False
            reason = "current" if pointer and pointer.release_id == manifest.release_id else "waiting"
        return Published(manifest.release_id, manifest.sha256, moved, reason, pointer.generation if pointer else 0)

    def approve(self, release_id: str) -> Pointer:
        """Make a waiting release current, after checking every byte of it, unless a newer one is served.

        Raises:
            ValueError: a rollback has withdrawn it, and only a rollback to it takes that back; or the served one is
                pinned; or a rollback came meanwhile.
        """
        since, manifest = self._generation(), self.verify(release_id)
        pointer, _, reason = self._move(lambda current: after_publish(manifest, current, since))
        if reason == "withdrawn":
            raise ValueError(f"release {release_id} was withdrawn by a rollback: roll back to it to serve it again")
        if reason in ("pinned", "late"):
            raise ValueError(f"release {release_id} stays back: {pointer.release_id} is pinned; unpin it first")
        return pointer

    def replace_served(self, release_id: str) -> Pointer:
        """Make another release of the served day current, pinned or not, after checking every byte of it.

        For what must not be served any longer: an erased person may be in the release that a person has pinned.

        Raises:
            ValueError: another day is served, or nothing is.
        """
        manifest, current = self.verify(release_id), self.current()
        if current is None:
            raise ValueError(f"{self.store.uri(POINTER)}: nothing is served that {release_id} could replace")
        return self._move(lambda pointer: after_replace(manifest, pointer or current))[0]

    def rollback(self, release_id: str | None = None) -> Pointer:
        """Make a stored release current, after checking every byte of it.

        It is pinned: it stays until a person unpins it, whatever is published. Every other release of its day or later
        is withdrawn: publishing it again does not undo the rollback after that either, only another rollback does. The
        target itself is withdrawn no longer.

        Args:
            release_id: the target; None is the previous one.

        Raises:
            ValueError: None was given, and there is no previous release or it is withdrawn.
        """
        manifest = self.verify(self._previous() if release_id is None else release_id)
        return self._move(lambda current: after_rollback(manifest, current, self.list()))[0]

    def pin(self, *, pinned: bool = True) -> Pointer:
        """Keep serving the current release, whatever is published, or follow new releases again.

        A rollback moves a pinned pointer too, and leaves it pinned.

        Raises:
            ValueError: nothing has been published.
        """
        current = self.current()
        if current is None:
            raise ValueError(f"{self.store.uri(POINTER)}: nothing has been published that could be pinned")
        return self._move(lambda pointer: after_pin(pointer or current, pinned=pinned))[0]

    def current(self) -> Pointer | None:
        """The pointer; None before the first release."""
        return self.current_with_etag()[0]

    def current_with_etag(self) -> tuple[Pointer | None, str | None]:
        """The pointer and its etag, which changes whenever the pointer moves."""
        try:
            data, etag = self.store.get_with_etag(POINTER)
        except NotFound:
            return None, None
        return decode_pointer(data, self.store.uri(POINTER)), etag

    def manifest(self, release_id: str) -> Manifest:
        """The manifest of a release, checked against the hash that the release is named after."""
        key = _key(release_id, MANIFEST)
        try:
            data = self.store.get(key)
        except NotFound as error:
            raise NotFound(
                f"{self.store.uri(key)} does not exist: release {release_id} was never published, or was deleted when "
                f"a person was erased; stored are: {', '.join(self.list()) or 'none'}"
            ) from error
        manifest = decode_manifest(data, self.store.uri(key))
        if manifest.release_id != release_id or manifest.sha256 != sha256_bytes(data):
            raise DamagedRelease(f"{self.store.uri(key)}: its content has the id {manifest.release_id}")
        return manifest

    def verify(self, release_id: str) -> Manifest:
        """Hash every file of a release; ``DamagedRelease`` names those that are missing or changed."""
        manifest = self.manifest(release_id)
        bad = [file.name for file in manifest.files if self._hash(_key(release_id, file.name)) != file.sha256]
        if bad:
            raise DamagedRelease(f"{self.store.uri(_key(release_id))}: missing or changed: {', '.join(bad)}")
        return manifest

    def fetch(self, release_id: str, into: Path) -> dict[str, Path]:
        """Local files of a release by name, each one's hash checked: the stored files themselves, or downloads."""
        return self._fetch(self.manifest(release_id), into)

    def list(self) -> list[str]:
        """Ids of all complete releases, ascending."""
        ends = f"/{MANIFEST}"
        keys = [meta.key for meta in self.store.list(ROOT) if meta.key.endswith(ends)]
        return [key.removeprefix(f"{ROOT}/").removesuffix(ends) for key in keys]

    def delete(self, release_id: str) -> None:
        """Delete a release and all its files, complete or not; the pointer no longer names it as the previous one.

        The manifest is deleted last, so that an interrupted deletion is found and repeated.

        Raises:
            ValueError: the release is being served.
        """
        current = self.current()
        if current:
            self._move(lambda pointer: after_delete(release_id, pointer or current))
        keys = [meta.key for meta in self.store.list(_key(release_id))]
        for key in sorted(keys, key=lambda key: key.endswith(f"/{MANIFEST}")):
            self.store.delete(key)

    def drop(self, release_id: str) -> None:
        """Delete a release that is old and that nothing needs.

        Raises:
            ValueError: it is needed; says why.
        """
        if reason := why_needed(release_id, self.current()):
            raise ValueError(f"release {release_id} stays: {reason}")
        self.delete(release_id)

    def leftovers(self) -> list[str]:
        """Folders of releases that were never completed, ascending."""
        folders = {meta.key.split("/")[1] for meta in self.store.list(ROOT) if meta.key != POINTER}
        return sorted(folders - set(self.list()))

    def _upload(self, manifest: Manifest, entry: ReleaseFile, path: Path) -> None:
        key = _key(manifest.release_id, entry.name)
        try:
            self.store.create(key, path)
        except AlreadyExists:
            if self._hash(key) == entry.sha256:
                return
            if self.store.exists(_key(manifest.release_id, MANIFEST)):
                raise DamagedRelease(
                    f"{self.store.uri(key)}: expected sha256 {entry.sha256}, found other bytes in a complete release"
                ) from None
            self.store.put(key, path)

    def _fetch(self, manifest: Manifest, into: Path) -> dict[str, Path]:
        paths: dict[str, Path] = {}
        for entry in manifest.files:
            key = _key(manifest.release_id, entry.name)
            paths[entry.name], sha256 = local_file(self.store, key, into / entry.name, entry.sha256)
            if sha256 != entry.sha256:
                raise DamagedRelease(f"{self.store.uri(key)}: expected sha256 {entry.sha256}, found {sha256}")
        return paths

    def _seal(self, manifest: Manifest) -> None:
        key = _key(manifest.release_id, MANIFEST)
        try:
            self.store.create(key, encode_manifest(manifest))
        except AlreadyExists:
            if self.store.get(key) != encode_manifest(manifest):
                raise DamagedRelease(f"{self.store.uri(key)}: another manifest under the same id") from None

    def _move(self, decide: Callable[[Pointer | None], tuple[Pointer, Reason]]) -> tuple[Pointer, bool, Reason]:
        """Swap the pointer for the result of ``decide``; on a conflict, read it and decide again."""
        attempted: tuple[Pointer, Reason] | None = None
        for attempt in range(_ATTEMPTS):
            current, etag = self.current_with_etag()
            if attempted and attempted[0] == current:
                return attempted[0], True, attempted[1]  # the swap succeeded, but its answer was lost
            target, reason = decide(current)
            if target == current:
                return target, False, reason
            try:
                self.store.replace(POINTER, encode_pointer(target), etag)
                return target, True, reason
            except Conflict:
                attempted = target, reason
                time.sleep(random.uniform(0, 0.01 * min(attempt, 10)))
        raise Conflict(
            f"{self.store.uri(POINTER)}: could not be moved in {_ATTEMPTS} attempts; does this server keep If-Match "
            "(Ceph does not on a bucket with versioning)?"
        )

    def _generation(self) -> int:
        """How often the pointer has moved so far."""
        current = self.current()
        return current.generation if current else 0

    def _previous(self) -> str:
        current = self.current()
        if current is None or current.previous is None or current.previous in current.withdrawn:
            raise ValueError(f"{self.store.uri(POINTER)}: no release before this one; name the one to roll back to")
        return current.previous

    def _hash(self, key: str) -> str | None:
        try:
            return sha256_object(self.store, key)
        except NotFound:
            return None


def _entry(name: str, path: Path) -> ReleaseFile:
    if name == MANIFEST:
        raise ValueError(f"release file {name!r}: the name is the manifest's own")
    return ReleaseFile(check_name(name), path.stat().st_size, sha256_file(path))


def _key(release_id: str, *name: str) -> str:
    return "/".join((ROOT, check_name(release_id), *name))
