# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a restore goes: the backup, the window it allows, the target in it, and how to tell that it was reached.

The window begins where the backup became consistent and ends at the last archived commit. Recovery to a time stops
at the first commit *after* that time, so a target at or beyond the last commit would never end recovery.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Callable

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import lsn
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository import Backup, stamp
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.wal import Archive, Commit


@dataclass(frozen=True)
class Window:
    """The targets that a backup and the archive allow. `last` is None on a cluster without commits since the backup."""

    start_lsn: str
    start: datetime
    end_lsn: str
    last: Commit | None

    def __str__(self) -> str:
        end = stamp(self.last.time) if self.last else "no commit since"
        return f"{stamp(self.start)} ({self.start_lsn}) to {end} ({self.end_lsn})"

    def facts(self) -> dict[str, Any]:
        """The shape that modules return."""
        return {
            "start": stamp(self.start),
            "start_lsn": self.start_lsn,
            "end": stamp(self.last.time) if self.last else None,
            "end_lsn": self.end_lsn,
        }


@dataclass(frozen=True)
class Target:
    """Where recovery stops. `before` is the last commit that must be there, `after` the first that must not."""

    type: str
    value: str
    timeline: str
    before: Commit | None = None
    after: Commit | None = None


@dataclass(frozen=True)
class Plan:
    """A backup, the segments recovery will read, the window and the target."""

    backup: Backup
    window: Window
    target: Target
    segments: list[str]
    missing: list[str]


def window_of(archive: Archive, backup: Backup, segments: list[str]) -> Window:
    """The window of one backup along the given segments."""
    last = archive.last_commit(segments, backup.stop_lsn)
    end = last.lsn if last else backup.stop_lsn
    return Window(backup.stop_lsn, backup.finished, end, last)


def make(archive: Archive, backup: Backup, params: Mapping[str, Any], dice: random.Random) -> Plan:
    """Plan a restore. Raises OpsError, with the window in it, for a target that can't be reached."""
    lineage = archive.lineage(backup.timeline, params["target_timeline"], backup.stop_lsn)
    segments, missing = archive.path(lineage, backup.start_lsn)
    window = window_of(archive, backup, segments)
    follow = str(lineage[-1][0])
    aim = {"latest": _latest, "immediate": _immediate, "time": _time, "lsn": _lsn, "name": _name, "random": _random}
    # WAL that ends before the backup became consistent can't be the answer to any target.
    reached = segments and lsn.segment_start(segments[-1], archive.size) + archive.size >= lsn.parse(backup.stop_lsn)
    if not reached:
        raise OpsError(f"backup {backup.label} needs WAL up to {backup.stop_lsn}, which the archive does not hold")
    aimed = _Aim(archive, backup, segments, window, follow, params.get("target") or "", dice)
    return Plan(backup, window, aim[params["target_type"]](aimed), segments, missing)


@dataclass(frozen=True)
class _Aim:
    archive: Archive
    backup: Backup
    segments: list[str]
    window: Window
    timeline: str
    value: str
    dice: random.Random

    def outside(self, why: str) -> OpsError:
        return OpsError(f"target {self.value} is outside the window {self.window}: {why}")

    def usable(self) -> list[str]:
        """The segments that may hold commits after the backup became consistent."""
        floor = lsn.parse(self.window.start_lsn)
        return [
            name for name in self.segments if lsn.segment_start(name, self.archive.size) + self.archive.size > floor
        ]

    def later(self, name: str) -> list[Commit]:
        """A segment's commits after the backup became consistent."""
        floor = lsn.parse(self.window.start_lsn)
        return [commit for commit in self.archive.commits(name) if lsn.parse(commit.lsn) >= floor]


def _latest(aim: _Aim) -> Target:
    return Target("latest", "", aim.timeline, before=aim.window.last)


def _immediate(aim: _Aim) -> Target:
    return Target("immediate", "", aim.timeline)


def _time(aim: _Aim) -> Target:
    moment = parse_time(aim.value)
    if moment < aim.window.start:
        raise aim.outside("the backup was not consistent yet")
    if aim.window.last is None or moment >= aim.window.last.time:
        raise aim.outside(
            "it must lie before the last archived commit, else recovery never stops; use target_type latest"
        )
    before, after = _around(aim, lambda commit: commit.time > moment)
    return Target("time", stamp(moment), aim.timeline, before, after)


def _lsn(aim: _Aim) -> Target:
    try:
        position = lsn.parse(aim.value)
    except ValueError:
        raise OpsError(f"target {aim.value!r} is no LSN such as 0/3000060") from None
    if position < lsn.parse(aim.window.start_lsn):
        raise aim.outside("the backup was not consistent yet")
    if position > lsn.parse(aim.window.end_lsn):
        raise aim.outside("the archive does not reach that far")
    # Recovery ends behind the first record that begins at or after the position, which may be a commit.
    last = aim.archive.record_at(aim.usable(), position)
    before, after = _around(aim, _beyond(position if last is None else last))
    return Target("lsn", aim.value, aim.timeline, before, after)


def _name(aim: _Aim) -> Target:
    points = (point for name in aim.segments for point in aim.archive.restore_points(name))
    positions = (lsn.parse(position) for name, position in points if name == aim.value)
    # Recovery stops at the first of that name that it meets.
    for position in positions:
        if position < lsn.parse(aim.backup.start_lsn):
            continue
        if position < lsn.parse(aim.window.start_lsn):
            raise aim.outside("recovery would stop there before the backup was consistent")
        before, after = _around(aim, _beyond(position))
        return Target("name", aim.value, aim.timeline, before, after)
    raise aim.outside("no restore point of that name is in the archived WAL")


def _beyond(position: int) -> Callable[[Commit], bool]:
    return lambda commit: lsn.parse(commit.lsn) > position


def _around(aim: _Aim, beyond: Callable[[Commit], bool]) -> tuple[Commit | None, Commit | None]:
    """The last commit that is not beyond a target and the first that is. Segments are searched by halves."""
    names = aim.usable()
    low, high = 0, len(names)
    while low < high:
        middle = look = (low + high) // 2
        # A segment without commits tells nothing: look back until one does.
        while look > low and not aim.later(names[look]):
            look -= 1
        # Commits are not quite in the order of their times; a segment counts as beyond from its first one that is.
        if any(beyond(commit) for commit in aim.later(names[look])):
            high = look
        else:
            low = middle + 1
    if low == len(names):
        return aim.window.last, None
    commits = aim.later(names[low])
    index = next(number for number, commit in enumerate(commits) if beyond(commit))
    if index:
        return commits[index - 1], commits[index]
    return aim.archive.last_commit(names[:low], aim.window.start_lsn), commits[index]


def _random(aim: _Aim) -> Target:
    """A moment right at a commit that has a later one behind it. An idle cluster gives what it has: latest."""
    names = aim.usable()
    candidates: list[tuple[Commit, Commit]] = []
    for name in aim.dice.sample(names, min(len(names), 8)):
        candidates = _steps(aim.later(name))
        if candidates:
            break
    if not candidates:
        return _latest(aim)
    chosen = aim.dice.choice(candidates)[0]
    before, after = _around(aim, lambda commit: commit.time > chosen.time)
    return Target("time", stamp(chosen.time), aim.timeline, before, after)


def _steps(commits: list[Commit]) -> list[tuple[Commit, Commit]]:
    """Neighbouring commits whose times differ, and before which no later time stands."""
    steps: list[tuple[Commit, Commit]] = []
    newest: datetime | None = None
    for commit, following in zip(commits, commits[1:]):
        newest = commit.time if newest is None else max(newest, commit.time)
        if following.time > newest and newest == commit.time:
            steps.append((commit, following))
    return steps


def parse_time(text: str) -> datetime:
    """A target time with a time zone, e.g. `2026-11-21 08:00:00.5+00` or `2026-11-21T08:00:00Z`, in UTC."""
    spelled = text.strip().replace(" ", "T", 1).replace("Z", "+00:00")
    spelled = re.sub(r"([+-]\d\d)$", r"\1:00", spelled)
    # Before Python 3.11 a fraction must have three or six digits.
    spelled = re.sub(r"\.(\d{1,6})", lambda found: "." + found.group(1).ljust(6, "0"), spelled)
    try:
        moment = datetime.fromisoformat(spelled)
        if moment.tzinfo is not None:
            return moment.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        raise OpsError(f"target {text!r} is no time such as 2026-11-21 08:00:00+00") from None
    raise OpsError(f"target {text!r} has no time zone; write 2026-11-21 08:00:00+00")
