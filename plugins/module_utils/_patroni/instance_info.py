# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`instance_info` where Patroni rules: what the engine tells, what Patroni tells, and what awaits a restart of both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._patroni import view
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.node import MANAGER, Node
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import settings as conf
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.instance_info import instance_info as of_engine
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.setting_places import FLOOR, Places, look

#: What Patroni gives on the command line where nobody has declared another value (3.0 to 4.1).
_GIVEN = {
    "max_connections": "100", "max_wal_senders": "10", "max_prepared_transactions": "0",
    "max_locks_per_transaction": "64", "max_replication_slots": "10", "max_worker_processes": "8",
    "track_commit_timestamp": "off", "wal_level": "replica",
}  # fmt: skip


def instance_info(params: Params, check_mode: bool) -> Outcome:
    """Describe the server; never changes anything."""
    outcome = of_engine(params, check_mode)
    facts = outcome.facts["instance"]
    node = Node.of(params)
    facts.update(manager=MANAGER, patroni=told(node))
    if facts["state"] == "running" and facts["patroni"]["answers"]:
        server = Server.of(params)
        with server.connect() as connection:
            complete(facts, look(connection, server), parameters(node))
    return outcome


def told(node: Node) -> dict[str, Any]:
    """What Patroni's node says of itself and of the cluster; a node that does not answer says so."""
    facts: dict[str, Any] = {"scope": node.scope, "name": node.name, "config_file": str(node.config_file)}
    try:
        own = node.api.get("/patroni", 5)
        cluster = view.look(node.api, 5)
    except OpsError as exc:
        return {**facts, "answers": False, "problem": str(exc)}
    running = own.get("patroni") or {}
    return {
        **facts,
        "answers": True,
        "version": str(running.get("version") or ""),
        "state": str(own.get("state") or ""),
        "role": str(own.get("role") or ""),
        "cluster_unlocked": bool(own.get("cluster_unlocked")),
        "failsafe_active": bool(own.get("failsafe_mode_is_active")),
        "pending_restart": bool(own.get("pending_restart")),
        **cluster.facts(),
    }


def parameters(node: Node) -> dict[str, str]:
    """The server's settings as the distributed configuration has them."""
    found = (node.api.get("/config").get("postgresql") or {}).get("parameters") or {}
    return {str(name).lower(): conf.as_text(value) for name, value in found.items() if value is not None}


def complete(facts: dict[str, Any], places: Places, wanted: Mapping[str, str]) -> None:
    """Add what Patroni gives on the command line: the engine can't know that a new value waits there."""
    awaiting = pending(places, wanted)
    facts["awaiting_restart"] = awaiting
    facts["pending_restart"] = [one["name"] for one in awaiting]
    new = {one["name"]: places.meaning(one["name"], one["new"])[1] for one in awaiting if one["name"] in FLOOR}
    facts["standby_minimum_new"] = {**facts["standby_minimum"], **new}


def pending(places: Places, wanted: Mapping[str, str]) -> list[dict[str, str]]:
    """What awaits a restart, as `{name, current, new}`: the engine's, and what differs on the command line."""
    found = {one["name"].lower(): one for one in places.pending()}
    for name, value in {**_GIVEN, **wanted}.items():
        row = places.rows.get(name)
        given = places.command_line.get(name)
        if row and given is not None and places.meaning(name, given) != places.meaning(name, value):
            found[name] = {"name": row.kind.name, "current": row.shown, "new": value}
    return [found[name] for name in sorted(found)]
