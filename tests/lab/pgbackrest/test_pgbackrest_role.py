# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role backup with pgBackRest on real hosts: two members, an encrypted repository, and a drill host."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
TOOLS = Path(sys.executable).parent
HOSTS = ("shop1", "shop2", "shoprepo", "shopdrill")
KEY = "a key that only the repository's host knows"

pytestmark = pytest.mark.lab


class Estate:
    """The hosts and the inventory that describes them."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.inventory = home / "hosts.json"

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
            "ansible_user": "root",
            "ansible_ssh_common_args": f"-F {self.ssh_config}",
            "ansible_ssh_pipelining": True,
            "ansible_python_interpreter": "/usr/bin/python3",
            "backup_repository_host": "shoprepo",
            **{f"evidence_{name}": str(self.home / place) for name, place in
               {"ledger": "ledger", "key": "key.pem", "public_key": "key.pub.pem"}.items()},
        }  # fmt: skip
        members = {
            "db_version": 15,
            "db_service": "postgresql@15-main",
            "db_data_dir": "/var/lib/postgresql/15/main",
            "db_config_dir": "/etc/postgresql/15/main",
            "db_address": "{{ ansible_host }}",
            "db_backup_tool": "pgbackrest",
            "postgresql_replication_password": "for the lab only, 32 characters!",
        }
        groups: dict[str, Any] = {
            "shop": {"hosts": {name: at[name] for name in HOSTS[:2]}, "vars": members},
            "repository_hosts": {"hosts": {"shoprepo": {**at["shoprepo"], "backup_cipher_pass": KEY}}},
            "drill_hosts": {"hosts": {"shopdrill": at["shopdrill"]}},
        }
        self.inventory.write_text(json.dumps({"all": {"vars": everybody, "children": groups}}))

    def play(self, playbook: str, *words: str) -> str:
        argv = [str(TOOLS / "ansible-playbook"), "-i", str(self.inventory), f"playbooks/{playbook}.yml"]
        done = subprocess.run(
            [*argv, "-e", "cluster=shop", *words], cwd=ROOT, capture_output=True, text=True, timeout=900, check=False
        )
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
        return done.stdout

    def on(self, host: str, script: str, check: bool = True) -> str:
        argv = ["ssh", "-F", self.ssh_config, host, "cd /; " + script]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
        assert not check or done.returncode == 0, f"{host}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    """A provisioned cluster with its repository."""
    if os.getuid() != 0:
        pytest.skip("the lab needs root")
    it = Estate(tmp_path_factory.mktemp("pgbackrest"))
    doctor = subprocess.run([sys.executable, "-m", "tests.lab", "doctor"], cwd=ROOT, capture_output=True, check=False)
    if doctor.returncode != 0:
        pytest.skip(f"no lab here: {doctor.stdout.decode()}")
    it.lab("up", *HOSTS)
    try:
        it.describe()
        for host in HOSTS:
            # A tree that was built this hour has empty package lists that look fresh.
            it.on(host, "touch -d @0 /var/lib/apt/lists")
        it.play("provision")
        it.play("evidence_key")
        yield it
    finally:
        if not os.environ.get("BORINGDB_LAB_KEEP"):
            it.lab("down", *HOSTS)


def _changed(recap: str) -> dict[str, int]:
    return {name: int(number) for name, number in re.findall(r"^(\w+)\s+: ok=\d+\s+changed=(\d+)", recap, re.MULTILINE)}


@pytest.mark.parametrize("words", [(), ("--check",)], ids=["again", "check"])
def test_a_converged_estate_is_left_alone(estate: Estate, words: tuple[str, ...]) -> None:
    assert _changed(estate.play("provision", *words)) == dict.fromkeys(HOSTS, 0)


def test_the_key_of_the_repository_is_on_its_host_alone(estate: Estate) -> None:
    for host in HOSTS:
        found = estate.on(host, f'grep -rlF "{KEY}" /etc /var/lib/postgresql || true').split()
        assert found == (["/etc/pgbackrest/conf.d/shop.conf"] if host == "shoprepo" else [])
    assert estate.on("shoprepo", "stat -c '%a %U %G' /etc/pgbackrest/conf.d/shop.conf").strip() == "640 root postgres"


def test_a_drill_host_reads_the_repository_and_can_not_write_it(estate: Estate) -> None:
    as_drill = "su postgres -c 'pgbackrest --stanza=shop {}' </etc/hostname"
    assert "archive.info" in estate.on("shopdrill", as_drill.format("repo-ls archive/shop"))
    said = estate.on("shopdrill", as_drill.format("repo-put archive/shop/x"), check=False)
    assert "Permission denied" in said
    assert "/x" not in estate.on("shoprepo", "find /var/lib/pgbackrest -name x")


@pytest.mark.parametrize(("guest", "account"), [("shopdrill", "pgbackrest_reader"), ("shop1", "postgres")])
def test_a_key_opens_pgbackrest_and_no_shell(estate: Estate, guest: str, account: str) -> None:
    address = json.loads(estate.inventory.read_text())["all"]["children"]["repository_hosts"]["hosts"]["shoprepo"]
    for wish in ("id", "pgbackrest version; id #:remote", "pgbackrest-evil x:remote"):
        connect = f'ssh -F /etc/pgbackrest/ssh/config {account}@{address["ansible_host"]} \\"{wish}\\"'
        said = estate.on(guest, f'su postgres -c "{connect}"', check=False)
        assert "uid=" not in said, said


def test_a_drill_is_verified_with_every_member_switched_off(estate: Estate) -> None:
    estate.on("shop1", "su postgres -c \"psql -qc 'CREATE TABLE goods AS SELECT generate_series(1, 5000) AS id'\"")
    estate.play("backup")
    estate.on("shop1", "su postgres -c \"psql -qc 'INSERT INTO goods SELECT generate_series(5001, 6000)'\"")
    estate.on("shoprepo", "su postgres -c 'pgbackrest --stanza=shop check'")
    estate.play("backup", "-e", "backup_type=incr")
    estate.lab("kill", "shop1", "shop2")
    try:
        said = estate.play("restore_drill")
    finally:
        estate.lab("start", "shop1", "shop2")
    assert re.search(r"shop verified .*rows=6000", said), said[-2000:]


def test_a_run_without_the_repository_s_host_is_refused(estate: Estate) -> None:
    with pytest.raises(AssertionError, match="shoprepo holds the repository of shop and is not part of this run"):
        estate.play("provision", "--limit", "shop,shopdrill")
