# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`restart` where Patroni rules: in the same order, by its API, so that it does not take the restart for a failure."""

from __future__ import annotations

from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.instance_info import parameters, pending
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.node import Node
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import restart as engine
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.setting_places import look


def restart(params: Params, check_mode: bool) -> Outcome:
    """Say the order, or restart this server and wait until it replicates as before."""
    if params["state"] == "planned":
        return engine.restart(params, check_mode)
    server, node = Server.of(params), Node.of(params)
    engine.require_running(server)
    waiting = _waiting(server, node)
    facts: dict[str, Any] = {"applied": waiting, "seconds": 0.0}
    outcome = Outcome(bool(waiting), facts, *engine.shown(waiting))
    if waiting and not check_mode:
        seconds = params["timeout"]

        def again() -> None:
            node.api.order("POST", "/restart", {"timeout": seconds}, seconds=seconds + 10)
            server.await_ready(seconds)

        with host_lock(str(server.data_dir), "restart"):
            facts["seconds"] = engine.carry_out(server, seconds, again, lambda: _waiting(server, node))
    return outcome


def _waiting(server: Server, node: Node) -> list[dict[str, str]]:
    with server.connect() as connection:
        return pending(look(connection, server), parameters(node))
