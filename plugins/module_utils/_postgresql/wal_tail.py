# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of the WAL that lies in a data directory, and the transactions that it holds from a position on.

Read by pg_waldump from the files, so that a server that is dead or hangs can be asked what it had and others had not.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.process import run, tail
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import lsn
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server

_COMMIT = re.compile(r"lsn: ([0-9A-F]+/[0-9A-F]+),.* desc: COMMIT\w* (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?) UTC")
_POSITION = re.compile(r"\bat ([0-9A-F]+/[0-9A-F]+)")


@dataclass(frozen=True)
class Tail:
    """The WAL from a position on: where it ends, and the commits in it with the times of the first and the last."""

    timeline: int
    start: int
    end: int
    transactions: int = 0
    first: float = 0
    last: float = 0

    def facts(self) -> dict[str, Any]:
        """The shape that modules return."""
        return {**asdict(self), "bytes": self.end - self.start, "end_lsn": lsn.text(self.end)}


def wal_tail(server: Server, timeline: int, start: int) -> Tail:
    """What lies in pg_wal from a position on. Raises OpsError where that can't be told."""
    folder = server.data_dir / "pg_wal"
    if not folder.is_dir():
        raise OpsError(f"{folder} is missing")
    argv = [server.program("pg_waldump"), "-p", str(folder), "-t", str(timeline), "-s", lsn.text(start)]
    done = run([*argv, "-r", "Transaction"], check=False)
    commits = [found for found in map(_COMMIT.search, done.stdout.splitlines()) if found]
    said = tail(done.stderr, 1)
    if done.returncode != 0 and not _ends(said):
        if "could not find a valid record after" not in said and not _at_the_end(folder, said, timeline, start):
            raise OpsError(f"the WAL in {folder} can't be read from {lsn.text(start)} on: {said}")
        return Tail(timeline, start, start)
    places = [lsn.parse(place) for place in _POSITION.findall(said)]
    places += [lsn.parse(found.group(1)) for found in commits]
    times = [_moment(found.group(2)) for found in commits]
    return Tail(timeline, start, max([start, *places]), len(commits), min(times, default=0), max(times, default=0))


def _ends(said: str) -> bool:
    return "error in WAL record at" in said


def _at_the_end(folder: Path, said: str, timeline: int, start: int) -> bool:
    """Whether a file is missing only because the position is where the last one ends."""
    files = [place for place in folder.iterdir() if lsn.SEGMENT.match(place.name)]
    own = [place for place in files if lsn.segment_timeline(place.name) == timeline]
    ends = [lsn.segment_start(place.name, size) + size for place in own if (size := place.stat().st_size)]
    return "could not find" in said and start in ends


def _moment(text: str) -> float:
    form = "%Y-%m-%d %H:%M:%S.%f" if "." in text else "%Y-%m-%d %H:%M:%S"
    return datetime.strptime(text, form).replace(tzinfo=timezone.utc).timestamp()
