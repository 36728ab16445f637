# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a member of etcd comes in: by what all of them say, whatever an earlier run came to."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import Refused
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.etcd import Entry, way_in

NAMES = ("db1", "db2", "db3")


def row(name: str, started: bool = True) -> dict[str, Any]:
    """A member as the others know it."""
    at = [f"http://{name}:2380"]
    return {"id": f"id-{name}", "name": name if started else "", "peer_urls": at, "started": started}


def says(*rows: dict[str, Any], healthy: bool = True, has_data: bool = True) -> dict[str, Any]:
    """What one that answers says."""
    return {"has_data": has_data, "answers": True, "healthy": healthy, "members": list(rows)}


EMPTY: dict[str, Any] = {"has_data": False, "answers": False, "healthy": False, "members": []}
MUTE: dict[str, Any] = {**EMPTY, "has_data": True}
ALL = [row(name) for name in NAMES]
FIRST = [row("db1", False), row("db2", False), row("db3", False)]


def enter(name: str, **seen: dict[str, Any]) -> Entry:
    """How a member comes in."""
    return way_in(name, f"http://{name}:2380", seen)


def test_where_nobody_has_anything_all_bootstrap() -> None:
    assert {enter(name, db1=EMPTY, db2=EMPTY, db3=EMPTY).state for name in NAMES} == {"new"}


def test_whoever_has_data_goes_on_with_it() -> None:
    for other in (EMPTY, MUTE, says(*ALL)):
        assert enter("db1", db1=MUTE, db2=other, db3=other) == Entry("keep")


def test_a_bootstrap_that_was_interrupted_goes_on() -> None:
    """One was started and waits for the others, who have never been there."""
    waits = says(*FIRST, healthy=False)
    assert enter("db2", db1=waits, db2=EMPTY, db3=EMPTY) == Entry("new")
    # Two are a quorum by now: the third finds itself on their list.
    two = says(row("db1"), row("db2"), row("db3", False))
    assert enter("db3", db1=two, db2=two, db3=EMPTY) == Entry("existing")


def test_one_that_lost_its_data_comes_in_as_a_new_one() -> None:
    well = says(*ALL)
    assert enter("db2", db1=well, db2=EMPTY, db3=well) == Entry("existing", remove="id-db2", add=True)


def test_one_that_is_new_is_added() -> None:
    well = says(*ALL)
    assert enter("db4", db1=well, db2=well, db3=well, db4=EMPTY) == Entry("existing", add=True)
    # A run that was killed after the others had let it in.
    let_in = says(*ALL, row("db4", False))
    assert enter("db4", db1=let_in, db2=let_in, db3=let_in, db4=EMPTY) == Entry("existing")


@pytest.mark.parametrize(("seen", "words"), [
    ({"db1": EMPTY, "db2": EMPTY, "db3": says(*ALL, healthy=False)}, "no quorum any more"),
    ({"db1": EMPTY, "db2": MUTE, "db3": EMPTY}, "db2 has data and does not answer"),
])  # fmt: skip
def test_a_lost_majority_is_for_a_person(seen: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused, match=words):
        enter("db1", **seen)


def test_nobody_bootstraps_who_is_known_to_have_been_there() -> None:
    """Over all that three hosts may say: a member that voted once never starts as if it had not."""
    states = [EMPTY, MUTE, says(*ALL), says(*ALL, healthy=False)]
    for second, third in itertools.product(states, repeat=2):
        seen = {"db1": EMPTY, "db2": second, "db3": third}
        try:
            entry = way_in("db1", "http://db1:2380", seen)
        except Refused:
            continue
        assert entry.state != "new" or second is third is EMPTY
