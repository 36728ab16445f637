# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Replication by quorum and what the loss of a replica does to commits; cascades; replicas that are delayed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from embedded_servers import Server, as_user, await_
from replica_ground import Frozen, await_rows, begin, follow, make_primary, rows, slots
from verify_ground import module

NAMES = ["s1", "s2"]


@pytest.fixture
def primary(make_server: Callable[..., Server]) -> Server:
    """A primary."""
    return make_primary(make_server)


@pytest.fixture
def standbys(primary: Server, make_server: Callable[..., Server]) -> list[Server]:
    """Two replicas that stream from it."""
    return [begin(make_server(name, initdb=False), primary) for name in NAMES]


def wait_for(primary: Server, number: int, names: list[str] | None = None, **options: Any) -> dict[str, Any]:
    """Have commits wait for a quorum."""
    given = {"number": number, "names": NAMES if names is None else names, "timeout": 10, **options}
    return module(primary, "replica", state="synchronous", **given)


def commit(primary: Server, number: int) -> subprocess.Popen[str]:
    """Begin a commit of one row."""
    where = ["-h", str(primary.socket_dir), "-p", str(primary.port), "-U", "postgres", "-d", "postgres"]
    words = ["-XAtq", *where, "-c", f"INSERT INTO t VALUES ({number})"]
    argv = [*as_user(primary.owner), str(primary.bin_dir / "psql"), *words]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/")


def waiting(primary: Server) -> bool:
    """Whether a commit waits for its standbys."""
    return primary.psql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") != "0"


def shown(primary: Server) -> str:
    """What the server says that commits wait for."""
    return primary.psql("SHOW synchronous_standby_names")


def test_a_commit_waits_for_as_many_as_were_asked_for(primary: Server, standbys: list[Server]) -> None:
    planned = wait_for(primary, 1, check=True)
    assert (planned["changed"], shown(primary)) == (True, "")
    assert 'synchronous_standby_names = ANY 1 ("s1", "s2")' in planned["diff"]["after"]
    done = wait_for(primary, 1)
    assert (done["changed"], shown(primary)) == (True, 'ANY 1 ("s1", "s2")')
    assert 0 < done["commit_seconds"] < 5
    for check in (True, False):
        assert wait_for(primary, 1, check=check)["changed"] is False
    facts = module(primary, "instance_info")["instance"]
    assert facts["synchronous"] == {"method": "any", "number": 1, "names": ["s1", "s2"]}
    assert {one["sync_state"] for one in facts["replicas"]} == {"quorum"}

    # One is enough; without both, a commit waits until one is back, and is kept.
    with Frozen(standbys[0]):
        assert commit(primary, 1).wait(10) == 0
        with Frozen(standbys[1]):
            pending = commit(primary, 2)
            await_(lambda: waiting(primary), what="a commit that waits")
            assert rows(primary) == "1"
        assert pending.wait(10) == 0
    await_rows(standbys[0], "1 2")

    # Two of two: each holds commits up.
    wait_for(primary, 2, commit="remote_apply")
    assert primary.psql("SHOW synchronous_commit") == "remote_apply"
    with Frozen(standbys[1]):
        pending = commit(primary, 3)
        await_(lambda: waiting(primary), what="a commit that waits")
    assert pending.wait(10) == 0
    assert [rows(one) for one in standbys] == ["1 2 3", "1 2 3"]  # applied, not only received
    assert wait_for(primary, 0, names=[])["changed"] is True
    assert (shown(primary), wait_for(primary, 0, names=[])["changed"]) == ("", False)


def test_it_is_not_set_before_enough_stream(primary: Server, standbys: list[Server]) -> None:
    standbys[1].stop()
    told = wait_for(primary, 2, timeout=1, fails=True)["msg"]
    assert told.startswith('1 of the 2 synchronous standbys that ANY 2 ("s1", "s2") asks for stream after 1 s (s1)')
    assert shown(primary) == ""
    assert commit(primary, 1).wait(10) == 0
    assert (
        "1 synchronous standbys are asked for, and there are 0 candidates"
        in wait_for(primary, 1, names=[], fails=True)["msg"]
    )
    assert "s1 is named twice" in wait_for(primary, 1, names=["s1", "s1"], fails=True)["msg"]
    assert "is a replica; commits wait on the primary" in wait_for(standbys[0], 1, fails=True)["msg"]


def test_a_standby_leaves_the_quorum_and_never_the_last(primary: Server, standbys: list[Server]) -> None:
    leave = {"state": "synchronous", "timeout": 10}
    wait_for(primary, 1, method="first")
    assert shown(primary) == 'FIRST 1 ("s1", "s2")'
    assert module(primary, "replica", **leave, without="s1", check=True)["changed"] is True
    assert module(primary, "replica", **leave, without="s1")["changed"] is True
    assert shown(primary) == 'FIRST 1 ("s2")'
    assert module(primary, "replica", **leave, without="s1")["changed"] is False
    for check in (True, False):
        told = module(primary, "replica", **leave, without="s2", check=check, fails=True)["msg"]
        assert 'commits wait for FIRST 1 ("s2"): without s2 that would be nobody' in told
    assert shown(primary) == 'FIRST 1 ("s2")'
    # Where everybody counts, those who are there do.
    primary.psql("ALTER SYSTEM SET synchronous_standby_names = 'ANY 2 (*)'", "SELECT pg_reload_conf()")
    await_(lambda: shown(primary) == "ANY 2 (*)", what="the setting")
    assert "without s1 there stream s2" in module(primary, "replica", **leave, without="s1", fails=True)["msg"]


def test_a_clone_does_not_wait_for_itself(
    primary: Server, standbys: list[Server], make_server: Callable[..., Server]
) -> None:
    wait_for(primary, 1)
    third = begin(make_server("s3", initdb=False), primary)
    assert "synchronous_standby_names" not in (third.data_dir / "postgresql.auto.conf").read_text()
    assert shown(third) == ""
    assert set(slots(primary)) == {"s1", "s2", "s3"}


def test_a_cascade_streams_through_its_upstream(primary: Server, make_server: Callable[..., Server]) -> None:
    first = begin(make_server("s1", initdb=False), primary)
    second = begin(make_server("s2", initdb=False), first)
    primary.psql("INSERT INTO t VALUES (1)")
    await_rows(second, "1")
    assert (set(slots(primary)), set(slots(first))) == ({"s1"}, {"s2"})
    told = module(first, "instance_info")["instance"]
    assert [(one["name"], one["state"]) for one in told["replicas"]] == [("s2", "streaming")]
    assert told["replicas"][0]["lag_bytes"] >= 0
    assert told["synchronous"] is None
    # Another upstream is taken without a restart; the slot is made there, and dropped where it was.
    pid = second.pid
    assert module(primary, "replica", state="reserved", slot="s2")["changed"] is True
    follow(second, primary)
    await_(lambda: "s2" in primary.psql("SELECT string_agg(application_name, ' ') FROM pg_stat_replication"), what="s2")
    for changed, check in ((True, True), (True, False), (False, True), (False, False)):
        assert module(first, "replica", state="released", slot="s2", check=check)["changed"] is changed
    assert (set(slots(primary)), slots(first), second.pid) == ({"s1", "s2"}, {}, pid)
    told = module(primary, "replica", state="released", slot="s2", timeout=1, fails=True)["msg"]
    assert "slot s2 on port" in told and "is still in use after 1 s" in told


@pytest.fixture
def delayed(primary: Server, make_server: Callable[..., Server]) -> Iterator[Server]:
    """A replica that holds back what it was sent for an hour."""
    yield begin(make_server("s1", initdb=False), primary, apply_delay="1h")


def test_a_delayed_replica_is_well(primary: Server, delayed: Server) -> None:
    primary.psql("INSERT INTO t VALUES (1)")
    at = primary.psql("SELECT pg_current_wal_flush_lsn()")
    await_(
        lambda: primary.psql(f"SELECT flush_lsn >= '{at}' FROM pg_stat_replication") == "t", what="the row's arrival"
    )
    assert rows(delayed) == ""
    info = module(delayed, "instance_info")["instance"]
    assert (info["apply_delay_seconds"], info["upstream"]["status"]) == (3600.0, "streaming")
    # The same time, spelled otherwise.
    assert follow(delayed, primary, apply_delay="60 min", check=True)["changed"] is False
    assert follow(delayed, primary, state="streaming")["status"] == "streaming"
    # Told another upstream, it heeds that when it asks for more WAL, and is well until then.
    told = delayed.psql("SHOW primary_conninfo").replace("127.0.0.1", "localhost")
    delayed.psql(f"ALTER SYSTEM SET primary_conninfo = $${told}$$", "SELECT pg_reload_conf()")
    assert follow(delayed, primary, state="streaming")["status"] == "delayed"
    assert follow(delayed, primary, apply_delay="1h")["changed"] is True
    # Started anew it first applies, in its time, what it holds, and asks for nothing meanwhile.
    delayed.stop()
    module(delayed, "instance", state="started")
    await_(
        lambda: follow(delayed, primary, state="streaming")["status"] == "delayed", what="one that waits for its time"
    )
    info = module(delayed, "instance_info")["instance"]
    assert (info["upstream"], info["needed_lsn"]) == (None, None)
    assert rows(delayed) == ""
    # Without the delay it catches up, and the setting is gone.
    assert follow(delayed, primary)["changed"] is True
    await_rows(delayed, "1")
    assert delayed.psql("SHOW recovery_min_apply_delay") == "0"
    assert follow(delayed, primary)["changed"] is False


@pytest.mark.parametrize("delay", ["4 hours", "-1h", "25d", "1.5h", ""])
def test_a_delay_that_is_none(make_server: Callable[..., Server], delay: str) -> None:
    standby = make_server("s1", initdb=False)
    told = module(standby, "replica", primary_address="127.0.0.1", slot="s1", apply_delay=delay, fails=True)["reasons"]
    assert [reason["what"] for reason in told] == [f"apply_delay {delay!r} is no time such as 4h, of 24 days at most"]
