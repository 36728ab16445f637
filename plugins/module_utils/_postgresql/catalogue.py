# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the catalogues hold: roles, databases, schemas, extensions, functions, privileges, sequences, collations.

Every object is one row of one catalogue, named by its oids, which a physical copy keeps; so renaming a role changes
the role and not every privilege that mentions it. With each goes the page its row lies on: while that page is as it
was, the object cannot have been dropped or altered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_BLOCK = "({}.ctid::text::point)[0]::int8"

# An access control list by oids and sorted; the order within the stored array means nothing.
_ACL = (
    "(SELECT string_agg(grantee || '=' || privilege_type || CASE WHEN is_grantable THEN '*' ELSE '' END"
    " || '/' || grantor, ',' ORDER BY grantee, privilege_type, grantor) FROM aclexplode({}))"
)


def _objects(catalogue: str, alias: str, key: str, name: str, value: str, rest: str = "") -> str:  # noqa: PLR0917
    block = _BLOCK.format(alias)
    columns = f"{key}, {name}, {value}, '{catalogue}', {block}"
    return f"SELECT {columns} FROM pg_catalog.{catalogue} {alias} {rest}"  # noqa: S608 - constants of this file only


# Columns that change by themselves: freezing, and notes about the host's libraries (compared elsewhere).
_DATABASE_NOISE = "'{datfrozenxid,datminmxid,datacl,datcollversion,datlastsysoid,dathasloginevt}'::text[]"

#: Objects of the whole cluster: kind -> query for (id, name, value, catalogue, block).
GLOBAL: dict[str, list[str]] = {
    "databases": [
        _objects("pg_database", "d", "d.oid::text", "d.datname", f"to_jsonb(d) - {_DATABASE_NOISE}"),
    ],
    "roles": [
        _objects(
            "pg_authid", "r", "r.oid::text", "r.rolname",
            "(to_jsonb(r) - 'rolpassword') || jsonb_build_object('has_password', r.rolpassword IS NOT NULL)",
            "WHERE r.oid >= 16384 OR r.oid = 10",
        ),
        _objects(
            "pg_auth_members", "m", "'member/' || m.roleid || '/' || m.member || '/' || m.grantor",
            "'membership of ' || pg_get_userbyid(m.member) || ' in ' || pg_get_userbyid(m.roleid)", "to_jsonb(m)",
        ),
    ],
    "tablespaces": [
        _objects("pg_tablespace", "t", "t.oid::text", "t.spcname", "to_jsonb(t) - 'spcacl'", "WHERE t.oid >= 16384"),
    ],
    "grants": [
        _objects(
            "pg_database", "d", "'database/' || d.oid", "'database ' || d.datname", _ACL.format("d.datacl"),
            "WHERE d.datacl IS NOT NULL",
        ),
    ],
}  # fmt: skip

#: What can be read of roles without being superuser; it carries no page, so a difference is only ever reported.
ROLES_FALLBACK = (
    "SELECT r.oid::text, r.rolname, to_jsonb(r) - '{rolpassword,rolconfig}'::text[], '', -1 FROM pg_catalog.pg_roles r"
    " WHERE r.oid >= 16384 OR r.oid = 10"
)

_SIGNATURE = "n.nspname || '.' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')'"
_IN_FUNCTION_SCHEMA = "JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE p.oid >= 16384"
_KIND = "CASE c.relkind WHEN 'S' THEN 'sequence ' ELSE 'table ' END || n.nspname || '.' || c.relname"
_IN_SCHEMA = "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"

#: Objects of one database.
LOCAL: dict[str, list[str]] = {
    "schemas": [
        _objects(
            "pg_namespace", "n", "n.oid::text", "n.nspname", "to_jsonb(n) - 'nspacl'",
            "WHERE n.nspname !~ '^pg_(toast|temp)' AND (n.oid >= 16384 OR n.nspname = 'public')",
        ),
    ],
    "extensions": [
        _objects("pg_extension", "e", "e.oid::text", "e.extname || ' ' || e.extversion", "to_jsonb(e)"),
    ],
    "functions": [
        _objects(
            "pg_proc", "p", "p.oid::text", _SIGNATURE, "to_jsonb(md5((to_jsonb(p) - 'proacl')::text))",
            _IN_FUNCTION_SCHEMA,
        ),
    ],
    "grants": [
        _objects(
            "pg_class", "c", "'relation/' || c.oid", _KIND, _ACL.format("c.relacl"),
            f"{_IN_SCHEMA} WHERE c.relacl IS NOT NULL AND c.oid >= 16384",
        ),
        _objects(
            "pg_attribute", "a", "'column/' || a.attrelid || '/' || a.attnum",
            "'column ' || n.nspname || '.' || c.relname || '.' || a.attname", _ACL.format("a.attacl"),
            f"JOIN pg_catalog.pg_class c ON c.oid = a.attrelid {_IN_SCHEMA} WHERE a.attacl IS NOT NULL",
        ),
        _objects(
            "pg_namespace", "n", "'schema/' || n.oid", "'schema ' || n.nspname", _ACL.format("n.nspacl"),
            "WHERE n.nspacl IS NOT NULL AND (n.oid >= 16384 OR n.nspname = 'public')",
        ),
        _objects(
            "pg_proc", "p", "'function/' || p.oid", f"'function ' || {_SIGNATURE}", _ACL.format("p.proacl"),
            f"{_IN_FUNCTION_SCHEMA} AND p.proacl IS NOT NULL",
        ),
        _objects(
            "pg_default_acl", "a", "'default/' || a.oid",
            "'default privileges of ' || pg_get_userbyid(a.defaclrole)", _ACL.format("a.defaclacl"),
        ),
    ],
}  # fmt: skip

#: Where the catalogues' own files are, and that they are not mapped elsewhere since.
PATHS = """
SELECT c.relname, pg_relation_filepath(c.oid) FROM pg_catalog.pg_class c
 WHERE c.relname = ANY(%s) AND c.relnamespace = 'pg_catalog'::regnamespace
"""
_CATALOGUES = [
    "pg_database", "pg_authid", "pg_auth_members", "pg_tablespace", "pg_namespace", "pg_extension", "pg_proc",
    "pg_class", "pg_attribute", "pg_default_acl",
]  # fmt: skip

DATABASES = "SELECT oid::int8, datname FROM pg_catalog.pg_database WHERE datallowconn ORDER BY datname"

Objects = dict[str, list[Any]]


def objects_of(connection: Any, queries: Mapping[str, list[str]]) -> dict[str, Objects]:
    """kind -> {id: [name, value, catalogue, block]}, all under the caller's snapshot."""
    found: dict[str, Objects] = {}
    for kind, parts in queries.items():
        found[kind] = {}
        for query in parts:
            for key, name, value, catalogue, block in connection.execute(query):
                found[kind][key] = [name, value, catalogue, block]
    return found


def cluster_objects(connection: Any) -> dict[str, Objects]:
    """Roles, databases, tablespaces and the databases' privileges."""
    allowed = connection.execute("SELECT has_table_privilege('pg_catalog.pg_authid', 'SELECT')").fetchone()[0]
    queries = dict(GLOBAL)
    if not allowed:
        queries["roles"] = [ROLES_FALLBACK, GLOBAL["roles"][1]]
    return objects_of(connection, queries)


def catalogue_paths(connection: Any) -> dict[str, str]:
    """Catalogue -> its file below the data directory, as seen from this database."""
    return dict(connection.execute(PATHS, (_CATALOGUES,)).fetchall())


def readable_acl(value: Any, roles: Mapping[str, list[Any]]) -> str:
    """`16390=SELECT/10,…` with role names, for a person."""
    parts = []
    for item in str(value or "nothing").split(","):
        grantee, found, rest = item.partition("=")
        name = roles[grantee][0] if grantee in roles else "PUBLIC" if grantee == "0" else grantee
        parts.append(f"{name}={rest.split('/')[0]}" if found else item)
    return " ".join(parts)
