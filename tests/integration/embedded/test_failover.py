# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`failover` of a pair whose primary is killed under direct clients: refused, dry, done, and done twice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from failover_ground import Doomed, told_loss
from switchover_ground import changed


class Two(Doomed):
    """A primary, db1, with its replica; it archives."""

    members = ("db1", "db2")


@pytest.fixture(scope="module")
def two() -> Iterator[Two]:
    """Provisioned."""
    with Two.provisioned() as made:
        yield made


def test_a_primary_that_works_is_refused(two: Two) -> None:
    told = two.refuses("failover")
    assert "db1 is the primary, and it works (use switchover to have another one)" in told
    assert "db1 is the primary, and it works" in two.refuses("failover", failover_candidate="db2")
    assert set(changed(two.done("failover", failover_candidate="db1")).values()) == {0}
    two.converged("db1")


def test_a_primary_that_is_killed_under_writers(two: Two) -> None:
    """What is lost is what was told, and no more; nothing but the failover's own is left; twice is once."""
    with two.doomed_writers("killed") as saw:
        assert two.kill_primary() == "db1"
        dry = two.done("failover", "--check", "--diff")
        assert "db2 becomes primary of orders in the place of db1, which is fenced by ssh" in " ".join(dry.split())
        assert set(changed(dry).values()) == {0}
        output = two.done("failover")
    two.orphaned("db2", "db1")
    [record] = two.records("failover")
    assert record["verdict"] == "verified", record
    told = told_loss(record)
    assert saw["found"]["missing"] <= told["loss_transactions"], (saw, told)
    assert told["loss_bytes"] >= 0 and told["loss_basis"].startswith("read from the files of db1")
    measured = record["measurements"]
    assert (measured["primary_before"], measured["primary_after"]) == ("db1", "db2")
    assert (measured["fenced"], measured["timeline_after"]) == ("ssh", 2)
    assert {"controller", "db2"} <= set(measured["vantage_points"].split(", "))
    assert measured["stall_seconds_at_most"] > 0
    assert "failover: orders verified primary=db2 fenced=ssh" in " ".join(output.split())
    assert (two.home / "db1/data/standby.signal").exists()
    again = two.done("failover")
    assert set(changed(again).values()) == {0}
    assert "db2 is the primary of orders and works; nothing is to be done" in " ".join(again.split())
    assert set(changed(two.done("failover", failover_candidate="db2")).values()) == {0}
    assert len(two.records("failover")) == 1


def test_where_its_host_answers_and_it_can_t_be_stopped_another_fence_counts(two: Two) -> None:
    """Nothing can be written there: no signal that would make it a replica."""
    two.done("rejoin", rejoin_host="db1")
    assert two.kill_primary() == "db2"
    data = two.home / "db2/data"
    data.chmod(0o500)
    try:
        told = two.refuses("failover")
        assert "nobody was promoted: the server of db2 could not be stopped" in told
        assert "set failover_fence_command, or type failover_unfenced_ok=db2" in told
        two.done("failover", failover_fence_command=["/bin/true"])
    finally:
        data.chmod(0o700)
    two.orphaned("db1", "db2")
    assert two.records("failover")[-1]["measurements"]["fenced"] == "command"
