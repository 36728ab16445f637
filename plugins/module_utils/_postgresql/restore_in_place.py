# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`restore_in_place` for PostgreSQL: a server in production brought back to a target, and every step on the way.

The new data directory grows beside the old one, is recovered and proven there, and only then takes its place. Until
that moment nothing of the old server's has changed but that it was stopped.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Callable

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import is_empty
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._core.progress import tree_bytes
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import restore_options
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_beside import InPlace
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_exchange import replaced
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_finish import finished, opened
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_journal import Journal, Places
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_member import aside, configured
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_planner import existing
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_recover import recovered
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_swap import NEW, locations, movable
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_undo import undone
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server, require_psycopg

Step = Callable[[Server, Params, bool], Outcome]


def restore_in_place(params: Params, check_mode: bool) -> Outcome:
    """Take one step, or none where it was taken already."""
    restore_options.refuse_impossible(params)
    server = Server.of(params)
    if params["state"] == "planned":
        return _planned(server, params)
    if params["state"] == "noted":
        places = Places(server.data_dir)
        journal = Journal.read(places)
        noted: dict[str, Any] = {}
        if journal:
            noted = {"member": journal.member, "phase": journal.phase, "stamp": journal.stamp}
        put_away = [path.stem for path in places.data_dir.parent.glob(f"{places.data_dir.name}.undone-*.json")]
        noted["went_back"] = max((name.rpartition("-")[2] for name in put_away), default="")
        return Outcome(False, {"noted": noted})
    act: Step = {
        "recovered": recovered, "replaced": replaced, "opened": opened, "finished": finished, "aside": aside,
        "configured": configured, "undone": undone,
    }[params["state"]]  # fmt: skip
    return act(server, params, check_mode)


def _planned(server: Server, params: Params) -> Outcome:
    """Everything that stands in the way, and what would be done. Touches nothing and never fails for a reason."""
    require_psycopg()
    places = Places(server.data_dir)
    preflight = Preflight()
    journal = Journal.read(places)
    phase, again = _phase(journal, params, preflight)
    facts: dict[str, Any] = {"phase": phase, "stamp": journal.stamp if journal and not again else ""}
    preflight.require(os.geteuid() != 0, "PostgreSQL's data is not restored by root", "set become_user to its owner")
    _no_other_operation(server, params, preflight)
    if phase not in ("replacing", "replaced", "finished"):
        _place(server, params, preflight)
        if params["member"] == "primary":
            own = journal if journal and not again and journal.same_as(params) else None
            facts.update(_plan(server, params, own, preflight))
        else:
            _room(server, params["needed_bytes"], preflight)
    facts["reasons"] = [{"what": one.what, "remedy": one.remedy} for one in preflight.reasons]
    return Outcome(False, facts)


def _phase(journal: Journal | None, params: Params, preflight: Preflight) -> tuple[str, bool]:
    """How far this very restore is, and whether it begins anew."""
    if journal is None:
        return "none", True
    if params["member"] == "replica" and journal.member == "replica":
        return "none", False
    if journal.phase == "undoing":
        preflight.refuse(f"a restore of {journal.places.data_dir} is being undone", "finish that first")
        return journal.phase, False
    if journal.unfinished():
        preflight.require(
            journal.same_as(params),
            f"an unfinished restore to {journal.asked()} is here (since {journal.stamp})",
            "run it again with that target to finish it, or undo it",
        )
        return journal.phase, False
    if journal.same_as(params) and not params["again"]:
        return journal.phase, False
    return "none", True


def _no_other_operation(server: Server, params: Params, preflight: Preflight) -> None:
    things = [str(server.data_dir)]
    things += [params["backup_path"]] if params["backup_path"] else []
    things += [f"pgbackrest/{params['stanza']}"] if params["tool"] == "pgbackrest" else []
    for thing in things:
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(host_lock(thing, "preflight of restore", params["lock_timeout"]))
            except OpsError as exc:
                preflight.refuse(str(exc))


def _place(server: Server, params: Params, preflight: Preflight) -> None:
    data_dir = server.data_dir
    if not server.exists() and not is_empty(data_dir):
        preflight.refuse(f"{data_dir} is not empty and holds no PostgreSQL data", "look at it, and move it away")
    movable(data_dir, preflight)
    if server.exists():
        preflight.require(
            data_dir.stat().st_uid == os.geteuid(),
            f"{data_dir} does not belong to {getpass.getuser()}",
            "set become_user to its owner",
        )
    if server.config_dir != data_dir and server.config_dir.exists():
        preflight.require(
            (server.config_dir / "postgresql.conf").exists() or os.access(server.config_dir, os.W_OK),
            f"{server.config_dir} holds no postgresql.conf and is not writable for {getpass.getuser()}",
            "its copy in the backup could not be put back; change its owner",
        )


def _plan(server: Server, params: Params, journal: Journal | None, preflight: Preflight) -> dict[str, Any]:
    planner = InPlace(server, params, Places(server.data_dir), journal)
    # Its end brings more WAL: what is refused only then finds the servers stopped.
    planner.spare_segments = 4 if server.running() else 0
    try:
        with tempfile.TemporaryDirectory(prefix="boringdb-") as scratch:
            plan = planner.plan(Path(scratch))
    except OpsError as exc:
        failures = [check.message for check in planner.checks if check.required and check.status == "failed"]
        for message in failures or [str(exc)]:
            preflight.refuse(message)
        return {"checks": [check.to_dict() for check in planner.checks]}
    for check in planner.checks:
        if check.required and check.status == "failed":
            preflight.refuse(check.message)
    if server.exists():
        own = server.control().get("Database system identifier", "")
        preflight.require(
            own == plan.backup.system_identifier,
            f"{server.data_dir} holds another cluster's data (system identifier {own}, the backup's is "
            f"{plan.backup.system_identifier})",
            "move it away yourself if it is not wanted",
        )
    _room_for_tablespaces(server.data_dir, preflight)
    return {**planner.result(plan), "needed_bytes": plan.backup.bytes}


def _room(server: Server, needed: int, preflight: Preflight) -> None:
    place = existing(server.data_dir.parent)
    free = shutil.disk_usage(place).free
    preflight.require(
        free >= needed,
        f"{place} has {free >> 20} MB free, a new copy beside the old data needs {needed >> 20} MB",
        "make room",
    )
    _room_for_tablespaces(server.data_dir, preflight)


def _room_for_tablespaces(data_dir: Path, preflight: Preflight) -> None:
    """Those on another filesystem: about as much as lies there now."""
    for location in locations(data_dir).values():
        if not location.is_dir() or location.stat().st_dev == existing(data_dir).stat().st_dev:
            continue
        size = tree_bytes(location) - tree_bytes(location.with_name(location.name + NEW))
        free = shutil.disk_usage(location).free
        preflight.require(
            free >= size,
            f"{location} has {free >> 20} MB free, a second copy of this tablespace needs {size >> 20} MB",
            "make room",
        )
