# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All chains on one set of hosts, in the order of a cluster's life."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.kills.hosts import chain
from tests.kills.hosts.chain import Chain, Loss, Part, Step
from tests.kills.hosts.ground import Hosts
from tests.kills.hosts.operations import OPERATIONS, Operation
from tests.kills.trail import read


def chains(playbooks: list[str], seed: int, parts: Mapping[str, Part]) -> Iterator[str | Loss | Chain]:
    """Provision, fill and back up; rehearse each playbook, and play its chain. Says what is going on."""
    with tempfile.TemporaryDirectory(prefix="bdb-cuts-") as home, Hosts(Path(home)) as ground:
        if "provision" in playbooks:
            yield from _chain(OPERATIONS["provision"](ground), ground, seed, parts)
        # Also behind a chain that came to no good end.
        _must(ground, "provision")
        _must(ground, "evidence_key")
        ground.fill()
        _must(ground, "backup")
        for playbook in playbooks:
            if playbook != "provision":
                yield from _chain(OPERATIONS[playbook](ground), ground, seed, parts)


def _chain(
    operation: Operation, ground: Hosts, seed: int, parts: Mapping[str, Part]
) -> Iterator[str | Loss | Chain]:
    found = _rehearse(operation, ground)
    yield f"{operation.playbook}: {len(found)} tasks on a host, {sum(step.seconds for step in found):.0f} s"
    yield from chain.run(operation, ground, found, seed, parts[operation.playbook])


def _rehearse(operation: Operation, ground: Hosts) -> list[Step]:
    """Play it once without a loss. Raises SystemExit where it fails, or is judged wrongly, by itself."""
    operation.begin()
    try:
        _must(ground, operation.playbook, **operation.variables)
        found = chain.steps(read(ground.trail))
        misses = operation.misses()
    finally:
        operation.end()
    if misses:
        raise SystemExit(f"kills: {operation.playbook} is judged wrongly without a loss: {misses}")
    return found


def _must(ground: Hosts, playbook: str, **variables: object) -> None:
    done = ground.begin(playbook, **variables).end(900)
    if done.code:
        raise SystemExit(f"kills: {playbook} fails without a loss: {done.output[-3000:]}")
