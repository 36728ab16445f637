# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter `pool_databases`."""

from __future__ import annotations

from ansible_collections.boringdb.ops.plugins.filter.pool_databases import pool_databases


def test_what_has_a_host_stays_and_all_else_moves() -> None:
    poolers = [
        {"pool_databases": {"shop": {}, "stock": None, "reports": {"host": "192.0.2.9"}}},
        {"pool_databases": {"shop": {"dbname": "shop2"}}},
        {"pool_databases": None},
        {},
    ]
    assert pool_databases(poolers) == {"primary": ["shop", "stock"], "placed": ["reports"]}
