# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a source is idle or its archive is stuck: two reasons for an old last commit that look the same from outside.

The source's snapshot, `xmin:xmax:xid,xid,…` as pg_current_snapshot() gives it, says which transactions have ended; the
segment it writes to says how much of its log the archive may lack.
"""

from __future__ import annotations

import re

from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import lsn
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.wal import Archive

_ENDED = re.compile(r"tx:\s+(\d+), .*desc: (?:COMMIT|ABORT)(?:_PREPARED (\d+):)?")
_SUBXACTS = re.compile(r"subxacts: ([\d ]+)")
#: Records that tell that all below a number have ended, except those that they name.
_RUNNING = re.compile(r"desc: RUNNING_XACTS nextXid (\d+) [^;]*(?:; \d+ xacts: ([\d ]+))?")
_SHUTDOWN = re.compile(r"desc: CHECKPOINT_SHUTDOWN .* xid \d+:(\d+);")
_BITS = 0xFFFFFFFF


def nothing_missing(archive: Archive, names: list[str], snapshot: str, most: int = 64) -> bool:
    """Whether the log in the segments `names` holds the end of every transaction that has ended at the source.

    Ends are not in the order of the numbers, and rolled back and nested ones have numbers, too. Read backwards, at most
    `most` segments, until a record tells what had ended before it.
    """
    _xmin, xmax, open_there = snapshot.split(":")
    following = int(xmax) & _BITS
    settled = {int(xid) & _BITS for xid in open_there.split(",") if xid}
    for name in reversed(names[-most:]):
        for line in archive.records(name, ["Transaction"]):
            row, nested = _ENDED.search(line), _SUBXACTS.search(line)
            if row:
                settled |= {int(row.group(2) or row.group(1)), *map(int, nested.group(1).split() if nested else ())}
        told = _last_told(archive, name)
        if told:
            wanted = _between(told[0], following, len(settled))
            return wanted is not None and (told[1] | wanted) <= settled
    return False


def lacks_at_most(archive: Archive, names: list[str], writing: str, archive_timeout: int) -> int | None:
    """How old, in seconds, a commit that the archive's segments `names` lack can be; None where nothing limits it.

    `writing` is the segment that the source writes to. When the archive holds all before it, what it lacks lies in that
    one alone, and PostgreSQL ends a segment `archive_timeout` seconds after the first record in it, at the latest.
    """
    if archive_timeout <= 0 or not names or lsn.segment_timeline(names[-1]) != lsn.segment_timeline(writing):
        return None
    held = lsn.segment_start(names[-1], archive.size) + archive.size
    return archive_timeout if held >= lsn.segment_start(writing, archive.size) else None


def _last_told(archive: Archive, name: str) -> tuple[int, set[int]] | None:
    """The number below which all have ended, and those below it that had not, by the last record that tells."""
    found = None
    for line in archive.records(name, ["Standby"]) + archive.records(name, ["XLOG"]):
        row, down = _RUNNING.search(line), _SHUTDOWN.search(line)
        if down:
            told = int(down.group(1)), set[int]()
        elif row:
            # Nested ones that were running are no loss: what commits is their parent.
            told = int(row.group(1)), {int(xid) for xid in (row.group(2) or "").split()}
        else:
            continue
        # Numbers have 32 bits and wrap around: less than half of them apart means that this one is the later.
        if found is None or (told[0] - found[0]) & _BITS < 1 << 31:
            found = told
    return found


def _between(first: int, following: int, most: int) -> set[int] | None:
    """The numbers from `first` to before `following`; None where they are more than `most`."""
    count = (following - first) & _BITS
    if count >= 1 << 31:
        return set()
    return {(first + number) & _BITS for number in range(count)} if count <= most else None
