# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""On real hosts: a late replica out of the pgBackRest repository at a cascade's end; a quorum; and one that leaves."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.lab import cluster
from tests.lab.estate import Estate, changed, lab_hosts

HOSTS = ("rep1", "rep2", "rep3", "reprepo")
MEMBERS = {
    **cluster.MEMBERS,
    "replica_synchronous": {"number": 1, "commit": "remote_write"},
    # How long the slot of one that vanished is in use.
    "postgresql_settings": {"wal_sender_timeout": "10s"},
}
DELAY = 3
#: Ansible's exit code for a host that did not answer.
UNREACHABLE = 4
THIRD = {"replica_source": "repository", "replica_upstream": "rep2", "replica_apply_delay": f"{DELAY}s"}
LEAVING = ("-e", "decommission_host=rep3", "-e", "confirm=goods")

pytestmark = pytest.mark.lab


def describe(it: Estate, **members: dict[str, Any]) -> None:
    """Say which members there are."""
    at = {name: {"ansible_host": it.addresses[name]} for name in HOSTS}
    hosts = {name: {**at[name], **own} for name, own in members.items()}
    repository = {"hosts": {"reprepo": at["reprepo"]}}
    it.describe(
        {"goods": {"hosts": hosts, "vars": MEMBERS}, "repository_hosts": repository}, backup_repository_host="reprepo"
    )


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    """A primary, a replica that its commits wait for, and a repository with a backup."""
    with lab_hosts(tmp_path_factory.mktemp("replica"), *HOSTS) as it:
        describe(it, rep1={}, rep2={})
        it.play("provision", cluster="goods")
        it.sql("rep1", "CREATE TABLE t AS SELECT 1 AS a")
        it.sql("rep1", "CREATE TABLE moments (at timestamptz)")
        it.play("backup", cluster="goods")
        it.sql("rep1", "INSERT INTO t VALUES (2)")
        yield it


def await_(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Wait until the condition holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.2)


def first_seen(estate: Estate, host: str) -> float:
    """How old the only moment is when it is seen there for the first time, in seconds."""
    until = time.monotonic() + 60
    while not (age := estate.sql(host, "SELECT extract(epoch FROM clock_timestamp() - at) FROM moments")):
        assert time.monotonic() < until, f"the moment never came to {host}"
        time.sleep(0.2)
    return float(age)


def rows(estate: Estate, host: str) -> str:
    """What the table holds."""
    return estate.sql(host, "SELECT string_agg(a::text, ' ' ORDER BY a) FROM t")


def test_a_replica_of_the_repository_at_the_end_of_a_cascade(estate: Estate) -> None:
    describe(estate, rep1={}, rep2={}, rep3=THIRD)
    estate.play("provision", cluster="goods")
    await_(lambda: rows(estate, "rep3") == "1 2", "the rows at the cascade's end")
    assert estate.sql("rep2", "SELECT application_name || state FROM pg_stat_replication") == "rep3streaming"
    slots = "SELECT string_agg(slot_name || active, ' ') FROM pg_replication_slots"
    assert [estate.sql(host, slots) for host in HOSTS[:3]] == ["rep2true", "rep3true", ""]
    assert "archive-get" in estate.sql("rep3", "SHOW restore_command")
    assert estate.on("rep3", "grep -c 'restored log file' /var/log/postgresql/postgresql-15-main.log").strip() != "0"


@pytest.mark.parametrize("words", [(), ("--check",)], ids=["again", "check"])
def test_a_converged_estate_is_left_alone(estate: Estate, words: tuple[str, ...]) -> None:
    assert changed(estate.play("provision", *words, cluster="goods")) == dict.fromkeys(HOSTS, 0)


def test_the_delayed_one_shows_late_what_the_one_before_it_has(estate: Estate) -> None:
    estate.sql("rep1", "INSERT INTO moments VALUES (clock_timestamp())")
    first_seen(estate, "rep2")
    # The hosts share a clock, and a slow machine can only see it later.
    assert first_seen(estate, "rep3") >= DELAY


def test_a_commit_waits_for_the_replica_that_is_cut_off(estate: Estate) -> None:
    assert estate.sql("rep1", "SHOW synchronous_standby_names") == 'ANY 1 ("rep2")'
    assert estate.sql("rep1", "SHOW synchronous_commit") == "remote_write"
    estate.lab("cut", "rep2", "--from", "rep1")
    try:
        words = "su postgres -c \"psql -qc 'INSERT INTO t VALUES (3)'\""
        pending = subprocess.Popen(["ssh", "-F", estate.ssh_config, "rep1", "cd /; " + words])
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        await_(lambda: estate.sql("rep1", waiting) == "1", "a commit that waits")
        assert rows(estate, "rep1") == "1 2"
    finally:
        estate.lab("heal", "rep2")
    assert pending.wait(120) == 0
    await_(lambda: rows(estate, "rep3") == "1 2 3", "the row at the cascade's end")


def test_one_that_vanished_leaves_nothing_behind_on_the_others(estate: Estate) -> None:
    planned = changed(estate.play("decommission", "--check", *LEAVING, cluster="goods"))
    assert (planned["rep2"], planned["rep3"]) == (1, 2)
    estate.lab("kill", "rep3")
    try:
        refused = estate.attempt("decommission", "-e", "cluster=goods", *LEAVING)
        assert "rep3 could not be seen, so it can't be stopped" in " ".join(refused.stdout.split())
        gone = ("-e", "decommission_unreachable=true")
        done = estate.attempt("decommission", "-e", "cluster=goods", *LEAVING, *gone)
        assert (done.returncode, changed(done.stdout)["rep2"]) == (UNREACHABLE, 1), done.stdout[-3000:]
    finally:
        estate.lab("start", "rep3")
    assert estate.sql("rep2", "SELECT count(*) FROM pg_replication_slots") == "0"


def test_one_that_left_stays_away_after_a_boot(estate: Estate) -> None:
    """The one that came back: its server has started with its host."""
    await_(lambda: "online" in estate.on("rep3", "pg_lsclusters -h", check=False), "the server that came back")
    assert "its data is in" in " ".join(estate.play("decommission", *LEAVING, cluster="goods").split())
    estate.lab("kill", "rep3")
    estate.lab("start", "rep3")
    assert estate.on("rep3", "pg_lsclusters -h; pgrep -c postgres || true").split() == ["0"]
    assert "failed" not in estate.on("rep3", "systemctl list-units --failed --plain --no-legend 'postgresql*'")
    left = estate.on("rep3", "ls -d /var/lib/postgresql/15/*; ls /etc/postgresql/15/main").split()
    assert left[0].startswith("/var/lib/postgresql/15/main.decommissioned-")
    assert "postgresql.conf.decommissioned" in left
    again = changed(estate.play("decommission", *LEAVING, cluster="goods"))
    assert set(again.values()) == {0}
