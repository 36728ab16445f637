# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The step that changes production: the new data directory takes the old one's place. Nothing is deleted."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import remove_tree
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._core.process import run
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository import open_repository
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_beside import beside
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_journal import Journal, Places
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_swap import (
    auto_setting,
    bring_back_outside,
    carry_configuration,
    exchange,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import CLEAN_STATES, Server

SYNCHRONOUS = "synchronous_standby_names"


def replaced(server: Server, params: Params, check_mode: bool) -> Outcome:
    """Stop the new server, give it production's configuration, and exchange the directories. It is not started."""
    places = Places(server.data_dir)
    if check_mode:
        return Outcome(True, {"aside": ""}, "data: old\n", "data: restored\n")
    with host_lock(str(server.data_dir), "restore", params["lock_timeout"]):
        journal = Journal.read(places)
        if journal is None or journal.phase == "begun":
            raise OpsError(f"nothing was recovered for {server.data_dir} yet")
        facts = {"aside": str(journal.aside), "stamp": journal.stamp}
        if journal.phase in ("replaced", "finished"):
            return Outcome(False, facts)
        if journal.phase == "recovered":
            _nobody_wrote_since(server, params, journal)
            if server.running():
                raise OpsError(f"the server on {server.data_dir} is running; stop it first")
            _stop(beside(server, places), params["timeout"])
            journal.save("replacing", verification=params["checks"])
        if places.restoring.exists():
            _make_ready(server, params, places, journal)
        homes = {oid: Path(home) for oid, home in journal.more["homes"].items()}
        exchange(places.restoring, server.data_dir, journal.aside, f".before-{journal.stamp}", homes)
        log = beside(server, places).log_file
        if log.exists():
            log.rename(places.beside(f"recovery-{journal.stamp}.log"))
        for place in (places.socket_dir, places.wal):
            remove_tree(place)
        journal.save("replaced")
    return Outcome(True, facts, "data: old\n", f"data: restored\nold data: {journal.aside}\n")


def _nobody_wrote_since(server: Server, params: Params, journal: Journal) -> None:
    """Every server that is known was stopped before recovery: what has come into the archive since is a stranger's."""
    held = set(open_repository(params, server.program).archived())
    strange = sorted(held - set(journal.more.get("held", [])))
    if strange:
        # Said once: who has found and stopped it goes on by running again.
        journal.save(held=sorted(held))
        raise OpsError(
            f"the archive got {', '.join(strange[:3])} while every known server was stopped: a primary that is not "
            "seen archives to it; find and stop it, then run again. Nothing was replaced yet"
        )


def _stop(new: Server, seconds: float) -> None:
    """Stop the new server in order. One that crashed is started once more, for a checkpoint."""
    if not new.running() and new.control().get("Database cluster state") not in CLEAN_STATES:
        new.start(seconds)
    if new.running():
        new.stop(seconds)


def _make_ready(server: Server, params: Params, places: Places, journal: Journal) -> None:
    """Give the new data directory what production starts with. From here on it is not started beside it any more."""
    olds = [place for place in (server.data_dir, journal.aside) if (place / "PG_VERSION").exists()]
    carry_configuration(places.restoring, olds[0] if olds and params["configuration"] == "current" else None)
    came_back = bring_back_outside(server, places.restoring)
    # Without its replicas a synchronous primary would let nobody commit, not even those who bring them back.
    was = auto_setting(places.restoring, SYNCHRONOUS, f"{SYNCHRONOUS} = ''")
    journal.save(synchronous=was, came_back=came_back or journal.more.get("came_back", []))
    run([server.program("initdb"), "--sync-only", "-D", str(places.restoring)])
