"""``recsys store``: what storage holds, in files or on S3.

``ls`` lists assets and releases, ``du`` says what takes how many bytes, ``show ASSET [DAY]`` prints the first rows of a
day (the newest by default), ``drop RELEASE …`` deletes old releases that nothing needs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from recsys_assets.cli.releases import described
from recsys_assets.settings import load_settings
from recsys_assets.storage.lineage import DATA_FILE
from recsys_assets.storage.manifest import Pointer
from recsys_assets.storage.objects import NotFound, ObjectStore
from recsys_assets.storage.partition_store import LINEAGE_FILE, PartitionStore, partition_key
from recsys_assets.storage.pointer import why_needed
from recsys_assets.storage.releases import DamagedRelease, Releases
from recsys_assets.storage.uri import open_store

_ROWS = 10
_BY_NAME = ("assets", "releases")
"""Folders of which each entry is told by itself."""


def main(arguments: list[str] | None = None) -> int:
    """Entry point; 1 if the store, what is named or a setting is at fault."""
    parser = argparse.ArgumentParser(
        prog="recsys store", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("ls", help="assets with their days, releases with what serving does with them")
    commands.add_parser("du", help="bytes of assets, releases and everything else")
    show = commands.add_parser("show", help="the first rows of a day of an asset")
    show.add_argument("asset")
    show.add_argument("day", nargs="?", help="YYYY-MM-DD; the newest by default")
    show.add_argument("-n", dest="rows", type=int, default=_ROWS, help=f"rows to print, {_ROWS} by default")
    drop = commands.add_parser("drop", help="delete old releases; never one that is served, was before or waits")
    drop.add_argument("releases", nargs="+", metavar="RELEASE")
    drop.add_argument("--yes", action="store_true", help="do it; without, it is only said what would go")
    given = parser.parse_args(arguments)
    from botocore.exceptions import BotoCoreError
    from obstore.exceptions import BaseError

    try:
        store = open_store(load_settings()[0].storage_uri)
        if given.command == "show":
            text = shown(store, given.asset, given.day, given.rows)
        elif given.command == "drop":
            text = dropped(store, given.releases, sure=given.yes)
        else:
            text = listed(store) if given.command == "ls" else used(store)
        sys.stdout.write(text)
    except (ValueError, OSError, DamagedRelease, BaseError, BotoCoreError) as error:
        sys.stderr.write(f"failed: {error}\n")
        return 1
    return 0


def listed(store: ObjectStore) -> str:
    """Each asset with its days, then each release, the newest first."""
    days: dict[str, set[str]] = {}
    for meta in store.list("assets"):
        _, asset, day, file = meta.key.split("/")
        if file == LINEAGE_FILE:
            days.setdefault(asset, set()).add(day.removeprefix("dt="))
    width = max(map(len, days), default=0)
    lines = [
        f"{asset:<{width}}  {len(found):>5} {'day ' if len(found) == 1 else 'days'}  {min(found)} … {max(found)}"
        for asset, found in sorted(days.items())
    ] or ["there is no asset yet"]
    releases = Releases(store)
    return "\n".join([store.uri(), "", *lines, "", described(releases.list(), releases.current())])


def used(store: ObjectStore) -> str:
    """Bytes and files of each asset, each release and each other folder, and of what is in no listing."""
    sums: dict[str, tuple[int, int]] = {}
    for meta in store.list():
        parts = meta.key.split("/")
        name = "/".join(parts[:2]) if parts[0] in _BY_NAME and len(parts) > 2 else parts[0]
        size, files = sums.get(name, (0, 0))
        sums[name] = size + meta.size, files + 1
    lines = [_line(size, f"{files} files", name) for name, (size, files) in sorted(sums.items())]
    total = sum(size for size, _ in sums.values())
    unlisted = store.unlisted()
    if unlisted:
        # On S3, unfinished uploads and versions of before: their sizes are not known without asking for each.
        known = sum(Path(name).stat().st_size for name in unlisted if Path(name).is_file())
        size = _bytes(known) if known else "?"
        lines.append(f"{size:>12}  {f'{len(unlisted)} files':>12}  unfinished writes and versions of before")
    return "\n".join([store.uri(), *lines, _line(total, f"{sum(n for _, n in sums.values())} files", "in all"), ""])


def shown(store: ObjectStore, asset: str, day: str | None, rows: int) -> str:
    """The first rows of a day of an asset, as a table.

    Raises:
        ValueError: there is no such asset or day, or it is kept as something else than a table.
    """
    import polars as pl

    partitions = PartitionStore(store)
    days = partitions.days(asset)
    if not days:
        known = sorted({meta.key.split("/")[1] for meta in store.list("assets")})
        raise ValueError(f"there is no asset {asset!r}; there are: {', '.join(known) or 'none yet'}")
    day = day or days[-1]
    if day not in days:
        raise ValueError(f"{asset} has no day {day}; it has {len(days)}, from {days[0]} to {days[-1]}")
    lineage = partitions.read_lineage(asset, day)
    if lineage is None:
        raise NotFound(f"{asset} of {day} was deleted meanwhile")
    head = f"{asset} {day}: {lineage.rows} rows, {_bytes(lineage.bytes)}, made by run {lineage.run_id}"
    if lineage.file != DATA_FILE:
        raise ValueError(f"{head}; it is kept as {lineage.file}, which is no table")
    with store.open(partition_key(asset, day, DATA_FILE)) as file:
        frame = pl.read_parquet(file, n_rows=max(0, rows))
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=10_000, fmt_str_lengths=60, tbl_hide_dataframe_shape=True):
        return f"{head}\n{frame}\n"


def dropped(store: ObjectStore, names: Iterable[str], *, sure: bool) -> str:
    """Delete releases, all or none of them; without ``sure``, only say what would go.

    Raises:
        ValueError: one is needed, or there is none of that name; names each and why.
    """
    releases = Releases(store)
    names, stored, current = list(dict.fromkeys(names)), {*releases.list(), *releases.leftovers()}, releases.current()
    reasons = [f"{name}: {reason}" for name in names if (reason := _refused(name, stored, current))]
    if reasons:
        raise ValueError("nothing is deleted. " + "; ".join(reasons))
    lines: list[str] = []
    for name in names:
        size = sum(meta.size for meta in store.list(f"releases/{name}"))
        if sure:
            releases.drop(name)
        lines.append(f"{name}  {_bytes(size)}  {'deleted' if sure else 'would be deleted: --yes does it'}")
    return "\n".join(lines) + "\n"


def _refused(name: str, stored: set[str], current: Pointer | None) -> str | None:
    return why_needed(name, current) if name in stored else "there is no such release"


def _line(size: int, files: str, name: str) -> str:
    return f"{_bytes(size):>12}  {files:>12}  {name}"


def _bytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 100_000 else f"{size:,} B"


if __name__ == "__main__":
    sys.exit(main())
