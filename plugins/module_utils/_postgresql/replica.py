# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`replica` for PostgreSQL: clone from the primary through a physical slot, attach, and wait until it streams."""

from __future__ import annotations

import os
import re
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import is_empty
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import (
    receiver,
    replica_clone,
    replica_settings,
    replica_slot,
    replica_tablespaces,
    replica_upstream,
    scram,
    synchronous,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server, await_condition
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.tablespace import PLACES

try:
    from psycopg import sql
except ImportError:
    sql = None

#: What the upstream tells a replica that it can't serve any more.
_GONE = re.compile(
    r"requested WAL segment \w+ has already been removed|replication slot .*(does not exist|invalidated)"
)

#: How often in a row a replica has to say that it streams; and where its histories say that it can't.
_STEADY, _LONG = 3, 30


def replica(params: Params, check_mode: bool) -> Outcome:
    """Do what `state` asks for, on the replica, its upstream, or the primary."""
    act = {
        "attached": _attach,
        "prepared": _prepare,
        "released": replica_slot.release,
        "removed": replica_clone.remove,
        "reserved": replica_slot.reserve,
        "streaming": _await_streaming,
        "synchronous": synchronous.synchronous,
    }[params["state"]]
    return act(Server.of(params), params, check_mode)


def _attach(server: Server, params: Params, check_mode: bool) -> Outcome:
    preflight = Preflight()
    slot = params["slot"]
    preflight.require(
        bool(replica_upstream.SLOT.match(slot)),
        f"slot {slot!r}: only a-z, 0-9 and _ are allowed",
        "choose another slot",
    )
    replica_settings.delay_fits(params, preflight)
    fresh = not server.exists()
    if fresh:
        preflight.require(
            is_empty(server.data_dir), f"{server.data_dir} is not empty and holds no PostgreSQL data", "empty it"
        )
        preflight.require(
            not os.path.ismount(server.data_dir), f"{server.data_dir} is a mount point", "use a directory below it"
        )
        replica_tablespaces.require_free(server.data_dir, params["tablespaces"], preflight)
    if fresh and check_mode:
        preflight.done()
        return Outcome(True, {"slot": slot}, "replica: absent\n", "replica: attached\n")
    identity = "" if preflight.reasons else replica_upstream.identity(params)
    if not fresh and identity:
        _is_ours(server, identity, params, preflight, check_mode)
    preflight.done()
    again = params["reclone"] and not fresh
    kept = ""
    with host_lock(str(server.data_dir), "replica"):
        if (fresh or again) and not check_mode:
            source = replica_clone.source_of(server, params, identity)
            if again:
                kept = replica_clone.set_aside(server, "replaced", params["keep_data"])
            replica_settings.write_passfile(server, params)
            replica_clone.clone(server, params, source)
        settings = replica_settings.stale_settings(server, params)
        stale = bool(settings) or replica_settings.passfile_stale(server, params)
        if stale and not check_mode:
            replica_settings.write_passfile(server, params)
            replica_settings.write_settings(server, settings)
    changed = fresh or again or stale
    facts = {"slot": slot, "system_identifier": identity, "kept": kept or None}
    return Outcome(changed, facts, "", "replica: attached\n" if changed else "")


def _is_ours(server: Server, identity: str, params: Params, preflight: Preflight, check_mode: bool) -> None:
    own = server.control().get("Database system identifier", "")
    preflight.require(
        own == identity,
        f"{server.data_dir} holds another cluster's data (system identifier {own}, the primary's is {identity})",
        "move it away yourself if it is not wanted",
    )
    preflight.require(
        (server.data_dir / "standby.signal").exists(),
        f"{server.data_dir} was last a primary of this cluster: two primaries",
        "decide which one is right, then rejoin the other",
    )
    preflight.require(
        check_mode or not (params["reclone"] and server.running()),
        f"the replica on {server.data_dir} runs",
        "stop it, to clone anew",
    )


def _prepare(server: Server, params: Params, check_mode: bool) -> Outcome:
    """Have the account that replicates, with this password, on the primary. The password never reaches its log."""
    if check_mode and not server.running():
        return Outcome(True, {})
    name, password = params["replication_user"], params["replication_password"]
    with server.connect() as connection:
        row = connection.execute(
            "SELECT rolpassword, rolcanlogin AND rolreplication FROM pg_authid WHERE rolname = %s", (name,)
        ).fetchone()
        facts = {"tablespaces": [place for _name, place in connection.execute(PLACES).fetchall()]}
        if row and row[1] and scram.matches(row[0] or "", password):
            return Outcome(False, facts)
        if not check_mode:
            verifier = scram.verifier(connection, name, password)
            verb = sql.SQL("ALTER" if row else "CREATE")
            statement = sql.SQL("{} ROLE {} LOGIN REPLICATION PASSWORD {}")
            connection.execute(statement.format(verb, sql.Identifier(name), sql.Literal(verifier)))
    return Outcome(True, facts, "" if not row else f"role {name}: differs\n", f"role {name}: login, replication\n")


def _await_streaming(server: Server, params: Params, check_mode: bool) -> Outcome:
    if check_mode and not (server.exists() and server.running()):
        return Outcome(False, {"slot": params["slot"]})
    status: dict[str, Any] = {}
    steady = 0

    def streaming() -> bool:
        nonlocal steady
        status["is"] = receiver.receives(server)
        steady = steady + 1 if status["is"] in receiver.WELL else 0
        # A receiver calls itself streaming before it knows whether it can; one that can't does so for moments.
        return steady >= _STEADY and (steady >= _LONG or not receiver.stranded(server))

    if not await_condition(streaming, params["timeout"], every=0.1):
        said = server.last_words()
        why = receiver.stranded(server)
        remedy = "; run provision again: it tells whether the replica must be cloned anew" if _GONE.search(said) else ""
        remedy = f"; {why}: the playbook rejoin brings back one that is diverged" if why else remedy
        raise OpsError(
            f"the replica on port {server.port} does not stream from {params['primary_address']}:"
            f"{params['primary_port']} after {params['timeout']} s (receiver: {status['is']}): {said}{remedy}"
        )
    return Outcome(False, {"slot": params["slot"], "status": status["is"]})
