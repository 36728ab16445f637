# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A few of the faults of tests/faults, each of another kind, and one drill without any. `make faults` runs all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# They register themselves.
# pylint: disable-next=unused-import
from tests.faults import drill_faults, repository_faults  # noqa: F401
from tests.faults.drill import drill
from tests.faults.fault import FAULTS, Fault, not_verified
from tests.faults.ground import Ground

SOME = ("wal_missing", "target_too_late", "data_byte_flipped")


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """A cluster with its repository, and a copy of that to damage."""
    it = Ground(Path(f"/var/tmp/boringdb-faults-smoke-{os.getuid()}"))
    try:
        it.up()
        yield it
    finally:
        it.down()


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.name in SOME], ids=lambda fault: str(fault.name))
def test_a_fault_is_caught_by_its_own_check(ground: Ground, fault: Fault) -> None:
    _met, misses = fault.meet(ground, fault.variables(ground))
    assert not misses


def test_what_they_left_is_sound(ground: Ground) -> None:
    assert not not_verified(drill(ground, ground.field_variables()))
