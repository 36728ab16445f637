# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A replica's physical slot, on the server that the replica follows: there and able to serve, or gone."""

from __future__ import annotations

import time
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import lsn
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.replica_upstream import SLOT
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository import open_repository
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server, await_condition

_SLOT = "SELECT slot_type, active_pid, wal_status FROM pg_replication_slots WHERE slot_name = %s"
#: Segments that were recycled carry names of the future.
_SEGMENTS = """
SELECT name, current_setting('wal_segment_size') AS size
FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$' ORDER BY substr(name, 9)
"""
_UNITS = {"kB": 1024, "MB": 1024**2, "GB": 1024**3}


def reserve(server: Server, params: Params, check_mode: bool) -> Outcome:
    """Have the slot, on the upstream. One that was invalidated is made anew.

    With `needed_lsn`, where the replica goes on from, the WAL from there on must still be in pg_wal or in the archive;
    else the replica must be cloned anew: refused unless `reclone`, and then told in `must_reclone`.
    """
    _name_fits(params)
    if not server.running():
        if check_mode:
            return Outcome(True, {"slot": params["slot"], "must_reclone": False})
        raise OpsError(f"the server on {server.data_dir}, which the replica follows, does not run; start it")
    slot = params["slot"]
    with server.connect() as connection:
        row = connection.execute(_SLOT, (slot,)).fetchone()
        before = "absent" if row is None else "invalidated" if row[2] == "lost" else "there"
        if row is not None and row[0] != "physical":
            raise OpsError(f"slot {slot} on port {server.port} is a logical one; choose another slot")
        why = _out_of_reach(connection, server, params)
        if why and not params["reclone"]:
            preflight = Preflight()
            state = "" if before == "there" else f", and its slot {slot} is {before}"
            preflight.refuse(
                f"the replica {slot} needs WAL from {params['needed_lsn']} on, {why}{state}: it must be cloned anew",
                "-e replica_reclone=true moves its data aside and clones",
            )
            preflight.done()
        # A clone makes the slot itself.
        made = before != "there" and not why
        if made and not check_mode:
            _make(connection, slot, row)
    facts = {"slot": slot, "must_reclone": bool(why)}
    return Outcome(made, facts, f"slot {slot}: {before}\n", f"slot {slot}: {'there' if made else before}\n")


def release(server: Server, params: Params, check_mode: bool) -> Outcome:
    """Drop the slot, on a server whose replica no longer follows it. One in use is waited for, never cut off."""
    _name_fits(params)
    slot = params["slot"]
    if check_mode and not server.running():
        return Outcome(False, {"slot": slot})
    with server.connect() as connection:
        row = connection.execute(_SLOT, (slot,)).fetchone()
        if row is None:
            return Outcome(False, {"slot": slot})
        if not check_mode:

            def unused() -> bool:
                found = connection.execute(_SLOT, (slot,)).fetchone()
                return found is None or found[1] is None

            if not await_condition(unused, params["timeout"], every=0.2):
                raise OpsError(
                    f"slot {slot} on port {server.port} is still in use after {params['timeout']} s; stop the replica "
                    "that uses it, or have it follow another server"
                )
            connection.execute(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s", (slot,)
            )
    return Outcome(True, {"slot": slot}, f"slot {slot}: there\n", f"slot {slot}: absent\n")


def _name_fits(params: Params) -> None:
    preflight = Preflight()
    slot = params["slot"]
    preflight.require(bool(SLOT.match(slot)), f"slot {slot!r}: only a-z, 0-9 and _ are allowed", "choose another slot")
    preflight.done()


def _make(connection: Any, slot: str, row: tuple[Any, ...] | None) -> None:
    if row is not None:
        # The engine ended the sender when it invalidated the slot; it may need a moment.
        deadline = time.monotonic() + 10
        while row[1] is not None and time.monotonic() < deadline:
            time.sleep(0.1)
            row = connection.execute(_SLOT, (slot,)).fetchone() or (None, None, None)
        connection.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s", (slot,)
        )
    connection.execute("SELECT pg_create_physical_replication_slot(%s, true)", (slot,))


def _out_of_reach(connection: Any, server: Server, params: Params) -> str:
    """Why the replica can't be given the WAL that it goes on from, empty where it can or where that is not asked."""
    if not params["needed_lsn"]:
        return ""
    try:
        needed = lsn.parse(params["needed_lsn"])
    except ValueError as exc:
        raise OpsError(f"needed_lsn: {exc}") from None
    rows = connection.execute(_SEGMENTS).fetchall()
    size = _bytes(rows[0][1]) if rows else 16 * 1024**2
    number = needed // size
    held = {lsn.segment_start(name, size) // size for name, _size in rows}
    # At the end of a segment the next one need not be there yet.
    if number in held or number > max(held, default=number):
        return ""
    oldest = lsn.text(min(held, default=0) * size)
    if not params["tool"]:
        return f"its upstream begins at {oldest}"
    archived = open_repository(params, server.program).archived()
    in_archive = {lsn.segment_start(name, size) // size for name in archived if lsn.SEGMENT.match(name)}
    missing = next((one for one in range(number, min(held, default=number)) if one not in in_archive), None)
    if missing is None:
        return ""
    return f"its upstream begins at {oldest} and the archive has no WAL of {lsn.text(missing * size)}"


def _bytes(text: str) -> int:
    """`16MB`, as the engine shows a segment's size, in bytes."""
    return int(text[:-2]) * _UNITS[text[-2:]]
