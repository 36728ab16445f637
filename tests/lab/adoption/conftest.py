# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that were set up by hand, as somebody does who has never heard of this collection.

`legacy` runs databases, `vault` holds a pgBackRest repository, `proof` is where drills happen. They are the
lab's, beside whatever else runs there, and go away at the end (BORINGDB_LAB_KEEP leaves them).
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
HOSTS = ("legacy", "vault", "proof")
TOOLS = Path(sys.executable).parent
#: What a person types on every host before anything else.
TRUST = """
su postgres -c 'mkdir -p -m 700 ~/.ssh && ssh-keygen -q -t ed25519 -N "" -f ~/.ssh/id_ed25519 </dev/null'
su postgres -c 'printf "Host *\\n  StrictHostKeyChecking accept-new\\n  ConnectTimeout 5\\n" > ~/.ssh/config'
"""


@dataclass
class Hands:
    """Somebody at the keyboard of the hosts, and of the controller."""

    home: Path
    addresses: dict[str, str] = field(default_factory=dict)

    def lab(self, *argv: str) -> str:
        """One verb of the lab."""
        command = [sys.executable, "-m", "tests.lab", *argv]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
        assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout

    def on(self, host: str, script: str) -> str:
        """Run a shell script on a host as root; returns what it printed."""
        config = self.ssh_config
        argv = ["ssh", "-F", str(config), host, "bash", "-euo", "pipefail", "-s"]
        done = subprocess.run(argv, input=script, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, f"{host}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout.strip()

    @property
    def ssh_config(self) -> Path:
        cache = os.environ.get("BORINGDB_LAB_CACHE") or "/var/cache/boringdb/lab"
        return Path(cache) / "run" / "ssh_config"

    def sql(self, port: int, *statements: str) -> str:
        """Ask one of legacy's databases."""
        script = ";\n".join(statements)
        psql = f"psql -XAtq -v ON_ERROR_STOP=1 -p {port}"
        return self.on("legacy", f"cd /; su postgres -c '{psql}' <<'SQL'\n{script};\nSQL")

    def lets_in(self, host: str, guest: str) -> None:
        """Append a guest's key to the authorized keys of postgres."""
        key = self.on(guest, "cat ~postgres/.ssh/id_ed25519.pub")
        append = "umask 77; cat >> ~/.ssh/authorized_keys"
        self.on(host, f"su postgres -c '{append}' <<'KEY'\n{key}\nKEY")

    def play(self, playbook: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a playbook with an inventory that knows the drill host and nothing else."""
        variables = {
            "ansible_user": "root",
            "ansible_ssh_common_args": f"-F {self.ssh_config}",
            "ansible_python_interpreter": "/usr/bin/python3",
            "evidence_ledger": str(self.home / "ledger"),
            "evidence_key": str(self.home / "key.pem"),
            "evidence_public_key": str(self.home / "key.pub.pem"),
        }
        inventory = self.home / "hosts.json"
        drill = {"proof": {"ansible_host": self.addresses["proof"]}}
        inventory.write_text(json.dumps({"all": {"vars": variables, "children": {"drill_hosts": {"hosts": drill}}}}))
        argv = [str(TOOLS / "ansible-playbook"), "-i", str(inventory), f"playbooks/{playbook}.yml", *words]
        return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)

    def last_record(self, cluster: str) -> dict[str, Any]:
        """The newest record of a cluster's chain, its signature checked by the collection's own playbook before."""
        checked = self.play("verify_evidence")
        assert checked.returncode == 0, checked.stdout + checked.stderr
        newest = max((self.home / "ledger" / cluster).glob("*.dsse.json"))
        statement = json.loads(base64.b64decode(json.loads(newest.read_text())["payload"]))
        record: dict[str, Any] = statement["predicate"]
        return record


@pytest.fixture(scope="package")
def hands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hands]:
    """Three bare hosts with the distribution's packages, and an evidence key."""
    if os.getuid() != 0:
        pytest.skip("the lab needs root")
    it = Hands(tmp_path_factory.mktemp("adoption"))
    argv = [sys.executable, "-m", "tests.lab", "doctor"]
    doctor = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    if doctor.returncode != 0:
        pytest.skip(f"no lab here: {doctor.stdout}{doctor.stderr}")
    it.lab("up", *HOSTS)
    try:
        listed = json.loads(it.lab("status", "--json"))["hosts"]
        it.addresses = {host["name"]: host["address"] for host in listed}
        install = "apt-get update -qq\nDEBIAN_FRONTEND=noninteractive apt-get install -qqy --no-install-recommends"
        # Debian's package starts a cluster of its own right away, as it does for everybody.
        it.on("legacy", f"{install} postgresql-15 pgbackrest rsync >/dev/null")
        it.on("vault", f"{install} pgbackrest >/dev/null")
        it.on("proof", f"{install} postgresql-15 pgbackrest rsync python3-psycopg >/dev/null")
        it.on("proof", "pg_dropcluster --stop 15 main")
        for host in HOSTS:
            it.on(host, TRUST)
        made = it.play("evidence_key")
        assert made.returncode == 0, made.stdout + made.stderr
        yield it
    finally:
        if not os.environ.get("BORINGDB_LAB_KEEP"):
            it.lab("down", *HOSTS)
