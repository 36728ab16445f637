# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans the drills of an estate: who is due, on which drill host, and whether disk and time are enough.

`plan` is pure: what it is told of clusters and hosts in, a plan out. Whoever was proven longest ago comes first. A
drill gets the earliest place where a slot is free and the disk has room for its whole time, so a small one may fill a
gap that a large one leaves, and never delays one that comes before it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core import say
from ansible_collections.boringdb.ops.plugins.module_utils._core.report import Cluster

DAY = 86400.0
#: What recovery keeps of the WAL at a time: 64 segments of 16 MB.
WAL_BYTES = 64 * (16 << 20)


@dataclass(frozen=True)
class Candidate:
    """A cluster that may be drilled.

    :param verified: when its last verified drill ended, in seconds since 1970; None for never
    :param seconds: how long a drill of it takes, by what the last ones took; None where none is on record
    :param bytes: how large its data are, by the last backup that was restored; None where none was
    """

    cluster: str
    verified: float | None
    seconds: float | None = None
    bytes: int | None = None


@dataclass(frozen=True)
class DrillHost:
    """Where copies are restored: how many at a time, and into how much room."""

    name: str
    slots: int
    free_bytes: int


@dataclass(frozen=True)
class Drill:
    """One drill of a plan; it begins so many seconds after the plan does."""

    cluster: str
    host: str
    begins: float
    seconds: float
    bytes: int

    @property
    def ends(self) -> float:
        """When it ends."""
        return self.begins + self.seconds


@dataclass
class Plan:
    """What is drilled now, in the order of its beginning, and what is not.

    :param spare: what by the estimates there is no time for, with its place after the others: those last less than
        estimated more often than not
    :param postponed: not due yet
    :param impossible: on no host, at no time, for want of disk or of hosts
    """

    drills: list[Drill] = field(default_factory=list)
    spare: list[Drill] = field(default_factory=list)
    postponed: dict[str, str] = field(default_factory=dict)
    impossible: dict[str, str] = field(default_factory=dict)


def due(
    candidates: Iterable[Candidate], now: float, every_days: float, again_days: float, run_seconds: float = 0.0
) -> list[Candidate]:
    """Those whose proof would be older than `every_days` at the end of the next run; the oldest first.

    :param again_days: when the next run begins
    :param run_seconds: how long that lasts
    """
    latest = now - (every_days - again_days) * DAY + run_seconds
    return sorted(
        (one for one in candidates if one.verified is None or one.verified <= latest),
        key=lambda one: (one.verified is not None, one.verified or 0.0, one.cluster),
    )


def plan(
    candidates: Sequence[Candidate], hosts: Sequence[DrillHost], budget_seconds: float, margin: float = 1.25,
    default_seconds: float = 3600.0,
) -> Plan:
    """A place for every drill, in the order in which the clusters are given, within a budget of time or after it.

    :param margin: how much longer than the last ones a drill is taken to last
    :param default_seconds: how long one takes where no drill of the whole estate is on record
    """
    slowest = max((one.seconds for one in candidates if one.seconds is not None), default=default_seconds)
    largest = max((one.bytes for one in candidates if one.bytes is not None), default=0)
    made = Plan()
    lanes = [_Lane(host) for host in hosts if host.slots > 0]
    drills: list[Drill] = []
    for one in candidates:
        # What was never measured is taken to be like the worst that was.
        seconds = (slowest if one.seconds is None else one.seconds) * margin
        needed = (largest if one.bytes is None else one.bytes) + WAL_BYTES
        able = [lane for lane in lanes if lane.host.free_bytes >= needed]
        if not able:
            made.impossible[one.cluster] = _want(needed, hosts)
        elif seconds > budget_seconds:
            made.impossible[one.cluster] = (
                f"a drill takes {say.span(seconds)}, which is more than the whole budget of {say.span(budget_seconds)}"
            )
        else:
            begins, lane = min(((lane.earliest(seconds, needed), lane) for lane in able),
                               key=lambda place: (place[0], -place[1].host.free_bytes, place[1].host.name))
            drills.append(Drill(one.cluster, lane.host.name, begins, seconds, needed))
            lane.add(drills[-1])
    for drill in sorted(drills, key=lambda drill: drill.begins):
        (made.drills if drill.ends <= budget_seconds else made.spare).append(drill)
    return made


class _Lane:
    """A host's drills as they are planned. Before `full_until` no slot is free: that is not looked at again."""

    def __init__(self, host: DrillHost) -> None:
        self.host = host
        self.full_until = 0.0
        self._drills: list[Drill] = []

    def earliest(self, seconds: float, needed: int) -> float:
        """The first moment from which on there is a slot, and the room for all of the time: drills' ends free both."""
        last = self.full_until
        for start in sorted({self.full_until, *(drill.ends for drill in self._drills)}):
            beside = [drill for drill in self._drills if drill.begins < start + seconds and drill.ends > start]
            # What runs beside it changes only where one begins.
            moments = [start, *(drill.begins for drill in beside if drill.begins > start)]
            if all(self._room([one for one in beside if one.begins <= at < one.ends], needed) for at in moments):
                return start
            last = start
        return last  # after the last drill a host is empty, and only hosts that hold this one by itself are asked

    def add(self, drill: Drill) -> None:
        """Plan one."""
        self._drills.append(drill)
        at_work = self._at_work()
        while len(at_work) >= self.host.slots:
            self.full_until = min(one.ends for one in at_work)
            at_work = self._at_work()
        self._drills = [one for one in self._drills if one.ends > self.full_until]

    def _at_work(self) -> list[Drill]:
        return [one for one in self._drills if one.begins <= self.full_until < one.ends]

    def _room(self, beside: Sequence[Drill], needed: int) -> bool:
        taken = sum(drill.bytes for drill in beside)
        return len(beside) < self.host.slots and taken + needed <= self.host.free_bytes


def plan_drills(params: Mapping[str, Any], estate: Iterable[Cluster], clusters: Sequence[str]) -> Plan:
    """The plan for the clusters as their ledger shows them; those of which it knows nothing were never proven."""
    known = {one.name: one for one in estate}
    every, again = params["drill_every_days"], params["drill_again_days"]
    now = time.time()
    candidates = [_candidate(name, known.get(name)) for name in clusters]
    wanted = due(candidates, now, every, again, params["budget_seconds"])
    made = plan(wanted, slots_of(params["drill_hosts"]), params["budget_seconds"] or 366 * DAY)
    names = {one.cluster for one in wanted}
    for one in candidates:
        if one.cluster not in names:
            since = say.span(now - (one.verified or now))
            made.postponed[one.cluster] = f"verified {since} ago, due every {every:g} days"
    return made


def _candidate(name: str, cluster: Cluster | None) -> Candidate:
    """A cluster by its last drills: the slowest of three tells how long, the newest how large."""
    done = [one for one in cluster.drills if one.signed and one.verdict == "verified"] if cluster else []
    sizes = [one.measured("backup_bytes") for one in done]
    sizes = [int(size) for size in sizes if isinstance(size, (int, float))]
    return Candidate(
        name, done[0].finished.timestamp() if done else None,
        max((one.finished - one.started).total_seconds() for one in done[:3]) if done else None,
        sizes[0] if sizes else None,
    )


@dataclass(frozen=True)
class Sizing:
    """How many drill hosts an estate needs, and the figures on the way there."""

    drill_seconds: float
    per_slot: int
    slots: int
    hosts: int
    disk_bytes: int


def hosts_needed(
    clusters: int, cluster_bytes: int, every_days: int, *, night_seconds: float, bytes_per_second: float,
    fixed_seconds: float = 30.0, slots: int = 1, margin: float = 1.25,
) -> Sizing:
    """The schedule's arithmetic. Raises ValueError where one drill does not fit into a night.

    A drill takes `fixed_seconds` and reads its data at `bytes_per_second` (restore and verification together), with
    the planner's margin; a slot does as many as fit into a night one after the other. A proof that would become too
    old in the next night is renewed in this one, so a cycle has a night less than `every_days`.
    """
    seconds = (fixed_seconds + cluster_bytes / bytes_per_second) * margin
    per_slot = int(night_seconds // seconds) * max(1, every_days - 1)
    if per_slot < 1:
        raise ValueError(f"a drill takes {say.span(seconds)}, a night has {say.span(night_seconds)}")
    needed = math.ceil(clusters / per_slot)
    return Sizing(seconds, per_slot, needed, math.ceil(needed / slots), slots * (cluster_bytes + WAL_BYTES))


def slots_of(hosts: Iterable[Mapping[str, object]]) -> list[DrillHost]:
    """What the drill hosts told of themselves."""
    return [DrillHost(str(one["name"]), int(str(one["slots"])), int(str(one["free_bytes"]))) for one in hosts]


def _want(needed: int, hosts: Sequence[DrillHost]) -> str:
    if not hosts:
        return "no drill host answers"
    most = max((host.free_bytes for host in hosts if host.slots > 0), default=0)
    return f"it needs {say.size(needed)}, the drill host with most room has {say.size(most)} free"
