# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`pool_balancer`: a real HAProxy before a primary and two replicas. Each test goes on where the one before ended."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from balancer_ground import CHECK, Balanced, balanced, closes, frozen
from embedded_servers import alive, await_


@pytest.fixture(scope="module")
def ground(template: Callable[[int], Path]) -> Iterator[Balanced]:
    """A primary, r1 and r2 behind HAProxy."""
    with balanced(template) as it:
        yield it


def test_it_converges_and_each_port_leads_where_it_should(ground: Balanced) -> None:
    dry = ground.module("present", check=True)
    assert dry["changed"]
    assert CHECK not in json.dumps(dry["diff"])
    assert list(ground.folder.iterdir()) == []
    figures = {one["name"]: one for one in ground.module("present")["figures"]}
    assert figures["server maxconn"]["formula"].startswith(
        "(max_connections 100 - superuser_reserved_connections 3 - 10 kept"
    )
    assert ground.module("started", check=True)["changed"]
    members = ground.module("started")["members"]
    assert [one["name"] for one in members] == ["primary", "r1", "r2"]
    assert not any(ground.module(state)["changed"] for state in ("present", "started", "settled"))
    assert ground.all_reached("rw") == {"primary"}
    ground.await_reads("r1", "r2")
    assert (ground.folder / "boringdb-check.pass").stat().st_mode & 0o777 == 0o600
    told = [path.read_bytes() for path in ground.folder.iterdir() if path.is_file() and not path.name.endswith(".pass")]
    told += [Path(f"/proc/{ground.pid(name)}/cmdline").read_bytes() for name in ("check", "haproxy")]
    assert not any(CHECK.encode() in one for one in told)
    rights = (
        "SELECT rolsuper OR rolreplication OR rolcreaterole OR rolcreatedb FROM pg_roles WHERE rolname = 'pool_check'"
    )
    assert ground.servers["primary"].psql(rights) == "f"
    assert (
        ground.servers["primary"].psql("SELECT count(*) FROM pg_auth_members WHERE member = 'pool_check'::regrole")
        == "0"
    )


@pytest.mark.parametrize(("options", "says"), [
    ({"settings": {"timeout client": "banana"}}, "HAProxy does not take the configuration"),
    ({"settings": {"mode": "tcp\n  bind *:1"}}, "a value is one line"),
    ({"cluster": "other"}, "is of the cluster orders"),
    ({"port": 0, "max_lag": 0.1, "check_password": ""}, "check_password is none"),
    ({"kept_free": 97}, "are fewer than 1 hosts"),
], ids=["haproxy", "line", "cluster", "several", "sum"])  # fmt: skip
def test_nonsense_never_reaches_what_runs(ground: Balanced, options: dict[str, object], says: str) -> None:
    ground.begin()
    before = {path.name: path.read_text() for path in ground.folder.iterdir() if path.suffix in (".cfg", ".json")}
    assert says in ground.module("present", fails=True, **options)["msg"]
    assert {
        path.name: path.read_text() for path in ground.folder.iterdir() if path.suffix in (".cfg", ".json")
    } == before
    assert ground.reached() == "primary"


def test_a_reload_ends_no_session_and_a_killed_run_is_finished(ground: Balanced) -> None:
    with ground.connect() as client:
        client.execute("BEGIN")
        # As if the run had been killed between writing and reloading.
        assert ground.module("present", max_clients=500)["reload_required"] is True
        assert ground.module("present", max_clients=500)["changed"] is False
        errors = []
        assert ground.module("started", max_clients=500)["changed"] is True
        for _number in range(20):
            if ground.reached() != "primary":
                errors.append(_number)
        assert errors == []
        assert client.execute("SELECT 1").fetchone() == (1,)
    ground.begin()


def test_a_replica_that_lags_leaves_in_time_and_comes_back(ground: Balanced) -> None:
    ground.begin()
    ground.await_reads("r1", "r2")
    primary, lagging = ground.servers["primary"], ground.servers["r1"]
    with ground.connect() as writer:
        lagging.psql("SELECT pg_wal_replay_pause()")
        await_(lambda: lagging.psql("SELECT pg_get_wal_replay_pause_state()") == "paused", what="the pause")
        writer.execute("INSERT INTO t VALUES (1)")
        begun = time.monotonic()
        await_(lambda: ground.facts()["r1"]["reads"] != "yes", what="r1 late")
        # The limit is 1.5 s, and it is asked every 0.2 s; not before the limit.
        assert time.monotonic() - begun > 1
        assert ground.facts()["r1"]["reads"] == "lags more than 1.5 s"
        ground.await_reads("r2")
        ground.servers["r2"].psql("SELECT pg_wal_replay_pause()")
        writer.execute("INSERT INTO t VALUES (2)")
        ground.await_reads("")
        # Nobody is fresh: by its variable the primary takes over, without a restart.
        ground.begin(read_fallback="primary")
        ground.await_reads("primary")
        ground.begin()
        for name in ("r1", "r2"):
            ground.servers[name].psql("SELECT pg_wal_replay_resume()")
        ground.await_reads("r1", "r2")
        assert primary.psql("SELECT count(*) FROM t WHERE a > 0") == "2"


def test_bytes_are_a_limit_too(ground: Balanced) -> None:
    ground.begin(max_lag=3600, max_lag_bytes=100000)
    ground.await_reads("r1", "r2")
    ground.servers["r1"].psql("SELECT pg_wal_replay_pause()")
    ground.servers["primary"].psql("INSERT INTO t SELECT 0 FROM generate_series(1, 5000)")
    await_(lambda: ground.facts()["r1"]["reads"].endswith(" bytes"), what="r1 late by bytes")
    ground.await_reads("r2")
    ground.servers["r1"].psql("SELECT pg_wal_replay_resume()")
    ground.await_reads("r1", "r2")
    ground.begin()


def test_what_hangs_is_closed(ground: Balanced) -> None:
    ground.begin()
    # The program itself: HAProxy's own time-out.
    with ground.connect() as client, frozen(ground.pid("check")):
        assert closes(client) < 10
        assert ground.reached() == ""
    await_(lambda: ground.reached() == "primary", what="writes again")
    # The connection it asks on: it takes another one, and no session ends.
    pid = ground.servers["primary"].psql(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'boringdb_pool_check'")  # fmt: skip
    asked = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'boringdb_pool_check'"
    with ground.connect() as client:
        with frozen(int(pid)):
            await_(lambda: ground.servers["primary"].psql(asked) == "2", what="another connection")
            assert client.execute("SELECT 1").fetchone() == (1,)
        await_(lambda: ground.servers["primary"].psql(asked) == "1", what="the end of the old one")
        assert client.execute("SELECT 1").fetchone() == (1,)


def test_nobody_is_let_in_before_the_first_answer(ground: Balanced) -> None:
    """HAProxy by itself takes every server for alive until it was asked."""
    ground.begin()
    with frozen(ground.pid("check")):
        old = ground.pid("haproxy")
        os.kill(old, signal.SIGTERM)
        await_(lambda: not alive(old), what="the end of HAProxy")
        ground.start_by_hand()
        assert ground.pid("haproxy") != old
        assert {ground.reached("rw"), ground.reached("ro")} == {""}
    await_(lambda: ground.reached() == "primary", what="writes again")
    ground.await_reads("r1", "r2")
    with frozen(ground.pid("check")):
        # The same command again replaces what hangs.
        assert ground.module("started")["changed"] is True
        assert ground.reached() == "primary"


def test_the_password_changes_without_a_reload(ground: Balanced) -> None:
    ground.begin()
    haproxy, check = ground.pid("haproxy"), ground.pid("check")
    shut = ground.module("present", check_password="another")
    assert shut["check_restart_required"] is True
    assert shut["reload_required"] is False
    told = ground.module("started", fails=True, check_password="another")["msg"]
    assert "the check is not let in: primary: " in told
    assert "password authentication failed" in told
    assert "another" not in told
    ground.begin()
    assert (ground.pid("haproxy") == haproxy, ground.pid("check") == check) == (True, False)
    await_(lambda: ground.reached() == "primary", what="writes again")


def test_writes_follow_a_promotion_without_a_reload(ground: Balanced) -> None:
    """The last of these tests: the primary dies."""
    ground.begin()
    ground.await_reads("r1", "r2")
    haproxy = ground.pid("haproxy")
    readers = []
    while len({one.info.dbname for one in readers}) < 1 or not any(
        one.execute("SELECT inet_server_port()").fetchone()[0] == ground.servers["r1"].port for one in readers
    ):
        readers.append(ground.connect("ro"))
    [reader, *_others] = [
        one for one in readers if one.execute("SELECT inet_server_port()").fetchone()[0] == ground.servers["r1"].port
    ]
    with ground.connect() as writer:
        ground.servers["primary"].kill()
        assert closes(writer) < 10
    begun = time.monotonic()
    assert ground.reached() == ""
    assert time.monotonic() - begun < 5, "refused, not left to wait"
    # Who can't be compared with a primary is late after the limit.
    await_(lambda: ground.facts()["r1"]["reads"] != "yes", what="nobody to compare with")
    ground.await_reads("")
    ground.servers["r1"].psql("SELECT pg_promote()")
    await_(lambda: ground.reached() == "r1", what="writes to the new primary")
    closes(reader)
    with ground.connect() as writer:
        writer.execute("INSERT INTO t VALUES (3)")
        # A second one that takes writes: none gets any.
        ground.servers["r2"].psql("SELECT pg_promote()")
        closes(writer)
    assert ground.facts()["r1"]["writes"] == "r1 and r2 take writes: end all but one"
    assert ground.reached() == ""
    ground.servers["r2"].stop("immediate")
    await_(lambda: ground.reached() == "r1", what="writes again")
    assert ground.pid("haproxy") == haproxy
    assert ground.module("stopped")["changed"] is True
    assert ground.module("stopped")["changed"] is False
    for one in readers:
        one.close()
    with pytest.raises(psycopg.OperationalError):
        ground.connect()
