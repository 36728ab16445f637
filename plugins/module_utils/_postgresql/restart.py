# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`restart` for PostgreSQL: in which order a cluster's servers take what awaits it, and one of them taking it."""

from __future__ import annotations

import time
from typing import Any, Callable

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import boot_guard_places
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restart_order import Member, restart_order
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server, await_condition
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.setting_places import look

#: What only streams and does not replay (pg_receivewal, a backup) need not come back.
_REPLICAS = """
SELECT application_name || ' at ' || coalesce(host(client_addr), 'the socket') FROM pg_stat_replication
WHERE replay_lsn IS NOT NULL
  AND (state = 'streaming' AND replay_lsn >= %s OR %s::pg_lsn IS NULL AND state IN ('streaming', 'catchup'))
"""
_REPLAYED = """
SELECT EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')
       AND NOT pg_is_wal_replay_paused()
       AND coalesce(pg_last_wal_replay_lsn() >= pg_last_wal_receive_lsn(), false)
"""


def restart(params: Params, check_mode: bool) -> Outcome:
    """Say the order, or restart this server and wait until it replicates as before."""
    server = Server.of(params)
    if params["state"] == "planned":
        return _planned(params)
    require_running(server)
    pending = _pending(server)
    facts: dict[str, Any] = {"applied": pending, "seconds": 0.0}
    outcome = Outcome(bool(pending), facts, *shown(pending))
    if pending and not check_mode:
        seconds = params["timeout"]

        def again() -> None:
            server.stop(seconds)
            boot_guard_places.pass_once(server.service, server.data_dir)
            server.start(seconds)

        with host_lock(str(server.data_dir), "restart"):
            facts["seconds"] = carry_out(server, seconds, again, lambda: _pending(server))
    return outcome


def require_running(server: Server) -> None:
    """Raise OpsError where there is nothing to restart."""
    if not (server.exists() and server.running()):
        raise OpsError(f"no server runs on {server.data_dir}; start it, which applies its settings, too")


def _pending(server: Server) -> list[dict[str, str]]:
    with server.connect() as connection:
        return look(connection, server).pending()


def shown(pending: list[dict[str, str]]) -> tuple[str, str]:
    """What is applied, as a difference."""
    lines = [f"{one['name']} = {{}}" for one in pending]
    before = "\n".join([*(line.format(one["current"]) for line, one in zip(lines, pending)), ""])
    after = "\n".join([*(line.format(one["new"]) for line, one in zip(lines, pending)), ""])
    return before, after


def _planned(params: Params) -> Outcome:
    members = params["members"] or {}
    preflight = Preflight()
    primaries = [name for name, facts in members.items() if facts.get("role") == "primary"]
    preflight.require(len(primaries) == 1, f"{len(primaries)} members are primary, not one", "see instance_info")
    for name, facts in members.items():
        preflight.require(
            facts.get("state") == "running",
            f"{name} is {facts.get('state', 'unknown')}, what it will have is not known",
            "start it first, provision does",
        )
    preflight.done()
    order = restart_order(Member.of(name, facts) for name, facts in members.items())
    return Outcome(False, {"order": order})


def carry_out(
    server: Server, seconds: int, again: Callable[[], None], pending: Callable[[], list[dict[str, str]]]
) -> float:
    """Restart it by `again`, and wait for its replication; returns for how many seconds it took nobody in."""
    with server.connect() as connection:
        standby = connection.execute("SELECT pg_is_in_recovery()").fetchone()[0]
        if standby:
            followed = connection.execute("SELECT EXISTS (SELECT FROM pg_stat_wal_receiver)").fetchone()[0]
            followers: set[str] = set()
        else:
            followed, followers = False, _following(connection)
        # The shutdown then has little left to write.
        connection.execute("CHECKPOINT")
    begun = time.monotonic()
    again()
    away = round(time.monotonic() - begun, 3)
    left = [one["name"] for one in pending()]
    if left:
        raise OpsError(f"restarted, and {', '.join(left)} still awaits a restart; see the server's log")
    with server.connect() as connection:
        if standby and followed:
            _await_following(server, connection, seconds)
        elif followers:
            _await_followers(connection, followers, seconds)
    return away


def _following(connection: Any, position: str | None = None) -> set[str]:
    return {row[0] for row in connection.execute(_REPLICAS, (position, position)).fetchall()}


def _await_following(server: Server, connection: Any, seconds: int) -> None:
    if not await_condition(lambda: bool(connection.execute(_REPLAYED).fetchone()[0]), seconds, every=0.1):
        raise OpsError(
            f"restarted, and the replica on port {server.port} does not stream and replay after {seconds} s; "
            f"the other members were not restarted: {server.last_words()}"
        )


def _await_followers(connection: Any, followers: set[str], seconds: int) -> None:
    """Wait for every replica to replay what the primary wrote at its start: its new settings are in there."""
    position = connection.execute("SELECT pg_current_wal_lsn()::text").fetchone()[0]
    missing: set[str] = set()

    def back() -> bool:
        missing.clear()
        missing.update(followers - _following(connection, position))
        return not missing

    if not await_condition(back, seconds, every=0.1):
        raise OpsError(
            f"restarted, and {', '.join(sorted(missing))} does not stream and replay again after {seconds} s; "
            "look at its log"
        )
