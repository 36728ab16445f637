# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy's time to live, brought forward: what would be hours later is now."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

from estate import Estate
from estate_runs import await_

from tests.modules import OWNER, ROOT


def marker_of(estate: Estate) -> Path:
    """Where the copy's marker is."""
    return estate.copy.with_name("data.restore.json")


def expire(estate: Estate) -> None:
    """Let the copy's time be over, and wait until the host has removed it by itself."""
    marker = marker_of(estate)
    beside = marker.with_name("data.restore.json.test")
    beside.write_text(json.dumps({**json.loads(marker.read_text()), "until": time.time()}))
    if ROOT:
        shutil.chown(beside, OWNER)
    beside.replace(marker)
    await_(lambda: not marker.exists(), "the removal by the host itself")
