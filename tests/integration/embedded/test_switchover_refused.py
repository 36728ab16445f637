# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `switchover` refuses before it touches anything: every reason at once, each on its own named check."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
from embedded_servers import Server, await_
from switchover_duo import Duo
from verify_ground import module


@pytest.fixture
def duo(make_server: Callable[..., Server]) -> Duo:
    """A primary, one, and its replica, two."""
    return Duo(make_server)


def failed(told: dict[str, object]) -> set[str]:
    """The names of the checks that a refusal has failed on."""
    checks = told["checks"]
    assert isinstance(checks, list)
    return {check["name"] for check in checks if check["status"] == "failed"}


def test_every_reason_is_told_at_once(duo: Duo) -> None:
    archives = {"archive_mode": True, "archive_command": "/bin/false"}
    duo.configure("one", max_prepared_transactions=5, wal_level="logical", **archives)
    duo.one.psql("SELECT pg_create_logical_replication_slot('feed', 'pgoutput')")
    duo.one.psql("BEGIN; INSERT INTO t VALUES (7); PREPARE TRANSACTION 'half'")
    duo.one.psql("INSERT INTO t VALUES (8)", "SELECT pg_switch_wal()")
    await_(lambda: duo.one.psql("SELECT failed_count > 0 FROM pg_stat_archiver") == "t", what="the archiver's failure")
    where = {"host": str(duo.one.socket_dir), "port": duo.one.port, "user": "postgres", "dbname": "postgres"}
    with psycopg.connect(**where) as client:
        client.execute("SELECT 1")
        await_(lambda: duo.one.psql(
            "SELECT count(*) FROM pg_stat_activity WHERE clock_timestamp() - xact_start > '50 ms'"
            " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        ) == "1", what="an old transaction")  # fmt: skip
        members = {name: module(duo.server(name), "switchover", transaction_seconds=0.01)["member"]
                   for name in ("one", "two")}  # fmt: skip
        # How much is free is not for a test to say.
        assert all(facts["free_bytes"] > 0 for facts in members.values())
        members["two"]["free_bytes"] = 1 << 20
        told = duo.planned(fails=True, members=members, not_admitted={"one": "no password"})
    assert told["refused"] is True
    assert failed(told) >= {
        "prepared_transactions", "old_transactions", "logical_slots", "archive_backlog", "candidate_archives",
        "settings_fit", "members_admitted", "room",
    }  # fmt: skip
    assert all(reason["remedy"] for reason in told["reasons"])
    assert len(told["reasons"]) == len(failed(told))
    assert duo.writes("one")
    # A slot that may be left is named, and no other.
    told = duo.planned(fails=True, members=members, leave_logical_slots=["feed"])
    assert "logical_slots" not in failed(told)


def test_a_candidate_that_is_not_ready_is_refused(duo: Duo) -> None:
    duo.two.psql("SELECT pg_wal_replay_pause()")
    duo.one.psql("INSERT INTO t SELECT 1 FROM generate_series(1, 1000)")
    told = duo.planned(fails=True, max_lag_bytes=0)
    assert failed(told) == {"replays_at_once", "lag"}
    duo.two.psql("SELECT pg_wal_replay_resume()")
    duo.two.psql("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
    await_(lambda: duo.two.psql("SHOW default_transaction_read_only") == "on")
    assert failed(duo.planned(fails=True)) == {"takes_writes"}
    duo.two.stop()
    told = duo.planned(fails=True)
    assert "members_run" in failed(told)


def test_a_backup_that_is_being_taken_is_waited_for(duo: Duo) -> None:
    where = {"host": str(duo.one.socket_dir), "port": duo.one.port, "user": "postgres", "dbname": "postgres"}
    with psycopg.connect(**where, application_name="pgBackRest [backup]") as client:
        client.execute("SELECT 1")
        assert failed(duo.planned(fails=True)) == {"no_backup"}


def test_a_wrong_candidate_is_refused(duo: Duo) -> None:
    for candidate, says in (("three", "three is no member (they are one, two)"), ("", "no candidate is named")):
        told = duo.planned(candidate, fails=True)
        assert told["msg"].startswith("refused: ") and says in told["msg"]
    assert duo.planned("one")["situation"] == "finish"


def test_a_manager_in_charge_is_refused(duo: Duo) -> None:
    where = {"host": str(duo.one.socket_dir), "port": duo.one.port, "user": "postgres", "dbname": "postgres"}
    with psycopg.connect(**where, application_name="Patroni heartbeat"):
        told = duo.planned(fails=True)
    assert "Patroni is in charge of one (switch over with it" in told["msg"]
    (duo.two.data_dir / "patroni.dynamic.json").touch()
    assert "Patroni is in charge of two" in duo.planned(fails=True)["msg"]


def test_two_primaries_are_refused(duo: Duo) -> None:
    duo.two.psql("SELECT pg_promote()")
    told = duo.planned(fails=True)
    assert "there is more than one primary: one, two" in told["msg"]


def test_a_primary_that_crashed_is_no_switchover(duo: Duo) -> None:
    duo.one.stop("immediate")
    told = duo.planned(fails=True)
    assert "there is no running primary (one is stopped primary, two is running replica)" in told["msg"]
    assert "(start it, or fail over)" in told["msg"]


@pytest.mark.parametrize("wrong", [
    {"pause_timeout": 0}, {"replay_timeout": 0}, {"max_lag_bytes": -1}, {"max_archive_backlog": -1}, {"timeout": 0},
    {"transaction_seconds": -1}, {"candidate_port": 0}, {"candidate_host": ""},
    {"consoles": [{"host": "", "port": 1}]}, {"consoles": [{"host": "a", "port": 65536}]},
], ids=str)  # fmt: skip
def test_nonsense_is_refused(quick: Server, wrong: dict[str, object]) -> None:
    told = module(quick, "switchover", fails=True, **wrong)
    assert told["refused"] is True
