# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Privileges on what is there, and default privileges on what will be. Only what is declared is given or taken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.access_plan import (
    PUBLIC,
    Declared,
    Entry,
    Step,
    grantee,
    privileges_of,
    step,
)

try:
    from psycopg import sql
except ImportError:
    sql = None

#: What a role (0 is everybody) is granted by an access list.
_HELD = """ARRAY(SELECT privilege_type FROM aclexplode({acl}) WHERE grantee = {role})"""
_OBJECTS = {
    "table": """SELECT n.nspname, c.relname, {held} FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname = %(schema)s
                AND (%(names)s::text[] IS NULL OR c.relname = ANY(%(names)s)) ORDER BY 2""",
    "sequence": """SELECT n.nspname, c.relname, {held} FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                   WHERE c.relkind = 'S' AND n.nspname = %(schema)s
                   AND (%(names)s::text[] IS NULL OR c.relname = ANY(%(names)s)) ORDER BY 2""",
    "function": """SELECT n.nspname, p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')', {held}
                   FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = %(schema)s
                   AND (%(names)s::text[] IS NULL OR p.oid = ANY(SELECT to_regprocedure(
                        quote_ident(%(schema)s) || '.' || name) FROM unnest(%(names)s::text[]) name)) ORDER BY 2""",
    "schema": """SELECT '', n.nspname, {held} FROM pg_namespace n WHERE n.nspname = ANY(%(names)s) ORDER BY 2""",
    "database": """SELECT '', d.datname, {held} FROM pg_database d WHERE d.datname = current_database()""",
}
_ACL = {
    "table": "coalesce(c.relacl, acldefault('r', c.relowner))",
    "sequence": "coalesce(c.relacl, acldefault('s', c.relowner))",
    "function": "coalesce(p.proacl, acldefault('f', p.proowner))",
    "schema": "coalesce(n.nspacl, acldefault('n', n.nspowner))",
    "database": "coalesce(d.datacl, acldefault('d', d.datdba))",
}
#: pg_default_acl's letter of each type, acldefault's, and what everybody has of a new one.
_DEFAULTS = {
    "table": ("r", "r", []), "sequence": ("S", "s", []), "function": ("f", "f", ["EXECUTE"]),
    "type": ("T", "T", ["USAGE"]), "schema": ("n", "n", []),
}  # fmt: skip
_DEFAULT_HELD = """
SELECT ARRAY(SELECT privilege_type FROM aclexplode(
           coalesce((SELECT defaclacl FROM pg_default_acl WHERE defaclrole = owner.oid AND defaclobjtype = %(letter)s
                     AND defaclnamespace = CASE WHEN %(schema)s::text IS NULL THEN 0
                         ELSE (SELECT oid FROM pg_namespace WHERE nspname = %(schema)s) END),
                    CASE WHEN %(schema)s::text IS NULL THEN acldefault(%(kind)s, owner.oid) END))
       WHERE grantee = {role})
FROM pg_roles owner WHERE owner.rolname = %(owner)s
"""
_ROLE = "CASE WHEN %(role)s::text IS NULL THEN 0 ELSE (SELECT oid FROM pg_roles WHERE rolname = %(role)s) END"


@dataclass(frozen=True)
class _Object:
    schema: str
    name: str
    held: frozenset[str]

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}" if self.schema else self.name

    def composed(self, kind: str) -> Any:
        if kind == "function":
            # The engine itself spelled the signature; its name needs quotes where the plain one would not be read.
            name, _bracket, arguments = self.name.partition("(")
            return sql.SQL("{}({}").format(sql.Identifier(self.schema, name), sql.SQL(arguments))
        return sql.Identifier(self.schema, self.name) if self.schema else sql.Identifier(self.name)


def plan(place: str, connection: Any, declared: Declared, preflight: Preflight, patient: bool) -> Iterator[Step]:
    """Default privileges, then privileges. `connection` is None for a database that is yet to be made.

    Where `patient`, an object that is not there is taken for one that this run makes.
    """
    for entry in declared.defaults:
        yield from _default(place, connection, entry)
    for entry in declared.grants:
        yield from _grant(place, connection, entry, preflight, patient)


def _verb(entry: Entry) -> tuple[bool, Any, Any]:
    giving = entry["state"] == "present"
    return giving, sql.SQL("GRANT" if giving else "REVOKE"), sql.SQL("TO" if giving else "FROM")


def _role(entry: Entry) -> str | None:
    """The role's name as a parameter: None is everybody."""
    return None if entry["role"].upper() == PUBLIC else str(entry["role"])


def _amiss(entry: Entry, held: frozenset[str] | set[str]) -> list[str]:
    """The privileges that have to be given or taken."""
    wanted = privileges_of(entry)
    return [word for word in wanted if (word in held) is not (entry["state"] == "present")]


def _grant(place: str, connection: Any, entry: Entry, preflight: Preflight, patient: bool) -> Iterator[Step]:
    kind, names = entry["type"], entry["objects"]
    found = _found(connection, entry) if connection else _new(place, entry)
    missing = [] if kind == "database" else _missing(names, found, kind)
    which = f"{place}: {entry['role']}"
    if missing and not patient:
        inside = "" if kind == "schema" else f" in the schema {entry['schema']}"
        preflight.refuse(
            f"{which}: there is no {kind} {', '.join(missing)}{inside}",
            "make it first; default_privileges reach what is made later",
        )
        return
    found += [_Object("" if kind == "schema" else entry["schema"], name, frozenset()) for name in missing]
    stale = [(one, _amiss(entry, one.held)) for one in found]
    stale = [(one, amiss) for one, amiss in stale if amiss]
    if not stale:
        return
    giving, verb, way = _verb(entry)
    amiss = [word for word in privileges_of(entry) if any(word in words for _one, words in stale)]
    every = not names and kind not in {"schema", "database"}
    objects: Any = sql.SQL(", ").join([one.composed(kind) for one, _words in stale])
    target = sql.SQL("ALL {}S IN SCHEMA ") if every else sql.SQL("{} ")
    word = "ROUTINE" if kind == "function" else kind.upper()
    lines = "\n".join(f"{which}: {', '.join(words)} on {kind} {one}" for one, words in stale)
    yield step(
        f"{which}: {kind}", "" if giving else lines, lines if giving else "",
        "{} {} ON {}{} {} {}", verb, sql.SQL(", ".join(amiss)), target.format(sql.SQL(word)),
        sql.Identifier(entry["schema"]) if every else objects, way, grantee(entry["role"]),
    )  # fmt: skip


def _found(connection: Any, entry: Entry) -> list[_Object]:
    held = _HELD.format(acl=_ACL[entry["type"]], role=_ROLE)
    given = {"schema": entry["schema"], "names": entry["objects"] or None, "role": _role(entry)}
    rows = connection.execute(_OBJECTS[entry["type"]].format(held=held), given).fetchall()
    return [_Object(schema, name, frozenset(words)) for schema, name, words in rows]


def _new(place: str, entry: Entry) -> list[_Object]:
    """What a database that is yet to be made will hold for sure: itself."""
    if entry["type"] != "database":
        return []
    everybody = frozenset({"CONNECT", "TEMPORARY"}) if _role(entry) is None else frozenset()
    return [_Object("", place, everybody)]


def _missing(names: list[str], found: list[_Object], kind: str) -> list[str]:
    if kind == "function":
        return [] if len(found) >= len(set(names)) else [name for name in names if not _has(found, name)]
    there = {one.name for one in found}
    return [name for name in names if name not in there]


def _has(found: list[_Object], signature: str) -> bool:
    """Whether a function was found; types have several spellings, so only the name and the number of arguments tell."""

    def shape(text: str) -> tuple[str, int]:
        name, _bracket, arguments = text.partition("(")
        return name.strip(), len([word for word in arguments.rstrip(")").split(",") if word.strip()])

    return any(shape(one.name) == shape(signature) for one in found)


def _default(place: str, connection: Any, entry: Entry) -> Iterator[Step]:
    letter, kind, everybody = _DEFAULTS[entry["type"]]
    held = set(everybody) if _role(entry) is None and not entry["schema"] else set()
    if connection:
        given = {"letter": letter, "kind": kind, **{key: entry[key] for key in ("schema", "owner")}}
        row = connection.execute(_DEFAULT_HELD.format(role=_ROLE), {**given, "role": _role(entry)}).fetchone()
        held = set(row[0]) if row else held
    amiss = _amiss(entry, held)
    if not amiss:
        return
    giving, verb, way = _verb(entry)
    inside = sql.SQL(" IN SCHEMA {}").format(sql.Identifier(entry["schema"])) if entry["schema"] else sql.SQL("")
    where = f" in {entry['schema']}" if entry["schema"] else ""
    line = f"{place}: {entry['role']}: {', '.join(amiss)} on every new {entry['type']} of {entry['owner']}{where}"
    yield step(
        f"{place}: default privileges of {entry['owner']}", "" if giving else line, line if giving else "",
        "ALTER DEFAULT PRIVILEGES FOR ROLE {}{} {} {} ON {}S {} {}",
        sql.Identifier(entry["owner"]), inside, verb, sql.SQL(", ".join(amiss)), sql.SQL(entry["type"].upper()), way,
        grantee(entry["role"]),
    )  # fmt: skip
