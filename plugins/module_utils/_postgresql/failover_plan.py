# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be done where a primary is gone, by what every member says that answers, and who the primary was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import Preflight

Facts = Mapping[str, Any]
Members = Mapping[str, Facts]
#: nothing: a primary works, and it is the one that was to be. begin: there is none. finish: one was promoted, and what
#: follows that is not done.
SITUATIONS = ("nothing", "begin", "finish")


@dataclass(frozen=True)
class Situation:
    """What is to be done: the member that was the primary, and the one that is to be, or is."""

    name: str
    old: str
    new: str


def situation(members: Members, places: Mapping[str, Facts], wanted: str) -> Situation:
    """Raises Refused where a failover is wrong, or where a person has to decide."""
    preflight = Preflight()
    others = ", ".join(members)
    preflight.require(not wanted or wanted in members, f"{wanted} is no member", f"they are {others}")
    primaries = [name for name, facts in members.items() if is_(facts, "running", "primary")]
    promoted = [name for name in primaries if members[name].get("noted")]
    if promoted:
        return _finish(members, primaries, promoted, wanted, preflight)
    preflight.require(
        len(primaries) < 2,
        f"there is more than one primary: {', '.join(primaries)}",
        "decide which one is right, then rejoin the others",
    )
    if len(primaries) == 1:
        [works] = primaries
        away = [name for name, facts in members.items() if name != works and not is_(facts, "running", "replica")]
        preflight.require(
            wanted == works or (not wanted and bool(away)),
            f"{works} is the primary, and it works",
            "use switchover to have another one",
        )
        preflight.done()
        return Situation("nothing", "", works)
    preflight.done()
    return Situation("begin", _was_primary(members, places), wanted or furthest(members))


def _finish(
    members: Members, primaries: Sequence[str], promoted: Sequence[str], wanted: str, preflight: Preflight
) -> Situation:
    old = str((members[promoted[0]].get("noted") or {}).get("from") or "")
    strangers = [name for name in primaries if name not in {promoted[0], old}]
    preflight.require(
        not strangers,
        f"there is more than one primary: {', '.join(primaries)}",
        "decide which one is right, then rejoin the others",
    )
    preflight.require(
        wanted in {"", promoted[0]},
        f"{promoted[0]} was promoted in the place of {old} by a run that did not end",
        "let that end: run it without failover_candidate, then switch over",
    )
    preflight.done()
    return Situation("finish", old, promoted[0])


def _was_primary(members: Members, places: Mapping[str, Facts]) -> str:
    """The member that was the primary: its files say so, or the replicas do, or it is the only one that is away."""
    away = [
        name
        for name, facts in members.items()
        if not is_(facts, "running", "replica") and facts.get("state") not in {"absent", "foreign"}
    ]
    by_files = [name for name in away if members[name].get("was_primary")]
    followed = {tuple((facts.get("heard") or {}).get("upstream") or ()) for facts in members.values()}
    by_replicas = [name for name in away if _place(places, name) in followed]
    both = [name for name in by_files if name in by_replicas]
    for found in (both, by_files, by_replicas, away):
        if len(found) == 1:
            return found[0]
    told = ", ".join(f"{name} is {facts.get('state')} {facts.get('role')}" for name, facts in members.items())
    preflight = Preflight()
    if not away:
        preflight.refuse(f"every member is a replica ({told})", "promote the one that is right by switchover")
    else:
        preflight.refuse(
            f"it can't be told which of {', '.join(away)} was the primary ({told})",
            "bring one of them back, or take it out of the group",
        )
    preflight.done()
    return ""


def _place(places: Mapping[str, Facts], name: str) -> tuple[str, int]:
    place = places.get(name) or {}
    return str(place.get("host") or ""), int(place.get("port") or 0)


def furthest(members: Members) -> str:
    """The replica that has received most, on the newest timeline; the first of several. Empty where there is none.

    One that holds back what it got is chosen only where nobody else has as much.
    """
    able = {name: facts for name, facts in members.items() if is_(facts, "running", "replica")}
    if not able:
        return ""

    def weight(name: str) -> tuple[int, int, bool]:
        facts = able[name]
        at_once = not facts.get("apply_delay_seconds") and not facts.get("replay_paused")
        return int(facts.get("timeline") or 0), int(facts.get("position") or 0), at_once

    return max(able, key=weight)


def is_(facts: Facts, state: str, role: str) -> bool:
    """Whether a member is in a state and has a role."""
    return facts.get("state") == state and facts.get("role") == role
