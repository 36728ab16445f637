# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Databases, their schemas and extensions. None is ever dropped, and nothing of them that holds data is altered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.access_plan import Declared, Entry, Step, step

try:
    from psycopg import sql
except ImportError:
    sql = None


@dataclass
class Content:
    """What one database holds of schemas and extensions; nothing where it is yet to be made."""

    schemas: dict[str, str] = field(default_factory=dict)
    """Each with its owner."""
    extensions: dict[str, tuple[str, str, bool]] = field(default_factory=dict)
    """Each with its version, its schema, and whether it can be moved."""


def databases(connection: Any) -> dict[str, dict[str, str]]:
    """Every database with its owner, encoding and locale."""
    query = """SELECT datname, pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, datctype
               FROM pg_database WHERE datallowconn"""
    rows = connection.execute(query).fetchall()
    return {name: {"owner": owner, "encoding": encoding, "locale": collate, "ctype": ctype}
            for name, owner, encoding, collate, ctype in rows}  # fmt: skip


def available(connection: Any) -> dict[str, set[str]]:
    """Every extension that is installed on the host, with its versions."""
    rows = connection.execute("SELECT name, array_agg(version) FROM pg_available_extension_versions GROUP BY name")
    return {name: set(versions) for name, versions in rows.fetchall()}


def judge(
    there: dict[str, dict[str, str]], extensions: dict[str, set[str]], declared: Declared, preflight: Preflight
) -> None:
    """Note what can't become as it is declared."""
    for wanted in declared.databases:
        current = there.get(wanted["name"], {})
        for what in ("encoding", "locale"):
            differs = bool(current) and wanted[what] and _plain(current[what]) != _plain(wanted[what])
            preflight.require(
                not differs,
                f"database {wanted['name']} has the {what} {current.get(what)}, not {wanted[what]}",
                "make another database and copy the data there",
            )
        template = wanted["template"]
        preflight.require(
            bool(current) or not template or template in {"template0", *there},
            f"database {wanted['name']}: there is no template {template}",
            "leave it out, or make it",
        )
    own = {database["name"] for database in declared.databases}
    for place in declared.places():
        preflight.require(
            place in there or place in own, f"there is no database {place}", "declare it in databases"
        )
    for wanted in declared.extensions:
        name, version = wanted["name"], wanted["version"]
        if preflight.require(
            name in extensions, f"extension {name} is not installed on this host", "install its package"
        ):
            preflight.require(
                not version or version in extensions[name],
                f"extension {name} has no version {version} here ({', '.join(sorted(extensions[name]))})",
                "choose one of these, or install another package",
            )


def _plain(name: str) -> str:
    """An encoding's or a locale's name as every spelling of it: `C.UTF-8` is `C.utf8`."""
    return name.lower().replace("-", "").replace("_", "")


def plan_databases(there: dict[str, dict[str, str]], declared: list[Entry]) -> Iterator[Step]:
    """Make what is missing and give owners. A new database is not made within a transaction."""
    for wanted in declared:
        thing, name = f"database {wanted['name']}", sql.Identifier(wanted["name"])
        current = there.get(wanted["name"])
        if current is None:
            yield _creation(thing, name, wanted)
        elif wanted["owner"] and wanted["owner"] != current["owner"]:
            yield step(
                thing, f"{thing}: owner {current['owner']}", f"{thing}: owner {wanted['owner']}",
                "ALTER DATABASE {} OWNER TO {}", name, sql.Identifier(wanted["owner"]),
            )  # fmt: skip


def _creation(thing: str, name: Any, wanted: Entry) -> Step:
    # Only template0 is of no encoding and no locale that could differ from what is wanted.
    template = wanted["template"] or ("template0" if wanted["encoding"] or wanted["locale"] else None)
    parts, told = [], []
    for word, value, kind in (
        ("owner", wanted["owner"], sql.Identifier), ("template", template, sql.Identifier),
        ("encoding", wanted["encoding"], sql.Literal), ("locale", wanted["locale"], sql.Literal),
    ):  # fmt: skip
        if value:
            parts.append(sql.SQL(" {} {}").format(sql.SQL(word.upper()), kind(value)))
            told.append(f"{word} {value}")
    return step(
        thing, "", f"{thing}: {', '.join(told) or 'as the engine makes it'}",
        "CREATE DATABASE {}{}", name, sql.SQL("").join(parts),
    )  # fmt: skip


def content(connection: Any) -> Content:
    """What a database holds."""
    schemas = connection.execute("SELECT nspname, pg_get_userbyid(nspowner) FROM pg_namespace").fetchall()
    rows = connection.execute(
        """SELECT extname, extversion, nspname, extrelocatable FROM pg_extension
           JOIN pg_namespace n ON n.oid = extnamespace"""
    ).fetchall()
    return Content(dict(schemas), {name: (version, schema, moves) for name, version, schema, moves in rows})


def judge_content(place: str, there: Content, declared: Declared, preflight: Preflight) -> None:
    """Note what can't be inside of one database."""
    known = {*there.schemas, *(schema["name"] for schema in declared.schemas)}
    for entry in [*declared.defaults, *declared.grants]:
        preflight.require(
            not entry["schema"] or entry["schema"] in known,
            f"{place}: privileges of {entry['role']}: there is no schema {entry['schema']}",
            "declare it in schemas",
        )
    for wanted in declared.extensions:
        which = f"{place}: extension {wanted['name']}"
        preflight.require(
            not wanted["schema"] or wanted["schema"] in known,
            f"{which}: there is no schema {wanted['schema']}",
            "declare it in schemas",
        )
        current = there.extensions.get(wanted["name"])
        preflight.require(
            not current or not wanted["schema"] or current[1] == wanted["schema"] or current[2],
            f"{which} lies in {current[1] if current else ''} and can't be moved",
            "leave the schema out, or drop it yourself and let it be made anew",
        )


def plan_content(place: str, there: Content, declared: Declared) -> Iterator[Step]:
    """Schemas first: extensions may lie in them."""
    for wanted in declared.schemas:
        name, owner = wanted["name"], wanted["owner"]
        thing, current = f"{place}: schema {name}", there.schemas.get(name)
        authorised = sql.SQL(" AUTHORIZATION {}").format(sql.Identifier(owner)) if owner else sql.SQL("")
        after = f"{thing}: owner {owner}" if owner else thing
        if current is None:
            yield step(thing, "", after, "CREATE SCHEMA {}{}", sql.Identifier(name), authorised)
        elif owner and owner != current:
            yield step(
                thing, f"{thing}: owner {current}", after,
                "ALTER SCHEMA {} OWNER TO {}", sql.Identifier(name), sql.Identifier(owner),
            )  # fmt: skip
    for wanted in declared.extensions:
        yield from _extension(f"{place}: extension {wanted['name']}", there.extensions.get(wanted["name"]), wanted)


def _extension(thing: str, current: tuple[str, str, bool] | None, wanted: Entry) -> Iterator[Step]:
    name, version, schema = sql.Identifier(wanted["name"]), wanted["version"], wanted["schema"]
    if current is None:
        inside = sql.SQL(" SCHEMA {}").format(sql.Identifier(schema)) if schema else sql.SQL("")
        of = sql.SQL(" VERSION {}").format(sql.Literal(version)) if version else sql.SQL("")
        after = " ".join([thing, *([version] if version else []), *([f"in {schema}"] if schema else [])])
        yield step(thing, "", after, "CREATE EXTENSION {}{}{}", name, inside, of)
        return
    if version and version != current[0]:
        yield step(
            thing, f"{thing} {current[0]}", f"{thing} {version}",
            "ALTER EXTENSION {} UPDATE TO {}", name, sql.Literal(version),
        )  # fmt: skip
    if schema and schema != current[1]:
        yield step(
            thing, f"{thing} in {current[1]}", f"{thing} in {schema}",
            "ALTER EXTENSION {} SET SCHEMA {}", name, sql.Identifier(schema),
        )  # fmt: skip
