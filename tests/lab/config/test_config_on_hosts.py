# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings and restarts of a real pair with a repository host: the order, what is told, and what converging costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bench.counting import counting

ROOT = Path(__file__).resolve().parents[3]
TOOLS = Path(sys.executable).parent
HOSTS = ("cfg1", "cfg2", "cfgrepo")
pytestmark = pytest.mark.lab


class Estate:
    """The hosts and the inventory that describes them."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.inventory = home / "hosts.json"
        self.ssh_config = ""

    def lab(self, *argv: str) -> str:
        command = [sys.executable, "-m", "tests.lab", *argv]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
        assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout

    def describe(self) -> None:
        """Write the inventory."""
        status = json.loads(self.lab("status", "--json"))
        at = {host["name"]: {"ansible_host": host["address"]} for host in status["hosts"]}
        self.ssh_config = status["ssh_config"]
        everybody = {
            "ansible_user": "root", "ansible_ssh_common_args": f"-F {self.ssh_config}",
            "ansible_ssh_pipelining": True, "ansible_python_interpreter": "/usr/bin/python3",
            "backup_repository_host": "cfgrepo",
        }  # fmt: skip
        members = {
            "db_version": 15, "db_service": "postgresql@15-main", "db_data_dir": "/var/lib/postgresql/15/main",
            "db_config_dir": "/etc/postgresql/15/main", "db_address": "{{ ansible_host }}",
            "db_backup_tool": "pgbackrest", "postgresql_replication_password": "for the lab only, 32 characters!",
        }  # fmt: skip
        groups: dict[str, Any] = {
            "cfg": {"hosts": {name: at[name] for name in HOSTS[:2]}, "vars": members},
            "repository_hosts": {"hosts": {"cfgrepo": at["cfgrepo"]}},
        }
        self.inventory.write_text(json.dumps({"all": {"vars": everybody, "children": groups}}))

    def play(self, playbook: str, *words: str, env: dict[str, str] | None = None) -> str:
        argv = [str(TOOLS / "ansible-playbook"), "-i", str(self.inventory), f"playbooks/{playbook}.yml"]
        done = subprocess.run(
            [*argv, "-e", "cluster=cfg", *words], cwd=ROOT, capture_output=True, text=True, timeout=900, check=False,
            env={**os.environ, **(env or {})},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
        return done.stdout

    def sql(self, host: str, text: str) -> str:
        """Run SQL on a host; returns the bare answer."""
        argv = ["ssh", "-F", self.ssh_config, host, f"cd /; su postgres -c \"psql -XAtqc '{text}'\""]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, f"{host}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def started(self) -> dict[str, str]:
        """When each member's server was started."""
        return {host: self.sql(host, "SELECT pg_postmaster_start_time()") for host in HOSTS[:2]}


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    """A provisioned pair with its repository."""
    if os.getuid() != 0:
        pytest.skip("the lab needs root")
    it = Estate(tmp_path_factory.mktemp("config"))
    it.lab("up", *HOSTS)
    try:
        it.describe()
        for host in HOSTS:
            # A tree that was built this hour has empty package lists that look fresh.
            subprocess.run(["ssh", "-F", it.ssh_config, host, "touch -d @0 /var/lib/apt/lists"], check=True, timeout=60)
        it.play("provision")
        yield it
    finally:
        it.lab("down", *HOSTS)


def test_converging_again_takes_few_tasks(estate: Estate, tmp_path: Path) -> None:
    counts = tmp_path / "counts.json"
    output = estate.play("provision", env=counting(counts))
    assert "changed: [" not in output
    for host, count in json.loads(counts.read_text()).items():
        print(host, {name: count[name] for name in ("tasks", "runs", "beside")})
        assert count["tasks"] <= 40, (host, count["names"])


def test_a_real_pair_is_restarted_in_the_right_order(estate: Estate) -> None:
    """Raised on the replica first, lowered on the primary first, by systemd; both replicate afterwards."""
    before = estate.started()
    change = ("-e", json.dumps({"postgresql_settings": {"max_connections": 120, "max_wal_senders": 12}}))
    told = " ".join(estate.play("provision", *change).split())
    assert "cfg2 awaits a restart: max_connections from 100 to 120, max_wal_senders from 10 to 12" in told
    assert estate.started() == before
    estate.play("restart")
    raised = estate.started()
    assert before["cfg1"] < raised["cfg2"] < raised["cfg1"]
    change = ("-e", json.dumps({"postgresql_settings": {"max_connections": 90}}))
    estate.play("provision", *change, "-e", "postgresql_restart=true")
    lowered = estate.started()
    assert raised["cfg2"] < lowered["cfg1"] < lowered["cfg2"]
    assert [estate.sql(host, "SHOW max_connections") for host in HOSTS[:2]] == ["90", "90"]
    assert estate.sql("cfg1", "SELECT string_agg(state, chr(44)) FROM pg_stat_replication") == "streaming"
