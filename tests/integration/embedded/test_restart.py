# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`restart` on a cluster of two: what is raised, what is lowered, what fits no order, and a replica that stays down."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from estate import Estate

HOSTS = ("db1", "db2")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Estate]:
    """A primary, db1, with its replica."""
    made = Estate()
    try:
        made.converge("provision", postgresql_settings={"max_connections": 100})
        yield made
    finally:
        made.down()


def started(cluster: Estate) -> dict[str, str]:
    """When each server was started."""
    return {host: cluster.sql("SELECT pg_postmaster_start_time()", host) for host in HOSTS}


def info(cluster: Estate, host: str) -> dict[str, Any]:
    """What a member is."""
    facts: dict[str, Any] = cluster.module("instance_info", **cluster.server(host))["instance"]
    return facts


def shown(cluster: Estate, name: str) -> list[str]:
    """A setting of both members."""
    return [cluster.sql(f"SHOW {name}", host) for host in HOSTS]


def test_what_is_raised_is_raised_on_the_replica_first(cluster: Estate) -> None:
    before = started(cluster)
    output = " ".join(cluster.converge("provision", postgresql_settings={"max_connections": 120}).split())
    for host in HOSTS:
        assert f"{host} awaits a restart: max_connections from 100 to 120; run the playbook restart" in output
    assert started(cluster) == before
    assert info(cluster, "db2")["awaiting_restart"] == [{"name": "max_connections", "current": "100", "new": "120"}]
    # A dry run names both and touches none.
    output = cluster.converge("restart", "--check")
    assert output.index("as before: db2") < output.index("as before: db1")
    assert started(cluster) == before
    cluster.converge("restart")
    after = started(cluster)
    assert before["db1"] < after["db2"] < after["db1"]
    assert shown(cluster, "max_connections") == ["120", "120"]
    assert info(cluster, "db1")["replicas"][0]["state"] == "streaming"
    # Nothing waits any more, so that nothing is restarted again.
    cluster.converge("restart")
    assert started(cluster) == after


def test_what_is_lowered_is_lowered_on_the_primary_first(cluster: Estate) -> None:
    """On the real server: the replica, restarted first, would not come up."""
    before = started(cluster)
    wanted = {"max_connections": 110, "work_mem": "5MB"}
    cluster.converge("provision", postgresql_settings=wanted, postgresql_restart=True)
    after = started(cluster)
    assert before["db2"] < after["db1"] < after["db2"]
    assert shown(cluster, "max_connections") == ["110", "110"]
    assert info(cluster, "db1")["replicas"][0]["state"] == "streaming"


def test_a_replica_with_less_than_its_primary_does_not_start(cluster: Estate) -> None:
    """What the order is for: PostgreSQL really refuses."""
    where = cluster.server("db2")
    cluster.module("config", **where, file="zzz", settings={"max_connections": 50})
    told = cluster.module("instance", fails=True, **where, state="restarted", timeout=20)["msg"]
    assert "max_connections" in told
    cluster.module("config", **where, file="zzz", settings={})
    cluster.module("instance", **where, state="started")


def test_what_fits_no_order_is_refused_before_anything_is_restarted(cluster: Estate) -> None:
    before = started(cluster)
    wanted = {"max_connections": 130, "max_wal_senders": 8}
    done = cluster.play("provision", postgresql_settings=wanted, postgresql_restart=True)
    assert done.code != 0
    [told] = done.errors()
    assert told.strip("'") == (
        "refused: max_connections is raised and max_wal_senders is lowered in one step, for db2 no order fits "
        "(raise first and restart, then lower and restart)"
    )
    assert started(cluster) == before
    cluster.converge("provision", postgresql_settings={"max_connections": 130}, postgresql_restart=True)
    wanted = {"max_connections": 130, "max_wal_senders": 8}
    cluster.converge("provision", postgresql_settings=wanted, postgresql_restart=True)
    assert shown(cluster, "max_connections") == ["130", "130"]


def test_a_replica_that_does_not_come_back_ends_it(cluster: Estate) -> None:
    """The primary is not touched, and the old settings bring the replica back."""
    before = started(cluster)
    wanted = {"max_connections": 130, "max_wal_senders": 8, "shared_buffers": "7TB"}
    done = cluster.play("provision", postgresql_settings=wanted, postgresql_restart=True)
    assert done.code != 0
    assert "Traceback" not in done.output
    [told] = done.errors()
    assert "shared memory" in told or "Cannot allocate memory" in told, told
    assert cluster.sql("SELECT pg_postmaster_start_time()") == before["db1"]
    wanted["shared_buffers"] = "64MB"
    cluster.converge("provision", postgresql_settings=wanted, postgresql_restart=True)
    assert shown(cluster, "shared_buffers") == ["64MB", "64MB"]
    assert info(cluster, "db1")["replicas"][0]["state"] == "streaming"


def test_a_member_that_is_down_is_refused(cluster: Estate) -> None:
    cluster.module("instance", **cluster.server("db2"), state="stopped")
    done = cluster.play("restart")
    [told] = done.errors()
    assert told.strip("'") == "refused: db2 is stopped, what it will have is not known (start it first, provision does)"
    cluster.start()


def test_drift_is_told_and_nothing_is_changed(cluster: Estate) -> None:
    """Of a cluster that is as declared; then with something else on one member."""
    wanted = {"max_connections": 130, "max_wal_senders": 8, "shared_buffers": "64MB"}
    place = cluster.logs / "drift.json"
    words = {"config_drift_json": str(place), "config_drift_fail": True, "postgresql_settings": wanted}
    cluster.converge("provision", postgresql_settings=wanted, postgresql_restart=True)
    assert "drift of db1, db2: none" in cluster.converge("config_drift", **words)
    cluster.sql("ALTER SYSTEM SET work_mem = '7MB'", "db2")
    cluster.sql("SELECT pg_reload_conf()", "db2")
    with (cluster.home / "db1/data/pg_hba.conf").open("a") as rules:
        rules.write("host all all 192.0.2.0/24 trust\n")
    before = started(cluster)
    told = {**words, "postgresql_settings": {**wanted, "work_mem": "5MB", "max_connections": "0x82"}}
    done = cluster.play("config_drift", **told)
    assert done.code != 0
    found = json.loads(place.read_text())
    assert [(one["host"], one["name"], one["what"]) for one in found["declared"]] == [
        ("db1", "work_mem", "declared, and not written"),
        ("db1", "pg_hba.conf", "rule is not declared"),
        ("db2", "work_mem", "declared, and not written"),
        ("db2", "work_mem", "overridden"),
    ]
    assert found["between"] == [{"name": "work_mem", "values": {"db1": "4MB", "db2": "7MB"}}]
    assert "work_mem differs: db1 has 4MB, db2 has 7MB" in done.told()
    assert started(cluster) == before
    # Without the option the same is no error.
    told["config_drift_fail"] = False
    assert cluster.play("config_drift", **told).code == 0
