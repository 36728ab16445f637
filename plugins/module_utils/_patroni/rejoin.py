# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`rejoin` where Patroni rules: it brings a member back by itself, which is waited for; else it is cloned anew."""

from __future__ import annotations

import time
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight, Reason, Refused
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._patroni import view
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.node import Node
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import receiver
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server, await_condition


def rejoin(params: Params, check_mode: bool) -> Outcome:
    """Do what `state` asks for, on the member that comes back."""
    state = params["state"]
    if state == "planned":
        return Outcome(False, planned(params))
    if state == "followed":
        return followed(params, check_mode)
    if state == "finished":
        return Outcome(False)
    raise OpsError(f"state {state}: Patroni rewinds and clones its servers itself; see state=followed")


def planned(params: Params) -> dict[str, Any]:
    """What is to be done. A member whose Patroni does not answer is brought back once that runs."""
    node = Node.of(params)
    facts: dict[str, Any] = {"action": "nothing", "why": "", "lost": None, "goes_on": False, "managed": True}
    try:
        cluster = view.look(node.api)
    except OpsError as exc:
        return {**facts, "action": "follow", "why": str(exc)}
    own, leader = cluster.named(node.name), cluster.leader
    facts["timeline"] = own.timeline if own else 0
    preflight = Preflight()
    _led(preflight, node, leader)
    preflight.require(not cluster.paused, "the cluster is paused, so Patroni starts nothing", "end the pause first")
    preflight.done()
    if not _follows(own, leader):
        facts.update(action="follow", why=f"Patroni says that it is {own.state if own else 'unknown'}")
    return facts


def followed(params: Params, check_mode: bool) -> Outcome:
    """Wait until Patroni has it follow. Where it does not, it is cloned anew, if a person has allowed that."""
    node = Node.of(params)
    if check_mode:
        return Outcome(True, {"took": "patroni"}, "follows: nobody\n", "follows: the leader\n")
    try:
        await_follower(node, Server.of(params), params["timeout"])
    except OpsError as exc:
        if not params["reclone"]:
            words = "rejoin_reclone=true has Patroni remove all that it holds, and clone it anew"
            raise Refused([Reason(str(exc), words)]) from exc
        outcome = reinitialized({**params, "force": True}, check_mode)
        await_follower(node, Server.of(params), params["timeout"])
        outcome.facts["took"] = "reclone"
        return outcome
    return Outcome(True, {"took": "patroni"}, "follows: nobody\n", "follows: the leader\n")


def reinitialized(params: Params, check_mode: bool) -> Outcome:
    """Have this member follow the leader again: nothing to do for one that streams, `reinitialize` for one that can't.

    All that it holds is removed by Patroni, and cloned from the leader.
    """
    node = Node.of(params)
    seconds = params["timeout"]
    cluster = view.look(node.api)
    own, leader = cluster.named(node.name), cluster.leader
    preflight = Preflight()
    _led(preflight, node, leader)
    preflight.require(own is not None, f"Patroni has no member {node.name}", "start it: systemctl start patroni")
    preflight.done()
    if _follows(own, leader) and not params.get("force"):
        return Outcome(False, {"member": node.name, "reinitialized": False})
    if not check_mode:
        before = node.api.get("/patroni").get("postmaster_start_time")
        node.api.order("POST", "/reinitialize", {"force": True}, seconds)
        await_member(node, seconds, before)
    return Outcome(
        True, {"member": node.name, "reinitialized": True}, f"{node.name}: {own.state if own else 'unknown'}\n",
        f"{node.name}: reinitialized\n",
    )  # fmt: skip


def _led(preflight: Preflight, node: Node, leader: view.Member | None) -> None:
    led = leader is not None and leader.well
    preflight.require(led, "nobody leads", "there is nothing to follow: have a leader first")
    preflight.require(not (leader and leader.name == node.name), f"{node.name} leads", "switch over first")


def _follows(own: view.Member | None, leader: view.Member | None) -> bool:
    return bool(own and own.well and leader and own.timeline == leader.timeline)


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


def await_follower(node: Node, server: Server, seconds: float) -> view.Member:
    """The same, and a replica takes WAL: Patroni calls it well from the moment that it is open."""
    until = time.monotonic() + seconds
    me = await_member(node, seconds)
    if me.leads or me.tag("nostream"):
        return me
    told = {"is": ""}

    def streams() -> bool:
        try:
            told["is"] = receiver.receives(server)
        except OpsError as exc:
            told["is"] = str(exc)
        return told["is"] in receiver.WELL

    if not await_condition(streams, max(1.0, until - time.monotonic()), every=0.1):
        raise OpsError(
            f"{node.name} follows the leader and does not stream after {seconds} s (receiver: {told['is']}): "
            f"{server.last_words()}"
        )
    return me
