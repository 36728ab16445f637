"""What a fault is, and what has to be true of the drill that meets it."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

from tests.faults.drill import Drill, drill
from tests.faults.ground import Ground
from tests.faults.supplies import Variables

Inject = Callable[[Ground], Iterator[Variables]]
#: Takes the drill, and returns what was not as it must be.
Lure = Callable[[Ground], Generator[Variables, Drill, list[str]]]


@dataclass(frozen=True)
class Caught:
    """How a fault was met on one ground. `misses` is empty when everything was as it must be."""

    fault: str
    ground: str
    checks: list[str]
    verdict: str
    cause: str
    seconds: float
    misses: list[str]


@dataclass(frozen=True)
class Signs:
    """What a fault has to show as.

    :param says: what the one line that tells the cause must match
    :param checks: exactly the required checks that must not pass; none where the drill's options are refused at once
    """

    says: str
    checks: frozenset[str]
    verdict: str = "failed"


def signs(says: str, *checks: str, verdict: str = "failed") -> Signs:
    """How a fault shows on a ground where it does not show as elsewhere."""
    return Signs(says, frozenset(checks), verdict)


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    :param signs: what it has to show as, for each ground that shows it
    :param inject: brings it about, yields the drill's variables that belong to it, and undoes it
    :param variables: the drill's variables, with the fault and without it
    :param leaves: whether files of the copy are left, because that is the fault
    """

    name: str
    what: str
    signs: dict[str, Signs]
    inject: Inject
    variables: Callable[[Ground], Variables]
    leaves: bool = False

    @property
    def grounds(self) -> tuple[str, ...]:
        """Where it is shown."""
        return tuple(self.signs)

    def prove(self, ground: Ground) -> Caught:
        """Inject it, drill and undo it; then drill again, where the ground does not leave that to `undone`."""
        begun = time.monotonic()
        common = self.variables(ground)
        met, misses = self.meet(ground, common)
        if not ground.shares_the_proof:
            misses += not_undone(ground, common)
        seconds = time.monotonic() - begun
        return Caught(self.name, ground.name, sorted(met.wanting), met.verdict, met.cause, seconds, misses)

    def meet(self, ground: Ground, common: Variables) -> tuple[Drill, list[str]]:
        """Inject it, drill, undo it; returns the drill and what was not as it must be."""
        with contextlib.contextmanager(self.inject)(ground) as own:
            met = drill(ground, {**common, **own})
        return met, self._judge(met, self.signs[ground.name])

    def _judge(self, met: Drill, expected: Signs) -> list[str]:
        misses = []
        if met.code == 0:
            misses.append("the playbook ended well")
        if met.verdict != expected.verdict:
            misses.append(f"the verdict is {met.verdict}, expected {expected.verdict}")
        if set(met.wanting) != expected.checks:
            wanted = sorted(expected.checks)
            misses.append(f"the checks that did not pass are {sorted(met.wanting)}, expected {wanted}")
        if "\n" in met.cause or not re.search(expected.says, met.cause):
            misses.append(f"the cause does not match {expected.says!r}: {met.cause!r}")
        left = [thing for thing in met.left_behind if not (self.leaves and thing.startswith("/"))]
        return misses + [f"left behind: {thing}" for thing in left]


@dataclass(frozen=True)
class Trap:
    """Something that a drill must not fall into: it has to verify.

    :param check: the check that is about it, and that has to pass
    """

    name: str
    what: str
    check: str
    lure: Lure
    grounds: tuple[str, ...]

    def prove(self, ground: Ground) -> Caught:
        """Set it, drill, look whether it has snapped, and take it away."""
        begun = time.monotonic()
        lure = self.lure(ground)
        met = drill(ground, {**ground.live_variables(), **next(lure)})
        misses = not_verified(met)
        try:
            lure.send(met)
        except StopIteration as end:
            misses += end.value
        passed = [check["name"] for check in met.predicate["checks"] if check["status"] == "passed"]
        if self.check not in passed:
            misses.append(f"{self.check} did not pass")
        seconds = time.monotonic() - begun
        return Caught(self.name, ground.name, [self.check], met.verdict, met.cause, seconds, misses)


def not_undone(ground: Ground, variables: Variables) -> list[str]:
    """What a drill shows with every fault undone."""
    return [f"with the fault undone: {miss}" for miss in not_verified(drill(ground, variables))]


def not_verified(met: Drill) -> list[str]:
    """What is wrong with a drill that nothing was wrong for."""
    misses = [f"left behind: {thing}" for thing in met.left_behind]
    if met.code or met.verdict != "verified":
        misses.append(f"verdict {met.verdict}, {sorted(met.wanting)}: {met.cause}")
    return misses


def in_field(ground: Ground) -> Variables:
    """For faults that damage a copy of the repository."""
    return ground.field_variables()


def in_live(ground: Ground) -> Variables:
    """For faults of the source: the drill uses the repository that the source writes to."""
    return ground.live_variables()


#: Every fault, in the order of its definition.
FAULTS: list[Any] = []


def fault(
    what: str,
    *checks: str,
    says: str,
    verdict: str = "failed",
    variables: Callable[[Ground], Variables] = in_field,
    leaves: bool = False,
    ground: str = "",
    lab: Signs | None = None,
) -> Callable[[Inject], Inject]:
    """Make a fault of a function that injects it, yields and undoes it; its name is the function's.

    It is shown on both grounds, or on the one that is named; `lab` says what it shows as there, where that differs.
    """
    own = Signs(says, frozenset(checks), verdict)
    shown = {ground: own} if ground else {"embedded": own, "lab": lab or own}

    def register(inject: Inject) -> Inject:
        FAULTS.append(Fault(inject.__name__, what, shown, inject, variables, leaves))
        return inject

    return register


def trap(what: str, check: str, ground: str = "lab") -> Callable[[Lure], Lure]:
    """Make a trap of a function that sets it, yields the drill's variables, judges the drill and takes it away."""

    def register(lure: Lure) -> Lure:
        FAULTS.append(Trap(lure.__name__, what, check, lure, (ground,)))
        return lure

    return register
