# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The states that a trail comes to, the cases that are made of them, and how a page tells what was not run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.kills import results as kept_results
from tests.kills import table
from tests.kills.hosts.chain import Chain, Loss, Step, Taken, steps
from tests.kills.rehearsal import Rehearsal
from tests.kills.results import renumbered
from tests.kills.trail import boundaries, states


def line(number: int, action: str, ran: bool, at: float) -> list[str]:
    """What a task leaves in the trail."""
    start = {"event": "start", "number": number, "at": at, "play": "P", "task": f"t{number}", "action": action}
    end = {"event": "end", "number": number, "at": at + 0.5, "host": "h", "ran": ran, "changed": False}
    return [json.dumps(start), json.dumps(end)]


def rehearsal(folder: Path) -> Rehearsal:
    """Two modules with what the controller does by itself, a skipped one, and an assertion at the end."""
    trail = folder / "trail"
    lines = [
        *line(1, "assert", True, 1), *line(2, "command", True, 2), *line(3, "systemd_service", False, 3),
        *line(4, "verify", True, 4), *line(5, "assert", True, 5), '{"event": "sta',
    ]  # fmt: skip
    trail.write_text("\n".join(lines))
    run = boundaries(trail)
    return Rehearsal("backup", len(run), list(states(run)), set())


def test_where_nothing_runs_between_two_boundaries_there_is_one_state(tmp_path: Path) -> None:
    found = rehearsal(tmp_path)
    assert found.boundaries == 5
    assert [state.boundaries for state in found.states] == [[1, 2], [3, 4], [5]]
    assert [state.works for state in found.states] == [True, True, False]
    assert found.states[0].seconds == 0.5


def test_a_state_has_the_victims_that_live_in_it(tmp_path: Path) -> None:
    found = rehearsal(tmp_path)
    found.states[1].server = True
    names = [case.name for case in found.cases(1)]
    assert names == [
        "backup/controller/2", "backup/controller/4", "backup/controller/5", "backup/worker/2", "backup/worker/4",
        "backup/server/4",
    ]  # fmt: skip
    assert found.cases(1) == found.cases(1)
    assert found.cases(1) != found.cases(2)


def test_the_page_tells_what_was_not_run_and_what_did_not_converge(tmp_path: Path) -> None:
    found = rehearsal(tmp_path)
    first, second, last = found.states
    results = {
        "backup/worker/2": {"task": first.task, "misses": [], "refusals": ["wait"]},
        "backup/worker/4": {"task": second.task, "misses": ["lost"], "refusals": []},
        "backup/controller/5": {"task": "another one by now", "misses": [], "refusals": []},
    }
    assert table.cell(results, "backup", "worker", first) == "refused"
    assert table.cell(results, "backup", "worker", second) == "no"
    assert table.cell(results, "backup", "worker", last) == "–"
    assert table.cell(results, "backup", "controller", last) == ""
    assert table.cell(results, "backup", "server", first) == "–"


def trail_of_a_host(task: str, ended: bool, **end: object) -> list[dict[str, object]]:
    """A task on the host cuts1."""
    found: list[dict[str, object]] = [
        {"event": "start", "number": 1, "at": 1.0, "play": "P", "task": task, "action": "command"},
        {"event": "begin", "number": 1, "at": 1.0, "host": "cuts1"},
    ]
    if ended:
        found.append({"event": "end", "number": 1, "at": 3.0, "host": "cuts1", "on": "cuts1", "ran": True, **end})
    return found


def test_a_step_is_on_the_host_that_the_task_is_delegated_to() -> None:
    (step,) = steps(trail_of_a_host("one", True, on="cutsrepo"))
    assert (step.on, step.seconds) == ({"cuts1": "cutsrepo"}, 2.0)
    assert steps(trail_of_a_host("one", True, on="localhost")) == []
    assert steps(trail_of_a_host("one", True, ran=False)) == []


def test_a_host_is_taken_once_from_each_task_that_is_known_to_work_on_it() -> None:
    known = Step("P", "one", {"cuts1": "cutsrepo"}, 2.0)
    taken = Taken([known], 1)
    assert taken.choose(known) == "cutsrepo"
    assert taken.due(trail_of_a_host("one", False)) is known
    assert taken.due(trail_of_a_host("one", True)) is None
    taken.struck.add(known)
    assert taken.due(trail_of_a_host("one", False)) is None
    # What only a run behind a loss does is known from then on.
    assert taken.due(trail_of_a_host("two", False)) is None
    taken.learn(trail_of_a_host("two", True))
    assert taken.due(trail_of_a_host("two", False)) == Step("P", "two")


def test_a_later_part_of_a_chain_leaves_alone_what_an_earlier_one_has_shown() -> None:
    rehearsed = [Step("P", task, {"cuts1": "cuts1"}) for task in ("one", "two")]
    taken = Taken(rehearsed, 1, ["P: one", "P: three"])
    taken.learn(trail_of_a_host("three", True))
    due = {task: taken.due(trail_of_a_host(task, False)) for task in ("one", "two", "three")}
    assert due == {"one": None, "two": Step("P", "two"), "three": None}


def test_the_parts_of_a_chain_are_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(kept_results, "RESULTS", tmp_path / "results.json")
    assert kept_results.shown("backup") == frozenset()
    part = Chain("backup", 3, 2, [Loss("cuts1", "P: one", 0.5, "P: one")], [], 10.0)
    kept_results.keep_chain(part, goes_on=True)
    kept_results.keep_chain(replace(part, runs=3, losses=[Loss("cuts2", "P: two", 0.1, "P: two")]), goes_on=True)
    kept = kept_results.load()["chains"]["backup"]
    assert (kept["runs"], kept["seconds"], len(kept["losses"])) == (5, 20.0, 2)
    assert kept_results.shown("backup") == {"P: one", "P: two"}
    # After a miss it begins anew.
    kept_results.keep_chain(replace(part, misses=["lost"]), goes_on=True)
    assert kept_results.shown("backup") == frozenset()
    kept_results.keep_chain(part, goes_on=True)
    assert kept_results.load()["chains"]["backup"]["runs"] == 2


def test_a_result_stays_with_its_task_where_boundaries_move() -> None:
    results = {
        "restore/server/19": {"name": "restore/server/19", "task": "Stop", "day": "2026-01-01", "misses": ["old"]},
        "restore/server/21": {"name": "restore/server/21", "task": "Stop", "day": "2026-01-02", "misses": []},
        "restore/server/30": {"name": "restore/server/30", "task": "Gone", "day": "2026-01-02", "misses": []},
        "backup/server/19": {"name": "backup/server/19", "task": "Stop", "day": "2026-01-02", "misses": []},
    }
    moved = dict(renumbered(results, "restore", {"Stop": 22}))
    assert {name: result["misses"] for name, result in moved.items()} == {
        "restore/server/22": [], "backup/server/19": [],
    }  # fmt: skip
    assert moved["restore/server/22"]["name"] == "restore/server/22"
