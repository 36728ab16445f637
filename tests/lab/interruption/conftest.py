# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One primary, one repository and one drill host for all interruptions of pgBackRest."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.estate import lab_hosts
from tests.lab.interruption.ground import DRILL, PRIMARY, REPOSITORY, Ground


@pytest.fixture(scope="package")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """The provisioned hosts, without a backup."""
    with lab_hosts(tmp_path_factory.mktemp("interruption"), PRIMARY, REPOSITORY, DRILL) as hosts:
        it = Ground(hosts)
        it.play("provision")
        it.play("evidence_key")
        it.prepare()
        yield it
