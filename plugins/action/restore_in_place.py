# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`restore_in_place` shows how far it is (see plugin_utils/progress.py)."""

from __future__ import annotations

from ansible_collections.boringdb.ops.plugins.plugin_utils.progress import ActionModule

__all__ = ["ActionModule"]
