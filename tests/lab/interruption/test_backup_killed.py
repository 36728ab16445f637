# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pgBackRest's backup whose controller, worker, own process, source server or source host dies half way.

Every test begins with a run that gets as far as the middle of a backup: the one before it has left nothing in its way.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.estate_runs import await_
from tests.lab.interruption.ground import PRIMARY, REPOSITORY, Ground
from tests.lab.interruption.runs import kill_controller

pytestmark = pytest.mark.lab

_SERVER = "/var/lib/postgresql/15/main"
LOST = "the primary of stanza kill can't be reached: "
_IN_BACKUP = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pgBackRest%'"


@pytest.fixture(autouse=True)
def intact(ground: Ground) -> Iterator[None]:
    """Backups that were offered before still are; nothing runs, nothing is locked, and nothing half done is offered."""
    before = ground.labels()
    yield
    ground.assert_clean(PRIMARY, REPOSITORY)
    after = ground.labels()
    assert after[: len(before)] == before
    assert not set(after) & set(ground.partial())


def test_a_killed_controller_leaves_the_worker_and_the_next_run_names_or_awaits_it(ground: Ground) -> None:
    before = len(ground.labels())
    with ground.inside_backup(playbook=True) as first:
        worker = ground.worker(REPOSITORY, "backup")
        kill_controller(first)
        refused = ground.told(ground.begin_backup(), fails=True)["msg"]
        assert refused.startswith(f"pgbackrest/kill is in use by backup (pid {worker}, since "), refused
        third = ground.begin_backup(lock_timeout=60)
        waiting = "ls -l /proc/[0-9]*/fd 2>/dev/null | grep -c '/run/lock/boringdb-'"
        await_(lambda: int(ground.on(REPOSITORY, waiting)) > 2, "a third run that waits")
        ground.release(PRIMARY, "backup")
        taken = ground.told(third)["backup"]["label"]
    # The one whose controller died, and the one that waited for it.
    assert len(ground.labels()) == before + 2
    assert ground.labels()[-1] == taken


def test_a_killed_worker_takes_pgbackrest_with_it(ground: Ground) -> None:
    with ground.inside_backup() as running:
        assert ground.sql(PRIMARY, _IN_BACKUP) != "0", "the server is not in a backup: the test proves nothing"
        ground.kill(REPOSITORY, ground.worker(REPOSITORY, "backup"))
        done = running.end()
        assert done.code == 2
        assert "Traceback" not in done.output
        # Without waiting for the connection that is held.
        ground.assert_clean(REPOSITORY)
    assert len(ground.partial()) == 1, "there was nothing to clean up: the test proves nothing"
    await_(lambda: ground.sql(PRIMARY, _IN_BACKUP) == "0", "the end of the backup in the server")


def test_a_killed_pgbackrest_is_one_line(ground: Ground) -> None:
    with ground.inside_backup() as running:
        ground.kill(REPOSITORY, ground.tool(REPOSITORY, "backup"))
        told = ground.told(running, fails=True)["msg"]
        assert told == "pgbackrest backup of stanza kill was killed by SIGKILL"
        ground.assert_clean(REPOSITORY)


def test_a_crash_of_the_source_is_one_line(ground: Ground) -> None:
    with ground.inside_backup() as running:
        ground.kill_servers(PRIMARY, _SERVER)
        ground.release(PRIMARY, "backup")
        told = ground.told(running, fails=True)["msg"]
    assert told.startswith("pgbackrest backup of stanza kill failed with error "), told
    assert "\n" not in told
    refused = ground.told(ground.begin_backup(), fails=True)["msg"]
    assert refused.startswith(LOST), refused
    assert "Connection refused" in refused
    ground.on(PRIMARY, "systemctl start postgresql@15-main")


def test_a_power_cut_of_the_source_is_one_line(ground: Ground) -> None:
    with ground.inside_backup() as running:
        ground.lab("kill", PRIMARY)
        told = ground.told(running, fails=True)["msg"]
        ground.lab("start", PRIMARY)
    assert told.startswith(LOST), told
    assert "\n" not in told
    await_(lambda: "1" in ground.on(PRIMARY, "su postgres -c 'psql -XAtqc \"SELECT 1\"'", check=False), "the server")


def test_a_source_that_is_cut_off_is_one_line_and_the_next_run_finishes_the_job(ground: Ground) -> None:
    with ground.inside_backup() as running:
        ground.lab("cut", PRIMARY, "--from", REPOSITORY)
        told = ground.told(running, fails=True)["msg"]
        ground.lab("heal", PRIMARY)
    assert told.startswith(LOST), told
    assert "\n" not in told
    # Whether the far end has heard of the connection's end, the kernel's patience decides: then it ends by itself, else
    # after half an hour, and until then the next run says what is in the way and what ends it.
    before = ground.labels()
    second = ground.begin_backup()
    if second.popen.wait(120) != 0:
        told = ground.told(second, fails=True)["msg"]
        assert "is refused: another pgbackrest process on 10." in told, told
        assert told.endswith("at once there by pgbackrest --stanza=kill stop --force and then start"), told
        end = "pgbackrest --stanza=kill stop --force && pgbackrest --stanza=kill start"
        ground.on(PRIMARY, f"su postgres -c '{end}'")
    assert "backup: " in ground.play("backup")
    assert len(ground.labels()) > len(before)
    assert ground.partial() == {}
