# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Control groups: which lab processes exist, and ending a whole group of them at one stroke."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from tests.lab.run import LabError, wait_until

TOP = "boringdb-lab"
SQUID = "_squid"  # no host can be called so: names start with a letter
BUILD = "_build"
JOIN = Path(__file__).with_name("join.sh")


def parse_mountinfo(text: str) -> Path | None:
    """Return the first cgroup2 mount of a whole hierarchy in /proc/self/mountinfo's text."""
    for line in text.splitlines():
        left, _dash, right = line.partition(" - ")
        fields = left.split()
        if right.startswith("cgroup2 ") and fields[3] == "/":
            return Path(fields[4])
    return None


def hierarchy() -> Path:
    """Return where this machine mounts cgroup2 (unified or hybrid)."""
    mounted = parse_mountinfo(Path("/proc/self/mountinfo").read_text())
    if mounted is None:
        raise LabError("no cgroup2 is mounted: mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified")
    return mounted


@dataclass(frozen=True)
class Group:
    """One group of the lab, named by a host (or SQUID, BUILD; '' is all of them)."""

    name: str

    @property
    def relative(self) -> str:
        """The group's path below the hierarchy's mount point."""
        return f"{TOP}/{self.name}" if self.name else TOP

    @property
    def path(self) -> Path:
        return hierarchy() / self.relative

    def create(self, sub: str = "") -> Path:
        """Create the group (and its child `sub`) and return the path of the innermost."""
        path = self.path / sub if sub else self.path
        path.mkdir(parents=True, exist_ok=True)
        return path

    def argv(self, argv: list[str], sub: str = "") -> list[str]:
        """Return argv wrapped so that the program starts inside this group."""
        return ["/bin/sh", str(JOIN), str(self.create(sub)), *argv]

    def populated(self) -> bool:
        """Return whether any process lives in the group or below."""
        try:
            return "populated 1" in (self.path / "cgroup.events").read_text()
        except FileNotFoundError:
            return False

    def pids(self, sub: str = "") -> list[int]:
        """Return every process of the group (or of its child `sub`) and below."""
        found: list[int] = []
        for directory, _subdirs, _files in os.walk(self.path / sub):
            with contextlib.suppress(OSError):
                found += [int(pid) for pid in Path(directory, "cgroup.procs").read_text().split()]
        return found

    def kill(self) -> None:
        """End every process of the group with SIGKILL, wait until they are gone, remove the group."""
        if not self.path.exists():
            return
        if self.populated():
            (self.path / "cgroup.kill").write_text("1")
            wait_until(lambda: not self.populated(), 20, f"processes of {self.relative} survive SIGKILL")
        for directory, _subdirs, _files in os.walk(self.path, topdown=False):
            with contextlib.suppress(FileNotFoundError):
                Path(directory).rmdir()


def names() -> list[str]:
    """Return the names of all groups of the lab that exist."""
    top = Group("").path
    return sorted(entry.name for entry in top.iterdir() if entry.is_dir()) if top.exists() else []
