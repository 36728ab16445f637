# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person reads when something is refused."""

from __future__ import annotations

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight, Reason, Refused


def test_every_reason_is_told_at_once_with_its_remedy() -> None:
    preflight = Preflight()
    preflight.refuse("the disk is full", "make room")
    assert preflight.require(False, "no server runs", "start it") is False
    assert preflight.require(True, "never told") is True
    preflight.refuse("the moon is wrong")
    with pytest.raises(Refused) as caught:
        preflight.done()
    assert str(caught.value) == (
        "refused for 3 reasons: the disk is full (make room); no server runs (start it); the moon is wrong"
    )
    assert caught.value.reasons == [
        Reason("the disk is full", "make room"), Reason("no server runs", "start it"), Reason("the moon is wrong"),
    ]  # fmt: skip


def test_a_single_reason_is_not_counted() -> None:
    with pytest.raises(Refused, match=r"^refused: the disk is full \(make room\)$"):
        raise Refused([Reason("the disk is full", "make room")])


def test_nothing_in_the_way_raises_nothing() -> None:
    preflight = Preflight()
    preflight.require(True, "never told")
    preflight.done()


def test_an_error_carries_facts_beside_its_message() -> None:
    error = OpsError("it broke", checks=[{"name": "window"}], seed=7)
    assert (str(error), error.facts) == ("it broke", {"checks": [{"name": "window"}], "seed": 7})
