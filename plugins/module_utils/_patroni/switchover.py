# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`switchover` where Patroni rules: it moves the primary itself, and clients of the poolers wait meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.instance_info import complete, parameters, told
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.node import MANAGER, Node
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.switchover_move import move
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import switchover_checks as checks
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.setting_places import look
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.switchover_seen import seen

Members = Mapping[str, Mapping[str, Any]]


def switchover(params: Params, check_mode: bool) -> Outcome:
    """Do what `state` asks for. What Patroni does by itself is left to it: slots, following, synchronous standbys."""
    act = {"seen": _seen, "planned": _planned, "staged": _staged, "moved": move}.get(params["state"])
    if act:
        return act(params, check_mode)
    if params["state"] in ("promoted", "reopened"):
        raise OpsError(f"state {params['state']}: Patroni promotes and opens its servers itself; see GET /cluster")
    return Outcome(False)


def _seen(params: Params, check_mode: bool) -> Outcome:
    del check_mode
    server, node = Server.of(params), Node.of(params)
    facts = seen(server, params["transaction_seconds"])
    facts.update(manager=MANAGER, patroni=told(node))
    if facts["state"] == "running" and facts["patroni"]["answers"]:
        with server.connect() as connection:
            complete(facts, look(connection, server), parameters(node))
    return Outcome(False, {"member": facts})


def _staged(params: Params, check_mode: bool) -> Outcome:
    """Write what is dirty, so that the shutdown has little left."""
    if not check_mode:
        with Server.of(params).connect() as connection:
            connection.execute("CHECKPOINT")
    return Outcome(False)


def _planned(params: Params, check_mode: bool) -> Outcome:
    """What is to be done; refused, with every reason, where it may not."""
    del check_mode
    return Outcome(False, planned(params))


def planned(params: Params) -> dict[str, Any]:
    """What is to be done, by what every member and its Patroni said. Raises Refused."""
    members: Members = params["members"]
    candidate = params["candidate"] or ""
    _possible(members, candidate)
    old = next(name for name, facts in members.items() if _primary(facts))
    facts: dict[str, Any] = {
        "situation": "finish" if old == candidate else "begin",
        "old": "" if old == candidate else old,
        "checks": [],
        # Patroni says itself for whom commits wait.
        "quorum": None,
        "synchronous_names": "",
        "began": "",
    }
    if old != candidate:
        asked = checks.Asked()
        checks.ask_all(asked, members, old, candidate, params)
        _patroni(asked, members, old, candidate)
        facts["checks"] = asked.done()
    # A killed run may have left clients held, wherever they were sent.
    places = params["addresses"]
    held = [one for place in places.values() for one in checks.routed(params["poolers"], place, paused=True)]
    databases = held + (checks.belonging(params["poolers"], params, old) if old != candidate else [])
    facts["databases"] = sorted(set(databases))
    facts["unfinished"] = old != candidate or bool(held)
    return facts


def _possible(members: Members, candidate: str) -> None:
    preflight = Preflight()
    others = ", ".join(members)
    if preflight.require(bool(candidate), "no candidate is named", f"name the one that is to be primary: {others}"):
        preflight.require(candidate in members, f"{candidate} is no member", f"they are {others}")
    for name, facts in members.items():
        preflight.require(
            facts.get("manager") == MANAGER, f"{name} is not run by Patroni, and others are", "bring it under Patroni"
        )
    silent = [name for name, facts in members.items() if not (facts.get("patroni") or {}).get("answers")]
    told = ", ".join(silent)
    preflight.require(not silent, f"Patroni does not answer on {told}", "start it: systemctl start patroni")
    primaries = [name for name, facts in members.items() if _primary(facts)]
    told = ", ".join(f"{name} is {facts.get('state')} {facts.get('role')}" for name, facts in members.items())
    preflight.require(len(primaries) < 2, f"there is more than one primary ({told})", "see patronictl list")
    if not primaries and not silent:
        preflight.refuse(f"there is no running primary ({told})", "Patroni fails over by itself: wait, or see its log")
    preflight.done()


def _primary(facts: Mapping[str, Any]) -> bool:
    return facts.get("state") == "running" and facts.get("role") == "primary"


def _patroni(asked: checks.Asked, members: Members, old: str, candidate: str) -> None:
    """What Patroni itself would refuse, or would do otherwise than it is asked to."""
    own, chosen = members[old]["patroni"], members[candidate]["patroni"]
    scopes = sorted({str(facts["patroni"]["scope"]) for facts in members.values()})
    told = ", ".join(scopes)
    asked.ask("patroni_scope", len(scopes) == 1, f"the members are of several scopes: {told}", "correct it")
    asked.ask(
        "patroni_leader", own.get("leader") == own.get("name"),
        f"{old} takes writes, and Patroni's leader is {own.get('leader') or 'nobody'}", "see patronictl list",
        (own.get("name"), own.get("leader")),
    )  # fmt: skip
    rows: list[Mapping[str, Any]] = own.get("members") or []
    row: Mapping[str, Any] = next((one for one in rows if one["name"] == chosen.get("name")), {})
    asked.ask(
        "patroni_candidate", row.get("state") in ("running", "streaming"),
        f"Patroni says that {candidate} is {row.get('state') or 'unknown'}", "see its log on that host",
        ("running", row.get("state")),
    )  # fmt: skip
    barred = str((row.get("tags") or {}).get("nofailover", False)).lower() in ("true", "on", "yes", "1")
    asked.ask("patroni_nofailover", not barred, f"{candidate} has the tag nofailover", "choose another one")
    synchronous = any(one["role"] == "sync_standby" for one in own.get("members") or [])
    asked.ask(
        "patroni_synchronous", not synchronous or row.get("role") == "sync_standby",
        f"synchronous_mode is on, and {candidate} is no synchronous standby", "choose the one that is",
    )  # fmt: skip
    asked.ask(
        "patroni_scheduled", not own.get("scheduled_switchover"),
        f"another switchover is scheduled for {own.get('scheduled_switchover')}", "patronictl flush",
    )  # fmt: skip
