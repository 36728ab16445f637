# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One cluster for the tests of interruptions and of bad input: provisioned by the playbook, with one backup."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from estate import Estate


@pytest.fixture(scope="session")
def estate() -> Iterator[Estate]:
    """The cluster `orders`, as the playbooks provision and back it up."""
    made = Estate()
    try:
        made.up()
        yield made
    finally:
        made.down()
