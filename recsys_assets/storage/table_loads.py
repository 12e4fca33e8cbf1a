"""The tables of the served lists in PostgreSQL, within one transaction; see ``recommendations_table``."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class

from recsys_assets.storage.lists import Key, RankedLists
from recsys_assets.storage.manifest import Manifest
from recsys_assets.storage.served_lists import SERVED_LISTS, ServedList

TABLES = tuple(served for served in SERVED_LISTS if served.name != "user_histories")
"""The lists that are loaded. Histories are what people did, and stay in the store."""
LOADED = "loaded_release"
_BLOCK = 200_000
_LOCK = 0x5EC5_0003
_LOCK_WAIT = "200ms"
"""How long readers may queue behind a drop. PostgreSQL looks for deadlocks after a second, so it ends no reader."""
_TYPES = {"int64": "bigint", "string": 'text collate "C"'}


class TableError(RuntimeError):
    """The tables cannot be read or loaded; the message names the database without its password."""


@dataclass(frozen=True)
class Loaded:
    """What the views show.

    Attributes:
        load: number of the load, from 1.
        dataset: name of the data set.
        release_id: the release.
        manifest_sha256: hash of its manifest.
        as_of: its day.
        loaded_at: when the load began.
    """

    load: int
    dataset: str
    release_id: str
    manifest_sha256: str
    as_of: date
    loaded_at: datetime


class Loads:
    """The tables of a schema.

    Args:
        cursor: of a transaction.
        schema: holds them.
    """

    def __init__(self, cursor: Cursor, schema: str):
        self._cursor, self._schema = cursor, schema

    def create(self, lists: Mapping[str, RankedLists]) -> None:
        """Make schema, tables and views that are not there, and refuse tables of other id types."""
        self._cursor.execute("select to_regnamespace(%s) is null", [f'"{self._schema}"'])
        if self._first()[0]:
            self._cursor.execute(sql.SQL("create schema {}").format(sql.Identifier(self._schema)))
        if not self._exists(LOADED):
            self._cursor.execute(
                sql.SQL(
                    "create table {} (only_row boolean primary key default true check (only_row), load bigint not null,"
                    " dataset text not null, release_id text not null, manifest_sha256 text not null,"
                    " as_of date not null, loaded_at timestamptz not null default now())"
                ).format(self._name(LOADED))
            )
        for table in TABLES:
            parent, found = self._name(f"{table.name}_loads"), lists[table.name]
            types = {table.key: _TYPES[found.key_type], table.item: _TYPES[found.item_type]}
            if self._exists(f"{table.name}_loads"):
                self._expect_types(f"{table.name}_loads", types)
                continue
            fields = {"key": sql.Identifier(table.key), "item": sql.Identifier(table.item), "parent": parent}
            fields |= {"key_type": sql.SQL(types[table.key]), "item_type": sql.SQL(types[table.item])}
            self._cursor.execute(
                sql.SQL(
                    "create table {parent} (load bigint not null, {key} {key_type} not null, rank integer not null,"
                    " {item} {item_type} not null, score real not null, source text not null) partition by list (load)"
                ).format(**fields)
            )
            self._cursor.execute(
                sql.SQL(
                    "create view {view} as select {key}, rank, {item}, score, source from {parent}"
                    " where load = (select load from {loaded})"
                ).format(**fields, view=self._name(table.name), loaded=self._name(LOADED))
            )

    def fill(self, table: ServedList, lists: RankedLists, load: int) -> None:
        """Make the partition of a load with its rows, keys and indexes, and attach it."""
        names = {"new": self._name(f"{table.name}_{load}"), "parent": self._name(f"{table.name}_loads")}
        names |= {"key": sql.Identifier(table.key), "item": sql.Identifier(table.item), "load": sql.Literal(load)}
        for statement in (
            "create table {new} (like {parent})",
            "alter table {new} alter load set default {load}, add constraint one_load check (load = {load})",
        ):
            self._cursor.execute(sql.SQL(statement).format(**names))
        copy = sql.SQL(
            "copy {new} ({key}, rank, {item}, score, source) from stdin"
            " (format csv, encoding 'utf8', force_not_null ({key}, {item}, source))"
        ).format(**names)
        copied = 0
        for batch in lists.batches(_BLOCK):
            _refuse_nul(table, batch)
            block = io.BytesIO()
            pa_csv.write_csv(batch, block, pa_csv.WriteOptions(include_header=False, quoting_style="all_valid"))
            block.seek(0)
            self._cursor.copy_expert(copy, block)
            copied += self._cursor.rowcount
        if copied != lists.rows:
            raise TableError(f"{table.name}: {copied} rows were copied of {lists.rows}")
        for statement in (
            "alter table {new} add primary key ({key}, rank)",
            "create index on {new} ({item})",
            "alter table {parent} attach partition {new} for values in ({load})",
            "analyze {new}",
        ):
            self._cursor.execute(sql.SQL(statement).format(**names))

    def switch(self, load: int, dataset: str, manifest: Manifest) -> None:
        """Let the views show a load, once this transaction is committed."""
        self._cursor.execute(
            sql.SQL(
                "insert into {} (load, dataset, release_id, manifest_sha256, as_of) values (%s, %s, %s, %s, %s)"
                " on conflict (only_row) do update set load = excluded.load, dataset = excluded.dataset,"
                " release_id = excluded.release_id, manifest_sha256 = excluded.manifest_sha256,"
                " as_of = excluded.as_of, loaded_at = now()"
            ).format(self._name(LOADED)),
            [load, dataset, manifest.release_id, manifest.sha256, manifest.as_of],
        )

    def shown(self) -> Loaded | None:
        """What the views show; None before the first load."""
        if not self._exists(LOADED):
            return None
        columns = sql.SQL("select load, dataset, release_id, manifest_sha256, as_of, loaded_at from {}")
        self._cursor.execute(columns.format(self._name(LOADED)))
        row = self._cursor.fetchone()
        return Loaded(*row) if row else None

    def measure(self, loaded: Loaded) -> tuple[dict[str, int], int]:
        """Rows of each view, and bytes of all."""
        rows: dict[str, int] = {}
        size = 0
        for table in TABLES:
            self._cursor.execute(sql.SQL("select count(*) from {}").format(self._name(table.name)))
            rows[table.name] = self._first()[0]
            self._cursor.execute(
                "select pg_total_relation_size(%s::regclass)", [self._quoted(f"{table.name}_{loaded.load}")]
            )
            size += self._first()[0]
        return rows, size

    def partitions(self) -> list[tuple[str, int]]:
        """Name and load of each partition of the tables."""
        parents = [self._quoted(f"{table.name}_loads") for table in TABLES]
        self._cursor.execute(
            "select relname::text from pg_inherits join pg_class on pg_class.oid = inhrelid"
            " where inhparent = any(array(select to_regclass(name) from unnest(%s::text[]) as names (name)))",
            [parents],
        )
        return [(str(name), int(str(name).rpartition("_")[2])) for (name,) in self._cursor.fetchall()]

    def readers(self) -> set[str]:
        """The transactions of others that read the tables now."""
        parents = [self._quoted(f"{table.name}_loads") for table in TABLES]
        self._cursor.execute(
            "select distinct virtualtransaction from pg_locks where pid <> pg_backend_pid() and granted"
            " and database = (select oid from pg_database where datname = current_database())"
            " and relation = any(array(select to_regclass(name)::oid from unnest(%s::text[]) as names (name)))",
            [parents],
        )
        return {str(transaction) for (transaction,) in self._cursor.fetchall()}

    def _expect_types(self, table: str, types: Mapping[str, str]) -> None:
        self._cursor.execute(
            "select attname::text, format_type(atttypid, null) from pg_attribute where attrelid = to_regclass(%s)",
            [self._quoted(table)],
        )
        found = dict(self._cursor.fetchall())
        for column, wanted in types.items():
            plain = wanted.partition(" ")[0]
            if found.get(column) != plain:
                raise TableError(
                    f"{table}.{column} is {found.get(column)}, the release has {plain}:"
                    " drop the schema, or state another RECSYS_RECOMMENDATIONS_SCHEMA"
                )

    def _exists(self, table: str) -> bool:
        self._cursor.execute("select to_regclass(%s) is not null", [self._quoted(table)])
        return self._first()[0]

    def lock(self) -> None:
        """One load at a time, until the transaction ends."""
        self._cursor.execute("select pg_advisory_xact_lock(%s, hashtext(%s))", [_LOCK, self._schema])

    def _name(self, table: str) -> sql.Identifier:
        return sql.Identifier(self._schema, table)

    def _quoted(self, table: str) -> str:
        return f'"{self._schema}"."{table}"'

    def next_load(self) -> int:
        """The number of a new load."""
        shown = self.shown()
        return 1 + max([shown.load if shown else 0, *(load for _, load in self.partitions())])

    def drop_old(self) -> None:
        """Drop all loads but the one that the views show.

        Raises:
            psycopg2.errors.LockNotAvailable: somebody reads.
        """
        shown = self.shown()
        old = [name for name, load in self.partitions() if shown and load != shown.load]
        if old:
            self._cursor.execute("set local lock_timeout = %s", [_LOCK_WAIT])
            parents = sql.SQL(", ").join(self._name(f"{table.name}_loads") for table in TABLES)
            self._cursor.execute(sql.SQL("lock table {} in access exclusive mode").format(parents))
            self._cursor.execute(sql.SQL("drop table {}").format(sql.SQL(", ").join(map(self._name, old))))

    def rows_of(self, user: Key) -> int:
        """How many recommendations name a user, in all loads."""
        if self.shown() is None:
            return 0
        table = self._name("recommendations_loads")
        self._cursor.execute(sql.SQL("select count(*) from {} where user_id = %s").format(table), [user])
        return self._first()[0]

    def _first(self) -> tuple[Any, ...]:
        """The only row of an answer."""
        row = self._cursor.fetchone()
        if row is None:
            raise TableError("expected a row, found none")
        return row


def _refuse_nul(table: ServedList, batch: pa.RecordBatch) -> None:
    """PostgreSQL stores any text but one with the character NUL."""
    for name, column in (("key", table.key), ("item_id", table.item)):
        if pa.types.is_large_string(batch[name].type):
            found = pc.call_function("match_substring", [batch[name]], pc.MatchSubstringOptions("\0"))
            if (row := pc.call_function("index", [found], pc.IndexOptions(pa.scalar(True))).as_py()) >= 0:
                raise TableError(f"{table.name}: {column} {batch[name][row].as_py()!r} has the character NUL")
