# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ground: three members whose commits wait for a quorum, behind a pooler, and what can be seen of a move.

The phases are those of the module that moves the primary, told by what it leaves: an account, a pause, a signal
file, a server that is closed, one that is promoted, a route.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import Any, Callable

import psycopg
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.pool_console import Address, Console
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.pool_timer import armed
from estate_runs import Running, alive, await_
from failover_ground import Doomed
from pool_ground import program
from switchover_ground import POOLER
from test_switchover_pooler import Pooled

#: Short, so that a client that nobody lets go on is let go on by the dead-man's timer within a minute.
SECONDS = {"switchover_pause_timeout": 3, "switchover_replay_timeout": 5, "switchover_timeout": 20,
           "failover_timeout": 20, "failover_silence_seconds": 5}  # fmt: skip
#: Until when the timer lets clients go on, and what a busy machine takes on top of it.
TIMER = 3 + 5 + 20 + 30
BUDGET = TIMER + 60


class Battered(Pooled, Doomed):
    """`orders`: whoever is primary, two replicas, one pooler."""

    members = ("db1", "db2", "db3")

    def given(self) -> dict[str, Any]:
        """What it is declared with."""
        return {"replica_synchronous": {"number": 1}, **SECONDS}

    def up(self) -> None:
        """Provisioned, with the pooler."""
        self.declare(**{name: {} for name in self.members})
        super().up()

    def word(self, word: str, **variables: Any) -> Running:
        """Begin a playbook."""
        return self.begin(word, **{"pool_program": program(), **POOLER, **self.given(), **variables})

    def where(self, host: str) -> dict[str, Any]:
        """How a member is reached."""
        server = self.server(host)
        return {"host": server["socket_dir"], "port": server["port"], "user": "postgres", "dbname": "postgres"}

    def pooler(self) -> int:
        """The pooler's process."""
        return int((self.home / "pool1/pgbouncer.pid").read_text())

    def heal(self, *leave: str) -> None:
        """What a service manager does: whatever has died is started again, but for what is to stay down."""
        for host in self.members:
            if host not in leave and not self.postmaster(self.server(host)["data_dir"]):
                with contextlib.suppress(AssertionError):
                    self.module("instance", state="started", **self.server(host))
        if not alive(self.pooler()):
            config = str(self.home / "pool1/pgbouncer.ini")
            self.module("pool", state="started", program=program(), config_file=config)

    def workers(self) -> list[int]:
        """The modules that run just now; not the dead-man's timer, which a module has started and left."""
        timer = (armed(self.home / "pool1/pgbouncer.ini") or {}).get("pid")
        return [pid for pid, line in self.processes().items() if "AnsiballZ_" in line and pid != timer]

    def furthest(self, old: str) -> str:
        """The replica that has most, of several the first. Where their primary is gone, they have to have noticed."""
        others = [host for host in self.members if host != old]
        if not self.postmaster(self.server(old)["data_dir"]):
            for host in others:
                await_(lambda host=host: self.sql("SELECT count(*) FROM pg_stat_wal_receiver", host) == "0", "the end")
        has = "SELECT greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) - '0/0'::pg_lsn"
        return max(others, key=lambda host: int(self.sql(has, host)))

    def whole(self) -> bool:
        """One primary, which all others follow."""
        writes = [host for host in self.members if self._recovers(host) is False]
        if len(writes) != 1:
            return False
        streaming = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
        return self.sql(streaming, writes[0]) == str(len(self.members) - 1)

    def _recovers(self, host: str) -> bool | None:
        try:
            with psycopg.connect(**self.where(host), connect_timeout=2) as connection:
                row = connection.execute("SELECT pg_is_in_recovery()").fetchone()
                return bool(row and row[0])
        except psycopg.Error:
            return None


class Sight:
    """What can be seen of one move from `old` to `new`."""

    def __init__(self, ground: Battered, old: str, new: str) -> None:
        self.ground, self.old, self.new = ground, old, new
        password = Path(f"{ground.home}.secrets/pool_admin").read_text().strip()
        self.console = Console(Address("127.0.0.1", ground.port + 7, "pool_admin", password))
        self._to: dict[str, Any] = {}

    def close(self) -> None:
        """Hang up."""
        self.console.close()
        for connection in self._to.values():
            connection.close()

    def phase(self, name: str) -> Callable[[], bool]:
        """Whether a phase was reached."""
        others = [host for host in self.ground.members if host != self.old]
        found: dict[str, Callable[[], bool]] = {
            "begun": lambda: self._asked(self.old, "SELECT FROM pg_roles WHERE rolname = 'boringdb_switchover'"),
            "paused": lambda: self._shown().get("paused", "0") != "0",
            "fenced": (self.ground.home / self.old / "data/standby.signal").exists,
            "closed": self._closed,
            # Of several that have as much, a failover may choose another one.
            "promoted": lambda: any(self._asked(host, "SELECT WHERE NOT pg_is_in_recovery()") for host in others),
            "routed": lambda: self._shown().get("port") == str(self.ground.server(self.new)["port"]),
        }
        return found[name]

    def _closed(self) -> bool:
        return self.ground.postmaster(self.ground.server(self.old)["data_dir"]) == 0

    def _shown(self) -> dict[str, str]:
        try:
            rows = self.console.ask("SHOW DATABASES")
        except OpsError:
            self.console.close()
            return {}
        return next((row for row in rows if row["name"] == "postgres"), {})

    def _asked(self, host: str, text: str) -> bool:
        """Whether a member answers with a row."""
        try:
            if host not in self._to:
                self._to[host] = psycopg.connect(**self.ground.where(host), autocommit=True, connect_timeout=2)
            return self._to[host].execute(text).fetchone() is not None
        except psycopg.Error:
            with contextlib.suppress(KeyError, psycopg.Error):
                self._to.pop(host).close()
            return False


def kill(pids: list[int]) -> bool:
    """SIGKILL; whether it came in time for any of them."""
    hit = []
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            hit.append(pid)
    await_(lambda: not any(map(alive, hit)), "the end of what was killed")
    return bool(hit)
