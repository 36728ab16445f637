# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`replica` for PostgreSQL: clone from the primary through a physical slot, attach, and wait until it streams."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import (
    is_empty,
    read_text,
    sync_directory,
    write_atomic,
)
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._core.process import failure, run
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import replica_tablespaces, scram
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import settings as conf
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import (
    Server,
    await_condition,
    one_line,
    require_psycopg,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.tablespace import PLACES

try:
    import psycopg
    from psycopg import sql
except ImportError:
    psycopg = sql = None

_SLOT = re.compile(r"^[a-z0-9_]{1,63}\Z")


def replica(params: Params, check_mode: bool) -> Outcome:
    """Clone and attach, or wait for streaming, as `state` asks."""
    server = Server.of(params)
    if params["state"] == "prepared":
        return _prepare(server, params, check_mode)
    if params["state"] == "streaming":
        return _await_streaming(server, params, check_mode)
    return _attach(server, params, check_mode)


def _attach(server: Server, params: Params, check_mode: bool) -> Outcome:
    preflight = Preflight()
    slot = params["slot"]
    preflight.require(bool(_SLOT.match(slot)), f"slot {slot!r}: only a-z, 0-9 and _ are allowed", "choose another slot")
    fresh = not server.exists()
    if fresh:
        preflight.require(
            is_empty(server.data_dir), f"{server.data_dir} is not empty and holds no PostgreSQL data", "empty it"
        )
        preflight.require(
            not os.path.ismount(server.data_dir), f"{server.data_dir} is a mount point", "use a directory below it"
        )
        replica_tablespaces.require_free(server.data_dir, params["tablespaces"], preflight)
    if fresh and check_mode:
        preflight.done()
        return Outcome(True, {"slot": slot}, "replica: absent\n", "replica: attached\n")
    identity = "" if preflight.reasons else _primary_identity(params)
    if not fresh and identity:
        own = server.control().get("Database system identifier", "")
        preflight.require(
            own == identity,
            f"{server.data_dir} holds another cluster's data (system identifier {own}, the primary's is {identity})",
            "move it away yourself if it is not wanted",
        )
        preflight.require(
            (server.data_dir / "standby.signal").exists(),
            f"{server.data_dir} was last a primary of this cluster: two primaries",
            "decide which one is right, then rejoin the other",
        )
    preflight.done()
    with host_lock(str(server.data_dir), "replica"):
        if fresh:
            _write_passfile(server, params)
            _clone(server, params)
        stale = _settings_stale(server, params)
        if stale and not check_mode:
            _write_passfile(server, params)
            _write_settings(server, params)
    changed = fresh or stale
    return Outcome(changed, {"slot": slot, "system_identifier": identity}, "", "replica: attached\n" if changed else "")


def _prepare(server: Server, params: Params, check_mode: bool) -> Outcome:
    """Have the account that replicates, with this password, on the primary. The password never reaches its log."""
    if check_mode and not server.running():
        return Outcome(True, {})
    name, password = params["replication_user"], params["replication_password"]
    with server.connect() as connection:
        row = connection.execute(
            "SELECT rolpassword, rolcanlogin AND rolreplication FROM pg_authid WHERE rolname = %s", (name,)
        ).fetchone()
        facts = {"tablespaces": [place for _name, place in connection.execute(PLACES).fetchall()]}
        if row and row[1] and scram.matches(row[0] or "", password):
            return Outcome(False, facts)
        if not check_mode:
            verifier = scram.verifier(connection, name, password)
            verb = sql.SQL("ALTER" if row else "CREATE")
            statement = sql.SQL("{} ROLE {} LOGIN REPLICATION PASSWORD {}")
            connection.execute(statement.format(verb, sql.Identifier(name), sql.Literal(verifier)))
    return Outcome(True, facts, "" if not row else f"role {name}: differs\n", f"role {name}: login, replication\n")


def _passfile(server: Server) -> Path:
    return server.data_dir.with_name(f"{server.data_dir.name}.passfile")


def _passfile_line(params: Params) -> str:
    fields = [params["primary_address"], str(params["primary_port"]), "*", params["replication_user"]]
    escaped = [field.replace("\\", "\\\\").replace(":", "\\:") for field in fields[:2] + fields[3:]]
    secret = (params["replication_password"] or "").replace("\\", "\\\\").replace(":", "\\:")
    return ":".join([*escaped[:2], "*", escaped[2], secret]) + "\n"


def _write_passfile(server: Server, params: Params) -> None:
    line = _passfile_line(params)
    if read_text(_passfile(server)) != line:
        write_atomic(_passfile(server), line)


def _conninfo(server: Server, params: Params) -> dict[str, str]:
    return {
        "host": params["primary_address"],
        "port": str(params["primary_port"]),
        "user": params["replication_user"],
        "passfile": str(_passfile(server)),
        "application_name": params["slot"],
        "connect_timeout": "10",
        # Without it a replica hangs for minutes when the primary's host vanishes.
        "tcp_user_timeout": "15000",
    }


def _primary_identity(params: Params) -> str:
    """The primary's system identifier, asked over the replication protocol with the replication account."""
    require_psycopg()
    where = f"{params['primary_address']}:{params['primary_port']}"
    try:
        with psycopg.connect(
            host=params["primary_address"],
            port=params["primary_port"],
            user=params["replication_user"],
            password=params["replication_password"],
            connect_timeout=10,
            replication="true",
            autocommit=True,
        ) as connection:
            answer = connection.pgconn.exec_(b"IDENTIFY_SYSTEM")
            return str(answer.get_value(0, 0).decode())
    except psycopg.Error as exc:
        raise OpsError(f"cannot reach the primary at {where} as {params['replication_user']}: {one_line(exc)}") from exc


def _clone(server: Server, params: Params) -> None:
    """Clone beside the final place and rename: a killed clone never looks like a data directory."""
    beside = replica_tablespaces.beside(server.data_dir)
    replica_tablespaces.begin(server.data_dir, params["tablespaces"])
    wanted = _conninfo(server, params)
    argv = [server.program("pg_basebackup"), "-D", str(beside), "--slot", params["slot"], "-X", "stream"]
    argv += [
        "--checkpoint=fast",
        "--no-password",
        "-d",
        " ".join(f"{key}={_escaped(value)}" for key, value in wanted.items()),
    ]
    done = run([*argv, "--create-slot"], check=False, guarded=True)
    if done.returncode != 0 and "already exists" in done.stderr:
        replica_tablespaces.begin(server.data_dir, params["tablespaces"])
        done = run(argv, check=False, guarded=True)
    if done.returncode != 0:
        replica_tablespaces.clear(server.data_dir)
        raise OpsError(f"cannot clone the primary: {failure(done)}")
    (beside / "standby.signal").touch(0o600)
    replica_tablespaces.whole(server.data_dir)
    if server.data_dir.exists():
        server.data_dir.rmdir()
    beside.rename(server.data_dir)
    sync_directory(server.data_dir.parent)


def _escaped(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _wanted_settings(server: Server, params: Params) -> dict[str, str]:
    conninfo = " ".join(f"{key}={_escaped(value)}" for key, value in _conninfo(server, params).items())
    return {"primary_conninfo": conninfo, "primary_slot_name": params["slot"]}


def _settings_stale(server: Server, params: Params) -> bool:
    # A new password is used at the next connection: nobody would notice that it is missing here until then.
    if read_text(_passfile(server)) != _passfile_line(params):
        return True
    current = conf.parse(read_text(server.data_dir / "postgresql.auto.conf"))
    return any(current.get(name) != value for name, value in _wanted_settings(server, params).items())


def _write_settings(server: Server, params: Params) -> None:
    """Both settings are reloadable; postgresql.auto.conf is where ALTER SYSTEM and pg_basebackup -R put them."""
    wanted = _wanted_settings(server, params)
    if server.running():
        with server.connect() as connection:
            for name, value in wanted.items():
                statement = sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), sql.Literal(value))
                connection.execute(statement)
            connection.execute("SELECT pg_reload_conf()")
        return
    auto = server.data_dir / "postgresql.auto.conf"
    kept = [line for line in read_text(auto).splitlines() if line.split("=")[0].strip() not in wanted]
    lines = [*kept, *(f"{name} = {conf.quoted(value)}" for name, value in wanted.items()), ""]
    write_atomic(auto, "\n".join(lines))


def _await_streaming(server: Server, params: Params, check_mode: bool) -> Outcome:
    if check_mode and not (server.exists() and server.running()):
        return Outcome(False, {"slot": params["slot"]})
    status: dict[str, Any] = {}

    def streaming() -> bool:
        with server.connect() as connection:
            row = connection.execute("SELECT status FROM pg_stat_wal_receiver").fetchone()
            status["is"] = row[0] if row else "not connected"
        return bool(status["is"] == "streaming")

    if not await_condition(streaming, params["timeout"], every=0.1):
        raise OpsError(
            f"the replica on port {server.port} does not stream from {params['primary_address']}:"
            f"{params['primary_port']} after {params['timeout']} s (receiver: {status['is']}): {server.last_words()}"
        )
    return Outcome(False, {"slot": params["slot"], "status": status["is"]})
