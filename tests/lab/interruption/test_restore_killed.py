# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A drill whose controller, worker, pgBackRest, restored server, repository or own host dies half way.

Production's data stays nowhere, and what is recorded is what was proven.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.integration.estate_runs import await_
from tests.lab.estate import ROOT
from tests.lab.interruption.ground import (
    COPY,
    DRILL,
    MARKER,
    REPOSITORY,
    Ground,
)
from tests.lab.interruption.runs import failed_in_one_line, kill_controller

pytestmark = pytest.mark.lab

_SLOW = {"name": "slow", "database": "postgres", "query": "SELECT count(*) FROM pg_sleep(600)", "expected": "1"}
# An answer is read with COPY.
_ASLEEP = "pgrep -c -f 'local\\] COP[Y]' -u postgres || true"


@pytest.fixture(scope="module", autouse=True)
def backed_up(ground: Ground) -> None:
    """A backup to restore."""
    if not ground.labels():
        ground.play("backup")


@pytest.fixture(autouse=True)
def clean(ground: Ground, backed_up: None) -> Iterator[None]:
    """Nothing is left on the drill host and on the repository's, which loses nothing."""
    before = ground.labels()
    yield
    ground.assert_clean(DRILL, REPOSITORY)
    assert ground.labels() == before


def test_a_killed_controller_leaves_the_worker_and_the_next_drills_refuse_then_verify(ground: Ground) -> None:
    with ground.inside_restore() as first:
        worker = ground.worker(DRILL, "restore")
        kill_controller(first)
        told = failed_in_one_line(ground.begin("restore_drill").end())
        assert f"{COPY} is in use by restore (pid {worker}, since " in told
        assert ground.last()["verdict"] == "error"
        assert "base" in ground.on(DRILL, f"ls {COPY}"), "the other one's copy was removed"
        ground.release(REPOSITORY, "restore")
        await_(lambda: "offered" in ground.on(DRILL, f"cat {MARKER}"), "the copy that the worker finishes", 600)
    # For half a minute the copy waits for the run that made it; of that, two seconds are left.
    shorten = "import json, sys, time; m = json.load(open(sys.argv[1])); m['offered']['until'] = time.time() + 2; "
    ground.on(DRILL, f"python3 -c \"{shorten}json.dump(m, open(sys.argv[1], 'w'))\" {MARKER}")
    assert "verified" in ground.play("restore_drill")
    assert ground.last()["verdict"] == "verified"


def test_a_killed_worker_is_a_recorded_error(ground: Ground) -> None:
    with ground.inside_restore() as drill:
        ground.kill(DRILL, ground.worker(DRILL, "restore"))
        told = failed_in_one_line(drill.end())
        ground.assert_clean(DRILL)
    assert f"the worker on {DRILL} ended without a result (exit code 137" in told
    assert ground.last()["verdict"] == "error"


def test_a_killed_pgbackrest_is_recorded_with_its_end(ground: Ground) -> None:
    with ground.inside_restore() as drill:
        ground.kill(DRILL, ground.tool(DRILL, "restore"))
        told = failed_in_one_line(drill.end())
        ground.assert_clean(DRILL)
    assert "pgbackrest restore of stanza kill was killed by SIGKILL" in told
    assert ground.last()["verdict"] == "failed"


def test_a_restored_server_that_dies_is_no_verified_copy(ground: Ground) -> None:
    drill = ground.begin("restore_drill", "-e", json.dumps({"restore_drill_invariants": [_SLOW]}))
    await_(lambda: int(ground.on(DRILL, _ASLEEP)) > 0, "the slow invariant", 600)
    ground.kill_servers(DRILL, COPY)
    failed_in_one_line(drill.end())
    record = ground.last()
    assert record["verdict"] in ("error", "failed")
    assert [check["status"] for check in record["checks"] if check["name"] == "teardown"] == ["passed"]


def test_a_repository_that_is_cut_off_is_told_as_that(ground: Ground) -> None:
    with ground.inside_restore() as drill:
        ground.lab("cut", REPOSITORY, "--from", DRILL)
        told = failed_in_one_line(drill.end())
        ground.lab("heal", REPOSITORY)
    # The far end, which may not have heard of it, waits for its next command for half an hour and holds nothing.
    ground.assert_clean(DRILL)
    far = ground.left(REPOSITORY)
    assert all("restore:remote" in what for what in far), far
    ground.on(REPOSITORY, "pkill -f 'restore:remot[e]' || true")
    assert "the repository can't be reached: " in told
    assert ground.last()["verdict"] == "failed"


def test_a_power_cut_of_the_drill_host_is_a_recorded_error_and_the_next_drill_cleans_up(ground: Ground) -> None:
    with ground.inside_restore() as drill:
        ground.lab("kill", DRILL)
        failed_in_one_line(drill.end())
    ground.lab("start", DRILL)
    record = ground.last()
    assert record["verdict"] == "error"
    # Nobody could look, so nobody says that nothing is left.
    assert [check["status"] for check in record["checks"] if check["name"] == "teardown"] == ["skipped"]
    assert "base" in ground.on(DRILL, f"ls {COPY}"), "nothing was left: the test proves nothing"
    # What the page of the drill says a host can do to keep nothing over a reboot, tried on a twin of what is left.
    ground.on(DRILL, "cp -a /var/lib/boringdb/drill /var/lib/boringdb/twin")
    entry = "R! /var/lib/boringdb/twin/*/data*"
    ground.on(DRILL, f"echo '{entry}' > /tmp/twin.conf; systemd-tmpfiles --boot --remove /tmp/twin.conf")
    assert "data" not in ground.on(DRILL, "find /var/lib/boringdb/twin; rm -r /var/lib/boringdb/twin")
    assert "verified" in ground.play("restore_drill")


def test_the_chain_of_all_these_records_is_whole(ground: Ground) -> None:
    said = ground.play("verify_evidence")
    key = ["--key", str(ground.home / "key.pub.pem")]
    argv = [sys.executable, "tools/audit_evidence.py", str(ground.home / "ledger"), *key]
    audit = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert audit.returncode == 0, audit.stdout + audit.stderr
    records = list((ground.home / "ledger/kill").glob("*.dsse.json"))
    # The drill whose controller was killed is the only one without a record.
    assert f"kill: {len(records)} records, all signatures good" in said, said
