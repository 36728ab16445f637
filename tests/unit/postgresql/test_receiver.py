# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a replica receives from the one that it is to follow, and what a history file says."""

from __future__ import annotations

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import lsn, receiver


@pytest.mark.parametrize(("host", "port", "conninfo", "expected"), [
    ("db1", "5432", "host=db1 user=replicator", True),
    ("db1", "5433", "host=db1 port=5433", True),
    ("db1", "5432", "host=db2", False),
    ("db1", "5432", "host=db1 port=5433", False),
    ("192.0.2.1", "5432", "host=db1 hostaddr=192.0.2.1", True),
    ("db2", "5432", "host=db1,db2", True),
    ("/run/db", "5432", "host='/run/db'", True),
    # Nobody is named: the engine's own default counts.
    ("", "5432", "host=db1", True),
    ("db1", "5432", "user=replicator", True),
    ("db1", "5432", None, True),
    ("db1", "5432", "no conninfo", True),
])  # fmt: skip
def test_whom_it_receives_from(host: str, port: str, conninfo: str | None, expected: bool) -> None:
    assert receiver._told(host, port, conninfo) is expected


def test_where_older_timelines_were_left() -> None:
    text = "1\t0/5001450\tno recovery target specified\n\n# by hand\n2\t0/6000000\tbefore 2026-01-01\n"
    assert lsn.forks(text) == [(1, "0/5001450"), (2, "0/6000000")]
    assert lsn.forks("") == []
