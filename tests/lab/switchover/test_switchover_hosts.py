# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""On real hosts: three members that archive, pgbouncer on two hosts, twice on one, and one switchover after the other.

BORINGDB_SWITCHOVERS says how many, half of them with commits that wait for a standby.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle
from typing import Any

import pytest

from tests.integration.estate_runs import await_
from tests.lab import cluster
from tests.lab.estate import ROOT, TOOLS, Estate, lab_hosts

MEMBERS, POOLERS = ("sw1", "sw2", "sw3"), ("swp", "swq")
POOLER = POOLERS[0]
#: A member whose data lie on a disk of their own, which can be filled.
SMALL, DISK = "sw3", "/var/lib/postgresql"
COUNT = int(os.environ.get("BORINGDB_SWITCHOVERS") or 4)
UNIT = cluster.MEMBERS["db_service"]
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
    at = {name: {"ansible_host": it.addresses[name]} for name in (*MEMBERS, *POOLERS)}
    it.describe({
        "goods": {"hosts": {name: at[name] for name in MEMBERS}, "vars": {**cluster.MEMBERS, **members}},
        "pooler_hosts": {"hosts": {POOLER: at[POOLER], POOLERS[1]: {**at[POOLERS[1]], "pool_processes": 1}},
                         "vars": POOL},
        "repository_hosts": {"hosts": {POOLER: at[POOLER]}},
    }, backup_repository_host=POOLER)  # fmt: skip


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    """A provisioned cluster with a backup, and pgbouncer before it."""
    with lab_hosts(tmp_path_factory.mktemp("switchover"), *MEMBERS, *POOLERS) as it:
        describe(it)
        it.on(SMALL, f"mkdir -p {DISK} && mount -t tmpfs -o size=1g,mode=0755 tmpfs {DISK}")
        it.play("provision", cluster="goods")
        it.play("evidence_key", cluster="goods")
        it.sql("sw1", f"CREATE ROLE probe LOGIN PASSWORD '{SECRET}'")
        it.sql("sw1", "CREATE DATABASE shop OWNER probe")
        it.play("pool", cluster="goods")
        it.play("backup", cluster="goods")
        yield it


def probe(estate: Estate, name: str, state: str, host: str = POOLER, **options: Any) -> dict[str, Any]:
    """The write probe on a pooler's host."""
    given = {"state": state, "directory": f"/var/tmp/probe-{name}", **options}
    argv = [str(TOOLS / "ansible"), host, "-i", str(estate.inventory), "-b", "--become-user", "postgres", "-o"]
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


@pytest.fixture
def writers(estate: Estate, request: pytest.FixtureRequest) -> Iterator[str]:
    """Four clients that write through the poolers; none sees an error, and nothing that was acknowledged is lost."""
    name = str(request.param)
    account = {"login_user": "probe", "login_password": SECRET, "login_db": "shop"}
    at = {"login_host": "127.0.0.1", "login_port": "6432"}
    for host in POOLERS:
        run = f"{name}-{host}"
        probe(estate, run, "started", host, run=run, clients=2, rate=25, timeout=120, **at, **account)
    yield name
    for host in POOLERS:
        run = f"{name}-{host}"
        saw = probe(estate, run, "stopped", host)
        found = probe(estate, run, "checked", host, login_host=estate.addresses[primary(estate)], **account)
        assert (found["status"], found["missing"], saw["errors"]) == ("passed", 0, 0), (found, saw)
        print(f"{run}: {saw['acknowledged']} rows, largest gap {saw['largest_gap_ms']} ms")


def next_one(estate: Estate) -> str:
    """Somebody who is not the primary."""
    return MEMBERS[(MEMBERS.index(primary(estate)) + 1) % len(MEMBERS)]


@pytest.mark.parametrize("writers", ["far"], indirect=True)
def test_members_that_are_far_away(estate: Estate, writers: str) -> None:
    """Each packet to a member takes 200 ms."""
    for host in MEMBERS:
        estate.lab("delay", host, "200")
    try:
        candidate = next_one(estate)
        estate.play("switchover", "-e", f"switchover_candidate={candidate}", cluster="goods")
    finally:
        for host in MEMBERS:
            estate.lab("delay", host, "0")
    assert primary(estate) == candidate
    record = estate.record("goods")
    assert record["verdict"] == "verified"
    print(f"{writers}: stall {record['measurements']['stall_ms']} ms")


@pytest.mark.parametrize("writers", ["unreached"], indirect=True)
@pytest.mark.parametrize("who", ["old", "new"])
def test_the_controller_loses_a_host_while_it_switches_over(estate: Estate, writers: str, who: str) -> None:
    """What is under way there comes to its end by itself; the same command again does the rest."""
    old, candidate = primary(estate), next_one(estate)
    lost = {"old": old, "new": candidate}[who]
    asked = "cd /; su postgres -c \"psql -XAtqc 'SELECT pg_is_in_recovery()'\" 2>/dev/null"
    with ThreadPoolExecutor() as pool:
        running = pool.submit(estate.attempt, "switchover", "-e", f"cluster=goods switchover_candidate={candidate}")
        # The old primary's server is down: everything is in the hands of the process on its host.
        await_(lambda: running.done() or "f" not in estate.on(old, asked, check=False), "the shutdown", 300)
        estate.lab("cut", lost, "--from", "controller")
        done = running.result()
        estate.lab("heal", lost)
    assert done.returncode != 0, "the run had ended before: the test proves nothing"
    assert "Traceback" not in done.stdout
    estate.play("switchover", "-e", f"switchover_candidate={candidate}", cluster="goods")
    assert primary(estate) == candidate
    assert estate.record("goods")["verdict"] == "verified"
    streaming(estate)


@contextmanager
def under_way(estate: Estate, candidate: str, **more: Any) -> Iterator[Future[Any]]:
    """A switchover that has begun, and waits for transactions that are under way before it closes the old primary."""
    old = primary(estate)
    client = (f"PGPASSWORD='{SECRET}' psql -XAtq -h {estate.addresses[POOLER]} -p 6432 -U probe -d shop"
              " -c 'BEGIN; SELECT 1; SELECT pg_sleep(3); COMMIT'")  # fmt: skip
    one = f"(sleep $n; while test -e /run/busy; do {client}; done) </dev/null >/dev/null 2>&1 &"
    estate.on(old, f"touch /run/busy; for n in 1 2 3; do {one} done")
    given = {"cluster": "goods", "switchover_candidate": candidate, **more}
    try:
        with ThreadPoolExecutor() as pool:
            running = pool.submit(estate.attempt, "switchover", "-e", json.dumps(given))
            account = "SELECT count(*) FROM pg_roles WHERE rolname = 'boringdb_switchover'"
            await_(lambda: running.done() or estate.sql(old, account) == "1", "the account of the move", 300)
            assert not running.done(), running.result().stdout[-3000:]
            yield running
    finally:
        estate.on(old, "rm /run/busy")


def words(running: Future[Any]) -> str:
    """What a run that failed has said, in one line."""
    done = running.result()
    assert done.returncode != 0, "it ended well: the test proves nothing"
    assert "Traceback" not in done.stdout
    return " ".join(done.stdout.split())


def streaming(estate: Estate) -> None:
    """Wait until all replicas follow."""
    query = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
    await_(lambda: estate.sql(primary(estate), query) == str(len(MEMBERS) - 1), "all replicas", 120)


@pytest.mark.parametrize("writers", ["apart"], indirect=True)
def test_the_members_lose_each_other_in_the_middle(estate: Estate, writers: str) -> None:
    """What the old primary can't see replayed is taken back, and its clients go on with it."""
    old, candidate = primary(estate), next_one(estate)
    with under_way(estate, candidate) as running:
        estate.lab("cut", old, "--from", candidate)
        told = words(running)
        estate.lab("heal", old)
    assert "has not replayed the shutdown of the old primary" in told, writers
    assert "it was taken back: the old primary takes writes again" in told
    assert primary(estate) == old
    streaming(estate)
    estate.play("switchover", "-e", f"switchover_candidate={candidate}", cluster="goods")
    assert primary(estate) == candidate
    streaming(estate)


def fill(estate: Estate, left: int = 0) -> None:
    """No more than so many MB can be written there, also where a server writes meanwhile."""
    room = f"$(( $(df --output=avail -B1 {DISK} | tail -1) - ({left} << 20) - (8 << 20) ))"
    last = f"df --output=avail -B1M {DISK} | tail -1"
    estate.on(SMALL, f"rm -f {DISK}/full; fallocate -l {room} {DISK}/full; left=$(( $({last}) - {left} )); "
              f"[ $left -le 0 ] || dd if=/dev/zero bs=1M count=$left status=none >> {DISK}/full || true")  # fmt: skip


@pytest.mark.parametrize("writers", ["full"], indirect=True)
def test_the_disk_of_the_candidate_is_full(estate: Estate, writers: str) -> None:
    """Known before, it is refused. Full a moment later, the candidate ends, and the old primary goes on."""
    if primary(estate) == SMALL:
        estate.play("switchover", "-e", f"switchover_candidate={next_one(estate)}", cluster="goods")
        streaming(estate)
    old, given = primary(estate), json.dumps({"cluster": "goods", "switchover_candidate": SMALL})
    fill(estate, left=20)
    done = estate.attempt("switchover", "-e", given)
    assert re.search(rf"{SMALL} has (19|20) MB free for its data or its WAL", " ".join(done.stdout.split())), writers
    assert primary(estate) == old
    estate.on(SMALL, f"rm {DISK}/full")
    with under_way(estate, SMALL, switchover_timeout=10) as running:
        fill(estate)
        told = words(running)
    # It ends with what it has to replay, or when it is promoted.
    if "it was taken back: the old primary takes writes again" not in told:
        assert "was told to promote and takes no writes after 10 s" in told
        assert "the old primary stays closed; clients are still held; run the same command again" in told
        assert estate.attempt("switchover", "-e", given).returncode != 0
    estate.on(SMALL, f"rm {DISK}/full; systemctl start {UNIT}")
    assert primary(estate) == old
    streaming(estate)
    estate.play("switchover", "-e", f"switchover_candidate={SMALL}", cluster="goods")
    assert primary(estate) == SMALL
    streaming(estate)


@pytest.mark.parametrize("writers", ["leaves"], indirect=True)
def test_a_primary_whose_disk_is_nearly_full_is_left(estate: Estate, writers: str) -> None:
    """It comes back as a replica."""
    if primary(estate) != SMALL:
        estate.play("switchover", "-e", f"switchover_candidate={SMALL}", cluster="goods")
        streaming(estate)
    fill(estate, left=40)
    candidate = next_one(estate)
    estate.play("switchover", "-e", f"switchover_candidate={candidate}", cluster="goods")
    assert primary(estate) == candidate, writers
    estate.on(SMALL, f"rm {DISK}/full")
    streaming(estate)


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
