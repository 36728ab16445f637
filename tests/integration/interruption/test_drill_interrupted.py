# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`restore_drill` whose controller, worker, or restored server is killed. Production's data is left nowhere."""

from __future__ import annotations

import json
import re
import shutil
import venv
from collections.abc import Iterator

import pytest
from estate import Estate
from estate_runs import await_, kill, parent
from expiry import expire
from holds import bin_dir, held

from tests.modules import programs

HALF = 'mkdir -p "$4" && /bin/cp -a "${3%.}base" "$4"'
SLEEP = [{"name": "slow", "database": "postgres", "query": "SELECT count(*) FROM pg_sleep(600)", "expected": "1"}]


@pytest.fixture(autouse=True)
def clean(estate: Estate) -> Iterator[None]:
    """The repository stays as it is, and nothing of the copy is left."""
    estate.start()
    before = estate.tree(estate.backups)
    yield
    estate.assert_clean()
    assert estate.tree(estate.backups) == before


def test_a_killed_controller_leaves_the_worker_and_the_next_drills_refuse_then_verify(estate: Estate) -> None:
    with held(estate, "cp", "repository/backup", HALF) as hold:
        # The next one waits for so long, then takes the copy for what it is.
        first = estate.begin(
            "restore_drill", db_bin_dir=bin_dir(estate), __restore_drill_hand_over_seconds=2, boringdb_progress="on"
        )
        worker = parent(hold.reached())
        told = re.compile(r"^restore orders \(drill\): data \d+%", re.MULTILINE)
        await_(lambda: told.search(first.log.read_text()), "a line of progress")
        first.kill()
        # Another drill is refused, names the holder, and leaves the other one's copy alone, also when it tears down.
        second = estate.play("restore_drill")
        assert second.code == 2
        assert f"{estate.copy} is in use by restore (pid {worker}, since " in second.told()
        assert "Traceback" not in second.output
        assert (estate.copy / "base").is_dir()
        assert estate.verdicts()[-1] == "error"
        hold.release()
    await_(lambda: estate.postmaster(estate.copy), "the copy that the worker finishes")
    await_(lambda: worker not in estate.processes(), "the worker's end")
    assert "verified" in estate.converge("restore_drill", "-vvv")
    assert estate.verdicts()[-1] == "verified"


def test_a_killed_worker_is_a_recorded_error_and_nothing_is_left(estate: Estate) -> None:
    with held(estate, "cp", "repository/backup", HALF) as hold:
        drill = estate.begin("restore_drill", db_bin_dir=bin_dir(estate))
        kill(parent(hold.reached()))
        done = drill.end()
    assert done.code == 2
    assert "Traceback" not in done.output
    assert "the worker on drill ended without a result (exit code 137: Killed)" in done.told()
    assert estate.verdicts()[-1] == "error"
    estate.assert_clean()


def test_a_host_that_runs_nothing_is_an_error_and_the_cause_is_the_first_one(estate: Estate) -> None:
    shut = estate.home / "python"
    shut.write_text("#!/bin/sh\n")
    inventory = estate.home / "shut.json"
    inventory.write_text(json.dumps({"all": {"hosts": {"drill": {"ansible_python_interpreter": str(shut)}}}}))
    done = estate.play("restore_drill", "-i", str(inventory), ansible_python_interpreter=None)
    for path in (shut, inventory):
        path.unlink()
    assert done.code == 2
    cause = "cause: the worker on drill ended without a result (exit code 126: "
    assert f"orders error rto=? rpo=? rows=? target=? {cause}" in done.told(), done.told()
    assert estate.verdicts()[-1] == "error"


def test_a_host_without_psycopg_is_refused_before_anything_is_recorded(estate: Estate) -> None:
    bare = estate.home / "bare"
    venv.create(bare, symlinks=True)
    inventory = estate.home / "bare.json"
    own = {"ansible_python_interpreter": str(bare / "bin/python")}
    inventory.write_text(json.dumps({"all": {"hosts": {"drill": own}}}))
    before = estate.verdicts()
    done = estate.play("restore_drill", "-i", str(inventory), ansible_python_interpreter=None)
    shutil.rmtree(bare)
    inventory.unlink()
    assert done.code == 2
    missing = f"refused: the Python library psycopg (version 3) is missing for {bare}/bin/python"
    assert f"{missing} (install the package python3-psycopg" in done.told(), done.told()
    assert estate.verdicts() == before


def test_a_drill_whose_account_is_not_in_the_backup_says_so(estate: Estate) -> None:
    done = estate.play("restore_drill", restore_drill_login_user="nobody_here")
    assert done.code == 2
    told = "recovery runs, but the copy lets nobody in as nobody_here: "
    assert f"cause: restore: {told}" in done.told(), done.told()
    assert "; set login_user (in a drill restore_drill_login_user)" in done.told()


def test_another_clusters_name_is_no_proof_of_it(estate: Estate) -> None:
    assert "verified" in estate.converge("restore_drill")
    # By hand, as where the source is not asked: the names are no groups, and the backups those of orders.
    own = {
        "restore_drill_tool": "native", "restore_drill_backup_path": str(estate.backups),
        "restore_drill_wal_path": str(estate.wal), "restore_drill_bin_dir": str(programs()),
        # Where the source is not asked, nobody can tell that it was idle since.
        "db_rpo_seconds": 86400,
    }  # fmt: skip
    done = estate.play("restore_drill", **{**own, "cluster": "mistyped"})
    assert done.code == 2
    told = "cause: cluster_known: this backup is of the cluster that the ledger knows as orders (correct the name"
    assert "mistyped failed rto=" in done.told() and told in done.told(), done.told()
    # Who says so is believed; and from then on the name stands for that cluster.
    digest = re.search(r"set restore_drill_system_digest to ([0-9a-f]{64})", done.told())
    assert digest
    named = {**own, "cluster": "renamed"}
    estate.converge("restore_drill", **named, restore_drill_system_digest=digest.group(1))
    estate.converge("restore_drill", **named)


def test_a_copy_whose_server_dies_is_recorded_and_kept_on_request(estate: Estate) -> None:
    drill = estate.begin("restore_drill", restore_drill_invariants=SLEEP, restore_drill_keep_failed=True)
    await_(lambda: estate.postmaster(estate.copy), "the copy's server", 60)
    await_(lambda: any("SELECT" in line for line in estate.backends(estate.copy)), "the slow invariant", 60)
    estate.kill_server(estate.copy)
    done = drill.end()
    assert done.code == 2
    assert "Traceback" not in done.output
    assert estate.verdicts()[-1] in ("error", "failed")
    assert (estate.copy / "PG_VERSION").exists()
    # It is kept until its time is over, also from the next drill, which would not keep one.
    second = estate.play("restore_drill")
    assert second.code == 2
    assert "holds a copy kept until" in second.told()
    assert (estate.copy / "PG_VERSION").exists()
    expire(estate)
