# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A restored copy's configuration: cut off from the world, large enough to recover, aimed at its target."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.files import read_text, remove_tree, write_atomic
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import settings as conf
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_plan import Target
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server

#: pg_controldata's names for what recovery refuses to run with less of.
_AT_LEAST = {
    "max_connections setting": "max_connections",
    "max_worker_processes setting": "max_worker_processes",
    "max_wal_senders setting": "max_wal_senders",
    "max_prepared_xacts setting": "max_prepared_transactions",
    "max_locks_per_xact setting": "max_locks_per_transaction",
}
#: Nothing leaves the copy but requests to the repository, and nobody reaches it but its own account.
ISOLATED: dict[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "archive_mode": "off",
    "primary_conninfo": "",
    "primary_slot_name": "",
    "synchronous_standby_names": "",
    # A restored subscription would connect to production and eat its slot.
    "max_logical_replication_workers": "0",
    # pg_cron and its like run production's jobs.
    "shared_preload_libraries": "",
    "session_preload_libraries": "",
    "local_preload_libraries": "",
    "autovacuum": "off",
    "ssl": "off",
}
#: While production itself is brought back: WAL of the new timeline is kept, and archived when it is open again.
IN_PLACE: dict[str, str] = {**ISOLATED, "archive_mode": "on", "archive_command": ""}
#: What a backup carries of the source's own configuration; set aside, so that none of it takes effect.
SET_ASIDE = ("postgresql.conf", "postgresql.auto.conf", "pg_hba.conf", "pg_ident.conf")
#: What it is called then.
KEPT = ".restored"
_HEADING = "A restored copy, isolated: see boringdb.ops.restore."
_HBA = "local all all trust\n"
_TARGETS = {"time": "recovery_target_time", "lsn": "recovery_target_lsn", "name": "recovery_target_name"}


def required_sizes(control: Mapping[str, str]) -> dict[str, str]:
    """The settings that recovery needs at least at the source's size, from its pg_control."""
    return {setting: control[line] for line, setting in _AT_LEAST.items() if line in control}


def memory_needed(control: Mapping[str, str], shared_buffers: int) -> int:
    """A lower bound, in bytes, of the shared memory a copy asks for: buffers, lock table and process slots."""
    sizes = {name: int(value) for name, value in required_sizes(control).items()}
    sessions = sum(sizes.get(name, 0) for name in ("max_connections", "max_worker_processes", "max_wal_senders"))
    locks = (sessions + sizes.get("max_prepared_transactions", 0)) * sizes.get("max_locks_per_transaction", 64)
    # 270 bytes a lock and its holder, about 4 kB a process slot: measured on 15 and 16.
    return shared_buffers + locks * 270 + sessions * 4096


def _set_aside(data: Path) -> None:
    """Keep the backup's own files; ours, of an earlier run that was killed here, are no such files."""
    for name in SET_ASIDE:
        kept, content = data / f"{name}{KEPT}", read_text(data / name)
        if (data / name).exists() and not kept.exists() and content != _HBA and _HEADING not in content:
            (data / name).rename(kept)


def configure(  # noqa: PLR0917 - in the order of their weight
    server: Server,
    target: Target,
    restore_command: str,
    sizes: Mapping[str, str],
    more: Mapping[str, Any],
    isolated: Mapping[str, str] | None = None,
) -> None:
    """Write the copy's whole configuration; `more` are the caller's own settings and win over the sizes.

    `isolated` are the settings that nobody may change, those of an isolated copy where it is left out.
    """
    data = server.data_dir
    _set_aside(data)
    if isolated is None and (data / "conf.d").is_dir():
        # Nothing includes it yet: whoever declares settings of the copy does, and would have the source's take effect.
        remove_tree(data / f"conf.d{KEPT}")
        (data / "conf.d").rename(data / f"conf.d{KEPT}")
    for signal in ("standby.signal", "postmaster.pid", "postmaster.opts"):
        (data / signal).unlink(missing_ok=True)
    settings: dict[str, Any] = {
        **sizes,
        "port": server.port,
        "unix_socket_directories": server.socket_dir,
        "hba_file": str(data / "pg_hba.conf"),
        "ident_file": str(data / "pg_ident.conf"),
        "logging_collector": "off",
        "log_destination": "stderr",
        "log_timezone": "UTC",
        "lc_messages": "C",
        "cluster_name": "boringdb restored copy",
        "restore_command": restore_command,
        "recovery_target_timeline": target.timeline,
        "recovery_target_action": "promote",
        **more,
        **(ISOLATED if isolated is None else isolated),
    }
    if target.type in _TARGETS:
        # When this setting is checked, PostgreSQL knows no time zone's name yet, not even Z.
        value = target.value.replace("Z", "+00") if target.type == "time" else target.value
        settings[_TARGETS[target.type]] = value
    elif target.type == "immediate":
        settings["recovery_target"] = "immediate"
    write_atomic(data / "postgresql.conf", conf.render(settings, _HEADING))
    write_atomic(data / "postgresql.auto.conf", "")
    # The socket lies in a directory of its own, which only the copy's account can enter.
    write_atomic(data / "pg_hba.conf", _HBA)
    write_atomic(data / "pg_ident.conf", "")
    (data / "recovery.signal").touch(0o600)
    socket_dir = Path(server.socket_dir)
    socket_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    socket_dir.chmod(0o700)
