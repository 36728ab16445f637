# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One pair, one host that proves and one file server for all tests of dumps on Debian 12."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.dump.ground import HOSTS, Ground
from tests.lab.estate import lab_hosts


@pytest.fixture(scope="package")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """Hosts on which nothing was done, and a key on the controller."""
    with lab_hosts(tmp_path_factory.mktemp("dump"), *HOSTS) as hosts:
        it = Ground(hosts)
        it.play("evidence_key", cluster="wares")
        yield it


@pytest.fixture(scope="package")
def fresh_told(bare: Ground) -> str:
    """What a dry run tells before there is anything."""
    done = bare.attempt("dump", "--check", "-e", "cluster=wares")
    return f"{done.returncode} {' '.join(done.stdout.split())}"


@pytest.fixture(scope="package")
def ground(bare: Ground, fresh_told: str) -> Ground:
    """The cluster, filled, and the directory that all hosts mount."""
    assert fresh_told
    bare.build()
    return bare
