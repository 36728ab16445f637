# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page's top: what is wrong, and a line for each cluster; and what its parts have in common."""

from __future__ import annotations

from datetime import datetime
from html import escape

from ansible_collections.boringdb.ops.plugins.module_utils._core import say
from ansible_collections.boringdb.ops.plugins.module_utils._core.page_charts import Point, spark
from ansible_collections.boringdb.ops.plugins.module_utils._core.page_drill import VERDICTS, against, tag
from ansible_collections.boringdb.ops.plugins.module_utils._core.report import STATES, Cluster, Entry, Estate

TONES = {
    "tampered": ("bad", "no"), "failed": ("bad", "no"), "error": ("warn", "warn"), "never": ("bad", "warn"),
    "overdue": ("bad", "late"), "missed": ("warn", "warn"), "unapproved": ("warn", "warn"), "verified": ("good", "ok"),
}
TREND = 60  # drills in a chart
SHOWN = 15  # clusters that the first box lists; a longer table can be searched
TRENDS = (("rto_seconds", "RTO trend"), ("rpo_seconds", "RPO trend"))


def hero(estate: Estate) -> str:
    """The first box: what is wrong, the worst first."""
    wrong, total = estate.attention, len(estate.clusters)
    if not total:
        return ('<section class="card hero isbad"><h2>No records</h2><p>The ledger holds no record of any cluster: '
                "nothing is proven.</p></section>")
    if not wrong:
        what = "The cluster is proven" if total == 1 else f"All {total} clusters are proven"
        which = "It" if total == 1 else "Each"
        return (f'<section class="card hero isgood"><h2>{what}</h2><p>{which} was restored and verified within the '
                f"last {say.number(days(estate))} days. {_trust(estate)}</p></section>")
    items = "".join(
        f"<li><span>{state(cluster)}</span><a href=\"#{anchor(cluster)}\">{escape(cluster.name)}</a>"
        f'<div>{"".join(f"<div>{escape(problem)}</div>" for problem in _short(cluster.problems))}</div></li>'
        for cluster in wrong[:SHOWN]
    )
    more = len(wrong) - SHOWN
    rest = f'<p class="more">and {say.plural(more, "other")}: see below.</p>' if more > 0 else ""
    verb = "needs" if len(wrong) == 1 else "need"
    return (f'<section class="card hero isbad"><h2>{len(wrong)} of {say.plural(total, "cluster")} {verb} attention</h2>'
            f"<p>{_trust(estate)}</p>{_tally(estate)}<ul class=\"alarms\">{items}</ul>{rest}</section>")


def _tally(estate: Estate) -> str:
    """How many clusters are in each state, where a list does not show it at a glance."""
    if len(estate.clusters) <= SHOWN:
        return ""
    found = [cluster.state for cluster in estate.clusters]
    tags = [tag(*TONES[name], f"{STATES[name]}: {found.count(name)}") for name in STATES if name in found]
    return f'<div class="tally">{"".join(tags)}</div>'


def _trust(estate: Estate) -> str:
    if estate.findings:
        return (f"{say.plural(len(estate.findings), 'finding')} in the ledger itself: "
                "what those records say is not counted.")
    return f"{say.plural(estate.records, 'record')}, every signature and every chain verified."


def _short(problems: list[str], most: int = 3) -> list[str]:
    return problems if len(problems) <= most else [*problems[: most - 1], f"and {len(problems) - most + 1} more"]


def table(estate: Estate) -> str:
    """A line for each cluster."""
    if not estate.clusters:
        return ""
    rows = ""
    for cluster in estate.clusters:
        last = cluster.last
        when = '<span class="quiet">never</span>'
        if last:
            said = f"{VERDICTS[last.verdict][2].lower()}, {say.ago(last.finished, estate.generated)}"
            when = f'{clock_time(last.finished)}<span class="quiet">{escape(said)}</span>'
        rows += (
            f'<tr><td><a href="#{anchor(cluster)}">{escape(cluster.name)}</a>'
            f'<span class="quiet">{escape(cluster.engine)}</span>{_topology(cluster)}</td>'
            f"<td>{state(cluster)}{_open(cluster)}</td>"
            f'<td data-l="Last drill">{when}</td><td data-l="Next due">{due(cluster, estate)}</td>'
            f'<td data-l="RTO">{_last(last, "rto_seconds")}</td><td data-l="RPO">{_last(last, "rpo_seconds")}</td>'
            f'{"".join(_trend(cluster, name, label) for name, label in TRENDS)}</tr>'
        )
    search = ('<p class="find" hidden><label for="find">Find</label> <input id="find" type="search" '
              'placeholder="name, state, host" autocomplete="off"> <span class="quiet" id="found"></span></p>')
    return (f'<section class="card estate"><h2 class="hide">Estate</h2>{search if len(estate.clusters) > SHOWN else ""}'
            "<table><thead><tr><th>Cluster</th><th>State</th>"
            "<th>Last drill</th><th>Next due</th><th>RTO</th><th>RPO</th><th>RTO trend</th><th>RPO trend</th></tr>"
            f"</thead><tbody>{rows}</tbody></table></section>")


def _topology(cluster: Cluster) -> str:
    return f'<span class="quiet">{escape(cluster.topology)}</span>' if cluster.topology else ""


def _open(cluster: Cluster) -> str:
    """Runs that went wrong and about which nobody has said what was done."""
    count = len(cluster.open_failures)
    return f'<span class="quiet open">{say.plural(count, "open failure")}</span>' if count else ""


def _trend(cluster: Cluster, name: str, label: str) -> str:
    drawn = spark(points(cluster, name), objective(cluster, name))
    return f'<td data-l="{label}">{drawn}</td>' if drawn else "<td></td>"


def points(cluster: Cluster, name: str) -> list[Point]:
    """Drills that a trusted key vouches for, oldest first."""
    measured = [entry for entry in cluster.drills if entry.signed and isinstance(entry.measured(name), (int, float))]
    return [
        Point(entry.finished, entry.measured(name), entry.verdict == "verified",
              f"{say.clock(entry.finished)}: {say.span(entry.measured(name))}, {entry.verdict}")
        for entry in reversed(measured[:TREND])
    ]


def objective(cluster: Cluster, name: str) -> float | None:
    """The objective of the newest drill that had one."""
    return next((entry.objective(name) for entry in cluster.drills if entry.signed and entry.objective(name)), None)


def due(cluster: Cluster, estate: Estate) -> str:
    """When the next verified drill must have ended."""
    if cluster.due is None:
        return '<span class="over">now</span>'
    day = clock_time(cluster.due)
    if estate.generated > cluster.due:
        late = say.ago(cluster.due, estate.generated).replace(" ago", "")
        return f'<span class="over nowrap">overdue {escape(late)}</span> <span class="quiet nowrap">{day}</span>'
    return (f'<span class="nowrap" data-due="{int(cluster.due.timestamp())}" data-text="{day}">{day}</span>'
            f' <span class="quiet nowrap">{escape(say.ago(cluster.due, estate.generated))}</span>')


def clock_time(when: datetime) -> str:
    """``2026-10-01 03:04``."""
    return when.strftime("%Y-%m-%d %H:%M")


def _last(entry: Entry | None, name: str) -> str:
    return against(entry.measured(name), entry.objective(name)) if entry else f'<span class="quiet">{say.NONE}</span>'


def state(cluster: Cluster) -> str:
    """Its state as a word with a sign."""
    return tag(*TONES[cluster.state], STATES[cluster.state])


def anchor(cluster: Cluster) -> str:
    """Where links to its section lead."""
    return f"c-{escape(cluster.name)}"


def days(estate: Estate) -> float:
    """How old a proof may become, as a person says it."""
    return int(estate.overdue_days) if float(estate.overdue_days).is_integer() else estate.overdue_days
