# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""These run on a host of the lab that has both programs: ../test_pgbackrest_on_host.py sends them there."""

from __future__ import annotations

import multiprocessing
import os
import pwd
import shutil
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

COLLECTIONS = str(Path(__file__).resolve().parents[4] / ".collections")
if COLLECTIONS not in sys.path:
    sys.path.insert(0, COLLECTIONS)

from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import find_programs  # noqa: E402
from pgbackrest_ground import Ground, become, set_up  # noqa: E402


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """A cluster with archiving to pgBackRest, its stanza, one tablespace, a full and an incremental backup."""
    if not shutil.which("pgbackrest") or not find_programs():
        pytest.skip("pgbackrest or the PostgreSQL server programs are not installed")
    place = Path(tempfile.mkdtemp(prefix="boringdb-pgbackrest-"))
    place.chmod(0o755)
    root = os.getuid() == 0
    account = pwd.getpwnam("postgres") if root else pwd.getpwuid(os.getuid())
    if root:
        os.chown(place, account.pw_uid, account.pw_gid)
    pool = ProcessPoolExecutor(
        1,
        mp_context=multiprocessing.get_context("fork"),
        initializer=become if root else None,
        initargs=(account.pw_uid, account.pw_gid) if root else (),
    )
    with pool:
        it = Ground(place, pool)
        try:
            set_up(it)
            yield it
        finally:
            it.stop()
            shutil.rmtree(place)
