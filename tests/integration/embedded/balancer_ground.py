# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A primary and two replicas behind a real HAProxy, which asks the program of the module `pool_balancer`."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from embedded_servers import Server, await_, bin_dir
from replica_ground import ANY, HBA, begin, make_primary
from verify_ground import module as on_server

from tests.modules import OWNER, ROOT, as_owner, module
from tests.ports import free_ports

APP, CHECK = "for the app only", "for the check only"
RULE = {"type": "host", **ANY, "address": "127.0.0.1/32", "method": "scram-sha-256"}


def haproxy() -> str:
    """Where HAProxy lies; a machine without it skips the test."""
    places = f"{os.environ['PATH']}:/usr/sbin:{os.environ.get('CACHE', '')}/haproxy/usr/sbin"
    found = shutil.which("haproxy", path=places)
    if found is None:
        pytest.skip("haproxy is not installed")
    return found


class Balanced:
    """The servers by their names, and the balancer."""

    def __init__(self, home: Path, template: Callable[[int], Path]) -> None:
        self.home, self.template, self.made = home, template, []
        self.program = haproxy()
        self.port = free_ports()
        self.folder = home / "balancer"
        self.folder.mkdir(mode=0o755)
        if ROOT:
            shutil.chown(self.folder, OWNER)
        self.servers: dict[str, Server] = {}

    def _make(self, name: str, version: int = 16, copied: bool = False, initdb: bool = True) -> Server:
        place = self.home / name
        place.mkdir(mode=0o755)
        server = Server(self.port + len(self.servers), place, place / "data", bin_dir(version), OWNER)
        if ROOT:
            shutil.chown(place, OWNER)
        self.servers[name] = server
        if copied:
            server.copy_of(self.template(version))
            server.start()
        return server

    def up(self) -> Balanced:
        """Three servers, an application's account, and the check's."""
        primary = make_primary(self._make)
        on_server(primary, "config", settings={"fsync": False}, hba=[*HBA, RULE])
        primary.psql("SELECT pg_reload_conf()", "SET password_encryption = 'scram-sha-256'",
                     f"CREATE ROLE app LOGIN PASSWORD '{APP}'", "GRANT ALL ON t TO app")  # fmt: skip
        on_server(primary, "pool_server", databases=[], auth_user="pool_check", auth_password=CHECK)
        for name in ("r1", "r2"):
            replica = self._make(name, initdb=False)
            begin(replica, primary)
            on_server(
                replica, "config", settings={"fsync": False, "wal_retrieve_retry_interval": "100ms"}, hba=[*HBA, RULE]
            )
            replica.psql("SELECT pg_reload_conf()")
        return self

    def module(self, state: str, fails: bool = False, check: bool = False, **options: Any) -> dict[str, Any]:
        """`pool_balancer`."""
        members = [{"name": name, "host": "127.0.0.1", "port": one.port} for name, one in self.servers.items()]
        given: dict[str, Any] = {
            "cluster": "orders", "config_file": str(self.folder / "haproxy.cfg"), "program": self.program,
            "members": members, "listen": ["127.0.0.1"], "port": self.port + 7, "read_port": self.port + 8,
            "check_port": self.port + 9, "check_program": str(self.folder / "check.py"), "check_password": CHECK,
            "stats_socket": str(self.folder / "sock"), "state_file": str(self.folder / "state"), "max_lag": 1.5,
            "check_interval": 0.2, "check_timeout": 1,
            "server": {"max_connections": 100, "superuser_reserved": 3, "cores": 2},
        }  # fmt: skip
        return module("pool_balancer", fails=fails, check=check, state=state, **{**given, **options})

    def begin(self, **options: Any) -> Balanced:
        """Configured and started."""
        self.module("present", **options)
        self.module("started", **options)
        return self

    def start_by_hand(self) -> None:
        """HAProxy as a unit starts it: first the state, then the program."""
        at = {name: str(self.folder / name) for name in ("check.py", "sock", "boringdb-closed.state", "state")}
        given = [str(self.folder / name) for name in ("haproxy.cfg", "haproxy.pid")]
        for argv in ([sys.executable, *list(at.values())[:1], "--save-state", *list(at.values())[1:]],
                     [self.program, "-W", "-D", "-f", given[0], "-p", given[1]]):  # fmt: skip
            with (self.home / "by_hand.log").open("a") as log:
                subprocess.run([*as_owner(), *argv], check=True, stdout=log, stderr=log, timeout=30, cwd="/")

    def pid(self, name: str) -> int:
        """Of `haproxy` or `check`."""
        return int((self.folder / f"{name}.pid").read_text())

    def facts(self) -> dict[str, dict[str, Any]]:
        """What the program knows of the members."""
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(f"http://127.0.0.1:{self.port + 9}/", timeout=10) as answer:
            return {one["name"]: one for one in json.loads(answer.read())["members"]}

    def connect(self, port: str = "rw", **more: Any) -> Any:
        """A client through HAProxy."""
        number = self.port + {"rw": 7, "ro": 8}[port]
        given = {"user": "app", "password": APP, "dbname": "postgres", "connect_timeout": 5, **more}
        return psycopg.connect(host="127.0.0.1", port=number, autocommit=True, **given)

    def reached(self, port: str = "rw") -> str:
        """Which member one connection comes to, or nothing."""
        try:
            with self.connect(port) as client:
                at = client.execute("SELECT inet_server_port()").fetchone()[0]
        except psycopg.OperationalError:
            return ""
        return next(name for name, one in self.servers.items() if one.port == at)

    def all_reached(self, port: str = "ro") -> set[str]:
        """Whom several connections come to, held at the same time."""
        with contextlib.ExitStack() as stack:
            found = set()
            for _number in range(4):
                try:
                    client = stack.enter_context(self.connect(port))
                    found.add(client.execute("SELECT inet_server_port()").fetchone()[0])
                except psycopg.OperationalError:
                    found.add(0)
        return {next((name for name, one in self.servers.items() if one.port == at), "") for at in found}

    def await_reads(self, *names: str, seconds: float = 15) -> None:
        """Wait until the read-only port leads to these."""
        await_(lambda: self.all_reached() == set(names), seconds, f"reads from {names}")

    def down(self) -> None:
        """End everything."""
        for name in ("haproxy", "check"):
            with contextlib.suppress(OSError, ValueError):
                os.kill(self.pid(name), signal.SIGCONT)
                os.kill(self.pid(name), signal.SIGTERM)
        for server in self.servers.values():
            with contextlib.suppress(RuntimeError):
                server.stop("immediate")


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """A process that is there and answers nothing; it may be ended by what it hangs for."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def closes(client: Any, seconds: float = 15) -> float:
    """Wait until a session is closed by HAProxy; returns how long it took."""
    begun = time.monotonic()

    def closed() -> bool:
        try:
            client.execute("SELECT 1")
        except psycopg.OperationalError:
            return True
        return False

    await_(closed, seconds, "the end of the session")
    return time.monotonic() - begun


@contextlib.contextmanager
def balanced(template: Callable[[int], Path]) -> Iterator[Balanced]:
    """The whole ground, removed at the end."""
    home = Path(tempfile.mkdtemp(prefix="bdb-", dir="/tmp"))
    home.chmod(0o755)
    it = Balanced(home, template)
    try:
        yield it.up()
    finally:
        it.down()
        shutil.rmtree(home, ignore_errors=True)
