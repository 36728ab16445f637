# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks over four servers: a cascade, a quorum, a member out of the repository, and members that leave."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from estate import REPO, Estate
from estate_runs import await_, kill, parent
from holds import bin_dir, held
from test_provision import changed

from tests.modules import OWNER, ROOT

#: The shipped inventory with the members, and what is said of each, that the test wants.
_MEMBERS = """#!/usr/bin/env python3
import json, pathlib, subprocess
members = json.loads((pathlib.Path(__file__).parent / ".members").read_text())
shown = json.loads(subprocess.run([{hosts!r}], stdout=subprocess.PIPE, check=True).stdout)
port = shown["_meta"]["hostvars"]["db1"]["db_port"]
shown["orders"]["hosts"] = list(members)
for name, own in members.items():
    shown["_meta"]["hostvars"][name] = {{"db_port": port + int(name[-1]) - 1, **own}}
print(json.dumps(shown))
"""


class Four(Estate):
    """Up to four members, as a test declares them."""

    members = ("db1", "db2", "db3", "db4")

    def declare(self, **members: dict[str, Any]) -> None:
        """Say which members there are."""
        if self.inventory == REPO / "inventories/local":
            self.inventory = self.logs / "inventory"
            self.inventory.mkdir()
            (self.inventory / "hosts").write_text(_MEMBERS.format(hosts=str(REPO / "inventories/local/hosts")))
            (self.inventory / "hosts").chmod(0o755)
            (self.inventory / "group_vars").symlink_to(REPO / "inventories/local/group_vars")
        (self.inventory / ".members").write_text(json.dumps(members))
        (self.inventory / ".members").chmod(0o644)

    def facts(self, host: str) -> dict[str, Any]:
        """What `instance_info` says of a member."""
        found: dict[str, Any] = self.module("instance_info", **self.server(host))["instance"]
        return found

    def slots(self, host: str) -> list[str]:
        """The slots on a member."""
        return self.sql("SELECT slot_name FROM pg_replication_slots ORDER BY 1", host).split()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Four]:
    """The ground with nothing on it. The tests below follow each other, as an operator's days do."""
    made = Four()
    try:
        yield made
    finally:
        made.down()


def drop_slot(cluster: Four) -> list[str]:
    """Drop the slot of a replica that streams, as far as that works in this moment; returns the slots that are left."""
    cluster.sql("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active")
    cluster.sql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active")
    return cluster.slots("db1")


def changes(output: str) -> list[str]:
    """The tasks that changed something, each with its host."""
    found, task = [], ""
    for line in output.splitlines():
        task = line.partition("[")[2].partition("]")[0] if line.startswith("TASK [") else task
        if line.startswith("changed: "):
            found.append(f"{task} {line.partition('[')[2].partition(']')[0]}")
    return found


QUORUM = {"replica_synchronous": {"number": 1}}
THREE: dict[str, dict[str, Any]] = {
    # The one that follows comes first in the inventory, and is cloned last.
    "db3": {"replica_upstream": "db2", "replica_source": "repository"}, "db1": {}, "db2": {},
}  # fmt: skip


def test_a_chain_that_leads_nowhere_is_refused(cluster: Four) -> None:
    cluster.declare(db1={}, db2={"replica_upstream": "db3"}, db3={"replica_upstream": "db2", "replica_slot": "db2"})
    told = sorted(error.strip("'") for error in cluster.play("provision", **QUORUM).errors())
    assert "replica_synchronous asks for 1 replicas, and commits may wait for 0 (add members" in told[0]
    assert [error[:60] for error in told[1:]] == [
        f"refused: {host}: its chain of upstreams does not end at the primar"[:60] for host in ("db2", "db3")
    ]
    assert all("its slot db2 is also that of" in error for error in told[1:])
    assert not (cluster.home / "db1").exists()


def test_a_cascade_out_of_the_repository_a_quorum_and_a_slot_that_vanished(cluster: Four) -> None:
    cluster.declare(db1={}, db2={})
    cluster.converge("provision", **QUORUM)
    assert cluster.sql("SHOW synchronous_standby_names") == 'ANY 1 ("db2")'
    cluster.sql("CREATE TABLE kept AS SELECT 1 AS a")
    cluster.converge("backup")
    cluster.sql("INSERT INTO kept VALUES (2)")
    await_(lambda: not drop_slot(cluster), "the slot's end")
    cluster.declare(**THREE)
    output = cluster.converge("provision", **QUORUM)
    assert [one for one in changes(output) if "Have its slot" in one]
    assert (cluster.slots("db1"), cluster.slots("db2"), cluster.slots("db3")) == (["db2"], ["db3"], [])
    assert [one["name"] for one in cluster.facts("db2")["replicas"]] == ["db3"]
    await_(lambda: cluster.sql("SELECT max(a) FROM kept", "db3") == "2", "the row at the cascade's end")
    assert cluster.sql("SHOW restore_command", "db3").startswith("cp ")
    assert "restored log file" in (cluster.home / "db3/data.log").read_text()


def test_the_second_run_changes_nothing(cluster: Four) -> None:
    assert changes(cluster.converge("provision", **QUORUM)) == []


def test_what_must_not_leave_is_refused(cluster: Four) -> None:
    follows = "db3 follows db2 (give it another replica_upstream and provision first)"
    for leaving, confirm, reasons in (
        ("db1", "orders", ["db1 is the primary of orders (make another member primary first)"]),
        ("db9", "order", ["confirm is not orders", "db9 is no member of orders (they are db3, db1, db2)"]),
        ("db2", "orders", [follows, "commits wait for 1 of db2, and without db2 they would hang"]),
        (None, None, ["confirm is not orders", "decommission_host is missing"]),
    ):
        done = cluster.play("decommission", decommission_host=leaving, confirm=confirm)
        assert done.code != 0
        (told,) = done.errors()
        assert all(reason in told for reason in reasons), told
        assert told.strip("'").startswith("refused: ")
    assert (cluster.slots("db1"), cluster.slots("db2")) == (["db2"], ["db3"])
    assert cluster.sql("SHOW synchronous_standby_names") == 'ANY 1 ("db2")'


def test_a_killed_decommission_is_finished_by_the_next(cluster: Four) -> None:
    options = {"decommission_host": "db3", "confirm": "orders"}
    planned = changed(cluster.converge("decommission", "--check", **options))
    assert (planned["db2"], planned["db3"]) == (1, 2)
    assert cluster.facts("db3")["state"] == "running"
    cluster.holds.mkdir()
    if ROOT:
        shutil.chown(cluster.holds, OWNER)
    with held(cluster, "pg_ctl", matching="stop") as hold:
        running = cluster.begin("decommission", db_bin_dir=bin_dir(cluster), **options)
        tool = hold.reached()
        running.kill()
        kill(parent(tool))
    await_(lambda: not any("pg_ctl" in line for line in cluster.processes().values()), "the end of pg_ctl")
    assert cluster.slots("db2") == ["db3"], "it was not stopped in the middle: the test proves nothing"
    output = cluster.converge("decommission", **options)
    assert "db3 has left orders; its data is in" in " ".join(output.split())
    assert cluster.slots("db2") == []
    left = [path.name[:19] for path in (cluster.home / "db3").glob("data*") if path.is_dir()]
    assert left == ["data.decommissioned"]
    assert not (cluster.home / "db3/data.passfile").exists()
    assert changes(cluster.converge("decommission", **options)) == []
    cluster.assert_clean()


def test_a_dead_host_goes_when_nothing_waits_for_it(cluster: Four) -> None:
    gone = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    cluster.declare(db1={}, db2=gone)
    cluster.kill_server(cluster.home / "db2/data")
    options = {"decommission_host": "db2", "confirm": "orders"}
    errors = [error.strip("'") for error in cluster.play("decommission", **options).errors()]
    (told,) = [error for error in errors if error.startswith("refused: ")]
    told = told.replace("\\'", "'").replace("''", "'")
    assert "db2 could not be seen, so it can't be stopped (if it is gone for good" in told
    assert cluster.slots("db1") == ["db2"]
    cluster.sql("ALTER SYSTEM RESET synchronous_standby_names")
    cluster.sql("SELECT pg_reload_conf()")
    # Ansible's own exit code for a host that did not answer.
    assert cluster.play("decommission", **options, decommission_unreachable=True).code == 4
    assert cluster.slots("db1") == []
    assert (cluster.home / "db2/data/PG_VERSION").exists()
