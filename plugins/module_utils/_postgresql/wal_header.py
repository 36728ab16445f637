# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose a WAL segment is, by the long header that it begins with."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError


@dataclass(frozen=True)
class Header:
    """The long header at the start of a WAL segment."""

    timeline: int
    position: int
    system_identifier: str
    segment_size: int


def header(path: Path) -> Header:
    """Read a segment's first page header. Raises OpsError where it is none."""
    with path.open("rb") as stream:
        raw = stream.read(40)
    if len(raw) < 40:
        raise OpsError(f"WAL segment {path.name} is truncated to {len(raw)} bytes")
    _magic, info, timeline, position, _rest, _pad, identity, size, _block = struct.unpack("=HHIQIIQII", raw)
    if not info & 0x0002 or size & (size - 1) or not 1 << 20 <= size <= 1 << 30:
        raise OpsError(f"WAL segment {path.name} does not begin with a WAL header")
    return Header(timeline, position, str(identity), size)
