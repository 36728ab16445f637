# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One cluster of the lab that pgBackRest backs up: its members' variables, and what its tests ask of it."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.estate import ROOT, TOOLS, Estate


@dataclass(frozen=True)
class Suite:
    """A Debian suite with the PostgreSQL and the pgBackRest of its own packages, as the support matrix names them."""

    name: str
    postgresql: int
    pgbackrest: str

    @property
    def members(self) -> dict[str, Any]:
        """The variables of a cluster's members, as the packages lay it out."""
        return {
            "db_version": self.postgresql,
            "db_service": f"postgresql@{self.postgresql}-main",
            "db_data_dir": f"/var/lib/postgresql/{self.postgresql}/main",
            "db_config_dir": f"/etc/postgresql/{self.postgresql}/main",
            "db_address": "{{ ansible_host }}",
            "db_backup_tool": "pgbackrest",
            "postgresql_replication_password": "for the lab only, 32 characters!",
        }

    def hosts(self, *names: str) -> list[str]:
        """As the lab wants to hear of them."""
        return [f"{name}@{self.name}" for name in names]

    def is_on(self, estate: Estate, primary: str, vault: str) -> None:
        """Whether what runs there is what is meant to be tested."""
        assert estate.sql(primary, "SHOW server_version").startswith(f"{self.postgresql}.")
        assert estate.on(vault, "pgbackrest version").split()[1].startswith(self.pgbackrest)
        # sid calls itself by the name that the next release will have, too: forky/sid.
        assert self.name in estate.on(primary, "cat /etc/os-release").splitlines()[0]


BOOKWORM, TRIXIE, SID = Suite("bookworm", 15, "2.45"), Suite("trixie", 17, "2.55"), Suite("sid", 18, "2.60")
#: Where a test does not say which suite it is on.
MEMBERS = BOOKWORM.members


@dataclass
class ClusterGround:
    """The estate, the folder of the controller's files, and the cluster by name, which is its stanza's, too."""

    estate: Estate
    home: Path
    cluster: str

    def play(self, playbook: str, *words: str) -> str:
        return self.estate.play(playbook, *words, cluster=self.cluster)

    def refused(self, playbook: str, *words: str, **given: Any) -> str:
        """Run a playbook that must fail; returns its output in one line."""
        extra = ("-e", json.dumps(given)) if given else ()
        done = self.estate.attempt(playbook, "-e", f"cluster={self.cluster}", *extra, *words)
        assert done.returncode != 0, done.stdout[-3000:]
        assert "PRIVATE KEY" not in done.stdout
        return " ".join(done.stdout.split())

    def module(self, host: str, name: str, failing: bool = False, **options: Any) -> dict[str, Any]:
        """Run one module as the database's account; returns what it answered."""
        argv = [str(TOOLS / "ansible"), "-i", str(self.estate.inventory), host, "-b", "--become-user", "postgres"]
        argv += ["-m", f"boringdb.ops.{name}", "-a", json.dumps(options), "-o"]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
        assert (done.returncode != 0) == failing, done.stdout + done.stderr
        answer: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
        return answer

    def pgbackrest(self, host: str, words: str, check: bool = True) -> str:
        return self.estate.on(host, f"su postgres -c 'pgbackrest --stanza={self.cluster} {words}'", check=check)
