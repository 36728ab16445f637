# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The matrix of controls as Markdown, for an auditor's folder, and as JSON, for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core import say
from ansible_collections.boringdb.ops.plugins.module_utils._core.matrix import Matrix, Row
from ansible_collections.boringdb.ops.plugins.module_utils._core.report import Entry, Estate

FORMAT = "urn:boringdb.ops:controls:v1"
COUNTED = "Counted are only records that a trusted key signed, in chains in which nothing is wrong."


def controls_markdown(estate: Estate, limit: int) -> str:
    """The matrix by itself. All runs of the period are in it."""
    del limit
    lines = [f"# {say.markdown(estate.title)}: controls", "", f"Made {say.clock(estate.generated)}.", ""]
    return "\n".join(lines + section(estate.matrix)) + "\n" if estate.matrix else "\n".join(lines)


def section(matrix: Matrix, depth: int = 2) -> list[str]:
    """The lines of the matrix below a heading of the caller's."""
    mark = "#" * depth
    lines = [
        f"{matrix.start} to {matrix.end}, both days included, UTC. {COUNTED}", "",
        "| Control | Runs | Verified | Not verified | Last verified | Gaps |", "|---|---|---|---|---|---|",
        *(_line(control_cells(row)) for row in matrix.rows), "", f"{mark} Gaps", "",
    ]
    lines += [f"- **{say.markdown(gap.cluster)}**: {say.markdown(gap.text)}" for gap in matrix.gaps] or ["None."]
    lines += ["", f"{mark} Runs", "", "| Finished | Cluster | Operation | Verdict | Controls | Approved | "
              "Corrective action | Record | SHA-256 |", "|---|---|---|---|---|---|---|---|---|"]
    for cluster, entry in runs(matrix):
        lines.append(_line([
            say.clock(entry.finished), cluster, entry.said["operation"], entry.verdict,
            ", ".join(entry.said["controls"]),
            approved(entry) or say.NONE, corrected(entry) or say.NONE, entry.record.name, entry.record.digest,
        ]))
    return lines


def controls_json(estate: Estate, limit: int) -> str:
    """The matrix by itself, for programs. The shape is described in docs/report.md."""
    del limit
    document = {"format": FORMAT, "title": estate.title, "generated": say.iso(estate.generated),
                "trusted_keys": estate.keyids, **as_document(estate.matrix)}
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def as_document(matrix: Matrix | None) -> dict[str, Any]:
    """What :func:`controls_json` and the whole report share."""
    if matrix is None:
        return {}
    return {
        "period": {"start": str(matrix.start), "end": str(matrix.end)},
        "approval": {"operations": list(matrix.approval.operations), "second_person": matrix.approval.second_person},
        "controls": [
            {
                "control": row.control.name, "title": row.control.title, "asks": row.control.asks,
                "operations": list(row.control.operations), "needed": row.control.needed or None,
                "verdicts": {verdict: row.count(verdict) for verdict in ("verified", "failed", "error")},
                "runs": [entry.record.digest for _cluster, entry in row.runs],
                "gaps": [vars(gap) for gap in row.gaps],
            }
            for row in matrix.rows
        ],
        "runs": {
            entry.record.digest: {
                "cluster": cluster, "operation": entry.said["operation"], "verdict": entry.verdict,
                "started": entry.said["started"], "finished": entry.said["finished"], "record": entry.record.name,
                "signed_by": entry.record.signed_by, "controls": entry.said["controls"], "missed": entry.missed(),
                "approvals": [followed(one) for one in entry.approvals],
                "corrective_actions": [followed(one) for one in entry.corrections],
            }
            for cluster, entry in runs(matrix)
        },
        "gaps": [vars(gap) for gap in matrix.gaps],
    }


def followed(entry: Entry) -> dict[str, Any]:
    """A follow-up, for programs."""
    return {**entry.said[entry.said["operation"]], "at": entry.said["finished"], "record": entry.record.name,
            "sha256": entry.record.digest, "signed_by": entry.record.signed_by}


def runs(matrix: Matrix) -> list[tuple[str, Entry]]:
    """Every run that supports a control once, newest first."""
    once = {entry.record.digest: (cluster, entry) for row in matrix.rows for cluster, entry in row.runs}
    return sorted(once.values(), key=lambda run: run[1].finished, reverse=True)


def control_cells(row: Row) -> list[str]:
    """A control's line: its title, counts, when it was last verified, and how many gaps it has."""
    last = next((entry for _cluster, entry in row.runs if entry.verdict == "verified"), None)
    return [
        row.control.title, str(len(row.runs)), str(row.count("verified")), str(row.count("failed", "error")),
        say.clock(last.finished) if last else "never", str(len(row.gaps)) if row.gaps else "none",
    ]


def approved(entry: Entry) -> str:
    """Who approved a run, by names."""
    return "; ".join(_who(one.said["approval"]) for one in entry.approvals)


def corrected(entry: Entry) -> str:
    """What was done about a run, by whom."""
    said = [one.said["corrective_action"] for one in entry.corrections]
    return "; ".join(f"{one.get('action', '')} ({_who(one)})" for one in said)


def _who(said: dict[str, Any]) -> str:
    return ", ".join(str(said[name]) for name in ("by", "role", "ticket") if said.get(name))


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(map(say.markdown, cells))} |"
