# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook `pool` with HAProxy on the embedded ground: dry runs, second runs, where it leads, what it refuses."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from balancer_ground import haproxy
from estate import Estate
from untouched import one_line


@pytest.fixture(scope="module")
def cluster() -> Iterator[Estate]:
    """A primary with its replica, and an application's account."""
    made = Estate()
    try:
        made.converge("provision", access_roles=[{"name": "app", "password": "for the app", "login": True}])
        yield made
    finally:
        for name in ("haproxy", "check"):
            with contextlib.suppress(OSError, ValueError):
                os.kill(int((made.home / f"balancer1/{name}.pid").read_text()), signal.SIGTERM)
        made.down()


def given(**variables: Any) -> dict[str, Any]:
    """What the playbook is told."""
    return {"pool_hosts": "process_balancers", "pool_program": haproxy(), **variables}


def changed(output: str) -> dict[str, int]:
    """How many tasks changed something, of each host."""
    recap = output[output.index("PLAY RECAP") :]
    return {host: int(count) for host, count in re.findall(r"^(\w+) +: ok=\d+ +changed=(\d+)", recap, re.MULTILINE)}


def in_recovery(cluster: Estate, number: int) -> Any:
    """What a client comes to by a port."""
    with psycopg.connect(host="127.0.0.1", port=cluster.port + number, user="app", password="for the app",
                         dbname="postgres", connect_timeout=5) as client:  # fmt: skip
        return client.execute("SELECT pg_is_in_recovery()").fetchone()[0]


def test_it_is_put_before_the_cluster_and_converges(cluster: Estate) -> None:
    dry = changed(cluster.converge("pool", "--check", "--diff", **given()))
    assert dry["balancer1"] > 0
    assert not (cluster.home / "balancer1").exists()
    assert cluster.sql("SELECT count(*) FROM pg_roles WHERE rolname = 'pool_check'") == "0"
    with cluster.watched():
        output = cluster.converge("pool", "-vvv", "--diff", **given(pool_max_lag=5))
    told = " ".join(output.split())
    assert (
        "server maxconn = 87: (max_connections 100 - superuser_reserved_connections 3 - 10 kept free = 87) / 1 hosts"
        in told
    )
    assert re.search(r"db1 at 127\.0\.0\.1:\d+: writes: yes; reads: is no replica", told)
    assert re.search(r"db2 at 127\.0\.0\.1:\d+: writes: is a replica; reads: yes", told), told[-6000:]
    assert (in_recovery(cluster, 4), in_recovery(cluster, 5)) == (False, True)
    secret = (Path(cluster.secrets) / "pool_check").read_text().strip()
    assert secret not in output
    assert secret.encode() not in b" ".join(cluster.seen)
    assert set(changed(cluster.converge("pool", **given(pool_max_lag=5))).values()) == {0}
    assert set(changed(cluster.converge("pool", "--check", "--diff", **given(pool_max_lag=5))).values()) == {0}


@pytest.mark.parametrize(("variables", "says"), [
    ({"pool_check_password": "", "pool_processes": 2},
     ["pool_check_password is not set", "pool_processes is for pgbouncer"]),
    ({"pool_state": "paused"}, ["pool_state paused is for pgbouncer"]),
    ({"pool_settings": {"timeout server": "soon"}}, ["HAProxy does not take the configuration", "timeout server"]),
], ids=["missing", "state", "setting"])  # fmt: skip
def test_what_can_not_be_is_refused_in_one_line(cluster: Estate, variables: dict[str, Any], says: list[str]) -> None:
    [told] = cluster.play("pool", **given(**variables)).errors()
    one_line(told, "")
    assert all(words in told for words in says), told
    assert in_recovery(cluster, 4) is False
