# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sizes of pools: their sum never goes beyond the server, computed or declared."""

from __future__ import annotations

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import Preflight, Refused
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.pool_sizes import Ground, descriptors, sizes
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.sizing import Figure


def computed(ground: Ground, databases: dict[str, dict[str, str]], **declared: str) -> list[Figure]:
    """The figures, or Refused."""
    preflight = Preflight()
    found = sizes(ground, databases, declared, preflight)
    preflight.done()
    return found


def test_the_arithmetic_is_shown() -> None:
    told = [one.facts() for one in computed(Ground(100, 3, 10, 4, 2, 2), {"shop": {}, "stock": {}})]
    assert told == [
        {"name": "max_db_connections", "value": "10",
         "formula": "(max_connections 100 - superuser_reserved_connections 3 - 10 kept free = 87) / "
                    "(2 hosts * 2 processes * 2 databases)"},
        {"name": "default_pool_size", "value": "4",
         "formula": "min(max_db_connections 10, max(4, (2 * 4 cores + 1) / (2 hosts * 2 processes * 2 databases)))"},
        {"name": "reserve_pool_size", "value": "2",
         "formula": "min(max_db_connections 10 - default_pool_size 4, default_pool_size 4 / 2)"},
    ]  # fmt: skip


@pytest.mark.parametrize("cores", [1, 2, 16, 128])
@pytest.mark.parametrize("connections", [20, 100, 5000])
def test_no_computed_sum_is_more_than_the_server_takes(connections: int, cores: int) -> None:
    for hosts in (1, 2, 5):
        for processes in (1, 4):
            for count in (1, 3, 10):
                ground = Ground(connections, 3, 10, cores, hosts, processes)
                databases: dict[str, dict[str, str]] = {f"db{number}": {} for number in range(count)}
                parts = hosts * processes * count
                if ground.budget < parts:
                    with pytest.raises(Refused, match="server connections are fewer than"):
                        computed(ground, databases)
                    continue
                found = {one.name: int(one.value) for one in computed(ground, databases)}
                assert 1 <= found["default_pool_size"] <= found["max_db_connections"]
                assert found["default_pool_size"] + found["reserve_pool_size"] <= found["max_db_connections"]
                assert connections - 13 - parts < found["max_db_connections"] * parts <= connections - 13


@pytest.mark.parametrize(("declared", "databases"), [
    ({"max_db_connections": "44"}, {"shop": {}}),
    ({}, {"shop": {"max_db_connections": "44"}}),
    ({"max_db_connections": "10"}, {"shop": {}, "stock": {"max_db_connections": "40"}}),
])  # fmt: skip
def test_a_declared_sum_beyond_the_server_is_refused(
    declared: dict[str, str], databases: dict[str, dict[str, str]]
) -> None:
    with pytest.raises(Refused) as caught:
        computed(Ground(100, 3, 10, 4, 2, 1), databases, **declared)
    assert "server connections are more than max_connections 100 - superuser_reserved" in str(caught.value)
    assert "= 87" in str(caught.value)


def test_what_is_declared_and_fits_is_taken() -> None:
    found = computed(Ground(100, 3, 10, 4, 2, 1), {"shop": {}}, max_db_connections="43", default_pool_size="20")
    assert [(one.name, one.value) for one in found] == [
        ("max_db_connections", "43"), ("default_pool_size", "20"), ("reserve_pool_size", "10"),
    ]  # fmt: skip
    assert [one.formula for one in found][:2] == ["declared", "declared"]
    assert descriptors(found, 1000, 1).value == "1107"


@pytest.mark.parametrize("wrong", ["0", "-1", "many", "", "1.5"])
def test_a_limit_that_is_none_is_refused(wrong: str) -> None:
    """0 would be without a limit, which no sum can hold."""
    with pytest.raises(Refused, match="max_db_connections is"):
        computed(Ground(100, 3, 10, 4, 1, 1), {"shop": {}}, max_db_connections=wrong)


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(Refused) as caught:
        computed(Ground(0, 3, -1, 0, 0, 1), {})
    assert len(caught.value.reasons) == 5
