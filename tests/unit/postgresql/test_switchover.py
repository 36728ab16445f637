# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a switchover makes of what the members say: begin, forward, back, finish, or a person decides."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import Refused
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.switchover_checks import routed, swapped
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.switchover_plan import situation

PRIMARY = {"state": "running", "role": "primary", "timeline": 1, "lsn": "0/5000000"}
REPLICA = {"state": "running", "role": "replica", "timeline": 1, "lsn": "0/5000100", "receive_lsn": "0/5000100"}
BEHIND = {**REPLICA, "lsn": "0/4000000", "receive_lsn": "0/5000000"}
CLOSED = {"state": "stopped", "role": "replica", "timeline": 1, "lsn": "0/5000000", "cluster_state": "shut down",
          "signal": True}  # fmt: skip
REOPENING = {**CLOSED, "role": "primary", "signal": False}
CRASHED = {**PRIMARY, "state": "stopped", "cluster_state": "in production"}
STOPPED = {"state": "stopped", "role": "replica", "timeline": 1, "lsn": "0/4000000", "signal": True,
           "cluster_state": "shut down in recovery"}  # fmt: skip
ABSENT = {"state": "absent", "role": "none"}
NEWER = {**REPLICA, "timeline": 2}


@pytest.mark.parametrize(("old", "new", "expected"), [
    (PRIMARY, REPLICA, "begin"),
    (PRIMARY, STOPPED, "begin"),
    (CLOSED, REPLICA, "forward"),
    (CLOSED, {**REPLICA, "lsn": "0/4000000"}, "forward"),
    (CLOSED, BEHIND, "back"),
    (CLOSED, STOPPED, "back"),
    (REOPENING, REPLICA, "back"),
    (REPLICA, REPLICA, "forward"),
    (CLOSED, {**PRIMARY, "timeline": 2}, "finish"),
    (REPLICA, {**PRIMARY, "timeline": 2}, "finish"),
    (PRIMARY, PRIMARY, "more than one primary"),
    (CRASHED, REPLICA, "no running primary"),
    (ABSENT, ABSENT, "no running primary"),
    (STOPPED, STOPPED, "no running primary"),
    (CLOSED, NEWER, "is on timeline 2"),
    (CLOSED, CRASHED, "stopped primary"),
    (CLOSED, {**CRASHED, "cluster_state": "in archive recovery"}, "ended in the middle of its promotion"),
    ({**REPLICA, "lsn": "0/6000000"}, REPLICA, "no running primary"),
    ({**REPLICA, "upstream": {"status": "streaming"}}, REPLICA, "no running primary"),
])  # fmt: skip
def test_what_is_done_follows_from_what_the_members_say(
    old: dict[str, Any], new: dict[str, Any], expected: str
) -> None:
    members = {"db1": old, "db2": new}
    if " " in expected:
        with pytest.raises(Refused, match=expected):
            situation(members, "db2")
    else:
        assert situation(members, "db2").name == expected


def test_the_old_primary_is_opened_again_by_no_other_than_one_state() -> None:
    """Of all pairs: back only where the candidate takes no writes, and nobody can have told it to."""
    states = [PRIMARY, REPLICA, BEHIND, CLOSED, REOPENING, CRASHED, STOPPED, ABSENT, NEWER]
    for old, new in itertools.product(states, states):
        try:
            found = situation({"db1": old, "db2": new}, "db2").name
        except Refused:
            continue
        if found == "back":
            assert old in (CLOSED, REOPENING)
            assert new["role"] == "replica"
            assert not (old is CLOSED and new is REPLICA)
        if found in ("forward", "back"):
            assert PRIMARY not in (old, new)


def test_one_that_was_closed_and_started_again_is_followed_by_the_others() -> None:
    """A host that came up again: its server is a replica, from which the others stream. A standby cluster is none."""
    follows = {**REPLICA, "upstream": {"status": "streaming"}}
    noted = {**follows, "unfinished": {"from": "db1"}}
    found = situation({"db1": REPLICA, "db2": noted, "db3": follows}, "db2")
    assert (found.name, found.old) == ("forward", "db1")
    behind = {**noted, "lsn": "0/2000000", "receive_lsn": "0/2000000"}
    for wrong in (
        {"db1": REPLICA, "db2": follows, "db3": follows},
        {"db1": follows, "db2": noted, "db3": follows},
        {"db1": {**REPLICA, "lsn": "0/9000000"}, "db2": noted, "db3": follows},
        {"db1": REPLICA, "db2": behind, "db3": follows},
        {"db1": REPLICA, "db2": noted, "db3": STOPPED},
        {"db1": REPLICA, "db2": {**noted, "unfinished": {"from": "db9"}}},
    ):
        with pytest.raises(Refused, match="no running primary"):
            situation(wrong, "db2")


@pytest.mark.parametrize(("candidate", "reason"), [("", "no candidate is named"), ("db9", "db9 is no member")])
def test_a_wrong_candidate_is_refused_with_all_other_reasons(candidate: str, reason: str) -> None:
    with pytest.raises(Refused) as refused:
        situation({"db1": {**PRIMARY, "manager": "Patroni"}, "db2": PRIMARY}, candidate)
    told = str(refused.value)
    assert all(words in told for words in (reason, "Patroni is in charge of db1", "more than one primary: db1, db2"))


def test_what_an_unfinished_run_left_names_the_old_primary() -> None:
    members = {"db1": REPLICA, "db2": {**PRIMARY, "unfinished": {"from": "db1"}}}
    assert situation(members, "db2").old == "db1"
    assert situation({"db1": REPLICA, "db2": PRIMARY}, "db2").old == ""


@pytest.mark.parametrize(("names", "expected"), [
    ("", None),
    ("ANY 1 (db2)", 'ANY 1 ("db1")'),
    ("ANY 1 (db2, db3)", 'ANY 1 ("db1", "db3")'),
    ("FIRST 1 (db3, db2)", 'FIRST 1 ("db3", "db1")'),
    ("ANY 1 (db3)", 'ANY 1 ("db3")'),
    ("ANY 2 (*)", "ANY 2 (*)"),
    ("ANY 1 (db1, db2, db3)", 'ANY 1 ("db1", "db3")'),
    ('"db2"', 'FIRST 1 ("db1")'),
])  # fmt: skip
def test_the_old_primary_takes_the_place_of_the_new_one_among_the_standbys(names: str, expected: str | None) -> None:
    quorum = swapped(names, "db2", "db1")
    assert (str(quorum) if quorum else None) == expected


def test_only_databases_that_go_to_the_primary_are_held() -> None:
    """One for readers stays where it is; and where a killed run has held clients at the new primary, they are found."""
    shown = {
        "shop": {"host": "192.0.2.1", "port": "5432"}, "read": {"host": "192.0.2.2", "port": "5432", "paused": "0"},
        "held": {"host": "192.0.2.2", "port": "5432", "paused": "1"}, "near": {"host": "192.0.2.1", "port": "5433"},
        "socket": {"host": ""},
    }  # fmt: skip
    poolers = [{"databases": shown}, {"problem": "away"}]
    assert routed(poolers, {"host": "192.0.2.1", "port": 5432}) == ["shop"]
    assert routed(poolers, {"host": "192.0.2.2", "port": 5432}, paused=True) == ["held"]
    assert routed(poolers, {}) == []
