# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The log positions written on pages, read from the files themselves.

A page's header begins with the position of the last log record that changed it (two 32-bit halves, high first, in the
host's byte order). Valid as soon as a checkpoint has written what recovery replayed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_CHUNK = 1 << 20


def _segments(main: Path) -> Iterator[Path]:
    yield main
    number = 1
    while (segment := main.with_name(f"{main.name}.{number}")).exists():
        yield segment
        number += 1


def file_bytes(main: Path) -> int:
    """The size of a relation's main fork, all its segments together."""
    try:
        return sum(segment.stat().st_size for segment in _segments(main))
    except FileNotFoundError:  # dropped meanwhile
        return 0


def file_state(main: Path, size: int, limit: int, page: int = 8192) -> str:
    """What became of a relation's file since position `limit`, when its main fork had `size` bytes.

    `same`: no page carries a later position, and nothing is missing. `changed`: a page does. `shorter`: none does, but
    pages are missing (or the file is). A page of zeros counts as position 0.
    """
    total = 0
    high_limit, low_limit = limit >> 32, limit & 0xFFFFFFFF
    words = page // 4
    buffer = bytearray(_CHUNK // page * page)
    view = memoryview(buffer)
    for segment in _segments(main):
        try:
            stream = segment.open("rb", buffering=0)
        except FileNotFoundError:
            return "shorter"
        with stream:
            offset = 0
            while whole := (stream.readinto(view) or 0) // page * page:
                offset += whole
                total += whole
                halves = view[:whole].cast("I")
                highs = halves[::words].tolist()
                if max(highs) > high_limit:
                    return "changed"
                if max(highs) == high_limit:
                    lows = halves[1::words].tolist()
                    if any(high == high_limit and low > low_limit for high, low in zip(highs, lows)):
                        return "changed"
                stream.seek(offset)
    return "same" if total >= size else "shorter"


def page_position(main: Path, block: int, page: int = 8192, segment: int = 1 << 30) -> int:
    """The position on one page; -1 when the file or the page is not there."""
    per_segment = segment // page
    number = block // per_segment
    path = main.with_name(f"{main.name}.{number}") if number else main
    try:
        with path.open("rb") as stream:
            stream.seek(block % per_segment * page)
            head = stream.read(8)
    except FileNotFoundError:
        return -1
    if len(head) < 8:
        return -1
    high, low = memoryview(head).cast("I").tolist()
    return int(high) << 32 | int(low)


def relation_key(path: str) -> str:
    """A relation's file as the log names it: `base/5/16390` -> `1663/5/16390` (tablespace/database/relation)."""
    parts = path.split("/")
    if parts[0] == "global":
        return f"1664/0/{parts[1]}"
    if parts[0] == "base":
        return f"1663/{parts[1]}/{parts[2]}"
    return f"{parts[1]}/{parts[3]}/{parts[4]}"
