# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`restore` on hosts of trixie with pgBackRest: back to a moment, its way back, after the primary's disk was lost."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.lab.cluster import TRIXIE
from tests.lab.estate import Estate, changed, lab_hosts

pytestmark = pytest.mark.lab

HOSTS = ("res1", "res2", "resrepo", "resdrill")
DATA, CONFIG, UNIT = (TRIXIE.members[name] for name in ("db_data_dir", "db_config_dir", "db_service"))
#: Stands for a pooler: a unit that has to be stopped before, and started after.
POOLER = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    """A cluster with a tablespace, a replica, a pooler on each member, and one backup."""
    with lab_hosts(tmp_path_factory.mktemp("restore"), *TRIXIE.hosts(*HOSTS)) as it:
        at = {name: {"ansible_host": it.addresses[name]} for name in HOSTS}
        own = {"postgresql_settings": {"log_min_messages": "warning"}, "restore_pooler_service": "pooler"}
        it.describe({
            "res": {"hosts": {name: at[name] for name in HOSTS[:2]}, "vars": {**TRIXIE.members, **own}},
            "repository_hosts": {"hosts": {"resrepo": at["resrepo"]}},
            "drill_hosts": {"hosts": {"resdrill": at["resdrill"]}},
        }, backup_repository_host="resrepo")  # fmt: skip
        for host in HOSTS[:2]:
            it.on(host, f"printf '{POOLER}' >/etc/systemd/system/pooler.service; systemctl enable --now pooler")
        it.play("provision", cluster="res")
        it.play("evidence_key", cluster="res")
        for host in HOSTS[:2]:
            it.on(host, "install -d -o postgres /srv/spaces && install -d -m 700 -o postgres /srv/spaces/fast")
        it.sql("res1", "CREATE TABLESPACE fast LOCATION '/srv/spaces/fast'")
        it.sql("res1", "CREATE TABLE goods TABLESPACE fast AS SELECT generate_series(1, 5000) AS id")
        it.sql("res1", "CREATE TABLE notes AS SELECT 1 AS id")
        it.play("backup", cluster="res")
        yield it


def restore(estate: Estate, *words: str, **variables: object) -> subprocess.CompletedProcess[str]:
    """The playbook, confirmed."""
    given = json.dumps({"cluster": "res", "confirm": "res", "restore_poolers": "res", **variables})
    return estate.attempt("restore", "-e", given, *words)


def rows(estate: Estate, host: str = "res1") -> str:
    """How many goods and notes there are."""
    return estate.sql(host, "SELECT (SELECT count(*) FROM goods), (SELECT count(*) FROM notes)")


def await_rows(estate: Estate, host: str, wanted: str) -> None:
    """Wait until a replica has replayed as much."""
    until = time.monotonic() + 30
    while (said := rows(estate, host)) != wanted:
        assert time.monotonic() < until, said
        time.sleep(0.2)


def whole(estate: Estate, wanted: str) -> None:
    """Both members serve the same rows, the replica streams, the archive takes the new timeline, the poolers run."""
    assert rows(estate) == wanted
    assert estate.sql("res1", "SELECT application_name, state FROM pg_stat_replication") == "res2|streaming"
    assert estate.sql("res2", "SELECT pg_is_in_recovery()") == "t"
    await_rows(estate, "res2", wanted)
    estate.on("resrepo", "su postgres -c 'pgbackrest --stanza=res check'")
    for host in HOSTS[:2]:
        assert estate.on(host, f"systemctl is-active {UNIT} pooler").split() == ["active", "active"]


def moment(estate: Estate) -> str:
    """Now, by the primary's clock."""
    return estate.sql("res1", "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US+00')")


def test_the_packages_are_those_that_the_support_matrix_names(estate: Estate) -> None:
    TRIXIE.is_on(estate, "res1", "resrepo")


def test_a_dry_run_says_what_would_be_done_and_does_nothing(estate: Estate) -> None:
    before = estate.on("res1", f"ls {DATA}.* /srv/spaces; systemctl show -p MainPID {UNIT} pooler", False)
    done = restore(estate, "--check")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "restore: res to latest from backup" in " ".join(done.stdout.split())
    after = estate.on("res1", f"ls {DATA}.* /srv/spaces; systemctl show -p MainPID {UNIT} pooler", False)
    assert after == before


def test_a_cluster_goes_back_to_a_moment_and_its_replica_with_it(estate: Estate) -> None:
    estate.sql("res1", "INSERT INTO goods SELECT generate_series(5001, 6000)")
    target = moment(estate)
    estate.sql("res1", "INSERT INTO notes SELECT generate_series(2, 10)")
    estate.sql("res1", "DROP TABLE goods")
    configuration = estate.on("res1", f"cd {CONFIG} && find . -type f | sort | xargs sha256sum")
    done = restore(estate, restore_target_type="time", restore_target=target)
    assert done.returncode == 0, done.stdout[-5000:]
    whole(estate, "6000|1")
    assert estate.on("res1", f"cd {CONFIG} && find . -type f | sort | xargs sha256sum") == configuration
    said = estate.record("res")
    assert (said["operation"], said["verdict"]) == ("restore", "verified")
    assert said["measurements"]["reached_timeline"] == 2
    # The old data is whole, with its tablespace; the new tablespace lies where the old one was.
    aside = estate.on("res1", f"ls -d {DATA}.before-*").strip()
    link = estate.on("res1", f"readlink {aside}/pg_tblspc/*").strip()
    assert link.startswith("/srv/spaces/fast.before-")
    assert estate.on("res1", f"readlink {DATA}/pg_tblspc/*").strip() == "/srv/spaces/fast"
    assert "PG_17" in estate.on("res1", f"ls {link}")
    assert "PG_17" in estate.on("res2", "ls /srv/spaces/fast.before-*")


def test_the_same_again_does_nothing(estate: Estate) -> None:
    asked = json.loads(estate.on("res1", f"cat {DATA}.in_place.json"))["request"]
    done = restore(estate, restore_target_type=asked["target_type"], restore_target=asked["target"])
    assert done.returncode == 0, done.stdout[-3000:]
    assert "was restored to this target already" in " ".join(done.stdout.split())
    assert {changed(done.stdout)[host] for host in HOSTS[:2]} == {0}
    whole(estate, "6000|1")


def test_a_drill_of_the_restored_cluster_is_verified(estate: Estate) -> None:
    estate.play("backup", cluster="res")
    assert "res verified" in estate.play("restore_drill", cluster="res")


def test_it_can_be_undone(estate: Estate) -> None:
    done = restore(estate, restore_state="undone")
    assert done.returncode == 0, done.stdout[-5000:]
    assert estate.sql("res1", "SELECT count(*), to_regclass('goods') FROM notes") == "10|"
    assert estate.sql("res1", "SELECT timeline_id FROM pg_control_checkpoint()") == "3"
    until = time.monotonic() + 30
    while estate.sql("res1", "SELECT state FROM pg_stat_replication") != "streaming":
        assert time.monotonic() < until
        time.sleep(0.2)
    estate.on("resrepo", "su postgres -c 'pgbackrest --stanza=res check'")


def test_a_lost_disk_and_a_lost_configuration_come_back(estate: Estate) -> None:
    estate.play("backup", cluster="res")
    estate.sql("res1", "CREATE TABLE goods AS SELECT generate_series(1, 77) AS id")
    estate.sql("res1", "SELECT pg_switch_wal()")
    estate.on("resrepo", "su postgres -c 'pgbackrest --stanza=res check'")
    estate.on("res1", f"systemctl kill -s KILL {UNIT}; sleep 1; systemctl reset-failed {UNIT};"
                      f"rm -rf {DATA} {CONFIG}/*")  # fmt: skip
    refused = restore(estate)
    assert refused.returncode != 0
    assert "who is to be the primary is not known" in " ".join(refused.stdout.split())
    done = restore(estate, restore_primary="res1")
    assert done.returncode == 0, done.stdout[-5000:]
    whole(estate, "77|10")
    assert "archive_command" in estate.on("res1", f"cat {CONFIG}/conf.d/backup.conf")


def test_only_what_differs_is_fetched_when_asked(estate: Estate) -> None:
    estate.sql("res1", "INSERT INTO goods SELECT generate_series(78, 100)")
    done = restore(estate, restore_again=True, restore_primary="res1", restore_delta=True)
    assert done.returncode == 0, done.stdout[-5000:]
    whole(estate, "100|10")
