# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scorecard of a fleet: as text for a terminal and AWX's output, as Markdown for a ticket, as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core import say
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import as_line
from ansible_collections.boringdb.ops.plugins.module_utils._core.fleet_journal import Result
from ansible_collections.boringdb.ops.plugins.module_utils._core.report import Cluster

FORMAT = "urn:boringdb.ops:fleet:v1"
_ORDER = ("failed", "left", "ok")


@dataclass(frozen=True)
class Proof:
    """When a cluster's backups were last proven, by its ledger."""

    state: str
    last_verified: str = ""
    due: str = ""


@dataclass(frozen=True)
class Card:
    """All of a run.

    :param results: in the order in which they were to run
    :param proofs: by cluster; empty where no ledger was read
    :param postponed: clusters that were not its part, each with the reason
    """

    operation: str
    began: str
    finished: str
    results: Sequence[Result]
    stopped: str = ""
    check: bool = False
    override: str = ""
    proofs: Mapping[str, Proof] = field(default_factory=dict)
    postponed: Mapping[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether nothing is left to go on with."""
        return all(one.outcome == "ok" for one in self.results)

    def count(self, outcome: str) -> int:
        """How many clusters fared so."""
        return sum(one.outcome == outcome for one in self.results)

    def in_order(self) -> list[Result]:
        """What is wrong first."""
        return sorted(self.results, key=lambda one: _ORDER.index(one.outcome))

    def unproven(self, state: str) -> list[str]:
        """The clusters of a state of the report, such as ``overdue``."""
        return sorted(name for name, proof in self.proofs.items() if proof.state == state)


def proof(cluster: Cluster) -> Proof:
    """What the report knows of a cluster, in short."""
    last = cluster.last_verified
    return Proof(cluster.state, say.iso(last.finished) if last else "", say.iso(cluster.due) if cluster.due else "")


def headline(card: Card) -> str:
    """The run in one line."""
    dry = " (dry run)" if card.check else ""
    words = [f"{card.count('ok')} of {say.plural(len(card.results), 'cluster')} ok"]
    words += [f"{card.count(word)} {word}" for word in ("failed", "left") if card.count(word)]
    words += [f"{len(card.postponed)} postponed"] if card.postponed else []
    return f"{card.operation}{dry}: {', '.join(words)}"


def text(card: Card) -> list[str]:
    """Lines of even columns, the worst first."""
    width = max([len(one.cluster) for one in card.results] + [7])
    lines = [f"fleet: {headline(card)}"]
    for one in card.in_order():
        spent = say.span(one.seconds) if one.finished else say.NONE
        words = "; ".join(part for part in (_earlier(one), as_line(one.message)[:200]) if part)
        lines.append(f"  {one.cluster:<{width}}  {one.outcome:<6}  {spent:>12}  {words}".rstrip())
    lines += [f"  {card.stopped}"] if card.stopped else []
    lines += [f"  override: {card.override}"] if card.override else []
    for state, what in (("overdue", "overdue for a drill"), ("never", "never proven by a drill")):
        names = card.unproven(state)
        more = f" and {len(names) - 20} more" if len(names) > 20 else ""
        lines += [f"  {what}: {', '.join(names[:20])}{more}"] if names else []
    return lines


def markdown(card: Card) -> str:
    """The same as a table."""
    lines = [
        f"# {say.markdown(headline(card))}", "", f"Began {card.began}, ended {card.finished}.", "",
        "| Cluster | Outcome | Time | Changed | Last verified drill | Said |", "|---|---|---|---|---|---|",
    ]
    for one in card.in_order():
        proven = _proven(card.proofs.get(one.cluster))
        said = "; ".join(part for part in (_earlier(one), as_line(one.message)[:500]) if part)
        spent = say.span(one.seconds) if one.finished else say.NONE
        cells = [one.cluster, one.outcome, spent, str(one.changed), proven, said]
        lines.append(f"| {' | '.join(map(say.markdown, cells))} |")
    for words in (card.stopped, f"Override: {card.override}" if card.override else ""):
        lines += ["", f"{say.markdown(words)}."] if words else []
    if card.postponed:
        lines += ["", "## Postponed", ""]
        lines += [f"- {say.markdown(f'{name}: {reason}')}" for name, reason in card.postponed.items()]
    return "\n".join(lines) + "\n"


def document(card: Card) -> dict[str, Any]:
    """For programs, and for the next node of an AWX workflow."""
    return {
        "format": FORMAT, "operation": card.operation, "check": card.check, "began": card.began,
        "finished": card.finished, "complete": card.complete, "headline": headline(card), "stopped": card.stopped,
        "override": card.override, "ok": card.count("ok"), "failed": card.count("failed"), "left": card.count("left"),
        "overdue": card.unproven("overdue"), "never_proven": card.unproven("never"), "postponed": dict(card.postponed),
        "clusters": {one.cluster: _row(one, card.proofs.get(one.cluster)) for one in card.results},
    }


def as_json(card: Card) -> str:
    """The document as text."""
    return json.dumps(document(card), indent=2, sort_keys=True, default=str) + "\n"


def _row(one: Result, proof: Proof | None) -> dict[str, Any]:
    row = {key: value for key, value in asdict(one).items() if key not in ("cluster", "finished")}
    return {**row, "proof": asdict(proof) if proof else None}


def _proven(proof: Proof | None) -> str:
    if proof is None:
        return say.NONE
    return (proof.last_verified or "never") + (", overdue" if proof.state == "overdue" else "")


def _earlier(one: Result) -> str:
    return "done before" if one.earlier else ""
