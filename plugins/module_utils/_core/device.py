# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether what is written to a place is encrypted on its disk, or never gets there.

The kernel tells: a file system in memory, one that encrypts by itself, or one on device mapper's crypt target, also
below LVM, RAID and partitions. Where it does not tell (ZFS, network file systems, disks that encrypt by themselves),
the answer is no. Sources: proc(5) on mountinfo, the kernel's Documentation/ABI/testing/sysfs-block and sysfs-block-dm.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_IN_MEMORY = ("tmpfs", "ramfs")
_ENCRYPTS = ("ecryptfs", "fuse.gocryptfs", "fuse.encfs")
_ESCAPED = re.compile(r"\\([0-7]{3})")


def protection(place: Path, proc: Path = Path("/proc"), sysfs: Path = Path("/sys")) -> tuple[bool, str]:
    """Whether a place, or the nearest directory above it that exists, is protected; and what it lies on, in words."""
    while not place.exists() and place != place.parent:
        place = place.parent
    kind, source = _mounted(place.resolve(), proc)
    if kind in _IN_MEMORY:
        return True, f"{kind}, in memory"
    if kind in _ENCRYPTS:
        return True, kind
    number = place.stat().st_dev
    if os.major(number) == 0:
        # btrfs and others give their files a device of their own; the mount names the real one.
        try:
            number = Path(source).stat().st_rdev
        except OSError:
            return False, f"{kind} on {source or 'nothing'}, of which the kernel tells nothing"
    device = sysfs / f"dev/block/{os.major(number)}:{os.minor(number)}"
    if not device.exists():
        return False, f"{kind} on {source}, of which the kernel tells nothing"
    if _crypt(device.resolve()):
        return True, f"{kind} on {source}, dm-crypt"
    return False, f"{kind} on {source}, not encrypted"


def _crypt(device: Path) -> bool:
    """Whether a block device is a crypt target, or all that it stands on is."""
    uuid = device / "dm/uuid"
    if uuid.exists() and uuid.read_text().startswith("CRYPT-"):
        return True
    below = sorted((device / "slaves").iterdir()) if (device / "slaves").is_dir() else []
    if not below and (device / "partition").exists():
        return _crypt(device.parent)
    return bool(below) and all(_crypt(one.resolve()) for one in below)


def _mounted(place: Path, proc: Path) -> tuple[str, str]:
    """The type and the source of the file system of a place: of two at one point the later one counts."""
    best, found = -1, ("an unknown file system", "")
    for line in (proc / "self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        before, _dash, after = line.partition(" - ")
        point = Path(_ESCAPED.sub(lambda match: chr(int(match[1], 8)), before.split()[4]))
        if (place == point or point in place.parents) and len(point.parts) >= best:
            best, found = len(point.parts), (after.split()[0], after.split()[1])
    return found
