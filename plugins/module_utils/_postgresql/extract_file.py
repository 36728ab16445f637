# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A part of a database in one file: written and read back to its end, and loaded beside what is there."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Params
from ansible_collections.boringdb.ops.plugins.module_utils._core.process import run
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.dump_programs import (
    LOADING,
    conninfo,
    restore,
    rows_in,
    words,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server

try:
    from psycopg import sql
except ImportError:
    sql = None

_TABLES = """
SELECT format('%%I.%%I', n.nspname, c.relname), c.relkind = 'r'
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND n.nspname !~ '^pg_toast|^pg_temp'
  AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
  AND (%(table)s::regclass IS NULL OR c.oid = %(table)s::regclass
       OR c.oid IN (SELECT relid FROM pg_partition_tree(%(table)s::regclass)))
  AND (%(schema)s::text IS NULL OR n.nspname = %(schema)s)
ORDER BY 1
"""
#: What of a single table would reach for things that lie elsewhere.
_FOREIGN = re.compile(r"^\d+; \d+ \d+ (FK CONSTRAINT|TRIGGER|PUBLICATION TABLE) ")
#: PostgreSQL cuts longer names.
_NAME_BYTES = 63
#: What a database of ours says of itself until it is whole: only those are removed.
_UNFINISHED = "boringdb.ops.extract has not finished this database; the next extraction removes it"


def tables(server: Server, database: str, table: str | None, schema: str | None = None) -> dict[str, bool]:
    """The tables of a database, of a schema, or one with its partitions, and whether each holds rows of its own."""
    with server.connect(database) as connection:
        return dict(connection.execute(_TABLES, {"table": table, "schema": schema}).fetchall())


def counted(server: Server, database: str, names: list[str]) -> dict[str, int]:
    """The rows of each table, whose names are quoted as the engine wrote them."""
    with server.connect(database) as connection:
        return {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names}  # noqa: S608


def differing(wanted: dict[str, int], found: dict[str, int]) -> list[str]:
    """What is unlike, one line a table."""
    unlike = {name: rows for name, rows in wanted.items() if found.get(name) != rows}
    return [f"{name}: {found.get(name, 'none')} rows, not {rows}" for name, rows in unlike.items()]


def identifier(name: str) -> str:
    """A name as SQL always takes it."""
    return '"' + name.replace('"', '""') + '"'


def bare(server: Server, database: str, table: str) -> str:
    """The quoted name of a table alone, wherever it lies now."""
    with server.connect(database) as connection:
        query = "SELECT format('%%I', (parse_ident(%s))[array_length(parse_ident(%s), 1)])"
        return str(connection.execute(query, (table, table)).fetchone()[0])


def move(server: Server, database: str, table: str | None, schema: str | None) -> str | None:
    """Put a copy's table into the schema that it shall be loaded into: a dump can't be told another one later.

    Returns its name there.
    """
    if not table or not schema:
        return table
    with server.connect(database) as connection:
        moved = f"{identifier(schema)}.{bare(server, database, table)}"
        there = connection.execute("SELECT to_regclass(%s), to_regclass(%s)", (table, moved)).fetchone()
        if there[0] is None and there[1] is not None:
            return moved
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
        for name in tables(server, database, table):
            connection.execute(sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(sql.SQL(name), sql.Identifier(schema)))
    return moved


# --- into a file ------------------------------------------------------------------------------------------------


def write(server: Server, database: str, part: list[str], file: Path) -> None:
    """Write the part, which pg_dump's own words name, into a file that only this account can read."""
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.close(handle)
    run([*words(server, "pg_dump"), "-Fc", *conninfo(database), "-f", str(file), *part], guarded=True)
    with file.open("rb+") as stream:
        os.fsync(stream.fileno())


def write_proven(server: Server, database: str, part: list[str], rows: dict[str, int], file: Path) -> None:
    """Write it and read it back to its end. Raises OpsError, and leaves no file, where it does not hold those rows."""
    beside = file.with_name(f".{file.name}.partial")
    # What a killed run left: the lock says that it is nobody's.
    beside.unlink(missing_ok=True)
    try:
        write(server, database, part, beside)
        wrong = differing(rows, rows_in(server, beside))
        if wrong:
            raise OpsError(f"the dump does not hold what the copy does: {'; '.join(wrong[:5])}")
        beside.rename(file)
    finally:
        beside.unlink(missing_ok=True)


# --- into a server ----------------------------------------------------------------------------------------------


def taken(server: Server, database: str, names: list[str]) -> list[str]:
    """Which of these tables are there already."""
    with server.connect(database) as connection:
        found = ((name, connection.execute("SELECT to_regclass(%s)", (name,)).fetchone()[0]) for name in names)
        return [name for name, there in found if there is not None]


def there_is(server: Server, database: str) -> bool:
    """Whether there is such a database."""
    with server.connect() as connection:
        return bool(connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchone())


def load_part(server: Server, params: Params, file: Path, target: str, privileges: bool = False) -> None:
    """Load a table, or a schema, all of it or nothing."""
    if params["as_schema"] and params["table"]:
        with server.connect(target, options=LOADING["PGOPTIONS"]) as connection:
            connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(params["as_schema"])))
    listed = run([server.program("pg_restore"), "-l", str(file)]).stdout.splitlines()
    kept = [line for line in listed if not params["table"] or not _FOREIGN.match(line)]
    more = ["--single-transaction", "-L", "/dev/stdin"] + ([] if privileges else ["--no-owner", "--no-privileges"])
    restore(server, target, file, *more, stdin="\n".join([*kept, ""]))


def loading_name(target: str) -> str:
    """The name that a database has until it is whole, as long as PostgreSQL keeps it."""
    ending = "_loading"
    cut = target.encode()[: _NAME_BYTES - len(ending)].decode(errors="ignore")
    return cut + ending


def make_unfinished(connection: Any, name: str, create: Callable[[], object]) -> None:
    """Make a database that is not whole yet, in the place of one that a killed extraction has left.

    It says so of itself. Raises OpsError for one that does not: it may be anybody's.
    """
    query = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"
    there = connection.execute(query, (name,)).fetchone()
    if there and there[0] != _UNFINISHED:
        raise OpsError(
            f"refused: database {name} is there, and no extraction says that it left it; nothing was changed (rename "
            "it, or drop it where nobody wants it)"
        )
    connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
    create()
    words = "COMMENT ON DATABASE {} IS {}"
    connection.execute(sql.SQL(words).format(sql.Identifier(name), sql.Literal(_UNFINISHED)))


def finish(connection: Any, loading: str, target: str) -> None:
    """Give it its name, and take back what it says of itself, at once."""
    with connection.transaction():
        names = (sql.Identifier(loading), sql.Identifier(target))
        connection.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(*names))
        connection.execute(sql.SQL("COMMENT ON DATABASE {} IS NULL").format(sql.Identifier(target)))


def load_database(server: Server, file: Path, target: str) -> None:
    """Under a name of its own until it is whole: a killed load is begun again, and never looks like a database."""
    loading = loading_name(target)
    with server.connect() as connection:
        create = sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(loading))
        make_unfinished(connection, loading, lambda: connection.execute(create))
        restore(server, loading, file, "--single-transaction")
        finish(connection, loading, target)
