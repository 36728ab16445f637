"""The bench's ground: one embedded server with at least 1 GB, and ways to run a module or a program as its account."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.modules import OWNER, REPO, ROOT, as_owner, command, environment, options, programs, result_of
from tests.ports import free_port

__all__ = ["HOME", "PROGRAMS", "REPO", "Source", "in_turn", "module", "remove", "run", "timed"]

PROGRAMS = programs()
HOME = Path(os.environ.get("BORINGDB_HOME") or f"/var/tmp/boringdb-bench-{os.getuid()}")
AS_OWNER = as_owner()


def run(*argv: str, stdin: str = "", **env: str) -> str:
    """Run a program as the servers' account; returns its output."""
    done = subprocess.run(
        [*AS_OWNER, *argv], input=stdin, text=True, capture_output=True, check=False, cwd="/", env={**os.environ, **env}
    )
    if done.returncode:
        raise SystemExit(f"bench: {argv[0]} failed: {done.stderr[-2000:] or done.stdout[-2000:]}")
    return done.stdout


def module(word: str, **given: Any) -> dict[str, Any]:
    """One of our modules as it starts on a host: with an interpreter of its own, which its figures hold."""
    done = subprocess.run(
        command(word), input=options(given), text=True, capture_output=True, check=False, cwd="/", env=environment()
    )
    return result_of(word, done.stdout or done.stderr)


def timed(action: Any) -> float:
    """How long `action` takes, in seconds, with the disk's queue empty at its begin."""
    os.sync()
    begun = time.monotonic()
    action()
    return time.monotonic() - begun


def in_turn(number: int, ours: Callable[[], float], by_hand: Callable[[], float]) -> tuple[float, float]:
    """A pair's seconds, ours and by hand; who begins, its number tells."""
    if number % 2:
        return ours(), by_hand()
    floor = by_hand()
    return ours(), floor


class Source:
    """An archiving server with `scale` times pgbench's 15 MB in it, and its repository."""

    def __init__(self, scale: int) -> None:
        remove()
        self.port = free_port()
        self.data, self.run_dir = HOME / "db1/data", HOME / "db1/run"
        self.backups, self.wal = HOME / "repository/backup", HOME / "repository/wal"
        HOME.mkdir(mode=0o755)
        if ROOT:
            shutil.chown(HOME, OWNER)
        run("mkdir", "-p", str(self.run_dir), str(self.backups), str(self.wal))
        archiver = str(HOME / "boringdb-archive-wal")
        shutil.copy(REPO / "roles/backup/files/boringdb-archive-wal", archiver)
        self.server = {
            "data_dir": str(self.data),
            "bin_dir": str(PROGRAMS),
            "port": self.port,
            "socket_dir": str(self.run_dir),
        }
        self.repository = {"tool": "native", "backup_path": str(self.backups), "wal_path": str(self.wal)}
        module("instance", state="initialized", **self.server)
        settings = {
            "port": self.port,
            "unix_socket_directories": str(self.run_dir),
            "archive_mode": "on",
            "archive_command": f'{archiver} {self.wal} "%p" "%f"',
            "shared_buffers": "256MB",
            "max_wal_size": "4GB",
        }
        rules = [
            {"type": "local", "database": name, "user": "all", "method": "trust"} for name in ("all", "replication")
        ]
        module("config", settings=settings, hba=rules, **self.server)
        module("instance", state="started", **self.server)
        self.program("pgbench", "-i", "-q", "-s", str(scale), "postgres")
        self.sql("VACUUM FREEZE")
        self.sql("CHECKPOINT")

    def program(self, name: str, *words: str) -> str:
        """Run a client program against the server."""
        return run(str(PROGRAMS / name), "-h", str(self.run_dir), "-p", str(self.port), "-U", "postgres", *words)

    def sql(self, text: str) -> str:
        """Run SQL, returns the bare answer."""
        return self.program("psql", "-XAtq", "-d", "postgres", "-c", text).strip()

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server."""
        module("instance", state="stopped", stop_mode=mode, **self.server)

    def start(self) -> None:
        """Start it again."""
        module("instance", state="started", **self.server)


def remove() -> None:
    """Remove everything of an earlier run."""
    for pid_file in HOME.glob("*/data/postmaster.pid"):
        subprocess.run(["kill", "-QUIT", pid_file.read_text().split()[0]], check=False)
    shutil.rmtree(HOME, ignore_errors=True)
