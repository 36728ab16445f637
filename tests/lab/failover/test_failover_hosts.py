# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""On real hosts: three members that archive, and a pooler. Their primary loses power, is cut off, or is killed.

It comes back, is kept from taking writes by the boot guard, and is made a replica. Without and with commits that wait.

The tests below follow each other, as an operator's days do.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.lab.cluster import MEMBERS as VARIABLES
from tests.lab.cluster import ClusterGround
from tests.lab.estate import Estate, changed, lab_hosts

MEMBERS, POOLER = ("fo1", "fo2", "fo3"), "fop"
UNIT = VARIABLES["db_service"]
SECRET = "for the writers of the lab"
POOL: dict[str, Any] = {
    "pool_databases": {"shop": {}},
    "pool_auth_password": "for pgbouncer of the lab",
    "pool_admin_password": "for the console of the lab",
}
SEGMENT = re.compile(r"[0-9A-F]{24}$")
SYNC = {"replica_synchronous": {"number": 1, "commit": "on"}}
pytestmark = pytest.mark.lab


def await_(condition: Callable[[], object], what: str, seconds: float = 120) -> None:
    """Wait until it holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.3)


class Ground(ClusterGround):
    """The cluster whose primary is lost, and what its tests ask of it."""

    def describe(self, **members: Any) -> None:
        """Say which members there are, the pooler, and the repository beside it."""
        at = {name: {"ansible_host": self.estate.addresses[name]} for name in (*MEMBERS, POOLER)}
        self.estate.describe({
            "goods": {"hosts": {name: at[name] for name in MEMBERS}, "vars": {**VARIABLES, **members}},
            "pooler_hosts": {"hosts": {POOLER: at[POOLER]}, "vars": POOL},
            "repository_hosts": {"hosts": {POOLER: at[POOLER]}},
        }, backup_repository_host=POOLER)  # fmt: skip

    def recovering(self, host: str) -> str:
        """Whether a server is a replica; empty where none answers."""
        words = 'cd /; su postgres -c "psql -XAtqc \'SELECT pg_is_in_recovery()\'"'
        argv = ["ssh", "-F", self.estate.ssh_config, "-o", "ConnectTimeout=5", host, words]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    def primary(self) -> str:
        """The only member that takes writes."""
        [found] = [name for name in MEMBERS if self.recovering(name) == "f"]
        return found

    def whole(self) -> None:
        """One primary, all others stream from it, and a second run has nothing to do."""
        primary = self.primary()
        others = sorted(name for name in MEMBERS if name != primary)
        query = "SELECT application_name FROM pg_stat_replication WHERE state = 'streaming' ORDER BY 1"
        await_(lambda: self.estate.sql(primary, query).split() == others, f"the replicas of {primary}")
        slots = self.estate.sql(primary, "SELECT slot_name FROM pg_replication_slots WHERE active ORDER BY 1")
        assert slots.split() == others

    def probe(self, name: str, state: str, **options: Any) -> dict[str, Any]:
        """The write probe, on the pooler's host."""
        return self.module(POOLER, "probe", state=state, directory=f"/var/tmp/probe-{name}", **options)

    def begin(self, run: str) -> None:
        """Four clients that write through the pooler."""
        self.probe(run, "started", run=run, clients=4, rate=100, timeout=5, login_host="127.0.0.1", login_port="6432",
                   login_user="probe", login_password=SECRET, login_db="shop")  # fmt: skip
        await_(lambda: self.probe(run, "measured")["acknowledged"] > 100, "rows before it")

    def missing(self, run: str) -> int:
        """Waits for rows after it; returns how many that were acknowledged are not there."""
        now = self.probe(run, "measured")["acknowledged"]
        await_(lambda: self.probe(run, "measured")["acknowledged"] > now + 100, "rows after it")
        saw = self.probe(run, "stopped")
        assert saw["errors"] > 0, "the clients were not disturbed: the test proves nothing"
        found = self.probe(run, "checked", login_host=self.estate.addresses[self.primary()], login_user="probe",
                           login_password=SECRET, login_db="shop")  # fmt: skip
        record = self.estate.record(self.cluster)["measurements"]
        loss = {name: value for name, value in record.items() if name.startswith(("loss_", "stall_", "promote_"))}
        print(f"{run}: {found['missing']} of {saw['acknowledged']} rows missing, "
              f"largest gap {saw['largest_gap_ms']} ms, {loss}")  # fmt: skip
        return int(found["missing"])

    def given(self, playbook: str, **variables: Any) -> str:
        """A playbook with variables; returns its output in one line."""
        return " ".join(self.play(playbook, "-e", json.dumps(variables)).split())

    def kept_down(self, host: str) -> None:
        """The host is back, and its server is not; the journal says why."""
        shown = f"systemctl show -p ActiveState --value {UNIT}"
        await_(lambda: self.estate.on(host, shown).strip() == "failed", "the boot guard's verdict")
        journal = self.estate.on(host, f"journalctl -b -o cat -u {UNIT}")
        line = [line for line in journal.splitlines() if line.startswith("boot guard: ")][-1]
        assert "NOT started as a primary" in line and "and this server was left behind on" in line
        assert self.recovering(host) == ""

    def rejoined(self, host: str, **variables: Any) -> dict[str, Any]:
        """Brings a member back; returns what was measured."""
        told = self.given("rejoin", rejoin_host=host, **variables)
        assert f"rejoin: {host} of goods verified by " in told
        self.whole()
        again = self.play("rejoin", "-e", f"rejoin_host={host}")
        assert set(changed(again).values()) == {0}
        record = self.estate.record(self.cluster)
        assert (record["operation"], record["verdict"]) == ("rejoin", "verified")
        found: dict[str, Any] = record["measurements"]
        return found


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A provisioned cluster with a backup, and a pooler."""
    with lab_hosts(tmp_path_factory.mktemp("failover"), *MEMBERS, POOLER) as it:
        made = Ground(it, it.home, "goods")
        made.describe()
        made.play("provision")
        made.play("evidence_key")
        it.sql("fo1", f"CREATE ROLE probe LOGIN PASSWORD '{SECRET}'")
        it.sql("fo1", "CREATE DATABASE shop OWNER probe")
        made.play("pool")
        made.play("backup")
        yield made


def asked(estate: Estate, host: str) -> list[str]:
    """What the guard of a host has said since it was put there."""
    lines = estate.on(host, f"journalctl -o cat -u {UNIT}").splitlines()
    return [line for line in lines if line.startswith("boot guard: ")]


def test_the_guard_is_there_and_lets_what_is_right_start(ground: Ground) -> None:
    estate = ground.estate
    assert set(changed(ground.play("provision")).values()) == {0}
    assert set(changed(ground.play("provision", "--check", "--diff")).values()) == {0}
    place = f"/etc/boringdb/boot_guard/{UNIT}"
    assert estate.on("fo1", f"stat -c '%a %U' {place}.pass").split() == ["600", "postgres"]
    secret = VARIABLES["postgresql_replication_password"]
    assert secret not in estate.on("fo1", f"cat {place}.json /etc/systemd/system/{UNIT}.service.d/*; ps -eo args")
    for host in ("fo1", "fo2"):
        estate.on(host, f"systemctl restart {UNIT}")
        await_(lambda host=host: ground.recovering(host) != "", f"{host} again")  # type: ignore[misc]
    assert asked(estate, "fo1") == ["boot guard: started as a primary: fo2, fo3 know of no newer timeline than 1"]
    assert asked(estate, "fo2") == [], "a replica asks nobody"
    # One that nobody answers: the rule is open.
    for host in ("fo2", "fo3"):
        estate.on(host, f"systemctl stop {UNIT}")
    estate.on("fo1", f"systemctl restart {UNIT}")
    assert "started as a primary, unconfirmed: no other member answered within 20 s" in asked(estate, "fo1")[-1]
    estate.on("fo1", f"sed -i 's/\"open\"/\"closed\"/' {place}.json")
    estate.on("fo1", f"systemctl restart {UNIT}", check=False)
    line = asked(estate, "fo1")[-1]
    assert "NOT started as a primary: no other member answered" in line and "the rule is closed" in line
    estate.on("fo1", f"touch {line.split(' touch ')[1].split(',')[0]}; systemctl start {UNIT}")
    assert "nobody is asked" in asked(estate, "fo1")[-1]
    for host in ("fo2", "fo3"):
        estate.on(host, f"systemctl start {UNIT}")
    ground.play("provision")
    ground.whole()


def test_a_power_cut(ground: Ground) -> None:
    old = ground.primary()
    ground.begin("power")
    ground.estate.lab("kill", old)
    told = ground.refused("failover")
    assert f"the host of {old} does not answer, so its server can't be stopped" in told
    told = ground.given("failover", failover_unfenced_ok=old)
    assert "failover: goods verified primary=" in told and "fenced=accepted" in told
    ground.missing("power")
    again = ground.play("failover", "-e", f"failover_unfenced_ok={old}")
    assert {count for host, count in changed(again).items() if host != old} == {0}
    ground.estate.lab("start", old)
    ground.kept_down(old)
    ground.rejoined(old)


def test_a_primary_that_is_cut_off_and_takes_rows_that_nobody_else_sees(ground: Ground) -> None:
    """Both take writes for a while: without a fence nothing can prevent that, and the run asks for it by name."""
    old = ground.primary()
    # The checkpoint that both have in common lies before the segment that is written to when they part.
    ground.estate.sql(old, "CHECKPOINT")
    for _segment in range(2):
        ground.estate.sql(old, "SELECT pg_switch_wal() FROM pg_logical_emit_message(false, 'lab', 'fill')")
    current = ground.estate.sql(old, "SELECT pg_walfile_name(pg_current_wal_lsn())")
    ground.begin("cut")
    ground.estate.lab("cut", old)
    told = ground.refused("failover", failover_fence_command=["/bin/false"])
    assert f"nobody was promoted: the server of {old} could not be stopped (failover_fence_command: " in told
    ground.given("failover", failover_unfenced_ok=old)
    sql = "CREATE TABLE only_there AS SELECT generate_series(1, 500) AS a; CHECKPOINT; DELETE FROM only_there"
    ground.estate.lab("exec", old, "su", "postgres", "-c", f"cd /; psql -XAtq -c '{sql}'")
    ground.missing("cut")
    ground.estate.lab("heal", old)
    await_(lambda: ground.recovering(old) == "f", "the old one, which takes writes still")
    told = ground.refused("rejoin", rejoin_host=old)
    assert f"rejoin_stop={old} stops it" in told
    # Whoever restarts it finds the guard.
    ground.estate.on(old, f"systemctl restart {UNIT}", check=False)
    ground.kept_down(old)
    # Its checkpoint may have removed what was archived, and need not have: then pg_rewind needs the archive.
    wal = f"{VARIABLES['db_data_dir']}/pg_wal"
    gone = [name for name in ground.estate.on(old, f"ls {wal}").split() if SEGMENT.match(name) and name < current]
    ground.estate.on(old, f"cd {wal} && rm -f {' '.join(gone)}")
    took = ground.rejoined(old)
    assert took["took"] == "rewind" and took["diverged_transactions"] >= 2
    assert ground.estate.sql(old, "SELECT to_regclass('only_there') IS NULL") == "t"
    assert ground.estate.on(old, f"ls -d {VARIABLES['db_data_dir']}.diverged-*").strip()
    assert ground.estate.on(old, f"ls -d {VARIABLES['db_data_dir']}.rewinding*", check=False).count("No such file")
    assert ground.estate.sql(old, "SHOW config_file") == f"{VARIABLES['db_config_dir']}/postgresql.conf"


def test_a_postmaster_that_is_killed_while_commits_wait(ground: Ground) -> None:
    ground.describe(**SYNC)
    ground.play("provision")
    old = ground.primary()
    assert ground.estate.sql(old, "SHOW synchronous_standby_names").startswith("ANY 1")
    ground.begin("killed")
    ground.estate.on(old, f"kill -9 $(head -1 {VARIABLES['db_data_dir']}/postmaster.pid)")
    told = ground.given("failover")
    assert "failover: goods verified primary=" in told and "fenced=ssh" in told
    assert ground.missing("killed") == 0
    ground.rejoined(old)


def test_a_power_cut_while_commits_wait(ground: Ground) -> None:
    old = ground.primary()
    assert ground.estate.sql(old, "SHOW synchronous_standby_names").startswith("ANY 1")
    ground.begin("power-sync")
    ground.estate.lab("kill", old)
    ground.given("failover", failover_unfenced_ok=old)
    assert ground.missing("power-sync") == 0
    record = ground.estate.record("goods")["measurements"]
    assert record["loss_covered_by_quorum"] is True
    ground.estate.lab("start", old)
    ground.kept_down(old)
    ground.rejoined(old)
    assert ground.estate.sql(ground.primary(), "SHOW synchronous_standby_names").startswith("ANY 1")


def test_a_restore_starts_the_primary_past_the_guard(ground: Ground) -> None:
    """All others are stopped meanwhile: nobody could answer, and the rule is closed."""
    ground.describe(**SYNC, postgresql_boot_guard="closed")
    ground.play("provision")
    primary = ground.primary()
    before = len(asked(ground.estate, primary))
    ground.given("restore", confirm="goods")
    ground.whole()
    assert ground.primary() == primary
    assert ["nobody is asked" in line for line in asked(ground.estate, primary)[before:]] == [True]
    assert set(changed(ground.play("provision")).values()) == {0}
