# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A dump whose worker, controller or host dies half way, or the host that proves: the next run finishes the job."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.estate_runs import await_
from tests.lab.dump.ground import DUMPS, PRIMARY, PROOF, REPLICA, Ground
from tests.lab.interruption.runs import kill_controller

pytestmark = pytest.mark.lab

PARTIAL = ".partial"


@pytest.fixture(autouse=True)
def whole(ground: Ground) -> Iterator[None]:
    """Dumps that were there are untouched, and after the last run nothing half done is left."""
    before = ground.labels()
    yield
    assert set(before) <= set(ground.labels())
    assert ground.labels(PARTIAL) == []
    for host in (PRIMARY, REPLICA, PROOF):
        await_(lambda host=host: ground.left(host) == "", f"the end of what ran on {host}")  # type: ignore[misc]


def verified(ground: Ground, told: str) -> None:
    """The newest dump is proven and on record."""
    record = ground.record("wares")
    assert record["verdict"] == "verified", told
    assert record["measurements"]["dump_label"] == ground.labels()[-1]


def test_a_killed_worker_is_on_record_and_the_next_run_finishes_the_job(ground: Ground) -> None:
    running = ground.begin("dump", dump_keep=9)
    leader = ground.stop_in_dump(REPLICA)
    ground.on(REPLICA, f"kill -9 {ground.worker(REPLICA, leader)}")
    done = running.end(300)
    assert done.code == 2
    assert "Traceback" not in done.output
    await_(lambda: ground.left(REPLICA) == "", "the end of pg_dump and of the sessions")
    assert len(ground.labels(PARTIAL)) == 1, "there was nothing to clean up: the test proves nothing"
    record = ground.record("wares")
    assert record["verdict"] == "error"
    assert f"the worker on {REPLICA} ended without a result (exit code 137" in record["error"]
    told = ground.dump(dump_keep=9)
    assert "removed what a killed dump left: " in told
    verified(ground, told)


def test_a_killed_controller_leaves_a_worker_that_the_next_run_names(ground: Ground) -> None:
    before = ground.labels()
    running = ground.begin("dump", dump_keep=9)
    leader = ground.stop_in_dump(REPLICA)
    worker = ground.worker(REPLICA, leader)
    kill_controller(running)
    refused = ground.attempt("dump", "-e", "cluster=wares")
    assert f"{DUMPS} is in use by dump (pid {worker}, since " in " ".join(refused.stdout.split())
    elsewhere = ground.attempt("dump", "-e", "cluster=wares", "-e", "dump_from=primary")
    assert f"{DUMPS} is in use by a dump on {REPLICA} (pid {worker}, since " in " ".join(elsewhere.stdout.split())
    ground.on(REPLICA, "pkill -CONT -x pg_dump")
    told = ground.dump(dump_keep=9, dump_lock_timeout=60)
    # The one whose controller died was finished, and is whole though nobody has proven it.
    assert len(ground.labels()) == len(before) + 2
    verified(ground, told)


def test_a_power_cut_of_the_replica_is_on_record_and_the_primary_is_dumped_instead(ground: Ground) -> None:
    running = ground.begin("dump", dump_keep=9)
    ground.stop_in_dump(REPLICA)
    ground.lab("kill", REPLICA)
    try:
        done = running.end(300)
        assert done.code != 0
        assert "Traceback" not in done.output
        record = ground.record("wares")
        assert record["verdict"] == "error"
        assert REPLICA in record["error"]
        assert len(ground.labels(PARTIAL)) == 1
        # The file server holds the lock of a host that vanished until it has given it up.
        told = ground.dump(dump_keep=9, dump_lock_timeout=120)
        assert f"no replica of wares streams, so the primary {PRIMARY} is dumped" in told
        assert "removed what a killed dump left: " in told
        verified(ground, told)
    finally:
        ground.lab("start", REPLICA)
    streams = "SELECT string_agg(state, '') FROM pg_stat_replication"
    await_(lambda: ground.sql(PRIMARY, streams) == "streaming", "the replica that came back", 60)
    await_(lambda: "fuse" in ground.on(REPLICA, "findmnt -n -o FSTYPE /mnt/dumps", check=False), "its mount", 60)


def test_a_power_cut_of_the_host_that_proves_is_on_record_and_the_next_run_clears_it(ground: Ground) -> None:
    running = ground.begin("dump", dump_keep=9)
    ground.stop_in_load()
    ground.lab("kill", PROOF)
    try:
        done = running.end(300)
        assert done.code != 0
        assert "Traceback" not in done.output
        record = ground.record("wares")
        assert record["verdict"] == "error"
        assert record["measurements"]["dump_label"] == ground.labels()[-1]
    finally:
        ground.lab("start", PROOF)
    await_(lambda: "fuse" in ground.on(PROOF, "findmnt -n -o FSTYPE /mnt/dumps", check=False), "its mount", 60)
    assert ground.on(PROOF, "ls /var/lib/boringdb/dump/wares/data/PG_VERSION").strip()
    told = ground.dump(dump_keep=9)
    verified(ground, told)
    assert ground.on(PROOF, "ls -A /var/lib/boringdb/dump/wares").split() == ["run"]
