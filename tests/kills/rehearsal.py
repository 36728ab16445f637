# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A playbook is played once without a kill: that tells its states, how long each task takes, and what it leaves."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

from tests.kills import victims
from tests.kills.operations import Operation
from tests.kills.strike import Case, reached
from tests.kills.trail import State, boundaries, states

#: Under load a task may be over sooner than in the rehearsal.
_LATEST = 0.8


@dataclass
class Rehearsal:
    """What one undisturbed run tells."""

    playbook: str
    boundaries: int
    states: list[State]
    names: set[str]

    def cases(self, seed: int) -> list[Case]:
        """Every case of the embedded ground; each comes at a random part of its task, the same for the same seed."""
        return [
            Case(self.playbook, victim, state, _part(seed, self.playbook, victim, state.number))
            for victim in victims.VICTIMS
            for state in self.states
            if fits(victim, state)
        ]


def fits(victim: str, state: State) -> bool:
    """Whether there is such a victim in that state."""
    return {"worker": state.works, "server": state.server}.get(victim, True)


def _part(seed: int, *of: object) -> float:
    return round(random.Random(f"{seed} {of}").uniform(0, _LATEST), 2)


def rehearse(playbook: str, operation: Operation) -> Rehearsal:
    """Play it. Raises SystemExit where it fails, or is judged wrongly, without any kill."""
    operation.begin()
    ground, served = operation.ground, set()
    running = ground.begin(playbook, **operation.variables)
    while running.popen.poll() is None:
        if victims.servers(operation.servers):
            served.add(reached(ground.trail))
        time.sleep(0.02)
    done = running.end()
    if done.code:
        raise SystemExit(f"kills: {playbook} fails without a kill: {done.output[-3000:]}")
    run = boundaries(ground.trail)
    found = list(states(run))
    for state in found:
        state.server = state.number in served
    misses = operation.misses()
    if misses:
        raise SystemExit(f"kills: {playbook} is judged wrongly without a kill: {misses}")
    return Rehearsal(playbook, len(run), found, ground.names())
