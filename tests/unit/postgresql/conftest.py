# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One running PostgreSQL of each version for all tests here: what it writes is read live, never from a stored file."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

if str(Path(__file__).parent) not in sys.path:
    sys.path.insert(0, str(Path(__file__).parent))

from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository_native import NativeRepository
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.wal import Archive
from postgresql_ground import Make, Running, Server, free_port, scratch

from tests.modules import OWNER, ROOT, programs


@pytest.fixture(scope="session", params=[16, 18])
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    """A server that archives; 18 has segments of 1 MB, so that both ends of the sizes in use are covered."""
    version = int(request.param)
    home = Path(tempfile.mkdtemp(prefix="bdb-", dir="/tmp"))
    home.chmod(0o755)
    archive = home / "archive"
    archive.mkdir(mode=0o755)
    if ROOT:
        for place in (home, archive):
            shutil.chown(place, OWNER)
    server = Server(free_port(), home, home / "data", programs(version), OWNER)
    server.initdb("--wal-segsize", "1" if version == 18 else "16")
    with (server.data_dir / "postgresql.conf").open("a") as conf:
        conf.write(
            "include_if_exists 'app.conf'\nfsync = off\nmax_prepared_transactions = 5\nautovacuum = off\n"
            f"archive_mode = on\narchive_command = 'cp %p {archive}/new && mv {archive}/new {archive}/%f'\n"
            "timezone = 'Asia/Tokyo'\n"
        )
    server.start()
    try:
        yield Running(server, archive)
    finally:
        server.stop("immediate")
        shutil.rmtree(home)


@pytest.fixture
def archive(running: Running) -> Iterator[Make]:
    """What the archive of the running server holds now."""
    place = scratch()

    def make() -> Archive:
        repository = NativeRepository(running.archive, running.archive, lambda name: str(running.server.bin_dir / name))
        return Archive(repository, running.waldump, place)

    yield make
    shutil.rmtree(place)
