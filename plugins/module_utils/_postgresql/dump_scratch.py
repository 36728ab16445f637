# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A scratch server for a dump: made for it, reached through its own socket alone, quick because it need not last."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from ansible_collections.boringdb.ops.plugins.module_utils._core.files import write_atomic
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Params
from ansible_collections.boringdb.ops.plugins.module_utils._core.process import run
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import settings as conf
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import time_to_live
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.dump_programs import (
    LOADING,
    conninfo,
    restore,
    words,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.dump_store import GLOBALS, Dump
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.recovery import ISOLATED
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server

try:
    from psycopg import sql
except ImportError:
    sql = None

_QUICK = {
    "fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "wal_level": "minimal",
    "max_wal_senders": "0", "max_wal_size": "4GB", "maintenance_work_mem": "256MB", "max_locks_per_transaction": "1024",
}  # fmt: skip
#: A statement that fails may hold a password's hash.
_SILENT = {"log_statement": "none", "log_min_error_statement": "panic", "logging_collector": "off", "lc_messages": "C"}
_START_SECONDS = 60
_HEADING = "A scratch server for the proof of a dump: see boringdb.ops.dump."
_TABLESPACE = re.compile(rb"^(CREATE TABLESPACE .* LOCATION )'.*';$")


class Scratch:
    """The server; `load_globals` comes before any database."""

    def __init__(self, server: Server, dump: Dump, params: Params) -> None:
        self.server, self.dump, self.params = server, dump, params
        taken, number = set(dump.manifest["databases"]), 0
        while f"boringdb_proof{number}" in taken:
            number += 1
        #: What is connected to while databases are made: a dump may hold every one that initdb makes.
        self.meeting = f"boringdb_proof{number}"

    def start(self) -> None:
        """Make and start it, and take away the databases that the dump brings itself. Raises OpsError."""
        server, data = self.server, self.server.data_dir
        argv = [server.program("initdb"), "-D", str(data), "-U", server.login_user, "--auth=trust", "--no-locale"]
        run([*argv, "-E", "UTF8", "--no-sync"], guarded=True)
        Path(server.socket_dir).mkdir(mode=0o700, parents=True, exist_ok=True)
        Path(server.socket_dir).chmod(0o700)
        own = self.params["settings"] or {}
        isolated = {
            name: value for name, value in ISOLATED.items() if name not in own or not name.startswith("shared_")
        }
        place = {
            "port": server.port,
            "unix_socket_directories": server.socket_dir,
            "cluster_name": "boringdb dump proof",
        }
        settings = {**_QUICK, "max_connections": self.params["jobs"] + 20, **own, **isolated, **_SILENT, **place}
        write_atomic(data / "postgresql.conf", conf.render(settings, _HEADING))
        write_atomic(data / "pg_hba.conf", "local all all trust\n")
        server.start(_START_SECONDS)
        with replace(server, login_db="postgres").connect() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(self.meeting)))
        with server.connect(self.meeting) as connection:
            connection.execute("ALTER DATABASE template1 IS_TEMPLATE false")
            for name in ("template1", "postgres"):
                connection.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))

    def load_globals(self) -> None:
        """Roles, memberships, tablespaces. Raises OpsError with the first error."""
        place = time_to_live.scratch(self.server.data_dir)
        place.mkdir(mode=0o700)
        script = place / GLOBALS
        script.touch(0o600)
        script.write_bytes(self._globals())
        # Terse, for the longer forms quote the statement.
        argv = [*words(self.server, "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=terse"]
        run([*argv, *conninfo(self.meeting), "-f", str(script)], env=LOADING, guarded=True)
        script.unlink()

    def _globals(self) -> bytes:
        """What pg_dumpall wrote, but for what must differ here."""
        own = self.server.login_user
        exists = {f"CREATE ROLE {own};".encode(), 'CREATE ROLE "{}";'.format(own.replace('"', '""')).encode()}
        lines, number = [], 0
        for line in (self.dump.path / GLOBALS).read_bytes().split(b"\n"):
            # A guard of newer minor versions against injection, which an older psql does not know.
            if line in exists or line.startswith((b"\\restrict ", b"\\unrestrict ")):
                continue
            found = _TABLESPACE.match(line)
            if found:
                number += 1
                place = time_to_live.tablespaces(self.server.data_dir) / str(number)
                place.mkdir(mode=0o700, parents=True)
                line = found.group(1) + f"'{place}';".encode()  # noqa: PLW2901 - the line goes on changed
            lines.append(line)
        return b"\n".join(lines)

    def load_database(self, name: str) -> None:
        """Make one database with its properties, and load it. Raises OpsError with the first error."""
        restore(self.server, self.meeting, self.dump.folder(name), "--create", "-j", str(self.params["jobs"]))
