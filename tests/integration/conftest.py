# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One cluster for the tests of interruptions and of bad input: provisioned by the playbook, with one backup."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
for place in (HERE, HERE.parents[1] / ".collections"):
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))

pytest.register_assert_rewrite("estate", "estate_runs", "holds", "expiry", "untouched")

from estate import Estate  # noqa: E402

#: Files of minutes: begun first, so that no worker is left with one when the others have ended.
LONG = (
    "test_every_playbook", "test_failover_drill_copy", "test_failover_drill", "test_switchover_pooler",
    "test_failover_three", "test_verify", "test_generated", "test_provision", "test_pool_playbook", "test_restart",
    "test_dump", "test_awx_jobs", "test_restore_cluster", "test_kills_sample", "test_playbooks_refuse",
    "test_awx_declared", "test_probe", "test_failover", "test_switchover_move", "test_replica_cluster",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files; their tests stay as they are."""
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


@pytest.fixture(scope="session")
def estate() -> Iterator[Estate]:
    """The cluster `orders`, as the playbooks provision and back it up."""
    made = Estate()
    try:
        made.up()
        yield made
    finally:
        made.down()
