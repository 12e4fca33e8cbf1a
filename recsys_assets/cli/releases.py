"""``recsys releases``: what is served, and moving it, without Dagster and its queue.

``list`` shows the releases, ``rollback [RELEASE]`` serves an older one and keeps it, ``pin`` keeps the current one,
``unpin`` follows new releases again.
"""

from __future__ import annotations

import argparse
import sys

from recsys_assets.settings import load_settings
from recsys_assets.storage.manifest import Pointer
from recsys_assets.storage.releases import DamagedRelease, Releases
from recsys_assets.storage.uri import open_store


def main(arguments: list[str] | None = None) -> int:
    """Entry point; 1 if the store, the release or a setting is at fault."""
    parser = argparse.ArgumentParser(prog="recsys releases", description=__doc__)
    parser.add_argument("command", choices=("list", "rollback", "pin", "unpin"))
    parser.add_argument("release", nargs="?", help="of rollback; without it, the one that was served before")
    given = parser.parse_args(arguments)
    if given.release and given.command != "rollback":
        parser.error(f"{given.command} takes no release")
    from botocore.exceptions import BotoCoreError
    from obstore.exceptions import BaseError

    try:
        settings, _ = load_settings()
        releases = Releases(open_store(settings.storage_uri))
        if given.command == "rollback":
            releases.rollback(given.release)
        elif given.command != "list":
            releases.pin(pinned=given.command == "pin")
        sys.stdout.write(described(releases.list(), releases.current()))
    except (ValueError, OSError, DamagedRelease, BaseError, BotoCoreError) as error:
        sys.stderr.write(f"failed: {error}\n")
        return 1
    return 0


def described(releases: list[str], current: Pointer | None) -> str:
    """A line for each release, the newest first, and what serving does with it."""
    lines: list[str] = []
    for release in reversed(releases):
        notes: list[str] = []
        if current and release == current.release_id:
            notes = ["served", *(["pinned: new releases wait for unpin"] if current.pinned else [])]
        elif current and release in current.withdrawn:
            notes = ["withdrawn by a rollback"]
        elif current and release == current.previous:
            notes = ["served before"]
        lines.append("  ".join([release, *notes]))
    return "\n".join(lines or ["there is no release yet"]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
