# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An old primary whose host answers, ended for good: whoever starts it from now on starts a replica.

It may be dead, hang, or have come back. It is asked to end in good order first, which sends what it still can to its
replicas, then told, then killed; and no process of it may be left, because one that lost its postmaster works on.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._core.process import run
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import switchover_fence as fence
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server, await_condition

#: How long each of the milder ways has.
_SECONDS = 5
_NAMES = ("postgres", "postmaster")


def fenced(server: Server, params: Params, check_mode: bool) -> Outcome:
    """Have it stopped, and unable to start as a primary."""
    if not server.exists():
        return Outcome(False, {"fenced": "holds no data"})
    marked = fence.signal_file(server).exists()
    alive = server.running() or bool(_processes(server))
    changed = alive or not marked
    if changed and not check_mode:
        with host_lock(str(server.data_dir), "failover", params["timeout"]):
            # First, so that a service manager that starts it again starts a replica.
            fence.mark(server)
            _end(server, params["timeout"])
    state = "stopped, and starts as a replica only"
    return Outcome(changed, {"fenced": state}, f"server: {'runs' if alive else 'stopped'}\n", f"server: {state}\n")


def _end(server: Server, seconds: float) -> None:
    for number in (signal.SIGINT, signal.SIGQUIT):
        pid = server.pid()
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            if await_condition(lambda: not server.running(), min(_SECONDS, seconds), every=0.05):
                break
    # Those that are left: they hang, or lost their postmaster.
    await_condition(lambda: not _processes(server), min(_SECONDS, seconds), every=0.05)
    if not await_condition(lambda: not _killed(server), seconds, every=0.1):
        raise OpsError(
            f"processes of the server on {server.data_dir} do not end (pid {', '.join(map(str, _processes(server)))}); "
            "cut the host off"
        )
    if server.service != "process":
        # Its manager has to know that it is stopped.
        run(["systemctl", "stop", server.service], timeout=seconds)


def _killed(server: Server) -> list[int]:
    """Kill what is left; returns it."""
    left = _processes(server)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return left


def _processes(server: Server) -> list[int]:
    """Every process of the server, with or without a postmaster: they work in the data directory."""
    place, found = os.path.realpath(server.data_dir), []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            here = os.path.realpath(process / "cwd") == place
            if here and (process / "comm").read_text().strip().startswith(_NAMES) and not _dead(process):
                found.append(int(process.name))
    return sorted(found)


def _dead(process: Path) -> bool:
    return (process / "stat").read_text(errors="replace").rpartition(")")[2].split()[:1] == ["Z"]
