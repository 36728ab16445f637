# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Has a run take its modules from those that another one has packed, and leave its own for the next.

Ansible packs each module once a run, which is a quarter of a test's processor time; its own lock guards the place.
"""

from __future__ import annotations

import os
from pathlib import Path

from ansible import constants
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: keep_packed
type: aggregate
short_description: Keeps packed modules from one run for the next
description: Keeps packed modules from one run for the next.
"""


class CallbackModule(CallbackBase):
    """Loaded before the first module is packed; the run's end removes the link, not what is behind it."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "keep_packed"

    def __init__(self) -> None:
        super().__init__()
        own = Path(constants.DEFAULT_LOCAL_TMP)
        (own / "ansiballz_cache").symlink_to(os.environ["BORINGDB_PACKED"])
