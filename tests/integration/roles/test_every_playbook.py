# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every playbook, and so every role: a dry run on nothing and on a converged cluster, and a second run.

A dry run changes nothing. On nothing it ends well or refuses in one line. What is declared is not changed twice; what
acts makes something new each time it is asked, and is only run dry here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from estate import REPO, Estate
from untouched import Untouched, one_line

#: Declared: a second run changes nothing.
DECLARES: dict[str, dict[str, Any]] = {
    "access": {"access_roles": [{"name": "passerby"}], "access_databases": [{"name": "lounge"}]},
    "config_drift": {},
    "evidence_key": {},
    "notification": {},
    "report": {},
    "restart": {},
    "rotate_password": {},
    "verify_evidence": {},
}
#: Acts each time.
ACTS: dict[str, dict[str, Any]] = {
    "backup": {},
    "decommission": {"decommission_host": "db2", "confirm": "orders"},
    "dump": {},
    "extract": {"extract_database": "postgres", "extract_table": "public.stock", "extract_dest": "/nowhere/stock.dump"},
    "failover": {"failover_candidate": "db1"},
    "failover_drill": {},
    "rejoin": {"rejoin_host": "db2"},
    "restore": {"confirm": "orders"},
    "restore_drill": {},
    "switchover": {"switchover_candidate": "db2"},
}
#: They write units, for which systemd is needed: tests/lab/schedule, tests/lab/patroni.
ON_HOSTS = {"patroni", "schedule"}
#: It declares in AWX: tests/integration/awx.
IN_AWX = {"awx"}
#: They have these three in files of their own: tests/integration/embedded/test_provision.py, test_pool_playbook.py,
#: tests/unit/evidence/test_evidence_ansible.py, test_evidence_witness.py, tests/unit/fleet/test_fleet_playbook.py.
OF_ITS_OWN = {"fleet", "follow_up", "pool", "provision", "witness_evidence"}
#: The others are as declared on a cluster that was provisioned, drilled and reported on.
NOT_YET_DECLARED = {"access", "notification", "report"}
#: These make no difference between a cluster that is there and one that is not.
OF_THE_CONTROLLER = {"evidence_key", "notification", "report", "verify_evidence"}
#: Where nothing is, nothing differs; and what an extraction would do is known once its place is made.
ENDS_WELL = {"config_drift": "", "extract": "planned: drill has no "}


@pytest.fixture(scope="module")
def nothing() -> Iterator[Estate]:
    """The ground with nothing on it."""
    made = Estate()
    try:
        yield made
    finally:
        made.down()


@pytest.fixture(scope="module")
def proven(estate: Estate) -> Estate:
    """The converged cluster, with a first record in its ledger."""
    estate.converge("restore_drill")
    return estate


def given(playbook: str, estate: Estate) -> dict[str, Any]:
    """The variables of a playbook."""
    own = {
        "failover_drill": {"failover_drill_directory": str(estate.home / "drilling")},
        "extract": {"extract_root": str(estate.home / "extract")},
        "dump": {"dump_path": str(estate.backups), "dump_prove_root": str(estate.home / "proof")},
    }
    return {**DECLARES, **ACTS}[playbook] | own.get(playbook, {})


def changed(output: str) -> set[int]:
    """How many tasks changed something, of each host."""
    recap = output[output.index("PLAY RECAP") :]
    return {int(count) for count in re.findall(r"^\w+ +: ok=\d+ +changed=(\d+)", recap, re.MULTILINE)}


def test_the_table_is_whole() -> None:
    playbooks = {path.stem: path.read_text() for path in (REPO / "playbooks").glob("*.yml")}
    assert {*DECLARES, *ACTS, *ON_HOSTS, *IN_AWX, *OF_ITS_OWN} == set(playbooks)
    text = "".join(playbooks.values())
    assert [role.name for role in (REPO / "roles").iterdir() if f"boringdb.ops.{role.name}\n" not in text] == []


@pytest.mark.parametrize("playbook", [*DECLARES, *ACTS])
def test_a_dry_run_on_nothing_leaves_nothing(nothing: Estate, playbook: str) -> None:
    done = nothing.play(playbook, "--check", "--diff", **given(playbook, nothing))
    assert list(Path(nothing.home).glob("[!.h]*")) == []
    assert list(nothing.evidence.glob("*")) == []
    if playbook in OF_THE_CONTROLLER:
        return
    errors = done.errors()
    if playbook in ENDS_WELL:
        assert (done.code, errors) == (0, [])
        assert ENDS_WELL[playbook] in done.told()
        return
    assert len(errors) == 1, done.output[-3000:]
    one_line(errors[0], "refused: ")


@pytest.mark.parametrize("playbook", [*DECLARES, *ACTS])
def test_a_dry_run_on_what_is_there_ends_well_and_changes_nothing(proven: Estate, playbook: str) -> None:
    if playbook in NOT_YET_DECLARED:
        proven.converge(playbook, **DECLARES[playbook])
    untouched = Untouched(proven)
    output = proven.converge(playbook, "--check", "--diff", **given(playbook, proven))
    untouched.check()
    if playbook in DECLARES:
        assert changed(output) == {0}, output[-3000:]


@pytest.mark.parametrize("playbook", DECLARES)
def test_a_second_run_changes_nothing(proven: Estate, playbook: str) -> None:
    if playbook in NOT_YET_DECLARED:
        proven.converge(playbook, **DECLARES[playbook])
    output = proven.converge(playbook, **DECLARES[playbook])
    assert changed(output) == {0}, output[-3000:]
