# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The trail that a run leaves: its task boundaries, and the states between them that a kill can tell apart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: They run on the controller and start no module: what is on a host is the same before and after them.
CONTROLLER = {
    "add_host", "assert", "debug", "fail", "group_by", "import_role", "import_tasks", "include_role", "include_tasks",
    "include_vars", "meta", "set_fact", "set_stats", "validate_argument_spec",
}  # fmt: skip


def following(trail: Path) -> dict[str, str]:
    """The environment of a run that leaves its trail in a file."""
    callbacks = Path(__file__).with_name("callback")
    own = {"ANSIBLE_CALLBACK_PLUGINS": str(callbacks), "ANSIBLE_CALLBACKS_ENABLED": "kills_trail"}
    return {**own, "KILLS_TRAIL": str(trail)}


def read(trail: Path) -> list[dict[str, Any]]:
    """Every line that is there by now; one that is being written is left for the next time."""
    if not trail.exists():
        return []
    text = trail.read_text()
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


@dataclass
class Boundary:
    """The start of one task."""

    number: int
    play: str
    task: str
    action: str
    began: float
    ended: float = 0.0
    ran: bool = False
    changed: bool = False

    @property
    def works(self) -> bool:
        """Whether a module ran on a host."""
        return self.ran and self.action not in CONTROLLER


@dataclass
class State:
    """Boundaries that a kill can't tell apart: the last one's task runs a module, those before it run nothing."""

    number: int
    task: str
    action: str
    seconds: float
    boundaries: list[int] = field(default_factory=list)
    #: Whether a server of the victim's lived when its task began.
    server: bool = False

    @property
    def works(self) -> bool:
        """Whether there is a worker to kill: not at a playbook's end, where the controller is by itself."""
        return self.action not in CONTROLLER


def boundaries(trail: Path) -> list[Boundary]:
    """The boundaries of a run, in their order."""
    found: dict[int, Boundary] = {}
    for line in read(trail):
        if line["event"] == "start":
            found[line["number"]] = Boundary(line["number"], line["play"], line["task"], line["action"], line["at"])
        elif line["event"] == "end" and line["number"] in found:
            it = found[line["number"]]
            it.ran, it.changed = it.ran or line["ran"], it.changed or line["changed"]
            it.ended = line["at"]
    return [found[number] for number in sorted(found)]


def states(run: list[Boundary]) -> Iterator[State]:
    """Group boundaries into states."""
    waiting: list[int] = []
    for one in run:
        waiting.append(one.number)
        if one.works or one is run[-1]:
            yield State(one.number, f"{one.play}: {one.task}", one.action, one.ended - one.began, waiting)
            waiting = []
