# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was shown, kept from run to run and with the tree: all cases take longer than one machine is to be had for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from tests.kills.case import Result
from tests.kills.hosts.chain import Chain
from tests.kills.rehearsal import Rehearsal

RESULTS = Path(__file__).with_name("results.json")


def load() -> dict[str, Any]:
    """The states of each playbook, and the results by the names of the cases."""
    try:
        result: dict[str, Any] = json.loads(RESULTS.read_text())
        return result
    except FileNotFoundError:
        return {"playbooks": {}, "results": {}}


def keep(rehearsed: Rehearsal, result: Result | None = None) -> None:
    """Keep what a rehearsal told, and one more result."""
    kept = load()
    told = {"boundaries": rehearsed.boundaries, "states": [asdict(state) for state in rehearsed.states]}
    kept["playbooks"][rehearsed.playbook] = told
    numbers = {state.task: state.number for state in rehearsed.states}
    kept["results"] = dict(renumbered(kept["results"], rehearsed.playbook, numbers))
    if result:
        kept["results"][result.name] = {**asdict(result), "day": _today()}
    _write(kept)


def renumbered(results: dict[str, Any], playbook: str, numbers: dict[str, int]) -> Iterator[tuple[str, Any]]:
    """The results under the numbers that a playbook's tasks have now; those of tasks that are gone go, too.

    A task that comes or goes elsewhere moves all boundaries behind it. The task itself is still the same.
    """
    for name, result in sorted(results.items(), key=lambda item: str(item[1].get("day", ""))):
        of, victim, _number = name.split("/")
        if of != playbook:
            yield name, result
        elif result["task"] in numbers:
            now = f"{playbook}/{victim}/{numbers[result['task']]}"
            yield now, {**result, "name": now}


def keep_chain(chain: Chain, goes_on: bool = False) -> None:
    """Keep how a playbook's chain on the lab's hosts went; one that goes on is added to its earlier parts."""
    kept = load()
    new = {**asdict(chain), "day": _today()}
    before = kept.setdefault("chains", {}).get(chain.playbook) if goes_on else None
    if before and not before["misses"]:
        for total in ("losses", "runs", "seconds"):
            new[total] = before[total] + new[total]
    kept["chains"][chain.playbook] = new
    _write(kept)


def shown(playbook: str) -> frozenset[str]:
    """The tasks that the kept parts of a playbook's chain have struck, all of which ended well."""
    kept = load().get("chains", {}).get(playbook, {"misses": [], "losses": []})
    return frozenset() if kept["misses"] else frozenset(loss["task"] for loss in kept["losses"])


def _today() -> str:
    return date.today().isoformat()


def _write(kept: dict[str, Any]) -> None:
    RESULTS.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")


def known(rehearsed: Rehearsal) -> set[str]:
    """The cases that have converged here; one counts only while its state has the same task."""
    tasks = {str(state.number): state.task for state in rehearsed.states}
    found = set()
    for name, result in load()["results"].items():
        playbook, _victim, number = name.split("/")
        same = playbook == rehearsed.playbook and tasks.get(number) == result["task"]
        if same and not result["misses"]:
            found.add(name)
    return found
