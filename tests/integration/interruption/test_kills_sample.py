# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two cases of the kill matrix. `make kills` runs all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kills.case import run
from tests.kills.ground import Ground
from tests.kills.operations import OPERATIONS, Operation
from tests.kills.rehearsal import Rehearsal, rehearse

SEED = 20260101
SAMPLE = [
    ("restore_drill", "controller", "Restore the backup as an isolated copy"),
    ("restore_drill", "server", "Prove what came back"),
]
Rehearsed = dict[str, tuple[Operation, Rehearsal]]


@pytest.fixture(scope="module")
def rehearsed() -> Iterator[Rehearsed]:
    """The playbook, played once without a kill on an estate of its own."""
    ground = Ground()
    found = {}
    try:
        ground.up()
        for playbook in dict.fromkeys(playbook for playbook, _victim, _task in SAMPLE):
            operation = OPERATIONS[playbook](ground)
            found[playbook] = operation, rehearse(playbook, operation)
        yield found
    finally:
        ground.down()


@pytest.mark.parametrize(("playbook", "victim", "task"), SAMPLE)
def test_the_same_again_finishes_the_job(rehearsed: Rehearsed, playbook: str, victim: str, task: str) -> None:
    operation, rehearsal = rehearsed[playbook]
    fitting = [
        case for case in rehearsal.cases(SEED) if case.victim == victim and case.state.task.endswith(f": {task}")
    ]
    assert len(fitting) == 1
    result = run(fitting[0], operation, rehearsal.names)
    operation.reset(bool(result.misses))
    assert not result.misses
