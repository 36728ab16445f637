# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page: one self-contained HTML file. What is wrong comes first; what is behind it opens on demand."""

from __future__ import annotations

import base64
import hashlib
from html import escape

from ansible_collections.boringdb.ops.plugins.module_utils._core import say
from ansible_collections.boringdb.ops.plugins.module_utils._core.page_charts import trend
from ansible_collections.boringdb.ops.plugins.module_utils._core.page_controls import controls
from ansible_collections.boringdb.ops.plugins.module_utils._core.page_drill import other_row, row
from ansible_collections.boringdb.ops.plugins.module_utils._core.page_estate import (
    TONES,
    anchor,
    clock_time,
    days,
    due,
    hero,
    objective,
    points,
    state,
    table,
)
from ansible_collections.boringdb.ops.plugins.module_utils._core.page_style import CSS, SCRIPT
from ansible_collections.boringdb.ops.plugins.module_utils._core.report import Cluster, Entry, Estate

#: Of more clusters than this the page holds less each, so that it stays one that a phone opens: no drawings and the
#: newest drill of those that are well; and as many drills of the others as so many clusters would have.
MANY = 50


def render(estate: Estate, limit: int) -> str:
    """The whole page.

    :param limit: how many drills, and how many other operations, are shown of each cluster, of many clusters fewer
    """
    many = len(estate.clusters) > MANY
    most = max(1, min(limit, MANY * limit // len(estate.clusters))) if many else limit
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    # Nothing can be fetched and no other script can run, even if a record tried to bring one.
    policy = (f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
              "img-src data:; base-uri 'none'")
    made = say.clock(estate.generated)
    sections = "".join(
        _cluster(cluster, estate, 1 if many and cluster.state == "verified" else most, not many)
        for cluster in estate.clusters
    )
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(estate.title)}</title>
<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">
<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,"><style>{CSS}</style></head>
<body data-made="{int(estate.generated.timestamp())}">
<header class="top"><h1>{escape(estate.title)}</h1>
<span class="quiet small">Made {escape(made)}. All times are UTC.</span></header>
<main><p id="stale" class="card stale warn" hidden></p>
{hero(estate)}{table(estate)}{sections}{controls(estate.matrix) if estate.matrix else ""}</main>
{_footer(estate)}<script>{SCRIPT}</script></body></html>
"""


def _cluster(cluster: Cluster, estate: Estate, limit: int, whole: bool) -> str:
    tone = "warn" if TONES[cluster.state][0] == "warn" else "bad"
    problems = "".join(f"<li>{escape(problem)}</li>" for problem in cluster.problems)
    drills, others = cluster.drills[:limit], cluster.others[:limit]
    body = f'<ul class="problems {tone}">{problems}</ul>' if problems else ""
    body += _facts(cluster, estate)
    if cluster.drills:
        body += _charts(cluster) if whole or cluster.state != "verified" else ""
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
    return (f'<section class="card cluster" id="{anchor(cluster)}"><header><h2>{escape(cluster.name)}</h2>'
            f'<span class="quiet">{escape(cluster.engine)}</span>{state(cluster)}</header>{body}</section>')


def _facts(cluster: Cluster, estate: Estate) -> str:
    proof = cluster.last_verified
    proven = (f'{clock_time(proof.finished)} <span class="quiet nowrap">'
              f"{escape(say.ago(proof.finished, estate.generated))}</span>") if proof else "never"
    head = f'<span class="mono">{cluster.chain.head}</span>' if cluster.chain.head else "none"
    wrong = [item for item in cluster.chain.findings if item.kind != "empty"]
    open_runs = len(cluster.open_failures)
    unfinished = (f'<div><dt>Without corrective action</dt><dd><span class="over">{say.plural(open_runs, "run")}'
                  "</span></dd></div>") if open_runs else ""
    chain = say.plural(len(cluster.chain.records), "record")
    chain += f", {say.plural(len(wrong), 'finding')}" if wrong else (" verified" if cluster.chain.records else "")
    return (f'<dl class="facts"><div><dt>Last verified drill</dt><dd>{proven}</dd></div><div><dt>Next due</dt>'
            f"<dd>{due(cluster, estate)}</dd></div><div><dt>Chain</dt><dd>{escape(chain)}</dd></div>"
            f"{unfinished}{_members(cluster)}"
            f'<div class="long"><dt>Chain head, sha256</dt><dd>{head}</dd></div></dl>')


def _members(cluster: Cluster) -> str:
    """Each member with its role, when somebody has asked."""
    if not cluster.members:
        return ""
    said = ", ".join(f"{one.name} ({one.said})" for one in cluster.members)
    return f'<div class="long"><dt>Members, as asked for this page</dt><dd>{escape(said)}</dd></div>'


def _charts(cluster: Cluster) -> str:
    drawn = ""
    for name, label in (("rto_seconds", "RTO, time to restore"), ("rpo_seconds", "RPO, data that would be lost")):
        aimed = objective(cluster, name)
        measured = points(cluster, name)
        latest = f"<b>{escape(say.span(measured[-1].seconds))}</b>" if measured else ""
        aim = f'<span class="quiet small">objective {escape(say.span(aimed))}</span>' if aimed else ""
        caption = f'<span><span class="quiet small">{label}</span>{latest}</span>{aim}'
        drawn += (f'<figure class="chart"><figcaption>{caption}</figcaption>{trend(measured, aimed)}</figure>')
    line = '<svg viewBox="0 0 22 12"><path class="{}" d="M{}"/></svg>'
    ring = '<svg viewBox="0 0 22 12"><path class="ring" d="M11 6h0"/><path class="hole" d="M11 6h0"/></svg>'
    dot = line.format("dot", "11 6h0")
    return (f'<div class="charts">{drawn}</div><div class="key"><span>{dot}verified drill</span>'
            f"<span>{ring}drill not verified</span><span>{line.format('aim', '1 6H21')}objective</span></div>")


def _wrong(entry: Entry) -> bool:
    return not entry.signed or entry.verdict != "verified" or bool(entry.missed())


def _record_anchor(cluster: Cluster, entry: Entry) -> str:
    return f"r-{cluster.name}-{entry.record.name}"


def _footer(estate: Estate) -> str:
    keys = ", ".join(estate.keyids)
    return (
        "<footer><p>A cluster is verified when its last restore drill was verified, met its objectives, and is not "
        f"older than {say.number(days(estate))} days. Signatures were checked against the trusted key "
        f'<span class="mono">{escape(keys)}</span>.</p>'
        "<p>A chain shows an altered or removed record. A cut tail, or a chain that was signed anew by whoever holds "
        "the key, shows only against a chain head that was kept outside of the ledger.</p></footer>"
    )
