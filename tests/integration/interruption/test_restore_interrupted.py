# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`restore` that is killed, and the time to live that the drill host keeps by itself."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from estate import Estate
from estate_runs import await_, kill, parent
from expiry import expire, marker_of
from holds import held
from test_drill_interrupted import HALF


@pytest.fixture(autouse=True)
def clean(estate: Estate) -> Iterator[None]:
    """Afterwards nothing of the copy is left."""
    yield
    estate.assert_clean()


def options(estate: Estate, **more: Any) -> dict[str, Any]:
    """What a restore takes here."""
    return {**estate.place(), **estate.repository(), **more}


def remove(estate: Estate) -> None:
    """Remove the copy, as a drill does at its end."""
    assert estate.module("restore", state="absent", tool="native", **estate.place())["changed"] is True


def test_a_killed_worker_takes_its_tool_with_it_and_the_next_run_converges(estate: Estate) -> None:
    with held(estate, "cp", "repository/backup", HALF) as hold:
        running = estate.begin_module("restore", **options(estate))
        tool = hold.reached()
        kill(parent(tool))
        running.popen.wait()
        await_(lambda: tool not in estate.processes(), "the end of cp")
    assert (estate.copy / "base").is_dir(), "nothing was left half done: the test proves nothing"
    result = estate.module("restore", lock_timeout=10, **options(estate))
    assert result["reached"]["timeline"] == 2
    remove(estate)


def test_a_killed_tool_is_one_line(estate: Estate) -> None:
    with held(estate, "cp", "repository/backup", HALF) as hold:
        running = estate.begin_module("restore", **options(estate))
        kill(hold.reached())
        result = running.result(fails=True)
    assert result["msg"] == "cp was killed by SIGKILL: it said nothing"
    remove(estate)


def test_a_server_killed_in_recovery_is_one_line(estate: Estate) -> None:
    with held(estate, "cp", "repository/wal") as hold:
        running = estate.begin_module("restore", **options(estate))
        hold.reached()
        estate.kill_server(estate.copy)
        result = running.result(fails=True)
    assert result["msg"].startswith("recovery did not reach its target, latest: the server on port ")
    assert "\n" not in result["msg"]
    remove(estate)


def test_a_copy_that_nobody_looks_after_is_removed_by_its_host(estate: Estate) -> None:
    with held(estate, "cp", "repository/backup", HALF) as hold:
        begun = time.time()
        running = estate.begin_module("restore", **options(estate, ttl_seconds=3600))
        kill(parent(hold.reached()))
        running.popen.wait()
    assert begun + 3600 <= json.loads(marker_of(estate).read_text())["until"] <= time.time() + 3600
    assert (estate.copy / "base").is_dir()
    expire(estate)
    assert not estate.copy.exists()


def test_a_worker_that_goes_on_beyond_the_time_to_live_is_ended(estate: Estate) -> None:
    with held(estate, "cp", "repository/backup", HALF) as hold:
        running = estate.begin_module("restore", **options(estate))
        hold.reached()
        expire(estate)
        assert running.popen.wait(10) < 0
    assert not estate.copy.exists()


def test_a_running_copy_is_removed_by_its_host_and_a_new_one_is_not(estate: Estate) -> None:
    estate.module("restore", **options(estate))
    assert estate.postmaster(estate.copy)
    expire(estate)
    assert not estate.postmaster(estate.copy)
    # A run that removes and restores at once gets a watch of its own; the older one leaves the new copy alone.
    # Watches are known by the module's name.
    estate.begin_module("restore", **options(estate)).result()
    second = estate.begin_module("restore", **options(estate)).result()
    assert second["reached"]
    watches = [pid for pid, line in estate.processes().items() if "modules.restore" in line]
    await_(lambda: sum(pid in estate.processes() for pid in watches) == 1, "one watch")
    assert estate.postmaster(estate.copy)
    remove(estate)


def test_a_copy_of_another_run_is_not_removed(estate: Estate) -> None:
    estate.module("restore", **options(estate, claim="mine"))
    other = estate.module("restore", state="absent", tool="native", claim="yours", **estate.place())
    assert other["changed"] is False
    assert estate.postmaster(estate.copy)
    estate.module("restore", state="absent", tool="native", claim="mine", **estate.place())
