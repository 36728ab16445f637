# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`restore` of a whole cluster in its own place, killed at its steps, undone, and without losing unarchived rows.

The tests follow each other, as a bad week of an operator does.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from estate import Estate
from estate_runs import await_, kill, parent
from holds import bin_dir, held

from tests.modules import OWNER, ROOT

HALF = 'mkdir -p "$4" && /bin/cp -a "${3%.}base" "$4"'
NOW = "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US+00')"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Estate]:
    """A cluster of its own: what is restored here gets new timelines."""
    made = Estate()
    try:
        made.up()
        yield made
    finally:
        made.down()


class Target:
    """A moment between two rows, and the options of the module that go there."""

    def __init__(self, cluster: Estate, number: int) -> None:
        cluster.sql(f"INSERT INTO stock VALUES ({number}, 'before')")
        self.time = cluster.sql(NOW)
        cluster.sql(f"INSERT INTO stock VALUES ({number + 1}, 'after')")
        self.number = number
        self.options = {"target_type": "time", "target": self.time, "timeout": 60}
        self.variables = {"restore_target_type": "time", "restore_target": self.time, "confirm": "orders"}

    def step(self, cluster: Estate, state: str, fails: bool = False, **more: Any) -> dict[str, Any]:
        """One step of the module on db1."""
        return cluster.module("restore_in_place", fails, **self.given(cluster, state, **more))

    def given(self, cluster: Estate, state: str, **more: Any) -> dict[str, Any]:
        """Its options."""
        return {**cluster.server(), **cluster.repository(), **self.options, "state": state, **more}


def changed(output: str) -> dict[str, int]:
    """How many tasks changed something, by host."""
    recap = output[output.index("PLAY RECAP") :]
    return {host: int(count) for host, count in re.findall(r"^(\w+) +: ok=\d+ +changed=(\d+)", recap, re.MULTILINE)}


def last(cluster: Estate, host: str = "db1") -> str:
    """The newest row."""
    return cluster.sql("SELECT max(id) FROM stock", host)


def streams(cluster: Estate) -> None:
    """The replica follows the primary, row by row."""
    query = "SELECT application_name FROM pg_stat_replication WHERE state = 'streaming'"
    await_(lambda: cluster.sql(query) == "db2", "the replica")
    await_(lambda: last(cluster, "db2") == last(cluster), "the same rows")


def newest(cluster: Estate) -> int:
    """The newest timeline that the archive knows."""
    return max([1, *(int(path.name[:8], 16) for path in cluster.wal.glob("*.history"))])


def beside(cluster: Estate, host: str = "db1") -> set[str]:
    """What lies beside a data directory, without the stamps."""
    names = (path.name for path in (cluster.home / host).iterdir())
    return {re.sub(r"-\d{8}T\d{6}Z", "", name) for name in names if name.startswith("data.")}


def test_it_is_refused_with_every_reason_and_nothing_is_touched(cluster: Estate) -> None:
    places = [cluster.home / host / "data" / "postmaster.pid" for host in ("db1", "db2")]
    before, archived = cluster.tree(*places, cluster.backups), cluster.tree(cluster.wal)
    done = cluster.play(
        "restore", restore_target_type="time", restore_target="2020-01-01 00:00:00+00", restore_lost=["db9"]
    )
    assert done.code != 0
    told = done.told()
    wanted = ("-e confirm=orders", "db9 in restore_lost is no member", "outside the window", "nothing was changed")
    assert [reason for reason in wanted if reason not in told] == []
    assert cluster.tree(*places, cluster.backups) == before
    # The primary goes on archiving.
    assert set(archived) <= set(cluster.tree(cluster.wal))
    assert beside(cluster) == {"data.log"}


def test_steps_that_are_killed_are_finished_by_doing_them_again(cluster: Estate) -> None:
    # Made after the backup, on the primary alone, as recovery will do again.
    cluster.module("instance", state="stopped", **cluster.server("db2"))
    cluster.run("mkdir", "-p", str(cluster.home / "spaces/late"))
    cluster.sql(f"CREATE TABLESPACE late LOCATION '{cluster.home}/spaces/late'")
    cluster.sql("CREATE TABLE lately TABLESPACE late AS SELECT generate_series(1, 1000) AS id")
    target = Target(cluster, 100001)
    cluster.sql("UPDATE lately SET id = -id")
    line = newest(cluster) + 1
    refused = target.step(cluster, "recovered", fails=True)
    assert "is running; stop it first" in refused["msg"]
    cluster.module("instance", state="stopped", **cluster.server())
    holding = {"bin_dir": bin_dir(cluster)}
    # The worker, while it lays the backup down: its tool goes with it.
    with held(cluster, "cp", "repository/backup", HALF) as hold:
        running = cluster.begin_module("restore_in_place", **target.given(cluster, "recovered"))
        tool = hold.reached()
        kill(parent(tool))
        running.popen.wait()
        await_(lambda: tool not in cluster.processes(), "the end of cp")
    assert (cluster.home / "db1/data.restoring/base").is_dir(), "nothing was begun: the test proves nothing"
    # The new server, in the middle of its recovery.
    with held(cluster, "cp", "000000010000", "echo x") as hold:
        running = cluster.begin_module("restore_in_place", **target.given(cluster, "recovered"))
        hold.reached()
        cluster.kill_server(cluster.home / "db1/data.restoring")
        assert "recovery did not reach its target" in running.result(fails=True)["msg"]
    # Another target is not mixed up with it.
    other = target.step(cluster, "recovered", fails=True, target="2030-01-01 00:00:00+00")
    assert "an unfinished restore to time" in other["msg"]
    done = target.step(cluster, "recovered", lock_timeout=10)
    assert (done["changed"], done["reached"]["timeline"], done["phase"]) == (True, line, "recovered")
    # The new server dies behind recovery: what was reached is known all the same.
    cluster.kill_server(cluster.home / "db1/data.restoring")
    again = target.step(cluster, "recovered")
    assert (again["changed"], again["reached"]) == (False, done["reached"])
    # The worker, when production's configuration is in place and the directories are not exchanged yet.
    with held(cluster, "initdb", "--sync-only") as hold:
        running = cluster.begin_module("restore_in_place", **target.given(cluster, "replaced", **holding))
        kill(parent(hold.reached()))
        running.popen.wait()
    assert target.step(cluster, "recovered")["phase"] == "replacing"
    assert target.step(cluster, "replaced", lock_timeout=10)["changed"] is True
    assert target.step(cluster, "replaced")["changed"] is False
    cluster.module("instance", state="started", **cluster.server())
    assert last(cluster) == "100001"
    assert cluster.sql("SELECT min(id), max(id) FROM lately") == "1|1000"
    opened = target.step(cluster, "opened")
    assert {check["name"]: check["status"] for check in opened["checks"]}["archiving"] == "passed"
    assert opened["slots_made"] == ["db2"]
    assert target.step(cluster, "finished")["phase"] == "finished"
    assert target.step(cluster, "recovered")["changed"] is False


def test_its_way_back_is_finished_by_doing_it_again(cluster: Estate) -> None:
    target = Target(cluster, 110001)
    line = newest(cluster) + 1
    cluster.module("instance", state="stopped", **cluster.server())
    with held(cluster, "cp", "repository/wal") as hold:
        running = cluster.begin_module("restore_in_place", **target.given(cluster, "undone"))
        hold.reached()
        running.kill()
        cluster.kill_server(cluster.home / "db1/data")
    assert target.step(cluster, "undone", lock_timeout=10)["undone"] is True
    assert target.step(cluster, "undone")["undone"] is False
    cluster.start()
    assert last(cluster) == "100002"
    # Recovery did not write into the old data's tablespace.
    assert cluster.sql("SELECT min(id), max(id) FROM lately") == "-1000|-1"
    cluster.sql("DROP TABLE lately")
    cluster.sql("DROP TABLESPACE late")
    assert cluster.sql("SELECT timeline_id FROM pg_control_checkpoint()") == str(line)
    streams(cluster)
    assert beside(cluster) == {"data.log", "data.recovery.log", "data.undone", "data.undone.json"}


def test_a_killed_controller_is_continued_by_the_next_run(cluster: Estate) -> None:
    target = Target(cluster, 120001)
    # Declared after the backup: it must be there afterwards all the same.
    later = {**cluster.server(), "file": "later", "settings": {"work_mem": "7MB"}}
    cluster.module("config", **later)
    cluster.sql("SELECT pg_create_physical_replication_slot('elsewhere')")
    with held(cluster, "cp", "repository/backup", HALF) as hold:
        first = cluster.begin("restore", db_bin_dir=bin_dir(cluster), **target.variables)
        # A playbook has some way to go until there, on a busy machine.
        await_(hold.at.exists, "the backup being laid down", 120)
        worker = parent(hold.reached())
        first.kill()
        second = cluster.play("restore", **target.variables)
        assert second.code != 0
        assert f"is in use by restore (pid {worker}, since " in second.told()
        hold.release()
    await_(lambda: worker not in cluster.processes(), "the worker's end", 60)
    said = cluster.converge("restore", **target.variables)
    assert f"orders verified timeline={newest(cluster)}" in " ".join(said.split())
    assert (last(cluster), cluster.sql("SHOW work_mem")) == ("120001", "7MB")
    assert "elsewhere" in cluster.sql("SELECT slot_name FROM pg_replication_slots")
    streams(cluster)
    assert cluster.verdicts()[-1] == "verified"
    cluster.sql("SELECT pg_drop_replication_slot('elsewhere')")


def test_the_same_again_changes_nothing(cluster: Estate) -> None:
    note = json.loads((cluster.home / "db1/data.in_place.json").read_text())
    variables = {"restore_target_type": "time", "restore_target": note["request"]["target"], "confirm": "orders"}
    cluster.sql("INSERT INTO stock VALUES (130001, 'written since')")
    verdicts = cluster.verdicts()
    done = cluster.converge("restore", **variables)
    assert "was restored to this target already" in " ".join(done.split())
    assert set(changed(done).values()) == {0}, done
    assert last(cluster) == "130001"
    assert cluster.verdicts() == verdicts


def test_latest_loses_no_row_that_the_archive_never_got(cluster: Estate) -> None:
    # The archive fails; the primary goes on for two segments, and dies.
    cluster.wal.chmod(0o500)
    if ROOT:
        shutil.chown(cluster.wal, "root")
    cluster.sql("INSERT INTO stock SELECT n, repeat(md5(n::text), 8) FROM generate_series(200001, 280000) n")
    cluster.sql("INSERT INTO stock VALUES (300000, 'the last one')")
    rows = cluster.sql("SELECT count(*) FROM stock")
    cluster.kill_server(cluster.home / "db1/data")
    cluster.wal.chmod(0o700)
    if ROOT:
        shutil.chown(cluster.wal, OWNER)
    dry = cluster.converge("restore", "--check", confirm="orders")
    assert "restore: orders to latest" in " ".join(dry.split())
    assert beside(cluster, "db2") >= {"data.before"}
    cluster.converge("restore", confirm="orders")
    assert (cluster.sql("SELECT count(*) FROM stock"), last(cluster)) == (rows, "300000")
    streams(cluster)
    note = json.loads((cluster.home / "db1/data.in_place.json").read_text())
    assert note["facts"]["wal_archived"] and note["facts"]["wal_beside"]
    # What was salvaged is in the archive, so that any later restore finds it.
    assert set(note["facts"]["wal_archived"]) <= {path.name for path in Path(cluster.wal).iterdir()}


def test_a_stranger_in_the_archive_stops_it_before_anything_is_replaced(cluster: Estate) -> None:
    target = Target(cluster, 400001)
    for host in ("db1", "db2"):
        cluster.module("instance", state="stopped", **cluster.server(host))
    target.step(cluster, "recovered")
    # A host that is booted starts its server, which archives: that is no stranger.
    cluster.module("instance", state="started", **cluster.server())
    kept = set(cluster.wal.iterdir())
    cluster.sql("SELECT pg_switch_wal()")
    await_(lambda: set(cluster.wal.iterdir()) - kept, "a segment")
    cluster.module("instance", state="stopped", **cluster.server())
    told = [cluster.module("instance_info", **cluster.server(host))["instance"] for host in ("db1", "db2")]
    primary = next(one for one in told if one["role"] == "primary")
    positions = [{"lsn": primary["lsn"], "timeline": primary["timeline"], "clean": True}]
    strange = cluster.wal / "00000009.history"
    strange.write_text("1\t0/5000000\tno recovery target specified\n")
    try:
        told = target.step(cluster, "recovered", True, positions=positions)["msg"]
        assert "the archive holds 00000009.history" in told
        # How far it had written is not known: what is not in its own files stays a stranger's.
        assert target.step(cluster, "recovered")["changed"] is False
        refused = target.step(cluster, "replaced", fails=True)
        assert "the archive got 00000009.history while every known server was stopped" in refused["msg"]
    finally:
        strange.unlink()
    # It is given up: the old data was never touched.
    cluster.converge("restore", restore_state="undone", confirm="orders")
    assert not (cluster.home / "db1/data.restoring").exists()
    assert last(cluster) == "400002"
    streams(cluster)
    # Once more, as after a kill at its very end: what it stopped is started, and nothing else is done.
    cluster.module("instance", state="stopped", **cluster.server("db2"))
    assert changed(cluster.converge("restore", restore_state="undone", confirm="orders")) == {"db1": 0, "db2": 1}
    streams(cluster)
    assert not (cluster.home / "db1/data.in_place.json").exists()
