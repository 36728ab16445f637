# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`sizing`: the server takes what is suggested, and its own count of huge pages is the suggested one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.sizing import Host, kernel, settings
from embedded_servers import Server
from verify_ground import module

MB, GB = 1 << 20, 1 << 30


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        (16 * GB, {"shared_buffers": "4096MB", "effective_cache_size": "12288MB", "maintenance_work_mem": "1024MB",
                   "work_mem": "46MB", "max_wal_size": "10240MB"}),
        (512 * MB, {"shared_buffers": "128MB", "effective_cache_size": "384MB", "maintenance_work_mem": "64MB",
                    "work_mem": "4MB", "max_wal_size": "10240MB"}),
        (1024 * GB, {"shared_buffers": "262144MB", "effective_cache_size": "786432MB", "work_mem": "3901MB",
                     "maintenance_work_mem": "2048MB", "max_wal_size": "10240MB"}),
    ],
)  # fmt: skip
def test_the_arithmetic(memory: int, expected: dict[str, str]) -> None:
    host = Host(memory, 0, 100 * GB, 2 * MB, 100)
    assert {one.name: one.value for one in settings(host)} == expected
    assert all(one.formula for one in [*settings(host), *kernel(host, 10)])


def test_no_connection_can_exhaust_the_memory_by_the_suggested_numbers() -> None:
    """Every connection with two nodes, three workers of autovacuum, and the buffers fit; or work_mem is the least."""
    for memory in range(512 * MB, 64 * GB, 777 * MB):
        for connections in (10, 100, 2000):
            found = {one.name: one.value for one in settings(Host(memory, 0, GB, 2 * MB, connections))}
            amount = {name: int(value[:-2]) * MB for name, value in found.items()}
            total = amount["shared_buffers"] + 3 * amount["maintenance_work_mem"]
            assert total + 2 * connections * amount["work_mem"] <= memory or found["work_mem"] == "4MB"


@pytest.mark.parametrize("version", [16, 18])
def test_the_server_itself_says_the_same(make_server: Callable[..., Server], version: int) -> None:
    """Asked while it runs, and then by the running server with those settings."""
    server = make_server(version=version, copied=True)
    pid = server.pid
    found = module(server, "sizing", memory_mb=1024, connections=60)
    assert (found["changed"], server.pid) == (False, pid)
    assert found["settings"]["shared_buffers"] == "256MB"
    wanted = {**found["settings"], "max_connections": 60}
    module(server, "config", settings=wanted)
    module(server, "restart")
    assert server.psql("SHOW shared_memory_size_in_huge_pages") == found["sysctl"]["vm.nr_hugepages"]
    assert server.psql("SHOW work_mem") == found["settings"]["work_mem"]
    names = [one["name"] for one in found["figures"]]
    assert names[:1] + names[-1:] == ["shared_buffers", "vm.dirty_bytes"]


def test_what_can_not_be_sized_is_refused(make_server: Callable[..., Server]) -> None:
    place = make_server(initdb=False)
    told = module(place, "sizing", memory_mb=100, connections=0, fails=True)["msg"]
    assert told == (
        "refused for 2 reasons: 100MB of memory is less than 512MB (give more in memory_mb); "
        "connections is 0 (give 1 or more)"
    )
    found = module(place, "sizing", memory_mb=1024)
    assert "holds no PostgreSQL data" in str(found["warnings"])
    assert "vm.nr_hugepages" not in found["sysctl"]
