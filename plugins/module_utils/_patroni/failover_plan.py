# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be done where Patroni rules and nobody leads, or somebody does whom the poolers do not know yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Params
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.node import MANAGER
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import failover as engine
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import (
    failover_checks,
    failover_loss,
    failover_plan,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.failover_plan import Facts, Members
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.switchover_checks import Asked, routed

#: Beside those of plain hosts.
LOCK = "patroni"


def planned(params: Params) -> dict[str, Any]:
    """What is to be done, by what every member and its Patroni said. Raises Refused, with every reason."""
    members: Members = params["members"]
    leader = _leader(members, params["candidate"])
    facts: dict[str, Any] = {
        "managed": True, "checks": [], "fences": [], "quorum": None, "returned": False, "note": {}, "databases": [],
    }  # fmt: skip
    if not leader:
        _begin(members, params, facts)
    else:
        _routes(members, leader, params, facts)
    facts["unfinished"] = facts["situation"] != "nothing"
    facts["began"] = str(facts["note"].get("began") or "")
    return facts


def _told(facts: Facts) -> Mapping[str, Any]:
    """What a member's Patroni says; empty where it does not answer."""
    told: Mapping[str, Any] = facts.get("patroni") or {}
    return told if told.get("answers") else {}


def _leader(members: Members, wanted: str) -> str:
    """The member that leads and works; empty where nobody leads. Raises Refused where a person, or Patroni, decides."""
    preflight = Preflight()
    others = ", ".join(members)
    preflight.require(not wanted or wanted in members, f"{wanted} is no member", f"they are {others}")
    for name, facts in members.items():
        # Also one whose configuration is found no more, because its Patroni has ended.
        alien = facts.get("state") != "unseen" and str(facts.get("manager") or "").lower() != MANAGER
        preflight.require(not alien, f"{name} is not run by Patroni, and others are", "bring it under Patroni")
    told = {name: _told(facts) for name, facts in members.items() if _told(facts)}
    preflight.require(bool(told), "Patroni answers on no member", "start it: systemctl start patroni")
    scopes = sorted({str(one["scope"]) for one in told.values()})
    preflight.require(len(scopes) < 2, f"the members are of several scopes: {', '.join(scopes)}", "correct it")
    leaders = sorted({str(one["leader"]) for one in told.values() if one.get("leader")})
    preflight.require(len(leaders) < 2, f"Patroni names several leaders: {', '.join(leaders)}", "run it again")
    preflight.done()
    if not leaders:
        return ""
    found = [name for name, one in told.items() if one["name"] == leaders[0] and not one.get("cluster_unlocked")]
    works = [name for name in found if failover_plan.is_(members[name], "running", "primary")]
    preflight.require(
        bool(works),
        f"{leaders[0]} holds the leader's lock, and its server does not work, or its host does not answer",
        "Patroni decides within its ttl: run it again then",
    )
    preflight.require(
        not works or wanted in {"", works[0]},
        f"{', '.join(works)} is the primary, and it works",
        "use switchover to have another one",
    )
    preflight.done()
    return works[0]


def _begin(members: Members, params: Params, facts: dict[str, Any]) -> None:
    """Nobody leads. Patroni may be about to choose somebody: whoever is told to lead by then is refused."""
    writing = [name for name, one in members.items() if failover_plan.is_(one, "running", "primary")]
    preflight = Preflight()
    preflight.require(
        not writing,
        f"{', '.join(writing)} takes writes, and nobody holds the leader's lock",
        "see patronictl list, and Patroni's log on that host",
    )
    preflight.done()
    found = failover_plan.situation(members, params["places"], params["candidate"])
    old, new = found.old, params["candidate"] or failover_plan.furthest(_eligible(members))
    # Patroni names standbys by its own names.
    own = {name: str(_told(one).get("name") or name) for name, one in members.items()}
    given = {**params, "slots": own}
    loss = engine.estimate(members, old, new, given, failover_loss.waited_for(members, old, {}, ()))
    ways = _fences(members, old, params)
    asked = Asked()
    failover_checks.gone(asked, members, old, params, bool(ways))
    failover_checks.candidate(asked, members, new, params["accept_loss"])
    _candidate(asked, members, new)
    paused = "the cluster is paused, so that Patroni stops nobody, and the host of {} does not answer"
    failover_checks.fence(asked, old, ways, params, paused)
    failover_checks.loss_and_poolers(asked, old, params, loss)
    facts.update(situation="begin", old=old, candidate=new, fences=ways, checks=asked.done(), loss=loss)
    facts["told"] = failover_loss.told_in_words(loss)
    facts["note"] = engine.note_of(members, old, new, params, {"loss": loss, "checks": facts["checks"], "quorum": None})
    facts["databases"] = failover_checks.databases(params, old, new)


def _eligible(members: Members) -> Members:
    """Those that Patroni may promote."""
    return {name: facts for name, facts in members.items() if not _barred(members, name)}


def _row(members: Members, name: str) -> Mapping[str, Any]:
    """A member as Patroni knows it."""
    told = _told(members.get(name) or {})
    rows: Sequence[Mapping[str, Any]] = told.get("members") or []
    return next((one for one in rows if one["name"] == told.get("name")), {})


def _barred(members: Members, name: str) -> bool:
    tags = _row(members, name).get("tags") or {}
    return str(tags.get("nofailover", False)).lower() in ("true", "on", "yes", "1")


def _candidate(asked: Asked, members: Members, new: str) -> None:
    state = _row(members, new).get("state")
    asked.ask(
        "patroni_candidate", state in ("running", "streaming"), f"Patroni says that {new} is {state or 'unknown'}",
        "see its log on that host", ("running", state),
    )  # fmt: skip
    asked.ask("patroni_nofailover", not _barred(members, new), f"{new} has the tag nofailover", "choose another one")


def _fences(members: Members, old: str, params: Params) -> list[str]:
    """What keeps the old primary from taking writes: a Patroni that is there starts a replica."""
    paused = any(_told(facts).get("paused") for facts in members.values())
    ended = members[old].get("state") in {"stopped", "absent"}
    found = {"command": params["fence_command"], "accepted": params["unfenced_ok"] == old, LOCK: ended or not paused}
    return [name for name, there in found.items() if there]


def _routes(members: Members, leader: str, params: Params, facts: dict[str, Any]) -> None:
    """Somebody leads. A run that was killed, or Patroni by itself, may have left clients at another place."""
    places: Mapping[str, Facts] = params["places"]
    told = [one for one in params["poolers"] if not one.get("problem")]
    declared = params["primary_databases"]
    astray = {
        name: [
            one for one in routed(told, place)
            if one not in params["placed_databases"]
            and (not declared or one in declared or one in routed(told, place, paused=True))
        ]
        for name, place in places.items() if name != leader
    }  # fmt: skip
    held = routed(told, places.get(leader) or {}, paused=True)
    noted = members[leader].get("noted") or {}
    databases = sorted({one for found in (*astray.values(), held) for one in found})
    old = str(noted.get("from") or next((name for name, found in astray.items() if found), ""))
    facts.update(situation="finish" if noted or databases else "nothing", old=old, candidate=leader)
    if facts["situation"] == "nothing":
        return
    by_itself = {"from": old, "began": params["began"], "checks": [], "fenced": LOCK, "quorum": None}
    facts.update(note=dict(noted) or by_itself, databases=databases)
    facts["checks"] = facts["note"].get("checks") or []
    if not noted:
        facts["told"] = f"{leader} leads, and poolers hold their clients, or send them elsewhere; they go to {leader}"
