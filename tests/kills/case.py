# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One case: play, kill, play again, judge."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from estate_runs import Played, alive, await_

from tests.kills.operations import Operation
from tests.kills.strike import Case, strike

#: What a rerun may say, and what the person does whom it says that to.
REMEDIES: dict[str, Callable[[Operation, re.Match[str]], Any]] = {
    r"is in use by \w+ \(pid (\d+)": lambda _operation, said: await_(
        lambda: not alive(int(said[1])), "the end of the killed run's worker", 120
    ),
    r"(no server runs on|has no running primary) .*start it": lambda operation, _said: operation.ground.start(),
}


#: What is said of a case that killed nobody.
TOO_LATE = "the victim was not hit: the run was over before"
#: How often a kill that came too late is tried again, at half of its part of the task: no task lasts the same twice.
EARLIER = 4


@dataclass
class Result:
    """How a case went. `misses` is empty when it converged."""

    name: str
    task: str
    part: float
    hit: str
    reruns: int = 0
    refusals: list[str] = field(default_factory=list)
    misses: list[str] = field(default_factory=list)
    seconds: float = 0.0


def run(case: Case, operation: Operation, usual: set[str]) -> Result:
    """Run a case on its ground, earlier where it missed. `usual` are the names that an undisturbed run leaves."""
    for _attempt in range(EARLIER):
        result = attempt(case, operation, usual)
        if result.misses != [TOO_LATE]:
            break
        operation.reset(False)
        case = replace(case, part=round(case.part / 2, 2))
    return result


def attempt(case: Case, operation: Operation, usual: set[str]) -> Result:
    """Run a case once."""
    begun = time.monotonic()
    result = Result(case.name, case.state.task, case.part, "")
    try:
        operation.begin()
        # What another playbook has left before is not this one's.
        usual = usual | operation.ground.names()
        running = operation.ground.begin(case.playbook, **operation.variables)
        result.hit = strike(case, running, operation.ground.trail, operation.servers)
        running.end(400)
        if result.hit:
            again(case, operation, result)
            if not result.misses:
                result.misses += operation.misses() + left(operation, usual)
        else:
            result.misses.append(TOO_LATE)
    except (Exception, pytest.fail.Exception) as exc:
        result.misses.append(f"{type(exc).__name__}: {str(exc)[-1500:]}")
    finally:
        if operation.writer:
            operation.writer.stop()
    result.seconds = time.monotonic() - begun
    return result


def again(case: Case, operation: Operation, result: Result) -> None:
    """The same command until it ends well: once, and once more behind what a person was told to do."""
    while True:
        done = operation.ground.begin(case.playbook, **operation.variables).end(400)
        result.reruns += 1
        if done.code == 0:
            return
        said = " | ".join(done.errors())
        known = [(act, match) for pattern, act in REMEDIES.items() if (match := re.search(pattern, said))]
        if not known or result.refusals or not clear(done):
            result.misses.append(f"rerun {result.reruns} exited {done.code}: {said or done.output[-1500:]}")
            return
        result.refusals.append(said)
        act, match = known[0]
        act(operation, match)


def clear(done: Played) -> bool:
    """Whether a failure is told in lines a person can read."""
    return "Traceback" not in done.output and bool(done.errors())


def left(operation: Operation, usual: set[str]) -> list[str]:
    """What only a killed run leaves."""
    ground = operation.ground
    until = time.monotonic() + 15
    while ground.leftovers() and time.monotonic() < until:
        time.sleep(0.1)
    found = ground.leftovers() + sorted(ground.names() - usual)
    return [f"left: {what}" for what in found[:6]]
