# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Owners and privileges of a part, as a dump's manifest has them: the roles they need, and giving them again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError

try:
    from psycopg import sql
except ImportError:
    sql = None

_PRIVILEGE = re.compile(r"[A-Z][A-Z ]*\Z")
#: What SQL calls what the engine names so, where privileges are granted on it.
_GRANTED = {
    "table": "TABLE", "view": "TABLE", "materialized view": "TABLE", "foreign table": "TABLE", "sequence": "SEQUENCE",
    "schema": "SCHEMA", "function": "ROUTINE", "procedure": "ROUTINE", "aggregate": "ROUTINE", "type": "TYPE",
}  # fmt: skip
#: … and where its owner is changed. A sequence takes ALTER TABLE, too, unless it belongs to a column.
_OWNED = {**{kind: word for kind, word in _GRANTED.items() if kind != "sequence"}, "sequence": "TABLE"}
_COLUMN = " column"


def needed(objects: Iterable[Mapping[str, Any]], policies: Iterable[str]) -> list[str]:
    """Every role that owns one of these objects, may do something with one, or is named in a policy."""
    found = {one["owner"] for one in objects} | set(policies)
    found |= {who for one in objects for who, _privilege, _grantable in one["acl"]}
    # "" is everybody, and pg_… come with the engine.
    return sorted(role for role in found if role and not role.startswith("pg_"))


def missing(connection: Any, roles: list[str]) -> list[str]:
    """Which of them are not there."""
    there = {row[0] for row in connection.execute("SELECT rolname FROM pg_catalog.pg_roles")}
    return [role for role in roles if role not in there]


def create(connection: Any, roles: list[str]) -> None:
    """Roles that own and may, but can't log in."""
    for role in roles:
        connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(role)))


def give(connection: Any, objects: Iterable[Mapping[str, Any]], owned_by_columns: set[str]) -> None:
    """Make their owners and privileges what the manifest says. Their names are as they were in the dump."""
    order = sorted(objects, key=lambda one: (one["kind"] != "schema", one["kind"].endswith(_COLUMN), one["identity"]))
    for one in order:
        if one["kind"] in _OWNED and not (one["kind"] == "sequence" and one["identity"] in owned_by_columns):
            words = ["ALTER", _OWNED[one["kind"]], one["identity"], "OWNER TO"]
            connection.execute(_joined(*words, sql.Identifier(one["owner"])))
    for one in order:
        _grant(connection, one)


def _grant(connection: Any, one: Mapping[str, Any]) -> None:
    column = ""
    kind, identity = one["kind"], one["identity"]
    if kind.endswith(_COLUMN):
        parts = connection.execute("SELECT parse_ident(%s)", (identity,)).fetchone()[0]
        identity = sql.Identifier(*parts[:-1]).as_string(connection)
        column = sql.Identifier(parts[-1]).as_string(connection)
        kind = "table"
    elif kind in _GRANTED:
        owner = sql.Identifier(one["owner"])
        connection.execute(_joined("REVOKE ALL ON", _GRANTED[kind], identity, "FROM PUBLIC,", owner))
    else:
        return
    for who, privilege, grantable in one["acl"]:
        if not _PRIVILEGE.match(privilege):
            raise OpsError(f"{privilege!r} on {identity} is no privilege; the dump's manifest is not what was written")
        grantee = sql.Identifier(who) if who else sql.SQL("PUBLIC")
        what = f"{privilege} ({column})" if column else privilege
        words = ["GRANT", what, "ON", _GRANTED[kind], identity, "TO", grantee]
        connection.execute(_joined(*words, *(["WITH GRANT OPTION"] if grantable else [])))


def _joined(*words: Any) -> Any:
    """A statement; names come quoted, from the engine or by psycopg."""
    return sql.SQL(" ").join([sql.SQL(word) if isinstance(word, str) else word for word in words])
