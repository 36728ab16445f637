# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sequences and the columns they number; the versions of the libraries that sort text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import one_line

try:
    import psycopg
    from psycopg import sql
except ImportError:
    psycopg = None

_BATCH = 100

# The owning column only where its greatest value is one look into an index away.
_SEQUENCES = """
SELECT c.oid::int8, n.nspname, c.relname, pg_relation_filepath(c.oid), s.seqincrement, s.seqcycle,
       (c.ctid::text::point)[0]::int8, tn.nspname, t.relname, a.attname,
       EXISTS (SELECT FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid
                       JOIN pg_catalog.pg_am am ON am.oid = ic.relam
                WHERE i.indrelid = t.oid AND i.indkey[0] = a.attnum AND i.indisvalid AND i.indpred IS NULL
                  AND am.amname = 'btree')
  FROM pg_catalog.pg_sequence s JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid
       JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
       LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid
            AND d.objsubid = 0 AND d.refclassid = d.classid AND d.deptype IN ('a', 'i')
       LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
            AND a.atttypid IN (20, 21, 23) AND (a.atthasdef OR a.attidentity <> '')
       LEFT JOIN pg_catalog.pg_class t ON t.oid = a.attrelid
       LEFT JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
 WHERE c.relpersistence = 'p'
"""


@dataclass
class SequenceState:
    """One sequence. `max` is the greatest value of the column it numbers, None where there is none to compare.

    `last` is the last number handed out (the one before the first, when none was).
    """

    oid: int
    schema: str
    name: str
    path: str
    increment: int
    cycle: bool
    block: int
    column: str
    indexed: bool
    table: tuple[str, ...]
    last: int | None = None
    max: int | None = None
    error: str = ""

    @property
    def label(self) -> str:
        """The name a person knows it by."""
        return f"{self.schema}.{self.name}"

    @property
    def comparable(self) -> bool:
        """Whether its column's greatest value says anything about it."""
        return bool(self.column) and self.indexed and self.increment > 0 and not self.cycle

    @property
    def behind(self) -> bool:
        """Whether the next number may collide with one that is in the column."""
        return self.last is not None and self.max is not None and self.max > self.last

    def to_dict(self) -> dict[str, Any]:
        """The manifest's shape, without the oid that is its key."""
        return {
            "name": self.label, "path": self.path, "increment": self.increment, "cycle": self.cycle,
            "block": self.block, "column": self.column, "last": self.last, "max": self.max,
        }  # fmt: skip


def sequences_of(connection: Any) -> list[SequenceState]:
    """Every lasting sequence of this database with its state; `error` where the engine could not read it."""
    found = []
    for row in connection.execute(_SEQUENCES):
        oid, schema, name, path, increment, cycle, block, *owner, indexed = row
        table = tuple(owner) if owner[2] else ()
        column = ".".join(table)
        found.append(SequenceState(oid, schema, name, path, increment, cycle, block, column, indexed, table))
    for start in range(0, len(found), _BATCH):
        batch = found[start : start + _BATCH]
        try:
            _read(connection, batch)
        except psycopg.Error:
            for sequence in batch:
                try:
                    _read(connection, [sequence])
                except psycopg.Error as exc:
                    sequence.error = one_line(exc)
    return found


def _read(connection: Any, batch: Sequence[SequenceState]) -> None:
    parts = []
    for sequence in batch:
        greatest = sql.SQL("NULL::int8")
        if sequence.comparable:
            schema, table, column = sequence.table
            greatest = sql.SQL("(SELECT max({})::int8 FROM {})").format(
                sql.Identifier(column), sql.Identifier(schema, table)
            )
        # The column is read under the statement's snapshot, the sequence as it is a moment later: never behind.
        parts.append(
            sql.SQL("SELECT {}::int8, last_value - CASE WHEN is_called THEN 0 ELSE {}::int8 END, {} FROM {}").format(
                sql.Literal(sequence.oid),
                sql.Literal(sequence.increment),
                greatest,
                sql.Identifier(sequence.schema, sequence.name),
            )
        )
    known = {sequence.oid: sequence for sequence in batch}
    for oid, last, greatest in connection.execute(sql.SQL(" UNION ALL ").join(parts)).fetchall():
        known[oid].last, known[oid].max = last, greatest


_DEFAULT_COLLATION = """
SELECT 'default', 'the default of ' || datname, datcollversion, pg_database_collation_actual_version(oid)
  FROM pg_catalog.pg_database WHERE datname = current_database()
"""
# Before 15 a database does not know its version: that of the same locale's collation stands for it.
_DEFAULT_COLLATION_OLD = """
SELECT 'default', 'the default of ' || d.datname, NULL,
       (SELECT pg_collation_actual_version(c.oid) FROM pg_catalog.pg_collation c
         WHERE c.collprovider = 'c' AND c.collcollate = d.datcollate ORDER BY c.oid LIMIT 1)
  FROM pg_catalog.pg_database d WHERE d.datname = current_database()
"""
_USED_COLLATIONS = """
SELECT DISTINCT c.oid::text, n.nspname || '.' || c.collname, c.collversion, pg_collation_actual_version(c.oid)
  FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_collation c ON c.oid = a.attcollation
       JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace
 WHERE a.attrelid >= 16384 AND a.attcollation <> 100
"""


def collations_of(connection: Any, major: int) -> dict[str, dict[str, Any]]:
    """Collation -> {name, recorded, actual}: the version its indexes were built with, and this host's library's."""
    rows = connection.execute(_DEFAULT_COLLATION if major >= 15 else _DEFAULT_COLLATION_OLD).fetchall()
    rows += connection.execute(_USED_COLLATIONS).fetchall()
    return {key: {"name": name, "recorded": recorded, "actual": actual} for key, name, recorded, actual in rows}
