# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`failover` of a primary that hangs: what each vantage point says, who may be promoted when, and that it is ended.

By modules alone; and what a rejoin that was killed has left.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from duo_ground import Duo
from embedded_servers import Server, alive, await_, children
from verify_ground import module

LOOK = {"reach_seconds": 1, "silence_seconds": 2}


class Hung(Duo):
    """The first one hangs."""

    def places(self) -> dict[str, Any]:
        """Where they are."""
        return {name: {"host": "127.0.0.1", "port": server.port} for name, server in self.servers().items()}

    def servers(self) -> dict[str, Server]:
        """By their names."""
        return {"one": self.one, "two": self.two}

    def ask(self, name: str, state: str, **options: Any) -> dict[str, Any]:
        """The module on a member."""
        return module(self.servers()[name], "failover", state=state, places=self.places(), **LOOK, **options)

    def planned(self, fails: bool = False) -> dict[str, Any]:
        """The plan, by what all vantage points say now."""
        members = {name: self.ask(name, "seen")["member"] for name in self.servers()}
        vantages = {"controller": self.ask("two", "reached")["reached"]}
        slots = {name: name for name in members}
        return {"members": members, **self.ask("two", "planned", fails=fails, members=members, vantages=vantages,
                                               slots=slots)}  # fmt: skip

    @contextlib.contextmanager
    def frozen(self, *processes: int) -> Iterator[None]:
        """Processes that do nothing."""
        for pid in processes:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def writing(server: Server) -> Iterator[None]:
    """A session that writes for ever."""
    ours = "FROM pg_stat_activity WHERE query LIKE 'DO %'"
    loop = "DO $$BEGIN LOOP PERFORM pg_logical_emit_message(true, 'x', 'y'), pg_sleep(0.1); COMMIT; END LOOP; END$$"

    def write() -> None:
        with contextlib.suppress(RuntimeError):
            server.psql(loop)

    client = threading.Thread(target=write, daemon=True)
    client.start()
    try:
        await_(lambda: server.psql(f"SELECT count(*) {ours}") == "1", what="the session that writes")
        yield
    finally:
        server.psql(f"SELECT pg_terminate_backend(pid) {ours}")
        client.join(20)


@pytest.fixture(scope="module")
def hung() -> Iterator[Hung]:
    """Both run."""
    made = Hung()
    try:
        made.up()
        yield made
    finally:
        made.down()


def test_a_postmaster_that_hangs_while_its_sessions_write_is_no_lost_primary(hung: Hung) -> None:
    """Nobody gets in any more, and who is in goes on: what streams from it would be lost."""
    assert hung.one.pid
    with writing(hung.one), hung.frozen(hung.one.pid):
        told = hung.planned(fails=True)
    assert told["members"]["one"]["state"] == "hung"
    assert told["members"]["two"]["reached"]["one"]["answer"] == "silent"
    assert "two still streams from one" in told["msg"]
    failed = [check["name"] for check in told["checks"] if check["status"] == "failed"]
    assert failed == ["no_replica_streams"]


def test_a_primary_that_hangs_whole_is_ended_before_another_one_is_promoted(hung: Hung) -> None:
    assert hung.one.pid
    family = [hung.one.pid, *children(hung.one.pid)]
    with hung.frozen(*family):
        plan = hung.planned()
        old = plan["members"]["one"]
        assert (old["state"], old["was_primary"]) == ("hung", True)
        assert old["reached"]["one"]["why"] == "no answer within 1 s"
        assert (plan["situation"], plan["old"], plan["candidate"]) == ("begin", "one", "two")
        assert plan["fences"] == ["ssh"]
        assert {check["status"] for check in plan["checks"]} == {"passed"}
        assert hung.ask("one", "fenced", check=True)["changed"]
        assert alive(family[0]) and not (hung.one.data_dir / "standby.signal").exists()
        assert hung.ask("one", "fenced", timeout=10)["changed"]
        assert not any(alive(pid) for pid in family)
    assert (hung.one.data_dir / "standby.signal").exists()
    note = {**plan["note"], "fenced": "ssh"}
    assert hung.ask("two", "promoted", note=note, fenced=True)["note"]["timeline_after"] == 2
    # One that nobody has waited for yet has a number still.
    await_(lambda: not Path(f"/proc/{family[0]}").exists(), 60, "the end of the number")
    assert not hung.ask("one", "fenced")["changed"]
    assert hung.ask("two", "finished")["changed"]


def test_what_a_rejoin_left_that_was_killed_after_it_gave_up_is_taken_away(hung: Hung) -> None:
    own = hung.one.data_dir.with_name("data.rewinding-own")
    beside = hung.one.data_dir.with_name("data.rewinding")
    for place in (own, beside):
        place.mkdir()
        os.chown(place, *(hung.one.data_dir.stat().st_uid, hung.one.data_dir.stat().st_gid))
    (own / "postgresql.conf").touch()
    assert not module(hung.one, "rejoin", state="finished")["changed"], "an unfinished rewind goes on with it"
    beside.rmdir()
    assert module(hung.one, "rejoin", state="finished", check=True)["changed"] and own.exists()
    assert module(hung.one, "rejoin", state="finished")["changed"] and not own.exists()
    assert not module(hung.one, "rejoin", state="finished")["changed"]
