# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`switchover` of three members whose commits wait for a quorum: the third follows, and the quorum is there again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from switchover_ground import Pair, changed
from test_replica_cluster import Four

QUORUM = {"replica_synchronous": {"number": 1}}


class Three(Pair, Four):
    """A primary and two replicas, synchronous by quorum."""

    members = ("db1", "db2", "db3")

    def given(self) -> dict[str, Any]:
        """Commits wait for one of them."""
        return QUORUM


@pytest.fixture(scope="module")
def three() -> Iterator[Three]:
    """db1 with db2 and db3."""
    made = Three()
    try:
        made.declare(db1={}, db2={}, db3={})
        made.up()
        yield made
    finally:
        made.down()


def test_the_third_follows_and_commits_wait_again(three: Three) -> None:
    for candidate in ("db2", "db3"):
        with three.writers(f"to-{candidate}"):
            three.switched(candidate)
        three.converged(candidate)
        quorum = three.facts(candidate)["synchronous"]
        others = sorted(host for host in three.members if host != candidate)
        assert (quorum["method"], quorum["number"], sorted(quorum["names"])) == ("any", 1, others)
        assert three.sql("SHOW wal_retrieve_retry_interval", candidate) == "5s"
        assert three.records()[-1]["verdict"] == "verified"
        assert three.records()[-1]["measurements"]["unsynchronous_seconds"] > 0
        assert set(changed(three.switched(candidate)).values()) == {0}


def test_what_is_declared_holds_afterwards(three: Three) -> None:
    """The inventory is as it was: provision finds another primary, and nothing to change."""
    output = three.converge("provision", **QUORUM)
    assert set(changed(output).values()) == {0}, output[-4000:]
