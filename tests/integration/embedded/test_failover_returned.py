# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`failover` whose old primary comes back in the middle, as the replica that its fence made of it.

Whoever followed it and was not yet told to follow the new primary gets from it what nobody else has.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from estate_runs import await_
from failover_ground import Doomed

QUORUM = {"replica_synchronous": {"number": 1}}


class Three(Doomed):
    """A primary and two replicas, synchronous by quorum."""

    members = ("db1", "db2", "db3")

    def given(self) -> dict[str, object]:
        """Commits wait for one of them."""
        return dict(QUORUM)

    def tail(self) -> None:
        """The primary is dead, and has committed what nobody received: its replicas did not find its port."""
        server = self.server("db1")
        elsewhere = str(self.port + 8)
        self.kill_server(server["data_dir"])
        words = f"-p {elsewhere} -c max_wal_senders=10"
        self.run(f"{server['bin_dir']}/pg_ctl", "start", "-s", "-w", "-D", server["data_dir"], "-o", words,
                 "-l", f"{self.home}/db1/tail.log")  # fmt: skip
        sql = "SET synchronous_commit = local; CREATE TABLE tail AS SELECT generate_series(1, 1000) AS a"
        self.run(f"{server['bin_dir']}/psql", "-XAtq", "-h", server["socket_dir"], "-p", elsewhere, "-d", "postgres",
                 "-U", "postgres", "-c", sql)  # fmt: skip
        self.kill_server(server["data_dir"])


@pytest.fixture(scope="module")
def three() -> Iterator[Three]:
    """db1 with db2 and db3."""
    with Three.provisioned() as made:
        yield made


def test_a_replica_that_follows_the_old_primary_a_moment_too_long(three: Three) -> None:
    three.tail()
    given = {**QUORUM, "pool_hosts": "nobody"}
    running = three.begin("failover", **given)
    streams = "SELECT pg_is_in_recovery()"
    await_(lambda: "f" in {three.sql(streams, host) for host in ("db2", "db3")}, "the promotion", 180)
    running.kill()
    [new] = [host for host in ("db2", "db3") if three.sql(streams, host) == "f"]
    other = {"db2": "db3", "db3": "db2"}[new]
    three.module("instance", state="started", **three.server("db1"))
    await_(lambda: three.sql("SELECT to_regclass('tail') IS NOT NULL", other) == "t", "the tail", 60)
    told = three.refuses("failover", **given)
    assert f"the replica on port {three.server(other)['port']} does not stream from 127.0.0.1" in told
    assert "it has replayed timeline 1 up to " in told and "and timeline 2 left that at " in told, told[-3000:]
    assert "the playbook rejoin brings back one that is diverged" in told
    three.done("rejoin", **given, rejoin_host=other)
    assert three.sql("SELECT to_regclass('tail') IS NULL", other) == "t"
    three.done("failover", **given)
    three.orphaned(new, "db1")
    # The primary has forgotten what a rewound one would go on from.
    at = three.sql("SELECT pg_switch_wal(); SELECT pg_logical_emit_message(false, 'test', 'next')", new).split()[-1]
    passed = f"SELECT bool_and(restart_lsn >= '{at}') FROM pg_replication_slots WHERE active"
    await_(lambda: three.sql(passed, new) == "t", "the other replica")
    three.sql("CHECKPOINT", new)
    three.sql("CHECKPOINT", new)
    told = three.refuses("rejoin", **given, rejoin_host="db1")
    assert "refused: db1 goes on from 0/" in told and f", and {new} has no WAL from there on any more" in told
    three.done("rejoin", **given, rejoin_host="db1", rejoin_reclone=True)
    three.converged(new)
    assert [one["verdict"] for one in three.records("failover")] == ["failed", "verified"]
