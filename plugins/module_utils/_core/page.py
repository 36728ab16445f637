# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page: one self-contained HTML file. What is wrong comes first; what is behind it opens on demand."""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime
from html import escape

from ansible_collections.boringdb.ops.plugins.module_utils._core import say
from ansible_collections.boringdb.ops.plugins.module_utils._core.page_charts import Point, spark, trend
from ansible_collections.boringdb.ops.plugins.module_utils._core.page_controls import controls
from ansible_collections.boringdb.ops.plugins.module_utils._core.page_drill import (
    VERDICTS,
    against,
    other_row,
    row,
    tag,
)
from ansible_collections.boringdb.ops.plugins.module_utils._core.page_style import CSS, SCRIPT
from ansible_collections.boringdb.ops.plugins.module_utils._core.report import STATES, Cluster, Entry, Estate

TONES = {
    "tampered": ("bad", "no"), "failed": ("bad", "no"), "error": ("warn", "warn"), "never": ("bad", "warn"),
    "overdue": ("bad", "late"), "missed": ("warn", "warn"), "unapproved": ("warn", "warn"), "verified": ("good", "ok"),
}
TREND = 60  # drills in a chart


def render(estate: Estate, limit: int) -> str:
    """The whole page.

    :param limit: how many drills, and how many other operations, are shown of each cluster
    """
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    # Nothing can be fetched and no other script can run, even if a record tried to bring one.
    policy = (f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
              "img-src data:; base-uri 'none'")
    made = say.clock(estate.generated)
    sections = "".join(_cluster(cluster, estate, limit) for cluster in estate.clusters)
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(estate.title)}</title>
<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">
<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,"><style>{CSS}</style></head>
<body data-made="{int(estate.generated.timestamp())}">
<header class="top"><h1>{escape(estate.title)}</h1>
<span class="quiet small">Made {escape(made)}. All times are UTC.</span></header>
<main><p id="stale" class="card stale warn" hidden></p>
{_hero(estate)}{_table(estate)}{sections}{controls(estate.matrix) if estate.matrix else ""}</main>
{_footer(estate)}<script>{SCRIPT}</script></body></html>
"""


def _hero(estate: Estate) -> str:
    wrong, total = estate.attention, len(estate.clusters)
    if not total:
        return ('<section class="card hero isbad"><h2>No records</h2><p>The ledger holds no record of any cluster: '
                "nothing is proven.</p></section>")
    if not wrong:
        what = "The cluster is proven" if total == 1 else f"All {total} clusters are proven"
        which = "It" if total == 1 else "Each"
        return (f'<section class="card hero isgood"><h2>{what}</h2><p>{which} was restored and verified within the '
                f"last {say.number(_days(estate))} days. {_trust(estate)}</p></section>")
    items = "".join(
        f"<li><span>{_state(cluster)}</span><a href=\"#{_anchor(cluster)}\">{escape(cluster.name)}</a>"
        f'<div>{"".join(f"<div>{escape(problem)}</div>" for problem in _short(cluster.problems))}</div></li>'
        for cluster in wrong
    )
    verb = "needs" if len(wrong) == 1 else "need"
    return (f'<section class="card hero isbad"><h2>{len(wrong)} of {say.plural(total, "cluster")} {verb} attention</h2>'
            f"<p>{_trust(estate)}</p><ul class=\"alarms\">{items}</ul></section>")


def _trust(estate: Estate) -> str:
    if estate.findings:
        return (f"{say.plural(len(estate.findings), 'finding')} in the ledger itself: "
                "what those records say is not counted.")
    return f"{say.plural(estate.records, 'record')}, every signature and every chain verified."


def _short(problems: list[str], most: int = 3) -> list[str]:
    return problems if len(problems) <= most else [*problems[: most - 1], f"and {len(problems) - most + 1} more"]


def _table(estate: Estate) -> str:
    if not estate.clusters:
        return ""
    rows = ""
    for cluster in estate.clusters:
        last = cluster.last
        drawn = spark(_points(cluster, "rto_seconds"), _objective(cluster, "rto_seconds"))
        trend_label = ' data-l="RTO trend"' if drawn else ""
        when = '<span class="quiet">never</span>'
        if last:
            said = f"{VERDICTS[last.verdict][2].lower()}, {say.ago(last.finished, estate.generated)}"
            when = f'{_time(last.finished)}<span class="quiet">{escape(said)}</span>'
        rows += (
            f'<tr><td><a href="#{_anchor(cluster)}">{escape(cluster.name)}</a>'
            f'<span class="quiet">{escape(cluster.engine)}</span></td><td>{_state(cluster)}</td>'
            f'<td data-l="Last drill">{when}</td><td data-l="Next due">{_due(cluster, estate)}</td>'
            f'<td data-l="RTO">{_last(last, "rto_seconds")}</td><td data-l="RPO">{_last(last, "rpo_seconds")}</td>'
            f'<td{trend_label}>{drawn}</td></tr>'
        )
    return ('<section class="card estate"><h2 class="hide">Estate</h2><table><thead><tr><th>Cluster</th><th>State</th>'
            "<th>Last drill</th><th>Next due</th><th>RTO</th><th>RPO</th><th>RTO trend</th></tr></thead>"
            f"<tbody>{rows}</tbody></table></section>")


def _cluster(cluster: Cluster, estate: Estate, limit: int) -> str:
    tone = "warn" if TONES[cluster.state][0] == "warn" else "bad"
    problems = "".join(f"<li>{escape(problem)}</li>" for problem in cluster.problems)
    drills, others = cluster.drills[:limit], cluster.others[:limit]
    body = f'<ul class="problems {tone}">{problems}</ul>' if problems else ""
    body += _facts(cluster, estate)
    if cluster.drills:
        body += _charts(cluster)
        shown = f", the newest {len(drills)} of {len(cluster.drills)}" if len(drills) < len(cluster.drills) else ""
        body += (f'<div class="sub"><h3>Restore drills{shown}</h3></div><div class="row rowhead" aria-hidden="true">'
                 "<span></span><span>Finished</span><span>Verdict</span><span>RTO</span><span>RPO</span>"
                 '<span class="wide">Backup</span><span class="wide">Checks</span></div><div class="rows">')
        body += "".join(
            row(entry, _record_anchor(cluster, entry), opened=entry is drills[0] and _wrong(entry)) for entry in drills
        ) + "</div>"
    if others:
        shown = f", the newest {len(others)} of {len(cluster.others)}" if len(others) < len(cluster.others) else ""
        body += f'<div class="sub"><h3>Other operations{shown}</h3></div><div class="rows">'
        body += "".join(other_row(entry, _record_anchor(cluster, entry)) for entry in others) + "</div>"
    return (f'<section class="card cluster" id="{_anchor(cluster)}"><header><h2>{escape(cluster.name)}</h2>'
            f'<span class="quiet">{escape(cluster.engine)}</span>{_state(cluster)}</header>{body}</section>')


def _facts(cluster: Cluster, estate: Estate) -> str:
    proof = cluster.last_verified
    proven = (f'{_time(proof.finished)} <span class="quiet nowrap">'
              f"{escape(say.ago(proof.finished, estate.generated))}</span>") if proof else "never"
    head = f'<span class="mono">{cluster.chain.head}</span>' if cluster.chain.head else "none"
    wrong = [item for item in cluster.chain.findings if item.kind != "empty"]
    open_runs = len(cluster.open_failures)
    unfinished = (f'<div><dt>Without corrective action</dt><dd><span class="over">{say.plural(open_runs, "run")}'
                  "</span></dd></div>") if open_runs else ""
    chain = say.plural(len(cluster.chain.records), "record")
    chain += f", {say.plural(len(wrong), 'finding')}" if wrong else (" verified" if cluster.chain.records else "")
    return (f'<dl class="facts"><div><dt>Last verified drill</dt><dd>{proven}</dd></div><div><dt>Next due</dt>'
            f"<dd>{_due(cluster, estate)}</dd></div><div><dt>Chain</dt><dd>{escape(chain)}</dd></div>"
            f"{unfinished}"
            f'<div class="long"><dt>Chain head, sha256</dt><dd>{head}</dd></div></dl>')


def _charts(cluster: Cluster) -> str:
    drawn = ""
    for name, label in (("rto_seconds", "RTO, time to restore"), ("rpo_seconds", "RPO, data that would be lost")):
        objective = _objective(cluster, name)
        points = _points(cluster, name)
        latest = f"<b>{escape(say.span(points[-1].seconds))}</b>" if points else ""
        aim = f'<span class="quiet small">objective {escape(say.span(objective))}</span>' if objective else ""
        caption = f'<span><span class="quiet small">{label}</span>{latest}</span>{aim}'
        drawn += (f'<figure class="chart"><figcaption>{caption}</figcaption>{trend(points, objective)}</figure>')
    line = '<svg viewBox="0 0 22 12"><path class="{}" d="M{}"/></svg>'
    ring = '<svg viewBox="0 0 22 12"><path class="ring" d="M11 6h0"/><path class="hole" d="M11 6h0"/></svg>'
    dot = line.format("dot", "11 6h0")
    return (f'<div class="charts">{drawn}</div><div class="key"><span>{dot}verified drill</span>'
            f"<span>{ring}drill not verified</span><span>{line.format('aim', '1 6H21')}objective</span></div>")


def _points(cluster: Cluster, name: str) -> list[Point]:
    """Drills that a trusted key vouches for, oldest first."""
    measured = [entry for entry in cluster.drills if entry.signed and isinstance(entry.measured(name), (int, float))]
    return [
        Point(entry.finished, entry.measured(name), entry.verdict == "verified",
              f"{say.clock(entry.finished)}: {say.span(entry.measured(name))}, {entry.verdict}")
        for entry in reversed(measured[:TREND])
    ]


def _objective(cluster: Cluster, name: str) -> float | None:
    return next((entry.objective(name) for entry in cluster.drills if entry.signed and entry.objective(name)), None)


def _due(cluster: Cluster, estate: Estate) -> str:
    if cluster.due is None:
        return '<span class="over">now</span>'
    day = _time(cluster.due)
    if estate.generated > cluster.due:
        late = say.ago(cluster.due, estate.generated).replace(" ago", "")
        return f'<span class="over nowrap">overdue {escape(late)}</span> <span class="quiet nowrap">{day}</span>'
    return (f'<span class="nowrap" data-due="{int(cluster.due.timestamp())}" data-text="{day}">{day}</span>'
            f' <span class="quiet nowrap">{escape(say.ago(cluster.due, estate.generated))}</span>')


def _time(when: datetime) -> str:
    return when.strftime("%Y-%m-%d %H:%M")


def _last(entry: Entry | None, name: str) -> str:
    return against(entry.measured(name), entry.objective(name)) if entry else f'<span class="quiet">{say.NONE}</span>'


def _state(cluster: Cluster) -> str:
    return tag(*TONES[cluster.state], STATES[cluster.state])


def _wrong(entry: Entry) -> bool:
    return not entry.signed or entry.verdict != "verified" or bool(entry.missed())


def _anchor(cluster: Cluster) -> str:
    return f"c-{escape(cluster.name)}"


def _record_anchor(cluster: Cluster, entry: Entry) -> str:
    return f"r-{cluster.name}-{entry.record.name}"


def _days(estate: Estate) -> float:
    return int(estate.overdue_days) if float(estate.overdue_days).is_integer() else estate.overdue_days


def _footer(estate: Estate) -> str:
    keys = ", ".join(estate.keyids)
    return (
        "<footer><p>A cluster is verified when its last restore drill was verified, met its objectives, and is not "
        f"older than {say.number(_days(estate))} days. Signatures were checked against the trusted key "
        f'<span class="mono">{escape(keys)}</span>.</p>'
        "<p>A chain shows an altered or removed record. A cut tail, or a chain that was signed anew by whoever holds "
        "the key, shows only against a chain head that was kept outside of the ledger.</p></footer>"
    )
