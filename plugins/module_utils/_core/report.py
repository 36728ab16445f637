# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a ledger says about an estate: the one model that every form of the report is drawn from.

Only records whose signature verified count towards a verdict. A record that nobody vouches for is shown, marked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.boringdb.ops.plugins.module_utils._core import say
from ansible_collections.boringdb.ops.plugins.module_utils._core.chain import Chain, Finding, Record, read_ledger
from ansible_collections.boringdb.ops.plugins.module_utils._core.keys import TrustedKeys
from ansible_collections.boringdb.ops.plugins.module_utils._core.statement import FOLLOW_UPS, parse_time

if TYPE_CHECKING:
    from ansible_collections.boringdb.ops.plugins.module_utils._core.matrix import Matrix

DRILL = "restore_drill"
FAILOVER_DRILL = "failover_drill"
FORMAT = "urn:boringdb.ops:report:v1"

# A cluster's states, the worst first: this is the order of the page.
STATES = {
    "tampered": "Evidence not trusted",
    "failed": "Drill failed",
    "error": "Drill inconclusive",
    "never": "Never proven",
    "overdue": "Overdue",
    "missed": "Objective missed",
    "unapproved": "Not approved",
    "verified": "Verified",
}
BAD = tuple(state for state in STATES if state != "verified")


@dataclass(frozen=True)
class Entry:
    """One record, ready to be shown."""

    record: Record
    started: datetime
    finished: datetime
    followed: tuple[Entry, ...] = ()  # what trusted keys signed about it later, oldest first

    @property
    def signed(self) -> bool:
        """Whether a trusted key vouches for it and nothing is wrong with it."""
        return self.record.signed_by is not None and not self.record.findings

    @property
    def said(self) -> dict[str, Any]:
        """The predicate."""
        return self.record.predicate

    @property
    def verdict(self) -> str:
        """``verified``, ``failed`` or ``error``, as signed."""
        return str(self.said["verdict"])

    @property
    def approvals(self) -> list[Entry]:
        """The approvals that follow it."""
        return [entry for entry in self.followed if entry.said["operation"] == "approval"]

    @property
    def corrections(self) -> list[Entry]:
        """The corrective actions that follow it."""
        return [entry for entry in self.followed if entry.said["operation"] == "corrective_action"]

    def measured(self, name: str) -> Any:
        """A measurement, or None."""
        return self.said["measurements"].get(name)

    def objective(self, name: str) -> Any:
        """An objective, or None."""
        return self.said["objectives"].get(name)

    def missed(self) -> list[str]:
        """Objectives that the measurements exceed."""
        return [name for name, limit in sorted(self.said["objectives"].items())
                if _is_number(limit) and _is_number(self.measured(name)) and self.measured(name) > limit]

    def open_checks(self) -> list[dict[str, Any]]:
        """Checks that did not pass, required ones first."""
        return sorted((check for check in self.said["checks"] if check["status"] != "passed"),
                      key=lambda check: (not check["required"], check["status"] != "failed"))


@dataclass(frozen=True)
class Approval:
    """What must be approved: ``operations`` by name, and whether by another key than the one that signed the run."""

    operations: tuple[str, ...] = ()
    second_person: bool = False

    @property
    def how(self) -> str:
        """The demand that is easily overlooked."""
        return " by a second person" if self.second_person else ""

    def lacks(self, entry: Entry) -> bool:
        """Whether a run must be approved and was not."""
        return entry.said["operation"] in self.operations and not any(
            not self.second_person or one.record.signed_by != entry.record.signed_by for one in entry.approvals)


@dataclass(frozen=True)
class Member:
    """A host of a cluster, and what its server said; ``unknown`` where nobody asked, or it was silent."""

    name: str
    role: str = "unknown"
    state: str = "unknown"

    @property
    def said(self) -> str:
        """Its role, or why it has none."""
        if self.state == "running":
            return self.role
        return self.state if self.state != "unknown" else "not asked, or no answer"


@dataclass
class Cluster:
    """A cluster at a glance, and its records, newest first.

    :param due: when the next verified drill must have ended; None when there never was one
    :param problems: one line each, the worst first; empty when all is well
    """

    name: str
    chain: Chain
    entries: list[Entry]
    state: str = "verified"
    due: datetime | None = None
    problems: list[str] = field(default_factory=list)
    members: tuple[Member, ...] = ()

    @property
    def topology(self) -> str:
        """The members in a few words; empty where none are known."""
        up = [one for one in self.members if one.state == "running"]
        primaries = [one.name for one in up if one.role == "primary"]
        replicas = sum(one.role == "replica" for one in up)
        if not up:
            return say.plural(len(self.members), "member") if self.members else ""
        words = [f"primary {', '.join(primaries)}" if primaries else "no primary"]
        words += [say.plural(replicas, "replica")] if replicas else []
        silent = len(self.members) - len(primaries) - replicas
        words += [f"{silent} not running or silent"] if silent else []
        return ", ".join(words)

    @property
    def drills(self) -> list[Entry]:
        """Restore drills, newest first."""
        return [entry for entry in self.entries if entry.said["operation"] == DRILL]

    @property
    def others(self) -> list[Entry]:
        """Every other operation, newest first."""
        return [entry for entry in self.entries if entry.said["operation"] != DRILL]

    @property
    def last(self) -> Entry | None:
        """The newest drill that a trusted key vouches for."""
        return next((entry for entry in self.drills if entry.signed), None)

    @property
    def last_verified(self) -> Entry | None:
        """The newest such drill that was verified."""
        return next((entry for entry in self.drills if entry.signed and entry.verdict == "verified"), None)

    @property
    def last_failover_drill(self) -> Entry | None:
        """The newest failover drill that a trusted key vouches for."""
        drills = (entry for entry in self.others if entry.said["operation"] == FAILOVER_DRILL and entry.signed)
        return next(drills, None)

    @property
    def open_failures(self) -> list[Entry]:
        """Runs that were not verified and that no corrective action follows, newest first."""
        return [entry for entry in self.entries if entry.signed and entry.verdict != "verified"
                and not entry.corrections and entry.said["operation"] not in FOLLOW_UPS]

    @property
    def engine(self) -> str:
        """Engine and version as of the newest record."""
        said = next((entry.said for entry in self.entries if entry.said["operation"] not in FOLLOW_UPS), None)
        if said is None:
            return ""
        return f"{said['engine']} {said['versions'].get('engine') or ''}".strip()


@dataclass
class Estate:
    """The whole report.

    :param clusters: the worst first
    :param overdue_days: how old a cluster's last verified drill may become
    """

    title: str
    generated: datetime
    overdue_days: float
    keyids: list[str]
    clusters: list[Cluster]
    matrix: Matrix | None = None

    @property
    def attention(self) -> list[Cluster]:
        """Clusters that are not all well."""
        return [cluster for cluster in self.clusters if cluster.state != "verified"]

    @property
    def records(self) -> int:
        """All records, sound or not."""
        return sum(len(cluster.chain.records) for cluster in self.clusters)

    @property
    def findings(self) -> list[Finding]:
        """Everything that is wrong with the ledger itself; an empty chain is not (it says so by its state)."""
        return [item for cluster in self.clusters for item in cluster.chain.findings if item.kind != "empty"]


def read_estate(
    root: Path, trusted: TrustedKeys, *, title: str, now: datetime, overdue_days: float,
    expected: Iterable[str] = (), witnesses: Mapping[str, Iterable[str]] | None = None,
    overdue: Mapping[str, float] | None = None, approval: Approval | None = None,
    members: Mapping[str, Iterable[Member]] | None = None,
) -> Estate:
    """The estate as its ledger shows it.

    :param expected: clusters that must be in it: one without any record is shown as never proven
    :param members: the hosts of clusters; they add no cluster
    :param overdue: `overdue_days` of clusters that are drilled more or less often than the others
    """
    names = {item.cluster: item for item in read_ledger(root, trusted, (), witnesses)}
    for name in expected:
        names.setdefault(name, Chain(name, [], []))
    days, wanted = overdue or {}, approval or Approval()
    clusters = [
        _cluster(one, now, timedelta(days=days.get(one.cluster, overdue_days)), wanted) for one in names.values()
    ]
    for one in clusters:
        one.members = tuple((members or {}).get(one.name, ()))
    order = list(STATES)
    clusters.sort(key=lambda cluster: (order.index(cluster.state), cluster.name))
    return Estate(title, now, overdue_days, sorted(trusted), clusters)


def _entries(chain: Chain) -> list[Entry]:
    """A chain's records, each with what follows it."""
    entries = [
        Entry(record, parse_time(record.predicate["started"]), parse_time(record.predicate["finished"]))
        for record in chain.records if record.document
    ]
    following: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.signed and entry.said["operation"] in FOLLOW_UPS:
            following.setdefault(entry.record.subjects[0]["digest"]["sha256"], []).append(entry)
    return [replace(entry, followed=tuple(following.get(entry.record.digest, ()))) for entry in entries]


def _cluster(chain: Chain, now: datetime, allowed: timedelta, approval: Approval) -> Cluster:
    entries = _entries(chain)
    cluster = Cluster(chain.cluster, chain, list(reversed(entries)))
    found: list[tuple[str, str]] = [
        ("tampered", ": ".join(part for part in (item.kind, item.record, item.message) if part))
        for item in chain.findings if item.kind != "empty"
    ]
    if cluster.last and cluster.last.verdict != "verified":
        found.append((cluster.last.verdict, f"last drill {why(cluster.last)}"))
    moved = cluster.last_failover_drill
    if moved and moved.verdict != "verified" and not moved.corrections:
        found.append((moved.verdict, f"last failover drill {why(moved)}"))
    proof = cluster.last_verified
    if proof is None:
        found.append(("never", "no verified restore drill on record"))
    else:
        cluster.due = proof.finished + allowed
        if now > cluster.due:
            found.append(("overdue", f"last verified drill {say.ago(proof.finished, now)}, "
                                     f"allowed {say.span(allowed.total_seconds())}"))
    if cluster.last:
        found += [("missed", f"{name.replace('_seconds', '').upper()} {say.span(cluster.last.measured(name))}, "
                             f"objective {say.span(cluster.last.objective(name))}") for name in cluster.last.missed()]
    if cluster.last and approval.lacks(cluster.last):
        found.append(("unapproved", f"last drill was not approved{approval.how}"))
    order = list(STATES)
    found.sort(key=lambda item: order.index(item[0]))
    cluster.problems = [text for _state, text in found]
    cluster.state = found[0][0] if found else "verified"
    return cluster


def why(entry: Entry) -> str:
    """The first reason for a verdict that is not ``verified``, in one line."""
    if entry.said["error"]:
        return f"{entry.verdict}: {entry.said['error']}"
    for check in entry.open_checks():
        if check["required"]:
            values = ""
            if check["status"] == "failed" and (check["expected"] is not None or check["actual"] is not None):
                values = f", expected {say.number(check['expected'])}, found {say.number(check['actual'])}"
            reason = f" ({check['message']})" if check["message"] else ""
            word = "not run" if check["status"] == "skipped" else "failed"
            return f"{entry.verdict}: {check['name']} {word}{values}{reason}"
    return f"{entry.verdict}: nothing was checked"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
