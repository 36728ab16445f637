# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One cluster for the tests of interruptions and of bad input: provisioned by the playbook, with one backup."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
for place in (HERE, HERE.parents[1] / ".collections"):
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))

pytest.register_assert_rewrite("estate", "estate_runs", "holds", "expiry", "untouched")

from estate import Estate  # noqa: E402


@pytest.fixture(scope="session")
def estate() -> Iterator[Estate]:
    """The cluster `orders`, as the playbooks provision and back it up."""
    made = Estate()
    try:
        made.up()
        yield made
    finally:
        made.down()
