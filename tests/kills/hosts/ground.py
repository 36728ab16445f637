# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ground of the victim `host`: a pair, its repository and a drill host, each a systemd host of the lab."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.kills.trail import following
from tests.kills.writer import Writer
from tests.lab import leftovers, plan, verbs
from tests.lab.cluster import MEMBERS
from tests.lab.estate import Estate
from tests.lab.interruption.runs import begin
from tests.modules import REPO

CLUSTER = "cuts"
PRIMARY, REPLICA, REPOSITORY, DRILL = HOSTS = ("cuts1", "cuts2", "cutsrepo", "cutsdrill")
ROWS = 60000
_AUDIT = REPO / "tools/audit_evidence.py"
#: A host without power is noticed after six seconds instead of fifteen.
_IMPATIENT = {"ansible_ssh_extra_args": "-o ServerAliveInterval=2 -o ConnectTimeout=5"}
_PASSWORD = "for the writer in the lab, 32 chars"
_NAMES = """
find /var/lib/postgresql/15 /etc/postgresql -mindepth 1 -maxdepth 1
find /etc/postgresql/15/main /etc/pgbackrest /var/lib/boringdb -mindepth 1 -maxdepth 2 2>/dev/null
find /var/lib/pgbackrest/backup -mindepth 1 -maxdepth 2 2>/dev/null
"""
_MOMENT = re.compile(r"\d{8}-?T?\d{6}[\d.]*[A-Z]?(_\d{8}-\d{6}[A-Z])?|(?<=/)\d{6,}")


class Hosts(Estate):
    """The cluster `cuts`. Everything of it is gone at the end of `with`."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.trail = home / "trail"

    def __enter__(self) -> Hosts:
        self.fresh()
        return self

    def __exit__(self, *_error: object) -> None:
        self.lab("down", *HOSTS)

    def fresh(self) -> None:
        """New hosts without anything, and what the controller needs of them."""
        if verbs.network.link_exists(plan.BRIDGE):
            self.lab("down", *HOSTS)
        self.lab("up", *HOSTS)
        self.look()
        at = {name: {"ansible_host": self.addresses[name], **_IMPATIENT} for name in HOSTS}
        members = {"hosts": {name: at[name] for name in HOSTS[:2]}, "vars": MEMBERS}
        self.describe(
            {
                CLUSTER: members,
                "repository_hosts": {"hosts": {REPOSITORY: {**at[REPOSITORY], "backup_retention_full": 9}}},
                "drill_hosts": {"hosts": {DRILL: at[DRILL]}},
            },
            backup_repository_host=REPOSITORY,
        )
        for host in HOSTS:
            # A tree that was built this hour has empty package lists that look fresh.
            self.on(host, "touch -d @0 /var/lib/apt/lists")

    def fill(self) -> None:
        """Rows, and an account for a client that writes from the controller."""
        rows = f"SELECT n AS id, md5(n::text) AS note FROM generate_series(1, {ROWS}) n"
        self.sql(PRIMARY, f"CREATE TABLE stock AS {rows}")
        self.sql(PRIMARY, f"CREATE ROLE writer LOGIN SUPERUSER PASSWORD '{_PASSWORD}'")
        # What a writer of the controller may wait for a host that is gone.
        for host in (REPOSITORY, DRILL):
            self.on(host, "sed -i 's/ServerAliveInterval 15/ServerAliveInterval 2/' /etc/pgbackrest/ssh/config")

    def writer(self) -> Writer:
        """A client that writes to the primary over the network."""
        where = {"host": self.addresses[PRIMARY], "port": 5432, "user": "writer", "dbname": "postgres"}
        return Writer({**where, "password": _PASSWORD, "connect_timeout": 2, "tcp_user_timeout": 2000})

    # --- runs -----------------------------------------------------------------------------------------------

    def begin(self, playbook: str, **variables: Any) -> Any:
        """Start a playbook with an empty trail."""
        self.trail.unlink(missing_ok=True)
        given = json.dumps({"cluster": CLUSTER, **variables})
        environment = {**following(self.trail), "ANSIBLE_CONFIG": str(REPO / "ansible.cfg")}
        return begin(self, "ansible-playbook", f"playbooks/{playbook}.yml", "-e", given, **environment)

    def cut_power(self, host: str) -> None:
        """At once: without the lab's command line, which takes as long as a task."""
        verbs.kill(plan.paths(), [host])

    def give_power(self, host: str) -> None:
        """Boot it, and wait until it has booted, its servers included."""
        self.lab("start", host)

    # --- what must be there, and what must not --------------------------------------------------------------

    def await_pair(self, seconds: float = 60) -> list[str]:
        """Whether both members are up, and one follows the other."""
        ask = "SELECT string_agg(application_name || ' ' || state, ', ') FROM pg_stat_replication"
        until, said = time.monotonic() + seconds, ""
        while time.monotonic() < until:
            try:
                said = self.sql(PRIMARY, ask)
            except AssertionError as exc:
                said = str(exc)
            if said == f"{REPLICA} streaming":
                slots = self.sql(PRIMARY, "SELECT string_agg(slot_name, ',') FROM pg_replication_slots")
                return [] if slots == REPLICA else [f"the slots are {slots}"]
            time.sleep(0.2)
        return [f"the members are no pair: {said[-400:]}"]

    def ledger(self) -> list[str]:
        """Whether the ledger is whole, as a program judges that shares nothing with the collection."""
        argv = [sys.executable, str(_AUDIT), str(self.home / "ledger"), "--key", str(self.home / "key.pub.pem")]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        verdict = self.record(CLUSTER)["verdict"]
        found = [] if verdict == "verified" else [f"the last verdict is {verdict}"]
        return found + ([f"the ledger: {done.stdout}{done.stderr}"] if done.returncode else [])

    def left(self) -> list[str]:
        """Processes, locks and copies that nobody needs any more.

        Not what pgBackRest runs for another host: where that has lost its power, it waits for it as long as its
        protocol-timeout says, half an hour, and ends.
        """
        members = (PRIMARY, REPLICA)
        found = [what for host in HOSTS for what in leftovers.left(
            self.on, host, leftovers.SERVER if host in members else ())]  # fmt: skip
        return [what for what in found if not (" --remote-type=" in what and what.endswith(":remote"))]

    def names(self) -> set[str]:
        """The names of files that our operations make, moments left out, so that those of two runs can be compared."""
        return {
            f"{host}:{_MOMENT.sub('N', name)}" for host in HOSTS for name in self.on(host, _NAMES, False).split("\n")
        }
