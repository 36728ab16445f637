# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The dead-man's timer: clients of a paused pooler go on when whoever paused it is gone, and only where it is safe."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from embedded_servers import Server, alive, await_
from pool_ground import AUTH, Pooler, Writer, prepare, with_users
from replica_ground import begin
from verify_ground import module as on_server


@pytest.fixture
def shop(make_server: Callable[..., Server]) -> Server:
    """A primary with users."""
    server = with_users(make_server(name="primary", copied=True))
    prepare(server)
    on_server(server, "replica", state="prepared", replication_password="for these tests only")
    return server


@pytest.fixture
def replica(make_server: Callable[..., Server], shop: Server) -> Server:
    """Its replica."""
    return begin(make_server(name="standby", initdb=False), shop)


@pytest.fixture
def pooler(pg_root: Path, shop: Server) -> Iterator[Pooler]:
    """A running pooler before the primary."""
    made = Pooler(pg_root).begin(shop)
    yield made
    made.module("disarmed")
    made.end()


def arm(pooler: Pooler, *servers: Server, timeout: int = 1, **more: Any) -> dict[str, Any]:
    """Have the timer act in so many seconds."""
    candidates = [{"host": "127.0.0.1", "port": server.port} for server in servers]
    return pooler.module("armed", candidates=candidates, timeout=timeout, **more)


def marker(pooler: Pooler) -> dict[str, Any]:
    """What the timer has written down."""
    said: dict[str, Any] = json.loads(pooler.config.with_name("pgbouncer.ini.armed.json").read_text())
    return said


def test_whoever_paused_it_is_gone_and_clients_go_on(pooler: Pooler, shop: Server, replica: Server) -> None:
    """Before anything was exchanged: back to the old primary."""
    with Writer(pooler) as writer:
        pooler.module("paused", database=["shop"])
        arm(pooler, shop, replica)
        # Nobody resumes.
        writer.await_rows()
    assert writer.errors == []
    assert marker(pooler)["routed"] == f"127.0.0.1:{shop.port}"
    done = pooler.module("disarmed")
    assert (done["acted"], done["routed"]) == (True, f"127.0.0.1:{shop.port}")
    assert "the timer had acted" in str(done["warnings"])
    assert pooler.module("disarmed")["changed"] is False


def test_it_routes_to_the_one_that_takes_writes(pooler: Pooler, shop: Server, replica: Server) -> None:
    """Whoever did it is gone between the old primary's end and the route; until one is promoted, clients wait."""
    with Writer(pooler) as writer:
        pooler.module("paused", database=["shop"])
        arm(pooler, shop, replica, timeout=5)
        shop.stop()
        assert "routed" not in marker(pooler)
        await_(lambda: "problem" in marker(pooler), what="a look at the servers")
        assert "0 servers take writes, not one" in marker(pooler)["problem"]
        assert f"127.0.0.1:{replica.port} read-only" in marker(pooler)["problem"]
        assert pooler.shown()["databases"]["shop"]["paused"] == "1"
        assert pooler.shown()["timer"]["running"] is True
        replica.psql("SELECT pg_promote()")
        writer.await_rows()
    assert writer.errors == []
    assert {row["port"] for row in pooler.shown()["databases"].values()} == {str(replica.port)}
    kept = {int(line) for line in replica.psql("SELECT id FROM written", dbname="shop").split()}
    assert set(writer.acknowledged) <= kept


def test_with_two_that_take_writes_it_leaves_the_pause_alone(pooler: Pooler, shop: Server, replica: Server) -> None:
    pooler.module("paused", database=["shop"])
    arm(pooler, shop, replica, timeout=5)
    replica.psql("SELECT pg_promote()")
    assert "routed" not in marker(pooler)
    await_(lambda: "problem" in marker(pooler), what="a look at the servers")
    assert "2 servers take writes, not one" in marker(pooler)["problem"]
    assert pooler.shown()["databases"]["shop"]["paused"] == "1"
    shop.stop()
    await_(lambda: pooler.shown()["databases"]["shop"]["paused"] == "0", what="the end of the pause")


def test_a_process_that_is_gone_keeps_nobody_elses_clients(
    pooler: Pooler, pg_root: Path, shop: Server, replica: Server
) -> None:
    other = Pooler(pg_root, "other").begin(shop)
    consoles = [{"host": str(one.home), "port": one.port} for one in (other, pooler)]
    with Writer(pooler) as writer:
        pooler.module("paused", database=["shop"], consoles=consoles, config_file=None)
        arm(pooler, shop, replica, timeout=5, consoles=consoles)
        other.end()
        writer.await_rows()
        assert writer.errors == []
    await_(lambda: "problem" in marker(pooler), what="what is told of the other one")
    assert f"pooler {other.home} {other.port}" in marker(pooler)["problem"]
    # Somebody's pause of today is not ended by the timer of before.
    pooler.module("paused", database=["shop"])
    try:
        (other.home / "pid").unlink()
        other.module("started")
        await_(lambda: marker(pooler).get("routed"), what="the end of the timer")
        assert pooler.shown()["databases"]["shop"]["paused"] == "1"
    finally:
        other.end()


def test_disarmed_in_time_it_does_nothing_and_is_gone(pooler: Pooler, shop: Server, replica: Server) -> None:
    assert arm(pooler, shop, replica, check=True)["changed"] is True
    assert pooler.shown()["timer"] is None
    arm(pooler, shop, replica, timeout=300)
    pid = marker(pooler)["pid"]
    assert alive(pid)
    # It is nobody's child, in a session of its own.
    assert os.getsid(pid) != os.getsid(0)
    assert AUTH not in Path(f"/proc/{pid}/cmdline").read_text() + json.dumps(marker(pooler))
    done = pooler.module("disarmed", check=True)
    assert (done["changed"], alive(pid)) == (True, True)
    done = pooler.module("disarmed")
    assert (done["changed"], done["acted"]) == (True, False)
    await_(lambda: not alive(pid), what="the end of the timer")
    assert pooler.shown()["timer"] is None


def test_the_newest_timer_counts(pooler: Pooler, shop: Server) -> None:
    arm(pooler, shop, timeout=300)
    first = marker(pooler)["pid"]
    arm(pooler, shop, timeout=300)
    await_(lambda: not alive(first), what="the end of the first timer")
    assert alive(marker(pooler)["pid"])
    # While it runs, nothing is declared under its hands.
    assert "is armed" in pooler.module("present", fails=True, **pooler.declared(shop))["msg"]


def test_one_that_was_killed_is_known_as_gone(pooler: Pooler, shop: Server) -> None:
    arm(pooler, shop, timeout=300)
    os.kill(marker(pooler)["pid"], signal.SIGKILL)
    await_(lambda: not alive(marker(pooler)["pid"]), what="the end of the timer")
    assert pooler.shown()["timer"]["running"] is False
    assert pooler.module("present", **pooler.declared(shop))["changed"] is False
    assert pooler.module("disarmed")["changed"] is True


def test_a_server_that_can_not_be_asked_is_told_at_once(pooler: Pooler, shop: Server, replica: Server) -> None:
    replica.stop()
    told = arm(pooler, shop, replica, fails=True)["msg"]
    assert told.startswith(f"not armed: 127.0.0.1:{replica.port} does not answer: ")
    assert "\n" not in told
    assert pooler.shown()["timer"] is None
