# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is set on the candidate for the time of a switchover, and taken away at its end, however it ended.

A promotion that reaches the startup process while it looks for its primary again, just after that is gone, is heeded
only when wal_retrieve_retry_interval is over: after five seconds, as the engine has it by default.
"""

from __future__ import annotations

from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import read_text
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import settings as conf
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import switchover_account as account
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server, await_condition

try:
    from psycopg import sql
except ImportError:
    sql = None

_RETRY = "wal_retrieve_retry_interval"
#: No round number, so that ours is known from somebody else's.
_OURS = "13ms"
_NAMES = "synchronous_standby_names"


def staged(server: Server, params: Params, check_mode: bool) -> Outcome:
    """Write what is dirty. On the candidate also see that nothing holds up the promotion or the first commits."""
    del params
    with server.connect() as connection:
        if not check_mode:
            connection.execute("CHECKPOINT")
        changes = unhindered(connection, server, check_mode)
    return Outcome(bool(changes), {}, "", "".join(f"{name} = {value}\n" for name, value in changes.items()))


def unhindered(connection: Any, server: Server, check_mode: bool) -> dict[str, str]:
    """On a replica, see that nothing holds up its promotion or its first commits; returns what had to be set."""
    changes: dict[str, str] = {}
    standby, names = connection.execute(
        "SELECT pg_is_in_recovery(), current_setting('synchronous_standby_names')"
    ).fetchone()
    if standby and names:
        changes[_NAMES] = ""
    # Somebody's own value is left alone, and waited for.
    if standby and _RETRY not in _auto(server):
        changes[_RETRY] = _OURS
    if not check_mode:
        for name, value in changes.items():
            setting = sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), sql.Literal(value))
            connection.execute(setting)
        _in_force(connection, server, changes)
    return changes


def _auto(server: Server) -> dict[str, str]:
    return conf.parse(read_text(server.data_dir / "postgresql.auto.conf"))


def _in_force(connection: Any, server: Server, changes: dict[str, str]) -> None:
    """Reload, and see every change."""
    if not changes:
        return
    connection.execute("SELECT pg_reload_conf()")

    def stale() -> list[str]:
        query = "SELECT current_setting(%s)"
        return [name for name, value in changes.items() if connection.execute(query, (name,)).fetchone()[0] != value]

    if not await_condition(lambda: not stale(), 10):
        raise OpsError(f"{', '.join(stale())} on port {server.port} can't be set; does the command line set it?")


def finished(server: Server, params: Params, check_mode: bool) -> Outcome:
    """Take away what was made for the switchover. On a replica, whose switchover was taken back, that is a setting."""
    del params
    lines = []
    with server.connect() as connection:
        ours = _auto(server).get(_RETRY) == _OURS
        if ours:
            lines.append(f"{_RETRY} = {_OURS}\n")
            if not check_mode:
                connection.execute(sql.SQL("ALTER SYSTEM RESET {}").format(sql.Identifier(_RETRY)))
                connection.execute("SELECT pg_reload_conf()")
        standby = connection.execute("SELECT pg_is_in_recovery()").fetchone()[0]
        if not standby and account.said_by_account(connection) is not None:
            lines.append(f"role {account.ACCOUNT}: there\n")
            if not check_mode:
                account.drop(server)
    return Outcome(bool(lines), {}, "".join(lines), "")
