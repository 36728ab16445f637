# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`failover` for PostgreSQL on plain hosts: a replica becomes primary where the primary is gone."""

from __future__ import annotations

import time
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import (
    failover_checks,
    failover_fence,
    failover_loss,
    failover_reach,
    failover_seen,
    switchover_checks,
    switchover_stage,
    wal_tail,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.failover_plan import Members, situation
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import (
    Server,
    await_condition,
    timeline_of,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.switchover_move import ignore_signals
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.synchronous import Quorum

_LEAST = {"reach_seconds": 1, "silence_seconds": 1, "timeout": 1}
#: A row of its own for nobody: it proves that the server takes writes. It waits for no standby.
_WRITES = "SELECT pg_logical_emit_message(true, 'boringdb.ops', 'failover')::text"
_TIMELINE = "SELECT pg_walfile_name(pg_current_wal_lsn())"


def failover(params: Params, check_mode: bool) -> Outcome:
    """Do what `state` asks for, on the host that it is for."""
    preflight = Preflight()
    for name, least in _LEAST.items():
        preflight.require(params[name] >= least, f"{name} is {params[name]:g}", f"give {least} or more")
    for name, place in params["places"].items():
        port = str((place or {}).get("port", ""))
        good = bool((place or {}).get("host")) and port.isdigit() and 0 < int(port) < 65536
        preflight.require(good, f"the place of {name} is none", "give its host and port")
    typed = params["accept_loss"]
    number = typed.replace(".", "", 1).isdigit()
    good = not typed or typed == failover_loss.UNKNOWN or number
    preflight.require(good, f"accept_loss is {typed!r}", "give seconds, or the word unknown")
    server = None
    if params["state"] not in {"reached", "planned"}:
        preflight.require(bool(params["data_dir"]), f"state {params['state']} needs data_dir", "set data_dir")
        preflight.done()
        server = Server.of(params)
    preflight.done()
    if server is None:
        act = {"reached": _reached, "planned": _planned}[params["state"]]
        return act(params)
    on_server = {
        "seen": _seen,
        "left": _left,
        "fenced": failover_fence.fenced,
        "promoted": _promoted,
        "finished": _finished,
    }[params["state"]]
    return on_server(server, params, check_mode)


def _reached(params: Params) -> Outcome:
    return Outcome(False, {"reached": failover_reach.ask_all(params["places"], params["reach_seconds"])})


def _seen(server: Server, params: Params, check_mode: bool) -> Outcome:
    del check_mode
    return Outcome(False, {"member": failover_seen.seen(server, params)})


def _left(server: Server, params: Params, check_mode: bool) -> Outcome:
    """What the old primary has that the replicas have not, by its files."""
    del check_mode
    timeline = timeline_of(server.control())
    try:
        return Outcome(False, {"left": wal_tail.wal_tail(server, timeline, params["position"]).facts()})
    except OpsError as exc:
        return Outcome(False, {"left": {"problem": str(exc)}})


# --- the plan -------------------------------------------------------------------------------------------------------


def _planned(params: Params) -> Outcome:
    """What is to be done; refused, with every reason, where it may not."""
    members: Members = params["members"]
    found = situation(members, params["places"], params["candidate"])
    facts: dict[str, Any] = {"situation": found.name, "old": found.old, "candidate": found.new, "checks": []}
    facts.update(quorum=None, databases=[], note={}, unfinished=found.name != "nothing", fences=[], managed=False)
    facts["returned"] = found.name == "finish" and _is_back(members, found.old)
    if found.name == "begin":
        facts["note"] = _told(members, found.old, found.new, params, facts)
    elif found.name == "finish":
        facts["note"] = dict(members[found.new]["noted"])
        facts["checks"] = facts["note"].get("checks") or []
        facts["quorum"] = _still(members, found.new, facts["note"].get("quorum"), params)
    if facts["unfinished"]:
        facts["databases"] = failover_checks.databases(params, found.old, found.new)
    facts["began"] = str(facts["note"].get("began") or "")
    return Outcome(False, facts)


def _is_back(members: Members, old: str) -> bool:
    """Whether the old primary runs, and as one; or is there to be fenced still."""
    facts = members.get(old) or {}
    primary = facts.get("role") == "primary" and facts.get("state") in {"running", "hung"}
    return primary or (bool(facts.get("was_primary")) and not facts.get("signal"))


def _told(members: Members, old: str, new: str, params: Params, facts: dict[str, Any]) -> dict[str, Any]:
    """Check everything; returns what is noted with the candidate before it is promoted."""
    others = [slot for name, slot in params["slots"].items() if name != old]
    waited = failover_loss.waited_for(members, old, params["declared"], others)
    loss = estimate(members, old, new, params, waited)
    facts["fences"] = failover_checks.fences(members, old, params)
    facts["checks"] = failover_checks.preflight(members, old, new, params, loss)
    facts["loss"] = loss
    facts["told"] = failover_loss.told_in_words(loss)
    slots = params["slots"]
    after = switchover_checks.swapped(str(waited or ""), slots.get(new, new), slots.get(old, old))
    quorum = after.facts() if after else None
    facts["quorum"] = _still(members, new, quorum, params)
    return note_of(members, old, new, params, {"loss": loss, "checks": facts["checks"], "quorum": quorum})


def estimate(members: Members, old: str, new: str, params: Params, waited: Quorum | None) -> dict[str, Any]:
    """What may be lost, where commits of the old primary waited for a quorum or for nobody."""
    if not new:
        return _no_loss()
    safe = waited if failover_loss.covered(members, new, waited, params["slots"]) else None
    return failover_loss.loss(members, old, new, params["left"], safe)


def note_of(members: Members, old: str, new: str, params: Params, found: dict[str, Any]) -> dict[str, Any]:
    """What is noted with the candidate: what was found, who looked, and when somebody heard of the old primary last."""
    vantages = list(params["vantages"])
    vantages += [name for name, one in members.items() if (one.get("reached") or {}).get(old)]
    heard = [one.get("heard") or {} for one in members.values()]
    moments = [float(one[key]) for one in heard for key in ("heard_at", "last_commit") if one.get(key)]
    return {
        "from": old, "began": params["began"], **found, "vantages": sorted(set(vantages)),
        "last_sign": max(moments, default=None), "timeline": int(members[new].get("timeline") or 0),
    }  # fmt: skip


def _no_loss() -> dict[str, Any]:
    unknown = failover_loss.UNKNOWN
    told = {"bytes": unknown, "bytes_at_least": 0, "transactions": unknown, "seconds": unknown, "covered": False}
    return {**told, "basis": "nobody is there to be promoted", "position": unknown}


def _still(members: Members, new: str, quorum: dict[str, Any] | None, params: Params) -> dict[str, Any] | None:
    """The quorum, where enough of its members are there for a commit not to hang."""
    if not quorum:
        return None
    there = [
        name
        for name, facts in members.items()
        if name != new and facts.get("position") and params["slots"].get(name) in quorum["names"]
    ]
    return quorum if len(there) >= int(quorum["number"]) else None


# --- the promotion --------------------------------------------------------------------------------------------------


def _promoted(server: Server, params: Params, check_mode: bool) -> Outcome:
    """Promote this server; sending it is the point of no return."""
    note = dict(params["note"])
    if not server.running():
        raise OpsError(f"the candidate on {server.data_dir} does not run; start it")
    with server.connect() as connection:

        def recovering() -> bool:
            return bool(connection.execute("SELECT pg_is_in_recovery()").fetchone()[0])

        if not recovering():
            raise OpsError(f"the server on {server.data_dir} is a primary already; run the same command again")
        if check_mode:
            return Outcome(True, {}, "role: replica\n", "role: primary\n")
        with host_lock(str(server.data_dir), "failover"):
            _nobody_sends(connection, params)
            switchover_stage.unhindered(connection, server, check_mode)
            failover_seen.note(server, note)
            ignore_signals()
            begun = time.time()
            connection.execute("SELECT pg_promote(false)")
            if not await_condition(lambda: not recovering(), params["timeout"], every=0.002):
                raise OpsError(
                    f"the candidate on port {server.port} takes no writes {params['timeout']} s after it was told to "
                    f"promote: {server.last_words()}; run the same command again"
                )
            took = time.time() - begun
            connection.execute("SET synchronous_commit = local")
            connection.execute(_WRITES)
            timeline = int(connection.execute(_TIMELINE).fetchone()[0][:8], 16)
            note.update(promoted_at=time.time(), promote_ms=round(took * 1000, 1), timeline_after=timeline)
            failover_seen.note(server, note)
    return Outcome(True, {"note": note}, "role: replica\n", "role: primary\n")


def _nobody_sends(connection: Any, params: Params) -> None:
    """The last look: a primary that is heard of again is none that is gone."""
    row = connection.execute(
        "SELECT extract(epoch FROM clock_timestamp() - last_msg_receipt_time)::float FROM pg_stat_wal_receiver"
        " WHERE status = 'streaming'"
    ).fetchone()
    if row and row[0] is not None and row[0] < params["silence_seconds"] and not params["fenced"]:
        raise OpsError(f"it hears of its primary again, {row[0]:.1f} s ago; nothing was promoted: run it again")


def _finished(server: Server, params: Params, check_mode: bool) -> Outcome:
    """Take away what was made for the failover."""
    outcome = switchover_stage.finished(server, params, check_mode)
    place = failover_seen.note_file(server)
    if place.exists():
        outcome.changed = True
        outcome.before += f"{place.name}: there\n"
        if not check_mode:
            place.unlink()
    return outcome
