# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of a database under one snapshot: locked first, then counted and hashed while pg_dump reads them.

The hash must be the same after a load elsewhere, where oids differ, and the order of columns may. So columns go by
their names, and what holds oids of the catalogue goes through text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, as_line
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.relation_hash import (
    SCAN_SETTINGS,
    column_values,
    session_options,
    types_of,
)

try:
    import psycopg
    from psycopg import sql
except ImportError:
    psycopg = None
    sql = None

#: From this version on a record can be hashed as it is.
_HASH_RECORD = 14
#: From this version on a transaction as a whole can time out.
_TRANSACTION_TIMEOUT = 17
_ATTEMPTS = 5

# What pg_dump leaves out is left out: extensions bring their tables, generated columns are computed again.
_TABLES = """
SELECT c.oid::int8, format('%I.%I', n.nspname, c.relname), n.nspname, c.relname, c.relkind::text,
       c.relpersistence::text, coalesce((SELECT i.inhparent::int8 FROM pg_catalog.pg_inherits i
                                          WHERE i.inhrelid = c.oid AND c.relispartition), 0),
       (SELECT coalesce(json_agg(json_build_array(a.attname, a.atttypid::int8,
                                                  coalesce(NOT co.collisdeterministic, false))
                                 ORDER BY a.attname), '[]')
          FROM pg_catalog.pg_attribute a LEFT JOIN pg_catalog.pg_collation co ON co.oid = a.attcollation
         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '')
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
   AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                    WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
 ORDER BY 2
"""
_HOLDERS = """
SELECT format('pid %%s, %%s', l.pid, coalesce(nullif(left(a.query, 60), ''), a.backend_type, 'unknown'))
  FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
 WHERE l.relation = %s::oid AND l.mode = 'AccessExclusiveLock' ORDER BY l.granted DESC LIMIT 1
"""
# Pages of zeros may come or go when a large object is written anew; what can be read of it stays the same.
_LARGE_OBJECTS = """
SELECT (SELECT count(*) FROM pg_catalog.pg_largeobject_metadata),
       coalesce(sum(hashtextextended(loid || '/' || pageno || '/' || rtrim(encode(data, 'hex'), '0'), 0)), 0)::text
  FROM pg_catalog.pg_largeobject WHERE rtrim(encode(data, 'hex'), '0') <> ''
"""
# Not under any snapshot: a sequence is read as it is now.
_SEQUENCES = """
SELECT format('%I.%I', n.nspname, c.relname), n.nspname, c.relname, c.oid::int8, s.seqincrement, s.seqcycle,
       CASE WHEN c.relpersistence = 'p' THEN pg_sequence_last_value(c.oid) END,
       coalesce((SELECT d.refobjid::int8 FROM pg_catalog.pg_depend d
                  WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0
                    AND d.refclassid = d.classid AND d.deptype IN ('a', 'i') LIMIT 1), 0)
  FROM pg_catalog.pg_sequence s JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid
       JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relpersistence <> 't'
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                    WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
 ORDER BY 1
"""


@dataclass(frozen=True)
class Table:
    """A table or a partitioned one; `label` is its name as the engine quotes it."""

    oid: int
    label: str
    schema: str
    name: str
    kind: str
    persistence: str
    parent: int
    columns: tuple[tuple[str, bool, bool], ...]  # name, hashable as it is, hashable under the C collation

    @property
    def holds(self) -> bool:
        """Whether it has rows of its own."""
        return self.kind == "r"


def scan_options() -> str:
    """How a session that counts must be set up, whatever the database's own settings are."""
    return session_options({**SCAN_SETTINGS, "statement_timeout": "0"})


def tables_of(connection: Any) -> list[Table]:
    """The tables whose rows a dump holds."""
    types = types_of(connection, logical=True)
    found = []
    for oid, label, schema, name, kind, persistence, parent, raw in connection.execute(_TABLES):
        columns = []
        for column, type_oid, loose in raw:
            direct = types.direct(type_oid)
            columns.append((column, direct and not loose, direct and loose))
        found.append(Table(oid, label, schema, name, kind, persistence, parent, tuple(columns)))
    return found


def lock_and_snapshot(connection: Any, database: str, major: int, lock_seconds: float) -> tuple[str, list[Table]]:
    """Lock every table against being rewritten, then export a snapshot; the transaction stays open.

    In this order: a table that is truncated or rewritten between a snapshot and its lock looks empty under it.
    """
    if major >= _TRANSACTION_TIMEOUT:
        connection.execute("SET transaction_timeout = 0")
    connection.execute(f"SET lock_timeout = {int(lock_seconds * 1000)}")
    for _attempt in range(_ATTEMPTS):
        tables = tables_of(connection)
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        if all(_lock(connection, database, table, lock_seconds) for table in tables):
            snapshot = str(connection.execute("SELECT pg_export_snapshot()").fetchone()[0])
            return snapshot, tables_of(connection)
        connection.execute("ROLLBACK")
    raise OpsError(f"database {database}: tables went away in {_ATTEMPTS} attempts to lock them; try again")


def _lock(connection: Any, database: str, table: Table, seconds: float) -> bool:
    """Lock one table; false where it is gone meanwhile."""
    try:
        connection.execute(
            sql.SQL("LOCK TABLE ONLY {} IN ACCESS SHARE MODE").format(sql.Identifier(table.schema, table.name))
        )
    except (psycopg.errors.UndefinedTable, psycopg.errors.WrongObjectType, psycopg.errors.InvalidSchemaName):
        return False
    except psycopg.errors.LockNotAvailable as exc:
        connection.execute("ROLLBACK")
        held = connection.execute(_HOLDERS, (table.oid,)).fetchone()
        who = f" by {as_line(held[0])}" if held else ""
        raise OpsError(
            f"table {table.label} of database {database} was locked{who} for longer than {seconds:g} s; "
            "wait for that to end, or raise dump_lock_seconds"
        ) from exc
    return True


def count(connection: Any, tables: list[Table], major: int, hashed: bool, standby: bool) -> dict[str, dict[str, Any]]:
    """The rows, and the sum of the rows' hashes, of each table under the open transaction's snapshot."""
    found: dict[str, dict[str, Any]] = {}
    for table in tables:
        entry: dict[str, Any] = {
            "oid": table.oid, "schema": table.schema, "name": table.name, "parent": table.parent, "rows": None,
            "hash": None,
        }  # fmt: skip
        # A standby has no rows of unlogged tables, and pg_dump leaves them out there.
        if table.holds and not (standby and table.persistence == "u"):
            rows, digest = connection.execute(_counting(table, major, hashed)).fetchone()
            entry.update(rows=rows, hash=digest if hashed else None)
        found[table.label] = entry
    return found


def _counting(table: Table, major: int, hashed: bool) -> Any:
    total = sql.SQL("NULL") if not hashed else sql.SQL("coalesce(sum({}), 0)::text").format(_hash(table, major))
    return sql.SQL("SELECT count(*), {} FROM ONLY {} AS boringdb_row").format(
        total, sql.Identifier(table.schema, table.name)
    )


def _hash(table: Table, major: int) -> Any:
    if not table.columns:
        return sql.SQL("0")
    if major >= _HASH_RECORD:
        return sql.SQL("hash_record_extended(ROW({}), 0)").format(column_values(table.columns))
    names = sql.SQL(", ").join(
        sql.SQL("boringdb_row.") + sql.Identifier(name) for name, _direct, _loose in table.columns
    )
    return sql.SQL("hashtextextended(ROW({})::text, 0)").format(names)


def large_objects(connection: Any, hashed: bool) -> dict[str, Any]:
    """How many there are, and a sum over what can be read of them, where the account may read it."""
    allowed = connection.execute("SELECT has_table_privilege('pg_catalog.pg_largeobject', 'SELECT')").fetchone()[0]
    if hashed and allowed:
        number, digest = connection.execute(_LARGE_OBJECTS).fetchone()
        return {"count": number, "hash": digest}
    number = connection.execute("SELECT count(*) FROM pg_catalog.pg_largeobject_metadata").fetchone()[0]
    return {"count": number, "hash": None}


def sequences(connection: Any) -> dict[str, dict[str, Any]]:
    """The last number of every sequence, by its quoted name."""
    names = ("schema", "name", "oid", "increment", "cycle", "last", "owner")
    return {label: dict(zip(names, rest)) for label, *rest in connection.execute(_SEQUENCES)}


@dataclass
class Compared:
    """What was found in a loaded database; lists hold lines for a person."""

    rows: int
    tables: int
    numbers: list[str]
    values: list[str]


def compare(connection: Any, database: str, wanted: dict[str, dict[str, Any]], major: int, hashed: bool) -> Compared:
    """Count, and hash where that can be compared, what was loaded."""
    result = Compared(0, 0, [], [])
    there = {table.label: table for table in tables_of(connection)}
    for label, entry in wanted.items():
        table = there.get(label)
        if table is None:
            result.numbers.append(f"{database}: {label} is missing")
            continue
        if entry["rows"] is None:
            continue
        with_hash = hashed and entry["hash"] is not None
        found, digest = connection.execute(_counting(table, major, with_hash)).fetchone()
        result.rows += found
        result.tables += 1
        if found != entry["rows"]:
            result.numbers.append(f"{database}: {label} has {found} rows, not {entry['rows']}")
        elif with_hash and digest != entry["hash"]:
            result.values.append(f"{database}: {label} has other values in its {found} rows")
    return result
