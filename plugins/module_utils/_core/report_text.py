# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report as Markdown, for a ticket or a chat, and as JSON, for programs."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core import matrix_text, say
from ansible_collections.boringdb.ops.plugins.module_utils._core.report import FORMAT, STATES, Cluster, Entry, Estate


def markdown(estate: Estate, limit: int) -> str:
    """The same order as the page: what is wrong first."""
    made = f"Made {say.clock(estate.generated)}."
    lines = [f"# {say.markdown(estate.title)}", "", made, "", f"**{headline(estate)}**", ""]
    for cluster in estate.attention:
        problems = say.markdown("; ".join(cluster.problems))
        lines += [f"- **{say.markdown(cluster.name)}**, {STATES[cluster.state].lower()}: {problems}"]
    lines += [
        "", "| Cluster | Members | State | Last drill | Next due | RTO | RPO | Open failures | Records |",
        "|---|---|---|---|---|---|---|---|---|",
        *(_estate_row(cluster, estate.generated) for cluster in estate.clusters),
    ]
    for cluster in estate.clusters:
        lines += ["", f"## {say.markdown(cluster.name)}", "", f"{STATES[cluster.state]}. "
                  f"Chain: {say.plural(len(cluster.chain.records), 'record')}, head `{cluster.chain.head or 'none'}`."]
        lines += [f"- {say.markdown(problem)}" for problem in cluster.problems]
        if cluster.entries:
            lines += ["", "| Finished | Operation | Verdict | RTO | RPO | Checks | Not passed | Record |",
                      "|---|---|---|---|---|---|---|---|", *(_record_row(entry) for entry in cluster.entries[:limit])]
        lines += [*_follow_up_lines(cluster)]
    if estate.matrix:
        lines += ["", "## Controls", "", *matrix_text.section(estate.matrix, 3)]
    return "\n".join(lines) + "\n"


def as_json(estate: Estate, limit: int) -> str:
    """For programs. The shape is described in docs/report.md."""
    document = {
        "format": FORMAT,
        "title": estate.title,
        "generated": say.iso(estate.generated),
        "overdue_days": estate.overdue_days,
        "trusted_keys": estate.keyids,
        "clusters": [_cluster(cluster, limit) for cluster in estate.clusters],
        "matrix": matrix_text.as_document(estate.matrix) or None,
    }
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def headline(estate: Estate) -> str:
    """The whole report in one line."""
    wrong, total = len(estate.attention), len(estate.clusters)
    if not total:
        return "No records: nothing is proven"
    if not wrong:
        return f"All proven: {say.plural(total, 'cluster')}, {say.plural(estate.records, 'record')} verified"
    return f"{wrong} of {say.plural(total, 'cluster')} {'needs' if wrong == 1 else 'need'} attention"


def _cluster(cluster: Cluster, limit: int) -> dict[str, Any]:
    last, proof = cluster.last, cluster.last_verified
    return {
        "name": cluster.name,
        "state": cluster.state,
        "problems": cluster.problems,
        "last_drill": say.iso(last.finished) if last else None,
        "last_verdict": last.verdict if last else None,
        "last_verified": say.iso(proof.finished) if proof else None,
        "due": say.iso(cluster.due) if cluster.due else None,
        "members": [vars(member) for member in cluster.members],
        "records": len(cluster.chain.records),
        "head": cluster.chain.head,
        "findings": [finding.to_dict() for finding in cluster.chain.findings],
        "open_failures": [entry.record.digest for entry in cluster.open_failures],
        "operations": [
            {"record": entry.record.name, "sha256": entry.record.digest, "trusted": entry.signed,
             "approvals": [matrix_text.followed(one) for one in entry.approvals],
             "corrective_actions": [matrix_text.followed(one) for one in entry.corrections],
             "signed_by": entry.record.signed_by, "missed": entry.missed(), **entry.said}
            for entry in cluster.entries[:limit]
        ],
    }


def _follow_up_lines(cluster: Cluster) -> list[str]:
    """What is open, and what people said of a run."""
    lines = []
    if cluster.open_failures:
        names = ", ".join(f"`{entry.record.name}`" for entry in cluster.open_failures)
        lines += ["", f"Without a corrective action: {names}."]
    for entry in cluster.entries:
        for word, said in (("approved", matrix_text.approved(entry)), ("corrected", matrix_text.corrected(entry))):
            lines += ["", f"`{entry.record.name}` {word}: {say.markdown(said)}."] if said else []
    return lines


def _estate_row(cluster: Cluster, now: datetime) -> str:
    last = cluster.last
    due = "now"
    if cluster.due:
        due = f"{'overdue since ' if now > cluster.due else ''}{say.clock(cluster.due)}"
    cells = [
        cluster.name, cluster.topology or say.NONE, STATES[cluster.state],
        f"{say.clock(last.finished)}, {last.verdict}" if last else "never", due,
        _against(last, "rto_seconds"), _against(last, "rpo_seconds"), str(len(cluster.open_failures)),
        str(len(cluster.chain.records)),
    ]
    return f"| {' | '.join(map(say.markdown, cells))} |"


def _record_row(entry: Entry) -> str:
    checks = entry.said["checks"]
    passed = sum(check["status"] == "passed" for check in checks)
    cells = [
        say.clock(entry.finished), entry.said["operation"], entry.verdict if entry.signed else "not trusted",
        _against(entry, "rto_seconds"), _against(entry, "rpo_seconds"), f"{passed} of {len(checks)}",
        ", ".join(f"{check['name']} {check['status']}" for check in entry.open_checks()) or say.NONE, entry.record.name,
    ]
    return f"| {' | '.join(map(say.markdown, cells))} |"


def _against(entry: Entry | None, name: str) -> str:
    if entry is None or not isinstance(entry.measured(name), (int, float)):
        return say.NONE
    objective = entry.objective(name)
    word = "over" if name in entry.missed() else "of"
    return say.span(entry.measured(name)) + (f" {word} {say.span(objective)}" if objective else "")
