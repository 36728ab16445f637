# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be done, by what every member says of itself now: its role, its timeline, its position, pg_controldata.

No file says how far an earlier run came. An old primary that is closed is one that is stopped, "shut down", and has a
standby.signal. Nobody but a switchover leaves one so while there is no primary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import lsn
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.switchover_fence import CLOSED

Facts = Mapping[str, Any]
Members = Mapping[str, Facts]
#: begin: all is as usual. forward: the old primary is closed, and the candidate has all it wrote. back: it has not, and
#: so was never told to promote. finish: the candidate is the primary.
SITUATIONS = ("begin", "forward", "back", "finish")
#: What pg_controldata says until a promotion is through, also of a replica that was killed.
_RECOVERING = "in archive recovery"


@dataclass(frozen=True)
class Situation:
    """What is to be done, and which member was the primary; empty where the members don't tell."""

    name: str
    old: str


def situation(members: Members, candidate: str) -> Situation:
    """Raises Refused where a person has to decide."""
    preflight = Preflight()
    _named(members, candidate, preflight)
    primaries = [name for name, facts in members.items() if _is(facts, "running", "primary")]
    if len(primaries) > 1:
        preflight.refuse(
            f"there is more than one primary: {', '.join(primaries)}",
            "decide which one is right, then rejoin the others",
        )
    preflight.done()
    if primaries == [candidate]:
        return Situation("finish", str((members[candidate].get("unfinished") or {}).get("from", "")))
    if primaries:
        return Situation("begin", primaries[0])
    return _without_primary(members, candidate)


def _named(members: Members, candidate: str, preflight: Preflight) -> None:
    others = ", ".join(members)
    if not candidate:
        preflight.refuse("no candidate is named", f"name the one that is to be primary: {others}")
    else:
        preflight.require(candidate in members, f"{candidate} is no member", f"they are {others}")
    for name, facts in members.items():
        manager = facts.get("manager")
        preflight.require(
            not manager, f"{manager} is in charge of {name}", "switch over with it; two who promote make two primaries"
        )


def _without_primary(members: Members, candidate: str) -> Situation:
    """An earlier run was killed, or something else happened to the primary."""
    told = ", ".join(f"{name} is {facts.get('state')} {facts.get('role')}" for name, facts in members.items())
    preflight = Preflight()
    closed = [name for name, facts in members.items() if facts.get("cluster_state") == CLOSED and name != candidate]
    chosen = members[candidate]
    if len(closed) > 1 or not closed:
        # One that was closed and has been started since is a replica that follows nobody, and others may follow it.
        root = str((chosen.get("unfinished") or {}).get("from", ""))
        if not closed and _furthest(members, candidate) and _follow_nobody_else(members, root):
            return Situation("forward", root)
        preflight.refuse(f"there is no running primary ({told})", "start it, or fail over")
        preflight.done()
    old = closed[0]
    # What a replica has in its control file may be older than what it replays, never newer.
    preflight.require(
        int(chosen.get("timeline") or 0) <= int(members[old].get("timeline") or 0),
        f"{candidate} is on timeline {chosen.get('timeline')}, {old} on {members[old].get('timeline')}",
        "find out what happened, then rejoin one of them",
    )
    halfway = chosen.get("role") == "primary" and chosen.get("cluster_state") == _RECOVERING
    preflight.require(
        not halfway,
        f"{candidate} ended in the middle of its promotion, and has no standby.signal any more",
        "put one into its data directory, start it, and give the same command again: it is promoted then",
    )
    preflight.require(
        halfway or chosen.get("role") == "replica",
        f"{candidate} is {chosen.get('state')} {chosen.get('role')}",
        "rejoin it first",
    )
    preflight.done()
    if _is(chosen, "running", "replica") and members[old].get("signal") and _at(chosen) > _at(members[old]):
        return Situation("forward", old)
    # The promotion is sent only to one that has replayed the shutdown. This one was not told, or it ended before it was
    # primary, and starts as a replica.
    return Situation("back", old)


def _furthest(members: Members, candidate: str) -> bool:
    """Whether every member is a running replica, and none is further than the candidate."""
    chosen = members[candidate]
    return all(
        _is(facts, "running", "replica")
        and int(facts.get("timeline") or 0) <= int(chosen.get("timeline") or 0)
        and _at(facts) <= _at(chosen)
        for facts in members.values()
    )


def _follow_nobody_else(members: Members, root: str) -> bool:
    """Whether nobody follows anybody; or only the one that a switchover has closed, which follows nobody itself."""
    following = [name for name, facts in members.items() if facts.get("upstream")]
    return not following or (root in members and root not in following)


def _is(facts: Facts, state: str, role: str) -> bool:
    return facts.get("state") == state and facts.get("role") == role


def _at(facts: Facts) -> int:
    """How far a member is; what it has received counts, as it replays that before it is promoted."""
    return max((lsn.parse(facts[key]) for key in ("lsn", "receive_lsn") if facts.get(key)), default=0)
