# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is new about an estate since it was last told, for each channel by itself.

The memory is one file on the controller. It holds what each channel was told of each cluster, and the head of every
sound chain: a chain that no longer holds the head that was seen before was cut, and shows it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.files import read_text, write_atomic
from ansible_collections.boringdb.ops.plugins.module_utils._core.report import Cluster, Estate
from ansible_collections.boringdb.ops.plugins.module_utils._core.statement import parse_time

FORMAT = "urn:boringdb.ops:notification-memory:v1"
WELL = "verified"


@dataclass
class Memory:
    """What was told, and what was seen.

    :param heads: cluster -> head of its chain when that was last sound
    :param told: channel -> cluster -> ``mark``, ``state`` and ``at``
    """

    heads: dict[str, str] = field(default_factory=dict)
    told: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)

    def text(self) -> str:
        """As it lies on disk."""
        return json.dumps({"format": FORMAT, "heads": self.heads, "told": self.told}, indent=2, sort_keys=True) + "\n"

    def forget(self, names: Iterable[str]) -> None:
        """Clusters that are gone for good."""
        for name in names:
            self.heads.pop(name, None)
            for told in self.told.values():
                told.pop(name, None)

    def save(self, path: Path) -> bool:
        """Write it where it changed; returns whether it did."""
        if read_text(path) == self.text():
            return False
        write_atomic(path, self.text())
        return True


@dataclass(frozen=True)
class Event:
    """One cluster's news for one channel: ``alarm``, ``still`` or ``recovered``."""

    kind: str
    cluster: Cluster
    mark: str


def read_memory(path: Path) -> tuple[Memory, str]:
    """The memory, and why it could not be read. One that can't is empty: everything is told again."""
    try:
        text = read_text(path)
    except OSError as error:
        return Memory(), f"{path} can't be read ({error.strerror}): everything is told again"
    if not text:
        return Memory(), ""
    try:
        document = json.loads(text)
        if document["format"] != FORMAT:
            raise ValueError(document["format"])
        heads = {str(name): str(head) for name, head in document["heads"].items()}
        told = {
            str(channel): {
                str(name): {"mark": str(one["mark"]), "state": str(one["state"]), "at": str(one["at"])}
                for name, one in clusters.items()
            }
            for channel, clusters in document["told"].items()
        }
        for clusters in told.values():
            for one in clusters.values():
                parse_time(one["at"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return Memory(), f"{path} is not what was written there: everything is told again"
    return Memory(heads, told), ""


def mark(cluster: Cluster, now: datetime) -> str:
    """What makes a cluster's state another one: not its age, but what is wrong, and the drill that shows it."""
    if cluster.state == WELL:
        return WELL
    last, moved = cluster.last, cluster.last_failover_drill
    found = [
        cluster.state,
        sorted((item.kind, item.record) for item in cluster.chain.findings),
        last.record.digest if last and (last.verdict != WELL or last.missed()) else "",
        moved.record.digest if moved and moved.verdict != WELL and not moved.corrections else "",
        cluster.due is None or now > cluster.due,
    ]
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()[:16]


def news(estate: Estate, told: dict[str, dict[str, str]], again: bool, remind: timedelta | None) -> list[Event]:
    """What a channel must be told, the worst first.

    :param remind: after how long a state that lasts is told again; None for never
    """
    events = []
    for cluster in estate.clusters:
        before, current = told.get(cluster.name), mark(cluster, estate.generated)
        if cluster.state == WELL:
            if before and before["state"] != WELL:
                events.append(Event("recovered", cluster, current))
        elif before is None or before["mark"] != current:
            events.append(Event("alarm", cluster, current))
        elif again or (remind is not None and estate.generated - parse_time(before["at"]) >= remind):
            events.append(Event("still", cluster, current))
    return events


def remember(told: dict[str, dict[str, str]], events: Iterable[Event], when: datetime) -> None:
    """Note what a channel has taken."""
    at = when.strftime("%Y-%m-%dT%H:%M:%SZ")
    for event in events:
        told[event.cluster.name] = {"mark": event.mark, "state": event.cluster.state, "at": at}


def remember_heads(memory: Memory, estate: Estate) -> None:
    """Note the heads of chains that are sound. That of any other stays, so that it goes on to show."""
    for cluster in estate.clusters:
        if cluster.chain.head and not cluster.chain.findings:
            memory.heads[cluster.name] = cluster.chain.head


def facts(event: Event) -> dict[str, Any]:
    """An event for programs."""
    cluster = event.cluster
    last, proof = cluster.last, cluster.last_verified
    return {
        "event": event.kind,
        "cluster": cluster.name,
        "state": cluster.state,
        "problems": cluster.problems,
        "last_drill": _iso(last.finished if last else None),
        "last_verified_drill": _iso(proof.finished if proof else None),
        "due": _iso(cluster.due),
        "rto_seconds": last.measured("rto_seconds") if last else None,
        "rpo_seconds": last.measured("rpo_seconds") if last else None,
        "record": last.record.digest if last else None,
    }


def _iso(when: datetime | None) -> str | None:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ") if when else None
