# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which part of a logical dump is meant: a table with its partitions, a schema, or all of a database."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Params
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.dump_store import Dump
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server


@dataclass
class Part:
    """What is taken out: tables by their names in the dump, and every object with them."""

    entry: dict[str, Any]
    tables: dict[str, dict[str, Any]]
    objects: list[dict[str, Any]]
    policies: list[str] = field(default_factory=list)

    @property
    def oids(self) -> set[int]:
        """The tables' oids, by which a dump's table of contents names them."""
        return {table["oid"] for table in self.tables.values()}

    @property
    def rows(self) -> dict[str, int]:
        """The rows of every table that has its own."""
        return {name: table["rows"] for name, table in self.tables.items() if table["rows"] is not None}

    def sequences(self) -> dict[str, dict[str, Any]]:
        """The sequences that belong to it."""
        names = {one["identity"] for one in self.objects if one["kind"] == "sequence"}
        return {name: one for name, one in self.entry["sequences"].items() if name in names}


def part_of(server: Server, dump: Dump, params: Params) -> Part:
    """What is asked for. Raises OpsError where it is not in the dump."""
    entry = dump.manifest["databases"][params["database"]]
    tables, objects = entry["tables"], list(entry["objects"].values())
    if params["table"]:
        with server.connect() as connection:
            parts = connection.execute("SELECT parse_ident(%s)", (params["table"],)).fetchone()[0]
        schema, name = (["public", *parts] if len(parts) == 1 else parts)[-2:]
        first = next((one for one in tables.values() if (one["schema"], one["name"]) == (schema, name)), None)
        if first is None:
            raise OpsError(
                f"refused: table {params['table']} of database {params['database']} is not in dump {dump.label}"
            )
        tables = _tree(tables, first["oid"])
        names = {one["oid"] for one in tables.values()}
        owned = {label for label, one in entry["sequences"].items() if one["owner"] in names}
        objects = [one for one in objects if _of_tables(one, set(tables), owned)]
    elif params["schema"]:
        schema = params["schema"]
        own = [one for one in objects if one["kind"] == "schema" and one["identity"] == _as_quoted(schema, one)]
        if not own:
            raise OpsError(f"refused: schema {schema} is not in database {params['database']} of dump {dump.label}")
        tables = {label: one for label, one in tables.items() if one["schema"] == schema}
        objects = [*own, *(one for one in objects if one["schema"] == schema)]
    part = Part(entry, tables, objects)
    part.policies = sorted({role for oid, role in entry["policies"] if oid in part.oids and role})
    return part


def _as_quoted(schema: str, one: dict[str, Any]) -> str:
    """A schema's name, quoted where the engine has quoted the other one."""
    return '"' + schema.replace('"', '""') + '"' if one["identity"].startswith('"') else schema


def _tree(tables: dict[str, dict[str, Any]], oid: int) -> dict[str, dict[str, Any]]:
    """A table and its partitions, however deep."""
    oids, size = {oid}, 0
    while len(oids) > size:
        size = len(oids)
        oids |= {one["oid"] for one in tables.values() if one["parent"] in oids}
    return {label: one for label, one in tables.items() if one["oid"] in oids}


def _of_tables(one: dict[str, Any], labels: set[str], owned: set[str]) -> bool:
    if one["kind"] == "sequence":
        return one["identity"] in owned
    if one["kind"] == "table column":
        return any(one["identity"].startswith(f"{label}.") for label in labels)
    return one["kind"] == "table" and one["identity"] in labels
