# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`switchover` for PostgreSQL on plain hosts: another member becomes primary, planned, and nobody notices."""

from __future__ import annotations

from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import replica_upstream
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import switchover_account as account
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import switchover_checks as checks
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import switchover_fence as fence
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import switchover_stage as stage
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server, await_condition
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.switchover_move import move
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.switchover_plan import situation
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.switchover_seen import seen

#: The least that an option may be.
_LEAST = {
    "pause_timeout": 1,
    "replay_timeout": 1,
    "max_lag_bytes": 0,
    "max_archive_backlog": 0,
    "transaction_seconds": 0,
}


def switchover(params: Params, check_mode: bool) -> Outcome:
    """Do what `state` asks for, on the member that it is for."""
    server = Server.of(params)
    preflight = Preflight()
    for name, least in _LEAST.items():
        preflight.require(params[name] >= least, f"{name} is {params[name]:g}", f"give {least} or more")
    for one in params["consoles"]:
        fits = bool(one["host"]) and 0 < one["port"] < 65536
        preflight.require(fits, f"console {one['host']!r} {one['port']} is none", "give its address and port")
    port = params["candidate_port"]
    preflight.require(0 < port < 65536, f"candidate_port {port} is none", "give one from 1 to 65535")
    preflight.require(params["candidate_host"] != "", "candidate_host is empty", "give the candidate's address")
    for name in ("name", "candidate", "candidate_host") if params["state"] == "moved" else ():
        preflight.require(params[name] is not None, f"state moved needs {name}", f"set {name}")
    preflight.done()
    act = {
        "seen": _seen,
        "planned": _planned,
        "reachable": _reachable,
        "staged": stage.staged,
        "moved": move,
        "promoted": _promoted,
        "reopened": _reopened,
        "ended": _ended,
        "finished": stage.finished,
    }[params["state"]]
    return act(server, params, check_mode)


def _seen(server: Server, params: Params, check_mode: bool) -> Outcome:
    del check_mode
    return Outcome(False, {"member": seen(server, params["transaction_seconds"])})


def _planned(server: Server, params: Params, check_mode: bool) -> Outcome:
    """What is to be done; refused, with every reason, where it may not."""
    del server, check_mode
    members, candidate = params["members"], params["candidate"] or ""
    found = situation(members, candidate)
    note = members[candidate].get("unfinished")
    old = found.old or str((note or {}).get("from") or "")
    facts: dict[str, Any] = {"situation": found.name, "old": old, "checks": [], "quorum": None}
    facts["unfinished"] = found.name != "finish" or note is not None
    facts["began"] = str((note or {}).get("began") or "")
    names = str((note or {}).get("synchronous") or "")
    if found.name == "begin":
        facts["checks"] = checks.preflight(members, old, candidate, params)
        facts["began"] = ""
        names = str(members[old].get("synchronous_names") or "")
    facts["synchronous_names"] = names
    if old and facts["unfinished"]:
        slots = params["slots"]
        quorum = checks.swapped(names, slots.get(candidate, candidate), slots.get(old, old))
        facts["quorum"] = quorum.facts() if quorum else None
    # A killed run may have left clients held, also at another candidate than this one.
    places = params["addresses"]
    held = checks.belonging(params["poolers"], params, old)
    for name, place in places.items():
        paused = checks.routed(params["poolers"], place or {}, paused=True)
        held += [one for one in paused if name == candidate or one not in params["placed_databases"]]
    facts["databases"] = sorted(set(held)) if facts["unfinished"] else []
    return Outcome(False, facts)


def _reachable(server: Server, params: Params, check_mode: bool) -> Outcome:
    """See that this member will be let in by the one that it is to follow, as its replica."""
    del server, check_mode
    where = {**params, "primary_address": params["candidate_host"], "primary_port": params["candidate_port"]}
    return Outcome(False, {"system_identifier": replica_upstream.identity(where)})


def _promoted(server: Server, params: Params, check_mode: bool) -> Outcome:
    """Promote this server, where an earlier run has closed the old primary and was killed. Asked on its own host."""
    if not server.running():
        raise OpsError(f"the candidate on {server.data_dir} does not run; start it")
    with server.connect() as connection:

        def recovering() -> bool:
            return bool(connection.execute("SELECT pg_is_in_recovery()").fetchone()[0])

        if not recovering():
            return Outcome(False)
        if not check_mode:
            connection.execute("SELECT pg_promote(false)")
            if not await_condition(lambda: not recovering(), params["timeout"]):
                raise OpsError(
                    f"the candidate on port {server.port} takes no writes {params['timeout']} s after it was told to "
                    f"promote: {server.last_words()}"
                )
    return Outcome(True, {}, "role: replica\n", "role: primary\n")


def _reopened(server: Server, params: Params, check_mode: bool) -> Outcome:
    """Start the old primary as one, where an earlier run has closed it and its candidate was not told to promote."""
    if not check_mode:
        with host_lock(str(server.data_dir), "switchover"):
            if not server.running() and not fence.closed_at(server):
                raise OpsError(f"the server on {server.data_dir} was not shut down in good order; look at its log")
            fence.reopen(server, params["timeout"])
            account.drop(server)
    return Outcome(True, {}, "role: none\n", "role: primary\n")


def _ended(server: Server, params: Params, check_mode: bool) -> Outcome:
    """Wait until an old primary that is closed has ended, too: it may still archive."""
    if server.exists() and not check_mode and fence.closing(server):
        fence.end(server, params["timeout"], params["timeout"])
    return Outcome(False)
