# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`extract` for PostgreSQL: one database or one table out of an isolated copy into a file, and from there elsewhere.

The file is proven before it gets its name: it is read to its end, and every table's rows are counted in it.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import sha256_of, sync_directory
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._core.process import environment, run, tail
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import options
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
ORDER BY 1
"""
_COPY = re.compile(rb"^COPY (\S.*?) \(.*\) FROM stdin;$|^COPY (\S+)  ?FROM stdin;$")
#: What of a single table would reach for things that lie elsewhere.
_FOREIGN = re.compile(r"^\d+; \d+ \d+ (FK CONSTRAINT|TRIGGER|PUBLICATION TABLE) ")


def extract(params: Params, check_mode: bool) -> Outcome:
    """Write the file, or load it, as `state` asks."""
    preflight = options.impossible(params)
    for name in ("database", "dest"):
        preflight.require(bool(params[name]), f"{name} is empty", f"say which {name} it is")
    preflight.done()
    server = Server.of({**params, "service": "process", "config_dir": None})
    if params["state"] == "dumped":
        return _dump(server, params, check_mode)
    return _load(server, params, check_mode)


def tables(server: Server, database: str, table: str | None) -> dict[str, bool]:
    """The tables of a database, or one table with its partitions, and whether each holds rows of its own."""
    with server.connect(database) as connection:
        return dict(connection.execute(_TABLES, {"table": table}).fetchall())


def counted(server: Server, database: str, names: list[str]) -> dict[str, int]:
    """The rows of each table, whose names are quoted as the engine wrote them."""
    with server.connect(database) as connection:
        return {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names}  # noqa: S608


def in_file(server: Server, file: Path) -> dict[str, int]:
    """The rows of each table in a dump, which is read to its end for it. Raises OpsError where it can't be read."""
    argv = [server.program("pg_restore"), "--data-only", "-f", "-", str(file)]
    found: dict[str, int] = {}
    current = ""
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as reading:
        output: Any = reading.stdout
        for raw in output:
            line = raw.rstrip(b"\n")
            if current:
                if line == b"\\.":
                    current = ""
                else:
                    found[current] += 1
                continue
            begun = _COPY.match(line)
            if begun:
                current = (begun.group(1) or begun.group(2)).decode()
                found[current] = 0
        errors: Any = reading.stderr
        said = errors.read().decode(errors="replace")
    if reading.returncode != 0:
        raise OpsError(f"{file} can't be read back: {tail(said)}")
    return found


def _differing(wanted: dict[str, int], found: dict[str, int]) -> list[str]:
    unlike = {name: rows for name, rows in wanted.items() if found.get(name) != rows}
    return [f"{name}: {found.get(name, 'none')} rows, not {rows}" for name, rows in unlike.items()]


# --- out of the copy --------------------------------------------------------------------------------------------


def _dump(server: Server, params: Params, check_mode: bool) -> Outcome:
    dest, database, table = Path(params["dest"]), params["database"], params["table"]
    preflight = Preflight()
    preflight.require(not dest.exists(), f"{dest} is there already", "move it away, or choose another name")
    preflight.require(dest.parent.is_dir(), f"{dest.parent} is no directory", "make it")
    if dest.parent.is_dir():
        preflight.require(os.access(dest.parent, os.W_OK), f"{dest.parent} is not writable", "change its owner")
    preflight.done()
    if check_mode:
        return Outcome(True, {"path": str(dest)}, "", f"file: {dest}\n")
    with host_lock(str(server.data_dir), "extract", params["lock_timeout"]):
        _move(server, params)
        if table and params["as_schema"]:
            table = f"{_identifier(params['as_schema'])}.{_bare(server, database, params)}"
        found = tables(server, database, table)
        if table and not found:
            raise OpsError(f"{table} of database {database} is no table")
        rows = counted(server, database, [name for name, holds in found.items() if holds])
        beside = dest.with_name(f".{dest.name}.partial")
        # What a killed run left: the lock says that it is nobody's.
        beside.unlink(missing_ok=True)
        try:
            _write(server, database, sorted(found) if table else [], beside)
            wrong = _differing(rows, in_file(server, beside))
            if wrong:
                raise OpsError(f"the dump does not hold what the copy does: {'; '.join(wrong[:5])}")
            beside.rename(dest)
        finally:
            beside.unlink(missing_ok=True)
        sync_directory(dest.parent)
    facts = {
        "path": str(dest), "bytes": dest.stat().st_size, "sha256": sha256_of(dest), "tables": rows,
        "rows": sum(rows.values()),
    }  # fmt: skip
    return Outcome(True, facts, "", f"file: {dest}\n")


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _bare(server: Server, database: str, params: Params) -> str:
    """The quoted name of a table alone, wherever it lies now."""
    with server.connect(database) as connection:
        query = "SELECT format('%%I', (parse_ident(%s))[array_length(parse_ident(%s), 1)])"
        return str(connection.execute(query, (params["table"], params["table"])).fetchone()[0])


def _move(server: Server, params: Params) -> None:
    """Put the copy's table into the schema that it shall be loaded into: a dump can't be told another one later."""
    if not params["table"] or not params["as_schema"]:
        return
    schema = params["as_schema"]
    with server.connect(params["database"]) as connection:
        moved = f"{_identifier(schema)}.{_bare(server, params['database'], params)}"
        there = connection.execute("SELECT to_regclass(%s), to_regclass(%s)", (params["table"], moved)).fetchone()
        if there[0] is None and there[1] is not None:
            return
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
        for name in tables(server, params["database"], params["table"]):
            connection.execute(sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(sql.SQL(name), sql.Identifier(schema)))


def _write(server: Server, database: str, names: list[str], file: Path) -> None:
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.close(handle)
    argv = [server.program("pg_dump"), "-Fc", "-h", server.socket_dir, "-p", str(server.port), "-U", server.login_user]
    argv += ["--no-password", "-d", database, "-f", str(file)]
    argv += [word for name in names for word in ("-t", name)]
    run(argv, guarded=True)
    with file.open("rb+") as stream:
        os.fsync(stream.fileno())


# --- into a server ----------------------------------------------------------------------------------------------


def _load(server: Server, params: Params, check_mode: bool) -> Outcome:
    file, table = Path(params["dest"]), params["table"]
    preflight = Preflight()
    if not preflight.require(file.is_file(), f"{file} is not there", "extract it first"):
        preflight.done()
    wanted = in_file(server, file)
    target = params["database"] if table else params["as_database"]
    with server.connect() as connection:
        there = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (target,)).fetchone()
    if table:
        preflight.require(bool(there), f"there is no database {target}", "correct its name")
        if there:
            with server.connect(target) as connection:
                taken = [
                    name for name in wanted
                    if connection.execute("SELECT to_regclass(%s)", (name,)).fetchone()[0] is not None
                ]  # fmt: skip
            preflight.require(not taken, f"{', '.join(taken)} is there already", "choose another as_schema")
    else:
        preflight.require(not there, f"database {target} is there already", "choose another as_database")
    preflight.done()
    facts = {"database": target, "tables": wanted, "rows": sum(wanted.values())}
    if check_mode:
        return Outcome(True, facts, "", f"loaded: {target}\n")
    with host_lock(str(server.data_dir), "extract", params["lock_timeout"]):
        if table:
            _load_table(server, params, file, target)
        else:
            _load_database(server, params, file, target)
    wrong = _differing(wanted, counted(server, target, list(wanted)))
    if wrong:
        raise OpsError(f"what was loaded is not what the file holds: {'; '.join(wrong[:5])}")
    return Outcome(True, facts, "", f"loaded: {target}\n")


def _restore(server: Server, file: Path, database: str, *words: str) -> None:
    argv = [server.program("pg_restore"), "-h", server.socket_dir, "-p", str(server.port), "-U", server.login_user]
    run([*argv, "--no-password", "--single-transaction", "-d", database, *words, str(file)], guarded=True)


def _load_table(server: Server, params: Params, file: Path, target: str) -> None:
    if params["as_schema"]:
        with server.connect(target) as connection:
            connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(params["as_schema"])))
    listed = run([server.program("pg_restore"), "-l", str(file)]).stdout.splitlines()
    kept = [line for line in listed if not _FOREIGN.match(line)]
    argv = ["--no-owner", "--no-privileges", "-L", "/dev/stdin"]
    words = [server.program("pg_restore"), "-h", server.socket_dir, "-p", str(server.port), "-U", server.login_user]
    words += ["--no-password", "--single-transaction", "-d", target, *argv, str(file)]
    run(words, stdin="\n".join([*kept, ""]), guarded=True)


def _load_database(server: Server, params: Params, file: Path, target: str) -> None:
    """Under a name of its own until it is whole: a killed load is begun again, and never looks like a database."""
    del params
    loading = f"{target}_loading"
    with server.connect() as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(loading)))
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(loading)))
        _restore(server, file, loading)
        names: Any = (sql.Identifier(loading), sql.Identifier(target))
        connection.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(*names))
