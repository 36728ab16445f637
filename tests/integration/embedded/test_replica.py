# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`replica` between two real servers: prepared, cloned, attached, streaming, and what it refuses."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from embedded_servers import Server, as_user, await_
from verify_ground import module

SECRET = "a:\\'b \"c"
ANY = {"database": "all", "user": "all"}
HBA = [
    {"type": "local", **ANY, "method": "trust"},
    {"type": "host", **ANY, "address": "127.0.0.1/32", "method": "scram-sha-256"},
    {"type": "host", "database": "replication", "user": "all", "address": "127.0.0.1/32", "method": "scram-sha-256"},
]
Replica = Callable[..., dict[str, Any]]


def make_primary(make_server: Callable[..., Server], version: int = 16) -> Server:
    """A running primary with a table, that lets replicas in by password."""
    server = make_server("primary", version=version, copied=True)
    module(server, "config", settings={"log_statement": "all", "fsync": False}, hba=HBA)
    server.psql("CREATE TABLE t AS SELECT 1 AS a")
    return server


@pytest.fixture
def primary(make_server: Callable[..., Server]) -> Server:
    """A primary whose replication account is prepared."""
    server = make_primary(make_server)
    module(server, "replica", state="prepared", replication_password=SECRET)
    return server


@pytest.fixture
def standby(make_server: Callable[..., Server]) -> Server:
    """A place for its replica."""
    return make_server("standby", initdb=False)


def attach(standby: Server, primary: Server, **options: Any) -> dict[str, Any]:
    """`replica` on the standby, attached unless another state is asked for."""
    given = {"primary_address": "127.0.0.1", "primary_port": primary.port, "replication_password": SECRET, "slot": "s1"}
    return module(standby, "replica", **{**given, **options})


def start(standby: Server) -> None:
    """Give a fresh clone its own port, as the role does, and start it."""
    own = {"port": standby.port, "unix_socket_directories": str(standby.socket_dir), "fsync": False}
    module(standby, "config", settings=own)
    module(standby, "instance", state="started")


def slots(primary: Server) -> str:
    """The slots and whether they are in use."""
    return primary.psql("SELECT string_agg(slot_name || ' ' || active, ', ' ORDER BY 1) FROM pg_replication_slots")


def test_the_account_that_replicates(make_server: Callable[..., Server]) -> None:
    server = make_primary(make_server)
    prepare = partial(module, server, "replica", state="prepared", replication_password=SECRET)
    planned = prepare(check=True)
    assert (planned["changed"], planned["diff"]["after"]) == (True, "role replicator: login, replication\n")
    assert server.psql("SELECT count(*) FROM pg_roles WHERE rolname = 'replicator'") == "0"
    assert prepare()["changed"] is True
    query = (
        "SELECT rolcanlogin, rolreplication, rolsuper, left(rolpassword, 13)"
        " FROM pg_authid WHERE rolname = 'replicator'"
    )
    assert server.psql(query) == "t|t|f|SCRAM-SHA-256"
    stored = server.psql("SELECT rolpassword FROM pg_authid WHERE rolname = 'replicator'")
    for check in (True, False):
        assert prepare(check=check)["changed"] is False
    assert server.psql("SELECT rolpassword FROM pg_authid WHERE rolname = 'replicator'") == stored
    # another password
    assert prepare(replication_password="other", check=True)["changed"] is True
    assert prepare()["changed"] is False
    assert prepare(replication_password="other")["diff"]["before"] == "role replicator: differs\n"
    assert prepare(replication_password="other")["changed"] is False
    # an account that may not replicate any more
    server.psql("ALTER ROLE replicator NOREPLICATION")
    assert prepare(replication_password="other")["changed"] is True
    assert server.psql(query) == "t|t|f|SCRAM-SHA-256"
    assert prepare(replication_user='odd "name"')["changed"] is True
    assert server.psql("SELECT count(*) FROM pg_roles WHERE rolname = 'odd \"name\"' AND rolreplication") == "1"
    logs = [path.read_text() for path in (server.data_dir / "server.log",) if path.exists()]
    assert logs
    assert all(SECRET not in log and "other" not in log for log in logs)
    server.stop()
    assert prepare(check=True)["changed"] is True
    assert "cannot connect" in prepare(fails=True)["msg"]


@pytest.mark.parametrize("version", [16, 18])
def test_the_life_of_a_replica(make_server: Callable[..., Server], version: int) -> None:
    primary = make_primary(make_server, version)
    module(primary, "replica", state="prepared", replication_password=SECRET)
    standby = make_server("standby", version=version, initdb=False)
    # What a killed clone left is begun again.
    subprocess.run([*as_user(standby.owner), "mkdir", str(standby.socket_dir / "data.cloning")], check=True)

    planned = attach(standby, primary, check=True)
    assert (planned["changed"], planned["diff"]["after"]) == (True, "replica: attached\n")
    assert not standby.data_dir.exists()
    assert slots(primary) == ""
    assert attach(standby, primary, state="streaming", check=True)["changed"] is False
    done = attach(standby, primary)
    assert done["changed"] is True
    assert done["system_identifier"] == primary.psql("SELECT system_identifier FROM pg_control_system()")
    assert slots(primary) == "s1 false"
    assert {path.name for path in standby.socket_dir.iterdir()} == {"data", "data.passfile"}
    for check in (True, False):
        assert attach(standby, primary, check=check)["changed"] is False
    assert module(standby, "instance_info")["instance"]["role"] == "replica"

    start(standby)
    for _again in range(2):
        streaming = attach(standby, primary, state="streaming")
        assert (streaming["changed"], streaming["status"]) == (False, "streaming")
    for check in (True, False):
        assert attach(standby, primary, check=check)["changed"] is False
    primary.psql("INSERT INTO t VALUES (2)")
    await_(lambda: standby.psql("SELECT string_agg(a::text, ' ') FROM t") == "1 2", what="the row on the replica")
    assert slots(primary) == "s1 true"
    conninfo = standby.psql("SHOW primary_conninfo")
    assert "password" not in conninfo
    passfile = standby.socket_dir / "data.passfile"
    assert passfile.stat().st_mode & 0o777 == 0o600

    told = module(primary, "instance_info")["instance"]
    assert [(one["name"], one["state"], one["sync_state"]) for one in told["replicas"]] == [
        ("s1", "streaming", "async")
    ]
    info = module(standby, "instance_info")["instance"]
    assert (info["role"], info["upstream"]["status"], info["upstream"]["slot"]) == ("replica", "streaming", "s1")
    assert info["system_identifier"] == told["system_identifier"]


def test_a_new_password_reaches_the_replica(primary: Server, standby: Server) -> None:
    attach(standby, primary)
    start(standby)
    attach(standby, primary, state="streaming")
    module(primary, "replica", state="prepared", replication_password="new \\ : password")
    assert "password authentication failed" in attach(standby, primary, fails=True)["msg"]
    new = partial(attach, standby, primary, replication_password="new \\ : password")
    assert new(check=True)["changed"] is True
    assert new()["changed"] is True
    assert new()["changed"] is False
    # The connection that was open goes on; a new one needs the new password.
    primary.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_replication")
    new(state="streaming")
    primary.psql("INSERT INTO t VALUES (3)")
    await_(lambda: standby.psql("SELECT max(a) FROM t") == "3", what="the row on the replica")


def test_a_changed_address_is_taken_without_a_restart(primary: Server, standby: Server) -> None:
    attach(standby, primary)
    assert attach(standby, primary, primary_address="localhost", check=True)["changed"] is True
    assert attach(standby, primary, primary_address="localhost")["changed"] is True  # while it is stopped
    start(standby)
    pid = standby.pid
    assert attach(standby, primary)["changed"] is True  # and while it runs
    assert attach(standby, primary)["changed"] is False
    attach(standby, primary, state="streaming")
    await_(
        lambda: "host=127.0.0.1" in standby.psql("SELECT conninfo FROM pg_stat_wal_receiver"), what="the reconnection"
    )
    assert standby.pid == pid
    text = (standby.data_dir / "postgresql.auto.conf").read_text()
    assert text.count("primary_conninfo") == 1


def test_a_slot_that_is_there_already_is_used(primary: Server, standby: Server) -> None:
    primary.psql("SELECT pg_create_physical_replication_slot('s1', true)")
    assert attach(standby, primary)["changed"] is True
    start(standby)
    attach(standby, primary, state="streaming")
    assert slots(primary) == "s1 true"


def test_foreign_data_is_refused(primary: Server, make_server: Callable[..., Server]) -> None:
    other = make_server("other", start=False)
    own = other.run("pg_controldata", "-D", other.data_dir).split("Database system identifier:")[1].split()[0]
    before = {path: path.stat().st_mtime_ns for path in other.data_dir.rglob("*")}
    for check in (True, False):
        told = attach(other, primary, check=check, fails=True)
        assert [reason["what"] for reason in told["reasons"]] == [
            f"{other.data_dir} holds another cluster's data (system identifier {own}, the primary's is "
            f"{primary.psql('SELECT system_identifier FROM pg_control_system()')})",
            f"{other.data_dir} was last a primary of this cluster: two primaries",
        ][: len(told["reasons"])]
    assert {path: path.stat().st_mtime_ns for path in other.data_dir.rglob("*")} == before
    assert slots(primary) == ""


def test_two_primaries_are_refused(primary: Server, standby: Server) -> None:
    attach(standby, primary)
    start(standby)
    attach(standby, primary, state="streaming")
    standby.psql("SELECT pg_promote()")
    for stopped in (False, True):
        if stopped:
            standby.stop()
        told = attach(standby, primary, fails=True)
        assert [reason["what"] for reason in told["reasons"]] == [
            f"{standby.data_dir} was last a primary of this cluster: two primaries"
        ]
        assert told["reasons"][0]["remedy"] == "decide which one is right, then rejoin the other"
    assert not (standby.data_dir / "standby.signal").exists()


def test_what_can_not_be_right_is_told_before_anything_is_asked(standby: Server, primary: Server) -> None:
    standby.data_dir.mkdir()
    (standby.data_dir / "precious").write_text("mine")
    for check in (True, False):
        told = attach(standby, primary, slot="Bad-Slot", primary_port=1, check=check, fails=True)
        assert [reason["what"] for reason in told["reasons"]] == [
            "slot 'Bad-Slot': only a-z, 0-9 and _ are allowed",
            f"{standby.data_dir} is not empty and holds no PostgreSQL data",
        ]
    assert [path.name for path in standby.data_dir.iterdir()] == ["precious"]
    shutil.rmtree(standby.data_dir)


def test_a_primary_that_is_not_reached_or_does_not_let_in(primary: Server, standby: Server) -> None:
    told = attach(standby, primary, replication_password="wrong", fails=True)["msg"]
    assert told.startswith(f"cannot reach the primary at 127.0.0.1:{primary.port} as replicator: ")
    assert "password authentication failed" in told
    assert "wrong" not in told
    primary.stop()
    told = attach(standby, primary, fails=True)["msg"]
    assert "Connection refused" in told
    assert "\n" not in told
    assert list(standby.socket_dir.iterdir()) == []


def test_a_clone_that_fails_leaves_nothing(primary: Server, standby: Server) -> None:
    """The account may ask who the primary is, but no sender is left for the clone."""
    module(primary, "config", settings={"max_wal_senders": 1, "fsync": False}, hba=HBA)
    module(primary, "instance", state="restarted")
    told = attach(standby, primary, fails=True)["msg"]
    assert told.startswith("cannot clone the primary: pg_basebackup exited 1: ")
    assert not standby.data_dir.exists()
    assert not (standby.socket_dir / "data.cloning").exists()


def test_a_replica_that_does_not_stream_says_why(primary: Server, standby: Server) -> None:
    attach(standby, primary)
    start(standby)
    attach(standby, primary, state="streaming")
    primary.stop("immediate")
    told = attach(standby, primary, state="streaming", timeout=1, fails=True)["msg"]
    assert told.startswith(
        f"the replica on port {standby.port} does not stream from 127.0.0.1:{primary.port} after 1 s (receiver: "
    )
    assert "could not connect to the primary server" in told or "could not receive data" in told
    standby.stop()
    assert "cannot connect" in attach(standby, primary, state="streaming", timeout=1, fails=True)["msg"]
