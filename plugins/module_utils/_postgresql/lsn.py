# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Log sequence numbers and WAL segment names."""

from __future__ import annotations

import re

SEGMENT = re.compile(r"^[0-9A-F]{24}\Z")
HISTORY = re.compile(r"^[0-9A-F]{8}\.history\Z")
_POSITION = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")


def parse(lsn: str) -> int:
    """`0/3000060` as a number of bytes. Raises ValueError on anything else."""
    found = _POSITION.fullmatch(lsn)
    if not found:
        raise ValueError(f"{lsn!r} is no position such as 0/3000060")
    return (int(found.group(1), 16) << 32) + int(found.group(2), 16)


def text(position: int) -> str:
    """A number of bytes as PostgreSQL writes it."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


def forks(history: str) -> list[tuple[int, str]]:
    """What a history file says: each older timeline, and where it was left."""
    lines = [line.split() for line in history.splitlines()]
    return [(int(words[0]), words[1]) for words in lines if len(words) > 1 and words[0].isdigit()]


def segment_name(timeline: int, position: int, size: int) -> str:
    """The WAL segment file that holds `position`."""
    number = position // size
    per_id = (1 << 32) // size
    return f"{timeline:08X}{number // per_id:08X}{number % per_id:08X}"


def segment_start(name: str, size: int) -> int:
    """The first byte position in segment `name`."""
    per_id = (1 << 32) // size
    return (int(name[8:16], 16) * per_id + int(name[16:24], 16)) * size


def segment_timeline(name: str) -> int:
    """The timeline a segment or history file belongs to."""
    return int(name[:8], 16)
