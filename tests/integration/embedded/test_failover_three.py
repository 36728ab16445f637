# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`failover` of three members with a quorum, behind a pooler, while the primary's host does not answer."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from estate_runs import await_
from failover_ground import GONE, Doomed, told_loss
from switchover_ground import changed
from test_switchover_pooler import Pooled

QUORUM = {"replica_synchronous": {"number": 1}}


class Three(Pooled, Doomed):
    """A primary and two replicas, synchronous by quorum, and a pooler."""

    members = ("db1", "db2", "db3")

    def given(self) -> dict[str, Any]:
        """Commits wait for one of them."""
        return QUORUM

    def promoted(self) -> str:
        """The replica that takes writes now; empty where none does."""
        told = {host: self.sql("SELECT pg_is_in_recovery()", host) for host in ("db2", "db3")}
        return next((host for host, standby in told.items() if standby == "f"), "")

    def position(self, host: str) -> int:
        """How far a replica has got."""
        return int(self.sql("SELECT greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) - '0/0'", host))

    def held_at(self, host: str) -> bool:
        """Whether the pooler holds its clients, and would send them there."""
        row = self.shown()
        return row["paused"] != "0" and row["port"] == str(self.server(host)["port"])

    @contextlib.contextmanager
    def cutting(self) -> Iterator[list[str]]:
        """A command that cuts a host off, and does not come to its end."""
        at, fifo, script = (self.logs / f"cut.{name}" for name in ("at", "fifo", "sh"))
        os.mkfifo(fifo)
        script.write_text(f'#!/bin/sh\necho "$@" > {at}.new && mv {at}.new {at}\nread _ < {fifo}\n')
        script.chmod(0o755)
        try:
            yield [str(script), "{host}", "{address}"]
        finally:
            handle = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
            os.write(handle, b"\n")
            await_(lambda: not any(str(script) in line for line in self.processes().values()), "the end of the command")
            os.close(handle)


@pytest.fixture(scope="module")
def three() -> Iterator[Three]:
    """db1 with db2 and db3."""
    with Three.provisioned() as made:
        yield made


def test_a_primary_that_only_ssh_does_not_reach_is_refused(three: Three) -> None:
    three.declare(db1=GONE, db2={}, db3={})
    told = three.refuses("failover")
    assert "db1 answers db2, db3, controller, pool1 (it works: use switchover)" in told
    assert "db2, db3 still streams from db1" in told
    assert "the host of db1 does not answer, so its server can't be stopped" in told
    assert three.primary() == "db1"
    assert three.shown()["paused"] == "0"


def test_a_host_that_is_gone_and_runs_that_are_killed(three: Three) -> None:
    """Clients of the pooler wait, or see errors, and go on; nothing that was acknowledged is lost."""
    three.declare(db1=GONE, db2={}, db3={})
    cut = {"failover_fence_command": ["/bin/true"]}
    with three.doomed_writers("gone", **three.through()) as saw:
        three.kill_primary()
        # Without the quorum nobody knows what is lost.
        told = three.refuses("failover", replica_synchronous=None, db_rpo_seconds=0.001)
        assert "set failover_fence_command, or type failover_unfenced_ok=db1" in told
        assert "possibly lost: at least 0 bytes of WAL, an unknown number of transactions, at most" in told
        assert "failover_accept_loss=" in told
        told = three.refuses("failover", failover_unfenced_ok="db2")
        assert "failover_unfenced_ok names db2, and db1 is the primary that is gone" in told
        with three.cutting() as command:
            given = {**QUORUM, "pool_hosts": "process_poolers"}
            running = three.begin("failover", failover_fence_command=command, **given)
            await_((three.logs / "cut.at").exists, "the fence", 180)
            running.kill()
            assert Path(three.logs / "cut.at").read_text() == "db1 127.0.0.1\n"
            assert not three.promoted()
        told = three.refuses("failover", failover_fence_command=["/bin/false"])
        assert "nobody was promoted: the server of db1 could not be stopped" in told
        # Nobody's clients wait for what is not coming.
        assert (three.shown()["paused"], three.shown()["port"]) == ("0", str(three.server("db1")["port"]))
        other, new = sorted(("db2", "db3"), key=three.position)
        running = three.begin("failover", **cut, **given, failover_candidate=other, failover_accept_loss="unknown")
        await_(lambda: three.held_at(other), "the pause", 180)
        running.kill()
        assert not three.promoted()
        # Clients wait for one that another run does not choose.
        running = three.begin("failover", **cut, **given, failover_candidate=new)
        assert await_(three.promoted, "the promotion", 180) == new
        running.kill()
        assert three.note(new).exists()
        output = " ".join(three.done("failover", **cut).split())
        assert f"{new} was promoted in the place of db1 by a run that did not end; the rest is done" in output
    assert saw["found"]["missing"] == 0, saw
    assert saw["errors"] > 0, "the clients were not disturbed: the test proves nothing"
    three.orphaned(new, "db1")
    three.settled(new)
    [record] = three.records("failover")
    assert record["verdict"] == "verified", record
    measured = record["measurements"]
    assert (measured["fenced"], measured["primary_after"], measured["members_there"]) == ("command", new, 2)
    assert measured["vantage_points"] == "controller, db2, db3, pool1"
    told_of = told_loss(record)
    assert (told_of["loss_covered_by_quorum"], told_of["loss_seconds_at_most"]) == (True, 0)
    assert told_of["loss_transactions"] == "unknown"
    # Any of them will do: their order depends on who was promoted.
    assert set(three.facts(new)["synchronous"]["names"]) == {"db1", other}
    again = three.done("failover", **cut)
    assert f"{new} is the primary of orders and works" in " ".join(again.split())
    assert {changed(again)[host] for host in (new, other)} == {0}
    assert len(three.records("failover")) == 1


def test_it_comes_back_as_a_clone(three: Three) -> None:
    """Nobody could mark it: it would start as a primary. Its last common WAL is gone, and so is another host."""
    new = three.promoted()
    assert not (three.home / "db1/data/standby.signal").exists()
    other = "db2" if new == "db3" else "db3"
    three.declare(**{"db1": {}, new: {}, other: GONE})
    told = three.refuses("rejoin", rejoin_host="db1")
    assert f"{other} (" in told
    assert "could not be seen (it may be the primary by now" in told
    told = three.refuses("rejoin", rejoin_host="db1", rejoin_without="db4")
    assert "rejoin_without names db4, no member of orders" in told
    for path in (three.home / "db1/data/pg_wal").glob("*[0-9A-F]"):
        if path.is_file():
            path.unlink()
    told = three.refuses("rejoin", rejoin_host="db1", rejoin_without=other)
    assert "rejoin_reclone=true sets its data aside and clones it anew" in told
    again = {"rejoin_host": "db1", "rejoin_reclone": True, "rejoin_without": other}
    output = " ".join(three.done("rejoin", **again).split())
    assert "rejoin: db1 of orders verified by reclone" in output
    three.declare(db1={}, db2={}, db3={})
    three.converged(new)
    three.settled(new)
    assert three.records("rejoin")[-1]["verdict"] == "verified"
    assert list((three.home / "db1").glob("data.replaced-*"))
