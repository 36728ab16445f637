# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which control is supported by which runs over a period, and where there are gaps.

Only chains in which nothing is wrong are counted; the others are gaps themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone

from ansible_collections.boringdb.ops.plugins.module_utils._core.controls import CONTROLS, Control
from ansible_collections.boringdb.ops.plugins.module_utils._core.keys import EvidenceError
from ansible_collections.boringdb.ops.plugins.module_utils._core.report import Approval, Cluster, Entry, why
from ansible_collections.boringdb.ops.plugins.module_utils._core.statement import FOLLOW_UPS

DEFAULT_DAYS = 90
#: Kind of gap -> what it means, the worst first.
GAPS = {
    "not_counted": "something is wrong with the cluster's chain, so that none of its records is counted",
    "no_verified_run": "no verified run in the period",
    "open_failure": "a run that was not verified, and no corrective action follows it",
    "not_approved": "a run that was not approved, where that is demanded",
}


@dataclass(frozen=True)
class Gap:
    """One thing that is missing. ``record`` is the digest of the run that lacks it, empty where a run is missing."""

    kind: str
    cluster: str
    text: str
    record: str = ""


@dataclass
class Row:
    """A control, its runs, newest first, and what it lacks."""

    control: Control
    runs: list[tuple[str, Entry]] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)

    def count(self, *verdicts: str) -> int:
        """How many runs ended so."""
        return sum(entry.verdict in verdicts for _cluster, entry in self.runs)


@dataclass
class Matrix:
    """All controls over a period of whole days, the last one included."""

    start: date
    end: date
    rows: list[Row]
    approval: Approval

    @property
    def gaps(self) -> list[Gap]:
        """Every gap once, the worst first."""
        order = list(GAPS)
        once = {gap: None for row in self.rows for gap in row.gaps}
        return sorted(once, key=lambda gap: (order.index(gap.kind), gap.cluster, gap.text))


def period(start: str | None, end: str | None, now: datetime) -> tuple[date, date]:
    """The days of the period; by default the last ninety.

    :raises EvidenceError: when they are not days, or the wrong way round
    """
    last = _day(end, "period_end") if end else now.date()
    first = _day(start, "period_start") if start else last - timedelta(days=DEFAULT_DAYS)
    if first > last:
        raise EvidenceError(f"period_start ({first}) lies after period_end ({last}): correct them")
    return first, last


def build(clusters: Iterable[Cluster], days: tuple[date, date], approval: Approval) -> Matrix:
    """The matrix over what is known of the clusters."""
    start, end = (datetime.combine(day, time(), timezone.utc) for day in days)
    end += timedelta(days=1)
    clusters = sorted(clusters, key=lambda cluster: cluster.name)
    counted = {cluster.name: [entry for entry in cluster.entries if start <= entry.finished < end]
               for cluster in clusters if not _wrong(cluster)}
    known = {control.name for control in CONTROLS}
    signed = {name for entries in counted.values() for entry in entries for name in entry.said["controls"]}
    # A name that was signed and is not in the table has runs, and no rule by which one would be missing.
    others = [Control(name, name, "", "", ()) for name in sorted(signed - known)]
    rows = [Row(control) for control in (*CONTROLS, *others)]
    for row in rows:
        for cluster in clusters:
            if cluster.name not in counted:
                row.gaps.append(Gap("not_counted", cluster.name, f"{GAPS['not_counted']}: {cluster.problems[0]}"))
                continue
            runs = [entry for entry in counted[cluster.name]
                    if row.control.name in entry.said["controls"] and entry.said["operation"] not in FOLLOW_UPS]
            row.runs += [(cluster.name, entry) for entry in runs]
            row.gaps += _lacking(row.control, cluster.name, runs, approval)
        row.runs.sort(key=lambda run: run[1].finished, reverse=True)
    return Matrix(*days, rows, approval)


def _lacking(control: Control, cluster: str, runs: list[Entry], approval: Approval) -> Iterator[Gap]:
    verified = [entry for entry in runs
                if entry.verdict == "verified" and entry.said["operation"] == control.needed]
    if control.needed and not verified:
        yield Gap("no_verified_run", cluster, f"no verified {control.needed} in the period")
    for entry in runs:
        what = f"{entry.said['operation']} of {entry.finished:%Y-%m-%d %H:%M}"
        if entry.verdict != "verified" and not entry.corrections:
            yield Gap("open_failure", cluster, f"{what} {why(entry)}; no corrective action", entry.record.digest)
        if approval.lacks(entry):
            yield Gap("not_approved", cluster, f"{what} was not approved{approval.how}", entry.record.digest)


def _wrong(cluster: Cluster) -> bool:
    return any(finding.kind != "empty" for finding in cluster.chain.findings)


def _day(text: str, name: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=timezone.utc).date()
    except ValueError as error:
        raise EvidenceError(f"{name} is {text!r}: give a day such as 2026-01-31") from error
