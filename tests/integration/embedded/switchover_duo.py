# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A primary and its replica on which the steps of a switchover are done one by one, killed, and done again."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from embedded_servers import Server, await_, children
from holds import Hold, held
from replica_ground import ANY, HBA, SECRET, begin, make_primary
from verify_ground import module

from tests.modules import OWNER, ROOT, command, environment, options, result_of

RULE = {"type": "host", **ANY, "address": "127.0.0.1/32", "method": "scram-sha-256"}


class Duo:
    """`one` is the primary, `two` its replica, until they change places."""

    def __init__(self, make_server: Callable[..., Server], hba: tuple[dict[str, str], ...] = (RULE,)) -> None:
        self.one = make_primary(make_server)
        module(self.one, "config", settings={"fsync": False}, hba=[*HBA, *hba])
        self.one.psql("SELECT pg_reload_conf()")
        self.two = make_server("two", initdb=False)
        begin(self.two, self.one)
        module(self.two, "config", settings=_own(self.two), hba=[*HBA, *hba])
        self.two.psql("SELECT pg_reload_conf()")
        self.holds = self.one.socket_dir / "holds"
        self.holds.mkdir()
        self.holds.chmod(0o777)

    def server(self, name: str) -> Server:
        """A member by its name."""
        return {"one": self.one, "two": self.two}[name]

    def seen(self) -> dict[str, Any]:
        """What each member says of itself."""
        return {name: module(self.server(name), "switchover")["member"] for name in ("one", "two")}

    def planned(self, candidate: str = "two", fails: bool = False, **more: Any) -> dict[str, Any]:
        """What is to be done now."""
        other = {"one": "two", "two": "one"}.get(candidate, "one")
        given = {
            "members": self.seen(), "candidate": candidate, "slots": {"one": "primary", "two": "two"},
            "upstreams": {other: candidate}, **more,
        }  # fmt: skip
        return module(self.one, "switchover", fails=fails, state="planned", **given)

    def move(self, **more: Any) -> dict[str, Any]:
        """The options of the move."""
        return {
            "state": "moved", "name": "one", "candidate": "two", "candidate_host": "127.0.0.1",
            "candidate_port": self.two.port, "timeline": 1, "timeout": 20, "replay_timeout": 5, **more,
        }  # fmt: skip

    def moved(self, fails: bool = False, check: bool = False, **more: Any) -> dict[str, Any]:
        """The move, to its end."""
        return module(self.one, "switchover", fails=fails, check=check, **self.move(**more))

    @contextlib.contextmanager
    def moving(self, **more: Any) -> Iterator[Worker]:
        """The move in the background, held where it asks pg_controldata whether the old primary is closed."""
        estate: Any = SimpleNamespace(holds=self.holds)
        with held(estate, "pg_controldata") as hold:
            own = {"data_dir": str(self.one.data_dir), "socket_dir": str(self.one.socket_dir), "port": self.one.port}
            worker = Worker({**own, "bin_dir": str(self.holds), **self.move(**more)}, hold)
            try:
                yield worker
            finally:
                worker.kill()

    def writes(self, name: str) -> bool:
        """Whether a member takes writes now."""
        server = self.server(name)
        try:
            server.psql("INSERT INTO t VALUES (1)")
        except RuntimeError:
            return False
        return True

    def closed(self) -> bool:
        """Whether the old primary is closed for good."""
        told = self.one.run("pg_controldata", "-D", self.one.data_dir)
        signal_there = (self.one.data_dir / "standby.signal").exists()
        return signal_there and "shut down\n" in told

    def configure(self, name: str, **settings: Any) -> None:
        """Give a member more settings, by a restart."""
        server = self.server(name)
        module(server, "config", settings={**(_own(server) if name == "two" else {"fsync": False}), **settings})
        server.stop()
        server.start()

    def mark(self, server: Server | None = None) -> None:
        """What a worker leaves that is killed before the shutdown."""
        place = (server or self.one).data_dir / "standby.signal"
        place.touch()
        if ROOT:
            shutil.chown(place, OWNER)

    def streams(self) -> None:
        """Wait until the replica follows again; it asks every five seconds."""
        state = "SELECT state FROM pg_stat_replication"
        await_(lambda: self.one.psql(state) == "streaming", what="streaming")

    def follow(self) -> None:
        """The old primary comes back as the new one's replica."""
        where = {"primary_address": "127.0.0.1", "primary_port": self.two.port, "slot": "primary",
                 "replication_password": SECRET, "timeout": 20}  # fmt: skip
        module(self.two, "replica", state="reserved", slot="primary")
        module(self.one, "replica", **where)
        await_(lambda: module(self.one, "instance", state="started")["state"] == "started")
        module(self.one, "replica", state="streaming", **where)


class Worker:
    """A module that goes on while the test looks."""

    def __init__(self, given: dict[str, Any], hold: Hold) -> None:
        self.hold = hold
        self.popen = subprocess.Popen(
            command("switchover", owner=OWNER), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, cwd="/", env=environment(),
        )  # fmt: skip
        assert self.popen.stdin
        self.popen.stdin.write(options(given))
        self.popen.stdin.close()

    def result(self, fails: bool = False) -> dict[str, Any]:
        """Let it go on to its end; returns what it says."""
        self.hold.release()
        assert self.popen.stdout
        told = self.popen.stdout.read()
        self.popen.wait(60)
        return result_of("switchover", told, fails)

    def kill(self) -> None:
        """SIGKILL."""
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait(60)


def _own(server: Server) -> dict[str, Any]:
    return {"port": server.port, "unix_socket_directories": str(server.socket_dir), "fsync": False, "hot_standby": True}


def startup_of(server: Server) -> int:
    """The process that replays."""
    for pid in children(server.pid or 0):
        with contextlib.suppress(OSError):
            if b"startup" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
    raise AssertionError("no startup process runs")


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """A process that is there and does nothing."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def account(server: Server) -> str:
    """What the account of a switchover may do; empty where there is none."""
    row = server.psql(
        "SELECT row_to_json(r) FROM (SELECT rolsuper, rolreplication, rolcreaterole, rolcreatedb,"
        " rolvaliduntil IS NOT NULL AS ends FROM pg_roles WHERE rolname = 'boringdb_switchover') r"
    )
    return json.dumps(json.loads(row)) if row else ""
