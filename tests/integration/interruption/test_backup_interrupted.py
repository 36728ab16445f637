# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`backup` that is killed: its controller, its worker, its tool, the server it copies. The repository loses nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from estate import Estate
from estate_runs import Running, await_, kill, parent
from holds import bin_dir, held, slowed

SLOW = "--max-rate=1M"


@pytest.fixture(autouse=True)
def intact(estate: Estate) -> Iterator[None]:
    """Whatever happens, older backups stay as they are, and nothing is left that is not a backup."""
    estate.start()
    before = {label: estate.tree(estate.backups / label) for label in estate.labels()}
    yield
    estate.assert_clean()
    assert {label: estate.tree(estate.backups / label) for label in before} == before


def begin(estate: Estate, **options: Any) -> Running:
    """A backup that takes half a minute, copying files."""
    with slowed(estate, "pg_basebackup", SLOW):
        running = estate.begin_module(
            "backup", **{**estate.server(), **estate.repository(), "bin_dir": bin_dir(estate)}, **options
        )
        await_(
            lambda: list(estate.backups.glob("*.partial/base")) or running.popen.poll(), "a backup that copies files"
        )
    return running


def take(estate: Estate) -> None:
    """The next run finishes the job."""
    before = estate.labels()
    # The killed one's family holds the lock until it is gone.
    result = estate.module("backup", lock_timeout=10, **estate.server(), **estate.repository())
    assert estate.labels() == sorted([*before, result["backup"]["label"]])


def test_a_killed_worker_takes_its_tool_with_it_and_the_next_run_converges(estate: Estate) -> None:
    running = begin(estate)
    tool = estate.process("pg_basebackup", ".partial")
    assert parent(tool) == running.popen.pid
    running.kill()
    await_(lambda: not any("pg_basebackup" in line for line in estate.processes().values()), "the end of pg_basebackup")
    assert len(list(estate.backups.glob("*.partial"))) == 1, "there was nothing to clean up: the test proves nothing"
    take(estate)


def test_tablespaces_of_a_killed_backup_go_with_it(estate: Estate) -> None:
    place = estate.home / "space"
    # A replica on the same machine would have it in the same place: it replays all of this when it is over.
    estate.module("instance", state="stopped", **estate.server("db2"))
    estate.run("mkdir", str(place))
    estate.sql(f"CREATE TABLESPACE space LOCATION '{place}'")
    estate.sql("CREATE TABLE apart TABLESPACE space AS SELECT n, md5(n::text) FROM generate_series(1, 200000) n")
    try:
        running = begin(estate)
        await_(lambda: list(estate.backups.glob(".tablespaces/*/*/*/*/*")), "a tablespace that is copied")
        running.kill()
        assert len(list(estate.backups.glob(".tablespaces/*"))) == 1
        take(estate)
        assert [path.name for path in estate.backups.glob(".tablespaces/*")] == estate.labels()[-1:]
    finally:
        estate.sql("DROP TABLE apart")
        estate.sql("DROP TABLESPACE space")
        estate.module("instance", state="started", **estate.server("db2"))


def test_a_killed_tool_is_one_line_and_leaves_nothing(estate: Estate) -> None:
    running = begin(estate)
    kill(estate.process("pg_basebackup", ".partial"))
    done = running.end()
    assert done.code == 1
    assert "pg_basebackup was killed by SIGKILL" in done.output
    estate.assert_clean()
    take(estate)


def test_a_crash_of_the_source_is_one_line_and_leaves_nothing(estate: Estate) -> None:
    running = begin(estate)
    estate.kill_server(estate.server()["data_dir"])
    done = running.end()
    assert done.code == 1
    assert "server terminated abnormally" in done.output
    assert "Traceback" not in done.output
    estate.assert_clean()
    refused = estate.module("backup", fails=True, **estate.server(), **estate.repository())
    assert refused["msg"] == f"refused: no server runs on {estate.server()['data_dir']} (start it first)"
    estate.module("instance", state="started", **estate.server())
    take(estate)


def test_a_killed_controller_leaves_the_worker_and_the_next_run_names_or_awaits_it(estate: Estate) -> None:
    with held(estate, "pg_basebackup") as hold:
        first = estate.begin("backup", db_bin_dir=bin_dir(estate))
        worker = parent(hold.reached())
        first.kill()
        second = estate.play("backup")
        assert second.code == 2
        assert len(second.errors()) == 1, second.output
        assert f"is in use by backup (pid {worker}, since " in second.errors()[0]
        before = estate.labels()
        third = estate.begin("backup", backup_lock_timeout=60)
        await_(lambda: _waits(estate, worker), "a third run that waits")
        hold.release()
        done = third.end()
    assert done.code == 0, done.output
    # The one whose controller died and the one that waited for it.
    assert len(estate.labels()) == len(before) + 2


def _waits(estate: Estate, worker: int) -> bool:
    """Whether another process than the worker has the repository's lock open."""
    from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import lock_path

    path = str(lock_path(str(estate.backups)))
    for pid in estate.processes():
        if pid != worker:
            try:
                if path in {str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()}:
                    return True
            except OSError:
                continue
    return False
