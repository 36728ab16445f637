# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`switchover` of a pair without a pooler: there and back while direct clients write, dry, twice, and refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from switchover_ground import Pair, changed


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """A primary, db1, with its replica; it archives."""
    made = Pair()
    try:
        made.up()
        yield made
    finally:
        made.down()


def test_there_and_back_while_clients_write(pair: Pair) -> None:
    """Direct clients find the new primary by themselves; what was acknowledged is there; nobody was rewound."""
    for candidate, old in (("db2", "db1"), ("db1", "db2")):
        started = pair.sql("SELECT pg_postmaster_start_time()", candidate)
        with pair.writers(f"to-{candidate}") as saw:
            output = pair.switched(candidate)
        pair.converged(candidate)
        assert saw["read_only_errors"] == 0 or saw["errors"] > 0
        # The new primary was promoted as it ran.
        assert pair.sql("SELECT pg_postmaster_start_time()", candidate) == started
        record = pair.records()[-1]
        assert (record["verdict"], record["measurements"]["primary_before"]) == ("verified", old)
        assert record["measurements"]["primary_after"] == candidate
        assert 0 < record["measurements"]["stall_ms"] < saw["largest_gap_ms"] + 1000
        assert {"candidate_streams", "archive_backlog", "one_primary", "replicas_stream"} <= {
            check["name"] for check in record["checks"] if check["status"] == "passed"
        }
        assert f"primary={candidate} stall=" in " ".join(output.split())
        # A second run has nothing to do, and nothing to record.
        again = pair.switched(candidate)
        assert set(changed(again).values()) == {0}
        assert f"{candidate} is the primary of orders already" in " ".join(again.split())
        assert len(pair.records()) == (1 if candidate == "db2" else 2)
