# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scan found, and the checks `relations_readable`, `relations_exact` and `relations_bounded` that follow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.verify_report import Report, Subject, few


@dataclass
class Tally:
    """What the scan found. Lists hold lines for a person."""

    rows: int = 0
    total: int = 0
    read: int = 0
    bytes_total: int = 0
    bytes_read: int = 0
    exact: int = 0
    bounded: int = 0
    busy: int = 0
    new: int = 0
    uncounted: int = 0
    rewritten: int = 0
    dropped: int = 0
    unbounded: int = 0
    errors: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    untold: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    changed: int = 0
    seconds: float = 0.0

    @property
    def fraction(self) -> float:
        """How much of the bytes was read, from 0 to 1."""
        if not self.bytes_total:
            return 1.0 if self.read == self.total else self.read / self.total
        return self.bytes_read / self.bytes_total

    def coverage(self) -> dict[str, Any]:
        """Every relation in exactly one of: exact, changed, busy, new, not_counted, not_read."""
        return {
            "relations_total": self.total, "relations_read": self.read, "bytes_total": self.bytes_total,
            "bytes_read": self.bytes_read, "fraction": round(self.fraction, 4), "exact": self.exact,
            "different": len(self.different), "changed": self.changed, "bounded": self.bounded, "busy": self.busy,
            "rewritten": self.rewritten, "new": self.new, "not_counted": self.uncounted, "dropped": self.dropped,
            "not_read": self.total - self.read,
        }  # fmt: skip


def report_relations(subject: Subject, tally: Tally, report: Report) -> None:
    """The checks `relations_readable`, `relations_exact` and `relations_bounded`."""
    report.begin()
    _readable(subject, tally, report)
    if subject.manifest is None:
        report.skip("relations_exact", subject.no_manifest, required=subject.lost)
        report.skip("relations_bounded", subject.no_manifest)
        return
    _exact(tally, report)
    _bounded(subject, tally, report)


def _readable(subject: Subject, tally: Tally, report: Report) -> None:
    enough = tally.fraction >= subject.params["min_coverage"] and (
        not tally.unread or subject.params["min_coverage"] < 1.0
    )
    actual = f"{tally.read} of {tally.total} relations, {tally.fraction:.1%} of the bytes, {tally.rows} rows"
    expected = f"{tally.total} relations readable"
    if tally.errors:
        message = f"{len(tally.errors)} relations cannot be read: {few(tally.errors, 3)}"
        report.add(
            "failed", "relations_readable", expected=expected, actual=actual, message=message, seconds=tally.seconds
        )
        return
    message = f"not read: {few(tally.unread)}" if tally.unread else ""
    status = "passed" if enough else "skipped"
    report.add(status, "relations_readable", expected=expected, actual=actual, message=message, seconds=tally.seconds)


def _exact(tally: Tally, report: Report) -> None:
    compared = tally.exact + len(tally.different)
    expected, actual = f"{compared} relations equal to the manifest", f"{tally.exact} equal"
    counts = {
        "changed after the backup": tally.changed, "being written during the backup": tally.busy,
        "not counted then": tally.uncounted, "dropped after the backup": tally.dropped,
    }  # fmt: skip
    rest = ", ".join(f"{number} {what}" for what, number in counts.items() if number)
    if tally.different:
        report.add(
            "failed", "relations_exact", expected=expected, actual=actual,
            message=f"unchanged since the backup, yet different: {few(tally.different)}",
        )  # fmt: skip
    elif tally.untold:
        report.add(
            "skipped", "relations_exact", expected=expected, actual=actual,
            message=f"different, and it cannot be told whether that is right: {few(tally.untold)}",
        )  # fmt: skip
    elif compared:
        message = f"left out: {rest}" if rest else ""
        report.add("passed", "relations_exact", expected=expected, actual=actual, message=message)
    else:
        # Nothing to compare is no defect of the backup, and no proof of it either.
        report.skip("relations_exact", f"no relation to compare: {rest or 'none there'}")


def _bounded(subject: Subject, tally: Tally, report: Report) -> None:
    if tally.untold:
        report.skip("relations_bounded", "it cannot be told which relations have changed")
        return
    if tally.changed and subject.params["wal_changes"] is None:
        report.skip("relations_bounded", f"{tally.changed} relations have changed and wal_changes was not given")
        return
    rest = {"rewritten since": tally.rewritten, "truncated since": tally.unbounded}
    left = ", ".join(f"{number} {what}" for what, number in rest.items() if number)
    if tally.changed and not tally.bounded:
        report.skip("relations_bounded", f"no changed relation has bounds: {left}")
        return
    report.judge(
        "relations_bounded", not tally.outside, expected=f"{tally.bounded} changed relations within the log's bounds",
        actual=f"{tally.bounded - len(tally.outside)} within",
        message=f"out of bounds: {few(tally.outside)}" if tally.outside else f"left out: {left}" if left else "",
    )  # fmt: skip
