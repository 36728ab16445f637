# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`failover_drill` on a copy: production is not touched, nothing is left, and a killed drill is repeated."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from estate_runs import await_, kill
from failover_ground import Doomed

from tests.ports import free_ports


class Copied(Doomed):
    """A primary, db1, with its replica, and a backup."""

    members = ("db1", "db2")

    def given(self) -> dict[str, Any]:
        """A copy, on a machine that does other work."""
        return {
            "failover_drill_mode": "copy", "failover_drill_directory": str(self.home / "drilling"),
            "failover_drill_port": self.ports, "failover_drill_outage_seconds": 600, "failover_drill_lost_rows": 100,
        }  # fmt: skip

    def up(self) -> None:
        """With a backup."""
        self.ports = free_ports()
        super().up()
        # Of production's own, in the data directory and so in its backup: a copy that read it would find no primary.
        own = Path(self.server()["data_dir"], "conf.d/zz_mine.conf")
        self.run("sh", "-c", f"echo \"recovery_target_timeline = '1'\" > {own}")
        self.converge("backup")

    def left_of_copy(self) -> list[str]:
        """Files of it, or processes that work in it."""
        place = self.home / "failover_drill"
        files = [str(path) for path in place.rglob("*") if path.name not in {"run"} and path != place / "orders"]
        return files + [str(pid) for pid in self.processes_in(place)]


@pytest.fixture(scope="module")
def two() -> Iterator[Copied]:
    """Provisioned, and backed up."""
    with Copied.provisioned() as made:
        yield made


def told(two: Copied) -> tuple[Any, ...]:
    """What of production a drill of a copy must leave as it is."""
    started = [two.sql("SELECT pg_postmaster_start_time()", host) for host in two.members]
    roles = two.sql("SELECT string_agg(rolname, ',' ORDER BY 1) FROM pg_roles")
    return two.primary(), started, roles, two.slots("db1"), sorted(path.name for path in two.wal.rglob("*.history"))


def test_a_copy_is_drilled_and_production_left_alone(two: Copied) -> None:
    before = told(two)
    dry = two.done("failover_drill", "--check", "--diff")
    assert "planned: drill has no" in " ".join(dry.split())
    assert two.left_of_copy() == [] and two.records("failover_drill") == []
    output = " ".join(two.done("failover_drill").split())
    assert "failover_drill: orders verified mode=copy" in output
    assert told(two) == before
    assert two.left_of_copy() == []
    dry = two.done("failover_drill", "--check", "--diff")
    assert "planned: orders is restored from backup" in " ".join(dry.split()) and two.left_of_copy() == []
    [record] = two.records("failover_drill")
    assert record["verdict"] == "verified", record
    measured = record["measurements"]
    assert (measured["mode"], measured["copy_mode"], measured["copy_host"]) == ("copy", "kill", "drill")
    assert measured["stall_ms"] > 0 and measured["rows_acknowledged"] > 0 and measured["rto_seconds"] > 0
    assert [one.split()[0] for one in measured["primaries"].split("; ")] == ["copy1", "copy2", "copy1"]
    names = [one["name"] for one in record["checks"]]
    assert names[-7:] == ["failover", "rejoin", "back", "stall", "lost_rows", "roles_as_before", "teardown"]
    assert "isolation" in names
    # Production's own redundancy was not tried.
    assert record["controls"] == ["SOC2-A1.2", "SOC2-A1.3", "HIPAA-164.308(a)(7)"]
    # What the copy recorded of itself is no record of the cluster's.
    assert [len(two.records(word)) for word in ("failover", "rejoin", "switchover")] == [0, 0, 0]
    assert {path.name for path in (two.evidence / "ledger").iterdir() if path.is_dir()} == {"orders", "keys"}
    two.converged("db1")


def test_a_drill_that_is_killed_is_repeated_without_production(two: Copied) -> None:
    """Its controller dies while the copy's primary is dead; the members are down when it is given again."""
    running = two.begin("failover_drill", "-vvv", **two.given())
    copy = two.home / "failover_drill/orders"
    await_(lambda: two.postmaster(copy / "replicas/copy2/data"), "the copy's replica", 300)
    assert "a copy of orders is drilled already: it is process" in two.refuses("failover_drill")
    lines = two.processes().values()
    running.kill()
    told = two.refuses("failover_drill")
    assert "a copy of orders is drilled already: its controller is gone, and what it has started is not" in told
    for pid, line in two.processes().items():
        if "ansible" in line:
            kill(pid)
    # Its inventory, with passwords, is left on the controller until the next.
    [inventory] = Path(tempfile.gettempdir()).glob("boringdb-failover-drill-*/inventory.json")
    assert inventory.stat().st_mode & 0o077 == inventory.parent.stat().st_mode & 0o077 == 0
    common = json.loads(inventory.read_text())["all"]["children"]["orders_copy"]["vars"]
    password = common["failover_drill_login_password"]
    assert len(password) == 32 and password not in running.log.read_text() and not any(password in one for one in lines)
    for host in two.members:
        two.module("instance", state="stopped", **two.server(host))
    try:
        two.done("failover_drill", failover_drill_copy_mode="switchover")
    finally:
        two.start()
    assert two.left_of_copy() == [] and not inventory.parent.exists()
    record = two.records("failover_drill")[-1]
    assert record["verdict"] == "verified", record
    assert record["measurements"]["copy_mode"] == "switchover"
    names = [one["name"] for one in record["checks"]]
    assert names[-6:] == ["there", "back", "stall", "lost_rows", "roles_as_before", "teardown"]


def test_what_can_not_be_drilled_is_recorded_and_nothing_is_left(two: Copied) -> None:
    """The server refuses a setting; a port is refused before anything is begun."""
    assert "failover_drill_port 0 is none" in two.refuses("failover_drill", failover_drill_port=0)
    count = len(two.records("failover_drill"))
    said = two.refuses("failover_drill", failover_drill_settings={"work_mem": "much"})
    assert "provision of the copy failed:" in said and "work_mem" in said
    assert len(two.records("failover_drill")) == count + 1
    assert two.records("failover_drill")[-1]["verdict"] != "verified"
    assert two.left_of_copy() == []
