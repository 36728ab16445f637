# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A drill of a failover, on the hosts: what it has noted of itself, and the kill of a primary.

The note says who the primary was before the drill, and which word it was at. It is what the next run needs to finish
the work of one that was killed; what the servers are is asked of them.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from pathlib import Path

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import read_text, remove_tree, write_atomic
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Cell, Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._core.process import alive
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server, await_condition

_NAMES = ("postgres", "postmaster")


def failover_drill(params: Params, check_mode: bool) -> Outcome:
    """The cell. Raises OpsError."""
    return _STATES[params["state"]](params, check_mode)


def _note_file(params: Params) -> Path:
    if not params["directory"] or not Path(params["directory"]).is_absolute():
        raise OpsError(f"directory {params['directory'] or ''} is missing or relative; give the whole path")
    return Path(params["directory"]) / "drill.json"


def _seen(params: Params, check_mode: bool) -> Outcome:
    """What an earlier drill has noted and not taken away."""
    del check_mode
    place = _note_file(params)
    _own(place.parent)
    text = read_text(place)
    try:
        note = json.loads(text) if text else {}
        sound = isinstance(note, dict)
    except ValueError:
        sound = False
    if not sound:
        raise OpsError(f"{place} is not what a drill has written there; look who is primary, then remove it")
    return Outcome(False, {"note": note})


def _noted(params: Params, check_mode: bool) -> Outcome:
    place = _note_file(params)
    _own(place.parent)
    before = read_text(place)
    if before and params["fresh"]:
        raise OpsError(f"refused: another drill has begun meanwhile, and left {place}; wait for its end")
    after = json.dumps({**params["note"], "noted": time.time()}, indent=2, sort_keys=True) + "\n"
    if not check_mode:
        place.parent.mkdir(mode=0o700, exist_ok=True)
        write_atomic(place, after)
    return Outcome(True, {"note": params["note"]}, before, after)


def _cleared(params: Params, check_mode: bool) -> Outcome:
    """Take away all that the drill has kept."""
    place = _note_file(params).parent
    _own(place)
    there = place.exists()
    if there and not check_mode:
        remove_tree(place)
    return Outcome(there, {}, f"{place}: there\n" if there else "", "")


def _own(place: Path) -> None:
    """Everybody may make a directory where this one lies."""
    if place.is_symlink() or (place.exists() and place.stat().st_uid != os.geteuid()):
        raise OpsError(f"{place} is a link or belongs to another account; remove it, or name another directory")


def _killed(params: Params, check_mode: bool) -> Outcome:
    """SIGKILL for every process of a primary, as a crash of it would be."""
    server = Server.of(params)
    if not server.running():
        raise OpsError(f"the server on {server.data_dir} does not run; nothing was killed")
    with server.connect() as connection:
        if connection.execute("SELECT pg_is_in_recovery()").fetchone()[0]:
            raise OpsError(f"the server on {server.data_dir} is a replica, and no primary; nothing was killed")
    if check_mode:
        return Outcome(True, {}, "server: runs\n", "server: killed\n")
    with host_lock(str(server.data_dir), "failover_drill"):
        # The one that would start others comes first.
        first, at, hit = server.pid(), time.time(), 0
        if first:
            os.kill(first, signal.SIGKILL)
            hit = 1

        def gone() -> bool:
            nonlocal hit
            left = _processes(server)
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    hit += 1
            return not left

        if not await_condition(gone, params["timeout"]):
            raise OpsError(f"processes of the server on {server.data_dir} do not end after they were killed")
    return Outcome(True, {"killed_at": at, "processes": hit}, "server: runs\n", "server: killed\n")


def _processes(server: Server) -> list[int]:
    """Every process of the server that lives: they work in the data directory."""
    place, found = os.path.realpath(server.data_dir), []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            here = os.path.realpath(process / "cwd") == place
            if here and (process / "comm").read_text().strip().startswith(_NAMES) and alive(process.name):
                found.append(int(process.name))
    return found


def _ran(params: Params, check_mode: bool) -> Outcome:
    del params, check_mode
    raise OpsError("state=ran runs a playbook on the controller: use it in a play, and not on a host alone")


_STATES: dict[str, Cell] = {"seen": _seen, "noted": _noted, "cleared": _cleared, "killed": _killed, "ran": _ran}
