# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings and restarts of a real pair with a repository host: the order, and what converging costs."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bench.counting import counting
from tests.lab.estate import ROOT, TOOLS, Estate, lab_hosts

MEMBERS = ("cfg1", "cfg2")
PLACE = {"data_dir": "/var/lib/postgresql/15/main", "config_dir": "/etc/postgresql/15/main"}
pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    """A provisioned pair with its repository."""
    with lab_hosts(tmp_path_factory.mktemp("config"), *MEMBERS, "cfgrepo") as it:
        at = {name: {"ansible_host": it.addresses[name]} for name in (*MEMBERS, "cfgrepo")}
        members = {
            "db_version": 15, "db_service": "postgresql@15-main", "db_address": "{{ ansible_host }}",
            "db_data_dir": PLACE["data_dir"], "db_config_dir": PLACE["config_dir"], "db_backup_tool": "pgbackrest",
            "postgresql_replication_password": "for the lab only, 32 characters!",
        }  # fmt: skip
        groups: dict[str, Any] = {
            "cfg": {"hosts": {name: at[name] for name in MEMBERS}, "vars": members},
            "repository_hosts": {"hosts": {"cfgrepo": at["cfgrepo"]}},
        }
        it.describe(groups, backup_repository_host="cfgrepo")
        it.play("provision", cluster="cfg")
        yield it


def started(estate: Estate) -> dict[str, str]:
    """When each member's server was started."""
    return {host: estate.sql(host, "SELECT pg_postmaster_start_time()") for host in MEMBERS}


def declare(estate: Estate, **settings: int) -> str:
    """Declare settings on both members; returns what the module says."""
    options = json.dumps({**PLACE, "file": "zzz", "settings": settings})
    argv = [str(TOOLS / "ansible"), "cfg", "-i", str(estate.inventory), "-b", "--become-user", "postgres"]
    done = subprocess.run(
        [*argv, "-m", "boringdb.ops.config", "-a", options], cwd=ROOT, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_converging_again_takes_few_tasks(
    estate: Estate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = tmp_path / "counts.json"
    for name, value in counting(counts).items():
        monkeypatch.setitem(os.environ, name, value)
    output = estate.play("provision", cluster="cfg")
    assert "changed: [" not in output
    for host, count in json.loads(counts.read_text()).items():
        print(host, {name: count[name] for name in ("tasks", "runs", "beside")})
        assert count["tasks"] <= 40, (host, count["names"])


def test_a_real_pair_is_restarted_in_the_right_order(estate: Estate) -> None:
    """Raised on the replica first, lowered on the primary first, by systemd; both replicate afterwards."""
    before = started(estate)
    assert "max_wal_senders" in declare(estate, max_connections=120, max_wal_senders=12)
    assert started(estate) == before
    estate.play("restart", cluster="cfg")
    raised = started(estate)
    assert before["cfg1"] < raised["cfg2"] < raised["cfg1"]
    declare(estate, max_connections=90)
    estate.play("restart", cluster="cfg")
    lowered = started(estate)
    assert raised["cfg2"] < lowered["cfg1"] < lowered["cfg2"]
    assert [estate.sql(host, "SHOW max_connections") for host in MEMBERS] == ["90", "90"]
    assert estate.sql("cfg1", "SELECT state FROM pg_stat_replication") == "streaming"
