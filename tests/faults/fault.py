"""What a fault is, and what has to be true of the drill that meets it."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.faults.drill import Drill, drill
from tests.faults.ground import Ground, Variables

Inject = Callable[[Ground], Iterator[Variables]]


class NotHere(Exception):
    """This fault can't be shown on this machine; the text says why."""


@dataclass(frozen=True)
class Caught:
    """How a fault was met. `misses` is empty when everything was as it must be."""

    fault: str
    checks: list[str]
    verdict: str
    cause: str
    seconds: float
    misses: list[str]


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    :param inject: brings it about, yields the drill's variables that belong to it, and undoes it
    :param checks: exactly the required checks that must not pass; none where the drill's options are refused at once
    :param says: what the one line that tells the cause must match
    :param variables: the drill's variables, with the fault and without it
    :param leaves: whether files of the copy are left, because that is the fault
    """

    name: str
    what: str
    checks: frozenset[str]
    verdict: str
    says: str
    inject: Inject
    variables: Callable[[Ground], Variables]
    ground: str = "embedded"
    leaves: bool = False

    def prove(self, ground: Ground) -> Caught:
        """Inject it, drill, undo it, drill again."""
        begun = time.monotonic()
        common = self.variables(ground)
        met, misses = self.meet(ground, common)
        misses += [f"with the fault undone: {miss}" for miss in not_verified(drill(ground, common))]
        seconds = time.monotonic() - begun
        return Caught(self.name, sorted(met.wanting), met.verdict, met.cause, seconds, misses)

    def meet(self, ground: Ground, common: Variables) -> tuple[Drill, list[str]]:
        """Inject it, drill, undo it; returns the drill and what was not as it must be."""
        with contextlib.contextmanager(self.inject)(ground) as own:
            met = drill(ground, {**common, **own})
        return met, self._judge(met)

    def _judge(self, met: Drill) -> list[str]:
        misses = []
        if met.code == 0:
            misses.append("the playbook ended well")
        if met.verdict != self.verdict:
            misses.append(f"the verdict is {met.verdict}, expected {self.verdict}")
        if set(met.wanting) != self.checks:
            misses.append(f"the checks that did not pass are {sorted(met.wanting)}, expected {sorted(self.checks)}")
        if "\n" in met.cause or not re.search(self.says, met.cause):
            misses.append(f"the cause does not match {self.says!r}: {met.cause!r}")
        left = [thing for thing in met.left_behind if not (self.leaves and thing.startswith("/"))]
        return misses + [f"left behind: {thing}" for thing in left]


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
    del ground
    return {}


#: Every fault, in the order of its definition.
FAULTS: list[Any] = []


def fault(
    what: str,
    *checks: str,
    says: str,
    verdict: str = "failed",
    variables: Callable[[Ground], Variables] = in_field,
    leaves: bool = False,
    ground: str = "embedded",
) -> Callable[[Inject], Inject]:
    """Make a fault of a function that injects it, yields and undoes it; its name is the function's."""

    def register(inject: Inject) -> Inject:
        name = inject.__name__
        FAULTS.append(Fault(name, what, frozenset(checks), verdict, says, inject, variables, ground, leaves))
        return inject

    return register
