# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`pool` with clients that go on meanwhile: pause, give up, route to another server, resume."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.pool_console import Address, Console, Unanswered
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.pool_consoles import (
    pause_all,
    reload_all,
    resume_all,
)
from embedded_servers import Server, await_
from pool_ground import ADMIN, Pooler, Writer, busy, prepare, with_users
from replica_ground import begin
from verify_ground import module as on_server

from tests.modules import module


@pytest.fixture
def shop(make_server: Callable[..., Server]) -> Server:
    """A primary with users that its poolers can let in."""
    server = with_users(make_server(name="primary", copied=True))
    prepare(server)
    return server


@pytest.fixture
def make_pooler(pg_root: Path, shop: Server) -> Iterator[Callable[..., Pooler]]:
    """Makes running poolers before the primary."""
    made: list[Pooler] = []

    def make(name: str = "pooler", **settings: Any) -> Pooler:
        made.append(Pooler(pg_root, name))
        return made[-1].begin(shop, **settings)

    yield make
    for one in made:
        one.end()


def paused(pooler: Pooler) -> dict[str, str]:
    """Which databases are paused."""
    return {name: row["paused"] for name, row in pooler.shown()["databases"].items()}


def over_the_network(pooler: Pooler) -> Address:
    """Its console as another host asks it."""
    return Address("127.0.0.1", pooler.port, "pool_admin", ADMIN)


def test_clients_wait_and_none_sees_an_error(make_pooler: Callable[..., Pooler]) -> None:
    pooler = make_pooler()
    with Writer(pooler) as writer:
        assert pooler.module("paused", check=True, database=["shop"])["changed"] is True
        assert paused(pooler) == {"shop": "0", "stock": "0"}
        begun = time.monotonic()
        assert pooler.module("paused", database=["shop"])["changed"] is True
        assert paused(pooler) == {"shop": "1", "stock": "0"}
        rows = len(writer.acknowledged)
        # Asked again, by a run that does not know of the first one.
        assert pooler.module("paused", database=["shop"])["changed"] is False
        assert len(writer.acknowledged) <= rows + 1
        assert pooler.module("resumed", check=True)["changed"] is True
        assert pooler.module("resumed")["databases"] == ["shop"]
        held = time.monotonic() - begun
        assert pooler.module("resumed")["changed"] is False
        writer.await_rows()
        assert writer.longest <= held + 1


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_a_pause_that_does_not_end_is_given_up(make_pooler: Callable[..., Pooler], mode: str) -> None:
    """In session mode any client that is there is enough; else one in its transaction."""
    pooler = make_pooler(pool_mode=mode)
    with busy(pooler) as client:
        if mode == "session":
            client.execute("COMMIT")
        begun = time.monotonic()
        told = pooler.module("paused", fails=True, timeout=1)["msg"]
        assert time.monotonic() - begun < 6
        assert 'PAUSE "shop" did not end within 1 s: 1 of its server connections are in use' in told
        assert f"in pool mode {mode}, by app" in told
        assert told.endswith("all were resumed")
        assert paused(pooler) == {"shop": "0", "stock": "0"}
        # Who was there goes on, and so does who comes.
        assert client.execute("SELECT 1").fetchone() == (1,)
        assert pooler.sql("SELECT 1") == 1
        client.execute("BEGIN")


def test_an_interrupted_pause_is_taken_up_by_the_next_run(make_pooler: Callable[..., Pooler]) -> None:
    """The first one was killed while it waited: its pause is in force, and has not come true."""
    pooler = make_pooler()
    with busy(pooler) as client:
        console = Console(over_the_network(pooler))
        console.send('PAUSE "shop"')
        with pytest.raises(Unanswered):
            console.answer('PAUSE "shop"', 0.2)
        assert paused(pooler)["shop"] == "1"
        assert "did not end within 1 s" in pooler.module("paused", fails=True, timeout=1, database=["shop"])["msg"]
        with Console(over_the_network(pooler)) as second:
            second.send('PAUSE "shop"')
            client.execute("COMMIT")
            assert second.answer('PAUSE "shop"', 5) == []
        pooler.module("resumed")
        client.execute("BEGIN")


def test_several_poolers_are_paused_together_or_not_at_all(make_pooler: Callable[..., Pooler]) -> None:
    first, second = make_pooler("first"), make_pooler("second")
    network = {"login_user": "pool_admin", "login_password": ADMIN, "config_file": None, "database": ["shop"]}
    both = {**network, "consoles": [first.console, second.console]}
    assert first.module("paused", **both)["changed"] is True
    assert (paused(first)["shop"], paused(second)["shop"]) == ("1", "1")
    assert first.module("resumed", **both)["changed"] is True
    with busy(second):
        told = first.module("paused", fails=True, timeout=1, **both)["msg"]
        assert f"127.0.0.1:{second.port}" in told
        assert f"127.0.0.1:{first.port}" not in told
        assert (paused(first)["shop"], paused(second)["shop"]) == ("0", "0")
    assert "does not let pool_admin in" in first.module(
        "paused", fails=True, **{**both, "login_password": "another"}
    )["msg"]


def test_one_that_answers_nothing_does_not_leave_the_others_paused(make_pooler: Callable[..., Pooler]) -> None:
    """It is there, and hangs: what a host does whose line was cut."""
    first, second = make_pooler("first"), make_pooler("second")
    consoles = [Console(over_the_network(one), seconds=1) for one in (first, second)]
    assert [console.version() for console in consoles] == [consoles[0].version()] * 2
    pid = int((second.home / "pid").read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        with pytest.raises(OpsError) as caught:
            pause_all(consoles, ["shop"], 1)
        assert time.monotonic() - begun < 10
        assert "and not all could be resumed" in str(caught.value)
        assert f"127.0.0.1:{second.port}" in str(caught.value)
        assert paused(first)["shop"] == "0"
    finally:
        os.kill(pid, signal.SIGCONT)
    # What was sent to it comes true when it wakes up, and is ended like any pause.
    await_(lambda: paused(second)["shop"] == "1", what="the pause that was sent")
    assert resume_all(consoles, ["shop"])[f"127.0.0.1:{second.port}"] == ["shop"]
    reload_all(consoles)


def test_writers_go_on_at_the_new_primary_without_an_error(
    make_server: Callable[..., Server], make_pooler: Callable[..., Pooler], shop: Server
) -> None:
    """Pause, exchange the servers, route, resume. Every acknowledged row is there."""
    on_server(shop, "replica", state="prepared", replication_password="for these tests only")
    replica = begin(make_server(name="standby", initdb=False), shop)
    pooler = make_pooler()
    with Writer(pooler) as writer:
        pooler.module("paused", database=["shop"], timeout=5)
        shop.stop()
        replica.psql("SELECT pg_promote()")
        target = {"database": ["shop"], "server_host": "127.0.0.1", "server_port": replica.port}
        assert pooler.module("routed", check=True, **target)["changed"] is True
        assert pooler.module("routed", **target)["changed"] is True
        assert pooler.module("routed", **target)["changed"] is False
        pooler.module("resumed")
        writer.await_rows(20)
    assert writer.errors == []
    kept = {int(line) for line in replica.psql("SELECT id FROM written", dbname="shop").split()}
    assert set(writer.acknowledged) <= kept
    assert pooler.shown()["databases"]["stock"]["port"] == str(shop.port)


def test_a_route_that_only_waits_is_in_the_file(make_pooler: Callable[..., Pooler], shop: Server) -> None:
    pooler = make_pooler()
    target = {"database": ["shop"], "server_host": "192.0.2.1", "server_port": 5433}
    assert pooler.module("routed", reload=False, **target)["changed"] is True
    assert pooler.module("routed", reload=False, **target)["changed"] is False
    assert "shop = host=192.0.2.1 port=5433" in pooler.config.read_text()
    assert pooler.shown()["databases"]["shop"]["port"] == str(shop.port)
    with Console(over_the_network(pooler)) as console:
        assert console.route("shop") == ("127.0.0.1", shop.port)
        console.reload()
        assert console.route("shop") == ("192.0.2.1", 5433)
    target["database"] = ["nothing"]
    assert "has no database nothing" in pooler.module("routed", fails=True, **target)["msg"]


def test_a_pooler_that_somebody_paused_as_a_whole_is_told_apart(make_pooler: Callable[..., Pooler]) -> None:
    pooler = make_pooler()
    with Console(over_the_network(pooler)) as console:
        console.ask("PAUSE")
        told = pooler.module("paused", fails=True)["msg"]
        assert "somebody has paused the whole pooler" in told
        console.ask("RESUME")
    assert pooler.sql("SELECT 1") == 1


def test_a_console_that_is_held_outlives_a_restart_of_its_pooler(make_pooler: Callable[..., Pooler]) -> None:
    pooler = make_pooler()
    with Console(over_the_network(pooler)) as console:
        pause_all([console], ["shop"], 5)
        pooler.module("restarted")
        # A pause does not outlive it.
        assert console.resume(["shop"]) == []
        pooler.module("stopped")
        with pytest.raises(OpsError, match="does not let pool_admin in"):
            console.resume(["shop"])


def test_one_that_is_down_says_so(make_pooler: Callable[..., Pooler]) -> None:
    pooler = make_pooler()
    pooler.module("stopped")
    shown = module("pool_info", config_file=str(pooler.config))["poolers"][0]
    assert shown["problem"].startswith(f"pooler {pooler.home} {pooler.port} does not let pgbouncer in: ")
    assert "\n" not in shown["problem"]
    assert "does not let pgbouncer in" in pooler.module("paused", fails=True)["msg"]
