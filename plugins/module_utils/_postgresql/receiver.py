# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a replica takes WAL from its upstream now."""

from __future__ import annotations

from ansible_collections.boringdb.ops.plugins.module_utils._core.files import read_text
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import lsn
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server

try:
    import psycopg
except ImportError:
    psycopg = None

#: What the files say, as a reload may be under way.
_RECEIVER = """
SELECT r.status, r.sender_host, r.sender_port::text, f.setting
FROM pg_stat_wal_receiver r LEFT JOIN LATERAL (
    SELECT setting FROM pg_file_settings WHERE name = 'primary_conninfo' AND applied ORDER BY seqno DESC LIMIT 1
) f ON true
"""
_STARTUP = "SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'startup'"
_POSITION = """
SELECT coalesce((SELECT received_tli FROM pg_stat_wal_receiver), min_recovery_end_timeline),
       pg_last_wal_replay_lsn()::text
FROM pg_control_recovery()
"""
#: What a startup process waits for that has WAL to apply.
_WAITS = ("RecoveryApplyDelay", "RecoveryPause")
#: What a replica says that is well.
WELL = ("streaming", "delayed")


def receives(server: Server) -> str:
    """The receiver's state, ``not connected`` without one, and ``delayed`` where the replica waits for its time.

    ``streaming from HOST:PORT`` where that is not whom it is to follow: it was told another one a moment ago.
    """
    with server.connect() as connection:
        row = connection.execute(_RECEIVER).fetchone()
        startup = connection.execute(_STARTUP).fetchone()
    if not row:
        # The engine asks for more WAL only when it has applied what it holds: one that waits for its time is well.
        return "delayed" if startup and startup[0] == _WAITS[0] else "not connected"
    status, host, port, conninfo = row
    if _told(host, port, conninfo):
        return str(status)
    # One that waits with what it holds heeds a new upstream when it asks for more.
    return "delayed" if startup and startup[0] in _WAITS else f"{status} from {host}:{port}"


def _told(host: str | None, port: str | None, conninfo: str | None) -> bool:
    """Whether a sender is the one that a primary_conninfo names; also where it names nobody."""
    try:
        words = psycopg.conninfo.conninfo_to_dict(conninfo or "")
    except psycopg.Error:
        return True
    hosts = [one for key in ("host", "hostaddr") for one in str(words.get(key) or "").split(",") if one]
    ports = str(words.get("port") or "5432").split(",")
    return not host or not hosts or (host in hosts and port in ports)


def stranded(server: Server) -> str:
    """Why a replica can't follow: it has replayed more of a timeline than the newer one has that left it there.

    Its receiver fetches the newer one's history, and streams for moments only, up to there, again and again. Empty
    where nothing says so. A history of a branch that nobody is on says the same of a replica that is well.
    """
    folder = server.data_dir / "pg_wal"
    with server.connect() as connection:
        row = connection.execute(_POSITION).fetchone()
    if not row[0] or not row[1]:
        return ""
    timeline, replayed = int(row[0]), str(row[1])
    for path in folder.glob("*.history"):
        newer = lsn.segment_timeline(path.name) if lsn.HISTORY.match(path.name) else 0
        left = dict(lsn.forks(read_text(path))).get(timeline) if newer > timeline else None
        # One that has received some of the newer one has followed it; what its files say of itself is older.
        followed = next(folder.glob(f"{newer:08X}" + "?" * 16), None)
        if left and not followed and lsn.parse(replayed) > lsn.parse(left):
            return f"it has replayed timeline {timeline} up to {replayed}, and timeline {newer} left that at {left}"
    return ""
