# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`failover_drill` under direct clients: refused, a kill, and there and back after one whose controller was killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from estate_runs import await_, kill
from failover_ground import Doomed
from switchover_ground import SECRET, changed

KILL = {"failover_drill_mode": "kill", "confirm": "orders"}


class Drilled(Doomed):
    """A primary, db1, with its replica, and an account for the drill's clients."""

    members = ("db1", "db2")

    def given(self) -> dict[str, Any]:
        """Who writes, and where the drill keeps its note."""
        return {
            "failover_drill_login_password": SECRET, "failover_drill_directory": str(self.drilling),
            # A machine that does other work, and one that writes more slowly than it is read.
            "failover_drill_stall_ms": 60000, "failover_drill_outage_seconds": 600, "failover_drill_lost_rows": 4,
        }  # fmt: skip

    @property
    def drilling(self) -> Path:
        """The note and the probe's files."""
        return self.home / "drilling"

    def primary_is(self, host: str) -> bool:
        """Whether a member takes writes now."""
        pid = self.postmaster(self.server(host)["data_dir"])
        return bool(pid) and self.sql("SELECT pg_is_in_recovery()", host) == "f"

    def noted(self) -> dict[str, Any]:
        """What the drill has noted."""
        note = self.drilling / "drill.json"
        return json.loads(note.read_text()) if note.exists() else {}


@pytest.fixture(scope="module")
def two() -> Iterator[Drilled]:
    """Provisioned."""
    with Drilled.provisioned() as made:
        yield made


def test_what_can_not_be_drilled_is_refused(two: Drilled) -> None:
    """In one run, before anything is touched."""
    wrong = {"failover_drill_mode": "kill", "failover_drill_candidate": "db9", "failover_drill_rate": 0}
    told = two.refuses("failover_drill", **wrong)
    assert "refused: the primary is killed (type confirm=orders); db9 is no member of orders" in told
    assert "failover_drill_clients and failover_drill_rate give no rows" in told
    assert two.records("failover_drill") == [] and not two.drilling.exists()
    for host, why in (("db2", "is a replica, and no primary; nothing was killed"), ("db9", "does not run")):
        where = {**two.server("db2"), "data_dir": str(two.home / host / "data")}
        assert why in two.module("failover_drill", fails=True, state="killed", **where)["msg"]
    assert two.primary() == "db1"
    # Of two that begin at once, one is first.
    own = {"directory": str(two.drilling), "note": {"home": "db1"}}
    two.module("failover_drill", state="noted", fresh=True, **own)
    told = two.module("failover_drill", fails=True, state="noted", fresh=True, **own)["msg"]
    assert told.startswith("refused: another drill has begun meanwhile")
    assert two.module("failover_drill", state="cleared", directory=str(two.drilling))["changed"]
    assert not two.module("failover_drill", state="cleared", directory=str(two.drilling))["changed"]
    # What a switchover refuses.
    told = two.refuses("failover_drill", switchover_max_lag_bytes=-1)
    assert "refused: a switchover of orders to db2 can't be made:" in told
    assert not two.drilling.exists()


def test_a_kill_under_clients(two: Drilled) -> None:
    """A replica takes its place, the old primary comes back, and that is how it stays where it is not to go back."""
    output = two.done("failover_drill", **KILL, failover_drill_back=False)
    two.converged("db2")
    [record] = two.records("failover_drill")
    assert record["verdict"] == "verified", record
    measured = record["measurements"]
    assert (measured["mode"], measured["primary_before"], measured["primary_after"]) == ("kill", "db1", "db2")
    assert [one.split()[0] for one in measured["primaries"].split("; ")] == ["db1", "db2"]
    assert measured["stall_ms"] > 0 and measured["rows_acknowledged"] > 0 and measured["errors"] > 0
    assert [one["name"] for one in record["checks"]] == ["failover", "rejoin", "stall", "lost_rows", "roles_as_before"]
    assert "failover_drill: orders verified mode=kill" in " ".join(output.split())
    assert [len(two.records(word)) for word in ("failover", "rejoin", "switchover")] == [1, 1, 0]
    assert not two.drilling.exists()


def test_a_drill_that_is_killed_is_brought_back_by_the_next(two: Drilled) -> None:
    """Its controller dies with the roles swapped; the same command brings them back, and drills to the end."""
    running = two.begin("failover_drill", **two.given())
    back = {"switchover_candidate": "db2"}
    await_(lambda: two.primary_is("db1") and two.noted().get("variables") == back, "the way back", 600)
    assert "is drilled already: it is process" in two.refuses("failover_drill")
    for pid, line in two.processes().items():
        if "ansible" in line:
            kill(pid)
    running.popen.wait()
    dry = two.done("failover_drill", "--check", "--diff")
    assert "did not end; db2 becomes the primary again first" in " ".join(dry.split())
    assert set(changed(dry).values()) == {0}
    two.done("failover_drill")
    two.converged("db2")
    record = two.records("failover_drill")[-1]
    assert record["verdict"] == "verified", record
    measured = record["measurements"]
    assert measured["interrupted"].startswith("20") and measured["interrupted_lost_rows"] == 0
    names = [one["name"] for one in record["checks"]]
    assert names == ["switchover_of_interrupted", "there", "back", "stall", "lost_rows", "roles_as_before"]
    assert (measured["primary_before"], measured["primary_after"], measured["lost_rows"]) == ("db2", "db2", 0)
    assert [one.split()[0] for one in measured["primaries"].split("; ")] == ["db2", "db1", "db2"]
    assert not two.drilling.exists()
