# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The matrix of controls on the page."""

from __future__ import annotations

from html import escape

from ansible_collections.boringdb.ops.plugins.module_utils._core import say
from ansible_collections.boringdb.ops.plugins.module_utils._core.matrix import Gap, Matrix, Row
from ansible_collections.boringdb.ops.plugins.module_utils._core.matrix_text import (
    COUNTED,
    approved,
    control_cells,
    corrected,
    runs,
)
from ansible_collections.boringdb.ops.plugins.module_utils._core.page_drill import VERDICTS, drawing, tag
from ansible_collections.boringdb.ops.plugins.module_utils._core.report import Entry

LABELS = ("Runs", "Verified", "Not verified", "Last verified", "Gaps")
RUNS = 500  # newest runs in the table, likewise
SHOWN = 2  # gaps of one kind and cluster; the forms for programs have all of them


def controls(matrix: Matrix) -> str:
    """The section: the controls, what is missing, and behind it the runs."""
    head = "".join(f"<th>{label}</th>" for label in ("Control", *LABELS))
    rows = "".join(map(_row, matrix.rows))
    state = (tag("warn", "warn", say.plural(len(matrix.gaps), "gap")) if matrix.gaps else tag("good", "ok", "No gaps"))
    found = runs(matrix)
    return (
        '<section class="card cluster controls" id="controls"><header><h2>Controls</h2>'
        f'<span class="quiet">{matrix.start} to {matrix.end}</span>{state}</header>'
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{_gaps(matrix.gaps)}"
        f'<div class="sub"><h3>Runs</h3><p class="quiet small">{COUNTED}</p></div>{_runs(found)}</section>'
    )


def _row(row: Row) -> str:
    cells = control_cells(row)
    values = ""
    for label, cell in zip(LABELS, cells[1:]):
        over = ' class="over"' if label in ("Gaps", "Last verified") and cell not in ("none",) and row.gaps and (
            label == "Gaps" or cell == "never") else ""
        values += f'<td data-l="{label}"><span{over}>{escape(cell)}</span></td>'
    asks = f'<span class="quiet">{escape(row.control.asks)}</span>' if row.control.asks else ""
    return f"<tr><td><b>{escape(cells[0])}</b>{asks}</td>{values}</tr>"


def _gaps(gaps: list[Gap]) -> str:
    if not gaps:
        return ""
    items = ""
    alike: dict[tuple[str, str], list[Gap]] = {}
    for gap in gaps:
        alike.setdefault((gap.kind, gap.cluster), []).append(gap)
    for (_kind, cluster), found in alike.items():
        items += "".join(f"<li><b>{escape(cluster)}</b>: {escape(gap.text)}</li>" for gap in found[:SHOWN])
        more = len(found) - SHOWN
        items += f"<li><b>{escape(cluster)}</b>: and {more} more like it</li>" if more > 0 else ""
    return f'<div class="sub"><h3>Gaps</h3></div><ul class="problems warn">{items}</ul>'


def _runs(found: list[tuple[str, Entry]]) -> str:
    if not found:
        return '<p class="quiet none">None in the period.</p>'
    rows = ""
    for cluster, entry in found[:RUNS]:
        rows += (
            f"<tr><td>{entry.finished:%Y-%m-%d %H:%M}</td><td>{tag(*VERDICTS[entry.verdict])}</td>"
            f'<td data-l="Cluster">{escape(cluster)}</td><td data-l="Operation">{escape(entry.said["operation"])}</td>'
            f'{_cell("Approved", approved(entry))}{_cell("Corrective action", corrected(entry))}'
            f'<td data-l="SHA-256" class="mono">{entry.record.digest}</td></tr>'
        )
    head = "".join(f"<th>{label}</th>" for label in (
        "Finished", "Verdict", "Cluster", "Operation", "Approved", "Corrective action", "SHA-256"))
    shown = f", the newest {RUNS} here" if len(found) > RUNS else ""
    return (f'<details><summary class="row all">{drawing("arrow", "arrow")}<span>{say.plural(len(found), "run")} of '
            f"operations that support a control{shown}</span></summary>"
            f"<table class=\"runs\"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></details>")


def _cell(label: str, text: str) -> str:
    return f'<td data-l="{label}">{escape(text)}</td>' if text else "<td></td>"
