# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A replica's part in a restore: its old data moved aside, so that it can be cloned anew, its configuration back."""

from __future__ import annotations

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_journal import Journal, Places
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_swap import (
    carry_configuration,
    move_aside,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server


def aside(server: Server, params: Params, check_mode: bool) -> Outcome:
    """Move a stopped replica's data aside, once for the restore that `stamp` names."""
    places = Places(server.data_dir)
    with host_lock(str(server.data_dir), "restore", params["lock_timeout"]):
        journal = Journal.read(places)
        mine = journal is not None and journal.stamp == params["stamp"]
        if journal and mine and journal.phase != "begun":
            return Outcome(False, {"aside": str(journal.aside)})
        if check_mode:
            return Outcome(True, {"aside": ""})
        if server.running():
            raise OpsError(f"the server on {server.data_dir} is running; stop it first")
        if journal is None or not mine:
            if journal:
                journal.put_away(f"before-{journal.stamp}")
            journal = Journal.begin(places, params, params["stamp"])
            journal.save("begun")
        moved = move_aside(server.data_dir, journal.aside, f".before-{journal.stamp}")
        journal.save("aside")
    return Outcome(True, {"aside": str(journal.aside)}, "data: old\n", "".join(f"old data: {one}\n" for one in moved))


def configured(server: Server, params: Params, check_mode: bool) -> Outcome:
    """Give the new clone the configuration of the old replica, before its first start."""
    with host_lock(str(server.data_dir), "restore", params["lock_timeout"]):
        journal = Journal.read(Places(server.data_dir))
        if check_mode and (journal is None or journal.stamp != params["stamp"]):
            return Outcome(True, {"aside": ""})
        if journal is None or journal.stamp != params["stamp"]:
            raise OpsError(f"{server.data_dir} was not moved aside by this restore")
        if journal.phase == "finished":
            return Outcome(False, {"aside": str(journal.aside)})
        if not check_mode:
            old = journal.aside
            if (old / "PG_VERSION").exists() and params["configuration"] == "current":
                carry_configuration(server.data_dir, old)
            journal.save("finished")
    return Outcome(True, {"aside": str(journal.aside)})
