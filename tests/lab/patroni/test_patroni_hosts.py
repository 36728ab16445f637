# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Three real hosts with etcd (TLS), Patroni and PostgreSQL 15, and a pooler: from nothing through what befalls them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from tests.lab.estate import changed, lab_hosts
from tests.lab.patroni.ground import CLUSTER, MEMBERS, POOLER, PROBE, SECRETS, Ground, certificates, describe

pytestmark = pytest.mark.lab


def await_(condition: Callable[[], bool], what: str, seconds: float = 120) -> float:
    """Wait until it holds; returns for how long."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, what
        time.sleep(0.2)
    return time.monotonic() - begun


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """Hosts with nothing on them."""
    with lab_hosts(tmp_path_factory.mktemp("patroni"), *MEMBERS, POOLER) as estate:
        made = Ground(estate, estate.home, "goods")
        made.tls = certificates(estate)
        describe(estate, made.tls)
        made.play("evidence_key")
        yield made


def test_a_dry_run_on_nothing_changes_nothing(ground: Ground) -> None:
    counts = changed(ground.play("patroni", "--check", "--diff"))
    assert all(counts[host] > 0 for host in MEMBERS)
    for host in MEMBERS:
        assert ground.estate.on(host, "ls /etc/patroni /usr/bin/etcd /var/lib/postgresql 2>/dev/null || true") == ""


def test_what_can_not_be_is_refused_before_anything_is_made(ground: Ground) -> None:
    told = ground.refused("patroni", patroni_api_password="", db_service="postgresql@15-main")
    assert "patroni_api_password is not set" in told and "db_service is postgresql@15-main" in told
    told = ground.refused("provision")
    assert "db_service is patroni, which is a manager (use the playbook patroni)" in told
    told = ground.refused("patroni", etcd_tls_certificate="")
    assert "who reaches etcd can make any server the leader" in told
    for host in MEMBERS:
        assert ground.estate.on(host, "ls /etc/patroni /usr/bin/etcd 2>/dev/null || true") == ""


def test_three_hosts_converge_and_a_second_run_changes_nothing(ground: Ground) -> None:
    ground.play("patroni")
    assert ground.whole()
    assert ground.leader() == "pt1"
    assert set(changed(ground.play("patroni")).values()) == {0}
    assert set(changed(ground.play("patroni", "--check", "--diff")).values()) == {0}
    for host in MEMBERS:
        assert ground.estate.on(host, "stat -c '%a %U' /etc/patroni/config.yml").split() == ["600", "postgres"]
        found = ground.module(host, "instance_info", data_dir=CLUSTER["db_data_dir"])["instance"]
        assert (found["manager"], found["patroni"]["leader"]) == ("patroni", "pt1")
        journal = ground.estate.on(host, "journalctl -u patroni -u etcd; ps -eo args")
        assert all(secret not in journal for secret in SECRETS.values())
    told = ground.refused("provision")
    assert "it is run by patroni (use the playbook patroni)" in told
    told = ground.refused("decommission", decommission_host="pt3", confirm="goods")
    assert "is run by patroni, which would start, stop or promote" in told


def test_etcd_lets_in_nobody_without_a_certificate(ground: Ground) -> None:
    at = ground.estate.addresses["pt1"]
    for port in (2379, 2380):
        words = f"curl -s -m 5 --cacert {ground.estate.home}/ca.crt https://{at}:{port}/health"
        assert subprocess.run(words.split(), capture_output=True, check=False).returncode != 0
    own = f"--cert {ground.estate.home}/pt2.crt --key {ground.estate.home}/pt2.key"
    words = f"curl -s -m 5 --cacert {ground.estate.home}/ca.crt {own} https://{at}:2379/health"
    assert "true" in subprocess.run(words.split(), capture_output=True, text=True, check=True).stdout


def test_a_switchover_is_seen_by_no_client_of_the_pooler(ground: Ground) -> None:
    ground.estate.sql("pt1", f"CREATE ROLE probe LOGIN PASSWORD '{PROBE}'")
    ground.estate.sql("pt1", "GRANT CREATE ON DATABASE postgres TO probe")
    ground.play("pool")
    assert ground.play("switchover", "-e", "switchover_candidate=pt2", "--check")
    assert ground.leader() == "pt1"
    ground.begin("planned")
    told = ground.play("switchover", "-e", "switchover_candidate=pt2")
    assert "verified primary=pt2" in " ".join(told.split())
    saw = ground.probe("stopped", run="planned")
    assert (saw["errors"], ground.lost("planned", "pt2")) == (0, 0), saw
    assert ground.leader() == "pt2" and ground.whole()
    record = ground.estate.record("goods")
    assert record["verdict"] == "verified" and record["measurements"]["stall_ms"] > 0
    again = ground.play("switchover", "-e", "switchover_candidate=pt2")
    assert "is the primary of goods already" in " ".join(again.split())
    assert set(changed(again).values()) == {0}
    assert set(changed(ground.play("patroni")).values()) == {0}
    print(f"switchover: stall {record['measurements']['stall_ms']} ms, largest gap {saw['largest_gap_ms']} ms")


def test_settings_go_to_all_members_and_a_restart_leaves_the_leader(ground: Ground) -> None:
    describe(ground.estate, ground.tls, postgresql_settings={"work_mem": "8MB", "max_connections": 120})
    told = " ".join(ground.play("patroni").split())
    assert "goods awaits a restart: max_connections" in told
    await_(lambda: {ground.estate.sql(host, "SHOW work_mem") for host in MEMBERS} == {"8MB"}, "work_mem everywhere")
    leader = ground.leader()
    ground.play("restart")
    assert {ground.estate.sql(host, "SHOW max_connections") for host in MEMBERS} == {"120"}
    assert ground.leader() == leader
    assert set(changed(ground.play("restart")).values()) == {0}
    assert set(changed(ground.play("patroni")).values()) == {0}


def test_a_pause_is_heard_and_ended(ground: Ground) -> None:
    ground.play("patroni", "-e", "patroni_state=paused")
    assert set(changed(ground.play("patroni", "-e", "patroni_state=paused")).values()) == {0}
    leader = ground.leader()
    stop = f"/usr/lib/postgresql/15/bin/pg_ctl stop -m fast -D {CLUSTER['db_data_dir']}"
    ground.estate.on(leader, f"su postgres -c '{stop}'")
    found = ground.module(leader, "instance_info", data_dir=CLUSTER["db_data_dir"])["instance"]
    assert (found["state"], found["patroni"]["paused"]) == ("stopped", True)
    assert ground.leader() in ("", leader), "nobody else was promoted meanwhile"
    ground.play("patroni", "-e", "patroni_state=resumed")
    await_(ground.whole, "all of them")


def test_a_lost_member_of_etcd_comes_in_again(ground: Ground) -> None:
    ground.estate.on("pt3", "systemctl stop etcd; rm -rf /var/lib/etcd/default")
    assert ground.estate.sql(ground.leader(), "SELECT pg_is_in_recovery()") == "f"
    counts = changed(ground.play("patroni"))
    assert counts["pt3"] > 0
    await_(ground.whole, "all of them")
    assert set(changed(ground.play("patroni")).values()) == {0}


def test_a_leader_that_vanishes_is_replaced_and_comes_back_as_a_replica(ground: Ground) -> None:
    old = ground.leader()
    others = tuple(name for name in MEMBERS if name != old)
    # Who leads may have changed after the pause, and no pooler follows that by itself.
    ground.play("pool", "-e", "pool_state=routed")
    ground.begin("vanished")
    begun = time.monotonic()
    ground.estate.lab("kill", old)
    await_(lambda: ground.leader(of=others) in others, "another leader")
    new = ground.leader(of=others)
    await_(lambda: ground.estate.sql(new, "SELECT pg_is_in_recovery()") == "f", "writes")
    took = time.monotonic() - begun
    ground.probe("stopped", run="vanished")
    ground.estate.lab("start", old)
    back = await_(ground.whole, "the old leader as a replica", 180)
    assert ground.members()[old]["role"] == "replica"
    told = ground.play("pool", "-e", "pool_state=routed")
    assert told
    assert set(changed(ground.play("patroni")).values()) == {0}
    print(f"failover: {took:.1f} s, rejoined {back:.1f} s after its boot, {ground.lost('vanished', new)} rows lost")


def test_a_member_is_cloned_anew_only_when_it_is_confirmed(ground: Ground) -> None:
    replica = next(name for name in MEMBERS if name != ground.leader())
    words = ("-e", "patroni_state=reinitialized", "-e", f"patroni_member={replica}")
    assert "would be removed" in ground.refused("patroni", *words)
    assert set(changed(ground.play("patroni", *words, "-e", "confirm=goods")).values()) == {0}, "it follows"
