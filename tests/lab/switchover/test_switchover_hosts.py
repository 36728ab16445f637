# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""On real hosts: three members that archive, a host with two pgbouncer processes, and one switchover after the other.

BORINGDB_SWITCHOVERS says how many, half of them with commits that wait for a standby.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from itertools import cycle
from typing import Any

import pytest

from tests.lab import cluster
from tests.lab.estate import ROOT, TOOLS, Estate, lab_hosts

MEMBERS, POOLER = ("sw1", "sw2", "sw3"), "swp"
COUNT = int(os.environ.get("BORINGDB_SWITCHOVERS") or 4)
SECRET = "for the writers of the lab"
POOL: dict[str, Any] = {
    "pool_databases": {"shop": {}},
    "pool_processes": 2,
    "pool_auth_password": "for pgbouncer of the lab",
    "pool_admin_password": "for the console of the lab",
}
pytestmark = pytest.mark.lab


def describe(it: Estate, **members: Any) -> None:
    """Say which members there are, the pooler, and the repository beside it."""
    at = {name: {"ansible_host": it.addresses[name]} for name in (*MEMBERS, POOLER)}
    it.describe({
        "goods": {"hosts": {name: at[name] for name in MEMBERS}, "vars": {**cluster.MEMBERS, **members}},
        "pooler_hosts": {"hosts": {POOLER: at[POOLER]}, "vars": POOL},
        "repository_hosts": {"hosts": {POOLER: at[POOLER]}},
    }, backup_repository_host=POOLER)  # fmt: skip


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    """A provisioned cluster with a backup, and two processes of pgbouncer before it."""
    with lab_hosts(tmp_path_factory.mktemp("switchover"), *MEMBERS, POOLER) as it:
        describe(it)
        it.play("provision", cluster="goods")
        it.play("evidence_key", cluster="goods")
        it.sql("sw1", f"CREATE ROLE probe LOGIN PASSWORD '{SECRET}'")
        it.sql("sw1", "CREATE DATABASE shop OWNER probe")
        it.play("pool", cluster="goods")
        it.play("backup", cluster="goods")
        yield it


def probe(estate: Estate, name: str, state: str, **options: Any) -> dict[str, Any]:
    """The write probe on the pooler's host."""
    given = {"state": state, "directory": f"/var/tmp/probe-{name}", **options}
    argv = [str(TOOLS / "ansible"), POOLER, "-i", str(estate.inventory), "-b", "--become-user", "postgres", "-o"]
    done = subprocess.run([*argv, "-m", "boringdb.ops.probe", "-a", json.dumps(given)], cwd=ROOT, capture_output=True,
                          text=True, timeout=300, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
    return found


def primary(estate: Estate) -> str:
    """The only member that takes writes."""
    [found] = [name for name in MEMBERS if estate.sql(name, "SELECT pg_is_in_recovery()") == "f"]
    return found


def switchovers(estate: Estate, name: str, count: int) -> list[float]:
    """So many, one after the other, while eight clients write through the pooler and two past it."""
    account = {"login_user": "probe", "login_password": SECRET, "login_db": "shop"}
    addresses = ",".join(estate.addresses[host] for host in MEMBERS)
    probe(
        estate,
        f"{name}-pooled",
        "started",
        run=f"{name}-pooled",
        clients=8,
        rate=25,
        timeout=30,
        login_host="127.0.0.1",
        login_port="6432",
        **account,
    )
    direct = {"run": f"{name}-direct", "login_host": addresses, "login_port": "5432"}
    probe(estate, f"{name}-direct", "started", clients=2, rate=25, **direct, **account)
    stalls = []
    now = primary(estate)
    others = cycle([*MEMBERS[MEMBERS.index(now) + 1 :], *MEMBERS[: MEMBERS.index(now) + 1]])
    for number in range(count):
        candidate = next(others)
        before = probe(estate, f"{name}-pooled", "measured")["acknowledged"]
        estate.play("switchover", "-e", f"switchover_candidate={candidate}", cluster="goods")
        assert primary(estate) == candidate, f"switchover {number + 1}"
        saw = probe(estate, f"{name}-pooled", "measured")
        assert saw["errors"] == 0, f"switchover {number + 1} to {candidate}: {saw}"
        assert saw["acknowledged"] > before
        record = estate.record("goods")
        assert record["verdict"] == "verified"
        stalls.append(record["measurements"]["stall_ms"])
    saw = {one: probe(estate, f"{name}-{one}", "stopped") for one in ("pooled", "direct")}
    for one in saw:
        found = probe(estate, f"{name}-{one}", "checked", login_host=estate.addresses[primary(estate)], **account)
        assert (found["status"], found["missing"]) == ("passed", 0), f"{one}: {found}"
    assert saw["pooled"]["errors"] == 0, saw["pooled"]
    assert saw["direct"]["acknowledged"] > 0
    print(f"{name}: {count} switchovers, stall_ms {sorted(stalls)}, largest gap {saw['pooled']['largest_gap_ms']}")
    return stalls


def test_one_after_the_other(estate: Estate) -> None:
    assert len(switchovers(estate, "async", -(-COUNT // 2))) == -(-COUNT // 2)


def test_one_after_the_other_with_commits_that_wait(estate: Estate) -> None:
    describe(estate, replica_synchronous={"number": 1, "commit": "on"})
    estate.play("provision", cluster="goods")
    assert estate.sql(primary(estate), "SHOW synchronous_standby_names").startswith("ANY 1")
    assert len(switchovers(estate, "sync", COUNT // 2)) == COUNT // 2
    assert estate.sql(primary(estate), "SHOW synchronous_standby_names").startswith("ANY 1")


def rows(estate: Estate) -> str:
    """How many the writers have left."""
    words = "cd /; su postgres -c \"psql -XAtqd shop -c 'SELECT count(*) FROM boringdb_probe.writes'\""
    return estate.on(primary(estate), words).strip()


def test_a_restore_stops_and_starts_all_processes(estate: Estate) -> None:
    """Every row of all timelines comes back; the unit of the package, which two processes replace, stays off."""
    units = "boringdb-pgbouncer@6433.service boringdb-pgbouncer@6434.service"
    before = estate.on(POOLER, f"systemctl show -p MainPID --value {units}").split()
    there = rows(estate)
    done = estate.attempt("restore", "-e", json.dumps({"cluster": "goods", "confirm": "goods"}))
    assert done.returncode == 0, done.stdout[-5000:]
    after = estate.on(POOLER, f"systemctl show -p MainPID --value {units}").split()
    assert len(set(after) - {"0"}) == 2
    assert not set(before) & set(after), "a process ran on while the cluster was restored"
    assert estate.on(POOLER, "systemctl is-active pgbouncer", check=False).strip() == "inactive"
    assert len(estate.on(POOLER, "pgrep -x pgbouncer").split()) == 2
    assert rows(estate) == there != "0"
