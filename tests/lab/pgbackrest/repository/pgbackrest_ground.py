# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real PostgreSQL and a real pgBackRest that belong to an unprivileged account, in a directory of their own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository_pgbackrest import (
    PgbackrestRepository,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import find_programs

STANZA = "demo"
PORT = "5987"


def become(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    os.environ["HOME"] = "/nonexistent"
    os.chdir("/")


class Ground:
    """A running cluster, its configuration files, and a process of an unprivileged account that works on them."""

    def __init__(self, place: Path, pool: ProcessPoolExecutor) -> None:
        self.place = place
        self.pool = pool
        self.data = place / "pg"
        self.repo = place / "repo"
        self.bin = find_programs() or ""

    def run(self, *argv: str, check: bool = True) -> str:
        """Run a program as the owner; returns what it printed."""
        done = self.pool.submit(_run, argv).result()
        if check and done.returncode != 0:
            raise AssertionError(f"{argv}: {done.stdout}{done.stderr}")
        return str(done.stdout)

    def call(self, act: Callable[..., Any], *words: Any) -> Any:
        """Call a method of a repository as the owner; what it raises is raised here."""
        return self.pool.submit(act, *words).result()

    def pgbackrest(self, command: str, *words: str, config: str = "db.conf", check: bool = True) -> str:
        argv = ["pgbackrest", f"--config={self.place / config}", f"--stanza={STANZA}", *words, command]
        return self.run(*argv, check=check)

    def sql(self, query: str) -> str:
        argv = ["psql", "-XAtq", "-h", str(self.place), "-p", PORT, "-U", "owner", "-d", "postgres", "-c", query]
        return self.run(*argv).strip()

    def repository(self, config: str = "drill.conf", stanza: str = STANZA) -> PgbackrestRepository:
        """The repository as a host sees it that has the repository's place and nothing of the cluster."""
        return PgbackrestRepository(stanza, str(self.place / config))

    def write(self, name: str, content: str) -> None:
        (self.place / name).write_text(content)
        (self.place / name).chmod(0o644)

    def config(self, name: str, cluster: bool = False, **more: str) -> None:
        """Write one host's pgBackRest configuration."""
        place = self.place
        settings = {"repo1-path": str(self.repo), "repo1-retention-full": "9", **more}
        settings |= {f"{kind}-path": str(place / kind) for kind in ("log", "lock", "spool")}
        text = "[global]\n" + "".join(f"{key}={value}\n" for key, value in settings.items())
        if cluster:
            text += f"[{STANZA}]\npg1-path={self.data}\npg1-port={PORT}\npg1-socket-path={place}\npg1-user=owner\n"
        self.write(name, text)

    def start(self) -> None:
        self.run(f"{self.bin}/pg_ctl", "start", "-w", "-D", str(self.data), "-l", str(self.place / "pg.log"))

    def stop(self) -> None:
        self.run(f"{self.bin}/pg_ctl", "stop", "-w", "-m", "fast", "-D", str(self.data), check=False)

    def spoil(self, path: Path, at: int, content: bytes) -> None:
        with path.open("r+b") as stream:
            stream.seek(at)
            stream.write(content)


def _run(argv: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    # A server that is started here must not hold this process's pipes open: pg_ctl -l sees to that.
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)


def initdb(it: Ground) -> None:
    """A new, empty cluster."""
    options = ["-A", "trust", "-k", "-U", "owner", "--locale=C.UTF-8", "-N"]
    it.run(f"{it.bin}/initdb", "-D", str(it.data), *options)


def set_up(it: Ground) -> None:
    """Archiving to pgBackRest, a stanza, a tablespace, a full and an incremental backup."""
    initdb(it)
    it.run("mkdir", str(it.repo), str(it.place / "log"), str(it.place / "space"))
    it.config("db.conf", cluster=True, **{"compress-type": "lz4"})
    it.config("drill.conf")
    command = f"pgbackrest --config={it.place}/db.conf --stanza={STANZA} archive-push %p"
    settings = {
        "port": PORT, "unix_socket_directories": str(it.place), "listen_addresses": "", "fsync": "off",
        "archive_mode": "on", "archive_command": command, "logging_collector": "off",
    }  # fmt: skip
    lines = "".join(f"{name} = '{value}'\\n" for name, value in settings.items())
    it.run("sh", "-c", f"printf \"{lines.replace('%', '%%')}\" >> {it.data}/postgresql.conf")
    it.start()
    it.pgbackrest("stanza-create")
    it.sql(f"CREATE TABLESPACE beside LOCATION '{it.place}/space'")
    it.sql("CREATE TABLE orders TABLESPACE beside AS SELECT generate_series(1, 1000) AS id")
    it.pgbackrest("backup", "--type=full", "--start-fast")
    it.sql("INSERT INTO orders SELECT generate_series(1001, 2000)")
    it.pgbackrest("backup", "--type=incr", "--start-fast")
