# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One chain: a playbook is played again and again; each run loses a host inside of the next task that works on one.

It ends with the first run that no host is taken from. So every task is played again behind its own loss, and what
follows is played on what all losses before have left.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from estate_runs import Played

from tests.kills.hosts.ground import HOSTS, Hosts
from tests.kills.hosts.operations import Operation
from tests.kills.trail import CONTROLLER, read

#: Under load a task may be over sooner than in the rehearsal.
_LATEST = 0.8
#: What a rerun may say once or twice, which a person answers by waiting.
_WAIT = re.compile(r"is in use by|another pgbackrest process|start it|starting up|not accepting connections")
_PATIENCE = 40
#: A rerun's refusals after one loss, 10 seconds apart.
_MOST_REFUSALS = 6


@dataclass(frozen=True)
class Step:
    """One task. `on` are the hosts that it works on by those it is for, which are others where it is delegated."""

    play: str
    task: str
    on: dict[str, str] = field(compare=False, default_factory=dict)
    seconds: float = field(compare=False, default=0.0)

    @property
    def name(self) -> str:
        """Its play and task."""
        return f"{self.play}: {self.task}"


@dataclass
class Loss:
    """A host that lost its power: in which task that was meant, how far into it, and in which it was then."""

    on: str
    task: str
    part: float
    hit: str
    refusals: list[str] = field(default_factory=list)


@dataclass
class Chain:
    """How a playbook's chain went. `misses` is empty when the last run finished the job."""

    playbook: str
    steps: int
    runs: int = 0
    losses: list[Loss] = field(default_factory=list)
    misses: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class Part:
    """A part of a chain: what earlier parts have shown is left alone, and after so many losses it comes to its end."""

    shown: frozenset[str] = frozenset()
    most: int = 1 << 30


def steps(trail: list[dict[str, Any]]) -> list[Step]:
    """What ran on a host of the lab, in its order, by a trail."""
    task, began = {}, {}
    found: dict[Step, Step] = {}
    for line in trail:
        if line["event"] == "start":
            task = line
        elif line["event"] == "begin":
            began[line["host"]] = line["at"]
        elif line["ran"] and line["on"] in HOSTS and task["action"] not in CONTROLLER:
            new = Step(task["play"], task["task"], {}, line["at"] - began.get(line["host"], line["at"]))
            found.setdefault(new, new).on[line["host"]] = line["on"]
    return list(found)


class Taken:
    """Which steps are known to work on a host, and from which of them it was taken already."""

    def __init__(self, rehearsed: list[Step], seed: int, shown: Collection[str] = ()) -> None:
        """`shown` are the tasks, as losses name them, that an earlier part of the chain has struck."""
        self.known = {step: step for step in rehearsed}
        self.shown = shown
        self.struck: set[Step] = {step for step in rehearsed if step.name in shown}
        self.dice = random.Random(seed)

    def learn(self, trail: list[dict[str, Any]]) -> None:
        """A run on what a loss has left may go other ways than the rehearsal."""
        for step in steps(trail):
            self.known.setdefault(step, step)
            if step.name in self.shown:
                self.struck.add(step)

    def due(self, trail: list[dict[str, Any]]) -> Step | None:
        """The step that has begun and not ended, if it is one whose loss is still to come."""
        step, hosts = Step("", ""), set()
        for line in trail:
            if line["event"] == "start":
                step, hosts = Step(line["play"], line["task"]), set()
            elif line["event"] == "begin":
                hosts.add(line["host"])
            else:
                hosts.discard(line["host"])
        known = self.known.get(step)
        return known if known and known not in self.struck and hosts & set(known.on) else None

    def choose(self, step: Step) -> str:
        """One of the hosts that it works on."""
        return self.dice.choice(sorted(set(step.on.values())))


def run(
    operation: Operation, ground: Hosts, rehearsed: list[Step], seed: int, part: Part = Part()
) -> Iterator[Loss | Chain]:
    """Play the chain, or the next part of it; yields every loss, and the chain at its end."""
    begun = time.monotonic()
    taken, chain = Taken(rehearsed, seed, part.shown), Chain(operation.playbook, len(rehearsed))
    usual = ground.names() | operation.usual()
    operation.begin()
    try:
        while not chain.misses:
            running = ground.begin(operation.playbook, **operation.variables)
            chain.runs += 1
            loss = _strike(ground, running, taken) if len(chain.losses) < part.most else None
            done = running.end(900)
            taken.learn(read(ground.trail))
            if loss:
                chain.losses.append(loss)
                ground.give_power(loss.on)
                yield loss
            elif done.code == 0:
                break
            elif not _wait(chain, done):
                said = " | ".join(done.errors()) or done.output[-1500:]
                chain.misses.append(f"run {chain.runs} exited {done.code}: {said}")
        if not chain.misses:
            chain.misses += operation.misses() + _left(ground, usual)
    finally:
        operation.end()
    chain.seconds = time.monotonic() - begun
    yield chain


def _strike(ground: Hosts, running: Any, taken: Taken) -> Loss | None:
    """Follow a run to the next step that is due, wait for a part of it, and take the host. None: there was none."""
    while running.popen.poll() is None:
        step = taken.due(read(ground.trail))
        if step is None:
            time.sleep(0.01)
            continue
        taken.struck.add(step)
        part = round(taken.dice.uniform(0, _LATEST), 2)
        time.sleep(part * step.seconds)
        host = taken.choose(step)
        ground.cut_power(host)
        last = [line for line in read(ground.trail) if line["event"] == "start"][-1]
        return Loss(host, step.name, part, f"{last['play']}: {last['task']}")
    return None


def _wait(chain: Chain, done: Played) -> bool:
    """Whether a rerun was refused for a while only, in lines that a person can read."""
    said = " | ".join(done.errors())
    refusals = chain.losses[-1].refusals if chain.losses else []
    if not _WAIT.search(said) or "Traceback" in done.output or len(refusals) >= _MOST_REFUSALS or not chain.losses:
        return False
    refusals.append(said)
    time.sleep(10)
    return True


def _left(ground: Hosts, usual: set[str]) -> list[str]:
    """What only runs that lost a host leave."""
    until = time.monotonic() + _PATIENCE
    while (found := ground.left()) and time.monotonic() < until:
        time.sleep(1)
    return [f"left: {what}" for what in [*found, *sorted(ground.names() - usual)][:8]]
