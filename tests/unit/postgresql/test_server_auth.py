# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clusters share the list of who may connect to pgBackRest's server: each changes its own part alone."""

from __future__ import annotations

from ansible_collections.boringdb.ops.plugins.filter.server_auth import server_auth


def test_the_first_one_is_alone() -> None:
    assert server_auth([], "orders", ["db2", "db1"]) == ["db1=orders", "db2=orders"]


def test_the_others_stay_and_a_client_is_named_once() -> None:
    there = ["db1=orders", "proof=billing,orders", "db9=billing"]
    assert server_auth(there, "orders", ["db1", "proof"]) == ["db1=orders", "db9=billing", "proof=billing,orders"]
    assert server_auth(there, "orders", ["db9"]) == ["db9=billing,orders", "proof=billing"]


def test_what_is_there_is_what_comes_out() -> None:
    found = server_auth(["b=x,y", "a=*"], "y", ["b"])
    assert found == ["a=*", "b=x,y"] and server_auth(found, "y", ["b"]) == found
