# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`instance_info` for PostgreSQL: what the server is, read from the engine, running or not."""

from __future__ import annotations

import hashlib
import pwd
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import is_empty
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import synchronous
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server, timeline_of
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.setting_places import FLOOR, Places, look

_RUNNING = """
SELECT pg_is_in_recovery() AS in_recovery,
       current_setting('server_version') AS version,
       current_setting('data_checksums') = 'on' AS data_checksums,
       system_identifier::text AS system_identifier,
       (SELECT timeline_id FROM pg_control_checkpoint()) AS control_timeline,
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text AS lsn,
       pg_last_wal_receive_lsn()::text AS receive_lsn,
       -- One that waits for its time may hold more than it has been asked about yet.
       CASE WHEN pg_is_in_recovery() AND NOT EXISTS (
                SELECT FROM pg_stat_activity WHERE backend_type = 'startup' AND wait_event = 'RecoveryApplyDelay'
                AND NOT EXISTS (SELECT FROM pg_stat_wal_receiver))
            THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::text END AS needed_lsn,
       (SELECT setting::float / 1000 FROM pg_settings WHERE name = 'recovery_min_apply_delay') AS apply_delay_seconds,
       current_setting('synchronous_standby_names') AS synchronous,
       extract(epoch FROM now() - pg_last_xact_replay_timestamp())::float AS replay_age_seconds,
       to_char(pg_postmaster_start_time() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS started_at,
       CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_walfile_name(pg_current_wal_lsn()) END AS wal_file,
       CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_current_snapshot()::text END AS snapshot
FROM pg_control_system()
"""
_UPSTREAM = """
SELECT status, sender_host AS host, sender_port AS port, slot_name AS slot, received_tli AS timeline
FROM pg_stat_wal_receiver
"""
_REPLICAS = """
SELECT application_name AS name, host(client_addr) AS address, state, sync_state,
       pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END,
                       replay_lsn)::bigint AS lag_bytes,
       extract(epoch FROM coalesce(replay_lag, '0'))::float AS lag_seconds
FROM pg_stat_replication ORDER BY application_name
"""
_SLOTS = """
SELECT slot_name AS name, slot_type AS type, active, wal_status, restart_lsn::text AS restart_lsn
FROM pg_replication_slots ORDER BY slot_name
"""
_ARCHIVER = """
SELECT current_setting('archive_mode') AS mode,
       (SELECT setting::int FROM pg_settings WHERE name = 'archive_timeout') AS timeout_seconds,
       last_archived_wal, last_failed_wal, failed_count::int,
       coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false) AS failing
FROM pg_stat_archiver
"""


def instance_info(params: Params, check_mode: bool) -> Outcome:
    """Describe the server; never changes anything."""
    del check_mode
    server = Server.of(params)
    facts = {**describe(server), "owner": _owner(server), "programs_major": None}
    # Where nobody says which programs, those of the data's version are taken later.
    if params["bin_dir"] and Path(server.program("postgres")).exists():
        facts["programs_major"] = server.program_major()
    return Outcome(False, {"instance": facts})


def _owner(server: Server) -> str | None:
    """The account that owns the data directory, None where there is none."""
    if not server.data_dir.exists():
        return None
    uid = server.data_dir.stat().st_uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def describe(server: Server) -> dict[str, Any]:
    """What this server is: `state`, `role`, `manager`, `version`, position, lag, replicas, slots, archiver."""
    if not server.exists():
        state = "absent" if is_empty(server.data_dir) else "foreign"
        return {"state": state, "role": "none", "manager": None}
    if not server.running():
        return from_control(server)
    with server.connect() as connection:
        # Imported here, because a server that is stopped is described without the library.
        from psycopg.rows import dict_row  # noqa: PLC0415

        cursor = connection.cursor(row_factory=dict_row)
        facts: dict[str, Any] = cursor.execute(_RUNNING).fetchone()
        standby = facts.pop("in_recovery")
        wal_file = facts["wal_file"]
        timeline = facts.pop("control_timeline")
        upstream = cursor.execute(_UPSTREAM).fetchone() if standby else None
        quorum = synchronous.parse(facts["synchronous"])
        facts.update(
            state="running",
            role="replica" if standby else "primary",
            manager=None,
            major=int(facts["version"].split(".")[0].split("beta")[0]),
            **_awaiting(look(connection, server)),
            system_digest=digest(facts["system_identifier"]),
            timeline=(upstream or {}).get("timeline") or (int(wal_file[:8], 16) if wal_file else timeline),
            upstream=upstream,
            replicas=cursor.execute(_REPLICAS).fetchall(),
            synchronous=quorum.facts() if quorum and not standby else None,
            slots=cursor.execute(_SLOTS).fetchall(),
            archiver=cursor.execute(_ARCHIVER).fetchone(),
        )
    return facts


def _awaiting(places: Places) -> dict[str, Any]:
    """What awaits a restart, and the settings that a standby must have no less of than its primary."""
    pending = places.pending()
    floor = {name: int(places.rows[name].setting) for name in FLOOR}
    new = {one["name"]: places.meaning(one["name"], one["new"])[1] for one in pending if one["name"] in FLOOR}
    return {
        "pending_restart": [one["name"] for one in pending],
        "awaiting_restart": pending,
        "standby_minimum": floor,
        "standby_minimum_new": {**floor, **new},
    }


def digest(system_identifier: str) -> str:
    """The digest that names a cluster in evidence."""
    return hashlib.sha256(system_identifier.encode()).hexdigest()


def from_control(server: Server) -> dict[str, Any]:
    """What the files of a server say that does not run, or does not answer."""
    try:
        control = server.control()
    except OpsError as exc:
        return {"state": "stopped", "role": "unknown", "manager": None, "error": str(exc)}
    standby = (server.data_dir / "standby.signal").exists()
    system_identifier = control.get("Database system identifier", "")
    return {
        "state": "stopped",
        "role": "replica" if standby else "primary",
        "manager": None,
        "major": server.major,
        "system_identifier": system_identifier,
        "system_digest": digest(system_identifier),
        "timeline": timeline_of(control),
        "lsn": control.get("Latest checkpoint location", ""),
        "cluster_state": control.get("Database cluster state", ""),
        "data_checksums": control.get("Data page checksum version", "0") != "0",
    }
