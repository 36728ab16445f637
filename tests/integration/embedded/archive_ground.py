# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that archives to a native repository, as the roles set it up: the ground for `backup` and `restore`."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedded_servers import Server, as_user, await_, free_port
from verify_ground import module

from tests.modules import OWNER, REPO, ROOT, programs
from tests.modules import module as run_module

TRUST = [
    {"type": "local", "database": name, "user": "all", "method": "trust"} for name in ("all", "replication")
]  # fmt: skip


@dataclass(frozen=True)
class Moment:
    """When a row was committed: right behind it, by the server's clock and in its log."""

    id: int
    xid: int
    time: str
    lsn: str
    #: Where the record of its commit begins, or something that nobody else wrote lies before it.
    inside: str


class Source:
    """A running server with a table `events`, and its repository, below `home`."""

    def __init__(self, home: Path, template: Path, version: int = 16, **settings: Any) -> None:
        self.home = home
        self.backups, self.wal = home / "repository/backup", home / "repository/wal"
        self.archiver = home / "boringdb-archive-wal"
        if ROOT:
            shutil.chown(home, OWNER)
        self.as_owner("mkdir", "-p", str(home / "db"), str(self.backups), str(self.wal))
        self.as_owner("cp", str(REPO / "roles/backup/files/boringdb-archive-wal"), str(self.archiver))
        self.server = Server(free_port(), home / "db", home / "db/data", programs(version), OWNER)
        self.server.copy_of(template)
        own = {
            "archive_mode": True, "archive_command": f'{self.archiver} {self.wal} "%p" "%f"', "fsync": False,
            "shared_buffers": "16MB", "min_wal_size": "32MB", "log_timezone": "Asia/Tokyo", "autovacuum": False,
            **settings,
        }  # fmt: skip
        module(self.server, "config", settings=own, hba=TRUST)
        module(self.server, "instance", state="started")
        self.sql("CREATE TABLE events (id int PRIMARY KEY, note text)")

    def as_owner(self, *words: str) -> str:
        """Run a program as the server's account."""
        done = subprocess.run([*as_user(OWNER), *words], capture_output=True, text=True, cwd="/", check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def sql(self, *statements: str) -> str:
        """Run SQL, each statement in its own transaction."""
        return self.server.psql(*statements)

    @property
    def repository(self) -> dict[str, Any]:
        """The options that name the repository."""
        return {"tool": "native", "backup_path": str(self.backups), "wal_path": str(self.wal)}

    def backup(self, check: bool = False, fails: bool = False, **options: Any) -> dict[str, Any]:
        """`backup` of the server."""
        return module(self.server, "backup", check=check, fails=fails, **{**self.repository, **options})

    def listed(self, **options: Any) -> dict[str, Any]:
        """`backup_info` of the repository."""
        return run_module("backup_info", **{"bin_dir": str(self.server.bin_dir), **self.repository, **options})

    def write(self, number: int) -> Moment:
        """Commit one row."""
        inside, xid = self.sql(
            f"BEGIN; INSERT INTO events VALUES ({number}, repeat('x', 100)); "
            "SELECT pg_current_wal_insert_lsn(), txid_current(); COMMIT"
        ).split("|")
        query = (
            "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US+00'), pg_current_wal_lsn()"
        )
        time, lsn = self.sql(query).split("|")
        return Moment(number, int(xid), time, lsn, inside)

    def archive(self) -> str:
        """Have everything so far archived; returns the last segment's name."""
        self.sql("SELECT pg_create_restore_point('archive')")
        name = self.sql("SELECT pg_walfile_name(pg_switch_wal())")
        await_((self.wal / name).exists, what=f"the archiving of {name}")
        return name

    def tree(self, *places: Path) -> dict[str, tuple[int, int]]:
        """Every file with its size and time, to tell whether anything was touched."""
        found = {}
        for place in places:
            for path in [place, *place.rglob("*")] if place.exists() else []:
                stat = path.lstat()
                found[str(path)] = (stat.st_size if path.is_file() else 0, stat.st_mtime_ns)
        return found

    def stop(self) -> None:
        """Stop it."""
        if self.server.pid is not None and Path(f"/proc/{self.server.pid}").exists():
            self.server.stop("immediate")


class Copy:
    """The place of one restored copy."""

    def __init__(self, source: Source, name: str = "copy") -> None:
        self.source = source
        self.home = source.home / name
        self.server = Server(free_port(), self.home / "run", self.home / "data", source.server.bin_dir, OWNER)

    def restore(self, check: bool = False, fails: bool = False, **options: Any) -> dict[str, Any]:
        """`restore` into the place."""
        own = {"settings": {"fsync": "off", "shared_buffers": "16MB"}, **self.source.repository}
        return module(self.server, "restore", check=check, fails=fails, **{**own, **options})

    def remove(self, **options: Any) -> dict[str, Any]:
        """Remove the copy."""
        return self.restore(state="absent", settings=None, **options)

    def rows(self) -> list[int]:
        """The ids in the restored table."""
        return [int(row) for row in self.server.psql("SELECT id FROM events ORDER BY id").split()]


def checks(result: dict[str, Any]) -> dict[str, str]:
    """The checks of a restore by name, with their status."""
    return {check["name"]: check["status"] for check in result["checks"]}


def only_owner(path: Path) -> bool:
    """Whether nobody but its owner may enter or read a place."""
    return path.stat().st_mode & 0o077 == 0 and (not ROOT or path.stat().st_uid != os.geteuid())
