# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures that give a test real PostgreSQL servers."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

if str(Path(__file__).parent) not in sys.path:
    sys.path.insert(0, str(Path(__file__).parent))

from embedded_servers import Server, alive, bin_dir, free_port

from tests.modules import OWNER


@pytest.fixture
def pg_root() -> Iterator[Path]:
    """A short directory (a socket's path holds 107 bytes) that the server's owner can reach. Removed afterwards."""
    root = Path(tempfile.mkdtemp(prefix="bdb-", dir="/tmp"))
    root.chmod(0o755)
    yield root
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="session")
def template() -> Iterator[Callable[[int], Path]]:
    """A fresh data directory of a version, initialised once: copying it takes a tenth of the time."""
    made: dict[int, Path] = {}

    def of(version: int) -> Path:
        if version not in made:
            home = Path(tempfile.mkdtemp(prefix="bdb-", dir="/tmp"))
            shutil.chown(home, OWNER)
            Server(1, home, home / "data", bin_dir(version), OWNER).run(
                "initdb", "-D", home / "data", "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8"
            )
            made[version] = home / "data"
        return made[version]

    yield of
    for data in made.values():
        shutil.rmtree(data.parent)


@pytest.fixture
def make_server(pg_root: Path, template: Callable[[int], Path]) -> Iterator[Callable[..., Server]]:
    """Makes servers: ``make_server("name", version=16, start=True)``. All are stopped afterwards.

    Without ``initdb`` there is only the place for one. A ``copied`` one is quicker, but all are of one identity.
    """
    made: list[Server] = []

    def make(
        name: str = "pg", version: int = 16, start: bool = True, initdb: bool = True, copied: bool = False
    ) -> Server:
        owner = OWNER
        home = pg_root / name
        home.mkdir(mode=0o755)
        server = Server(free_port(), home, home / "data", bin_dir(version), owner)
        if os.geteuid() == 0:
            shutil.chown(home, owner)
        made.append(server)
        if copied:
            server.copy_of(template(version))
        elif initdb:
            server.initdb()
        if initdb and start:
            server.start()
        return server

    yield make
    for server in made:
        pid = server.pid
        if pid is not None and alive(pid):
            with contextlib.suppress(RuntimeError, subprocess.SubprocessError):
                os.kill(pid, signal.SIGCONT)
                server.stop("immediate")


@pytest.fixture
def quick(make_server: Callable[..., Server]) -> Server:
    """A running PostgreSQL 16, a copy of one that was initialised before."""
    return make_server(copied=True)


@pytest.fixture
def server(make_server: Callable[..., Server]) -> Server:
    """A fresh, running PostgreSQL 16."""
    return make_server()
