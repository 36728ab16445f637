# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the archived WAL says: which commits it holds, whether it is whole, and how far a restore can go."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TypeVar

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.process import run, tail
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import lsn
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository import Repository
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.wal_header import header

_COMMIT = re.compile(
    r"tx:\s+(\d+), lsn: ([0-9A-F]+/[0-9A-F]+), .*desc: COMMIT(?:_PREPARED (\d+):)? .*?"
    r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?) (?:UTC|GMT)"
)
_RESTORE_POINT = re.compile(r"lsn: ([0-9A-F]+/[0-9A-F]+), .*desc: RESTORE_POINT (.*)")
_HEAP = re.compile(r"desc: (INSERT|DELETE|MULTI_INSERT)(?:\+INIT)?:? (.*?)blkref #0: rel (\d+/\d+/\d+)")
_LSN = re.compile(r", lsn: ([0-9A-F]+/[0-9A-F]+), ")
_TUPLES = re.compile(r"ntuples: (\d+)|(\d+) tuples")
#: How many fetched segments are kept to be read again.
_KEPT = 4
#: How far into the next segment the last record of one is followed, in bytes.
_READ_ON = 1 << 20
#: How pg_waldump says that a segment simply ends: zeros, or a record that goes on in the next segment.
_ENDS = re.compile(
    r"invalid record length|expected at least \d+, got 0|could not find file|could not find a valid record"
)


T = TypeVar("T")


@dataclass(frozen=True)
class Commit:
    """One commit in the WAL: when, where and by which transaction."""

    time: datetime
    lsn: str
    xid: int


class Archive:
    """The archived WAL of a repository along one line of timelines.

    `scratch` is where segments are fetched to, a few at a time, and belongs to the caller; `waldump` is the pg_waldump
    of the right version.
    """

    def __init__(self, repository: Repository, waldump: str, scratch: Path) -> None:
        self._repository = repository
        self._waldump = waldump
        self._scratch = scratch
        self._commits: dict[str, list[Commit]] = {}
        self._kept: list[str] = []
        self.files = repository.archived()
        self.names = sorted(name for name in self.files if lsn.SEGMENT.match(name))
        self.size = self._segment_size()

    def _segment_size(self) -> int:
        known = {size for name, size in self.files.items() if lsn.SEGMENT.match(name) and size > 0}
        plausible = [size for size in known if not size & (size - 1) and 1 << 20 <= size <= 1 << 30]
        if plausible:
            return max(plausible)
        if not self.names:
            return 16 << 20
        return self._with_segment(self.names[-1], header).segment_size

    def _with_segment(self, name: str, use: Callable[[Path], T]) -> T:
        """Hand a fetched segment's path to `use`.

        The last few are kept: over SSH fetching one costs more than reading it.
        """
        place = self._scratch / name
        if name in self._kept:
            self._kept.remove(name)
        else:
            self._scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                self._repository.fetch_wal(name, place)
            except BaseException:
                place.unlink(missing_ok=True)
                raise
        self._kept.append(name)
        while len(self._kept) > _KEPT:
            (self._scratch / self._kept.pop(0)).unlink(missing_ok=True)
        return use(place)

    # --- timelines ------------------------------------------------------------------------------------------

    def lineage(self, backup_timeline: int, wanted: str, stop_lsn: str = "0/0") -> list[tuple[int, int]]:
        """The timelines from the backup's to the wanted one, oldest first, each with the position it begins at.

        `wanted` is `latest`, `current` (the backup's) or a number. Raises OpsError for one that is not reachable: it
        does not descend from the backup's timeline, or it left that one before the backup ended at `stop_lsn`.
        """
        if wanted == "current":
            return [(backup_timeline, 0)]
        branches = [int(name[:8], 16) for name in self.files if lsn.HISTORY.match(name)]
        if wanted == "latest":
            for timeline in sorted(branches, reverse=True):
                line = self._ancestry(timeline) if timeline > backup_timeline else []
                if (_left_at(line, backup_timeline) or -1) >= lsn.parse(stop_lsn):
                    return line
            return [(backup_timeline, 0)]
        if not wanted.isdecimal():
            raise OpsError(f"target timeline {wanted!r} is none; write latest, current or a number")
        timeline = int(wanted)
        line = self._ancestry(timeline) if timeline in branches else [(timeline, 0)]
        left = _left_at(line, backup_timeline)
        known = f"the archive knows {', '.join(map(str, sorted({backup_timeline, *branches})))}"
        if left is None:
            raise OpsError(
                f"target timeline {timeline} does not descend from the backup's timeline {backup_timeline}; {known}"
            )
        if left < lsn.parse(stop_lsn):
            raise OpsError(
                f"target timeline {timeline} left the backup's timeline {backup_timeline} at {lsn.text(left)}, before "
                f"the backup ended at {stop_lsn}; {known}"
            )
        return line

    def _ancestry(self, timeline: int) -> list[tuple[int, int]]:
        def parse(path: Path) -> list[tuple[int, int]]:
            rows = [line.split("\t") for line in path.read_text().splitlines() if line.strip() and line[0] != "#"]
            ends = [(int(row[0]), lsn.parse(row[1].strip())) for row in rows]
            starts = [0, *(end for _timeline, end in ends)]
            return list(zip([*(number for number, _end in ends), timeline], starts))

        return list(self._with_segment(f"{timeline:08X}.history", parse))

    def path(self, lineage: list[tuple[int, int]], start_lsn: str) -> tuple[list[str], list[str]]:
        """The segments recovery reads from `start_lsn` on along `lineage`, and those among them that are missing."""

        def name_of(segment: int) -> str:
            begun = [timeline for timeline, start in lineage if start // self.size <= segment]
            return lsn.segment_name(max(begun), segment * self.size, self.size)

        number = lsn.parse(start_lsn) // self.size
        held = (lsn.segment_start(name, self.size) // self.size for name in self.names)
        # What was written on a timeline after the line has left it is not on the way.
        last = max((segment for segment in held if name_of(segment) in self.files), default=-1)
        present: list[str] = []
        missing: list[str] = []
        for name in map(name_of, range(number, last + 1)):
            (present if name in self.files else missing).append(name)
        return present, missing

    def faulty(self, names: Iterable[str], system_identifier: str) -> list[str]:
        """What is wrong with the segments, without fetching more than the tool must: size, and whose WAL it is."""
        found = [
            f"{name} is truncated to {self.files[name]} of {self.size} bytes"
            for name in names
            if 0 <= self.files[name] != self.size
        ]
        # The last one is read anyway, for the window's end.
        for name in list(names)[-1:]:
            try:
                head = self._with_segment(name, header)
            except OpsError as exc:
                found.append(str(exc))
                continue
            if head.system_identifier != system_identifier:
                found.append(
                    f"{name} is of another cluster (system identifier {head.system_identifier}, "
                    f"the backup's is {system_identifier})"
                )
        return found

    # --- records --------------------------------------------------------------------------------------------

    def commits(self, name: str) -> list[Commit]:
        """The commits in one segment, in the order of the log. Raises OpsError where the WAL is corrupt."""
        if name not in self._commits:
            rows = (_COMMIT.search(line) for line in self.records(name, ["Transaction"]))
            self._commits[name] = [
                # A prepared transaction is committed by a session without a number of its own.
                Commit(_moment(row.group(4)), _plain(row.group(2)), int(row.group(3) or row.group(1)))
                for row in rows
                if row
            ]
        return self._commits[name]

    def restore_points(self, name: str) -> list[tuple[str, str]]:
        """The names of the restore points in one segment with their positions, in the order of the log."""
        rows = (_RESTORE_POINT.search(line) for line in self.records(name, ["XLOG"]))
        return [(row.group(2), _plain(row.group(1))) for row in rows if row]

    def record_at(self, names: Iterable[str], position: int) -> int | None:
        """Where the first record at or after a position begins, looked for in the segments from that position on."""
        for name in names:
            start = max(position, lsn.segment_start(name, self.size))
            if start >= lsn.segment_start(name, self.size) + self.size:
                continue
            said = self._with_segment(name, partial(self._first_from, lsn.text(start)))
            if _LSN.search(said):
                return _position(said)
        return None

    def _first_from(self, start: str, segment: Path) -> str:
        argv = [self._waldump, "-n", "1", "-s", start, segment.name, "-p", str(segment.parent)]
        return run(argv, check=False).stdout

    def changes(self, names: Iterable[str], start_lsn: str, end_lsn: str) -> dict[str, dict[str, int]]:
        """Rows inserted and deleted per relation file (`tablespace/database/file`) between two positions.

        Aborted transactions count too, so these are bounds, not exact numbers.
        """
        first, last = lsn.parse(start_lsn), lsn.parse(end_lsn)
        found: dict[str, dict[str, int]] = {}
        for name in names:
            start = lsn.segment_start(name, self.size)
            if start + self.size <= first or start > last:
                continue
            for line in [*self.records(name, ["Heap"]), *self.records(name, ["Heap2"])]:
                row = _HEAP.search(line)
                if not row:
                    continue
                tuples = _TUPLES.search(row.group(2)) if row.group(1) == "MULTI_INSERT" else None
                count = int(tuples.group(1) or tuples.group(2)) if tuples else 1
                entry = found.setdefault(row.group(3), {"inserts": 0, "deletes": 0})
                entry["deletes" if row.group(1) == "DELETE" else "inserts"] += count
        return found

    def records(self, name: str, managers: list[str]) -> list[str]:
        """The records that begin in one segment. One that goes on in the next is read on there, where that is held."""
        end = lsn.segment_start(name, self.size) + self.size
        following = lsn.segment_name(lsn.segment_timeline(name), end, self.size)
        wanted = [word for manager in managers for word in ("-r", manager)]

        def alone(place: Path) -> subprocess.CompletedProcess[str]:
            return run([self._waldump, "-p", str(place.parent), *wanted, name], check=False)

        def both(place: Path) -> subprocess.CompletedProcess[str]:
            more = ["-e", lsn.text(end + min(_READ_ON, self.size)), name, following]
            done = run([self._waldump, "-p", str(place.parent), *wanted, *more], check=False)
            # The next segment's own damage is not this one's.
            return done if done.returncode == 0 else alone(place)

        if following in self.files:
            done = self._with_segment(name, lambda place: self._with_segment(following, lambda _place: both(place)))
        else:
            done = self._with_segment(name, alone)
        if done.returncode != 0 and not _ENDS.search(done.stderr):
            raise OpsError(f"WAL segment {name} is damaged: {tail(done.stderr, 1)}")
        # No record begins in a segment that one record fills, and none is found behind a header that is lost.
        if (
            "could not find a valid record" in done.stderr
            and self._with_segment(name, header).position != end - self.size
        ):
            raise OpsError(f"WAL segment {name} is damaged: its header is another segment's")
        lines: list[str] = done.stdout.splitlines()
        while lines and _position(lines[-1]) >= end:
            lines.pop()
        return lines

    def last_commit(self, names: list[str], from_lsn: str, most: int = 64) -> Commit | None:
        """The newest commit after `from_lsn`, looked for in the last `most` segments. None: the cluster was idle."""
        floor = lsn.parse(from_lsn)
        for name in reversed(names[-most:]):
            later = [commit for commit in self.commits(name) if lsn.parse(commit.lsn) >= floor]
            if later:
                return later[-1]
            if lsn.segment_start(name, self.size) <= floor:
                break
        return None


def _left_at(line: list[tuple[int, int]], timeline: int) -> int | None:
    """Where a line of timelines leaves one of its own, far away for its last; None for one that is not in it."""
    ends = [*(start for _number, start in line[1:]), 1 << 64]
    return next((end for (number, _start), end in zip(line, ends) if number == timeline), None)


def _position(line: str) -> int:
    """Where a record that pg_waldump shows begins."""
    found = _LSN.search(line)
    return lsn.parse(found.group(1)) if found else 0


def _plain(position: str) -> str:
    """As the server writes it: pg_waldump fills up with zeros."""
    return lsn.text(lsn.parse(position))


def _moment(text: str) -> datetime:
    form = "%Y-%m-%d %H:%M:%S.%f" if "." in text else "%Y-%m-%d %H:%M:%S"
    return datetime.strptime(text, form).replace(tzinfo=timezone.utc)
