# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Roles that are to go. A role that owns something stays; its privileges are revoked one by one.

Never by DROP OWNED: that would also drop what the role came to own a moment ago.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Callable

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.access_plan import Entry, Step, step
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.access_roles import Roles, no_sessions

try:
    from psycopg import sql
except ImportError:
    sql = None

_SHOWN = 10
#: Where something depends on a role; an object of no database is looked up in any.
_WHERE = """SELECT DISTINCT coalesce(d.datname, current_database()) FROM pg_shdepend s
            LEFT JOIN pg_database d ON d.oid = s.dbid
            WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = (SELECT oid FROM pg_roles WHERE rolname = %s)"""
_WHAT = """SELECT s.deptype, o.type, o.identity, pg_describe_object(s.classid, s.objid, s.objsubid)
           FROM pg_shdepend s, pg_identify_object(s.classid, s.objid, s.objsubid) o
           WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = (SELECT oid FROM pg_roles WHERE rolname = %s)
           AND s.dbid IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())) ORDER BY 4"""
#: The words of REVOKE for each kind of object that pg_identify_object tells.
_KINDS = {
    "table": "TABLE", "view": "TABLE", "materialized view": "TABLE", "foreign table": "TABLE", "sequence": "SEQUENCE",
    "schema": "SCHEMA", "database": "DATABASE", "function": "ROUTINE", "procedure": "ROUTINE", "aggregate": "ROUTINE",
    "type": "TYPE", "domain": "DOMAIN", "language": "LANGUAGE", "tablespace": "TABLESPACE",
    "foreign-data wrapper": "FOREIGN DATA WRAPPER", "server": "FOREIGN SERVER",
}  # fmt: skip


@dataclass
class Farewell:
    """What has to be revoked in each database before the roles can be dropped, and the drops."""

    revocations: dict[str, list[Step]] = field(default_factory=dict)
    drops: list[Step] = field(default_factory=list)


def plan(gone: list[Entry], state: Roles, connect: Callable[[str], Any], main: str, preflight: Preflight) -> Farewell:
    """Look into every database for what holds a role back."""
    found = Farewell()
    for entry in gone:
        name = entry["name"]
        if name not in state.roles:
            continue
        if state.roles[name].bootstrap or name == state.me:
            preflight.refuse(f"role {name} is the account this connects as, or the engine's first superuser", "keep it")
            continue
        no_sessions(connect(main), name, preflight)
        places = [place for (place,) in connect(main).execute(_WHERE, (name,)).fetchall()]
        for place in sorted(places):
            rows = connect(place).execute(_WHAT, (name,)).fetchall()
            _owned(name, place, [told for kind, _type, _identity, told in rows if kind != "a"], preflight)
            steps = found.revocations.setdefault(place, [])
            steps.extend(_revocations(name, place, rows, preflight))
        found.drops.append(step(f"role {name}", f"role {name}", "", "DROP ROLE {}", sql.Identifier(name)))
    return found


def _owned(name: str, place: str, things: list[str], preflight: Preflight) -> None:
    if not things:
        return
    more = f" and {len(things) - _SHOWN} more" if len(things) > _SHOWN else ""
    preflight.refuse(
        f"role {name} owns, or is named by, {', '.join(things[:_SHOWN])}{more} in the database {place}",
        f"there, REASSIGN OWNED BY {name} TO another role, or drop these yourself",
    )


def _revocations(name: str, place: str, rows: list[Any], preflight: Preflight) -> Iterator[Step]:
    seen = set()
    for deptype, kind, identity, told in rows:
        if deptype != "a":
            continue
        # A column's privileges go with its table's.
        word = "TABLE" if kind == "table column" else _KINDS.get(kind)
        target = identity.rpartition(".")[0] if kind == "table column" else identity
        if word is None:
            preflight.refuse(f"role {name} is named by {told} in the database {place}", "revoke that yourself")
        elif (word, target) not in seen:
            seen.add((word, target))
            yield step(
                f"{place}: {name}", f"{place}: {name}: privileges on {kind} {target}", "",
                "REVOKE ALL ON {} {} FROM {}", sql.SQL(word), sql.SQL(target), sql.Identifier(name),
            )  # fmt: skip
