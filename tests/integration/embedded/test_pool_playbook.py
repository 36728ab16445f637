# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook `pool` and its role on the embedded ground: dry runs, second runs, every state, what it refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from estate import Estate
from pool_ground import program
from untouched import one_line


@pytest.fixture(scope="module")
def cluster() -> Iterator[Estate]:
    """A primary with its replica, and an application's account."""
    made = Estate()
    try:
        made.converge("provision", access_roles=[{"name": "app", "password": "for the app", "login": True}])
        yield made
    finally:
        made.down()


def given(**variables: Any) -> dict[str, Any]:
    """What the playbook is told."""
    return {"pool_hosts": "process_poolers", "pool_program": program(), **variables}


def pool(cluster: Estate, *words: str, **variables: Any) -> str:
    """The playbook, which has to end well."""
    return cluster.converge("pool", *words, **given(**variables))


def changed(output: str) -> dict[str, int]:
    """How many tasks changed something, of each host."""
    recap = output[output.index("PLAY RECAP") :]
    return {host: int(count) for host, count in re.findall(r"^(\w+) +: ok=\d+ +changed=(\d+)", recap, re.MULTILINE)}


def shown(cluster: Estate) -> dict[str, Any]:
    """What its pooler tells."""
    told = cluster.module("pool_info", config_file=str(cluster.home / "pool1/pgbouncer.ini"))
    return {**told["poolers"][0], "timer": told["timer"]}


def connect(cluster: Estate, **more: Any) -> Any:
    """A client of the pooler."""
    given = {"user": "app", "password": "for the app", "dbname": "postgres", "connect_timeout": 5, **more}
    return psycopg.connect(host="127.0.0.1", port=cluster.port + 7, autocommit=True, prepare_threshold=None, **given)


def test_a_dry_run_on_nothing_refuses_and_leaves_nothing() -> None:
    made = Estate()
    try:
        done = made.play("pool", "--check", "--diff", **given())
        assert list(made.home.glob("[!.]*")) == []
        [told] = done.errors()
        one_line(told, "refused: ")
    finally:
        made.down()


def test_it_is_put_before_the_cluster_and_converges(cluster: Estate) -> None:
    assert changed(pool(cluster, "--check", "--diff"))["pool1"] > 0
    assert not (cluster.home / "pool1").exists()
    assert cluster.sql("SELECT count(*) FROM pg_roles WHERE rolname = 'pool_auth'") == "0"
    with cluster.watched():
        output = pool(cluster, "-vvv", "--diff")
    arithmetic = "max_db_connections = 87: (max_connections 100 - superuser_reserved_connections 3 - 10 kept free = 87)"
    assert arithmetic in " ".join(output.split())
    with connect(cluster) as client:
        assert client.execute("SELECT current_user::text, pg_is_in_recovery()").fetchone() == ("app", False)
    secrets = {path.name: path.read_text().strip() for path in Path(cluster.secrets).iterdir()}
    assert {"pool_auth", "pool_admin"} <= set(secrets)
    seen = output + b" ".join(cluster.seen).decode(errors="replace")
    assert [name for name, secret in secrets.items() if secret in seen] == []
    assert set(changed(pool(cluster)).values()) == {0}
    assert set(changed(pool(cluster, "--check", "--diff")).values()) == {0}


def test_clients_are_held_routed_and_released(cluster: Estate) -> None:
    pool(cluster)
    assert changed(pool(cluster, "--check", pool_state="paused"))["pool1"] == 1
    assert shown(cluster)["databases"]["postgres"]["paused"] == "0"
    for state, first in (("paused", 1), ("routed", 0), ("resumed", 1)):
        assert changed(pool(cluster, pool_state=state))["pool1"] == first, state
        assert changed(pool(cluster, pool_state=state))["pool1"] == 0, state
    with connect(cluster, user="pool_admin", dbname="pgbouncer",
                 password=(cluster.secrets / "pool_admin").read_text().strip()) as console:  # fmt: skip
        assert console.execute("SHOW VERSION").fetchone()[0].startswith("PgBouncer ")
    assert pool(cluster, pool_state="reloaded")


def test_a_pause_that_does_not_end_fails_and_lets_all_go_on(cluster: Estate) -> None:
    pool(cluster)
    with connect(cluster) as client:
        client.execute("BEGIN")
        client.execute("SELECT 1")
        done = cluster.play("pool", **given(pool_state="paused", pool_timeout=1))
        assert done.code != 0
        [told] = done.errors()
        one_line(told, "not paused, and all others were resumed: pool1: pooler ")
        assert "1 of its server connections are in use, in pool mode transaction, by app" in told
        assert client.execute("SELECT 2").fetchone() == (2,)
    assert shown(cluster)["databases"]["postgres"]["paused"] == "0"


def test_without_a_primary_clients_can_still_be_let_go(cluster: Estate) -> None:
    pool(cluster)
    pool(cluster, pool_state="armed", pool_timeout=300)
    assert shown(cluster)["timer"]["running"] is True
    done = cluster.play("pool", **given())
    assert "is armed: its routes are being changed" in done.told()
    pool(cluster, pool_state="paused")
    cluster.module("instance", **cluster.server("db1"), state="stopped")
    try:
        pool(cluster, pool_state="resumed")
        pool(cluster, pool_state="disarmed")
        assert shown(cluster)["timer"] is None
        [told] = cluster.play("pool", **given()).errors()
        one_line(told, "refused: orders has no running primary")
    finally:
        cluster.start()


def test_what_needs_a_restart_waits_for_leave(cluster: Estate) -> None:
    pool(cluster)
    wanted = {"pool_listen_addresses": "127.0.0.1,127.0.0.2", "pool_max_clients": 700}
    with connect(cluster) as client:
        told = " ".join(pool(cluster, **wanted).split())
        assert "pool1: listen_addr awaits a restart of pgbouncer: -e pool_restart=true" in told
        assert shown(cluster)["config"]["max_client_conn"] == "700"
        assert client.execute("SELECT 1").fetchone() == (1,)
    pool(cluster, pool_restart=True, **wanted)
    assert shown(cluster)["config"]["listen_addr"] == wanted["pool_listen_addresses"]
    assert set(changed(pool(cluster, pool_restart=True, **wanted)).values()) == {0}
    pool(cluster, pool_restart=True)


@pytest.mark.parametrize(("variables", "says"), [
    ({"pool_auth_password": "", "pool_databases": {}, "pool_processes": 0, "pool_tls_certificate": "/a"},
     ["pool_auth_password is not set", "pool_databases is empty", "has no pool_tls_key", "pool_processes is 0"]),
    ({"pool_processes": 2}, ["several processes need a service manager"]),
    ({"pool_settings": {"max_db_connections": 200}}, ["200 server connections are more than max_connections 100"]),
    ({"pool_hosts": "nowhere"}, ["the group nowhere holds no hosts"]),
    ({"pool_databases": {"nowhere": {}}}, ["there is no database nowhere"]),
    ({"pool_settings": {"pool_mood": 1}}, ["pgbouncer does not take the configuration", "pool_mood"]),
], ids=["missing", "several", "sum", "group", "database", "setting"])  # fmt: skip
def test_what_can_not_be_is_refused_in_one_line(cluster: Estate, variables: dict[str, Any], says: list[str]) -> None:
    pool(cluster)
    before = shown(cluster)
    done = cluster.play("pool", **given(**variables))
    [told] = done.errors()
    one_line(told, "")
    assert all(words in told for words in says), told
    assert json.dumps(shown(cluster)["config"]) == json.dumps(before["config"])
