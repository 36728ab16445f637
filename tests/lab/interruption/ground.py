# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a test stops pgBackRest half way, whom it kills there, and what may not be left afterwards.

Half way is the same place each time: one of pgBackRest's two processes has copied what it could, the other's connection
waits on the far host. A gate that stands before the real one makes it wait.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

from tests.integration.estate_runs import Running, await_
from tests.lab import leftovers
from tests.lab.cluster import MEMBERS
from tests.lab.estate import Estate
from tests.lab.interruption.runs import begin, module_result

PRIMARY, REPOSITORY, DRILL = "killpg", "killrepo", "killdrill"
COPY = "/var/lib/boringdb/drill/kill/data"
MARKER = f"{COPY}.restore.json"
STORED = "/var/lib/pgbackrest/backup/kill"
_GATE = "/usr/local/lib/boringdb/pgbackrest-gate"
_WAITING = f"""#!/bin/sh
case "$SSH_ORIGINAL_COMMAND" in
    *" --process=1 "*":remote")
        command=${{SSH_ORIGINAL_COMMAND##* }}
        hold=/run/held/${{command%:remote}}
        if [ -e "$hold" ]; then
            : > "$hold.reached"
            while [ -e "$hold" ]; do sleep 0.05; done
        fi
        ;;
esac
exec {_GATE}.real
"""


class Ground(Estate):
    """The cluster `kill`, and the means to stop and kill."""

    def __init__(self, hosts: Estate) -> None:
        super().__init__(hosts.home)
        self.addresses, self.ssh_config = hosts.addresses, hosts.ssh_config
        at = {name: {"ansible_host": self.addresses[name]} for name in (PRIMARY, REPOSITORY, DRILL)}
        groups: dict[str, Any] = {
            "kill": {"hosts": {PRIMARY: at[PRIMARY]}, "vars": MEMBERS},
            "repository_hosts": {"hosts": {REPOSITORY: {**at[REPOSITORY], "backup_retention_full": 9}}},
            # A host without power is noticed after six seconds instead of fifteen.
            "drill_hosts": {"hosts": {DRILL: {**at[DRILL], "ansible_ssh_extra_args": "-o ServerAliveInterval=2"}}},
        }
        self.describe(groups, backup_repository_host=REPOSITORY)

    def prepare(self) -> None:
        """Put the waiting gates in place, shorten the patience with hosts that vanish, and fill the cluster."""
        for host in (PRIMARY, REPOSITORY):
            self.on(host, f"mv {_GATE} {_GATE}.real; cat > {_GATE} <<'SH'\n{_WAITING}SH\nchmod 755 {_GATE}")
        for host in (REPOSITORY, DRILL):
            # Six seconds instead of three quarters of a minute.
            self.on(host, "sed -i 's/ServerAliveInterval 15/ServerAliveInterval 2/' /etc/pgbackrest/ssh/config")
        rows = "SELECT n AS id, md5(n::text) AS note FROM generate_series(1, 60000) n"
        self.sql(PRIMARY, f"CREATE TABLE stock AS {rows}")

    def begin(self, playbook: str, *words: str) -> Running:
        """Start a playbook."""
        return begin(self, "ansible-playbook", f"playbooks/{playbook}.yml", "-e", "cluster=kill", *words)

    def play(self, playbook: str, *words: str, cluster: str = "kill") -> str:
        """Run a playbook that has to succeed; returns its output."""
        return super().play(playbook, *words, cluster=cluster)

    # --- stopping -------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def held(self, host: str, command: str) -> Iterator[None]:
        """Let one process of every `command` wait on a host, until the end of the block at the latest."""
        self.on(host, f"mkdir -p -m 1777 /run/held; rm -f /run/held/*; touch /run/held/{command}")
        try:
            yield
        finally:
            self.lab("exec", host, "rm", "-f", f"/run/held/{command}")

    def release(self, host: str, command: str) -> None:
        """Let it go on."""
        self.on(host, f"rm -f /run/held/{command}")

    @contextlib.contextmanager
    def inside_backup(self, playbook: bool = False, **options: Any) -> Iterator[Running]:
        """A run that is half way through pgBackRest's backup."""
        with self.held(PRIMARY, "backup"):
            running = self.begin("backup") if playbook else self.begin_backup(**options)
            self._await_half(running, lambda: any(files > 100 for files in self.partial().values()), PRIMARY, "backup")
            yield running

    @contextlib.contextmanager
    def inside_restore(self, *words: str) -> Iterator[Running]:
        """A drill that is half way through pgBackRest's restore."""
        count = f"find {COPY} -type f 2>/dev/null | wc -l"
        with self.held(REPOSITORY, "restore"):
            running = self.begin("restore_drill", *words)
            self._await_half(running, lambda: int(self.on(DRILL, count)) > 100, REPOSITORY, "restore")
            yield running

    def _await_half(self, running: Running, copied: Any, host: str, command: str) -> None:
        def half() -> bool:
            assert running.popen.poll() is None, running.log.read_text()
            return "yes" in self.on(host, f"test ! -e /run/held/{command}.reached || echo yes") and copied()

        await_(half, f"a {command} that is half way", 600)

    def begin_backup(self, **options: Any) -> Running:
        """Start the module on the repository's host."""
        given = json.dumps({"tool": "pgbackrest", "stanza": "kill", "data_dir": "/unused", **options})
        words = ("-b", "--become-user", "postgres", "-m", "boringdb.ops.backup", "-a", given)
        return begin(self, "ansible", REPOSITORY, *words)

    def told(self, running: Running, fails: bool = False) -> dict[str, Any]:
        """Wait for the module's end; returns what it says."""
        return module_result(running.end(300), fails)

    def partial(self) -> dict[str, int]:
        """How many files there are of each backup that is not finished."""
        each = "[ -L $d ] || [ -e $d/backup.manifest ] || echo $d $(find $d -type f | wc -l)"
        said = self.on(REPOSITORY, f"cd {STORED} && for d in 2*; do {each}; done").split()
        return dict(zip(said[::2], map(int, said[1::2])))

    def labels(self) -> list[str]:
        """The backups that pgBackRest offers, the oldest first."""
        listed = json.loads(self.on(REPOSITORY, "su postgres -c 'pgbackrest --stanza=kill --output=json info'"))
        return [backup["label"] for backup in listed[0]["backup"]]

    # --- killing --------------------------------------------------------------------------------------------

    def tool(self, host: str, command: str) -> int:
        """The first process of pgBackRest's `command`."""
        # The bracket keeps the pattern from finding the shell that looks for it.
        return int(self.on(host, f"pgrep -f 'stderr=war[n].* {command} --'").split()[0])

    def worker(self, host: str, command: str) -> int:
        """The module that runs pgBackRest's `command`."""
        return int(self.on(host, f"ps -o ppid= -p {self.tool(host, command)}"))

    def kill(self, host: str, pid: int) -> None:
        """SIGKILL for one process."""
        self.on(host, f"kill -9 {pid}")

    def kill_servers(self, host: str, data_dir: str) -> None:
        """A crash: SIGKILL for every process of the server on a data directory."""
        inside = f'for p in /proc/[0-9]*; do [ "$(readlink $p/cwd)" != {data_dir} ] || echo ${{p#/proc/}}; done'
        self.on(host, f"kill -9 $({inside})")

    # --- what must not be left ------------------------------------------------------------------------------

    def left(self, host: str) -> list[str]:
        """What only an interrupted run leaves on a host."""
        return leftovers.left(self.on, host, leftovers.SERVER if host == PRIMARY else ())

    def assert_clean(self, *hosts: str, seconds: float = 20) -> None:
        """Nothing is left. What was killed may take a moment to be gone."""
        until = time.monotonic() + seconds
        while True:
            found = [what for host in hosts or (PRIMARY, REPOSITORY, DRILL) for what in self.left(host)]
            if not found or time.monotonic() > until:
                assert found == [], found
                return

    def last(self) -> dict[str, Any]:
        """The newest record."""
        return self.record("kill")
