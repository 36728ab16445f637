# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a replica is told: whom it follows, through which slot, how late, and from where else it may take WAL."""

from __future__ import annotations

import re
from pathlib import Path

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import read_text, write_atomic
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Params
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import settings as conf
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository import open_repository
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server

try:
    from psycopg import sql
except ImportError:
    sql = None

_DELAY = re.compile(r"(0|[1-9]\d{0,9})\s*(ms|s|min|h|d)?", re.ASCII)
_UNITS = {None: 1, "ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
#: What the engine's setting holds: milliseconds in a signed number of four bytes.
_LONGEST = 2**31 - 1


def delay_ms(text: str) -> int:
    """`4h` as milliseconds. Raises ValueError for what is no such time, or too long for the engine."""
    found = _DELAY.fullmatch(text.strip())
    length = int(found.group(1)) * _UNITS[found.group(2)] if found else -1
    if not 0 <= length <= _LONGEST:
        raise ValueError(f"apply_delay {text!r} is no time such as 4h, of 24 days at most")
    return length


def delay_fits(params: Params, preflight: Preflight) -> None:
    """Note a delay that the engine would not take."""
    try:
        delay_ms(params["apply_delay"])
    except ValueError as exc:
        preflight.refuse(str(exc), "write a whole number and ms, s, min, h or d")


def passfile(server: Server) -> Path:
    """Where the replica's password lies: beside the data directory, so that no backup of it carries it."""
    return server.data_dir.with_name(f"{server.data_dir.name}.passfile")


def _passfile_line(params: Params) -> str:
    fields = [params["primary_address"], str(params["primary_port"]), "*", params["replication_user"]]
    escaped = [field.replace("\\", "\\\\").replace(":", "\\:") for field in fields[:2] + fields[3:]]
    secret = (params["replication_password"] or "").replace("\\", "\\\\").replace(":", "\\:")
    return ":".join([*escaped[:2], "*", escaped[2], secret]) + "\n"


def write_passfile(server: Server, params: Params) -> None:
    """Keep the password where only the server's owner reads it."""
    line = _passfile_line(params)
    if read_text(passfile(server)) != line:
        write_atomic(passfile(server), line)


def conninfo(server: Server, params: Params) -> str:
    """The connection to the upstream, without its password."""
    words = {
        "host": params["primary_address"],
        "port": str(params["primary_port"]),
        "user": params["replication_user"],
        "passfile": str(passfile(server)),
        "application_name": params["slot"],
        "connect_timeout": "10",
        # Without it a replica hangs for minutes when the primary's host vanishes.
        "tcp_user_timeout": "15000",
    }
    return " ".join(f"{key}={_escaped(value)}" for key, value in words.items())


def _escaped(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _wanted(server: Server, params: Params) -> dict[str, str | None]:
    """The settings by name; None is one that must not be there, so that the default holds."""
    delay = delay_ms(params["apply_delay"])
    wanted: dict[str, str | None] = {
        "primary_conninfo": conninfo(server, params),
        "primary_slot_name": params["slot"],
        "recovery_min_apply_delay": f"{delay}ms" if delay else None,
    }
    if params["tool"]:
        wanted["restore_command"] = open_repository(params, server.program).restore_command(server.data_dir)
    return wanted


def _same(name: str, current: str | None, value: str | None) -> bool:
    if name != "recovery_min_apply_delay" or current is None or value is None:
        return current == value
    try:
        return delay_ms(current) == delay_ms(value)
    except ValueError:
        # Another spelling of the engine's, by somebody else's hand: ours takes its place.
        return False


def stale_settings(server: Server, params: Params) -> dict[str, str | None]:
    """The settings that differ from what is wanted, as they should be."""
    current = conf.parse(read_text(server.data_dir / "postgresql.auto.conf"))
    return {name: value for name, value in _wanted(server, params).items() if not _same(name, current.get(name), value)}


def passfile_stale(server: Server, params: Params) -> bool:
    """A new password is used at the next connection: nobody would notice that it is missing here until then."""
    return read_text(passfile(server)) != _passfile_line(params)


def write_settings(server: Server, changes: dict[str, str | None]) -> None:
    """All of them are reloadable; postgresql.auto.conf is where ALTER SYSTEM and pg_basebackup -R put them."""
    if not changes:
        return
    if server.running():
        with server.connect() as connection:
            for name, value in changes.items():
                setting = sql.Identifier(name)
                statement = (
                    sql.SQL("ALTER SYSTEM RESET {}").format(setting)
                    if value is None
                    else sql.SQL("ALTER SYSTEM SET {} = {}").format(setting, sql.Literal(value))
                )
                connection.execute(statement)
            connection.execute("SELECT pg_reload_conf()")
        return
    auto = server.data_dir / "postgresql.auto.conf"
    kept = [line for line in read_text(auto).splitlines() if line.split("=")[0].strip() not in changes]
    lines = [f"{name} = {conf.quoted(value)}" for name, value in changes.items() if value is not None]
    write_atomic(auto, "\n".join([*kept, *lines, ""]))
