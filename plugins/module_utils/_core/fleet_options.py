# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a fleet takes, said once for the module that documents it and for the action that does it."""

from __future__ import annotations

from typing import Any

ARGUMENTS: dict[str, Any] = {
    "operation": {"type": "str", "required": True},
    "cluster": {"type": "raw", "required": True},
    "unlisted": {"type": "bool", "default": False},
    "parallel": {"type": "int", "default": 5},
    "waves": {"type": "list", "elements": "str", "default": ["100%"]},
    "max_fail_percentage": {"type": "float", "default": 0},
    "windows": {"type": "list", "elements": "dict", "default": []},
    "freezes": {"type": "list", "elements": "dict", "default": []},
    "override": {"type": "str", "default": ""},
    "override_reason": {"type": "str", "default": ""},
    "budget_seconds": {"type": "int", "default": 0},
    "drill_hosts": {
        "type": "list", "elements": "dict", "default": [],
        "options": {
            "name": {"type": "str", "required": True}, "slots": {"type": "int", "default": 1},
            "free_bytes": {"type": "int", "required": True},
        },
    },
    "drill_every_days": {"type": "float", "default": 7},
    "drill_again_days": {"type": "float", "default": 1},
    "fresh": {"type": "bool", "default": False},
    "resume_hours": {"type": "float", "default": 24},
    "directory": {"type": "path", "required": True},
    "ledger": {"type": "path", "required": True},
    "public_key": {"type": "list", "elements": "path", "default": [], "no_log": False},
    "private_key": {"type": "path", "no_log": False},
    "passphrase": {"type": "str", "no_log": True},
    "store": {"type": "dict"},
    "overdue_days": {"type": "float", "default": 7},
}
