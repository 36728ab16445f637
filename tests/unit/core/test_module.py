# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which cell does a word, and what a module makes of what the cell answers."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Cells, Outcome, Params, resolve

from tests.modules import REPO, environment, options, result_of


def _cell(name: str) -> Any:
    def cell(params: Params, check_mode: bool) -> Outcome:
        del params, check_mode
        return Outcome(facts={"cell": name})

    return cell


CELLS: Cells = {"postgresql": _cell("postgresql"), "patroni": _cell("patroni")}


@pytest.mark.parametrize(
    ("engine", "manager", "expected"),
    [
        ("postgresql", None, "postgresql"),
        ("postgresql", "", "postgresql"),
        ("postgresql", "patroni", "patroni"),  # the manager's cell wins
        ("postgresql", "rds", "postgresql"),  # a manager without a cell of its own leaves it to the engine
    ],
)
def test_the_managers_cell_goes_before_the_engines(engine: str, manager: str | None, expected: str) -> None:
    assert resolve("switchover", CELLS, engine, manager)({}, False).facts["cell"] == expected


@pytest.mark.parametrize(
    ("engine", "manager", "message"),
    [
        ("mysql", None, "switchover: not available for mysql; available for patroni, postgresql"),
        ("mysql", "galera", "switchover: not available for mysql under galera; available for patroni, postgresql"),
    ],
)
def test_a_word_that_a_column_has_not_is_one_clear_error(engine: str, manager: str | None, message: str) -> None:
    with pytest.raises(OpsError) as caught:
        resolve("switchover", CELLS, engine, manager)
    assert str(caught.value) == message


_PROGRAM = """
import errno, sys
sys.path.insert(0, {collections!r})
import ansible.module_utils.basic as basic
basic._ANSIBLE_PROFILE = "legacy"
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Reason, Refused
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, run

def cell(params, check_mode):
    how = params["how"]
    if how == "refused":
        raise Refused([Reason("one", "mend it"), Reason("two")])
    if how == "error":
        raise OpsError("it broke", seed=7)
    if how == "disk":
        raise OSError(errno.ENOSPC, "No space left on device", "/srv/backup")
    same = how == "same"
    after = "before\\n" if same else "after\\n"
    return Outcome(not same, {{"check": check_mode}}, "before\\n", after, warnings=["look here"])

run("word", {{"postgresql": cell}}, {{"engine": {{"default": "postgresql"}}, "manager": {{}}, "how": {{}}}})
"""


def _answer(how: str, check: bool = False, fails: bool = False, **more: Any) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(collections=str(REPO / ".collections"))],
        input=options({"how": how, **more}, check), text=True, capture_output=True, env=environment(), check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode == (1 if fails else 0), done.stdout + done.stderr
    return result_of("word", done.stdout, fails)


def test_an_outcome_becomes_a_result_with_its_diff_and_warnings() -> None:
    result = _answer("changed", check=True)
    assert (result["changed"], result["check"], result["diff"]) == (
        True,
        True,
        {"before": "before\n", "after": "after\n"},
    )
    assert "look here" in json.dumps(result["warnings"])
    unchanged = _answer("same")
    assert unchanged["changed"] is False
    assert "diff" not in unchanged


def test_errors_become_failures_without_a_traceback() -> None:
    refused = _answer("refused", fails=True)
    assert refused["msg"] == "refused for 2 reasons: one (mend it); two"
    assert refused["reasons"] == [{"what": "one", "remedy": "mend it"}, {"what": "two", "remedy": ""}]
    assert refused["refused"] is True
    broken = _answer("error", fails=True)
    assert (broken["msg"], broken["seed"]) == ("it broke", 7)
    assert _answer("disk", fails=True)["msg"] == "word: No space left on device: /srv/backup"
    assert "not available for mysql" in _answer("changed", fails=True, engine="mysql")["msg"]
