# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What came back of a dump, against what its manifest says was there when it was taken."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.checks import Check, failed, passed, skipped
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import dump_objects, dump_rows
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.dump_store import Dump
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server

_SHOWN = 3
_MESSAGE = 1000


@dataclass
class Found:
    """The checks of everything that was loaded, and numbers for the record."""

    checks: list[Check] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass
class _Wrong:
    rows: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)
    large_objects: list[str] = field(default_factory=list)
    sequences: list[str] = field(default_factory=list)
    owners: list[str] = field(default_factory=list)
    privileges: list[str] = field(default_factory=list)


def judged(name: str, wrong: list[str], total: int, word: str) -> Check:
    """A check that failed when anything is wrong."""
    expected, actual = f"{total} {word}", f"{max(total - len(wrong), 0)} {word}"
    if not wrong:
        return passed(name, expected=expected, actual=actual)
    more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
    return failed(name, expected=expected, actual=actual, message="; ".join(wrong[:_SHOWN])[:_MESSAGE] + more)


def compare(server: Server, dump: Dump, loaded: list[str], alike: bool) -> Found:
    """Compare every loaded database, then what belongs to all of them.

    `alike`: whether the server is of the dump's major version; else hashes and default privileges may rightly differ.
    """
    found, wrong = Found(), _Wrong()
    entries = {name: dump.manifest["databases"][name] for name in loaded}
    rows = tables = 0
    for name, entry in entries.items():
        with server.connect(name, options=dump_rows.scan_options()) as connection:
            said = dump_rows.compare(connection, name, entry["tables"], server.major, alike)
            rows, tables = rows + said.rows, tables + said.tables
            wrong.rows += said.numbers
            wrong.values += said.values
            wrong.large_objects += _large_objects(connection, name, entry["large_objects"])
            wrong.sequences += _sequences(connection, name, entry["sequences"])
            objects = dump_objects.local_objects(connection)
            wrong.owners += _within(name, dump_objects.unlike(entry["objects"], objects, "owner"))
            there = {key: one for key, one in entry["objects"].items() if key in objects}
            wrong.privileges += _within(name, dump_objects.unlike(there, objects, "acl"))
    found.facts = {"rows_checked": rows, "relations_checked": tables}
    hashed = any(table["hash"] is not None for entry in entries.values() for table in entry["tables"].values())
    number = sum(len(entry["objects"]) for entry in entries.values())
    found.checks.append(judged("rows", wrong.rows, tables, "tables with their rows"))
    found.checks.append(_values(wrong.values, tables, alike, hashed))
    found.checks.append(judged("large_objects", wrong.large_objects, _sum(entries, "large_objects"), "large objects"))
    found.checks.append(judged("sequences", wrong.sequences, _sum(entries, "sequences"), "sequences"))
    found.checks.append(judged("owners", wrong.owners, number, "objects with their owners"))
    if alike:
        found.checks.append(judged("privileges", wrong.privileges, number, "objects with their privileges"))
    else:
        found.checks.append(skipped("privileges", required=False, message=_other_version(server, dump)))
    with server.connect(loaded[0], options=dump_rows.scan_options()) as connection:
        found.checks += _of_all(connection, dump, entries, alike)
    return found


def _sum(entries: dict[str, Any], what: str) -> int:
    return sum(one[what]["count"] if what == "large_objects" else len(one[what]) for one in entries.values())


def _other_version(server: Server, dump: Dump) -> str:
    return f"the scratch server is of version {server.major}, the dump of {dump.manifest['major']}"


def _values(wrong: list[str], tables: int, alike: bool, hashed: bool) -> Check:
    if not hashed:
        return skipped("values", required=False, message="no hashes were taken (dump_hash is off)")
    if not alike:
        return skipped("values", required=False, message="hashes of another major version may rightly differ")
    return judged("values", wrong, tables, "tables with their values")


def _within(database: str, lines: list[str]) -> list[str]:
    return [f"{database}: {line}" for line in lines]


def _large_objects(connection: Any, database: str, was: dict[str, Any]) -> list[str]:
    now = dump_rows.large_objects(connection, was["hash"] is not None)
    if now["count"] != was["count"]:
        return [f"{database}: {now['count']} large objects, not {was['count']}"]
    return [] if now["hash"] == was["hash"] else [f"{database}: the large objects hold other bytes"]


def _sequences(connection: Any, database: str, was: dict[str, dict[str, Any]]) -> list[str]:
    """They are read before the dump, and are under no snapshot: what is loaded may be further on, and never behind."""
    now, lines = dump_rows.sequences(connection), []
    for name, entry in was.items():
        found = now.get(name)
        if found is None:
            lines.append(f"{database}: {name} is missing")
        elif entry["last"] is not None and not entry["cycle"]:
            step = entry["increment"]
            if found["last"] is None or (found["last"] - entry["last"]) * (1 if step > 0 else -1) < 0:
                lines.append(f"{database}: {name} is at {found['last']}, behind {entry['last']}")
    return lines


def _of_all(connection: Any, dump: Dump, entries: dict[str, Any], alike: bool) -> list[Check]:
    manifest = dump.manifest
    what = ("owner", "acl") if alike else ("owner",)
    roles = dump_objects.roles(connection)
    lines = dump_objects.unlike(manifest["roles"], roles, "attributes", "settings")
    # From 16 on a membership has options of its own; before, they were the member's.
    known = 5 if alike else 3
    now = [member[:known] for member in dump_objects.members(connection)]
    lines += [f"{one[0]} is no member of {one[1]} as it was" for one in manifest["members"] if one[:known] not in now]
    lines += dump_objects.unlike(manifest["tablespaces"], dump_objects.tablespaces(connection), *what, "options")
    properties = dump_objects.unlike(entries, dump_objects.databases(connection), *what, "properties", "settings")
    total = len(manifest["roles"]) + len(manifest["members"]) + len(manifest["tablespaces"])
    return [
        judged("roles", lines, total, "roles, memberships and tablespaces"),
        judged("properties", properties, len(entries), "databases with their properties"),
    ]
