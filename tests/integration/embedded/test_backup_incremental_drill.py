# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Incremental backups through the playbooks: provisioned for, taken, drilled, and recorded when the chain is broken."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from estate import Estate
from mended import programs_18
from test_provision import changed


@pytest.fixture
def cluster() -> Iterator[Estate]:
    """A place for a cluster."""
    made = Estate()
    try:
        yield made
    finally:
        made.down()


def test_a_chain_through_the_playbooks(cluster: Estate) -> None:
    own = {"db_version": 18, "db_bin_dir": str(programs_18(cluster.home / "bin18"))}
    cluster.converge("provision", **own)
    cluster.converge("evidence_key")
    assert {cluster.sql("SHOW summarize_wal", host) for host in cluster.members} == {"on"}
    assert set(changed(cluster.converge("provision", **own)).values()) == {0}
    told = cluster.play("backup", backup_type="incr", **own).told()
    assert "refused: there is no backup of this server to build on (take a full one first)" in told
    assert not (cluster.home / "db1/data/boringdb").exists(), "refused before anything was written"
    cluster.converge("backup", **own)
    for number in (1, 2):
        cluster.sql(f"CREATE TABLE made_{number} AS SELECT n FROM generate_series(1, 10000) n")
        assert " incr of orders" in cluster.converge("backup", backup_type="incr", **own)
    cluster.sql("CREATE TABLE after AS SELECT 1 AS n")
    cluster.converge("restore_drill", **own)
    assert cluster.verdicts() == ["verified"]
    full = cluster.backups / cluster.labels()[0]
    full.rename(cluster.home / "away")
    told = cluster.play("restore_drill", **own).told()
    assert "its chain is broken: the backup from " in told
    assert cluster.verdicts()[1] == "failed"
