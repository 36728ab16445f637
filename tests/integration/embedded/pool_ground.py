# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A primary with users, a pgbouncer before it, and clients that go through it."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from embedded_servers import Server, await_, free_port
from verify_ground import module as on_server

from tests.modules import OWNER, ROOT, module

APP, ADMIN, AUTH = "for the app only", "for the console only", "for pgbouncer only"
ANY = {"database": "all", "user": "all"}
RULES = [
    {"type": "local", **ANY, "method": "trust"},
    {"type": "local", "database": "replication", "user": "all", "method": "trust"},
    {"type": "host", "database": "replication", "user": "all", "address": "127.0.0.1/32", "method": "scram-sha-256"},
    {"type": "host", **ANY, "address": "127.0.0.1/32", "method": "scram-sha-256"},
]
SHARED = {"max_connections": 100, "superuser_reserved": 3, "cores": 2}


def program() -> str:
    """Where pgbouncer lies; a machine without it skips the test."""
    found = shutil.which("pgbouncer", path=os.environ["PATH"] + ":/usr/sbin")
    if found is None:
        pytest.skip("pgbouncer is not installed")
    return found


def with_users(server: Server) -> Server:
    """Databases shop and stock, and an application's account, on a server that knows passwords only."""
    on_server(server, "config", settings={"fsync": False}, hba=RULES)
    server.psql("CREATE DATABASE shop", "CREATE DATABASE stock", "SET password_encryption = 'scram-sha-256'",
                f"CREATE ROLE app LOGIN PASSWORD '{APP}'", f"ALTER ROLE postgres PASSWORD '{APP}'")  # fmt: skip
    server.psql("CREATE TABLE written (id int PRIMARY KEY)", "GRANT ALL ON written TO app", dbname="shop")
    return server


def prepare(server: Server, **options: Any) -> dict[str, Any]:
    """`pool_server` on it."""
    given = {"databases": ["shop", "stock"], "auth_password": AUTH, **options}
    return on_server(server, "pool_server", **given)


class Pooler:
    """One pgbouncer in a folder of its own."""

    def __init__(self, home: Path, name: str = "pooler") -> None:
        self.home = home / name
        self.home.mkdir(mode=0o755)
        if ROOT:
            shutil.chown(self.home, OWNER)
        self.port = free_port()
        self.program = program()
        self.config = self.home / "pgbouncer.ini"

    def module(self, state: str, **options: Any) -> dict[str, Any]:
        """`pool` on it."""
        given = {"program": self.program, "config_file": str(self.config), **options}
        return module("pool", state=state, **{name: value for name, value in given.items() if value is not None})

    def declared(self, server: Server, **settings: Any) -> dict[str, Any]:
        """The options of `present` for the databases of a server."""
        own = {
            "listen_addr": "127.0.0.1", "listen_port": self.port, "unix_socket_dir": str(self.home),
            "pidfile": str(self.home / "pid"), "logfile": str(self.home / "log"), "auth_type": "scram-sha-256",
            "auth_user": "pool_auth", "auth_query": "SELECT name, secret FROM boringdb_pool.secret_of($1)",
            "admin_users": "pool_admin", "pool_mode": "transaction", "server_login_retry": 1,
        }  # fmt: skip
        return {
            "cluster": "orders", "server": SHARED, "settings": {**own, **settings},
            "databases": {name: {"host": "127.0.0.1", "port": server.port} for name in ("shop", "stock")},
            "users": [{"name": "pool_auth", "password": AUTH, "logs_in": True},
                      {"name": "pool_admin", "password": ADMIN}],
        }  # fmt: skip

    def begin(self, server: Server, **settings: Any) -> Pooler:
        """Configured and started."""
        self.module("present", **self.declared(server, **settings))
        self.module("started")
        return self

    def end(self) -> None:
        """Stopped, whatever it does."""
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((self.home / "pid").read_text()), 9)

    def connect(self, database: str = "shop", user: str = "app", password: str = APP, **more: Any) -> Any:
        """A client of it."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=user, password=password, dbname=database, autocommit=True,
            prepare_threshold=None, **{"connect_timeout": 5, **more},
        )  # fmt: skip

    def sql(self, text: str, **options: Any) -> Any:
        """The first value of an answer, through it."""
        with self.connect(**options) as connection:
            return connection.execute(text).fetchone()[0]

    def shown(self) -> dict[str, Any]:
        """What `pool_info` shows of it."""
        result = module("pool_info", config_file=str(self.config))
        return {**result["poolers"][0], "timer": result["timer"]}

    @property
    def console(self) -> dict[str, Any]:
        """Its console over the network."""
        return {"host": "127.0.0.1", "port": self.port}


class Writer(threading.Thread):
    """A client that writes one row after the other; it never connects again, so that it sees every error."""

    def __init__(self, pooler: Pooler) -> None:
        super().__init__(daemon=True)
        self.pooler = pooler
        self.acknowledged: list[int] = []
        self.errors: list[str] = []
        self.longest = 0.0
        self._over = threading.Event()

    def run(self) -> None:
        """Write until stopped."""
        try:
            with self.pooler.connect() as connection:
                number = 0
                while not self._over.wait(0.005):
                    number += 1
                    begun = time.monotonic()
                    connection.execute(f"INSERT INTO written VALUES ({number})")
                    self.longest = max(self.longest, time.monotonic() - begun)
                    self.acknowledged.append(number)
        except psycopg.Error as exc:
            self.errors.append(str(exc))

    def __enter__(self) -> Writer:
        self.start()
        self.await_rows()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self.join(30)

    def await_rows(self, more: int = 5) -> None:
        """Wait until so many more rows were acknowledged."""
        wanted = len(self.acknowledged) + more
        await_(lambda: len(self.acknowledged) >= wanted or self.errors, what=f"{more} more rows")
        assert self.errors == []


@contextlib.contextmanager
def busy(pooler: Pooler) -> Iterator[Any]:
    """A client that stays in its transaction."""
    with pooler.connect() as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT 1")
        yield connection
        connection.execute("COMMIT")
