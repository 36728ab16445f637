# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A table, a schema or a database out of a logical dump, straight into the primary, beside what is there.

A dump can't be told another schema. So a table or a schema is first laid down in a database of its own, with the types
and functions it needs, moved there, and taken from there as out of a copy.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import (
    dump_rows,
    dump_store,
    extract_file,
    extract_privileges,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.dump_programs import contents, major_of, restore
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.dump_store import Dump
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.extract_file import identifier
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.extract_part import Part, part_of
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server

try:
    from psycopg import sql
except ImportError:
    sql = None

_STAGE = "boringdb_extracting"
_ENTRY = re.compile(r"^\d+; \d+ (\d+) ((?:[A-Z]+ )+)")
#: They name roles, or the world outside; without privileges nobody else may read, so no policy is missed.
_OF_ROLES = re.compile(r"^\d+; \d+ \d+ (USER MAPPING|POLICY|ROW SECURITY|DEFAULT ACL) ")
_PLAIN = ("--no-owner", "--no-privileges", "--no-tablespaces", "--no-security-labels", "--no-publications",
          "--no-subscriptions")  # fmt: skip
_BUILT = {"INDEX", "CONSTRAINT", "INDEX ATTACH"}
_PROVIDERS = {"i": "icu", "b": "builtin"}
#: From these versions on a database has a provider of its locale, and that one's locale has one name for all.
_PROVIDER, _LOCALE = 15, 17


def load_from_dump(server: Server, params: Params, check_mode: bool) -> Outcome:
    """Load it, as `table`, `schema` or neither asks."""
    dump = dump_store.find(Path(params["dump_path"]), params["dump_label"])
    folder = dump.folder(params["database"])
    part = part_of(server, dump, params)
    target = params["database"] if params["table"] or params["schema"] else params["as_database"]
    roles = _preflight(server, dump, part, target, params)
    facts = {"database": target, "label": dump.label, "tables": part.rows, "rows": sum(part.rows.values()),
             "roles": roles}  # fmt: skip
    after = "".join([*(f"role: {role}\n" for role in roles), f"loaded: {target}\n"])
    if check_mode:
        return Outcome(True, facts, "", after)
    with host_lock(str(server.data_dir), "extract", params["lock_timeout"]):
        if roles:
            with server.connect() as connection:
                extract_privileges.create(connection, roles)
        if params["table"] or params["schema"]:
            facts["tables"] = _Staged(server, dump, folder, part, params).load(target)
        else:
            _load_database(server, dump, folder, part, target, params)
    return Outcome(True, facts, "", after)


def _preflight(server: Server, dump: Dump, part: Part, target: str, params: Params) -> list[str]:
    """Refuse with every reason; returns the roles that will be created."""
    preflight, whole = Preflight(), not (params["table"] or params["schema"])
    preflight.require(bool(target), "as_database is missing", "a database is not loaded over the one that is there")
    preflight.require(whole or bool(params["as_schema"]), "as_schema is missing", "say which schema it is loaded into")
    if not preflight.require(server.running(), f"no server runs on {server.data_dir}", "start it first"):
        preflight.done()
    preflight.done()
    damage = dump.damage(str(part.entry["directory"]))
    preflight.require(not damage, f"dump {dump.label} is damaged: {'; '.join(damage[:3])}", "take another one")
    roles: list[str] = []
    with server.connect() as connection:
        standby = connection.execute("SELECT pg_is_in_recovery()").fetchone()[0]
        preflight.require(not standby, "this server is a replica", "load it on the primary")
        if params["privileges"]:
            wanted = extract_privileges.needed(part.objects, part.policies)
            roles = extract_privileges.missing(connection, wanted)
    preflight.require(
        params["roles"] or not roles,
        f"the roles {', '.join(roles)} are not there",
        "create them, have them made without a login by extract_roles=true, or leave extract_privileges out",
    )
    has, wanted_major = major_of(server, "pg_restore"), dump.manifest["major"]
    preflight.require(
        min(has, server.major) >= wanted_major,
        f"the dump is of version {wanted_major}, the server of {server.major}, pg_restore of {has}",
        "load it into a server that is as new",
    )
    there = extract_file.there_is(server, target)
    if whole:
        preflight.require(not there, f"database {target} is there already", "choose another as_database")
    elif preflight.require(there, f"there is no database {target}", "correct its name"):
        _is_free(server, part, target, params, preflight)
    preflight.done()
    return roles


def _is_free(server: Server, part: Part, target: str, params: Params, preflight: Preflight) -> None:
    """Note what is there already, of the tables or the schema."""
    schema = params["as_schema"]
    if params["schema"]:
        with server.connect(target) as connection:
            there = connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (schema,)).fetchone()
        preflight.require(not there, f"schema {schema} is there already", "choose another as_schema")
        return
    names = [f"{identifier(schema)}.{identifier(one['name'])}" for one in part.tables.values()]
    taken = extract_file.taken(server, target, names)
    preflight.require(not taken, f"{', '.join(taken)} is there already", "choose another as_schema")


def create_like(connection: Any, name: str, entry: dict[str, Any], major: int) -> None:
    """A new, empty database with the encoding and the locale of the one that was dumped."""
    said = entry["properties"]
    words = [sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name))]
    for word, value in (("ENCODING", said["encoding"]), ("LC_COLLATE", said["collate"]), ("LC_CTYPE", said["ctype"])):
        words.append(sql.SQL(f"{word} {{}}").format(sql.Literal(value)))
    provider = _PROVIDERS.get(said["provider"] or "c")
    if provider and major >= _PROVIDER:
        locale = "LOCALE" if major >= _LOCALE else "ICU_LOCALE"
        words.append(sql.SQL(f"LOCALE_PROVIDER {provider} {locale} {{}}").format(sql.Literal(said["locale"])))
    if provider == "icu" and said["icu_rules"]:
        words.append(sql.SQL("ICU_RULES {}").format(sql.Literal(said["icu_rules"])))
    connection.execute(sql.SQL(" ").join(words))


def _without_roles(server: Server, folder: Path) -> list[str]:
    return [line for line in contents(server, folder) if not _OF_ROLES.match(line)]


def _load_database(  # noqa: PLR0917 - one caller
    server: Server, dump: Dump, folder: Path, part: Part, target: str, params: Params
) -> None:
    """Under a name of its own until it is whole, as out of a copy; the database's own settings stay behind."""
    loading = extract_file.loading_name(target)
    with server.connect() as connection:
        extract_file.make_unfinished(
            connection, loading, lambda: create_like(connection, loading, part.entry, server.major)
        )
        more = ["-j", str(params["jobs"])]
        if params["privileges"]:
            restore(server, loading, folder, *more)
        else:
            lines = "\n".join([*_without_roles(server, folder), ""])
            restore(server, loading, folder, *more, "--no-owner", "--no-privileges", "-L", "/dev/stdin", stdin=lines)
        _compare(server, dump, loading, part.tables)
        extract_file.finish(connection, loading, target)
        if params["privileges"]:
            owner = (sql.Identifier(target), sql.Identifier(part.entry["owner"]))
            if not extract_privileges.missing(connection, [part.entry["owner"]]):
                connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(*owner))


def _compare(server: Server, dump: Dump, database: str, tables: dict[str, dict[str, Any]]) -> None:
    alike = server.major == dump.manifest["major"]
    with server.connect(database, options=dump_rows.scan_options()) as connection:
        found = dump_rows.compare(connection, database, tables, server.major, alike)
    wrong = [*found.numbers, *found.values]
    if wrong:
        raise OpsError(f"what was loaded is not what the dump holds: {'; '.join(wrong[:5])}")


class _Staged:
    """A part that is laid down in a database of its own, moved, and taken from there."""

    def __init__(self, server: Server, dump: Dump, folder: Path, part: Part, params: Params) -> None:
        self.server, self.dump, self.folder, self.part, self.params = server, dump, folder, part, params

    def load(self, target: str) -> dict[str, int]:
        """Returns the rows of every table that was loaded, by its new name."""
        file = self.server.data_dir.with_name(f"{self.server.data_dir.name}.extract.part")
        with self._stage():
            self._lay_down()
            _compare(self.server, self.dump, _STAGE, self.part.tables)
            if self.params["privileges"]:
                owned = {name for name, one in self.part.sequences().items() if one["owner"]}
                with self.server.connect(_STAGE) as connection:
                    extract_privileges.give(connection, self.part.objects, owned)
            found, words = self._moved()
            rows = extract_file.counted(self.server, _STAGE, [name for name, holds in found.items() if holds])
            file.unlink(missing_ok=True)
            try:
                extract_file.write_proven(self.server, _STAGE, words, rows, file)
                extract_file.load_part(self.server, self.params, file, target, self.params["privileges"])
            finally:
                file.unlink(missing_ok=True)
        wrong = extract_file.differing(rows, extract_file.counted(self.server, target, list(rows)))
        if wrong:
            raise OpsError(f"what was loaded is not what the dump holds: {'; '.join(wrong[:5])}")
        return rows

    @contextlib.contextmanager
    def _stage(self) -> Iterator[None]:
        """A database of the dump's kind, which nothing is left of; what a killed run left is removed first."""
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(_STAGE))
        with self.server.connect() as connection:
            major, entry = self.server.major, self.part.entry
            extract_file.make_unfinished(connection, _STAGE, lambda: create_like(connection, _STAGE, entry, major))
        try:
            yield
        finally:
            with self.server.connect() as connection:
                connection.execute(drop)

    def _lay_down(self) -> None:
        """All definitions, for the part may need any of them; the part's own rows; then what is built on rows."""
        kept = _without_roles(self.server, self.folder)
        self._restore(kept, "--section=pre-data")
        # The entry that sets a sequence has no oid.
        numbers = [f" SEQUENCE SET {one['schema']} {one['name']} " for one in self.part.sequences().values()]
        rows = [
            line for line in kept
            if (_said(line)[1] == "TABLE DATA" and _said(line)[0] in self.part.oids)
            or (_said(line)[1] == "SEQUENCE SET" and any(number in line for number in numbers))
        ]  # fmt: skip
        self._restore(rows, "--section=data", "-j", str(self.params["jobs"]))
        keys = {key for key, table, other in self.part.entry["foreign_keys"] if {table, other} <= self.part.oids}
        kinds = _BUILT | ({"TRIGGER", "RULE"} if self.params["schema"] else set())
        later = []
        for line in contents(self.server, self.folder):
            oid, kind = _said(line)
            policy = kind in ("POLICY", "ROW SECURITY") and self.params["privileges"] and self._names_own(line)
            if kind in kinds or policy or (kind == "FK CONSTRAINT" and oid in keys):
                later.append(line)
        self._restore(later, "--section=post-data")

    def _names_own(self, line: str) -> bool:
        """Policies of other tables may name roles that are not there, and need not be."""
        return any(f" {one['schema']} {one['name']} " in line for one in self.part.tables.values())

    def _restore(self, lines: list[str], *more: str) -> None:
        if lines:
            text = "\n".join([*lines, ""])
            restore(self.server, _STAGE, self.folder, *_PLAIN, *more, "-L", "/dev/stdin", stdin=text)

    def _moved(self) -> tuple[dict[str, bool], list[str]]:
        """Put it into its new schema; returns its tables there, and pg_dump's words for the part."""
        new, schema = self.params["as_schema"], self.params["schema"]
        with self.server.connect(_STAGE) as connection:
            own = schema or next(iter(self.part.tables.values()))["schema"]
            there = connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (new,)).fetchone()
            if there and own != new:
                # Another one of that name, which is not wanted, and may hold a table of the same name.
                aside = (sql.Identifier(new), sql.Identifier("boringdb_aside"))
                connection.execute(sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(*aside))
            if schema:
                names = (sql.Identifier(schema), sql.Identifier(new))
                if schema != new:
                    connection.execute(sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(*names))
                return extract_file.tables(self.server, _STAGE, None, new), ["-n", identifier(new)]
        table = next(label for label, one in self.part.tables.items() if one["parent"] not in self.part.oids)
        moved = table if own == new else extract_file.move(self.server, _STAGE, table, new)
        found = extract_file.tables(self.server, _STAGE, moved)
        return found, [word for name in sorted(found) for word in ("-t", name)]


def _said(line: str) -> tuple[int, str]:
    """The oid and the kind of an entry of a table of contents."""
    found = _ENTRY.match(line)
    if not found:
        return 0, ""
    words = found.group(2).strip()
    # The schema, "-" or a name in capitals, may follow a kind of one word.
    kinds = ("TABLE DATA", "SEQUENCE SET", "FK CONSTRAINT", "INDEX ATTACH", "ROW SECURITY", "INDEX", "CONSTRAINT",
             "TRIGGER", "RULE", "POLICY")  # fmt: skip
    return int(found.group(1)), next((kind for kind in kinds if f"{words} ".startswith(f"{kind} ")), words)
