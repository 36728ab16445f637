# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster made with pg_createcluster and backed up by a hand-written pgBackRest, drilled with its host off."""

from __future__ import annotations

import json

import pytest

from tests.lab.adoption.conftest import Hands

pytestmark = pytest.mark.lab

DRILL = ("-e", "cluster=legacy", "-e", "restore_drill_tool=pgbackrest", "-e", "restore_drill_stanza=main")
PGBACKREST = """
cat > /etc/pgbackrest.conf <<'CONF'
[global]
{globals}

[main]
{stanza}
CONF
"""


@pytest.fixture(scope="module")
def backed_up(hands: Hands) -> str:
    """The hand-made set-up; returns the label of its backup."""
    hands.lets_in("vault", "legacy")
    hands.lets_in("legacy", "vault")
    hands.lets_in("vault", "proof")
    own = "pg1-path=/var/lib/postgresql/15/main"
    far = "repo1-host=vault\nrepo1-host-user=postgres"
    hands.on("legacy", PGBACKREST.format(globals=far, stanza=own))
    hands.on("proof", PGBACKREST.format(globals=far, stanza=""))
    here = "repo1-path=/var/lib/pgbackrest\nrepo1-retention-full=3\nlog-level-console=info\nrepo1-bundle=y"
    hands.on("vault", PGBACKREST.format(globals=here, stanza=f"{own}\npg1-host=legacy\npg1-host-user=postgres"))
    hands.sql(
        5432,
        "ALTER SYSTEM SET archive_mode = on",
        "ALTER SYSTEM SET archive_command = 'pgbackrest --stanza=main archive-push %p'",
        "CREATE TABLE ledger AS SELECT id, md5(id::text) AS what FROM generate_series(1, 20000) AS id",
    )
    hands.on("legacy", "pg_ctlcluster 15 main restart")
    hands.on("vault", "cd /; su postgres -c 'pgbackrest --stanza=main stanza-create; pgbackrest --stanza=main check'")
    hands.on("vault", "cd /; su postgres -c 'pgbackrest --stanza=main backup --type=full'")
    hands.sql(5432, "INSERT INTO ledger SELECT id, md5(id::text) FROM generate_series(20001, 30000) AS id")
    hands.sql(5432, "INSERT INTO ledger VALUES (30001, 'the last')", "SELECT pg_switch_wal()")
    hands.on("vault", "cd /; su postgres -c 'pgbackrest --stanza=main check'")
    return hands.on("vault", "cd /; su postgres -c 'pgbackrest --stanza=main repo-ls backup/main --filter=F$'")


def test_the_drill_verifies_it_with_the_source_switched_off(hands: Hands, backed_up: str) -> None:
    hands.lab("kill", "legacy")
    try:
        canary = "SELECT count(*), max(what) FILTER (WHERE id = 30001) FROM ledger"
        invariant = {"name": "last_row", "database": "postgres", "query": canary, "expected": "30001\tthe last"}
        done = hands.play("restore_drill", *DRILL, "-e", json.dumps({"restore_drill_invariants": [invariant]}))
    finally:
        hands.lab("start", "legacy")
    assert done.returncode == 0, done.stdout[-4000:]
    record = hands.last_record("legacy")
    assert record["verdict"] == "verified"
    assert record["measurements"]["backup_label"] == backed_up
    assert record["measurements"]["rows_checked"] >= 30001
    statuses = {check["name"]: check["status"] for check in record["checks"]}
    assert "failed" not in statuses.values(), statuses


def test_nothing_of_the_copy_is_left(hands: Hands, backed_up: str) -> None:
    del backed_up
    assert hands.on("proof", "pgrep -c -u postgres postgres || true") == "0"
    assert hands.on("proof", "find /var/lib/boringdb -name PG_VERSION | wc -l") == "0"


def test_a_damaged_backup_fails_the_drill_and_is_recorded(hands: Hands, backed_up: str) -> None:
    place = f"/var/lib/pgbackrest/backup/main/{backed_up}"
    hands.on("vault", f"cp -a {place} /root/kept; find {place}/bundle -type f -exec truncate -s -2000 {{}} \\;")
    try:
        done = hands.play("restore_drill", *DRILL)
    finally:
        hands.on("vault", f"rm -rf {place}; mv /root/kept {place}")
    assert done.returncode != 0
    record = hands.last_record("legacy")
    assert record["verdict"] == "failed", record
    said = {check["name"]: check["message"] for check in record["checks"] if check["status"] == "failed"}
    assert "is damaged in the repository: " in said["backup_bytes"], record["checks"]


def test_a_repository_that_is_switched_off_is_told_as_that(hands: Hands, backed_up: str) -> None:
    del backed_up
    hands.lab("cut", "vault")
    try:
        done = hands.play("restore_drill", *DRILL)
    finally:
        hands.lab("heal", "vault")
    assert done.returncode != 0
    record = hands.last_record("legacy")
    assert record["verdict"] in ("failed", "error")
    said = " ".join(check["message"] for check in record["checks"])
    assert "the repository can't be reached: " in said, record["checks"]
