# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`switchover` behind a pooler: clients see nothing of it; a pause that does not end, a worker that is killed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from estate_runs import await_, kill, parent
from holds import bin_dir, held
from pool_ground import program
from switchover_ground import POOLER, SECRET, Pair, changed, frozen


class Pooled(Pair):
    """A pair behind pgbouncer."""

    pooled = True

    def up(self) -> None:
        """With a pooler before it."""
        super().up()
        self.converge("pool", pool_program=program(), **POOLER)

    def through(self) -> dict[str, Any]:
        """Where clients of the pooler go."""
        return {"login_host": "127.0.0.1", "login_port": str(self.port + 7)}

    def shown(self) -> dict[str, Any]:
        """What the pooler tells."""
        told = self.module("pool_info", config_file=str(self.home / "pool1/pgbouncer.ini"))
        return {**told["poolers"][0]["databases"]["postgres"], "timer": told["timer"]}

    def begin_pooler_anew(self) -> None:
        """As a service manager does with one that has died."""
        pid = int((self.home / "pool1/pgbouncer.pid").read_text())
        kill(pid)
        await_(lambda: not Path(f"/proc/{pid}").exists(), "the end of the pooler")
        self.module("pool", state="started", program=program(), config_file=str(self.home / "pool1/pgbouncer.ini"))

    def settled(self, primary: str) -> None:
        """Its clients go to the primary, in its file, too, nobody is held, and no timer waits."""
        shown = self.shown()
        port = str(self.server(primary)["port"])
        assert (shown["port"], shown["paused"], shown["timer"]) == (port, "0", None)
        assert f"port={port}" in (self.home / "pool1/pgbouncer.ini").read_text()


@pytest.fixture(scope="module")
def pair() -> Iterator[Pooled]:
    """A primary, db1, with its replica, behind a pooler."""
    made = Pooled()
    try:
        made.up()
        yield made
    finally:
        made.down()


def test_clients_of_the_pooler_notice_nothing(pair: Pooled) -> None:
    """No error and no lost row; those that come directly find the new primary by themselves."""
    assert changed(pair.switched("db2", "--check", "--diff"))["db1"] == 1
    assert pair.primary() == "db1"
    for candidate in ("db2", "db1"):
        with pair.writers(f"pool-{candidate}", **pair.through()) as saw, pair.writers(f"direct-{candidate}") as direct:
            output = pair.switched(candidate)
        assert saw["errors"] == 0, saw
        assert direct["errors"] > 0, "the direct clients were not disturbed: the test proves nothing"
        pair.converged(candidate)
        pair.settled(candidate)
        measured = pair.records()[-1]["measurements"]
        assert measured["stall_ms"] >= measured["stop_ms"] + measured["promote_ms"] > 0
        assert saw["largest_gap_ms"] >= measured["promote_ms"]
        assert f"stall={measured['stall_ms']} ms" in " ".join(output.split())
        assert set(changed(pair.switched(candidate)).values()) == {0}


def test_a_pause_that_does_not_end_is_taken_back(pair: Pooled) -> None:
    """A client stays in its transaction: all go on with the old primary, and nothing is left of the attempt."""
    old = pair.primary()
    candidate = {"db1": "db2", "db2": "db1"}[old]
    with psycopg.connect(host="127.0.0.1", port=pair.port + 7, user="probe", password=SECRET, dbname="postgres") as one:
        one.execute("SELECT 1")
        told = pair.refused(candidate, switchover_pause_timeout=1, switchover_transaction_seconds=600)
        assert one.execute("SELECT 2").fetchone() == (2,)
    assert "PAUSE" in told and "did not end within 1 s" in told
    assert "it was taken back: the old primary takes writes again" in told
    pair.converged(old)
    pair.settled(old)
    assert pair.records()[-1]["verdict"] != "verified"


def test_a_pooler_that_can_not_be_made_ready_ends_it_before_anything_is_stopped(pair: Pooled) -> None:
    """Its timer could not ask the servers: the slot that was made for the switchover goes again."""
    old = pair.primary()
    started = pair.sql("SELECT pg_postmaster_start_time()", old)
    candidate = {"db1": "db2", "db2": "db1"}[old]
    config = pair.home / "pool1/pgbouncer.ini"
    text = config.read_text()
    config.write_text(text.replace("auth_user = ", "; auth_user = "))
    try:
        told = pair.refused(candidate)
    finally:
        config.write_text(text)
    assert "nothing was switched: pool1: " in told and "no auth_user" in told
    assert pair.sql("SELECT pg_postmaster_start_time()", old) == started
    pair.converged(old)
    pair.settled(old)


def test_a_worker_killed_behind_the_fence_and_the_same_command_again(pair: Pooled) -> None:
    """Clients are held meanwhile. Nothing that was acknowledged is lost."""
    old = pair.primary()
    candidate = {"db1": "db2", "db2": "db1"}[old]
    with pair.writers("killed", **pair.through()):
        with held(pair, "pg_controldata") as hold:
            running = pair.begin(
                "switchover", switchover_candidate=candidate, db_bin_dir=bin_dir(pair), pool_program=program(), **POOLER
            )
            await_(hold.at.exists, "the fence", 180)
            tool = hold.reached()
            kill(parent(tool))
        done = running.end()
        assert done.code != 0
        assert "ended without a result" in done.told()
        assert pair.shown()["paused"] != "0"
        await_(lambda: not pair.postmaster(pair.server(old)["data_dir"]), "the end of the old primary")
        output = pair.switched(candidate)
        assert f"{old} was closed by an earlier run, {candidate} is promoted" in " ".join(output.split())
    pair.converged(candidate)
    pair.settled(candidate)
    assert pair.records()[-1]["measurements"]["primary_before"] == old


def test_a_worker_killed_while_it_pauses_and_the_same_command_again(pair: Pooled) -> None:
    """Its file has the new route by then, and the pooler itself the old one, until somebody starts it anew."""
    old = pair.primary()
    candidate = {"db1": "db2", "db2": "db1"}[old]
    given = {"switchover_candidate": candidate, "pool_program": program(), **POOLER}
    where = {"host": "127.0.0.1", "port": pair.port + 7, "user": "probe", "password": SECRET, "dbname": "postgres"}
    with psycopg.connect(**where) as client:
        client.execute("SELECT 1")
        waits = {"switchover_pause_timeout": 100, "switchover_transaction_seconds": 600}
        running = pair.begin("switchover", **given, **waits)
        await_(lambda: pair.shown()["paused"] != "0", "the pause", 180)
        kill(pair.worker("switchover"))
        assert running.end().code != 0
        assert client.execute("SELECT 2").fetchone() == (2,)
    assert pair.primary() == old
    pair.begin_pooler_anew()
    assert pair.shown()["port"] == str(pair.server(candidate)["port"])
    pair.switched(candidate)
    pair.converged(candidate)
    pair.settled(candidate)


def test_a_pooler_that_dies_under_it_comes_back_with_the_route_to_the_primary(pair: Pooled) -> None:
    """What the run itself can do: its file has the old route again, and nothing is left of the attempt."""
    old = pair.primary()
    candidate = {"db1": "db2", "db2": "db1"}[old]
    given = {"switchover_candidate": candidate, "pool_program": program(), **POOLER}
    pid = int((pair.home / "pool1/pgbouncer.pid").read_text())
    where = {"host": "127.0.0.1", "port": pair.port + 7, "user": "probe", "password": SECRET, "dbname": "postgres"}
    with contextlib.closing(psycopg.connect(**where)) as client:
        client.execute("SELECT 1")
        waits = {"switchover_pause_timeout": 100, "switchover_transaction_seconds": 600}
        running = pair.begin("switchover", **given, **waits)
        await_(lambda: pair.shown()["paused"] != "0", "the pause", 180)
        kill(pid)
        done = running.end()
        await_(lambda: not Path(f"/proc/{pid}").exists(), "the end of the pooler")
    assert done.code != 0 and "Traceback" not in done.output
    assert pair.primary() == old
    assert f"port={pair.server(old)['port']}" in (pair.home / "pool1/pgbouncer.ini").read_text()
    assert pair.sql("SELECT count(*) FROM pg_roles WHERE rolname = 'boringdb_switchover'", old) == "0"
    pair.module("pool", state="started", program=program(), config_file=str(pair.home / "pool1/pgbouncer.ini"))
    assert pair.shown()["port"] == str(pair.server(old)["port"])
    pair.switched(candidate)
    pair.converged(candidate)
    pair.settled(candidate)


def test_a_worker_killed_before_the_route_and_the_same_command_again(pair: Pooled) -> None:
    """The candidate is the primary, and clients are still held before the old one."""
    old = pair.primary()
    candidate = {"db1": "db2", "db2": "db1"}[old]
    pooler = int((pair.home / "pool1/pgbouncer.pid").read_text())
    with pair.writers("unrouted", **pair.through()):
        with held(pair, "pg_controldata") as hold:
            running = pair.begin(
                "switchover", switchover_candidate=candidate, db_bin_dir=bin_dir(pair), pool_program=program(), **POOLER
            )
            await_(hold.at.exists, "the fence", 180)
            worker = parent(hold.reached())
            with frozen(pooler):
                hold.release()
                await_(lambda: pair.sql("SELECT pg_is_in_recovery()", candidate) == "f", "the promotion")
                kill(worker)
        assert running.end().code != 0
        assert (pair.shown()["paused"], pair.shown()["port"]) != ("0", str(pair.server(candidate)["port"]))
        output = pair.switched(candidate)
        assert "what an earlier run left is finished" in " ".join(output.split())
    pair.converged(candidate)
    pair.settled(candidate)


def test_a_controller_that_is_killed_leaves_the_worker_and_the_same_command_finishes(pair: Pooled) -> None:
    old = pair.primary()
    candidate = {"db1": "db2", "db2": "db1"}[old]
    with pair.writers("orphaned", **pair.through()):
        with held(pair, "pg_controldata") as hold:
            running = pair.begin(
                "switchover", switchover_candidate=candidate, db_bin_dir=bin_dir(pair), pool_program=program(), **POOLER
            )
            await_(hold.at.exists, "the fence", 180)
            tool = hold.reached()
            running.kill()
            hold.release()
            await_(lambda: not pair.processes().get(tool), "the end of pg_controldata")
            worker = [pid for pid, line in pair.processes().items() if "AnsiballZ_switchover" in line]
            await_(lambda: not any(pid in pair.processes() for pid in worker), "the end of the worker")
        assert pair.primary() == candidate
        output = pair.switched(candidate)
        assert "what an earlier run left is finished" in " ".join(output.split())
    pair.converged(candidate)
    pair.settled(candidate)
    assert pair.records()[-1]["verdict"] == "verified"
