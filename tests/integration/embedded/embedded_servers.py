# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real PostgreSQL server for a test, from the PyPI wheel: no root needed, no container, no service manager.

PostgreSQL refuses to run as root. When the tests do, the server runs as nobody, in a directory that nobody can reach.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.modules import REPO as REPOSITORY
from tests.modules import as_owner as as_user
from tests.modules import programs as bin_dir
from tests.ports import free_port

__all__ = ["REPOSITORY", "Server", "alive", "as_user", "await_", "bin_dir", "children", "free_port"]


def await_(condition: Callable[[], object], seconds: float = 15.0, what: str = "the condition") -> None:
    """Waits until the condition holds; fails the test when it does not in time.

    :param seconds: what a quiet machine needs at most; a busy one gets ten times that
    """
    until = time.monotonic() + 10 * seconds
    while not condition():
        if time.monotonic() > until:
            pytest.fail(f"{what} did not come true within {10 * seconds:g} s")
        time.sleep(0.01)


@dataclass
class Server:
    """One server: its address, its files, its life. The superuser is ``postgres``, without a password."""

    port: int
    socket_dir: Path
    data_dir: Path
    bin_dir: Path
    owner: str

    def run(self, *command: str | Path) -> str:
        """A program of this server as its owner. Returns its output; raises RuntimeError."""
        program, *arguments = [str(part) for part in command]
        words = [*as_user(self.owner), str(self.bin_dir / program), *arguments]
        done = subprocess.run(
            words, capture_output=True, text=True, cwd="/", timeout=120, stdin=subprocess.DEVNULL, check=False
        )
        if done.returncode:
            log = self.data_dir / "server.log"
            tail = log.read_text().splitlines()[-15:] if log.exists() else []
            raise RuntimeError("\n".join([f"{program} failed: {done.stdout}{done.stderr}", *tail]))
        return done.stdout

    def initdb(self, *options: str) -> None:
        """A new cluster that listens on the loopback address and its socket directory."""
        self.run("initdb", "-D", self.data_dir, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", *options)
        self._listen()

    def copy_of(self, data_dir: Path) -> None:
        """A cluster that is the copy of a stopped one."""
        words = [*as_user(self.owner), "cp", "-a", "--reflink=auto", str(data_dir), str(self.data_dir)]
        subprocess.run(words, check=True, cwd="/", capture_output=True, timeout=120)
        self._listen()

    def _listen(self) -> None:
        with (self.data_dir / "postgresql.conf").open("a") as conf:
            conf.write(
                f"port = {self.port}\nunix_socket_directories = '{self.socket_dir}'\nlisten_addresses = '127.0.0.1'\n"
            )

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        # The log is a file: a pipe would be held open by the server, and pg_ctl never seem to end.
        self.run("pg_ctl", "start", "-w", "-s", "-t", "60", "-D", self.data_dir, "-l", self.data_dir / "server.log")

    def stop(self, mode: str = "fast") -> None:
        """``fast``, ``smart``, ``immediate``, or ``kill``: SIGKILL for every process of it."""
        if mode == "kill":
            self.kill()
        else:
            self.run("pg_ctl", "stop", "-w", "-s", "-m", mode, "-D", self.data_dir)

    @property
    def pid(self) -> int | None:
        """The postmaster's process id, as far as its file tells."""
        try:
            return int((self.data_dir / "postmaster.pid").read_text().split()[0])
        except (FileNotFoundError, IndexError):
            return None

    def kill(self) -> None:
        """SIGKILL for the postmaster, then for its children. Returns when all are gone."""
        postmaster = self.pid
        assert postmaster is not None, "the server does not run"
        os.kill(postmaster, signal.SIGSTOP)  # or it might fork once more behind our back
        family = [postmaster, *children(postmaster)]
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await_(lambda: not any(alive(pid) for pid in family), what="the end of the server's processes")
        # PostgreSQL takes a dead process that nobody has waited for yet for a living one, and would not start.
        with contextlib.suppress(pytest.fail.Exception):
            await_(lambda: not Path(f"/proc/{postmaster}").exists(), seconds=2.0)
            return
        (self.data_dir / "postmaster.pid").unlink()

    def psql(self, *sql: str, dbname: str = "postgres") -> str:
        """The results of statements in one session, each in its own transaction: unaligned, without headers."""
        words = ["-XAtq", "-v", "ON_ERROR_STOP=1", "-h", str(self.socket_dir), "-p", str(self.port), "-U", "postgres"]
        return self.run("psql", *words, "-d", dbname, *(word for one in sql for word in ("-c", one))).strip()


def alive(pid: int) -> bool:
    """Whether a process runs; a dead one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    found: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            if int((process / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(process.name))
    return found
