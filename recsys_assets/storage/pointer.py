"""The rules by which the pointer to the served release moves."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from recsys_assets.storage.manifest import Manifest, Pointer

Reason = Literal[
    "published", "current", "older", "withdrawn", "late", "waiting", "rolled back", "pinned", "unpinned", "replaced"
]
"""Why the pointer moved or stayed: the release is current already, older than the served one, withdrawn by a rollback,
late (a rollback came while it was made) or waits for an approval; or a person has pinned the served one."""


def after_publish(manifest: Manifest, current: Pointer | None, since: int) -> tuple[Pointer, Reason]:
    """The pointer moves to a release of its day or a later one, unless a person decided otherwise.

    Args:
        manifest: of the release.
        current: the pointer now.
        since: its generation when publishing began. A rollback after that did not know the release, so that it could
            not withdraw it.
    """
    target = Pointer(manifest.release_id, manifest.as_of, manifest.sha256)
    if current is None:
        return target, "published"
    if current.release_id == manifest.release_id:
        return current, "current"
    if current.pinned:
        return current, "pinned"
    if manifest.release_id in current.withdrawn:
        return current, "withdrawn"
    if current.rolled_back > since:
        return current, "late"
    if manifest.as_of < current.as_of:
        return current, "older"
    return _next(target, current, current.withdrawn), "published"


def after_rollback(manifest: Manifest, current: Pointer | None, releases: list[str]) -> tuple[Pointer, Reason]:
    """The pointer moves to the target and is pinned there; all other releases of its day or later are withdrawn."""
    target = Pointer(manifest.release_id, manifest.as_of, manifest.sha256, pinned=True, rolled_back=1)
    if current is None:
        return target, "rolled back"
    if current.release_id == manifest.release_id:
        return after_pin(current, pinned=True)
    abandoned = {release for release in (*releases, current.release_id) if release[:10] >= manifest.as_of}
    withdrawn = (abandoned | set(current.withdrawn)) - {manifest.release_id}
    moved = _next(target, current, tuple(sorted(withdrawn)))
    return replace(moved, rolled_back=moved.generation), "rolled back"


def after_replace(manifest: Manifest, current: Pointer) -> tuple[Pointer, Reason]:
    """The pointer moves to another release of the day that it serves, and stays pinned where it is.

    Raises:
        ValueError: another day is served.
    """
    if manifest.as_of != current.as_of:
        raise ValueError(f"release {manifest.release_id} is not of the day that {current.release_id} serves")
    if manifest.release_id == current.release_id:
        return current, "current"
    withdrawn = tuple(release for release in current.withdrawn if release != manifest.release_id)
    target = Pointer(manifest.release_id, manifest.as_of, manifest.sha256, pinned=current.pinned)
    return _next(target, current, withdrawn), "replaced"


def after_pin(current: Pointer, *, pinned: bool) -> tuple[Pointer, Reason]:
    """The pointer stays at its release, and publishing does not move it while it is pinned."""
    if current.pinned == pinned:
        return current, "current"
    moved = replace(current, pinned=pinned, generation=current.generation + 1)
    return moved, "pinned" if pinned else "unpinned"


def after_delete(release_id: str, current: Pointer) -> tuple[Pointer, Reason]:
    """The pointer stays, and no longer names a deleted release as the previous one.

    Raises:
        ValueError: the release is being served.
    """
    if current.release_id == release_id:
        raise ValueError(f"release {release_id} is being served and cannot be deleted")
    return (replace(current, previous=None) if current.previous == release_id else current), "current"


def why_needed(release_id: str, current: Pointer | None) -> str | None:
    """Why a release must stay; None: it is old, and nothing needs it.

    Args:
        release_id: complete or not.
        current: the pointer now.
    """
    if current is None:
        return "nothing is served yet, and it may be what comes first"
    if release_id == current.release_id:
        return "it is served and pinned" if current.pinned else "it is served"
    if release_id == current.previous:
        return "it was served before, and a rollback goes to it"
    if release_id[:10] >= current.as_of:
        return "it is not older than what is served: it may wait for an approval, or be published now"
    return None


def _next(target: Pointer, current: Pointer, withdrawn: tuple[str, ...]) -> Pointer:
    return replace(
        target,
        previous=current.release_id,
        generation=current.generation + 1,
        withdrawn=withdrawn,
        rolled_back=current.rolled_back,
    )
