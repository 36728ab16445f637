# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `access` was told: its options, checked before any server is asked, and the steps that it plans."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import scram
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import one_line

try:
    import psycopg
    from psycopg import sql
except ImportError:
    psycopg = sql = None

Entry = dict[str, Any]
#: What may be granted on what. MAINTAIN came with PostgreSQL 17 and is not part of ALL here.
PRIVILEGES = {
    "table": ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"),
    "sequence": ("USAGE", "SELECT", "UPDATE"),
    "function": ("EXECUTE",),
    "schema": ("CREATE", "USAGE"),
    "database": ("CREATE", "CONNECT", "TEMPORARY"),
    "type": ("USAGE",),
}
_SINCE_17 = {"table": ("MAINTAIN",)}
_UNFIT = re.compile(r"[\x00-\x1f\x7f]")
PUBLIC = "PUBLIC"


@dataclass(frozen=True)
class Step:
    """One statement. `before` and `after` are its lines of the diff; a password is hashed just before it is sent."""

    thing: str
    before: str
    after: str
    statement: Any
    shown: str
    password: str | None = field(default=None, repr=False)

    def run(self, connection: Any) -> None:
        """Send it. Raises OpsError with the thing and the engine's answer."""
        statement = self.statement
        if self.password is not None:
            name = self.thing.partition(" ")[2]
            verifier = sql.Literal(scram.verifier(connection, name, self.password))
            statement = sql.SQL("{} {}").format(statement, verifier)
        try:
            connection.execute(statement)
        except psycopg.Error as exc:
            raise OpsError(f"{self.thing}: {one_line(exc)}") from exc


def step(thing: str, before: str, after: str, text: str, *parts: Any) -> Step:
    """A step whose statement is `text` with identifiers (and what else is composed) in its places."""
    statement = sql.SQL(text).format(*parts)
    return Step(thing, before, after, statement, shown(statement))


def shown(statement: Any) -> str:
    """A statement for a person. psycopg before 3.2 composes nothing without a connection: a dry run may have none."""
    parts = statement._obj
    if isinstance(statement, sql.Composed):
        return "".join(shown(part) for part in parts)
    if isinstance(statement, sql.Identifier):
        return ".".join('"' + part.replace('"', '""') + '"' for part in parts)
    if isinstance(statement, sql.Literal):
        return "'" + parts.replace("'", "''") + "'" if isinstance(parts, str) else str(parts)
    return str(parts)


def names(words: Iterable[str]) -> Any:
    """Identifiers with commas between them."""
    return sql.SQL(", ").join(sql.Identifier(word) for word in words)


def grantee(name: str) -> Any:
    """A role, or everybody."""
    return sql.SQL(PUBLIC) if name.upper() == PUBLIC else sql.Identifier(name)


def privileges_of(entry: Entry) -> list[str]:
    """The privileges of a grant, spelled as the engine tells them, in its order."""
    given = {{"TEMP": "TEMPORARY"}.get(word.upper(), word.upper()) for word in entry["privileges"]}
    known = (*PRIVILEGES[entry["type"]], *_SINCE_17.get(entry["type"], ()))
    return list(PRIVILEGES[entry["type"]]) if "ALL" in given else [word for word in known if word in given]


@dataclass(frozen=True)
class Declared:
    """Everything that was declared, the ready-made accounts spelled out."""

    roles: list[Entry]
    gone: list[Entry]
    databases: list[Entry]
    schemas: list[Entry]
    extensions: list[Entry]
    defaults: list[Entry]
    grants: list[Entry]
    main: str

    def inside(self, database: str) -> Declared:
        """What is declared inside of one database."""

        def here(entries: list[Entry]) -> list[Entry]:
            return [entry for entry in entries if (entry["database"] or self.main) == database]

        return Declared(
            [], [], [], here(self.schemas), here(self.extensions), here(self.defaults), here(self.grants), self.main
        )

    def places(self) -> list[str]:
        """The databases in which something is declared, in the order of their names."""
        inside = [*self.schemas, *self.extensions, *self.defaults, *self.grants]
        return sorted({entry["database"] or self.main for entry in inside})

    def mentioned(self) -> dict[str, str]:
        """Every role that something is declared of, and where; but those that are themselves declared."""
        found: dict[str, str] = {}
        for role in self.roles:
            found.update({group: f"role {role['name']}: member_of" for group in role["member_of"]})
        for kind, entries in (("database", self.databases), ("schema", self.schemas)):
            found.update({entry["owner"]: f"{kind} {entry['name']}: owner" for entry in entries if entry["owner"]})
        found.update({entry["owner"]: "default privileges: owner" for entry in self.defaults})
        found.update({entry["role"]: "privileges: role" for entry in [*self.defaults, *self.grants]})
        own = {role["name"] for role in self.roles}
        return {name: place for name, place in found.items() if name not in own and name.upper() != PUBLIC}


def fit(declared: Declared, preflight: Preflight) -> None:
    """Note what can't be, whatever the server holds."""
    for kind, entries in (
        ("role", [*declared.roles, *declared.gone]),
        ("database", declared.databases),
        ("schema", declared.schemas),
        ("extension", declared.extensions),
    ):
        seen: set[tuple[str, str]] = set()
        for entry in entries:
            _name_fits(kind, entry["name"], preflight)
            key = (entry["name"], entry.get("database") or "")
            preflight.require(key not in seen, f"{kind} {entry['name']} is declared twice", "declare it once")
            seen.add(key)
    gone = {role["name"] for role in declared.gone}
    for name, place in declared.mentioned().items():
        _name_fits(place, name, preflight)
        preflight.require(name not in gone, f"{place} {name}: this role is declared absent", "choose")
    for role in declared.roles:
        _role_fits(role, preflight)
    for entry in [*declared.defaults, *declared.grants]:
        _privileges_fit(entry, preflight)
    for entry in declared.grants:
        _grant_fits(entry, preflight)
    for entry in declared.defaults:
        inside = entry["type"] == "schema" and entry["schema"]
        preflight.require(not inside, "default privileges on schemas: schema means nothing", "leave it out")


def _name_fits(place: str, name: str, preflight: Preflight) -> None:
    good = bool(name) and len(name.encode()) <= 63 and not _UNFIT.search(name)
    preflight.require(good, f"{place} {name!r} is no name", "give 1 to 63 bytes without control characters")


def _role_fits(role: Entry, preflight: Preflight) -> None:
    which = f"role {role['name']}"
    reserved = role["name"].startswith("pg_") or role["name"].upper() in {PUBLIC, "NONE"}
    preflight.require(not reserved, f"{which}: the name is the engine's own", "choose another")
    preflight.require(role["connection_limit"] >= -1, f"{which}: connection_limit is below -1", "-1 is no limit")
    preflight.require(role["name"] not in role["member_of"], f"{which}: a member of itself", "take it out of member_of")
    password = role["password"]
    preflight.require(password != "", f"{which}: the password is empty", "leave it out, or give one")
    preflight.require("\0" not in (password or ""), f"{which}: the password holds a zero byte", "choose another")
    for name, value in role["settings"].items():
        fits = value is not None and not isinstance(value, dict) and re.match(r"^[A-Za-z_][\w.]*\Z", name)
        preflight.require(bool(fits), f"{which}: setting {name!r} is none", "give a setting's name and its value")


def _privileges_fit(entry: Entry, preflight: Preflight) -> None:
    which = f"privileges of {entry['role']} on {entry['type']}"
    known = {*PRIVILEGES[entry["type"]], *_SINCE_17.get(entry["type"], ()), "ALL", "TEMP"}
    wrong = [word for word in entry["privileges"] if word.upper() not in known]
    preflight.require(bool(entry["privileges"]), f"{which}: none is named", "name them, or ALL")
    preflight.require(not wrong, f"{which}: there is no {', '.join(wrong)}", f"choose of {', '.join(sorted(known))}")


def _grant_fits(entry: Entry, preflight: Preflight) -> None:
    which = f"privileges of {entry['role']} on {entry['type']}"
    if entry["type"] == "database":
        preflight.require(not entry["objects"] and not entry["schema"], f"{which}: objects and schema mean nothing",
                          "name the database with database")  # fmt: skip
    elif entry["type"] == "schema":
        preflight.require(bool(entry["objects"]), f"{which}: no schema is named", "name it in objects")
    else:
        preflight.require(bool(entry["schema"]), f"{which}: no schema", "name the schema; all objects in it are meant "
                          "where objects is left out")  # fmt: skip
