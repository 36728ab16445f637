# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of the acknowledged writes is lost with a primary that is gone: as far as that is known, and how it is known.

What the files of the old primary say is exact. Where they can't be read there are bounds: at least what a replica was
told of, or the archive has; at most what was written since somebody heard of the primary, or since the last transaction
that is kept. What nobody knows is called unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import lsn
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.failover_plan import Facts, Members
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.synchronous import Quorum, parse

UNKNOWN = "unknown"


def loss(members: Members, old: str, new: str, left: Facts, safe: Quorum | None) -> dict[str, Any]:
    """The bounds, and the basis that they stand on, in words; `safe` is a quorum whose commits the new primary has."""
    chosen = members[new]
    position = int(chosen.get("position") or 0)
    told: dict[str, Any] = {"position": lsn.text(position), "bytes": UNKNOWN, "bytes_at_least": 0}
    told.update(transactions=UNKNOWN, seconds=UNKNOWN, covered=safe is not None)
    if left.get("end") is not None:
        return _exact(told, chosen, left, old)
    known = [
        lsn.parse(heard["latest_end_lsn"])
        for heard in (facts.get("heard") or {} for facts in members.values())
        if heard.get("latest_end_lsn")
    ]
    known += [int(facts["position"]) for facts in members.values() if facts.get("position")]
    told["bytes_at_least"] = max(0, *(at - position for at in known)) if known else 0
    heard = chosen.get("heard") or {}
    since = _known_whole_at(heard, position)
    if since:
        told["seconds"] = round(max(0.0, float(heard.get("clock") or 0) - since), 1)
        what = "heard of it and had all" if since == heard.get("heard_at") else "has its last transaction of it"
        told["basis"] = f"the files of {old} can't be read; {new} {what} {told['seconds']:g} s ago"
    else:
        told["basis"] = f"the files of {old} can't be read, and {new} knows no time of anything it was sent"
    if told["covered"]:
        told["basis"] += f"; commits waited for {safe}, and {new} has all that those have"
        if not told["bytes_at_least"]:
            told["seconds"] = 0.0
    return told


def _exact(told: dict[str, Any], chosen: Facts, left: Facts, old: str) -> dict[str, Any]:
    """The old primary's own files say what it had written."""
    size, count = int(left["bytes"]), int(left["transactions"])
    told.update(bytes=size, bytes_at_least=size, transactions=count, seconds=0.0)
    told["basis"] = f"read from the files of {old}: its WAL ends at {left['end_lsn']}"
    if count:
        kept = (chosen.get("heard") or {}).get("last_commit")
        since = min(float(left["first"]), float(kept)) if kept else float(left["first"])
        told["seconds"] = round(max(0.0, float(left["last"]) - since), 3)
        if told["covered"]:
            told["basis"] += "; commits waited for replicas, so none of these was acknowledged"
            told["seconds"] = 0.0
    return told


def _known_whole_at(heard: Facts, position: int) -> float:
    """The last moment at which the replica is known to have had everything, 0 where none is."""
    moments = [float(heard["last_commit"])] if heard.get("last_commit") else []
    end = heard.get("latest_end_lsn")
    if heard.get("heard_at") and end and lsn.parse(end) <= position:
        moments.append(float(heard["heard_at"]))
    return max(moments, default=0.0)


def covered(members: Members, new: str, quorum: Quorum | None, slots: Mapping[str, str]) -> bool:
    """Whether every commit that had to wait for the quorum is on the chosen member.

    It is, where so many of those who were waited for answer that at least one of each quorum is among them, and none
    of them has more.
    """
    if quorum is None or not quorum.number or "*" in quorum.names:
        return False
    there = [name for name, facts in members.items() if slots.get(name) in quorum.names and facts.get("position")]
    missing = len(quorum.names) - len(there)
    most = max((int(members[name]["position"]) for name in there), default=0)
    return missing < quorum.number and int(members[new].get("position") or 0) >= most


def waited_for(members: Members, old: str, declared: Facts, candidates: Sequence[str]) -> Quorum | None:
    """For whom the old primary's commits waited: by its own files, else as declared."""
    if members[old].get("state") in {"stopped", "hung", "running"}:
        return parse(str(members[old].get("synchronous_names") or ""))
    if not declared or not int(declared.get("number", 1)):
        return None
    return Quorum(str(declared.get("method") or "any"), int(declared.get("number", 1)), tuple(candidates))


def told_in_words(told: Facts) -> str:
    """The loss as a person reads it before anything is promoted."""
    if told["bytes"] != UNKNOWN:
        size, count = f"{told['bytes']} bytes of WAL", f"{told['transactions']} transactions"
    else:
        size, count = f"at least {told['bytes_at_least']} bytes of WAL", "an unknown number of transactions"
    seconds = "an unknown time" if told["seconds"] == UNKNOWN else f"at most {told['seconds']:g} s"
    return f"possibly lost: {size}, {count}, {seconds} of acknowledged writes ({told['basis']})"


def accepted(told: Facts, objective: float | None, typed: str) -> bool:
    """Whether a loss is within the objective, or was accepted by a person who typed a bound that covers it."""
    seconds = told["seconds"]
    if objective is None or typed == UNKNOWN:
        return True
    if seconds == UNKNOWN:
        return False
    try:
        allowed = float(typed) if typed else 0.0
    except ValueError:
        allowed = 0.0
    return float(seconds) <= max(float(objective), allowed)
