# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way back from a restore: the old data directory returns to its place, and what was restored is kept aside.

Where the restored server has archived a timeline, the old one gets a newer one, so that a later restore to the newest
timeline follows it and not the one that was given up.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import remove_tree
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import lsn
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository import open_repository
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_journal import Journal, Places
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_recover import discard, forget
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_swap import (
    exchange,
    later_back,
    move_back,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import (
    Server,
    await_condition,
    timeline_of,
)


def undone(server: Server, params: Params, check_mode: bool) -> Outcome:
    """Put the old data directory back. The servers are stopped; the caller starts them afterwards."""
    places = Places(server.data_dir)
    with host_lock(str(server.data_dir), "undo of a restore", params["lock_timeout"]):
        journal = Journal.read(places)
        # A replica may have another's, that reached its end long ago.
        if journal is None or params["stamp"] not in ("", journal.stamp):
            return Outcome(False, {"undone": False})
        if server.running():
            raise OpsError(f"the server on {server.data_dir} is running; stop it first")
        if journal.phase == "replacing" and places.restoring.exists() and not check_mode:
            # Half exchanged is no state to go back from.
            homes = {oid: Path(home) for oid, home in journal.more["homes"].items()}
            exchange(places.restoring, server.data_dir, journal.aside, f".before-{journal.stamp}", homes)
        exchanged = journal.phase not in ("begun", "recovered") or journal.aside.exists()
        if exchanged and journal.phase != "undoing" and not journal.aside.exists():
            raise OpsError(
                f"{journal.aside} is not there: there was no old data on this host, or somebody has removed it; "
                "there is nothing to go back to"
            )
        if check_mode:
            return Outcome(True, {"undone": True})
        if journal.member == "primary" and journal.phase in ("begun", "recovered"):
            forget(journal)
            discard(server, places, journal)
        if journal.member == "primary" and not exchanged:
            later = [Path(place) for place in journal.more.get("later", [])]
            later_back(server.data_dir, later, f".before-{journal.stamp}")
        if exchanged:
            journal.save("undoing", was=journal.more.get("was") or journal.phase)
            away = places.beside(f"undone-{journal.stamp}")
            move_back(
                server.data_dir, journal.aside, f".before-{journal.stamp}", away, f".undone-{journal.stamp}"
            )
            if journal.member == "primary" and not (server.data_dir / "standby.signal").exists():
                _newer_timeline(server, params, places)
        journal.put_away(f"undone-{journal.stamp}")
    return Outcome(True, {"undone": True}, "data: restored\n", "data: old\n")


def _newer_timeline(server: Server, params: Params, places: Places) -> None:
    """Let the old server recover to the end of its own WAL and branch off; nobody can connect to it meanwhile."""
    repository = open_repository(params, server.program)
    line = timeline_of(server.control())
    signal = server.data_dir / "recovery.signal"
    newer = [name for name in repository.archived() if int(name[:8], 16) > line]
    if not newer and not signal.exists():
        return
    # A replica that follows asks for the history of every timeline up to the new one, also of those given up.
    for name in newer:
        if lsn.HISTORY.match(name) and not (server.data_dir / "pg_wal" / name).exists():
            repository.fetch_wal(name, server.data_dir / "pg_wal" / name)
    signal.touch(0o600)
    places.socket_dir.mkdir(mode=0o700, exist_ok=True)
    settings = {
        "listen_addresses": "", "unix_socket_directories": str(places.socket_dir), "archive_command": "",
        "restore_command": repository.restore_command(server.data_dir), "recovery_target_timeline": "current",
        "recovery_target_action": "promote", "synchronous_standby_names": "", "hot_standby": "on",
        "shared_preload_libraries": "", "external_pid_file": "",
    }  # fmt: skip
    options = " ".join(f"-c {shlex.quote(f'{name}={value}')}" for name, value in settings.items())
    own = Server(
        server.data_dir, server.config_dir, server.bin_dir, server.port, str(places.socket_dir), "process",
        server.login_user, server.login_db,
    )  # fmt: skip
    if not own.running():
        own.start(params["timeout"], options)
    with own.connect() as connection:
        query = "SELECT pg_is_in_recovery()"
        done = await_condition(lambda: not connection.execute(query).fetchone()[0], params["timeout"])
    if not done:
        raise OpsError(f"the old server is still in recovery after {params['timeout']} s")
    own.stop(params["timeout"])
    remove_tree(places.socket_dir)
