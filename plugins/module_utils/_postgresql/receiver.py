# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a replica takes WAL from its upstream now."""

from __future__ import annotations

from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server

_STARTUP = "SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'startup'"
#: What a replica says that is well.
WELL = ("streaming", "delayed")


def receives(server: Server) -> str:
    """The receiver's state, ``not connected`` without one, and ``delayed`` where the replica waits for its time."""
    with server.connect() as connection:
        row = connection.execute("SELECT status FROM pg_stat_wal_receiver").fetchone()
        startup = connection.execute(_STARTUP).fetchone()
    # The engine asks for more WAL only when it has applied what it holds: one that waits for its time is well.
    delayed = not row and startup and startup[0] == "RecoveryApplyDelay"
    return "delayed" if delayed else str(row[0]) if row else "not connected"
