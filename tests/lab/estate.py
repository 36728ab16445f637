# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every test on the lab's hosts needs: hosts that come and go with it, an inventory, playbooks, a shell."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.packed import packed

ROOT = Path(__file__).resolve().parents[2]
TOOLS = Path(sys.executable).parent


def changed(output: str) -> dict[str, int]:
    """How many tasks of a playbook changed something, by host."""
    recap = output[output.index("PLAY RECAP") :]
    return {
        host: int(count) for host, count in re.findall(r"^([\w-]+)\s+: ok=\d+\s+changed=(\d+)", recap, re.MULTILINE)
    }


class Estate:
    """Hosts of the lab and the inventory that describes them. Every failure fails the test with what was said."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.inventory = home / "hosts.json"
        self.addresses: dict[str, str] = {}
        self.ssh_config = ""

    def lab(self, *argv: str) -> str:
        """One verb of the lab."""
        command = [sys.executable, "-m", "tests.lab", *argv]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
        assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout

    def look(self) -> None:
        """Learn the hosts' addresses."""
        status = json.loads(self.lab("status", "--json"))
        self.addresses = {host["name"]: host["address"] for host in status["hosts"]}
        self.ssh_config = status["ssh_config"]

    def describe(self, groups: Mapping[str, Any], **everybody: Any) -> None:
        """Write the inventory: its groups, and variables for every host beside how to reach it."""
        ground = {
            "ansible_user": "root",
            "ansible_ssh_common_args": f"-F {self.ssh_config}",
            "ansible_ssh_pipelining": True,
            "ansible_python_interpreter": "/usr/bin/python3",
            **{f"evidence_{name}": str(self.home / place) for name, place in
               {"ledger": "ledger", "key": "key.pem", "public_key": "key.pub.pem"}.items()},
        }  # fmt: skip
        self.inventory.write_text(json.dumps({"all": {"vars": {**ground, **everybody}, "children": groups}}))

    def attempt(self, playbook: str, *words: str, timeout: float = 900) -> subprocess.CompletedProcess[str]:
        """Run a playbook, whatever comes of it."""
        argv = [str(TOOLS / "ansible-playbook"), "-i", str(self.inventory), f"playbooks/{playbook}.yml", *words]
        env = {**os.environ, **packed()}
        return subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=timeout, check=False)

    def play(self, playbook: str, *words: str, cluster: str) -> str:
        """Run a playbook that has to succeed; returns its output."""
        done = self.attempt(playbook, "-e", f"cluster={cluster}", *words)
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
        return done.stdout

    def on(self, host: str, script: str, check: bool = True) -> str:
        """Run a shell script as root on a host; returns what it printed."""
        argv = ["ssh", "-F", self.ssh_config, host, "cd /; " + script]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
        assert not check or done.returncode == 0, f"{host}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def sql(self, host: str, text: str, port: int = 5432) -> str:
        """Run SQL as the superuser on a host's server; returns the bare answer."""
        argv = ["ssh", "-F", self.ssh_config, host, f"cd /; su postgres -c 'psql -XAtq -v ON_ERROR_STOP=1 -p {port}'"]
        done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, f"{host}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def record(self, cluster: str) -> dict[str, Any]:
        """The newest record of a cluster's chain."""
        newest = max((self.home / "ledger" / cluster).glob("*.dsse.json"))
        found: dict[str, Any] = json.loads(base64.b64decode(json.loads(newest.read_text())["payload"]))["predicate"]
        return found


@contextmanager
def lab_hosts(home: Path, *hosts: str) -> Iterator[Estate]:
    """Hosts (NAME or NAME@SUITE), up and with the package lists of a new server; removed at the end.

    Skips where no lab can be. BORINGDB_LAB_KEEP leaves the hosts for a look.
    """
    if os.getuid() != 0:
        pytest.skip("the lab needs root")
    doctor = subprocess.run([sys.executable, "-m", "tests.lab", "doctor"], cwd=ROOT, capture_output=True, check=False)
    if doctor.returncode != 0:
        pytest.skip(f"no lab here: {doctor.stdout.decode()}")
    it = Estate(home)
    names = [host.partition("@")[0] for host in hosts]
    try:
        it.lab("up", *hosts)
        it.look()
        for host in names:
            # A tree that was built this hour has empty package lists that look fresh.
            it.on(host, "touch -d @0 /var/lib/apt/lists")
        yield it
    finally:
        if not os.environ.get("BORINGDB_LAB_KEEP"):
            it.lab("down", *names)
