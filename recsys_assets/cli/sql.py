"""``make sql``: DuckDB over what the store holds, a view per asset.

Views have the day of each row as column ``dt``. With ``-c`` or a script on standard input the results are printed and
that is all, otherwise there is a prompt.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

from recsys_assets.engines.duckdb import s3_filesystem
from recsys_assets.settings import load_settings
from recsys_assets.storage.lineage import DATA_FILE
from recsys_assets.storage.objects import ObjectStore
from recsys_assets.storage.partition_store import LINEAGE_FILE
from recsys_assets.storage.releases import Releases
from recsys_assets.storage.uri import open_store

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, DuckDBPyRelation

_HISTORY = Path.home() / ".recsys_sql_history"
_HELP = "statements end with ';'   .tables lists the views   .quit or Ctrl-D ends"
_NO_LIMIT = 1_000_000_000


class EmptyStoreError(ValueError):
    """There is nothing to look at."""


def main(arguments: list[str] | None = None) -> int:
    """Entry point of ``python -m recsys_assets.cli.sql``; 1 if a statement or the store is at fault."""
    parser = argparse.ArgumentParser(prog="recsys sql", description=__doc__)
    parser.add_argument("-c", dest="command", metavar="SQL", help="run these statements and exit")
    command: str | None = parser.parse_args(arguments).command
    from botocore.exceptions import BotoCoreError
    from obstore.exceptions import BaseError

    try:
        settings, _ = load_settings()
        connection = connect(open_store(settings.storage_uri))
    except (ValueError, OSError, BaseError, BotoCoreError) as error:
        return _failed(error)
    with connection:
        if command is None and sys.stdin.isatty():
            return _prompt(connection, settings.storage_uri)
        return _run(connection, sys.stdin.read() if command is None else command, everything=True)


def connect(store: ObjectStore) -> DuckDBPyConnection:
    """A database in memory with a view of each asset and a table of the releases.

    Raises:
        EmptyStoreError: the store holds no asset.
    """
    import duckdb

    assets = {name: days for name, days in sorted(_parquet_days(store).items()) if days}
    if not assets:
        raise EmptyStoreError(f"{store.uri()} holds no assets yet: 'make run' builds them")
    connection = duckdb.connect(":memory:")
    connection.execute("SET autoinstall_known_extensions = false; SET autoload_known_extensions = false")
    connection.execute("SET TimeZone = 'UTC'")
    if store.uri().startswith("s3://"):
        connection.register_filesystem(s3_filesystem(store.storage_options))
    for name, days in assets.items():
        files = ", ".join(_quoted(store.uri(f"assets/{name}/dt={day}/{DATA_FILE}")) for day in days)
        connection.execute(
            f'CREATE VIEW "{name}" AS SELECT * FROM read_parquet([{files}], '  # noqa: S608 (names are checked keys)
            "hive_partitioning = true, hive_types = {'dt': DATE}, union_by_name = true)"
        )
    connection.execute("CREATE TABLE releases (release_id VARCHAR, as_of DATE, served BOOLEAN, served_by VARCHAR)")
    releases = Releases(store)
    current = releases.current()
    for release_id in releases.list():
        manifest = releases.manifest(release_id)
        served = current is not None and current.release_id == release_id
        row = [release_id, manifest.as_of, served, manifest.facts.get("served_by")]
        connection.execute("INSERT INTO releases VALUES (?, ?, ?, ?)", row)
    return connection


def _parquet_days(store: ObjectStore) -> dict[str, list[str]]:
    """The days of each asset that have both data and lineage, after a single listing."""
    files: dict[tuple[str, str], set[str]] = {}
    for meta in store.list("assets"):
        _, asset, day, file = meta.key.split("/")
        files.setdefault((asset, day.removeprefix("dt=")), set()).add(file)
    days: dict[str, list[str]] = {}
    for (asset, day), names in sorted(files.items()):
        if {DATA_FILE, LINEAGE_FILE} <= names:
            days.setdefault(asset, []).append(day)
    return days


def _run(connection: DuckDBPyConnection, script: str, *, everything: bool) -> int:
    """Run statements up to the first that fails; prints results, without leaving rows out if ``everything``."""
    import duckdb

    try:
        for statement in duckdb.extract_statements(script):
            # Typed as always a relation; it is None for statements without rows.
            result = cast("DuckDBPyRelation | None", connection.sql(statement.query))
            if result is not None and everything:
                result.show(max_rows=_NO_LIMIT, max_width=_NO_LIMIT, max_col_width=_NO_LIMIT)
            elif result is not None:
                result.show()
    except duckdb.Error as error:
        return _failed(error)
    except KeyboardInterrupt:
        return _failed(InterruptedError("interrupted"))
    return 0


def _prompt(connection: DuckDBPyConnection, uri: str) -> int:
    """Read statements from the terminal until the end; errors are shown and forgotten."""
    import readline  # gives input() line editing and history

    with suppress(OSError):
        readline.read_history_file(_HISTORY)
    sys.stdout.write(f"{uri}\n{_HELP}\n")
    try:
        for statement in _typed():
            if statement == ".tables":
                statement = "SHOW TABLES;"
            if statement.startswith("."):
                sys.stdout.write(f"{_HELP}\n")
            else:
                _run(connection, statement, everything=False)
    finally:
        with suppress(OSError):
            readline.write_history_file(_HISTORY)
    return 0


def _typed() -> Iterator[str]:
    """Statements and dot commands as they are typed, up to ``.quit`` or the end of the input."""
    lines: list[str] = []
    while True:
        try:
            lines.append(input("   ...> " if lines else "recsys> "))
        except KeyboardInterrupt:
            sys.stdout.write("\n")
            lines = []
            continue
        except EOFError:
            sys.stdout.write("\n")
            return
        text = "\n".join(lines).strip()
        if text in (".quit", ".exit"):
            return
        if not text:
            lines = []
        elif text.startswith(".") or (text.endswith(";") and text.count("'") % 2 == 0):
            lines = []
            yield text


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _failed(error: Exception) -> int:
    sys.stderr.write(f"{error}\n")
    return 1


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except BrokenPipeError:  # the reader, head for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
