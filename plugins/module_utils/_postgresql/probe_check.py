# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looks for every acknowledged row of a write probe, in the whole run or up to a moment.

With a cut-off T (a restore to T) a row is judged by bounds of its commit time *on the server's clock*, the clock
that recovery compares with. The row's ``at`` was taken before its commit, and the commit came before the answer:

    at  <  commit  <  at + (acknowledged - sent)

Both bounds hold whatever the offset of the probe's clock, because the round trip is a difference on one clock.

* upper bound <= T: the row must be present. (Its commit record was in the log before any commit that is later than T.)
* at > T: the row must be absent, acknowledged or not.
* in between: the grey zone, at most one round trip wide. Counted, and no verdict is drawn from it.
"""

from __future__ import annotations

from typing import Any

from .probe_connect import EXISTS, Connector, Target, require_psycopg
from .probe_journal import Journal, Layout, read_acks
from .probe_time import ProbeError, iso, one_line

SHOWN = 20  # ids listed in a result
_ACKED, _EXPECTED, _PRESENT = 1, 2, 4
ROWS = (
    "COPY (SELECT id, (extract(epoch FROM at) * 1000000)::bigint FROM boringdb_probe.writes WHERE run = {}) TO STDOUT"
)


class Finding:
    """The comparison as it goes: one byte an acknowledged id, and the few ids that were never acknowledged."""

    def __init__(self, journal: Journal, until: int | None) -> None:
        self.until = until
        self.marks = bytearray(max(journal.ids, default=0) + 1)
        self.strangers: dict[int, int] = {}
        self.beyond: list[int] = []
        self.newest = 0
        for index, ident in enumerate(journal.ids):
            upper = journal.at[index] + journal.acked[index] - journal.sent[index]
            later = until is not None and journal.at[index] > until
            expected = until is None or upper <= until
            self.marks[ident] |= _ACKED | (_EXPECTED if expected else 0) | (8 if later else 0)

    def see(self, ident: int, at: int) -> None:
        """A row that is in the table."""
        if 0 <= ident < len(self.marks) and self.marks[ident] & _ACKED:
            self.marks[ident] |= _PRESENT
        else:
            self.strangers[ident] = at
        if self.until is not None and at > self.until:
            self.beyond.append(ident)
        else:
            self.newest = max(self.newest, at)

    def count(self, mask: int, value: int) -> int:
        """How many acknowledged ids have these marks."""
        table = bytes(1 if mark & mask == value else 0 for mark in range(256))
        return self.marks.translate(table).count(1)

    def missing(self) -> list[int]:
        return [ident for ident, mark in enumerate(self.marks) if mark & 7 == _ACKED | _EXPECTED]


def check(layout: Layout, run: str, target: Target, until: int | None = None) -> dict[str, Any]:
    """Compares the run's acknowledged ids with the table on ``target``; ``until`` is the cut-off in µs.

    ``status`` is ``passed``, ``failed`` (a row is lost, or one lies beyond the cut-off), or ``skipped`` when no
    acknowledged row had to be there: nothing was proven then. A missing table means that every row is missing; a
    server that cannot be asked is a ProbeError, never a result.
    """
    journal = read_acks(layout.acks(run))
    finding = Finding(journal, until)
    facts = _read(run, target, finding)
    # A running probe went on while the table was read: what it recorded since is acknowledged, too.
    for ident in read_acks(layout.acks(run), journal.size).ids:
        finding.strangers.pop(ident, None)
    missing = finding.missing()
    expected = finding.count(_EXPECTED, _EXPECTED)
    grey = finding.count(_ACKED | _EXPECTED | 8, _ACKED)
    unanswered = sorted(ident for ident, at in finding.strangers.items() if until is None or at <= until)
    beyond = sorted(finding.beyond)
    times = _times(journal, set(missing))
    return {
        "status": "failed" if missing or beyond else "passed" if expected else "skipped",
        "run": run,
        **facts,
        "until": iso(until),
        "acknowledged": len(journal.ids),
        "expected": expected,
        "present": expected - len(missing),
        "missing": len(missing),
        "missing_ids": missing[:SHOWN],
        "missing_first_ack": iso(min(times, default=None)),
        "missing_last_ack": iso(max(times, default=None)),
        "beyond": len(beyond),
        "beyond_ids": beyond[:SHOWN],
        "grey": grey,
        "grey_present": finding.count(_ACKED | _EXPECTED | _PRESENT | 8, _ACKED | _PRESENT),
        "unacknowledged_present": len(unanswered),
        "unacknowledged_ids": unanswered[:SHOWN],
        "newest_present_at": iso(finding.newest or None),
        "damaged_lines": journal.damaged,
    }


def _times(journal: Journal, missing: set[int]) -> list[int]:
    if not missing:
        return []
    return [journal.acked[index] for index, ident in enumerate(journal.ids) if ident in missing]


def _read(run: str, target: Target, finding: Finding) -> dict[str, Any]:
    """Streams the run's rows into ``finding``. Returns who answered."""
    psycopg = require_psycopg()
    connector = Connector(target, writing=False)
    with connector.first() as connection:
        try:
            standby, exists = connection.execute(f"SELECT pg_is_in_recovery(), ({EXISTS})").fetchone()
            if exists:
                with connection.cursor().copy(psycopg.sql.SQL(ROWS).format(psycopg.sql.Literal(run))) as copy:
                    for ident, at in copy.rows():
                        finding.see(int(ident), int(at))
        except psycopg.Error as exc:
            raise ProbeError(f"cannot read boringdb_probe.writes on {connector.place}: {one_line(exc)}") from exc
    return {"server": connector.place, "in_recovery": standby, "table_present": exists}
