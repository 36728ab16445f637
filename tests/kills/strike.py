# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kill itself: it follows the trail of a run to a boundary, waits for a part of the task, and kills the victim."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from estate_runs import Running

from tests.kills import victims
from tests.kills.trail import State, boundaries


@dataclass(frozen=True)
class Case:
    """One kill. `part` says how far into the task it comes: 1 is the end that the task had without a kill."""

    playbook: str
    victim: str
    state: State
    part: float

    @property
    def name(self) -> str:
        """What it is kept under."""
        return f"{self.playbook}/{self.victim}/{self.state.number}"


def reached(trail: Path) -> int:
    """The boundary that a run is at."""
    run = boundaries(trail)
    return run[-1].number if run else 0


def strike(case: Case, running: Running, trail: Path, servers: Path) -> str:
    """Kill the victim; says in which task it was hit, or that it was not."""
    while reached(trail) < case.state.number:
        if running.popen.poll() is not None:
            return ""
        time.sleep(0.01)
    kill = {"controller": _controller, "worker": _worker, "server": _server}[case.victim]
    wait = case.part * case.state.seconds
    hit = kill(case, running, wait, servers)
    run = boundaries(trail)
    return f"{run[-1].number} {run[-1].task}" if hit else ""


def _controller(case: Case, running: Running, wait: float, servers: Path) -> bool:
    del case, servers
    time.sleep(wait)
    # The first is the one that would start others.
    hit = victims.kill(victims.controllers(running))
    running.popen.wait()
    return hit > 0


def _worker(case: Case, running: Running, wait: float, servers: Path) -> bool:
    del case, servers
    begun = time.monotonic()
    while running.popen.poll() is None:
        found = victims.workers(running)
        # Not before it runs; and not before its part of the task is over.
        if found and time.monotonic() - begun >= wait:
            return victims.kill(found[:1]) > 0
        time.sleep(0.005)
    return False


def _server(case: Case, running: Running, wait: float, servers: Path) -> bool:
    del case
    begun = time.monotonic()
    while running.popen.poll() is None:
        found = victims.servers(servers)
        if found and time.monotonic() - begun >= wait:
            # Again for what a dying postmaster has started meanwhile.
            hit = victims.kill(found)
            while victims.kill(victims.servers(servers)):
                time.sleep(0.01)
            return hit > 0
        time.sleep(0.01)
    return False
