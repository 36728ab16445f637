# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a member says of itself before a switchover: what `instance_info` tells, and all that could stand in its way."""

from __future__ import annotations

import shutil
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.process import run
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.instance_info import describe
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.switchover_account import said_by_account

_SETTINGS = """
SELECT current_setting('synchronous_standby_names') AS synchronous_names,
       current_setting('shared_preload_libraries') AS libraries,
       (SELECT reset_val = 'on' FROM pg_settings WHERE name = 'default_transaction_read_only') AS read_only,
       pg_is_in_recovery() AND pg_is_wal_replay_paused() AS replay_paused,
       current_setting('archive_mode') <> 'off'
           AND (current_setting('archive_command') NOT IN ('', '(disabled)')
                OR coalesce(current_setting('archive_library', true), '') <> '') AS archiving,
       (SELECT count(*)::int FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready') AS archive_waiting,
       (SELECT count(*)::int FROM pg_prepared_xacts) AS prepared,
       current_setting('max_replication_slots')::int - (SELECT count(*)::int FROM pg_replication_slots) AS slots_free,
       current_setting('max_wal_senders')::int AS senders,
       pg_size_bytes(current_setting('wal_segment_size')) AS segment_bytes,
       EXISTS (SELECT FROM pg_stat_activity WHERE application_name ILIKE 'patroni%') AS patroni
"""
_OLD_TRANSACTIONS = """
SELECT pid, coalesce(usename::text, '') AS account, application_name AS application,
       extract(epoch FROM clock_timestamp() - xact_start)::float AS seconds
FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
  AND clock_timestamp() - xact_start > make_interval(secs => %s)
ORDER BY xact_start LIMIT 10
"""
#: What later versions know of a slot is asked by its name in the row, so that earlier ones may not have it.
_LOGICAL = """
SELECT slot_name AS name, coalesce((to_jsonb(s) ->> 'failover')::bool, false) AS failover,
       coalesce((to_jsonb(s) ->> 'synced')::bool, false) AS synced
FROM pg_replication_slots s WHERE slot_type = 'logical' AND NOT temporary ORDER BY 1
"""
#: The sender of a slot is known by its process.
_SENDERS = """
SELECT r.application_name AS name, s.slot_name::text AS slot, r.state,
       pg_wal_lsn_diff(pg_current_wal_lsn(), r.replay_lsn)::bigint AS lag_bytes
FROM pg_stat_replication r LEFT JOIN pg_replication_slots s ON s.active_pid = r.pid
"""
_BACKUPS = """
SELECT 'a base backup of ' || coalesce(a.application_name, '') || ' (pid ' || p.pid || ')'
FROM pg_stat_progress_basebackup p LEFT JOIN pg_stat_activity a USING (pid)
UNION ALL SELECT application_name || ' (pid ' || pid || ')' FROM pg_stat_activity
WHERE application_name LIKE 'pgBackRest [backup%'
"""
#: Libraries by which a manager of a cluster can be known.
_MANAGERS = {"repmgr": "repmgrd", "pgautofailover": "pg_auto_failover"}


def seen(server: Server, transaction_seconds: float) -> dict[str, Any]:
    """What the member is, running or not."""
    facts = describe(server)
    facts["signal"] = (server.data_dir / "standby.signal").exists()
    dynamic = (server.data_dir / "patroni.dynamic.json").exists()
    if facts["state"] != "running":
        stopped = facts["state"] == "stopped"
        facts.update(manager="Patroni" if dynamic else None, synchronous_names=configured(server) if stopped else "")
        return facts
    with server.connect() as connection:
        # Imported here, because a server that is stopped is looked at without the library.
        from psycopg.rows import dict_row  # noqa: PLC0415

        cursor = connection.cursor(row_factory=dict_row)
        facts.update(cursor.execute(_SETTINGS).fetchone())
        libraries = facts.pop("libraries")
        patroni = facts.pop("patroni") or dynamic
        known = [name for word, name in _MANAGERS.items() if word in libraries]
        facts.update(
            manager="Patroni" if patroni else known[0] if known else None,
            old_transactions=cursor.execute(_OLD_TRANSACTIONS, (transaction_seconds,)).fetchall(),
            logical_slots=cursor.execute(_LOGICAL).fetchall(),
            backups=[row[0] for row in connection.execute(_BACKUPS).fetchall()],
            unfinished=said_by_account(connection),
            free_bytes=min(shutil.disk_usage(place).free for place in (server.data_dir, server.data_dir / "pg_wal")),
            senders=cursor.execute(_SENDERS).fetchall() if facts["role"] == "primary" else [],
        )
    return facts


def configured(server: Server) -> str:
    """What a server that is stopped would have commits wait for, as its own program reads its files."""
    argv = [server.program("postgres"), "-D", str(server.data_dir), "-C", "synchronous_standby_names"]
    argv += ["-c", f"config_file={server.config_dir / 'postgresql.conf'}"]
    return run(argv, check=False).stdout.strip()
