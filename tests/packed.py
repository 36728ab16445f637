# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules that Ansible has packed once, for all playbooks of this process (see callback/keep_packed.py)."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path


def packed() -> dict[str, str]:
    """The environment of a run that shares them."""
    callbacks = Path(__file__).with_name("callback")
    own = {"ANSIBLE_CALLBACK_PLUGINS": str(callbacks), "ANSIBLE_CALLBACKS_ENABLED": "keep_packed"}
    return {**own, "BORINGDB_PACKED": _place()}


@functools.cache
def _place() -> str:
    made = tempfile.mkdtemp(prefix="bdb-packed-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made
