# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The position and the locks from which it follows that a restored relation must equal its source.

In this order: (1) L, the log's insert position; (2) R, the transactions running now; (3) wait, briefly, until those of
R are over, and note which relations the rest of them may have written; (4) read the data, under any later snapshot.

Why that is enough. Let a restored relation have no page with a position above L. Then every change in it was logged
before L, by a transaction that had its number, and its lock on the relation, before L. If that transaction is over
at (3), the snapshot at (4) sees what it did. If not, it is in R, and holds its lock still at (3), because write locks
on users' tables last to the end of a transaction (a prepared one included): the relation is noted as busy.
Nothing else can change what a snapshot sees: vacuum and hint bits do not, and a page that went away with its rows
shows as a file that has become shorter. On catalogues locks are released early, so for them R must be over as a whole.

Each relation may be read under a snapshot of its own, later than (3): what a later snapshot sees in addition lies
above L, and so does the page it is on. Nothing has to hold back vacuum for the whole time of counting.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

#: Lock modes under which rows can change. Vacuum (ShareUpdateExclusive) and index builds (Share) change none.
WRITE_MODES = ["RowExclusiveLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock"]

_RUNNING = """
SELECT coalesce(array_agg(DISTINCT transactionid::text), '{}') FROM pg_catalog.pg_locks
 WHERE locktype = 'transactionid' AND mode = 'ExclusiveLock' AND granted
"""
# One read of the lock table: it is taken with all its partitions locked.
_REMAINING = """
WITH held AS MATERIALIZED (SELECT * FROM pg_catalog.pg_locks WHERE granted),
     old AS (SELECT DISTINCT virtualtransaction FROM held
              WHERE locktype = 'transactionid' AND mode = 'ExclusiveLock' AND transactionid::text = ANY(%s))
SELECT (SELECT count(*) FROM old),
       coalesce((SELECT array_agg(DISTINCT h.database || '/' || h.relation) FROM held h
                   JOIN old USING (virtualtransaction)
                  WHERE h.locktype = 'relation' AND h.mode = ANY(%s)), '{}')
"""
_EVERY = 0.01


@dataclass(frozen=True)
class Capture:
    """A starting point for exact comparison.

    :param lsn: L, as text
    :param exact: false on a standby, where locks and running transactions of the primary cannot be seen
    :param quiet: whether no transaction older than L is left, so that catalogues can be judged too
    :param busy: `database oid/relation oid` of what the remaining ones may have written
    """

    lsn: str
    exact: bool
    quiet: bool
    snapshot: str
    taken_at: str
    busy: frozenset[str] = field(default_factory=frozenset)

    def is_busy(self, database: int, relation: int) -> bool:
        """Whether a transaction older than L may still have changes of this relation to commit."""
        return f"{database}/{relation}" in self.busy or f"0/{relation}" in self.busy


def capture(connection: Any, standby: bool, patience: float = 1.0) -> Capture:
    """Take L and the locks; waits up to `patience` seconds for the transactions that run at L to end.

    :param connection: autocommit, without a transaction of its own
    """
    position = "pg_last_wal_replay_lsn()" if standby else "pg_current_wal_insert_lsn()"
    lsn = connection.execute(f"SELECT {position}::text").fetchone()[0]
    quiet = not standby
    busy: frozenset[str] = frozenset()
    if not standby:
        running = connection.execute(_RUNNING).fetchone()[0]
        deadline = time.monotonic() + patience
        while running:
            left, held = connection.execute(_REMAINING, (running, WRITE_MODES)).fetchone()
            quiet, busy = left == 0, frozenset(held)
            if quiet or time.monotonic() >= deadline:
                break
            time.sleep(_EVERY)
    snapshot, taken_at = connection.execute(
        "SELECT pg_current_snapshot()::text,"
        " to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
    ).fetchone()
    return Capture(lsn, not standby, quiet, snapshot, taken_at, busy)
