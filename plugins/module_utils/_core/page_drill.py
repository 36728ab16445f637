# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One operation on the page: its row, and what is behind it."""

from __future__ import annotations

from datetime import datetime
from html import escape
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core import say
from ansible_collections.boringdb.ops.plugins.module_utils._core.page_charts import Lane, phases, timeline
from ansible_collections.boringdb.ops.plugins.module_utils._core.page_style import ICONS
from ansible_collections.boringdb.ops.plugins.module_utils._core.report import Entry

PHASES = (("Restore", "restore_seconds"), ("Recovery", "recovery_seconds"), ("Verify", "verify_seconds"),
          ("Teardown", "teardown_seconds"))
VERDICTS = {
    "verified": ("good", "ok", "Verified"), "failed": ("bad", "no", "Failed"), "error": ("warn", "warn", "Error"),
}
STATUSES = {
    "passed": ("good", "ok", "passed"), "failed": ("bad", "no", "failed"), "skipped": ("warn", "skip", "skipped"),
}


def tag(tone: str, icon: str, text: str) -> str:
    """A word with its sign: never a colour alone."""
    return f'<span class="tag {tone}">{drawing(icon)}{escape(text)}</span>'


def drawing(icon: str, cls: str = "") -> str:
    """One of the page's icons."""
    return f'<svg class="{cls}" viewBox="0 0 16 16" aria-hidden="true">{ICONS[icon]}</svg>'


def against(value: Any, objective: Any) -> str:
    """A time against its objective; what exceeds it stands out and says so."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return f'<span class="quiet">{say.NONE}</span>'
    over = isinstance(objective, (int, float)) and value > objective
    aim = f' <span class="quiet">{"over" if over else "of"} {escape(say.span(objective))}</span>' if objective else ""
    return f'<span class="nowrap {"over" if over else ""}">{escape(say.span(value))}</span>{aim}'


def row(entry: Entry, anchor: str, opened: bool) -> str:
    """A drill as a row that opens."""
    trust = "" if entry.signed else tag("bad", "no", "Not trusted")
    verdict = tag(*VERDICTS[entry.verdict]) if entry.signed else trust
    backup = " ".join(str(part) for part in (entry.measured("backup_label"), entry.measured("backup_type")) if part)
    cells = [
        f'<span class="nowrap">{entry.finished:%Y-%m-%d %H:%M}</span>',
        f"<span>{verdict}</span>",
        f'<span><span class="l">RTO </span>{_short(entry, "rto_seconds")}</span>',
        f'<span><span class="l">RPO </span>{_short(entry, "rpo_seconds")}</span>',
        f'<span class="wide"><span class="l">Backup </span>{escape(backup or say.NONE)}</span>',
        f'<span class="wide"><span class="l">Checks </span>{escape(_tally(entry))}</span>',
    ]
    arrow = drawing("arrow", "arrow")
    return (f'<details id="{escape(anchor)}"{" open" if opened else ""}><summary class="row">{arrow}'
            f'{"".join(cells)}</summary><div class="inner">{inside(entry)}</div></details>')


def other_row(entry: Entry, anchor: str) -> str:
    """Any other operation as a row that opens."""
    verdict = tag(*VERDICTS[entry.verdict]) if entry.signed else tag("bad", "no", "Not trusted")
    length = (entry.finished - entry.started).total_seconds()
    return (
        f'<details id="{escape(anchor)}"><summary class="row">{drawing("arrow", "arrow")}'
        f'<span class="nowrap">{entry.finished:%Y-%m-%d %H:%M}</span><span>{verdict}</span>'
        f'<span>{escape(entry.said["operation"])}</span>'
        f'<span><span class="l">Took </span>{escape(say.span(length))}</span>'
        f'<span class="wide">{escape(str(entry.said["operator"].get("user", "")))}</span>'
        f'<span class="wide"><span class="l">Checks </span>{escape(_tally(entry))}</span></summary>'
        f'<div class="inner">{inside(entry)}</div></details>'
    )


def inside(entry: Entry) -> str:
    """Everything a record says."""
    parts = []
    if entry.record.findings:
        items = "".join(f"<li>{escape(item.kind)}: {escape(item.message)}</li>" for item in entry.record.findings)
        parts.append(f'<ul class="bad" style="padding:10px 14px;border-radius:8px">{items}</ul>')
    if entry.said["error"]:
        parts.append(f'<p class="warn" style="padding:10px 14px;border-radius:8px">{escape(entry.said["error"])}</p>')
    parts.append(_checks(entry))
    drawn = phases([(name, entry.measured(key)) for name, key in PHASES if _is_number(entry.measured(key))])
    drawn += timeline(lanes(entry))
    measured = _measured(entry)
    parts.append(f'<div class="two"><div>{drawn}</div><div>{measured}</div></div>' if drawn else measured)
    parts.append(_follow_ups(entry))
    parts.append(_provenance(entry))
    return "".join(part for part in parts if part)


def lanes(entry: Entry) -> list[Lane]:
    """What a drill's timeline shows."""
    result = []
    for name, first, last, soft in (("Backup", "backup_started", "backup_finished", False),
                                    ("Window", "window_start", "window_end", True)):
        start, end = (say.moment_or_none(entry.measured(key)) for key in (first, last))
        if start and end and end >= start:
            length = say.span((end - start).total_seconds())
            result.append(Lane(name, f"{_stamp(start)} to {_later(start, end)} ({length})", start, end, soft))
    target, kind = entry.measured("target"), entry.measured("target_type")
    moment = say.moment_or_none(target)
    if target is not None or kind:
        said = _stamp(moment) if moment else str(kind if target is None else target)
        note = f" ({kind})" if kind and target is not None else ""
        result.append(Lane("Target", said + note, moment))
    reached = say.moment_or_none(entry.measured("reached_time"))
    place = [f"LSN {entry.measured('reached_lsn')}" if entry.measured("reached_lsn") else "",
             f"timeline {entry.measured('reached_timeline')}" if entry.measured("reached_timeline") else ""]
    words = ", ".join(part for part in [_stamp(reached) if reached else "", *place] if part)
    if words:
        result.append(Lane("Reached", words, reached))
    if result:
        length = say.span((entry.finished - entry.started).total_seconds())
        result.append(Lane("Drill", f"{_stamp(entry.started)} ({length})", entry.started, entry.finished))
    return result


def _checks(entry: Entry) -> str:
    checks = [*entry.open_checks(), *(check for check in entry.said["checks"] if check["status"] == "passed")]
    if not checks:
        return '<p class="quiet">No checks.</p>'
    rows = ""
    for check in checks:
        seconds = "" if check["seconds"] is None else say.span(check["seconds"])
        why = f'<span class="quiet">{escape(check["message"])}</span>' if check["message"] else ""
        rows += (
            f'<tr><td class="mono">{escape(check["name"])}</td><td>{tag(*STATUSES[check["status"]])}</td>'
            f'<td>{"required" if check["required"] else "optional"}</td>'
            f'{_cell("Expected", check["expected"])}{_cell("Found", check["actual"])}'
            f'<td class="num nowrap">{escape(seconds)}</td>'
            f'<td class="why">{why}</td></tr>'
        )
    return ('<div class="checks"><table><thead><tr><th>Check</th><th>Status</th><th></th><th>Expected</th>'
            f'<th>Found</th><th class="num">Took</th><th></th></tr></thead><tbody>{rows}</tbody></table></div>')


def _cell(label: str, value: Any) -> str:
    return "<td></td>" if value is None else f'<td data-l="{label}">{escape(say.number(value))}</td>'


def _measured(entry: Entry) -> str:
    rows = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(say.measurement(name, value))}</dd></div>"
                   for name, value in sorted(entry.said["measurements"].items()))
    return f'<div><h4>Measurements</h4><dl class="measured">{rows}</dl></div>' if rows else ""


def _provenance(entry: Entry) -> str:
    said, record = entry.said, entry.record
    tools = [f"{name} {version}" for name, version in sorted((said["versions"].get("tools") or {}).items())]
    job = said["operator"].get("awx_job")
    facts = [
        ("Signature", f"verified with key {record.signed_by}" if record.signed_by else "no trusted key signed this"),
        ("Record", record.name),
        ("SHA-256", record.digest),
        ("Seals", said["previous"] or "nothing, it is the first of its chain"),
        ("Operator", f"{said['operator'].get('user', '')}{f', AWX job {job}' if job else ''}"),
        ("Versions", ", ".join([f"{said['engine']} {said['versions'].get('engine') or ''}".strip(), *tools])),
        ("Subjects", ", ".join(f"{item['name']} sha256:{item['digest']['sha256']}" for item in record.subjects)),
        ("Controls", ", ".join(said["controls"])),
        ("Approval", _prose(said["approval"])),
        ("Corrective action", _prose(said["corrective_action"])),
    ]
    rows = "".join(f'<dt>{name}</dt><dd class="{"mono" if name in ("Record", "SHA-256", "Seals") else ""}">'
                   f"{escape(str(value))}</dd>" for name, value in facts if value)
    return f'<div><h4>Record</h4><dl class="said-by">{rows}</dl></div>'


def _follow_ups(entry: Entry) -> str:
    """What people signed about it later."""
    rows = ""
    for one in entry.followed:
        label = "Approved" if one.said["operation"] == "approval" else "Corrective action"
        another = "another key" if one.record.signed_by != entry.record.signed_by else "the same key"
        rows += (f"<dt>{label}</dt><dd>{escape(_prose(one.said[one.said['operation']]))} <span class=\"quiet\">"
                 f"{one.finished:%Y-%m-%d %H:%M}, signed with {another}, {escape(one.record.name)}</span></dd>")
    return f'<div><h4>Followed by</h4><dl class="said-by">{rows}</dl></div>' if rows else ""


def _prose(said: Any) -> str:
    """What a person said, whether as text or by its parts."""
    return ", ".join(f"{key}: {value}" for key, value in said.items()) if isinstance(said, dict) else str(said or "")


def _short(entry: Entry, name: str) -> str:
    return against(entry.measured(name), entry.objective(name))


def _tally(entry: Entry) -> str:
    checks = entry.said["checks"]
    parts = []
    for status in ("passed", "failed", "skipped"):
        found = [check for check in checks if check["status"] == status]
        optional = status != "passed" and not any(check["required"] for check in found)
        parts += [f"{len(found)} {status}{' (optional)' if optional else ''}"] if found else []
    return ", ".join(parts) or "none"


def _stamp(when: datetime | None) -> str:
    return when.strftime("%Y-%m-%d %H:%M:%S") if when else ""


def _later(start: datetime, end: datetime) -> str:
    """The end of a span without the day that it shares with its start."""
    return f"{end:%H:%M:%S}" if start.date() == end.date() else _stamp(end)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
