# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What takes too long for every change runs on request: `make lab-full`, or BORINGDB_LAB_FULL=1."""

from __future__ import annotations

import os

ON_REQUEST = [
    "config", "dump", "failover", "interruption", "key_rotation", "patroni", "pgbackrest_tls", "pool",
    "provision", "replica", "runbook", "s3", "schedule", "slow_link", "switchover",
]  # fmt: skip
#: Collected on request only, not skipped: a skipped test fails continuous integration.
collect_ignore = [] if os.environ.get("BORINGDB_LAB_FULL") else ON_REQUEST
