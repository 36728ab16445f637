# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the page `pool` advises clients to do is run as it stands there, against poolers and servers that go away."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from embedded_servers import REPOSITORY, Server, await_
from pool_ground import APP, Pooler, prepare, with_users
from replica_ground import begin
from verify_ground import module as on_server

PAGE = (REPOSITORY / "docs/pool.md").read_text()


def blocks(language: str) -> list[str]:
    """The page's snippets of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def defined(name: str) -> Any:
    """What a snippet defines."""
    [text] = [text for text in blocks("python") if re.search(rf"^(def|class) {name}\b", text, re.MULTILINE)]
    scope: dict[str, Any] = {}
    exec(compile(text, "docs/pool.md", "exec"), scope)
    return scope[name]


@pytest.fixture
def shop(make_server: Callable[..., Server]) -> Server:
    """A primary with users."""
    server = with_users(make_server(name="primary", copied=True))
    prepare(server)
    return server


@pytest.fixture
def make_pooler(pg_root: Path) -> Iterator[Callable[..., Pooler]]:
    """Makes running poolers."""
    made: list[Pooler] = []

    def make(server: Server, name: str = "pooler") -> Pooler:
        made.append(Pooler(pg_root, name))
        return made[-1].begin(server)

    yield make
    for one in made:
        one.end()


def conninfo(*poolers: Pooler) -> str:
    """The page's connection string, with these poolers in it."""
    [text] = blocks("text")
    hosts, ports = ",".join(["127.0.0.1"] * len(poolers)), ",".join(str(one.port) for one in poolers)
    text = text.replace("host=pool1.example.com,pool2.example.com", f"host={hosts}").replace("6432,6432", ports)
    assert "example" not in text
    return f"{text.strip()} user=app dbname=shop password='{APP}'"


def test_the_connection_string_finds_the_one_that_takes_writes(
    make_server: Callable[..., Server], make_pooler: Callable[..., Pooler], shop: Server
) -> None:
    """The first pooler is down, the second leads to a replica, the third to the primary."""
    on_server(shop, "replica", state="prepared", replication_password="for these tests only")
    replica = begin(make_server(name="standby", initdb=False), shop)
    down, second, third = make_pooler(shop, "down"), make_pooler(replica, "second"), make_pooler(shop, "third")
    down.module("stopped")
    where = "SELECT inet_server_port()"
    with psycopg.connect(conninfo(down, second, third), prepare_threshold=None) as connection:
        assert connection.execute(where).fetchone() == (shop.port,)
    # After an exchange, too: what the pooler told of the server before is not what counts.
    for one in (second, third):
        one.module("routed", server_host="127.0.0.1", server_port=replica.port)
    shop.stop()
    replica.psql("SELECT pg_promote()")
    second.module("routed", server_host="127.0.0.1", server_port=shop.port)
    with psycopg.connect(conninfo(down, third), prepare_threshold=None) as connection:
        assert connection.execute(where).fetchone() == (replica.port,)


def test_a_client_that_tries_again_outlives_its_pooler(make_pooler: Callable[..., Pooler], shop: Server) -> None:
    pooler, with_retries = make_pooler(shop), defined("with_retries")
    done: list[Any] = []

    def work(connection: Any) -> Any:
        connection.execute("INSERT INTO written VALUES (1)")
        return connection.execute("SELECT count(*) FROM written").fetchone()[0]

    pooler.module("stopped")
    client = threading.Thread(target=lambda: done.append(with_retries(conninfo(pooler), work)), daemon=True)
    client.start()
    pooler.module("started")
    client.join(30)
    assert done == [1]
    # What is no matter of connections is not tried again.
    tries: list[int] = []

    def wrong(connection: Any) -> None:
        tries.append(1)
        connection.execute("SELECT nothing FROM nowhere")

    with pytest.raises(psycopg.errors.UndefinedTable):
        with_retries(conninfo(pooler), wrong)
    assert len(tries) == 1
    pooler.module("stopped")
    with pytest.raises(psycopg.OperationalError):
        with_retries(conninfo(pooler), work, attempts=2, longest=0.1)


def test_the_breaker_opens_and_closes(make_pooler: Callable[..., Pooler], shop: Server) -> None:
    pooler, breaker = make_pooler(shop), defined("Breaker")(failures=2, seconds=0.5)
    asked: list[int] = []

    def ask() -> int:
        asked.append(1)
        return int(pooler.sql("SELECT 1"))

    pooler.module("stopped")
    for _number in range(2):
        with pytest.raises(psycopg.OperationalError):
            breaker.call(ask)
    with pytest.raises(Exception, match="tried again later"):
        breaker.call(ask)
    assert len(asked) == 2
    pooler.module("started")
    begun = time.monotonic()

    def through() -> bool:
        try:
            return bool(breaker.call(ask) == 1)
        except Exception as exc:
            assert "tried again later" in str(exc)
            return False

    await_(through, what="a call that goes through")
    assert time.monotonic() - begun < 5
    assert [breaker.call(ask) for _number in range(3)] == [1, 1, 1]


def test_the_servers_own_limits_hold_through_a_pooler(make_pooler: Callable[..., Pooler], shop: Server) -> None:
    """Those of the page, with times that a test can wait for."""
    [declared] = [yaml.safe_load(text) for text in blocks("yaml") if "idle_in_transaction" in text]
    settings = {**declared["postgresql_settings"], "idle_in_transaction_session_timeout": "300ms"}
    on_server(shop, "config", settings={"fsync": False, **settings})
    [role] = declared["access_roles"]
    on_server(shop, "access", roles=[{**role, "connection_limit": 1, "settings": {"statement_timeout": "300ms"}}])
    pooler = make_pooler(shop)
    with pytest.raises(psycopg.errors.QueryCanceled):
        pooler.sql("SELECT pg_sleep(10)")
    with pooler.connect() as idle, pooler.connect() as other:
        idle.execute("BEGIN")
        idle.execute("SELECT 1")
        # The only connection that the account may have is in use, until the server ends it.
        assert other.execute("SELECT 2").fetchone() == (2,)
        with pytest.raises(psycopg.Error, match="idle-in-transaction timeout"):
            idle.execute("SELECT 3")
