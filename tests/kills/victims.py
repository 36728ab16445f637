# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is killed, and how it is found: by its ancestry and its place, never by a name that others could bear."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable
from pathlib import Path

from estate_runs import Running

VICTIMS = ("controller", "worker", "server")
_CONTROLLER = b"ansible-playbook"


def descendants(pid: int) -> list[int]:
    """A process and everything that it started, the nearest first."""
    children: dict[int, list[int]] = {}
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(place.name))
    found, new = [], [pid]
    while new:
        found += new
        new = [child for one in new for child in children.get(one, [])]
    return found


def words(pid: int) -> list[bytes]:
    """A process's command line."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return []


def controllers(running: Running) -> list[int]:
    """Ansible on the controller: itself, and what it forks for each host."""
    family = descendants(running.popen.pid)
    return [pid for pid in family if any(word.endswith(_CONTROLLER) for word in words(pid))]


def workers(running: Running) -> list[int]:
    """The modules that run just now: interpreters that are not Ansible itself, without what they started."""
    found = []
    for pid in descendants(running.popen.pid):
        line = words(pid)
        python = line and line[0].rpartition(b"/")[2].startswith(b"python")
        if python and not any(word.endswith(_CONTROLLER) for word in line):
            found.append(pid)
    return found


def servers(folder: Path) -> list[int]:
    """Every process of the servers that work below a folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            inside = str((place / "cwd").readlink()).startswith(f"{folder}/")
            if inside and (place / "comm").read_text().strip() == "postgres":
                found.append(int(place.name))
    return found


def kill(pids: Iterable[int]) -> int:
    """SIGKILL; returns for how many it came in time."""
    count = 0
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            count += 1
    return count
