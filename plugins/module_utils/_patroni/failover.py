# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`failover` and `rejoin` where Patroni rules: it does both by itself; these are for when it must be told."""

from __future__ import annotations

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._patroni import view
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.node import Node
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.switchover_move import Order
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import await_condition


def failover(params: Params, check_mode: bool) -> Outcome:
    """Have a member lead while nobody does. `candidate` is its name in Patroni; `timeout` is in seconds.

    Patroni does so by itself within its ttl, unless it is paused or no member is near enough to the lost leader. While
    a leader is well this is refused: that is a switchover.
    """
    node = Node.of(params)
    cluster = view.look(node.api)
    candidate, seconds = params["candidate"], params["timeout"]
    leader, chosen = cluster.leader, cluster.named(candidate)
    if leader and leader.name == candidate and leader.well:
        return Outcome(False, {"leader": candidate})
    preflight = Preflight()
    preflight.require(
        leader is None or not leader.well, f"{leader.name if leader else ''} leads and is well", "use switchover"
    )
    known = ", ".join(one.name for one in cluster.members)
    if preflight.require(chosen is not None, f"Patroni knows no member {candidate!r}", f"its members are {known}"):
        runs = chosen is not None and chosen.well
        preflight.require(runs, f"{candidate} does not run", "start it, or choose another")
        preflight.require(
            chosen is not None and not chosen.tag("nofailover"), f"{candidate} has the tag nofailover", "choose another"
        )
    preflight.done()
    before = f"leader: {leader.name if leader else 'nobody'}\n"
    if not check_mode:
        order = Order(node.api, "/failover", {"candidate": candidate}, seconds + 30)
        seen: list[str] = []

        def settled() -> bool:
            now = view.look(node.api).leader
            seen[:] = [now.name] if now and now.well and now is not leader else []
            return seen == [candidate] or bool(order.refused)

        if not await_condition(settled, seconds, every=0.1) or seen != [candidate]:
            why = order.refused or order.lost or f"the leader is {seen[0] if seen else 'nobody'} after {seconds} s"
            raise OpsError(f"{candidate} does not lead: {why} (see patronictl list and Patroni's log)")
    return Outcome(True, {"leader": candidate}, before, f"leader: {candidate}\n")


def rejoin(params: Params, check_mode: bool) -> Outcome:
    """Have this member follow the leader again: nothing to do for one that streams, `reinitialize` for one that can't.

    All that it holds is removed by Patroni, and cloned from the leader.
    """
    node = Node.of(params)
    seconds = params["timeout"]
    cluster = view.look(node.api)
    own, leader = cluster.named(node.name), cluster.leader
    preflight = Preflight()
    led = leader is not None and leader.well
    preflight.require(led, "nobody leads", "there is nothing to follow: have a leader first")
    preflight.require(
        not (leader and leader.name == node.name), f"{node.name} leads", "switch over first"
    )
    preflight.require(own is not None, f"Patroni has no member {node.name}", "start it: systemctl start patroni")
    preflight.done()
    if own and own.well and leader and own.timeline == leader.timeline and not params.get("force"):
        return Outcome(False, {"member": own.name, "reinitialized": False})
    if not check_mode:
        before = node.api.get("/patroni").get("postmaster_start_time")
        node.api.order("POST", "/reinitialize", {"force": True}, seconds)
        await_member(node, seconds, before)
    return Outcome(
        True, {"member": node.name, "reinitialized": True}, f"{node.name}: {own.state if own else 'unknown'}\n",
        f"{node.name}: reinitialized\n",
    )  # fmt: skip


def await_member(node: Node, seconds: float, before: str | None = None) -> view.Member:
    """Wait until this member leads, or follows the leader on its timeline, started at another time than `before`."""
    told = {"is": "it does not answer"}

    def well() -> bool:
        try:
            cluster = view.look(node.api, 5)
            own = node.api.get("/patroni", 5)
        except OpsError as exc:
            told["is"] = str(exc)
            return False
        me, leader = cluster.named(node.name), cluster.leader
        state = me.state if me else "unknown"
        told["is"] = f"{node.name} is {state}, {leader.name if leader else 'nobody'} leads"
        if before and own.get("postmaster_start_time") in (before, None):
            return False
        if not (me and leader and me.well and own.get("state") == "running"):
            return False
        return (me.leads and own.get("role") in ("master", "primary")) or (
            not me.leads and leader.well and me.timeline == leader.timeline
        )

    if not await_condition(well, seconds, every=0.2):
        raise OpsError(
            f"Patroni of {node.scope} is not there after {seconds} s: {told['is']} (see journalctl -u patroni and "
            "patronictl list; a replica that can't be rewound: patronictl reinit)"
        )
    me = view.look(node.api).named(node.name)
    if me is None:
        raise OpsError(f"{node.name} has left {node.scope} meanwhile; run it again")
    return me
