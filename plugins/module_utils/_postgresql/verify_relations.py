# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every relation is read once: that shows that it can be read, and what is in it is compared with the manifest."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.page_lsn import file_state, relation_key
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.relation_hash import (
    SCAN_SETTINGS,
    Relation,
    relations_of,
    session_options,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.relation_scan import (
    Counted,
    Scan,
    parallel_workers,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import one_line
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.verify_report import Subject
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.verify_tally import Tally

try:
    import psycopg
    from psycopg import sql
except ImportError:
    psycopg = None

_CATALOGUES = """
SELECT n.nspname, c.relname, c.relisshared FROM pg_catalog.pg_class c
       JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'r' AND c.oid < 16384 AND has_table_privilege(c.oid, 'SELECT') ORDER BY c.oid
"""


def scan(subject: Subject, tally: Tally) -> None:
    """Read every relation of every database, compare what the manifest knows of it, and count it."""
    begun = time.monotonic()
    known = {} if subject.manifest is None else subject.manifest["databases"]
    by_oid = {entry["oid"]: entry for entry in known.values()}
    recorded = {name: by_oid.get(oid, {}) for name, oid in subject.databases.items()}

    catalogue: dict[str, str] = {}

    def before(database: str, relation: Relation) -> bool:
        entry = recorded[database].get("relations", {}).get(str(relation.oid))
        # Reading may set hint bits, and with checksums these move a page's position: so look ahead of the read.
        return bool(entry) and _untouched(subject, entry, relation, (recorded[database]["paths"], catalogue[database]))

    jobs = subject.params["jobs"]
    work = Scan(subject.server, jobs, subject.deadline, parallel_workers(jobs, 4), before)
    shared = True
    for name in subject.databases:
        with subject.server.connect(name, options=session_options(SCAN_SETTINGS)) as connection:
            _catalogues(subject, connection, name, shared, tally)
            relations = relations_of(connection, subject.major, subject.server.data_dir)
            catalogue[name] = connection.execute("SELECT pg_relation_filepath('pg_catalog.pg_class')").fetchone()[0]
        shared = False
        for item in work.database(name, [relation for relation in relations if relation.scannable]):
            _judge(subject, name, item, recorded[name].get("relations", {}), tally)
        there = {relation.oid for relation in relations}
        _missing(subject, name, recorded[name], there, now=catalogue[name], tally=tally)
    tally.seconds = time.monotonic() - begun


def _untouched(
    subject: Subject, entry: Mapping[str, Any], relation: Relation, catalogue: tuple[Mapping[str, str], str]
) -> bool:
    """Whether nothing can have changed this relation since the manifest's position."""
    if not (subject.settled and subject.manifest and subject.manifest["exact"]):
        return False
    if entry["rows"] is None or entry["busy"] or entry["path"] != relation.path:
        return False
    state = file_state(subject.file(relation.path), entry["main_bytes"], subject.position, subject.page)
    if state == "shorter":
        # Vacuum may have cut off empty pages; then it has written the new size into pg_class.
        return subject.page_state(catalogue[0].get("pg_class"), catalogue[1], entry["block"]) == "same"
    return state == "same"


def _catalogues(subject: Subject, connection: Any, database: str, shared: bool, tally: Tally) -> None:
    """Scan the system catalogues, by one statement; one by one only when that fails."""
    tables = [(row[0], row[1]) for row in connection.execute(_CATALOGUES).fetchall() if shared or not row[2]]
    connection.execute(f"SET statement_timeout = {int(subject.left() * 1000)}")
    count = sql.SQL("(SELECT count(*) FROM ONLY {})")
    parts = [count.format(sql.Identifier(*table)) for table in tables]
    try:
        connection.execute(sql.SQL("SELECT ") + sql.SQL(" + ").join(parts))
    except psycopg.Error:
        for table, part in zip(tables, parts):
            try:
                connection.execute(sql.SQL("SELECT ") + part)
            except psycopg.Error as exc:
                tally.errors.append(f"{database}.{'.'.join(table)}: {one_line(exc)}")
                if connection.closed:
                    return


def _judge(subject: Subject, database: str, item: Counted, recorded: Mapping[str, Any], tally: Tally) -> None:
    """Count one relation into the tally, and name it where it is not as it must be."""
    if item.status == "gone":
        return
    label = f"{database}.{item.relation.label}"
    tally.total += 1
    tally.bytes_total += item.relation.bytes
    if item.status == "error":
        tally.errors.append(f"{label}: {item.error}")
        return
    if item.status != "counted":
        tally.unread.append(f"{label} ({item.status})")
        return
    tally.read += 1
    tally.rows += item.rows
    tally.bytes_read += item.relation.bytes
    entry = recorded.get(str(item.relation.oid))
    if subject.manifest is None or not entry:
        tally.new += 1
    elif entry["rows"] is None:
        tally.uncounted += 1
    else:
        _compare(subject, label, item, entry, tally)


def _compare(subject: Subject, label: str, item: Counted, entry: Mapping[str, Any], tally: Tally) -> None:
    same_shape = entry["shape"] == item.shape and entry["method"] == item.method
    if same_shape and (entry["rows"], entry["hash"]) == (item.rows, item.hash):
        tally.exact += 1
        return
    difference = f"{label}: {item.rows} rows, expected {entry['rows']}"
    if item.rows == entry["rows"]:
        difference = f"{label}: {item.rows} rows as expected, but different ones"
    # A column added since then changes every hash and no page; the number of rows still has to agree.
    telling = same_shape or item.rows != entry["rows"]
    if entry["busy"]:
        tally.busy += 1
    elif telling and (item.note or _unlogged_change(subject, item, entry)):
        tally.different.append(difference)
    elif not (subject.settled and subject.manifest and subject.manifest["exact"]):
        tally.untold.append(label)
    else:
        tally.changed += 1
        _bound(subject, label, item, entry, tally)


def _unlogged_change(subject: Subject, item: Counted, entry: Mapping[str, Any]) -> bool:
    """Whether the log from the manifest's position on holds no change of a row of this relation's file."""
    changes = subject.params["wal_changes"]
    if changes is None or not subject.params["wal_changes_complete"]:
        return False
    if entry["path"] != item.path or not (subject.manifest and subject.manifest["exact"]):
        return False
    return not any((changes.get(relation_key(item.path)) or {}).values())


def _bound(subject: Subject, label: str, item: Counted, entry: Mapping[str, Any], tally: Tally) -> None:
    """A changed relation's rows must lie within what the log inserted and deleted."""
    if entry["path"] != item.path:
        tally.rewritten += 1
        return
    bounds = _bounds(subject, item, entry)
    if bounds is None:
        tally.unbounded += 1
        return
    tally.bounded += 1
    if not bounds[0] <= item.rows <= bounds[1]:
        tally.outside.append(f"{label}: {item.rows} rows, expected {bounds[0]} to {bounds[1]}")


def _bounds(subject: Subject, item: Counted, entry: Mapping[str, Any]) -> tuple[int, int] | None:
    changes = subject.params["wal_changes"]
    if changes is None:
        return None
    change = changes.get(relation_key(item.path)) or {}
    if change.get("truncated"):
        return None
    rows = entry["rows"]
    return max(0, rows - int(change.get("deletes", 0))), rows + int(change.get("inserts", 0))


def _missing(
    subject: Subject, database: str, recorded: Mapping[str, Any], there: set[int], *, now: str, tally: Tally
) -> None:
    """Relations of the manifest that are not there: lost, unless the catalogue's page was written to later."""
    for oid, entry in recorded.get("relations", {}).items():
        if int(oid) in there or int(oid) < 16384:
            continue
        label = f"{database}.{entry['schema']}.{entry['name']}"
        state = subject.page_state(recorded["paths"].get("pg_class"), now, entry["block"])
        if state == "changed":
            tally.dropped += 1
        elif entry["busy"]:  # whoever drops a table holds its lock
            tally.busy += 1
        elif state == "same" and subject.manifest and subject.manifest["exact"]:
            tally.different.append(f"{label}: missing")
        else:
            tally.untold.append(f"{label} (missing)")
