# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster that somebody backs up with pg_basebackup and rsync, drilled from the files alone."""

from __future__ import annotations

import pytest

from tests.lab.adoption.conftest import Hands

pytestmark = pytest.mark.lab

PORT = 5433
DRILL = (
    "-e", "cluster=plain", "-e", "restore_drill_tool=native",
    "-e", "restore_drill_backup_path=/srv/plain/backup", "-e", "restore_drill_wal_path=/srv/plain/wal",
)  # fmt: skip
ARCHIVE = """
cat > /usr/local/bin/ship-wal <<'SH'
#!/bin/sh
exec rsync -a --ignore-existing "$1" "postgres@proof:/srv/plain/wal/$2"
SH
chmod 755 /usr/local/bin/ship-wal
"""
BACKUP = f"""
cd /
su postgres -c '
set -e
rm -rf /var/lib/postgresql/base
pg_basebackup -p {PORT} -D /var/lib/postgresql/base -c fast -X stream
rsync -a /var/lib/postgresql/base/ postgres@proof:/srv/plain/backup/monday/
'
"""


@pytest.fixture(scope="module")
def shipped(hands: Hands) -> None:
    """The hand-made set-up: a cluster, its base backup and its WAL on the drill host."""
    hands.on("proof", "install -d -o postgres -g postgres -m 700 /srv/plain /srv/plain/backup /srv/plain/wal")
    hands.lets_in("proof", "legacy")
    hands.on("legacy", f"{ARCHIVE}\npg_createcluster 15 plain -p {PORT} -- -k >/dev/null\npg_ctlcluster 15 plain start")
    hands.sql(
        PORT,
        "ALTER SYSTEM SET archive_mode = on",
        "ALTER SYSTEM SET archive_command = '/usr/local/bin/ship-wal %p %f'",
        "CREATE TABLE parts AS SELECT id, repeat(id::text, 5) AS what FROM generate_series(1, 20000) AS id",
    )
    hands.on("legacy", "pg_ctlcluster 15 plain restart")
    hands.on("legacy", BACKUP)
    hands.sql(PORT, "INSERT INTO parts SELECT id, 'later' FROM generate_series(20001, 25000) AS id")
    last = hands.sql(PORT, "SELECT pg_walfile_name(pg_current_wal_insert_lsn())", "SELECT pg_switch_wal()").split()[0]
    hands.on("proof", f"timeout 60 sh -c 'until [ -e /srv/plain/wal/{last} ]; do sleep 0.2; done'")


def test_the_drill_verifies_it_with_the_source_switched_off(hands: Hands, shipped: None) -> None:
    del shipped
    hands.lab("kill", "legacy")
    try:
        done = hands.play("restore_drill", *DRILL)
    finally:
        hands.lab("start", "legacy")
    assert done.returncode == 0, done.stdout[-4000:]
    record = hands.last_record("plain")
    assert record["verdict"] == "verified"
    assert record["measurements"]["backup_label"] == "monday"
    assert record["measurements"]["rows_checked"] >= 25000


def test_a_gap_in_the_shipped_wal_is_told_by_its_name(hands: Hands, shipped: None) -> None:
    del shipped
    listed = hands.on("proof", "ls /srv/plain/wal | grep -E '^[0-9A-F]{24}$' | sort").splitlines()
    gone = listed[-2]
    hands.on("proof", f"mv /srv/plain/wal/{gone} /srv/plain/kept")
    try:
        done = hands.play("restore_drill", *DRILL)
    finally:
        hands.on("proof", f"mv /srv/plain/kept /srv/plain/wal/{gone}")
    assert done.returncode != 0
    record = hands.last_record("plain")
    assert record["verdict"] == "failed"
    assert any(gone in check["message"] for check in record["checks"] if check["status"] == "failed"), record["checks"]
