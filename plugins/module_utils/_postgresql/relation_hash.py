# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in a relation, as two numbers: its rows, and an order-independent sum of its rows' hashes.

The same expression must give the same number on the source and on a restored copy. So everything that shapes text
is fixed per session, and columns go through text only where their type cannot be hashed as it lies in the heap.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.page_lsn import file_bytes
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import require_psycopg

try:
    from psycopg import sql
except ImportError:
    sql = None

#: Objects with a smaller oid came with initdb.
FIRST_USER_OID = 16384

#: How values are turned into text. Anything here that differed would change the hash of equal rows.
TEXT_SETTINGS: dict[str, str] = {
    "client_encoding": "UTF8",
    "TimeZone": "UTC",
    "DateStyle": "ISO,YMD",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "xmlbinary": "base64",
    "lc_monetary": "C",
    "row_security": "off",
    "default_transaction_read_only": "on",
    "idle_in_transaction_session_timeout": "0",
}

#: Sessions that scan. Index-only scans would leave the heap unread; compiling costs more than it saves here.
SCAN_SETTINGS: dict[str, str] = {
    **TEXT_SETTINGS,
    "search_path": "",
    "jit": "off",
    "enable_indexscan": "off",
    "enable_indexonlyscan": "off",
    "enable_bitmapscan": "off",
}

# varchar and cidr share the operators of text and inet; the reg* types share those of oid.
_BINARY_COERCIBLE = {1043, 650, 24, 2202, 2203, 2204, 2205, 2206, 3734, 3769, 4089, 4096, 4191}

_TYPES = """
SELECT t.oid::int8, t.typtype::text, CASE WHEN t.typcategory = 'A' AND t.typlen = -1 THEN t.typelem::int8 ELSE 0 END,
       t.typbasetype::int8,
       coalesce((SELECT r.rngsubtype FROM pg_catalog.pg_range r
                  WHERE r.rngtypid = t.oid OR (to_jsonb(r)->>'rngmultitypid')::oid = t.oid), 0)::int8,
       EXISTS (SELECT FROM pg_catalog.pg_opclass o JOIN pg_catalog.pg_am a ON a.oid = o.opcmethod
                WHERE a.amname = 'hash' AND o.opcdefault AND o.opcintype = t.oid AND o.oid < 16384)
  FROM pg_catalog.pg_type t WHERE t.typtype IN ('b', 'd', 'e', 'r', 'm')
"""

#: What a relation's columns are. A column may be added without any page being written: then its rows hash differently.
SHAPE = """
(SELECT md5(string_agg(concat_ws(':', attnum, atttypid, attisdropped, atthasmissing, attcollation, attgenerated), ','
                       ORDER BY attnum))
   FROM pg_catalog.pg_attribute WHERE attrelid = {oid} AND attnum > 0)
"""

_COUNT = """
SELECT {oid}::int8, count(*), coalesce(sum({hash}), 0)::text, pg_relation_size({oid}), pg_relation_filepath({oid}),
       {shape}
  FROM ONLY {table} AS boringdb_row
"""

_RELATIONS = """
SELECT c.oid::int8, n.nspname, c.relname, c.relkind::text, c.relpersistence::text, c.relispopulated,
       pg_relation_filepath(c.oid), pg_relation_filepath(nullif(c.reltoastrelid, 0)), (c.ctid::text::point)[0]::int8,
       (SELECT coalesce(json_agg(json_build_array(a.attname, a.atttypid::int8, a.attgenerated = 'v',
                                                  coalesce(NOT co.collisdeterministic, false))
                                 ORDER BY a.attnum), '[]')
          FROM pg_catalog.pg_attribute a LEFT JOIN pg_catalog.pg_collation co ON co.oid = a.attcollation
         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relpersistence <> 't'
   AND ((c.relkind IN ('r', 'm') AND c.oid >= 16384)
        OR (c.relname = 'pg_largeobject' AND c.oid < 16384 AND has_table_privilege(c.oid, 'SELECT')))
"""


@dataclass(frozen=True)
class Relation:
    """A table, a leaf partition or a materialised view; `bytes` are those of heap and TOAST together.

    `block` is the page of pg_class that holds its row. `method`: `record` (the whole row), `row` (column by column,
    some through text) or `text` (the whole row through text).
    """

    oid: int
    schema: str
    name: str
    kind: str
    persistence: str
    populated: bool
    path: str
    bytes: int
    block: int
    columns: tuple[tuple[str, bool, bool], ...]  # name, hashable as it is, hashable under the C collation
    method: str

    @property
    def label(self) -> str:
        """The name a person knows it by."""
        return f"{self.schema}.{self.name}"

    @property
    def scannable(self) -> bool:
        """Whether it holds rows that a backup carries."""
        return self.persistence == "p" and self.populated


class Types:
    """Which types of one database can be hashed in place, with the same result on every host."""

    def __init__(self, rows: Iterable[Sequence[Any]], logical: bool = False) -> None:
        self._rows: Mapping[int, tuple[Any, ...]] = {row[0]: tuple(row[1:]) for row in rows}
        self._logical = logical

    def direct(self, oid: int) -> bool:
        """Whether a value of type `oid` hashes by built-in functions alone.

        An extension's hash may depend on the host's libraries, so its types go through text; so do composites.
        """
        if oid not in self._rows:
            return False
        kind, element, base, subtype, own = self._rows[oid]
        if kind == "d":
            return self.direct(base)
        if kind == "e":
            return not self._logical  # by the label's oid, which a physical copy keeps
        if kind in "rm":
            return oid < FIRST_USER_OID and self.direct(subtype)
        if own or oid in _BINARY_COERCIBLE:
            return oid < FIRST_USER_OID
        return bool(element) and self.direct(element)


def types_of(connection: Any, logical: bool = False) -> Types:
    """The types of one database; `logical` where rows must hash alike after a dump is loaded elsewhere."""
    return Types(connection.execute(_TYPES).fetchall(), logical)


def session_options(settings: Mapping[str, str]) -> str:
    """Settings as libpq's `options`."""
    return " ".join(f"-c {name}={value}" for name, value in settings.items())


def relations_of(connection: Any, major: int, data_dir: Path) -> list[Relation]:
    """Every relation of this database whose rows are the users' own, small ones first.

    Their sizes come from the files: pg_table_size would wait for whoever holds a table's lock.
    """
    require_psycopg()
    types = types_of(connection)
    found = []
    for oid, schema, name, kind, persistence, populated, path, toast, block, raw in connection.execute(_RELATIONS):
        size = sum(file_bytes(data_dir / file) for file in (path, toast) if file)
        if oid < FIRST_USER_OID and not size:
            continue
        columns = []
        for column, type_oid, virtual, loose in raw:
            if not virtual:
                direct = types.direct(type_oid)
                columns.append((column, direct and not loose, direct and loose))
        plain = len(columns) == len(raw) and all(direct for _name, direct, _loose in columns)
        method = "text" if major < 14 else "record" if plain else "row"
        found.append(
            Relation(
                oid, schema, name, kind, persistence, populated, path or "", size, block, tuple(columns), method
            )
        )
    return sorted(found, key=lambda relation: (relation.bytes, relation.oid))


def _hash(relation: Relation, method: str) -> Any:
    if method == "record":
        return sql.SQL("hash_record_extended(boringdb_row.*, 0)")
    if method == "text":
        return sql.SQL("hashtextextended((boringdb_row.*)::text, 0)")
    return sql.SQL("hash_record_extended(ROW({}), 0)").format(column_values(relation.columns))


def column_values(columns: Sequence[tuple[str, bool, bool]]) -> Any:
    """The columns of `boringdb_row`, each in a form that can be hashed."""
    values = []
    for name, direct, loose in columns:
        column = sql.SQL("boringdb_row.") + sql.Identifier(name)
        values.append(column + sql.SQL("" if direct else ' COLLATE pg_catalog."C"' if loose else "::text"))
    return sql.SQL(", ").join(values)


def count_query(relation: Relation, method: str) -> Any:
    """One row: oid, rows, hash, size of the main fork, file, shape.

    All in one statement, so under one snapshot and one lock: no page that holds a counted row can be truncated away
    before the size is taken, and the file and the shape are those that were read. ONLY, or a parent would count
    its children again.
    """
    return sql.SQL(_COUNT).format(
        oid=sql.Literal(relation.oid),
        shape=sql.SQL(SHAPE).format(oid=sql.Literal(relation.oid)),
        hash=_hash(relation, method),
        table=sql.Identifier(relation.schema, relation.name),
    )


def batch_query(relations: Sequence[Relation], methods: Mapping[int, str]) -> Any:
    """The counts of several relations in one round trip."""
    parts = [count_query(relation, methods.get(relation.oid, relation.method)) for relation in relations]
    return sql.SQL(" UNION ALL ").join(parts)
