# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`failover` where Patroni rules. It fails over by itself; this is for when it has to be told.

That is so while it is paused, or where it finds nobody fit. The lock in the distributed store is the fence, as far as
Patroni acts on it: while the cluster is paused it stops nobody, and then the old primary has to be seen stopped, or
fenced as on plain hosts.
"""

from __future__ import annotations

import time
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._patroni import view
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.failover_plan import planned
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.instance_info import told
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.node import MANAGER, Node
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.switchover_move import Order, takes_writes
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import failover as engine
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import failover_seen
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server, await_condition
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.switchover_move import ignore_signals


def failover(params: Params, check_mode: bool) -> Outcome:
    """Do what `state` asks for; what is asked of ports and files is the engine's."""
    state = params["state"]
    if state == "fenced":
        raise OpsError("state fenced: Patroni starts and stops its servers itself; stop Patroni on that host")
    if state == "planned":
        return Outcome(False, planned(params))
    if state == "promoted":
        return _promoted(params, check_mode)
    if state == "finished":
        return _finished(params, check_mode)
    outcome = engine.failover(params, check_mode)
    if state == "seen":
        outcome.facts["member"].update(manager=MANAGER, patroni=told(Node.of(params)))
    return outcome


def _promoted(params: Params, check_mode: bool) -> Outcome:
    """Have this member lead; the request is the point of no return."""
    server, node, seconds = Server.of(params), Node.of(params), params["timeout"]
    note = dict(params["note"])
    cluster = view.look(node.api)
    leader = cluster.leader
    mine = leader is not None and leader.name == node.name
    if leader is not None and not mine:
        raise OpsError(f"nobody was promoted: {leader.name} leads by now; run the same command again")
    if check_mode:
        return Outcome(True, {}, "leader: nobody\n", f"leader: {node.name}\n")
    with host_lock(str(server.data_dir), "failover"):
        failover_seen.note(server, note)
        ignore_signals()
        begun = time.time()
        # Patroni may have come to the same by itself meanwhile.
        order = None if mine else Order(node.api, "/failover", {"candidate": node.name}, seconds + 30)
        found: dict[str, Any] = {}

        def settled() -> bool:
            found.clear()
            found.update(_status(node))
            return takes_writes(found, int(note.get("timeline") or 0)) or bool(order and order.refused)

        await_condition(settled, seconds, every=0.05)
        if not takes_writes(found, int(note.get("timeline") or 0)):
            why = (order.refused or order.lost) if order else ""
            raise OpsError(
                f"{node.name} does not lead after {seconds} s: {why or 'Patroni has not done it'} (see patronictl list "
                "and Patroni's log); run the same command again"
            )
        took = time.time() - begun
        note.update(promoted_at=time.time(), promote_ms=round(took * 1000, 1), timeline_after=int(found["timeline"]))
        failover_seen.note(server, note)
    return Outcome(True, {"note": note}, "leader: nobody\n", f"leader: {node.name}\n")


def _status(node: Node) -> dict[str, Any]:
    try:
        return node.api.get("/patroni", 2)
    except OpsError:
        return {}


def _finished(params: Params, check_mode: bool) -> Outcome:
    """Take the note away; all else is Patroni's."""
    place = failover_seen.note_file(Server.of(params))
    there = place.exists()
    if there and not check_mode:
        place.unlink()
    return Outcome(there, {}, f"{place.name}: there\n" if there else "", "")
