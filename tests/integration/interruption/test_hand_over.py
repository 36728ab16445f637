# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy that is restored and not yet verified belongs to its run: another one waits, for a while."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from estate import Estate
from expiry import marker_of


@pytest.fixture(autouse=True)
def clean(estate: Estate) -> Iterator[None]:
    """Afterwards nothing of the copy is left."""
    yield
    estate.module("restore", state="absent", tool="native", **estate.place())
    estate.assert_clean()


def restored(estate: Estate, **more: Any) -> dict[str, Any]:
    """What a restore takes here."""
    return {**estate.place(), **estate.repository(), "lock_timeout": 60, **more}


def test_a_second_run_leaves_the_copy_to_the_first_until_that_is_done(estate: Estate) -> None:
    estate.module("restore", **restored(estate, claim="first", hand_over_seconds=60))
    second = estate.begin_module("restore", **restored(estate, claim="second"))
    with pytest.raises(subprocess.TimeoutExpired):
        second.popen.wait(2)
    verified = estate.module("verify", claim="first", **estate.place())
    assert verified["rows_checked"] > 0
    assert second.result()["reached"]
    # It is the second one's now, and the first one's verification does not take it for its own.
    assert json.loads(marker_of(estate).read_text())["claim"] == "second"
    refused = estate.module("verify", fails=True, claim="first", **estate.place())["msg"]
    assert refused == f"{estate.copy} does not hold this run's copy any more: another restore has replaced it"


def test_a_run_whose_controller_died_delays_the_next_one_for_the_rest_and_not_its_clock(estate: Estate) -> None:
    estate.module("restore", **restored(estate, claim="first", hand_over_seconds=4))
    until = json.loads(marker_of(estate).read_text())["offered"]["until"]
    started = estate.module("restore", **restored(estate, claim="second"))["started"]
    assert datetime.fromisoformat(started.replace("Z", "+00:00")).timestamp() >= until


def test_a_copy_whose_server_is_gone_is_waited_for_by_nobody(estate: Estate) -> None:
    estate.module("restore", **restored(estate, claim="first", hand_over_seconds=3600))
    estate.kill_server(estate.copy)
    assert estate.module("restore", **restored(estate, claim="second"))["reached"]
