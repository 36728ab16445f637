# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The order of restarts against every possible order: one is found exactly when there is one, and it is safe."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import Refused
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restart_order import Member, restart_order
from hypothesis import given
from hypothesis import strategies as st

VALUES = st.fixed_dictionaries({"max_connections": st.integers(1, 3), "max_wal_senders": st.integers(1, 3)})


@st.composite
def clusters(draw: st.DrawFn) -> list[Member]:
    """A primary with up to three replicas, sound before, some of them waiting for something."""
    primary = draw(VALUES)
    found = []
    for number in range(draw(st.integers(1, 4))):
        # Nobody is behind the primary now: it runs.
        current = {name: max(value, primary[name]) for name, value in draw(VALUES).items()} if number else primary
        new = draw(st.one_of(st.just(current), VALUES))
        pending = ("shared_buffers",) if new != current or draw(st.booleans()) else ()
        found.append(Member(f"db{number}", number == 0, pending, current, new))
    return draw(st.permutations(found))


def safe(members: Sequence[Member], order: Sequence[str]) -> bool:
    """Whether no replica has less than its primary after any of the restarts."""
    has = {member.name: member.current for member in members}
    [primary] = [member.name for member in members if member.primary]
    for name in order:
        has[name] = next(member.new for member in members if member.name == name)
        if any(values[setting] < has[primary][setting] for values in has.values() for setting in values):
            return False
    return True


@given(clusters())
def test_an_order_is_found_exactly_when_there_is_one(members: list[Member]) -> None:
    waiting = [member.name for member in members if member.pending]
    possible = [order for order in itertools.permutations(waiting) if safe(members, order)]
    try:
        order = restart_order(members)
    except Refused:
        assert not possible
        return
    assert sorted(order) == sorted(waiting)
    assert tuple(order) in possible or not waiting
    # The primary is last unless a replica can only follow it.
    primary = next(member.name for member in members if member.primary)
    if primary in order:
        early = [name for name in order if name != primary] + [primary]
        assert order[-1] == primary or not safe(members, early)


def member(name: str, current: int, new: int, primary: bool = False, senders: tuple[int, int] = (10, 10)) -> Member:
    """A member by its max_connections and max_wal_senders."""
    return Member(
        name, primary, ("x",), {"max_connections": current, "max_wal_senders": senders[0]},
        {"max_connections": new, "max_wal_senders": senders[1]},
    )  # fmt: skip


def test_raised_on_the_replicas_first_and_lowered_on_the_primary_first() -> None:
    assert restart_order([member("p", 100, 200, True), member("r", 100, 200)]) == ["r", "p"]
    assert restart_order([member("p", 200, 100, True), member("r", 200, 100)]) == ["p", "r"]
    assert restart_order([member("p", 100, 100, True), member("r", 100, 100)]) == ["r", "p"]


@pytest.mark.parametrize(
    ("members", "words"),
    [
        (
            [member("p", 100, 200, True, (10, 5)), member("r", 100, 200, False, (10, 5))],
            "max_connections is raised and max_wal_senders is lowered in one step, for r no order fits",
        ),
        (
            [member("p", 100, 200, True), member("r", 100, 150)],
            "r would have max_connections 150, less than the 200 of the primary p",
        ),
    ],
)  # fmt: skip
def test_what_no_order_fits_is_refused(members: list[Member], words: str) -> None:
    with pytest.raises(Refused, match=words):
        restart_order(members)
