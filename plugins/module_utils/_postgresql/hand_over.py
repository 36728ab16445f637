# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Between the restore and the verification of one drill, no process holds the copy's lock: a stamp keeps it meanwhile.

The stamp is part of the copy's marker and ends by itself after seconds, so that a run whose controller was killed
delays the next one for that long and no longer.
"""

from __future__ import annotations

import time
from pathlib import Path

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import time_to_live
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server


def offer(data_dir: Path, seconds: float) -> None:
    """Keep the copy for the next step of its own run, under the lock that is about to be given up."""
    if seconds > 0:
        now = time.time()
        time_to_live.note(data_dir, offered={"at": now, "until": now + seconds})


def left(server: Server, claim: str | None) -> float:
    """For how many seconds the copy still waits for another run than `claim`; 0 where it does not."""
    said = time_to_live.marker(server.data_dir) or {}
    offered, now = said.get("offered"), time.time()
    # One from the future is of a clock that was set back; one without its server, from before a reboot or a crash.
    if not offered or said.get("claim") == claim or offered["at"] > now or not server.running():
        return 0.0
    return max(0.0, float(offered["until"]) - now)


def await_free(server: Server, claim: str | None) -> None:
    """Wait until no other run is about to take its copy."""
    while True:
        seconds = left(server, claim)
        if seconds <= 0:
            return
        time.sleep(min(seconds, 0.2))


def refuse_offered(server: Server, claim: str | None) -> None:
    """Raise OpsError for a copy that another run has finished and is about to take, under the lock."""
    if left(server, claim) > 0:
        raise OpsError(f"refused: {server.data_dir} holds a copy that another run is about to verify; try again later")


def take(server: Server, claim: str | None, check_mode: bool) -> None:
    """Go on with a copy, under the lock: from here on the lock keeps it. Raises OpsError for another run's copy."""
    said = time_to_live.marker(server.data_dir)
    if claim is not None and (said or {}).get("claim") != claim:
        raise OpsError(f"{server.data_dir} does not hold this run's copy any more: another restore has replaced it")
    if said and said.get("offered") and not check_mode:
        time_to_live.note(server.data_dir, offered=None)
